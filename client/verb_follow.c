#include <stdio.h>
#include <string.h>

#include "client/device.h"
#include "client/failure.h"
#include "client/follow.h"
#include "client/object.h"
#include "client/outcome.h"
#include "client/verb.h"

static enum exit_code no_job(const struct client *client, const struct device *device) {
    cleanup(free_p) char *story = NULL;

    if (asprintf(&story, "none is under way on %s", device->name) < 0)
        story = NULL;
    return failure_report(client, &(struct failure) {
                                      .exit_code = EXIT_NOT_FOUND,
                                      .name = wipyd_error_bus_name(WIPYD_ERROR_NO_SUCH_JOB),
                                      .message = wipyd_error_sentence(WIPYD_ERROR_NO_SUCH_JOB),
                                      .story = story,
                                      .hint = "See how those before ended: wipyctl history",
                                  });
}

/* A number is a job's, whatever else may be called so. name: of its device, as far as that is known. */
static enum exit_code find(const struct client *client, const char *word, char **path, char *name, size_t n) {
    cleanup(device_clear_p) struct device device = { 0 };
    enum exit_code code = job_find(client, word, path);

    snprintf(name, n, "job %s", word);
    if (code != EXIT_DONE || *path)
        return code;
    code = device_find(client, word, &device);
    if (code != EXIT_DONE)
        return code;
    if (!strcmp(device.job, "/"))
        return no_job(client, &device);
    snprintf(name, n, "%s", device.name);
    *path = strdup(device.job);
    return *path ? EXIT_DONE : failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
}

/* The device may be gone, long after a job that is over: its name, or what stands for it, remains. */
static enum exit_code name_device(const struct client *client, const char *name, const struct job *job,
                                  struct device *device) {
    char of_job[64];

    if (device_name_of(job->device, of_job, sizeof(of_job)))
        name = of_job;
    device->path = strdup("/");
    device->name = strdup(name);
    device->advice = strdup("");
    if (!device->path || !device->name || !device->advice)
        return failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    follow_device(client, job, device);
    return EXIT_DONE;
}

enum exit_code verb_follow(struct client *client, char **arguments) {
    cleanup(device_clear_p) struct device device = { 0 };
    cleanup(job_clear_p) struct job job = { 0 };
    cleanup(free_p) char *path = NULL;
    enum exit_code code;
    char name[64];

    code = find(client, arguments[0], &path, name, sizeof(name));
    if (code == EXIT_DONE)
        code = follow_job(client, name, path, &job);
    if (code == EXIT_DONE)
        code = name_device(client, name, &job, &device);
    return code == EXIT_DONE ? outcome_of_job(client, &device, &job) : code;
}
