#pragma once

/* How wipyctl says that something went wrong: lines on standard error, or one JSON object on standard output.
 */

#include "client/client.h"
#include "client/json.h"
#include "proto/error.h"

struct failure {
    enum exit_code exit_code;
    const char *name;    /* a D-Bus error name */
    const char *message; /* what happened, one sentence */
    const char *story;   /* the details, may be NULL or empty */
    const char *hint;    /* what to try next, may be NULL or empty */
};

/* Says it and returns its exit code. */
enum exit_code failure_report(const struct client *client, const struct failure *failure);
/* A wrong command line. */
__attribute__((format(printf, 2, 3))) enum exit_code failure_usage(const struct client *client,
                                                                   const char *format, ...);
/* One of proto's errors, with its sentence and hint; story may be NULL. */
enum exit_code failure_known(const struct client *client, enum wipyd_error error, const char *story);
/* The system refused something on our side; error is a negative errno. */
enum exit_code failure_system(const struct client *client, const char *message, int error);
/* The exit code that goes with one of proto's errors. */
enum exit_code failure_exit_code(enum wipyd_error error);
