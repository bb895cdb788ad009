#include "client/outcome.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/failure.h"
#include "client/follow.h"
#include "client/table.h"
#include "client/text.h"
#include "proto/phase.h"

/* ---- failures -------------------------------------------------------------------------------- */

/* An error that this client doesn't know, from a daemon that is newer, still has its story. */
static struct failure failure_of(const struct job *job) {
    enum wipyd_error error = wipyd_error_from_bus_name(job->error);

    if (wipyd_job_state_from_word(job->state) == WIPYD_JOB_STATE_CANCELLED)
        error = WIPYD_ERROR_CANCELLED;
    if (error == WIPYD_ERROR_COUNT || error == WIPYD_ERROR_NONE)
        return (struct failure) {
            .exit_code = EXIT_FAILED,
            .name = job->error,
            .message = "The job failed.",
            .story = job->error_text,
            .hint = wipyd_error_hint(WIPYD_ERROR_SYSTEM),
        };
    return (struct failure) {
        .exit_code = failure_exit_code(error),
        .name = wipyd_error_bus_name(error),
        .message = wipyd_error_sentence(error),
        .story = job->error_text,
        .hint = wipyd_error_hint(error),
    };
}

/* "while writing: block 37: ...", in which the daemon may have said the first part already. NULL: no memory.
 */
static char *story_of(const struct job *job) {
    enum wipyd_phase phase = wipyd_phase_from_word(job->phase);
    const char *label = phase == WIPYD_PHASE_COUNT ? job->phase : wipyd_phase_label(phase);
    char *story;

    if (!strncmp(job->error_text, "while ", strlen("while ")))
        return strdup(job->error_text);
    if (asprintf(&story, "while %s%s%s", label, *job->error_text ? ": " : "", job->error_text) < 0)
        return NULL;
    return story;
}

static void print_warning(const struct device *device, const struct job *job) {
    if (*job->warning)
        text_line(stderr, TEXT_ACTION, "%s: %s", device->name, job->warning);
}

enum exit_code outcome_check(const struct client *client, const struct device *device,
                             const struct job *job) {
    cleanup(free_p) char *message = NULL, *story = NULL;
    struct failure failure = failure_of(job);

    if (wipyd_job_state_from_word(job->state) == WIPYD_JOB_STATE_DONE)
        return EXIT_DONE;
    if (client->options.json)
        return failure_report(client, &failure);

    if (asprintf(&message, "%s: %s", device->name, failure.message) < 0)
        message = NULL;
    story = story_of(job);
    failure.message = message ? message : failure.message;
    failure.story = story ? story : failure.story;
    failure_report(client, &failure);
    if (*job->user_action && strcmp(job->user_action, failure.hint))
        text_line(stderr, TEXT_ACTION, "%s: %s", device->name, job->user_action);
    print_warning(device, job);
    return failure.exit_code;
}

/* ---- success --------------------------------------------------------------------------------- */

static void print_plan(const struct client *client, const struct job *job) {
    static const struct table_column columns[] = {
        { "OFFSET", TABLE_RIGHT }, { "SIZE", TABLE_RIGHT },  { "WHAT", TABLE_LEFT },
        { "NAME", TABLE_LEFT },    { "STATE", TABLE_STATE },
    };
    const struct region *regions = job->regions.items;
    struct table table;

    table_open(&table, client, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < job->regions.n; i++) {
        char offset[TEXT_SIZE], size[TEXT_SIZE];

        snprintf(offset, sizeof(offset), "0x%06" PRIx64, regions[i].offset_bytes);
        text_bytes(size, regions[i].length_bytes);
        table_row(&table,
                  (const char *[]) { offset, size, regions[i].what, regions[i].name, regions[i].state });
    }
    table_close(&table);
}

static size_t count_equal(const struct job *job) {
    const struct region *regions = job->regions.items;
    size_t n = 0;

    for (size_t i = 0; i < job->regions.n; i++)
        n += !strcmp(regions[i].state, "equal");
    return n;
}

/* "WiPy 1.20.1.r1", or what is known of it. */
static void name_firmware(const struct job *job, char *buffer, size_t n) {
    if (*job->release)
        snprintf(buffer, n, "%s%s%s", job->board, *job->board ? " " : "", job->release);
    else
        snprintf(buffer, n, "%s", *job->package ? job->package : "the firmware");
}

static void print_success(const struct client *client, const struct device *device, const struct job *job) {
    size_t n_equal = count_equal(job), n = job->regions.n;
    char firmware[256], took[TEXT_SIZE], by[TEXT_SIZE];

    name_firmware(job, firmware, sizeof(firmware));
    text_loader(by, job->loader);
    text_duration(took,
                  job->finished_at_us > job->started_at_us ? job->finished_at_us - job->started_at_us : 0);
    if (wipyd_job_kind_from_word(job->kind) == WIPYD_JOB_KIND_IDENTIFY) {
        text_line(stdout, TEXT_GOOD, "%s: %s was read in %s: it holds %s. Nothing was written.", device->name,
                  *job->mac ? job->mac : "the board", took,
                  *job->from_release ? job->from_release : "no release that is known");
    } else if (wipyd_job_kind_from_word(job->kind) == WIPYD_JOB_KIND_RESTORE) {
        text_line(stdout, TEXT_GOOD, "%s: the backup of %s is put back and verified in %s%s.", device->name,
                  *job->mac ? job->mac : "the board", took, by);
    } else if (job->dry_run) {
        print_plan(client, job);
        text_line(stdout, TEXT_PLAIN,
                  "%s: %s would be written: %zu of %zu pieces differ. Nothing was written.", device->name,
                  firmware, n - n_equal, n);
    } else if (n && n_equal == n) {
        text_line(stdout, TEXT_GOOD,
                  "%s: has %s already, all %zu pieces are right; nothing was written (%s).", device->name,
                  firmware, n, took);
    } else if (n_equal) {
        text_line(stdout, TEXT_GOOD,
                  "%s: %s written and verified in %s%s, %zu of %zu pieces %s already right.", device->name,
                  firmware, took, by, n_equal, n, n_equal == 1 ? "was" : "were");
    } else {
        text_line(stdout, TEXT_GOOD, "%s: %s written and verified in %s%s.", device->name, firmware, took,
                  by);
    }
}

/* ---- either ---------------------------------------------------------------------------------- */

static bool is_bad_end(const struct job *job) {
    enum wipyd_job_state state = wipyd_job_state_from_word(job->state);

    return state == WIPYD_JOB_STATE_FAILED || state == WIPYD_JOB_STATE_CANCELLED;
}

enum exit_code outcome_to_json(const struct job *job, struct json *json) {
    struct failure failure = failure_of(job);

    json_map_begin(json);
    properties_to_json(&job_interface, job, PROPERTIES_ALL, json);
    if (is_bad_end(job)) {
        json_string(json, "message");
        json_string(json, failure.message);
        json_string(json, "hint");
        json_string(json, failure.hint);
    }
    json_map_end(json);
    return is_bad_end(job) ? failure.exit_code : EXIT_DONE;
}

static enum exit_code print_json(const struct client *client, const struct job *job) {
    enum exit_code code;
    struct json json;

    json_begin(&json, client->options.json);
    code = outcome_to_json(job, &json);
    return json_print(&json) < 0 ? failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL) : code;
}

enum exit_code outcome_of_job(const struct client *client, const struct device *device,
                              const struct job *job) {
    bool done = wipyd_job_state_from_word(job->state) == WIPYD_JOB_STATE_DONE;
    /* What was wanted when the job ended is of no use once the board runs what it got. */
    const char *action = *job->user_action && !*job->confirmed_release ? job->user_action : device->advice;

    if (client->options.json)
        return print_json(client, job);
    if (!done)
        return outcome_check(client, device, job);
    if (!client->options.quiet)
        print_success(client, device, job);
    print_warning(device, job);
    /* That the firmware says its own word comes later, when it is started: nobody waits for that here. */
    if (*action)
        text_line(stdout, TEXT_ACTION, "%s: %s", device->name, action);
    return EXIT_DONE;
}

enum exit_code outcome_of_start(const struct client *client, const struct device *device,
                                const struct job *job) {
    if (client->options.json)
        return object_print_json(client, &job_interface, job);
    if (client->options.quiet)
        text_line(stdout, TEXT_PLAIN, "%" PRIu32, job->id);
    else
        text_line(stdout, TEXT_PLAIN, "%s: job %" PRIu32 " started. To watch it: wipyctl follow %" PRIu32,
                  device->name, job->id, job->id);
    return EXIT_DONE;
}

enum exit_code outcome_of_call(const struct client *client, struct device *device, sd_bus_message *call) {
    cleanup(job_clear_p) struct job job = { 0 };
    enum exit_code code = follow_call(client, device, call, &job);

    if (code != EXIT_DONE)
        return code;
    if (client->options.no_block)
        return outcome_of_start(client, device, &job);
    follow_device(client, &job, device);
    return outcome_of_job(client, device, &job);
}
