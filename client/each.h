#pragma once

/* A verb that takes several things, each done for itself. */

#include "client/client.h"
#include "client/json.h"

/* How one of a verb's arguments is done. json: an open array that gets one member when EXIT_DONE is given,
 * else none; NULL in other modes, in which it says what it did. */
typedef enum exit_code (*each_fn)(struct client *client, const char *argument, struct json *json,
                                  void *userdata);
/*
 * Does each of the arguments, a NULL ends them: one that fails is told with its name, and the others are done
 * all the same, unless the daemon is away. Gives EXIT_SOME_FAILED when some were done, else what they failed
 * with. JSON: an array with a member for each argument, the thing or an error; but where the only argument
 * fails, the error alone, as from every verb.
 */
must_check enum exit_code each(struct client *client, char **arguments, each_fn one, void *userdata);
