#include "client/follow.h"

#include <signal.h>
#include <string.h>
#include <time.h>

#include "client/bus.h"
#include "client/failure.h"
#include "client/progress.h"
#include "client/text.h"
#include "client/watch.h"
#include "proto/names.h"
#include "proto/phase.h"

#define REDRAW_US UINT64_C(1000000) /* the clock in the line */

struct follow {
    struct watch watch;
    struct progress progress;
    const char *path; /* NULL until the call has answered */
    struct job *job;
    bool loaded;            /* GetAll has answered: changes before it are older than it */
    bool ended;             /* the job's state is final; the last GetAll completes the picture */
    enum exit_code refused; /* of the first GetAll */
};

static void quit(struct follow *follow, int end) {
    watch_over(&follow->watch, end);
}

static bool is_final(const struct job *job) {
    enum wipyd_job_state state = wipyd_job_state_from_word(job->state);

    return state != WIPYD_JOB_STATE_COUNT && wipyd_job_state_is_final(state);
}

/* The daemon may be on its way out: an end that we know of isn't spoilt by what can't be asked any more. */
static int on_loaded(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct follow *follow = userdata;
    uint32_t seen = 0;
    int r = 0;

    (void)error;
    if (!sd_bus_message_is_method_error(m, NULL)) {
        r = object_read(&job_interface, follow->job, follow->path, m, &seen);
    } else if (!follow->ended) {
        progress_clear(&follow->progress);
        follow->refused = bus_failure(follow->watch.client, sd_bus_message_get_error(m), 0);
        quit(follow, WATCH_FINISHED);
        return 0;
    }
    follow->loaded = true;
    if (r < 0)
        quit(follow, r);
    else if (follow->ended || is_final(follow->job))
        quit(follow, WATCH_FINISHED);
    else
        progress_update(&follow->progress, follow->job);
    return 0;
}

/* Asynchronous, so that its answer takes its place in the row of changes. */
static int load(struct follow *follow) {
    return sd_bus_call_method_async(follow->watch.client->bus, NULL, WIPYD_BUS_NAME, follow->path,
                                    "org.freedesktop.DBus.Properties", "GetAll", on_loaded, follow, "s",
                                    WIPYD_JOB_INTERFACE);
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct follow *follow = userdata;
    const char *interface;
    uint32_t seen = 0;
    int r;

    (void)error;
    if (!follow->loaded || follow->ended || strcmp(sd_bus_message_get_path(m), follow->path))
        return 0;
    r = sd_bus_message_read(m, "s", &interface);
    if (r >= 0 && strcmp(interface, WIPYD_JOB_INTERFACE))
        return 0;
    if (r >= 0)
        r = properties_read(&job_interface, follow->job, m, &seen);
    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "s");
    if (r >= 0)
        r = sd_bus_message_at_end(m, 0);
    follow->ended = r >= 0 && is_final(follow->job);
    if (r == 0 || follow->ended) /* there are changes whose values weren't told, or none will be any more */
        r = load(follow);
    if (r < 0)
        quit(follow, r);
    else if (!follow->ended)
        progress_update(&follow->progress, follow->job);
    return 0;
}

static int on_tick(sd_event_source *source, uint64_t now_us, void *userdata) {
    struct follow *follow = userdata;

    if (follow->loaded && !follow->ended)
        progress_update(&follow->progress, follow->job);
    sd_event_source_set_time(source, now_us + REDRAW_US);
    return 0;
}

static int on_resize(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
    struct follow *follow = userdata;

    (void)source, (void)info;
    if (follow->loaded && !follow->ended)
        progress_update(&follow->progress, follow->job);
    return 0;
}

/* Before the call, so that no change is lost; the job's path isn't known yet. */
static enum exit_code listen(struct follow *follow, const struct client *client) {
    enum exit_code code = watch_open(&follow->watch, client);
    sd_event_source *tick;
    uint64_t now_us;
    int r;

    if (code != EXIT_DONE)
        return code;
    r = sd_bus_add_match(client->bus, NULL,
                         "type='signal',sender='" WIPYD_BUS_NAME "',path_namespace='" WIPYD_JOB_PATH "',"
                         "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
                         on_changed, follow);
    if (r < 0)
        return bus_failure(client, NULL, r);
    if (!follow->progress.live || follow->progress.silent)
        return EXIT_DONE;

    r = sd_event_now(follow->watch.event, CLOCK_MONOTONIC, &now_us);
    if (r >= 0)
        r = sd_event_add_time(follow->watch.event, &tick, CLOCK_MONOTONIC, now_us + REDRAW_US, 0, on_tick,
                              follow);
    if (r >= 0) {
        sd_event_source_set_enabled(tick, SD_EVENT_ON);
        sd_event_source_set_floating(tick, true);
        sd_event_source_unref(tick);
        r = sd_event_add_signal(follow->watch.event, NULL, SIGWINCH, on_resize, follow);
    }
    return r < 0 ? failure_system(client, "wipyctl can't wait for the daemon.", r) : EXIT_DONE;
}

static enum exit_code detach(const struct client *client, const struct follow *follow) {
    const char *number = strrchr(follow->path, '/') + 1;

    if (client->options.json && object_print_json(client, &job_interface, follow->job) != EXIT_DONE)
        return EXIT_FAILED;
    if (!client->options.quiet)
        text_line(stderr, TEXT_PLAIN, "detached; the job goes on. Stop it with: wipyctl cancel %s", number);
    return EXIT_FAILED;
}

static enum exit_code wait_for_end(struct follow *follow, const struct client *client) {
    int r = load(follow), end;

    if (r < 0)
        return bus_failure(client, NULL, r);
    end = watch_run(&follow->watch);
    progress_clear(&follow->progress);
    if (end < 0)
        return bus_bad_message(client, end);
    if (follow->ended)
        return EXIT_DONE;
    switch ((enum watch_end)end) {
    case WATCH_FINISHED:
        return follow->refused;
    case WATCH_INTERRUPTED:
        return detach(client, follow);
    case WATCH_DAEMON_GONE:
        return bus_daemon_gone(client);
    }
    return EXIT_FAILED;
}

enum exit_code follow_call(const struct client *client, const struct device *device, sd_bus_message *call,
                           struct job *job) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    struct follow follow = { .job = job };
    enum exit_code code = EXIT_DONE;
    int r;

    progress_open(&follow.progress, client, device->name);
    if (!client->options.no_block)
        code = listen(&follow, client);
    if (code == EXIT_DONE)
        code = bus_call(client, call, &reply);
    if (code == EXIT_DONE) {
        r = sd_bus_message_read(reply, "o", &follow.path);
        if (r < 0)
            code = bus_bad_message(client, r);
        else if (client->options.no_block)
            code = object_load(client, &job_interface, follow.path, job);
        else
            code = wait_for_end(&follow, client);
    }
    progress_close(&follow.progress);
    watch_close(&follow.watch);
    return code;
}
