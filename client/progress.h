#pragma once

/*
 * A job, or another thing that takes its time, shown to a person while it goes on: on a terminal one line
 * that is redrawn, elsewhere a line whenever a step is reached for the first time and every ten percent. What
 * the person should do (a job's UserAction) always has a line of its own that stays.
 */

#include <systemd/sd-event.h>

#include "client/client.h"
#include "client/object.h"

/* How far it is. */
struct progress_point {
    char label[64];                   /* what is done now */
    size_t step;                      /* counts up along the way; 1 is the first */
    double fraction;                  /* of the whole, 0 to 1 */
    uint64_t bytes_done, bytes_total; /* 0 of 0: there are none to count */
    uint32_t rate;                    /* bytes per second; 0: not known */
};

struct progress {
    const struct client *client;
    const char *name; /* of the device, say; borrowed, and may change */
    bool live;        /* redrawn on a terminal */
    bool silent;      /* -q or --json: only actions */
    bool drawn;       /* the cursor stands behind our line */
    bool cut;         /* the job was cut off, and that is told */
    struct progress_point last;
    size_t n_steps_seen;
    unsigned tenths_seen;
    uint64_t begun_us; /* CLOCK_MONOTONIC */
    char *action;      /* the last one shown */
};

void progress_open(struct progress *progress, const struct client *client, const char *name);
/* On a terminal: from now on the line follows the clock and the terminal's width. event: until
 * progress_close(). */
must_check enum exit_code progress_animate(struct progress *progress, sd_event *event);
void progress_show(struct progress *progress, const struct progress_point *point);
/* The same for a job, and what the person should do. */
void progress_job(struct progress *progress, const struct job *job);
/* The job that was cut off went on; nothing where that is told already. */
void progress_return(struct progress *progress);
/* Takes the redrawn line away, so that something else can be printed. */
void progress_clear(struct progress *progress);
/* Clears and frees. */
void progress_close(struct progress *progress);

/* A bar, filled so far, of so many columns (PROGRESS_BAR_MAX at most), in PROGRESS_BAR_SIZE bytes. */
#define PROGRESS_BAR_MAX  40
#define PROGRESS_BAR_SIZE (PROGRESS_BAR_MAX * 3 + 1)
char *progress_bar(char *buffer, double fraction, size_t columns);
/* What a job does now, a phase's label, in at most n bytes. */
char *progress_label(const struct job *job, char *buffer, size_t n);
/* Whether it can be told when all is written. */
bool progress_time_left(const struct job *job, uint64_t *seconds);
/* What a job is about now, in a few words of at most n bytes: "writing, 43 %, 0:17 left". */
char *progress_summary(const struct job *job, char *buffer, size_t n);
