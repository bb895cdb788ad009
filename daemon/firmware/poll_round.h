#pragma once

/*
 * One round of a poll: the sources in their order, until one has given something usable.
 *
 * Happy path: poll_round_start, (ask, fetch, add) per source, on_done once.
 * Failure modes: a source that refuses, misbehaves or offers nothing usable is passed over, its reason kept.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/firmware/download.h"
#include "daemon/firmware/poll.h"
#include "daemon/firmware/poll_memory.h"

struct poll_round;

struct poll_round_result {
    bool is_success;
    bool is_new; /* something was added */
    char text[320];
    uint64_t retry_after_s;
};

struct poll_round_events {
    void (*on_state)(void *userdata, enum firmware_poll_state state, const char *source);
    void (*on_progress)(void *userdata, uint64_t done, uint64_t total);
    void (*on_done)(void *userdata, const struct poll_round_result *result);
};

/* All borrowed until on_closed. Negative errno. */
must_check int poll_round_new(struct poll_round **ret, uv_loop_t *loop, const char *folder,
                              struct firmware_store *store, struct http_loop *http, struct work_queue *queue,
                              struct poll_notes *notes, const struct config *config,
                              const struct poll_round_events *events, void *userdata);
/* Ownership of what memories hold is taken. */
void poll_round_remember(struct poll_round *round, struct poll_memories *memories);
/* One at a time. Nothing is called back from inside. */
void poll_round_start(struct poll_round *round);
/* Gives up what is under way, without on_done. */
void poll_round_close(struct poll_round *round, void (*on_closed)(void *userdata), void *userdata);
