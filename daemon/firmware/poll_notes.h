#pragma once

/* What the poll remembers between runs: small facts that the records keep, written through the work queue. */

#include "daemon/loop/work_queue.h"
#include "daemon/records/records.h"

struct poll_notes;

/* records, queue: borrowed until on_closed. Negative errno. */
must_check int poll_notes_new(struct poll_notes **ret, struct records *records, struct work_queue *queue);
/* Both are copied. What can't be written is logged: the poll goes on without it. */
void poll_notes_put(struct poll_notes *notes, const char *name, const char *value);
/* Blocking. To be freed; NULL: there is none. */
char *poll_notes_get(struct records *records, const char *name);
/* Waits for what is being written. on_closed: never from inside when something is. */
void poll_notes_close(struct poll_notes *notes, void (*on_closed)(void *userdata), void *userdata);
