#pragma once

/*
 * Keeps the store fed: asks the sources for the newest package, in order, on schedule, and fetches what is
 * new.
 *
 * Happy path: firmware_poll_new, (timer) -> sources -> download -> store, on_changed along the way.
 * What it remembers, in the records' values: "poll.next" (when, how often it failed, the last result),
 * "poll.source.*" (validators and what they led to), "download.part" (a download that can go on).
 * Failure modes: each source that fails is passed over with its reason in the status; when all fail the next
 * poll comes sooner, backed off; the store is never touched by a failure.
 */

#include <uv.h>

#include "daemon/firmware/store.h"
#include "daemon/loop/http_loop.h"

enum firmware_poll_state {
    FIRMWARE_POLL_IDLE,
    FIRMWARE_POLL_ASKING,
    FIRMWARE_POLL_FETCHING,
    FIRMWARE_POLL_OFF
};

struct firmware_poll_status {
    enum firmware_poll_state state;
    uint64_t last_us, next_us; /* since 1970; 0: never, or off */
    uint64_t last_success_us;
    unsigned failures;                /* in a row */
    char source[1024];                /* asked last */
    char result[320];                 /* of the last poll, for people: "up to date: 1.20.2.r4", or why not */
    uint64_t bytes_done, bytes_total; /* of the download under way */
};

struct firmware_poll;

/* store, http, records, queue, config: borrowed until closed. on_changed: the status changed. Negative errno.
 */
must_check int firmware_poll_new(struct firmware_poll **ret, uv_loop_t *loop, struct firmware_store *store,
                                 struct http_loop *http, struct records *records, struct work_queue *queue,
                                 const struct config *config, void (*on_changed)(void *userdata),
                                 void *userdata);
void firmware_poll_close(struct firmware_poll *poll, void (*on_closed)(void *userdata), void *userdata);
const struct firmware_poll_status *firmware_poll_status(const struct firmware_poll *poll);
/* Polls now; while one is under way or without sources: nothing more. */
void firmware_poll_now(struct firmware_poll *poll);
