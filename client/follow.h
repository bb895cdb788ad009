#pragma once

/* Starting a job, or finding one, and staying with it to its end. */

#include "client/client.h"
#include "client/object.h"

/*
 * Makes the call (Flash, FlashFile, Identify or Restore), follows the job that it answers with, and leaves
 * the job's last state in *job (zeroed before; the caller clears). With --no-block it leaves the first one.
 * EXIT_DONE: look at job->state. Anything else has been told: the call failed, the daemon went away, or the
 * person detached with Ctrl-C; then *job is as last seen. A job that is cut off by an unplug isn't over: it
 * is followed on, to whichever device its board comes back on.
 */
must_check enum exit_code follow_call(const struct client *client, const struct device *device,
                                      sd_bus_message *call, struct job *job);
/* The same for the job at path, which somebody else began and which may be over already. name: what to call
 * its device where the job doesn't say. */
must_check enum exit_code follow_job(const struct client *client, const char *name, const char *path,
                                     struct job *job);
/* What is known now of the device that the job ended on, which may be another than it began on. */
void follow_device(const struct client *client, const struct job *job, struct device *device);
