#pragma once

/* What was: jobs and decisions, as the Manager's History and Decisions tell them, newest first. */

#include "client/object.h"

/* A job. The members are named as the keys on the bus are; but "user" is ours: what this system calls who
 * asked ("policy" stays). */
struct past_job {
    char *kind, *state, *device, *slot, *mac, *by, *user, *package, *sha256, *board, *from, *to, *confirmed,
        *loader, *warning;
    char *phase, *error, *error_text;
    uint32_t id, baud, retries, attempts;
    uint64_t bytes, bytes_total, started_us, finished_us;
    bool dry_run;
};

struct past_decision {
    char *device, *slot, *mac, *event, *verdict, *rule, *text;
    uint64_t at_us;
};

/* Asks with the board, slot, time and limit of the options. list: of struct past_job, or with
 * options.decisions of struct past_decision. */
must_check enum exit_code history_load(const struct client *client, struct list *list);
void history_clear(const struct client *client, struct list *list);
/* The interface of history_load()'s items. */
const struct interface *history_interface(const struct client *client);
