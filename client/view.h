#pragma once

/* A bench on a terminal: a line per place with how far its job is, what it does and what a person should do,
 * drawn again in its place at most five times a second. */

#include <systemd/sd-event.h>

#include "client/objects.h"
#include "client/screen.h"

/* One line. Borrowed until the next one is asked for. */
struct view_row {
    const char *name, *label;
    const struct device *device; /* NULL: nothing is there */
    const struct job *job;       /* under way or over; NULL: none to tell of */
    const char *advice;          /* about the slot; NULL or empty: none */
};

struct view {
    /* The caller's, before view_open(). head: above the rows, one line or none. */
    void (*head)(void *userdata, struct screen *screen);
    size_t (*rows)(void *userdata, struct view_row *rows, size_t max);
    void *userdata;

    struct screen screen;
    sd_event *event;
    sd_event_source *timer;
    uint64_t drawn_at_us;
};

#define VIEW_ROWS_MAX 256

must_check enum exit_code view_open(struct view *view, const struct client *client, sd_event *event);
/* Something has changed. */
void view_news(struct view *view);
/* Draws what there is now. */
void view_draw(struct view *view);
/* Leaves the last picture, and the terminal as it was. Takes one that isn't open. */
void view_close(struct view *view);
