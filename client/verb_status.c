#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/device.h"
#include "client/failure.h"
#include "client/firmware.h"
#include "client/objects.h"
#include "client/poll.h"
#include "client/progress.h"
#include "client/table.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"
#include "proto/phase.h"

#define COLUMNS(columns) columns, sizeof(columns) / sizeof((columns)[0])

static enum exit_code print_json(const struct client *client, const struct objects *objects,
                                 const struct manager *manager) {
    struct json json;

    json_begin(&json, client->options.json);
    json_map_begin(&json);
    properties_to_json(&manager_interface, manager, PROPERTIES_ALL & ~UINT32_C(1), &json);
    json_string(&json, "devices");
    objects_to_json(&objects->devices, &device_interface, &json);
    json_string(&json, "jobs");
    objects_to_json(&objects->jobs, &job_interface, &json);
    json_string(&json, "boards");
    objects_to_json(&objects->boards, &board_interface, &json);
    json_string(&json, "slots");
    objects_to_json(&objects->slots, &slot_interface, &json);
    json_string(&json, "firmware");
    objects_to_json(&objects->firmware, &firmware_interface, &json);
    json_map_end(&json);
    return json_print(&json) < 0 ? failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL) : EXIT_DONE;
}

static bool is_final(const struct job *job) {
    enum wipyd_job_state state = wipyd_job_state_from_word(job->state);

    return state != WIPYD_JOB_STATE_COUNT && wipyd_job_state_is_final(state);
}

static bool is_interrupted(const struct job *job) {
    return wipyd_job_state_from_word(job->state) == WIPYD_JOB_STATE_INTERRUPTED;
}

static void print_version(const struct manager *manager) {
    text_line(stdout, TEXT_STRONG, "wipyd %s", manager->version);
    putchar('\n');
}

static void print_devices(const struct client *client, const struct objects *objects) {
    static const struct table_column columns[] = {
        { "DEVICE", TABLE_LEFT },  { "LABEL", TABLE_LEFT }, { "BOARD", TABLE_LEFT },
        { "RELEASE", TABLE_LEFT }, { "MAC", TABLE_LEFT },   { "NOW", TABLE_STATE },
    };
    const struct device *devices = objects->devices.items;
    struct table table;

    table_open(&table, client, COLUMNS(columns));
    for (size_t i = 0; i < objects->devices.n; i++) {
        const struct device *device = &devices[i];
        const struct job *job = objects_job(objects, device->job);
        char now[160], release[TEXT_SIZE];

        if (job && !is_interrupted(job))
            progress_summary(job, now, sizeof(now));
        else
            device_now(device, now, sizeof(now));
        table_row(&table, (const char *[]) { device->name, device->label, device->board,
                                             text_release(release, device->release), device->mac, now });
    }
    table_close(&table);
    if (!objects->devices.n)
        puts("No devices. Plug in a board's USB adapter.");
}

/* How often, and why the last time. */
static void describe_cut(const struct job *job, char *buffer, size_t n) {
    const struct attempt *attempts = job->attempts.items;

    snprintf(buffer, n, "cut off %zu time%s%s%s", job->attempts.n, job->attempts.n == 1 ? "" : "s",
             job->attempts.n ? ": " : "", job->attempts.n ? attempts[job->attempts.n - 1].reason : "");
}

/* What a job came to: its error, how long it took, or how far it is. */
static void describe(const struct job *job, char *buffer, size_t n) {
    enum wipyd_error error = wipyd_error_from_bus_name(job->error);
    bool has_written = wipyd_job_kind_from_word(job->kind) != WIPYD_JOB_KIND_IDENTIFY && !job->dry_run;
    char took[TEXT_SIZE], by[TEXT_SIZE];

    if (is_interrupted(job))
        describe_cut(job, buffer, n);
    else if (!is_final(job))
        progress_summary(job, buffer, n);
    else if (*job->error)
        snprintf(buffer, n, "%s", error == WIPYD_ERROR_COUNT ? job->error : wipyd_error_sentence(error));
    else
        snprintf(buffer, n, "took %s%s%s", text_duration(took, job->finished_at_us - job->started_at_us),
                 text_loader(by, has_written ? job->loader : ""), job->dry_run ? ", dry run" : "");
}

static void print_jobs(const struct client *client, const struct objects *objects) {
    static const struct table_column columns[] = {
        { "JOB", TABLE_RIGHT },     { "DEVICE", TABLE_LEFT }, { "WHAT", TABLE_LEFT },
        { "FIRMWARE", TABLE_LEFT }, { "STATE", TABLE_STATE }, { "DETAILS", TABLE_ELASTIC },
    };
    const struct job *jobs = objects->jobs.items;
    struct table table;

    if (objects->jobs.n)
        putchar('\n');
    table_open(&table, client, COLUMNS(columns));
    for (size_t i = 0; i < objects->jobs.n; i++) {
        const struct job *job = &jobs[i];
        char id[16], details[160], release[TEXT_SIZE], name[64] = "";

        device_name_of(job->device, name, sizeof(name));
        snprintf(id, sizeof(id), "%" PRIu32, job->id);
        describe(job, details, sizeof(details));
        table_row(&table,
                  (const char *[]) { id, name, job->kind,
                                     *job->release ? text_release(release, job->release) : job->package,
                                     job->state, details });
    }
    table_close(&table);
}

static void print_firmware(const struct client *client, struct objects *objects,
                           const struct manager *manager) {
    if (!client->options.quiet || manager->poll_failures) {
        putchar('\n');
        poll_print_line(manager);
    }
    firmware_sort(&objects->firmware);
    firmware_print(client, &objects->firmware);
}

/* Sentences are too long for a table, and too important to be cut. */
static void print_actions(const struct objects *objects) {
    const struct device *devices = objects->devices.items;

    for (size_t i = 0; i < objects->devices.n; i++) {
        const struct job *job = objects_job(objects, devices[i].job);
        const char *action = job && !is_interrupted(job) ? job->user_action : devices[i].advice;

        if (job && !*action && *job->waits_for)
            text_line(stdout, TEXT_PLAIN, "%s: %s", devices[i].name, job->waits_for);
        if (*action)
            text_line(stdout, TEXT_ACTION, "%s: %s", devices[i].name, action);
    }
}

static void print_interrupted(const struct objects *objects) {
    const struct job *jobs = objects->jobs.items;

    for (size_t i = 0; i < objects->jobs.n; i++) {
        if (!is_interrupted(&jobs[i]))
            continue;
        if (*jobs[i].mac)
            text_line(stdout, TEXT_ACTION, "job %" PRIu32 " goes on when %s is back", jobs[i].id,
                      jobs[i].mac);
        else
            text_line(stdout, TEXT_ACTION, "job %" PRIu32 " goes on when its board is back in %s", jobs[i].id,
                      *jobs[i].slot ? jobs[i].slot : "its slot");
    }
}

enum exit_code verb_status(struct client *client, char **arguments) {
    struct objects objects = { 0 };
    struct manager manager = { 0 };
    enum exit_code code;

    (void)arguments;
    code = object_load(client, &manager_interface, WIPYD_ROOT_PATH, &manager);
    if (code == EXIT_DONE)
        code = objects_load(client, &objects);
    if (code == EXIT_DONE && client->options.json) {
        code = print_json(client, &objects, &manager);
    } else if (code == EXIT_DONE) {
        if (!client->options.quiet && !client->options.no_legend)
            print_version(&manager);
        print_devices(client, &objects);
        print_actions(&objects);
        print_interrupted(&objects);
        print_jobs(client, &objects);
        print_firmware(client, &objects, &manager);
    }
    objects_clear(&objects);
    properties_clear(&manager_interface, &manager);
    return code;
}
