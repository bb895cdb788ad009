#include "daemon/firmware/poll_notes.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "daemon/base/log.h"

struct poll_notes {
    struct records *records;
    struct work_queue *queue;
    unsigned n_pending;
    bool is_closing;
    void (*on_closed)(void *userdata);
    void *userdata;
};

struct note {
    struct poll_notes *notes;
    char *name, *value;
    int r;
};

int poll_notes_new(struct poll_notes **ret, struct records *records, struct work_queue *queue) {
    *ret = calloc(1, sizeof **ret);
    if (!*ret)
        return -ENOMEM;
    (*ret)->records = records;
    (*ret)->queue = queue;
    return 0;
}

char *poll_notes_get(struct records *records, const char *name) {
    char *value = NULL;

    return records_get_value(records, name, &value) < 0 ? NULL : value;
}

static void free_note(struct note *note) {
    free(note->name);
    free(note->value);
    free(note);
}

static void finish_close(struct poll_notes *notes) {
    if (!notes->is_closing || notes->n_pending > 0)
        return;
    notes->on_closed(notes->userdata);
    free(notes);
}

static void run_put(void *userdata) {
    struct note *note = userdata;

    note->r = records_put_value(note->notes->records, note->name, note->value);
}

static void on_put(void *userdata) {
    struct note *note = userdata;
    struct poll_notes *notes = note->notes;

    if (note->r < 0)
        log_warning("%s can't be remembered: %s", note->name, strerror(-note->r));
    free_note(note);
    notes->n_pending--;
    finish_close(notes);
}

void poll_notes_put(struct poll_notes *notes, const char *name, const char *value) {
    struct note *note = calloc(1, sizeof *note);
    int r = -ENOMEM;

    if (note) {
        note->notes = notes;
        note->name = strdup(name);
        note->value = strdup(value);
        if (note->name && note->value)
            r = work_queue_add(notes->queue, run_put, on_put, note);
    }
    if (r >= 0) {
        notes->n_pending++;
        return;
    }
    log_warning("%s can't be remembered: %s", name, strerror(-r));
    if (note)
        free_note(note);
}

void poll_notes_close(struct poll_notes *notes, void (*on_closed)(void *userdata), void *userdata) {
    notes->is_closing = true;
    notes->on_closed = on_closed;
    notes->userdata = userdata;
    finish_close(notes);
}
