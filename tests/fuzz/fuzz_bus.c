/*
 * Everything that callers may send over D-Bus. The daemon's own service, with its fleet, store and records
 * behind it, on one end of a socket; on the other end this file is all callers, the bus and polkit at once.
 * The input chooses calls, objects, argument types and values, descriptors, and who polkit says may. Every
 * call is answered.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

#include "daemon/bus/service.h"
#include "daemon/loop/bus_loop.h"
#include "proto/names.h"
#include "tests/fuzz/folder.h"

enum {
    CALLS_MAX = 6,
    RUNS_PER_DAEMON = 200, /* then it is closed and begun anew */
    ANSWER_MS = 20000,
    TEXT_MAX = 300,
};

static struct {
    uv_loop_t loop;
    struct config config;
    struct loop_meter meter;
    struct records *records;
    struct work_queue *queue;
    struct http_loop *http;
    struct firmware_store *store;
    struct firmware_poll *poll;
    struct fleet *fleet;
    struct service *service;
    struct bus_loop *bus_loop;
    sd_bus *bus;
    bool is_closed;
    unsigned n_runs;

    sd_bus *peer;
    uint8_t how; /* what the bus and polkit say */
    unsigned n_asked, n_answered;
    char path[400]; /* of an object that an answer named */
} bench;

/* ---- the bus and polkit ---------------------------------------------------------------------- */

static int tell_credentials(sd_bus_message *call) {
    if (bench.how & 1)
        return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_NAME_HAS_NO_OWNER, "gone");
    return sd_bus_reply_method_return(call, "a{sv}", 3, "UnixUserID", "u", bench.how & 2 ? 1000u : 0u,
                                      "ProcessID", "u", 4711u, "LinuxSecurityLabel", "ay", 2, 1, 2);
}

static int tell_authorization(sd_bus_message *call) {
    if (bench.how & 4)
        return sd_bus_reply_method_return(call, "s", "what?");
    return sd_bus_reply_method_return(call, "(bba{ss})", bench.how & 8 ? 0 : 1, bench.how & 16 ? 1 : 0, 1,
                                      "polkit.dismissed", bench.how & 32 ? "1" : "");
}

static int on_call(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const char *member = sd_bus_message_get_member(message);
    uint8_t type;
    int r;

    (void)userdata, (void)error;
    must(sd_bus_message_get_type(message, &type) >= 0);
    if (type != SD_BUS_MESSAGE_METHOD_CALL)
        return 0;
    if (!strcmp(member, "GetConnectionCredentials"))
        r = tell_credentials(message);
    else if (!strcmp(member, "CheckAuthorization"))
        r = tell_authorization(message);
    else
        r = sd_bus_reply_method_errorf(message, SD_BUS_ERROR_SERVICE_UNKNOWN, "nobody");
    must(r >= 0);
    return 1;
}

/* ---- the daemon ------------------------------------------------------------------------------ */

static void on_lost(void *userdata, int r) {
    (void)userdata;
    fprintf(stderr, "the connection is lost: %s\n", strerror(-r));
    must(false);
}

static void connect_peers(void) {
    int fds[2];
    sd_id128_t id;

    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
    must(sd_id128_randomize(&id) >= 0);
    must(sd_bus_new(&bench.peer) >= 0 && sd_bus_set_fd(bench.peer, fds[0], fds[0]) >= 0);
    must(sd_bus_set_server(bench.peer, true, id) >= 0 && sd_bus_negotiate_fds(bench.peer, true) >= 0);
    must(sd_bus_add_filter(bench.peer, NULL, on_call, NULL) >= 0 && sd_bus_start(bench.peer) >= 0);
    must(sd_bus_new(&bench.bus) >= 0 && sd_bus_set_fd(bench.bus, fds[1], fds[1]) >= 0);
    must(sd_bus_negotiate_fds(bench.bus, true) >= 0 && sd_bus_start(bench.bus) >= 0);
    /* A real bus sends nothing before it was said hello: no descriptor comes with the authentication. */
    while (!sd_bus_is_ready(bench.bus) || !sd_bus_is_ready(bench.peer))
        must(sd_bus_process(bench.bus, NULL) >= 0 && sd_bus_process(bench.peer, NULL) >= 0);
}

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define MAC    "30:ae:a4:01:02:03"

/* What earlier days have left: a package whose file is gone, a board, its slot. */
static void put_records(struct records *records) {
    static char name[] = "WiPy.tar.gz", type[] = "WiPy", release[] = "1.20.1.r1", origin[] = "import",
                none[] = "";
    const struct firmware_record package = { .sha256 = DIGEST,
                                             .bytes = 1500000,
                                             .name = name,
                                             .board = type,
                                             .release = release,
                                             .origin = origin,
                                             .server_version = none,
                                             .server_hash = none,
                                             .reason = none,
                                             .added_us = 1 };
    const struct board_record board = {
        .mac = MAC, .board = "WiPy", .release = "1.20.1.r1", .label = "bench 3", .slot = "1-1", .seen_us = 7
    };
    const struct slot_record slot = { .name = "1-1", .mac = MAC, .seen_us = 7 };

    must(records_put_firmware(records, &package) == 0);
    must(records_put_board(records, &board) == 0);
    must(records_put_slot(records, &slot) == 0);
}

static void start_daemon(void) {
    char path[300];
    struct fault fault;

    must(config_init(&bench.config) == 0);
    free(bench.config.state_directory);
    bench.config.state_directory = strdup(own_folder());
    while (bench.config.n_sources)
        free(bench.config.sources[--bench.config.n_sources].url);
    snprintf(path, sizeof path, "%s/ttyNone", own_folder());
    must(config_add_port(&bench.config, path) == 0 && config_add_port(&bench.config, "/dev/null") == 0);

    must(uv_loop_init(&bench.loop) == 0);
    uv_loop_configure(&bench.loop, UV_METRICS_IDLE_TIME);
    loop_meter_start(&bench.meter, &bench.loop);
    connect_peers();
    must(service_new(&bench.service, &bench.loop, bench.bus, &bench.meter) >= 0);
    must(bus_loop_new(&bench.bus_loop, &bench.loop, bench.bus, on_lost, NULL) >= 0);
    must(work_queue_new(&bench.queue, &bench.loop) == 0);
    snprintf(path, sizeof path, "%s/wipyd.db", own_folder());
    must(records_open(&bench.records, path, &fault) == WIPYD_ERROR_NONE);
    put_records(bench.records);
    snprintf(path, sizeof path, "%s/firmware", own_folder());
    must(firmware_store_open(&bench.store, path, bench.records, bench.queue, &bench.config,
                             service_store_events(), bench.service, &fault) == WIPYD_ERROR_NONE);
    must(http_loop_new(&bench.http, &bench.loop) == 0);
    must(firmware_poll_new(&bench.poll, &bench.loop, bench.store, bench.http, bench.records, bench.queue,
                           &bench.config, service_on_poll_changed, bench.service) == 0);
    must(fleet_new(&bench.fleet, &bench.loop, &bench.config, bench.store, bench.records, bench.queue,
                   service_fleet_events(), bench.service, &fault) == WIPYD_ERROR_NONE);
    service_attach(bench.service, bench.fleet, bench.store, bench.poll);
    must(fleet_start(bench.fleet) >= 0);
}

/* As main.c does it. */
static void close_next(void *userdata) {
    (void)userdata;
    if (bench.fleet) {
        fleet_close(steal_pointer(&bench.fleet), close_next, NULL);
        return;
    }
    if (bench.service)
        service_detach(bench.service);
    if (bench.poll) {
        firmware_poll_close(steal_pointer(&bench.poll), close_next, NULL);
    } else if (bench.http) {
        http_loop_close(steal_pointer(&bench.http), close_next, NULL);
    } else if (bench.store) {
        firmware_store_close(steal_pointer(&bench.store), close_next, NULL);
    } else if (bench.queue) {
        work_queue_close(steal_pointer(&bench.queue), close_next, NULL);
    } else {
        bench.records = records_close(bench.records);
        bench.service = service_close(bench.service);
        bench.bus_loop = bus_loop_close(bench.bus_loop);
        loop_meter_close(&bench.meter);
    }
}

static void serve_peer(void) {
    int r;

    do
        r = sd_bus_process(bench.peer, NULL);
    while (r > 0);
    must(r >= 0);
}

static void stop_daemon(void) {
    close_next(NULL);
    while (uv_run(&bench.loop, UV_RUN_NOWAIT))
        serve_peer();
    must(uv_loop_close(&bench.loop) == 0); /* no handle was forgotten */
    bench.bus = sd_bus_flush_close_unref(bench.bus);
    bench.peer = sd_bus_close_unref(bench.peer);
    config_deinit(&bench.config);
    empty_folder(own_folder());
    memset(&bench, 0, sizeof bench);
}

static void stop_at_exit(void) {
    if (bench.service)
        stop_daemon();
    remove_folder_at_exit();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    log_setup(-1);
    return atexit(stop_at_exit);
}

/* ---- callers --------------------------------------------------------------------------------- */

static const struct method {
    const char *interface, *member, *types;
} methods[] = {
    { WIPYD_MANAGER_INTERFACE, "FindDevice", "s" },
    { WIPYD_MANAGER_INTERFACE, "FindJob", "u" },
    { WIPYD_MANAGER_INTERFACE, "Refresh", "" },
    { WIPYD_MANAGER_INTERFACE, "ImportFirmware", "hs" },
    { WIPYD_MANAGER_INTERFACE, "FindFirmware", "s" },
    { WIPYD_MANAGER_INTERFACE, "FindBoard", "s" },
    { WIPYD_MANAGER_INTERFACE, "FindSlot", "s" },
    { WIPYD_MANAGER_INTERFACE, "SetDefaultPolicy", "s" },
    { WIPYD_MANAGER_INTERFACE, "History", "a" },
    { WIPYD_MANAGER_INTERFACE, "Decisions", "a" },
    { WIPYD_MANAGER_INTERFACE, "ListBackups", "s" },
    { WIPYD_MANAGER_INTERFACE, "OpenBackup", "ss" },
    { "org.wipyd1.Device", "Flash", "a" },
    { "org.wipyd1.Device", "FlashFile", "hsa" },
    { "org.wipyd1.Device", "Identify", "a" },
    { "org.wipyd1.Device", "Look", "a" },
    { "org.wipyd1.Device", "Lease", "s" },
    { "org.wipyd1.Device", "Restore", "ssa" },
    { "org.wipyd1.Device", "Explain", "" },
    { "org.wipyd1.Job", "Cancel", "" },
    { "org.wipyd1.Firmware", "Export", "" },
    { "org.wipyd1.Firmware", "Pin", "b" },
    { "org.wipyd1.Firmware", "Remove", "b" },
    { "org.wipyd1.Firmware", "Verify", "" },
    { "org.wipyd1.Firmware", "Unquarantine", "" },
    { "org.wipyd1.Board", "SetPolicy", "s" },
    { "org.wipyd1.Board", "SetLabel", "s" },
    { "org.wipyd1.Board", "Pin", "s" },
    { "org.wipyd1.Board", "Forget", "" },
    { "org.wipyd1.Slot", "SetPolicy", "s" },
    { "org.wipyd1.Slot", "SetLabel", "s" },
    { "org.wipyd1.Slot", "Arm", "b" },
    { "org.wipyd1.Slot", "Forget", "" },
    { "org.freedesktop.DBus.Properties", "GetAll", "s" },
    { "org.freedesktop.DBus.Properties", "Get", "ss" },
    { "org.freedesktop.DBus.Properties", "Set", "ssv" },
    { "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "" },
    { "org.freedesktop.DBus.Introspectable", "Introspect", "" },
};

static const char *const words[] = {
    "",
    "ttyNone",
    "null",
    "/dev/null",
    "wipy",
    "off",
    "ask",
    "any",
    "1.20.1.r1",
    "30:ae:a4:01:02:03",
    "30AEA4010203",
    "20261122T101500.123Z-7",
    "config,nvs,otadata",
    "../../etc/shadow",
    "version",
    "baud",
    "connect-timeout",
    "dry-run",
    "repl",
    "parts",
    "board",
    "slot",
    "since",
    "limit",
    "org.wipyd1.Device",
    "org.wipyd1.Job",
    "org.wipyd1.Slot",
    "Policy",
    "\xe2\x80\xaeturned",
    "f\xc3\xbcnf",
};

/* A word of the table, or text of the input's own; what is no UTF-8 the library wouldn't send. */
static const char *take_word(struct input *input, char *ret) {
    uint8_t which = take_byte(input);

    if (which < 0xc0)
        return words[which % (sizeof words / sizeof *words)];
    take_text(input, ret, TEXT_MAX);
    for (char *p = ret; *p; p++)
        *p &= 0x7f;
    return ret;
}

/* What is handed over as a package. */
static int take_fd(struct input *input) {
    uint8_t how = take_byte(input);
    struct input contents = take_some(input, 40u * (how >> 3));
    int fd;

    if (how % 8 == 0)
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (how % 8 == 1)
        return open("/dev/zero", O_RDWR | O_CLOEXEC);
    fd = memfd_create("package", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    must(fd >= 0 && write(fd, contents.bytes, contents.size) == (ssize_t)contents.size);
    if (how % 8 == 2)
        must(ftruncate(fd, 9 << 20) == 0);
    if (how % 8 != 3)
        must(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0);
    return fd;
}

static int append_value(sd_bus_message *call, struct input *input, char type);

static int append_variant(sd_bus_message *call, struct input *input) {
    static const char types[] = "sbuthiqxyd";
    const char type[2] = { types[take_byte(input) % (sizeof types - 1)], 0 };
    int r = sd_bus_message_open_container(call, 'v', type);

    if (r >= 0)
        r = append_value(call, input, *type);
    return r < 0 ? r : sd_bus_message_close_container(call);
}

static int append_options(sd_bus_message *call, struct input *input) {
    char text[TEXT_MAX];
    unsigned n = take_byte(input) % 5u;
    int r = sd_bus_message_open_container(call, 'a', "{sv}");

    while (r >= 0 && n--) {
        r = sd_bus_message_open_container(call, 'e', "sv");
        if (r >= 0)
            r = sd_bus_message_append_basic(call, 's', take_word(input, text));
        if (r >= 0)
            r = append_variant(call, input);
        if (r >= 0)
            r = sd_bus_message_close_container(call);
    }
    return r < 0 ? r : sd_bus_message_close_container(call);
}

static int append_value(sd_bus_message *call, struct input *input, char type) {
    uint64_t number = take_u32(input);
    char text[TEXT_MAX];
    double real = (double)number;
    int flag = number & 1, fd, r;

    switch (type) {
    case 's':
        return sd_bus_message_append_basic(call, 's', take_word(input, text));
    case 'b':
        return sd_bus_message_append_basic(call, 'b', &flag);
    case 'a':
        return append_options(call, input);
    case 'v':
        return append_variant(call, input);
    case 'd':
        return sd_bus_message_append_basic(call, 'd', &real);
    case 'h':
        fd = take_fd(input);
        must(fd >= 0);
        r = sd_bus_message_append_basic(call, 'h', &fd);
        close(fd);
        return r;
    default:
        return sd_bus_message_append_basic(call, type, &number); /* little-endian: any size */
    }
}

static const char *take_path(struct input *input, const struct method *method) {
    static const char *const there[] = { WIPYD_FIRMWARE_PATH "/0123456789abcdef",
                                         WIPYD_BOARD_PATH "/30aea4010203", WIPYD_SLOT_PATH "/_31_2d1" };
    static char path[500];
    char text[TEXT_MAX], *encoded = NULL;
    const char *kind = strrchr(method->interface, '.') + 1;
    uint8_t how = take_byte(input);

    if (!strcmp(kind, "Manager") || !strcmp(kind, "ObjectManager"))
        return WIPYD_ROOT_PATH;
    if (how & 1 && *bench.path)
        return bench.path;
    if (how & 128) /* what put_records() has put */
        return there[!strcmp(kind, "Firmware") ? 0
                     : !strcmp(kind, "Board")  ? 1
                     : !strcmp(kind, "Slot")   ? 2
                                               : how % 3];
    snprintf(path, sizeof path, "/org/wipyd1/%s",
             how & 2   ? "device"
             : how & 4 ? "job"
             : how & 8 ? "slot"
                       : "board");
    if (how & 16)
        return WIPYD_ROOT_PATH;
    if (!strcmp(kind, "Job"))
        snprintf(path, sizeof path, WIPYD_JOB_PATH "/%u", how >> 5);
    else if (!strcmp(kind, "Device") || how & 32)
        snprintf(path, sizeof path, WIPYD_DEVICE_PATH "/%s", how & 64 ? "ttyNone" : "null");
    else if (sd_bus_path_encode(path, take_word(input, text), &encoded) >= 0)
        snprintf(path, sizeof path, "%s", encoded);
    free(encoded);
    return path;
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const sd_bus_error *refusal = sd_bus_message_get_error(reply);
    const char *path;

    (void)userdata, (void)error;
    bench.n_answered++;
    if (refusal) {
        must(refusal->name && *refusal->name && refusal->message && *refusal->message);
        must(strncmp(refusal->name, "System.Error.", 13) || strstr(refusal->name, "EINVAL") ||
             strstr(refusal->name, "ENXIO") || strstr(refusal->name, "EBADMSG"));
    } else if (sd_bus_message_has_signature(reply, "o") && sd_bus_message_read_basic(reply, 'o', &path) > 0) {
        must(!strncmp(path, WIPYD_ROOT_PATH "/", sizeof WIPYD_ROOT_PATH));
        snprintf(bench.path, sizeof bench.path, "%s", path);
    }
    return 1;
}

static void call(struct input *input) {
    const struct method *method = &methods[take_byte(input) % (sizeof methods / sizeof *methods)];
    uint8_t how = take_byte(input);
    sd_bus_message *message = NULL;
    const char *types = method->types;
    static const char wrong[] = "sbutahv";
    int r;

    must(sd_bus_message_new_method_call(bench.peer, &message, NULL, take_path(input, method),
                                        method->interface, method->member) >= 0);
    if (how & 0xfc)
        must(sd_bus_message_set_sender(message, ":1.7") >= 0);
    if ((how & 3) == 3) /* other types than the method's */
        for (r = 0; input->size && how & 0x1c && r >= 0; how = (uint8_t)(how - 4))
            r = append_value(message, input, wrong[take_byte(input) % (sizeof wrong - 1)]);
    else
        for (r = 0; *types && r >= 0; types++)
            r = append_value(message, input, *types);
    if (r >= 0) {
        must(sd_bus_call_async(bench.peer, NULL, message, on_answer, NULL, UINT64_MAX) >= 0);
        bench.n_asked++;
    }
    sd_bus_message_unref(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct input input = { bytes, size };
    uint64_t end;

    if (!bench.service)
        start_daemon();
    bench.how = take_byte(&input);
    for (unsigned i = 0; i < CALLS_MAX && input.size; i++)
        call(&input);
    end = uv_hrtime() + ANSWER_MS * 1000000ull;
    while (bench.n_answered < bench.n_asked) {
        serve_peer();
        uv_run(&bench.loop, UV_RUN_NOWAIT);
        must(uv_hrtime() < end); /* every call is answered */
    }
    if (++bench.n_runs == RUNS_PER_DAEMON)
        stop_daemon();
    return 0;
}
