#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/agent.h"
#include "client/bus.h"
#include "client/failure.h"
#include "client/follow.h"
#include "client/object.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

static enum exit_code find(const struct client *client, const char *word, struct job *job) {
    cleanup(free_p) char *path = NULL;
    enum exit_code code = job_find(client, word, &path);

    if (code != EXIT_DONE)
        return code;
    if (!path)
        return failure_usage(client, "A job is a number, not '%s'.", word);
    return object_load(client, &job_interface, path, job);
}

/* To its end, which may be another than the one that was asked for. */
static enum exit_code wait_for(struct client *client, struct job *job) {
    cleanup(free_p) char *path = strdup(job->path);
    bool quiet = client->options.quiet;
    char name[32];
    enum exit_code code;

    if (!path)
        return failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    snprintf(name, sizeof(name), "job %" PRIu32, job->id);
    client->options.quiet = true;
    code = follow_job(client, name, path, job);
    client->options.quiet = quiet;
    return code;
}

enum exit_code verb_cancel(struct client *client, char **arguments) {
    cleanup(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    cleanup(job_clear_p) struct job job = { 0 };
    enum exit_code code = find(client, arguments[0], &job);
    bool over;
    int r;

    if (code != EXIT_DONE || !job.path)
        return code;
    agent_open(client);
    r = sd_bus_call_method(client->bus, WIPYD_BUS_NAME, job.path, WIPYD_JOB_INTERFACE, "Cancel", &error, NULL,
                           "");
    /* A job that is over needs no stopping: already so. */
    over = sd_bus_error_has_name(&error, wipyd_error_bus_name(WIPYD_ERROR_JOB_FINISHED));
    if (r < 0 && !over)
        return bus_failure(client, &error, r);

    code = client->options.wait && !over ? wait_for(client, &job)
                                         : object_load(client, &job_interface, job.path, &job);
    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return object_print_json(client, &job_interface, &job);
    if (!client->options.quiet && over)
        text_line(stdout, TEXT_PLAIN, "job %" PRIu32 ": over already (%s).", job.id, job.state);
    else if (!client->options.quiet && client->options.wait)
        text_line(stdout, TEXT_PLAIN, "job %" PRIu32 ": %s.", job.id, job.state);
    else if (!client->options.quiet)
        text_line(stdout, TEXT_PLAIN, "job %" PRIu32 ": stops at the next safe moment.", job.id);
    return EXIT_DONE;
}
