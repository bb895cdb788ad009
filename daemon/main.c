/* wipyd: arguments, configuration, loop, signals, readiness, orderly close. */

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <uv.h>

#include "daemon/base/config.h"
#include "daemon/base/log.h"
#include "daemon/base/resident.h"
#include "daemon/board/fleet.h"
#include "daemon/bus/service.h"
#include "daemon/firmware/poll.h"
#include "daemon/firmware/store.h"
#include "daemon/loop/bus_loop.h"
#include "daemon/loop/http_loop.h"
#include "daemon/loop/meter.h"
#include "daemon/loop/work_queue.h"
#include "daemon/records/records.h"
#include "proto/names.h"

#define CONFIG_PATH "/etc/wipyd.conf"

struct daemon {
    uv_loop_t loop;
    struct config config;
    struct service *service;
    struct fleet *fleet;
    struct records *records;
    struct work_queue *queue;
    struct firmware_store *store;
    struct http_loop *http;
    struct firmware_poll *poll;
    struct bus_loop *bus_loop;
    struct loop_meter meter;
    uv_signal_t signals[3];
    uv_timer_t watchdog;
    const struct arguments *arguments;
    struct reload *reload; /* under way, or NULL */
    bool is_reload_due;    /* once more when that is over */
    bool is_stopping;
    int exit_code;
};

struct arguments {
    const char *bus, *config;
    const char *ports[CONFIG_PORTS_MAX];
    unsigned n_ports;
};

static const char usage[] = "Usage: wipyd [OPTION]...\n"
                            "Keeps Pycom WiPy boards up to date; wipyctl drives it over D-Bus.\n"
                            "\n"
                            "      --bus=BUS       system (the default), session, or a D-Bus address\n"
                            "      --config=FILE   read FILE and FILE.d/*.conf instead of " CONFIG_PATH "\n"
                            "      --port=PATH     a serial port that udev doesn't know; may be "
                            "repeated\n"
                            "      --version       print the version\n"
                            "      --help          print this\n";

/* Gives an exit code, or -1 to go on. */
static int parse_arguments(int argc, char **argv, struct arguments *ret) {
    static const struct option options[] = {
        { "bus", required_argument, NULL, 'b' },  { "config", required_argument, NULL, 'c' },
        { "port", required_argument, NULL, 'p' }, { "version", no_argument, NULL, 'v' },
        { "help", no_argument, NULL, 'h' },       { NULL, 0, NULL, 0 },
    };
    int option;

    *ret = (struct arguments) { .bus = "system" };
    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
        switch (option) {
        case 'b':
            ret->bus = optarg;
            break;
        case 'c':
            ret->config = optarg;
            break;
        case 'p':
            if (ret->n_ports == CONFIG_PORTS_MAX) {
                fprintf(stderr, "wipyd: at most %d ports\n", CONFIG_PORTS_MAX);
                return 2;
            }
            ret->ports[ret->n_ports++] = optarg;
            break;
        case 'v':
            puts("wipyd " WIPYD_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs("Try: wipyd --help\n", stderr);
            return 2;
        }
    if (optind < argc) {
        fprintf(stderr, "wipyd: %s: no arguments are taken\nTry: wipyd --help\n", argv[optind]);
        return 2;
    }
    return -1;
}

static const char *config_path(const struct arguments *arguments) {
    return arguments->config ? arguments->config : CONFIG_PATH;
}

/* What the files and the command line say. config is to be config_deinit'ed in any case. */
static enum wipyd_error read_config(struct config *config, const struct arguments *arguments,
                                    struct fault *fault) {
    int r = config_init(config);

    if (r < 0)
        return fault_errno(fault, r, "configuration");
    if (config_read(config, config_path(arguments), arguments->config != NULL, fault) != WIPYD_ERROR_NONE)
        return fault->code;
    for (unsigned i = 0; i < arguments->n_ports; i++) {
        r = config_add_port(config, arguments->ports[i]);
        if (r < 0)
            return fault_errno(fault, r, "%s", arguments->ports[i]);
    }
    return WIPYD_ERROR_NONE;
}

static bool configure(struct daemon *daemon, const struct arguments *arguments) {
    struct fault fault;

    if (read_config(&daemon->config, arguments, &fault) != WIPYD_ERROR_NONE) {
        log_error("%s", fault.story);
        return false;
    }
    log_setup((int)daemon->config.log_level);
    if (mkdir(daemon->config.state_directory, 0700) < 0 && errno != EEXIST) {
        log_error("state directory %s: %s; make it, or name another with state-directory in %s",
                  daemon->config.state_directory, strerror(errno), config_path(arguments));
        return false;
    }
    return true;
}

static int open_bus(const char *which, sd_bus **ret) {
    sd_bus *bus = NULL;
    int r;

    if (!strcmp(which, "system"))
        return sd_bus_open_system(ret);
    if (!strcmp(which, "session"))
        return sd_bus_open_user(ret);
    r = sd_bus_new(&bus);
    if (r >= 0)
        r = sd_bus_set_address(bus, which);
    if (r >= 0)
        r = sd_bus_set_bus_client(bus, true);
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r < 0) {
        sd_bus_unref(bus);
        return r;
    }
    *ret = bus;
    return 0;
}

/* ---- the way down
 * ----------------------------------------------------------------------------
 */

/* From the top down: nothing is closed while somebody above may still use it.
 * What start() never made is passed over. */
static void close_next(void *userdata) {
    struct daemon *daemon = userdata;

    if (daemon->fleet) {
        /* Its jobs are still told of on the bus; only then do the objects leave it. */
        fleet_close(steal_pointer(&daemon->fleet), close_next, daemon);
        return;
    }
    if (daemon->service)
        service_detach(daemon->service);
    if (daemon->poll) {
        firmware_poll_close(steal_pointer(&daemon->poll), close_next, daemon);
    } else if (daemon->http) {
        http_loop_close(steal_pointer(&daemon->http), close_next, daemon);
    } else if (daemon->store) {
        firmware_store_close(steal_pointer(&daemon->store), close_next, daemon);
    } else if (daemon->queue) {
        work_queue_close(steal_pointer(&daemon->queue), close_next, daemon);
    } else {
        daemon->records = records_close(daemon->records);
        daemon->service = service_close(daemon->service);
        daemon->bus_loop = bus_loop_close(daemon->bus_loop);
        loop_meter_close(&daemon->meter);
        uv_close((uv_handle_t *)&daemon->watchdog, NULL);
        for (size_t i = 0; i < sizeof daemon->signals / sizeof *daemon->signals; i++)
            uv_close((uv_handle_t *)&daemon->signals[i], NULL);
    }
}

static void stop(struct daemon *daemon) {
    if (daemon->is_stopping)
        return;
    daemon->is_stopping = true;
    sd_notify(0, "STOPPING=1");
    close_next(daemon);
}

static void on_signal(uv_signal_t *handle, int number) {
    log_info("%s: stopping", strsignal(number));
    stop(handle->data);
}

/* ---- reload: files are read in the pool, values change on the loop ---------------------------- */

struct reload {
    uv_work_t work;
    struct daemon *daemon;
    struct config fresh;
    struct fault fault;
};

static void reload_in_pool(uv_work_t *work) {
    struct reload *reload = work->data;

    (void)!read_config(&reload->fresh, reload->daemon->arguments, &reload->fault);
}

static void tell_restart(const char *section, const char *name) {
    log_warning("[%s] %s has changed: that takes a restart, and the old value holds until then", section,
                name);
}

static void reload_config(struct daemon *daemon);

static void on_reloaded(uv_work_t *work, int status) {
    struct reload *reload = work->data;
    struct daemon *daemon = reload->daemon;

    daemon->reload = NULL;
    if (status == 0 && !daemon->is_stopping) {
        if (reload->fault.code != WIPYD_ERROR_NONE) {
            log_error("%s; the old configuration stays in force", reload->fault.story);
        } else {
            config_take(&daemon->config, &reload->fresh, tell_restart);
            log_setup((int)daemon->config.log_level);
            fleet_on_config(daemon->fleet);
            log_notice("the configuration was read again");
        }
        sd_notify(0, "READY=1");
    }
    config_deinit(&reload->fresh);
    free(reload);
    if (daemon->is_reload_due)
        reload_config(daemon);
}

static void reload_config(struct daemon *daemon) {
    struct reload *reload;

    daemon->is_reload_due = daemon->reload != NULL;
    if (daemon->is_stopping || daemon->reload)
        return;
    /* systemd takes the READY=1 that follows for the end of this reload by the time (sd_notify(3)). */
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(uv_hrtime() / 1000));
    reload = calloc(1, sizeof *reload);
    if (reload) {
        reload->daemon = daemon;
        reload->work.data = reload;
        if (uv_queue_work(&daemon->loop, &reload->work, reload_in_pool, on_reloaded) == 0) {
            daemon->reload = reload;
            return;
        }
        free(reload);
    }
    log_error("the configuration can't be read again: %s", strerror(ENOMEM));
    sd_notify(0, "READY=1");
}

static void on_hangup(uv_signal_t *handle, int number) {
    (void)number;
    reload_config(handle->data);
}

/* ---- watchdog: no wake-ups unless the unit asks for it ----------------------------------------- */

static void on_watchdog(uv_timer_t *timer) {
    (void)timer;
    sd_notify(0, "WATCHDOG=1");
}

static void start_watchdog(struct daemon *daemon) {
    uint64_t limit_us = 0;

    uv_timer_init(&daemon->loop, &daemon->watchdog);
    if (sd_watchdog_enabled(0, &limit_us) > 0 && limit_us > 0)
        uv_timer_start(&daemon->watchdog, on_watchdog, 0, limit_us < 2000 ? 1 : limit_us / 2000);
}

static void on_bus_lost(void *userdata, int r) {
    struct daemon *daemon = userdata;

    log_error("the bus is gone: %s", strerror(-r));
    daemon->exit_code = 1;
    stop(daemon);
}

/* ---- the way up
 * ------------------------------------------------------------------------------
 */

/* What stands in the way of a start is said where it is known, once. */
static int tell(int r, const char *what) {
    if (r < 0)
        log_error("%s: %s", what, strerror(-r));
    return r;
}

static int open_records(struct daemon *daemon) {
    cleanup(free_p) char *database = NULL, *folder = NULL;
    struct fault fault;
    int r;

    if (asprintf(&database, "%s/wipyd.db", daemon->config.state_directory) < 0 ||
        asprintf(&folder, "%s/firmware", daemon->config.state_directory) < 0)
        return tell(-ENOMEM, daemon->config.state_directory);
    r = tell(work_queue_new(&daemon->queue, &daemon->loop), "work queue");
    if (r < 0)
        return r;
    if (records_open(&daemon->records, database, &fault) != WIPYD_ERROR_NONE ||
        firmware_store_open(&daemon->store, folder, daemon->records, daemon->queue, &daemon->config,
                            service_store_events(), daemon->service, &fault) != WIPYD_ERROR_NONE) {
        log_error("%s", fault.story);
        return -EIO;
    }
    return 0;
}

static int open_poll(struct daemon *daemon) {
    int r = tell(http_loop_new(&daemon->http, &daemon->loop), "HTTP");

    if (r < 0)
        return r;
    r = firmware_poll_new(&daemon->poll, &daemon->loop, daemon->store, daemon->http, daemon->records,
                          daemon->queue, &daemon->config, service_on_poll_changed, daemon->service);
    return tell(r, "polling");
}

static int open_fleet(struct daemon *daemon) {
    struct fault fault;

    if (fleet_new(&daemon->fleet, &daemon->loop, &daemon->config, daemon->store, daemon->records,
                  daemon->queue, service_fleet_events(), daemon->service, &fault) == WIPYD_ERROR_NONE)
        return 0;
    log_error("%s", fault.story);
    return -EIO;
}

static int open_service(struct daemon *daemon, const char *which_bus) {
    sd_bus *bus = NULL;
    int r = open_bus(which_bus, &bus);

    if (r < 0) {
        log_error("bus %s: %s", which_bus, strerror(-r));
        return r;
    }
    r = service_new(&daemon->service, &daemon->loop, bus, &daemon->meter);
    if (r >= 0)
        r = bus_loop_new(&daemon->bus_loop, &daemon->loop, bus, on_bus_lost, daemon);
    sd_bus_unref(bus);
    return tell(r, "bus objects");
}

/* From the bottom up. Whatever fails, close_next() takes down what is there. */
static int start(struct daemon *daemon, const char *which_bus) {
    static const struct {
        int number;
        uv_signal_cb on_signal;
    } signals[] = { { SIGTERM, on_signal }, { SIGINT, on_signal }, { SIGHUP, on_hangup } };
    int r;

    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        uv_signal_init(&daemon->loop, &daemon->signals[i]);
        daemon->signals[i].data = daemon;
        uv_signal_start(&daemon->signals[i], signals[i].on_signal, signals[i].number);
    }
    start_watchdog(daemon);
    r = open_service(daemon, which_bus);
    if (r >= 0)
        r = open_records(daemon);
    if (r >= 0)
        r = open_poll(daemon);
    if (r >= 0)
        r = open_fleet(daemon);
    if (r < 0)
        return r;
    service_attach(daemon->service, daemon->fleet, daemon->store, daemon->poll);
    r = tell(fleet_start(daemon->fleet), "watching for ports");
    if (r < 0)
        return r;
    r = service_announce(daemon->service);
    if (r == -EEXIST)
        log_error("another wipyd is running on this bus");
    else
        tell(r, "taking the name " WIPYD_BUS_NAME);
    return r;
}

int main(int argc, char **argv) {
    static struct daemon daemon;
    struct arguments arguments;
    int r = parse_arguments(argc, argv, &arguments);

    if (r >= 0)
        return r;
    log_setup(LOG_INFO);
    /* Reading a package frees large blocks; glibc would answer by keeping such
     * blocks in the heap from then on, where they stay resident. */
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    daemon.arguments = &arguments;
    if (!configure(&daemon, &arguments)) {
        config_deinit(&daemon.config);
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    r = uv_loop_init(&daemon.loop);
    if (r < 0) {
        log_error("setting up the event loop: %s", uv_strerror(r));
        config_deinit(&daemon.config);
        return 1;
    }
    uv_loop_configure(&daemon.loop, UV_METRICS_IDLE_TIME);
    loop_meter_start(&daemon.meter, &daemon.loop);
    r = start(&daemon, arguments.bus);
    if (r >= 0) {
        resident_trim();
        r = tell(sd_notify(0, "READY=1"),
                 "telling that this is ready"); /* it would be taken for one that hangs */
    }
    if (r < 0) {
        daemon.exit_code = 1;
        stop(&daemon);
    } else {
        log_info("wipyd " WIPYD_VERSION " is ready, %u ports", daemon.config.n_ports);
    }
    uv_run(&daemon.loop, UV_RUN_DEFAULT);
    /* Whoever forgot to close a handle is found here. */
    r = uv_loop_close(&daemon.loop);
    assert(r == 0);
    config_deinit(&daemon.config);
    return daemon.exit_code;
}
