#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "client/bus.h"
#include "client/failure.h"
#include "client/object.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

static enum exit_code find_job(const struct client *client, const char *word, struct job *job) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    enum exit_code code;
    unsigned long id;
    const char *path;
    char *end;
    int r;

    errno = 0;
    id = strtoul(word, &end, 10);
    if (errno || *end || *word < '0' || *word > '9' || id > UINT32_MAX)
        return failure_usage(client, "A job is a number, not '%s'.", word);
    code = bus_message(client, &call, WIPYD_ROOT_PATH, WIPYD_MANAGER_INTERFACE, "FindJob", "u", (uint32_t)id);
    if (code == EXIT_DONE)
        code = bus_call(client, call, &reply);
    if (code != EXIT_DONE)
        return code;
    r = sd_bus_message_read(reply, "o", &path);
    return r < 0 ? bus_bad_message(client, r) : object_load(client, &job_interface, path, job);
}

enum exit_code verb_cancel(struct client *client, char **arguments) {
    cleanup(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    cleanup(job_clear_p) struct job job = { 0 };
    enum exit_code code = find_job(client, arguments[0], &job);
    bool over;
    int r;

    if (code != EXIT_DONE)
        return code;
    r = sd_bus_call_method(client->bus, WIPYD_BUS_NAME, job.path, WIPYD_JOB_INTERFACE, "Cancel", &error, NULL,
                           "");
    /* A job that is over needs no stopping: already so. */
    over = sd_bus_error_has_name(&error, wipyd_error_bus_name(WIPYD_ERROR_JOB_FINISHED));
    if (r < 0 && !over)
        return bus_failure(client, &error, r);

    code = object_load(client, &job_interface, job.path, &job);
    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return object_print_json(client, &job_interface, &job);
    if (!client->options.quiet && over)
        text_line(stdout, TEXT_PLAIN, "job %" PRIu32 ": over already (%s).", job.id, job.state);
    else if (!client->options.quiet)
        text_line(stdout, TEXT_PLAIN, "job %" PRIu32 ": stops at the next safe moment.", job.id);
    return EXIT_DONE;
}
