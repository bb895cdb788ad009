#pragma once

/* Inside of a link: what link.c moves and link_facts.c tells. */

#include "daemon/esp/link.h"
#include "daemon/esp/slip.h"
#include "daemon/serial/port.h"

enum state {
    IDLE,
    SENDING,
    AWAITING,
    DRAINING,  /* throwing away what comes until it is quiet */
    LISTENING, /* before the first SYNC, or because that is all */
    SYNCING,
    SYNC_TAIL, /* swallowing the other replies to SYNC */
    PAUSING,   /* lines or rate were changed */
    CLOSED,
};

struct esp_link {
    uv_loop_t *loop;
    uv_timer_t timer;
    uint64_t due; /* of the timer, on the loop's clock */
    bool is_late; /* it fired late, and what came meanwhile is read first */
    struct serial_port *port;
    uint32_t baud; /* asked for: the adapter's may be a little off, the chip must be told this one */
    const struct esp_loader *loader;
    enum state state;
    bool is_gone;

    esp_link_fn fn;
    void (*on_gone)(void *userdata);
    void (*on_closed)(void *userdata);
    void *userdata, *closed_userdata;
    unsigned n_pending; /* handles to be closed */

    struct esp_request request;
    uint8_t *tx;
    size_t tx_allocated;

    struct slip_decoder *decoder;
    struct boot_log log;
    void (*on_text)(void *userdata, const uint8_t *bytes, size_t size);
    bool wakes, has_heard;                    /* the operation ends with the first text; some came */
    unsigned resets_before, downloads_before; /* the log's counts when the operation began */

    uint64_t drain_end;
    enum esp_outcome outcome; /* what a drain or a resync will complete with */
    unsigned sync_attempts, sync_replies;
    bool is_resync;
    struct esp_reply sync_reply;

    const struct esp_reset_sequence *reset;
    unsigned reset_step;

    /* A completion found while bytes are handed in waits until all of them were taken. */
    bool has_completion;
    enum esp_outcome completion;
    struct esp_reply reply;
    bool has_reply;
};
