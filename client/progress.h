#pragma once

/*
 * A job while it goes on, shown to a person: on a terminal one line that is redrawn, elsewhere a line
 * whenever a phase is reached for the first time and every ten percent. What the person should do
 * (UserAction) always has a line of its own that stays.
 */

#include "client/client.h"
#include "client/objects.h"

struct progress {
    const struct client *client;
    const char *device_name; /* borrowed */
    bool live;               /* redrawn on a terminal */
    bool silent;             /* -q or --json: only actions */
    bool drawn;              /* the cursor stands behind our line */
    size_t n_phases_seen;
    unsigned tenths_seen;
    uint64_t begun_us; /* CLOCK_MONOTONIC */
    char *action;      /* the last one shown */
};

void progress_open(struct progress *progress, const struct client *client, const char *device_name);
/* The job has changed, a second has passed, or the terminal has another width. */
void progress_update(struct progress *progress, const struct job *job);
/* Takes the redrawn line away, so that something else can be printed. */
void progress_clear(struct progress *progress);
/* Clears and frees. */
void progress_close(struct progress *progress);

/* What a job is about now, in a few words of at most n bytes: "writing, 43 %, 0:17 left". */
char *progress_summary(const struct job *job, char *buffer, size_t n);
