#include <string.h>
#include <time.h>

#include "client/bus.h"
#include "client/failure.h"
#include "client/mirror.h"
#include "client/poll.h"
#include "client/progress.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

struct refresh {
    struct watch watch;
    struct mirror mirror; /* of manager */
    struct progress progress;
    struct manager manager;
    uint64_t polled_before_us;
    uint64_t fetching_since_us, fetched_then; /* CLOCK_MONOTONIC; what the rate is counted from */
    bool begun;                               /* the poll was seen at work */
    bool ended;                               /* it is over; the last load completes the picture */
    enum exit_code refused;                   /* of the first load */
};

/* ---- the poll at work ------------------------------------------------------------------------ */

static uint32_t rate_of(struct refresh *refresh) {
    uint64_t bytes = refresh->manager.fetched_bytes, now_us;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    now_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    if (!refresh->fetching_since_us || bytes < refresh->fetched_then || !bytes) {
        refresh->fetching_since_us = now_us; /* another download: it is resumed, or the next source's */
        refresh->fetched_then = bytes;
    }
    if (now_us - refresh->fetching_since_us < 200000)
        return 0;
    return (uint32_t)((bytes - refresh->fetched_then) * 1000000 / (now_us - refresh->fetching_since_us));
}

/* Refresh has answered before anything comes here. At rest is the end, if the poll was seen at work, or was
 * so short that its moment is all there is to see. */
static void on_news(void *userdata, bool whole) {
    struct refresh *refresh = userdata;
    const struct manager *manager = &refresh->manager;
    struct progress_point point;
    int r = 0;

    if (!refresh->ended && poll_is_busy(manager)) {
        refresh->begun = true;
        point = poll_point(manager, rate_of(refresh));
        progress_show(&refresh->progress, &point);
        return;
    }
    if (!refresh->ended && !refresh->begun && !poll_is_off(manager) &&
        manager->polled_at_us == refresh->polled_before_us)
        return; /* it is about to begin */
    if (!whole && !refresh->ended)
        r = mirror_load(&refresh->mirror);
    refresh->ended = true;
    if (r < 0)
        watch_over(&refresh->watch, r);
    else if (whole)
        watch_over(&refresh->watch, WATCH_FINISHED);
}

static void on_refused(void *userdata, const sd_bus_error *error) {
    struct refresh *refresh = userdata;

    if (!refresh->ended) {
        progress_clear(&refresh->progress);
        refresh->refused = bus_failure(refresh->watch.client, error, 0);
    }
    watch_over(&refresh->watch, WATCH_FINISHED);
}

/* ---- what it came to ------------------------------------------------------------------------- */

static enum exit_code print_json(const struct client *client, const struct manager *manager,
                                 const struct failure *failure) {
    struct json json;

    json_begin(&json, client->options.json);
    json_map_begin(&json);
    properties_to_json(&manager_interface, manager, PROPERTIES_ALL, &json);
    if (failure->exit_code != EXIT_DONE) {
        json_string(&json, "message");
        json_string(&json, failure->message);
        json_string(&json, "hint");
        json_string(&json, failure->hint);
    }
    json_map_end(&json);
    return json_print(&json) < 0 ? failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL) : failure->exit_code;
}

static enum exit_code tell(const struct client *client, const struct manager *manager) {
    struct failure failure = { .exit_code = EXIT_DONE, .story = manager->poll_result };

    if (poll_is_off(manager)) {
        failure.exit_code = EXIT_FAILED;
        failure.message = "wipyd asks no sources.";
        failure.hint = "Name a source in wipyd.conf, or: wipyctl firmware import FILE.tar.gz";
    } else if (manager->poll_failures) {
        failure.exit_code = EXIT_FAILED;
        failure.message = "No source gave firmware.";
        failure.hint = "What is at hand stays: wipyctl firmware list. More is in: journalctl -u wipyd";
    }
    if (client->options.json)
        return print_json(client, manager, &failure);
    if (failure.exit_code != EXIT_DONE)
        return failure_report(client, &failure);
    if (!client->options.quiet)
        text_line(stdout, TEXT_GOOD, "%s", manager->poll_result);
    return EXIT_DONE;
}

static enum exit_code detach(const struct client *client, const struct manager *manager) {
    if (client->options.json && object_print_json(client, &manager_interface, manager) != EXIT_DONE)
        return EXIT_FAILED;
    if (!client->options.quiet)
        text_line(stderr, TEXT_PLAIN, "detached; the poll goes on. See: wipyctl status");
    return EXIT_FAILED;
}

static enum exit_code wait_for_end(struct refresh *refresh, const struct client *client) {
    int r = mirror_load(&refresh->mirror), end;

    if (r < 0)
        return bus_failure(client, NULL, r);
    end = watch_run(&refresh->watch);
    progress_clear(&refresh->progress);
    if (end < 0)
        return bus_bad_message(client, end);
    if (refresh->ended)
        return tell(client, &refresh->manager);
    switch ((enum watch_end)end) {
    case WATCH_FINISHED:
        return refresh->refused;
    case WATCH_INTERRUPTED:
        return detach(client, &refresh->manager);
    case WATCH_DAEMON_GONE:
        return bus_daemon_gone(client, "It asks again when it runs; what is at hand stays.");
    }
    return EXIT_FAILED;
}

/* ---- the verb -------------------------------------------------------------------------------- */

static enum exit_code ask(const struct client *client) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    enum exit_code code = bus_message(client, &call, WIPYD_ROOT_PATH, WIPYD_MANAGER_INTERFACE, "Refresh", "");

    return code == EXIT_DONE ? bus_call(client, call, &reply) : code;
}

static enum exit_code ask_and_leave(const struct client *client, struct manager *manager) {
    enum exit_code code = ask(client);

    if (code == EXIT_DONE)
        code = object_load(client, &manager_interface, WIPYD_ROOT_PATH, manager);
    if (code != EXIT_DONE)
        return code;
    if (poll_is_off(manager))
        return tell(client, manager);
    if (client->options.json)
        return object_print_json(client, &manager_interface, manager);
    if (!client->options.quiet)
        text_line(stdout, TEXT_PLAIN, "The sources are being asked. See: wipyctl status");
    return EXIT_DONE;
}

/* Listens before it asks, so that no change is lost. */
static enum exit_code ask_and_follow(const struct client *client, struct refresh *refresh) {
    enum exit_code code = watch_open(&refresh->watch, client);

    refresh->mirror = (struct mirror) {
        .watch = &refresh->watch,
        .interface = &manager_interface,
        .object = &refresh->manager,
        .path = WIPYD_ROOT_PATH,
        .on_news = on_news,
        .on_refused = on_refused,
        .userdata = refresh,
    };
    if (code == EXIT_DONE)
        code = mirror_listen(&refresh->mirror, client, "path='" WIPYD_ROOT_PATH "'");
    if (code == EXIT_DONE)
        code = object_load(client, &manager_interface, WIPYD_ROOT_PATH, &refresh->manager);
    refresh->polled_before_us = refresh->manager.polled_at_us;
    if (code == EXIT_DONE)
        code = progress_animate(&refresh->progress, refresh->watch.event);
    if (code == EXIT_DONE)
        code = ask(client);
    return code == EXIT_DONE ? wait_for_end(refresh, client) : code;
}

enum exit_code verb_firmware_refresh(struct client *client, char **arguments) {
    struct refresh refresh = { 0 };
    enum exit_code code;

    (void)arguments;
    progress_open(&refresh.progress, client, "firmware");
    code =
        client->options.no_block ? ask_and_leave(client, &refresh.manager) : ask_and_follow(client, &refresh);
    progress_close(&refresh.progress);
    watch_close(&refresh.watch);
    properties_clear(&manager_interface, &refresh.manager);
    return code;
}
