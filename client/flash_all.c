#include "client/flash_all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "client/device.h"
#include "client/failure.h"
#include "client/job_call.h"
#include "client/live.h"
#include "client/outcome.h"
#include "client/progress.h"
#include "client/terminal.h"
#include "client/view.h"
#include "proto/names.h"
#include "proto/phase.h"
#include "proto/policy.h"

/* One device's part. */
struct one {
    char *device, *name; /* its path, and what it is called */
    char *path;          /* of its job; NULL: it was refused, and that is told */
    bool is_over;
    struct job job; /* as it ended */
    struct progress progress;
};

struct all {
    struct client *client;
    struct live live;
    struct view view;
    bool on_screen; /* the view is used, else lines */
    struct one *ones;
    size_t n, n_left_alone; /* by their policy */
    size_t n_done, n_equal, n_written;
    enum exit_code failed; /* what those that failed have in common */
    struct json json, *to;
};

static void note(struct all *all, enum exit_code code) {
    if (code == EXIT_DONE)
        all->n_done++;
    else
        all->failed = all->failed == EXIT_DONE || all->failed == code ? code : EXIT_FAILED;
}

/* ---- who --------------------------------------------------------------------------------------*/

/* A board has answered there, or was heard. */
static bool has_board(const struct device *device) {
    switch (board_seen_from_word(device->seen)) {
    case BOARD_SEEN_FIRMWARE:
    case BOARD_SEEN_NO_BOOT:
    case BOARD_SEEN_PANIC:
    case BOARD_SEEN_BROWNOUT:
    case BOARD_SEEN_DEAF:
    case BOARD_SEEN_STUB:
    case BOARD_SEEN_DOWNLOAD:
        return device->present;
    case BOARD_SEEN_NOTHING:
    case BOARD_SEEN_SILENT:
    case BOARD_SEEN_NOISE:
    case BOARD_SEEN_COUNT:
        break;
    }
    return device->present && *device->mac;
}

static enum exit_code choose(struct all *all) {
    const struct device *devices = all->live.objects.devices.items;
    size_t n = all->live.objects.devices.n;

    all->ones = calloc(n + 1, sizeof(*all->ones));
    for (size_t i = 0; all->ones && i < n; i++) {
        struct one *one = &all->ones[all->n];

        if (!has_board(&devices[i]))
            continue;
        if (!strcmp(devices[i].policy, "off")) {
            all->n_left_alone++;
            continue;
        }
        one->device = strdup(devices[i].path);
        one->name = strdup(devices[i].name);
        if (!one->device || !one->name)
            return failure_known(all->client, WIPYD_ERROR_NO_MEMORY, NULL);
        all->n++;
    }
    if (!all->ones)
        return failure_known(all->client, WIPYD_ERROR_NO_MEMORY, NULL);
    return all->n ? EXIT_DONE
                  : failure_known(all->client, WIPYD_ERROR_NO_SUCH_DEVICE,
                                  all->n_left_alone ? "the policy where boards are is off"
                                                    : "no device has a board in it that was seen");
}

/* ---- start ----------------------------------------------------------------------------------- */

enum exit_code flash_call(const struct client *client, const char *path, int package, const char *name,
                          const char *version, sd_bus_message **call) {
    enum exit_code code;

    if (package >= 0)
        code = bus_message(client, call, path, WIPYD_DEVICE_INTERFACE, "FlashFile", "hs", package, name);
    else
        code = bus_message(client, call, path, WIPYD_DEVICE_INTERFACE, "Flash", "");
    return code == EXIT_DONE ? job_call_options(client, *call, version) : code;
}

/* Each gets a file of its own: readers of one would share its place. package: -1, none is handed over.
 * Negative errno. */
static int reopen(int package, int *ret) {
    char path[64];

    *ret = -1;
    if (package < 0)
        return 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", package);
    *ret = open(path, O_RDONLY | O_CLOEXEC);
    return *ret < 0 ? -errno : 0;
}

static enum exit_code start(const struct client *client, struct one *one, int package, const char *name,
                            const char *version) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    cleanup(close_fd_p) int own = -1;
    int r = reopen(package, &own);
    enum exit_code code;
    const char *path;

    if (r < 0)
        return failure_system(client, "The package can't be handed over; nothing was started.", r);
    code = flash_call(client, one->device, own, name, version, &call);
    if (code == EXIT_DONE)
        code = bus_call(client, call, &reply);
    if (code != EXIT_DONE)
        return code;
    r = sd_bus_message_read(reply, "o", &path);
    if (r < 0)
        return bus_bad_message(client, r);
    one->path = strdup(path);
    return one->path ? EXIT_DONE : failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
}

static enum exit_code start_all(struct all *all, int package, const char *name, const char *version) {
    enum exit_code code = EXIT_DONE;

    for (size_t i = 0; i < all->n && code != EXIT_NO_DAEMON; i++) {
        all->client->subject = all->ones[i].name;
        code = start(all->client, &all->ones[i], package, name, version);
        all->client->subject = NULL;
        if (code != EXIT_DONE)
            note(all, code);
    }
    return code == EXIT_NO_DAEMON ? code : EXIT_DONE;
}

/* ---- follow ---------------------------------------------------------------------------------- */

static size_t rows(void *userdata, struct view_row *row, size_t max) {
    struct all *all = userdata;
    size_t n = 0;

    for (size_t i = 0; i < all->n && n < max; i++) {
        const struct job *job = all->ones[i].path ? objects_job(&all->live.objects, all->ones[i].path) : NULL;
        const struct device *device =
            objects_device(&all->live.objects, job ? job->device : all->ones[i].device);

        if (job)
            row[n++] = (struct view_row) {
                .name = all->ones[i].name, .label = device ? device->label : "", .device = device, .job = job
            };
    }
    return n;
}

static void head(void *userdata, struct screen *screen) {
    (void)userdata, (void)screen;
}

static void on_news(void *userdata) {
    struct all *all = userdata;
    size_t n_under_way = 0;

    for (size_t i = 0; i < all->n; i++) {
        struct one *one = &all->ones[i];
        const struct job *job = one->path ? objects_job(&all->live.objects, one->path) : NULL;
        enum wipyd_job_state state = job ? wipyd_job_state_from_word(job->state) : WIPYD_JOB_STATE_COUNT;

        if (!job || one->is_over)
            continue;
        one->is_over = state != WIPYD_JOB_STATE_COUNT && wipyd_job_state_is_final(state);
        n_under_way += !one->is_over;
        if (!all->on_screen && !one->is_over)
            progress_job(&one->progress, job);
    }
    if (all->on_screen)
        view_news(&all->view);
    if (!n_under_way)
        watch_over(&all->live.watch, WATCH_FINISHED);
}

static enum exit_code follow(struct all *all) {
    const struct client *client = all->client;
    enum exit_code code = EXIT_DONE;
    struct job *job;
    int end;

    all->on_screen = terminal_is_live(stdout) && !client->options.json && !client->options.quiet;
    for (size_t i = 0; i < all->n; i++) {
        progress_open(&all->ones[i].progress, client, all->ones[i].name);
        all->ones[i].progress.live = false;
        if (!all->ones[i].path)
            continue;
        job = objects_add(&all->live.objects, &job_interface, all->ones[i].path);
        if (!job)
            return failure_known(client, WIPYD_ERROR_NO_MEMORY, "the jobs go on; see wipyctl monitor");
        /* News of it may be on its way already, and older. */
        object_refresh(client, &job_interface, all->ones[i].path, job);
    }
    if (all->on_screen)
        code = view_open(&all->view, client, all->live.watch.event);
    if (code != EXIT_DONE)
        return code;
    on_news(all);
    end = watch_run(&all->live.watch);
    if (all->on_screen)
        view_draw(&all->view);
    view_close(&all->view);
    if (end < 0)
        return bus_bad_message(client, end);
    switch ((enum watch_end)end) {
    case WATCH_FINISHED:
        return EXIT_DONE;
    case WATCH_INTERRUPTED:
        if (!client->options.quiet)
            text_line(stderr, TEXT_PLAIN, "detached; the jobs go on. See: wipyctl monitor");
        return EXIT_FAILED;
    case WATCH_DAEMON_GONE:
        return bus_daemon_gone(client, BUS_JOB_IS_CUT);
    }
    return EXIT_FAILED;
}

/* ---- what it came to ------------------------------------------------------------------------- */

static bool is_equal(const struct job *job) {
    const struct region *regions = job->regions.items;

    for (size_t i = 0; i < job->regions.n; i++)
        if (strcmp(regions[i].state, "equal"))
            return false;
    return job->regions.n;
}

static void tell_one(struct all *all, struct one *one) {
    struct device device = { .name = one->name, .path = one->device, .advice = (char *)"" };
    const struct device *now = objects_device(&all->live.objects, one->device);
    enum exit_code code = EXIT_DONE;

    object_refresh(all->client, &job_interface, one->path, &one->job);
    if (!one->job.path) {
        note(all, bus_daemon_gone(all->client, BUS_JOB_IS_CUT));
        return;
    }
    if (now)
        device.advice = now->advice;
    if (all->to)
        code = outcome_to_json(&one->job, all->to);
    else if (all->client->options.no_block)
        code = outcome_of_start(all->client, &device, &one->job);
    else if (all->on_screen)
        code = outcome_check(all->client, &device, &one->job); /* the rest stands above */
    else
        code = outcome_of_job(all->client, &device, &one->job);
    note(all, code);
    if (code == EXIT_DONE && is_equal(&one->job))
        all->n_equal++;
    else if (code == EXIT_DONE)
        all->n_written++;
}

static void tell_sum(const struct all *all) {
    size_t n_failed = all->n - all->n_done;

    text_put(stdout, TEXT_STRONG, "%zu board%s: ", all->n, all->n == 1 ? "" : "s");
    text_put(stdout, TEXT_PLAIN, "%zu %s, %zu had it already, ", all->n_written,
             all->client->options.dry_run ? "would be written" : "written and verified", all->n_equal);
    text_put(stdout, n_failed ? TEXT_BAD : TEXT_PLAIN, "%zu failed", n_failed);
    if (all->n_left_alone)
        text_put(stdout, TEXT_PLAIN, ", %zu left alone by policy", all->n_left_alone);
    text_line(stdout, TEXT_PLAIN, ".");
}

static enum exit_code tell(struct all *all) {
    for (size_t i = 0; i < all->n; i++)
        if (all->ones[i].path)
            tell_one(all, &all->ones[i]);
    if (!all->to && !all->client->options.quiet && !all->client->options.no_block)
        tell_sum(all);
    return all->n_done && all->failed != EXIT_DONE ? EXIT_SOME_FAILED : all->failed;
}

static void close_all(struct all *all) {
    for (size_t i = 0; i < all->n; i++) {
        progress_close(&all->ones[i].progress);
        job_clear_p(&all->ones[i].job);
        free(all->ones[i].device);
        free(all->ones[i].name);
        free(all->ones[i].path);
    }
    free(all->ones);
    live_close(&all->live);
}

enum exit_code flash_all(struct client *client, int package, const char *name, const char *version) {
    struct all all = {
        .client = client,
        .live = { .on_news = on_news, .userdata = &all },
        .view = { .head = head, .rows = rows, .userdata = &all },
    };
    enum exit_code code = live_open(&all.live, client);

    if (code == EXIT_DONE)
        code = choose(&all);
    if (code == EXIT_DONE && client->options.json) {
        all.to = &all.json;
        json_begin(all.to, client->options.json);
        json_array_begin(all.to);
        client->failures_to = all.to;
    }
    if (code == EXIT_DONE)
        code = start_all(&all, package, name, version);
    if (code == EXIT_DONE && !client->options.no_block)
        code = follow(&all);
    if (code == EXIT_DONE)
        code = tell(&all);
    client->failures_to = NULL;
    if (all.to)
        json_array_end(all.to);
    if (all.to && json_print(all.to) < 0)
        code = failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    close_all(&all);
    return code;
}
