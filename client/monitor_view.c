#include "client/monitor_view.h"

#include <string.h>

#include "client/bus.h"
#include "client/live.h"
#include "client/view.h"
#include "proto/phase.h"

struct bench {
    struct live live;
    struct view view;
};

/* ---- rows ------------------------------------------------------------------------------------ */

static enum wipyd_job_state state_of(const struct job *job) {
    return wipyd_job_state_from_word(job->state);
}

/* The job under way, else the last one, if it was about the board that is there now. */
static const struct job *job_of(const struct objects *objects, const struct device *device) {
    const struct job *job = objects_job(objects, device->job), *jobs = objects->jobs.items;

    for (size_t i = objects->jobs.n; !job && i > 0; i--)
        if (!strcmp(jobs[i - 1].device, device->path) && !strcmp(jobs[i - 1].mac, device->mac))
            job = &jobs[i - 1];
    return job;
}

static const struct slot *slot_of(const struct objects *objects, const char *name) {
    const struct slot *slots = objects->slots.items;

    for (size_t i = 0; i < objects->slots.n; i++)
        if (!strcmp(slots[i].name, name))
            return &slots[i];
    return NULL;
}

static struct view_row row_of_device(const struct objects *objects, const struct device *device) {
    const struct slot *slot = slot_of(objects, device->slot);

    return (struct view_row) {
        .name = device->name,
        .label = slot && *slot->label ? slot->label : device->label,
        .device = device,
        .job = job_of(objects, device),
        .advice = slot ? slot->advice : "",
    };
}

/* A place without a device is shown while its board is expected back, and where people gave it a name. */
static bool row_of_slot(const struct objects *objects, const struct slot *slot, struct view_row *row) {
    const struct job *jobs = objects->jobs.items;

    *row = (struct view_row) { .name = *slot->label ? "-" : slot->name,
                               .label = slot->label,
                               .advice = slot->advice };
    for (size_t i = 0; i < objects->jobs.n; i++)
        if (state_of(&jobs[i]) == WIPYD_JOB_STATE_INTERRUPTED && !strcmp(jobs[i].slot, slot->name))
            row->job = &jobs[i];
    return row->job || *slot->label || slot->armed;
}

static size_t rows(void *userdata, struct view_row *row, size_t max) {
    const struct objects *objects = &((struct bench *)userdata)->live.objects;
    const struct device *devices = objects->devices.items;
    const struct slot *slots = objects->slots.items;
    size_t n = 0;

    for (size_t i = 0; i < objects->devices.n && n < max; i++)
        row[n++] = row_of_device(objects, &devices[i]);
    for (size_t i = 0; i < objects->slots.n && n < max; i++)
        if (!objects_device(objects, slots[i].device) && row_of_slot(objects, &slots[i], &row[n]))
            n++;
    return n;
}

/* ---- the line above -------------------------------------------------------------------------- */

static void head(void *userdata, struct screen *screen) {
    const struct objects *objects = &((struct bench *)userdata)->live.objects;
    const struct device *devices = objects->devices.items;
    const struct job *jobs = objects->jobs.items;
    size_t n_jobs = 0, n_advised = 0;

    for (size_t i = 0; i < objects->jobs.n; i++)
        n_jobs +=
            state_of(&jobs[i]) == WIPYD_JOB_STATE_COUNT || !wipyd_job_state_is_final(state_of(&jobs[i]));
    for (size_t i = 0; i < objects->devices.n; i++)
        n_advised += *devices[i].advice != '\0';
    if (!objects->devices.n)
        screen_put(screen, TEXT_STRONG, "No devices. Plug in a board's USB adapter.");
    else
        screen_put(screen, TEXT_STRONG, "%zu device%s, %zu job%s under way, %zu waiting for a person",
                   objects->devices.n, objects->devices.n == 1 ? "" : "s", n_jobs, n_jobs == 1 ? "" : "s",
                   n_advised);
    screen_put(screen, TEXT_FAINT, "  (Ctrl-C ends)");
    screen_end_line(screen);
}

static void on_news(void *userdata) {
    struct bench *bench = userdata;

    view_news(&bench->view);
}

enum exit_code monitor_view(const struct client *client) {
    struct bench bench = {
        .live = { .on_news = on_news, .userdata = &bench },
        .view = { .head = head, .rows = rows, .userdata = &bench },
    };
    enum exit_code code = live_open(&bench.live, client);
    int end = WATCH_FINISHED;

    if (code == EXIT_DONE)
        code = view_open(&bench.view, client, bench.live.watch.event);
    if (code == EXIT_DONE) {
        view_draw(&bench.view);
        end = watch_run(&bench.live.watch);
        view_draw(&bench.view);
    }
    view_close(&bench.view);
    if (code == EXIT_DONE && end < 0)
        code = bus_bad_message(client, end);
    else if (code == EXIT_DONE && end == WATCH_DAEMON_GONE)
        code = bus_daemon_gone(client, BUS_JOB_IS_CUT);
    live_close(&bench.live);
    return code;
}
