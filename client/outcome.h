#pragma once

/* How a job ended, told once and clearly. */

#include "client/client.h"
#include "client/json.h"
#include "client/object.h"

/* A job that has ended: a sentence (with --dry-run a table of the plan) and
 * what the person should do next, or why it failed. JSON: the job; of a failed one with "message" and "hint"
 * besides. */
enum exit_code outcome_of_job(const struct client *client, const struct device *device,
                              const struct job *job);
/* EXIT_DONE for a job that is done; why it isn't, otherwise. JSON: an error object. */
must_check enum exit_code outcome_check(const struct client *client, const struct device *device,
                                        const struct job *job);
/* The same as a member of an array. */
must_check enum exit_code outcome_to_json(const struct job *job, struct json *json);
/* A job that was started with --no-block. */
enum exit_code outcome_of_start(const struct client *client, const struct device *device,
                                const struct job *job);
/* Makes the call (as follow_call), follows the job to its end and tells how that was; with --no-block, that
 * it has begun. *device becomes what is known of it then. */
enum exit_code outcome_of_call(const struct client *client, struct device *device, sd_bus_message *call);
