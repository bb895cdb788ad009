#pragma once

/* The verbs of wipyctl: one file each, and one row each in verb.c. */

#include "client/client.h"

struct verb {
    const char *name;
    const char *arguments; /* as help shows them */
    const char *summary;   /* one line */
    const char *details;   /* the rest of its --help, may be NULL */
    unsigned options;      /* which of the OPTION_FOR_* in options.h it takes */
    int min_arguments, max_arguments;
    enum exit_code (*run)(struct client *client, char **arguments); /* the bus is open; NULL ends */
};

extern const struct verb verbs[];
extern const size_t n_verbs;

/* NULL when there is none of that name. */
const struct verb *verb_find(const char *name);

enum exit_code verb_status(struct client *client, char **arguments);
enum exit_code verb_list(struct client *client, char **arguments);
enum exit_code verb_info(struct client *client, char **arguments);
enum exit_code verb_flash(struct client *client, char **arguments);
enum exit_code verb_cancel(struct client *client, char **arguments);
enum exit_code verb_monitor(struct client *client, char **arguments);
