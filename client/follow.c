#include "client/follow.h"

#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "client/device.h"
#include "client/mirror.h"
#include "client/progress.h"
#include "client/text.h"
#include "proto/names.h"
#include "proto/phase.h"

struct follow {
    struct watch watch;
    struct mirror mirror; /* of *job */
    struct progress progress;
    struct job *job;
    char name[64];          /* of the device that the job is on, or was last */
    bool ended;             /* the job's state is final; the last load completes the picture */
    enum exit_code refused; /* of the first load */
};

static bool is_final(const struct job *job) {
    enum wipyd_job_state state = wipyd_job_state_from_word(job->state);

    return state != WIPYD_JOB_STATE_COUNT && wipyd_job_state_is_final(state);
}

/* One that went on and was done within a moment is told as a whole, and never as under way. */
static void finish(struct follow *follow) {
    if (wipyd_job_state_from_word(follow->job->state) == WIPYD_JOB_STATE_DONE) {
        progress_clear(&follow->progress);
        progress_return(&follow->progress);
    }
    watch_over(&follow->watch, WATCH_FINISHED);
}

static void on_news(void *userdata, bool whole) {
    struct follow *follow = userdata;
    int r = 0;

    device_name_of(follow->job->device, follow->name, sizeof(follow->name)); /* stays while it is of none */
    if (!follow->ended && !is_final(follow->job)) {
        progress_job(&follow->progress, follow->job);
        return;
    }
    if (!whole && !follow->ended)
        r = mirror_load(&follow->mirror);
    follow->ended = true;
    if (r < 0)
        watch_over(&follow->watch, r);
    else if (whole)
        finish(follow);
}

/* The daemon may be on its way out: an end that we know of isn't spoilt by what can't be asked any more. */
static void on_refused(void *userdata, const sd_bus_error *error) {
    struct follow *follow = userdata;

    if (!follow->ended) {
        progress_clear(&follow->progress);
        follow->refused = bus_failure(follow->watch.client, error, 0);
    }
    watch_over(&follow->watch, WATCH_FINISHED);
}

/* Before the job is looked at, so that no change is lost; its path may not be known yet. */
static enum exit_code listen(struct follow *follow, const struct client *client) {
    enum exit_code code = watch_open(&follow->watch, client);

    follow->mirror = (struct mirror) {
        .watch = &follow->watch,
        .interface = &job_interface,
        .object = follow->job,
        .on_news = on_news,
        .on_refused = on_refused,
        .userdata = follow,
    };
    if (code == EXIT_DONE)
        code = mirror_listen(&follow->mirror, client, "path_namespace='" WIPYD_JOB_PATH "'");
    return code == EXIT_DONE ? progress_animate(&follow->progress, follow->watch.event) : code;
}

static enum exit_code detach(const struct client *client, const struct follow *follow) {
    const char *number = strrchr(follow->mirror.path, '/') + 1;

    if (client->options.json && object_print_json(client, &job_interface, follow->job) != EXIT_DONE)
        return EXIT_FAILED;
    if (!client->options.quiet)
        text_line(stderr, TEXT_PLAIN,
                  "detached; the job goes on. To come back: wipyctl follow %s; to stop it: wipyctl cancel %s",
                  number, number);
    return EXIT_FAILED;
}

static enum exit_code wait_for_end(struct follow *follow, const struct client *client, const char *path) {
    int r, end;

    follow->mirror.path = path;
    r = mirror_load(&follow->mirror);
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
        return bus_daemon_gone(client, BUS_JOB_IS_CUT);
    }
    return EXIT_FAILED;
}

static enum exit_code follow_open(struct follow *follow, const struct client *client, const char *name) {
    snprintf(follow->name, sizeof(follow->name), "%s", name);
    progress_open(&follow->progress, client, follow->name);
    return listen(follow, client);
}

static void follow_close(struct follow *follow) {
    progress_close(&follow->progress);
    watch_close(&follow->watch);
}

static enum exit_code make_call(const struct client *client, sd_bus_message *call, sd_bus_message **reply,
                                const char **path) {
    enum exit_code code = bus_call(client, call, reply);
    int r;

    if (code != EXIT_DONE)
        return code;
    r = sd_bus_message_read(*reply, "o", path);
    return r < 0 ? bus_bad_message(client, r) : EXIT_DONE;
}

enum exit_code follow_call(const struct client *client, const struct device *device, sd_bus_message *call,
                           struct job *job) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    struct follow follow = { .job = job };
    const char *path;
    enum exit_code code;

    if (client->options.no_block) {
        code = make_call(client, call, &reply, &path);
        return code == EXIT_DONE ? object_load(client, &job_interface, path, job) : code;
    }
    code = follow_open(&follow, client, device->name);
    if (code == EXIT_DONE)
        code = make_call(client, call, &reply, &path);
    if (code == EXIT_DONE)
        code = wait_for_end(&follow, client, path);
    follow_close(&follow);
    return code;
}

enum exit_code follow_job(const struct client *client, const char *name, const char *path, struct job *job) {
    struct follow follow = { .job = job };
    enum exit_code code = follow_open(&follow, client, name);

    if (code == EXIT_DONE)
        code = wait_for_end(&follow, client, path);
    follow_close(&follow);
    return code;
}

void follow_device(const struct client *client, const struct job *job, struct device *device) {
    object_refresh(client, &device_interface, strcmp(job->device, "/") ? job->device : device->path, device);
}
