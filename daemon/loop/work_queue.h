#pragma once

/*
 * Work for libuv's pool, one piece at a time and in order: for things that must not overlap (a database, a
 * folder). The loop never waits for it.
 */

#include <uv.h>

#include "daemon/base/clean.h"

struct work_queue;

/* In the pool. */
typedef void (*work_fn)(void *userdata);

must_check int work_queue_new(struct work_queue **ret, uv_loop_t *loop);
/* run(userdata) in the pool, then done(userdata) on the loop, never from inside this call; done returns
 * before the next one runs. -ENOMEM; -ECANCELED once the queue is being closed. */
must_check int work_queue_add(struct work_queue *queue, work_fn run, work_fn done, void *userdata);
/* Lets all that was added finish, then calls on_closed from the loop; the object is gone then. */
void work_queue_close(struct work_queue *queue, void (*on_closed)(void *userdata), void *userdata);
