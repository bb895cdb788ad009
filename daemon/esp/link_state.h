#pragma once

/* Inside of a link: what link.c moves and link_facts.c tells. */

#include "daemon/esp/link.h"
#include "daemon/esp/slip.h"
#include "daemon/serial/port.h"

/* Milliseconds. The ROM says nothing after its reply: a broken frame was it. */
enum { LINK_AFTER_BROKEN_MS = 250 };

enum state {
    IDLE,
    SENDING,
    AWAITING,
    READING,   /* the frames that follow the reply to READ_FLASH */
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
    bool is_fencing;           /* request is a fence; what was asked for is behind it */
    struct esp_request behind; /* see link_needs_fence */
    enum esp_opcode answered;  /* the last command with an answer */
    /* A frame on its way, and the next one, framed meanwhile. */
    struct link_frame {
        uint8_t *bytes;
        size_t allocated, size;
        bool is_ready;
        struct esp_request request;
    } tx[2];
    unsigned tx_now;

    const struct esp_loader *next_loader; /* MEM_END starts it; NULL: nothing is started */
    uint32_t read_done;                   /* bytes of request.sink */
    bool read_is_broken;
    uint8_t ack[16];

    struct slip_decoder *decoder;
    struct boot_log log;
    void (*on_text)(void *userdata, const uint8_t *bytes, size_t size);
    bool wakes, has_heard;                    /* the operation ends with the first text; some came */
    unsigned resets_before, downloads_before; /* the log's counts when the operation began */

    uint64_t drain_end;
    enum esp_outcome outcome;                         /* what a drain or a resync will complete with */
    unsigned sync_attempts, syncs_sent, sync_replies; /* left; so far; to the last one */
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

/* link.c */
void link_start_timer(struct esp_link *link, uint64_t ms);
/* Brings the time limit forward, never back: noise must not keep a request alive. */
void link_shorten_timer(struct esp_link *link, uint64_t ms);
/* For use while bytes are being handed in; the caller of feed() delivers. */
void link_complete_later(struct esp_link *link, enum esp_outcome outcome, const struct esp_reply *reply);
/* What bytes take on the wire at the rate of now. */
uint64_t link_wire_ms(const struct esp_link *link, size_t bytes);

/* link_frame.c. False: no memory. */
bool link_frame_reserve(struct link_frame *frame, size_t size);
bool link_frame_build(struct link_frame *frame, const struct esp_request *request, size_t n_extra_delimiters);
/* What was framed ahead is this request. */
bool link_frame_is(const struct link_frame *frame, const struct esp_request *request);

/* link_fence.c */
/* An answer that came twice can't be told from the answer to the next command of the same kind. So between
 * two of a kind, where the answer is believed, stands a command of another kind: answers come in order, and
 * when that one's is here, there is no other under way. */
bool link_needs_fence(const struct esp_link *link, const struct esp_request *request);
void link_make_fence(struct esp_link *link, const struct esp_request *request);

/* link_stub.c */
/* True: the frame in the decoder belongs to the start of a stub or to a READ_FLASH, and was dealt with. */
bool link_take_stub_frame(struct esp_link *link);
/* The good reply to a command that has more to come: True, and it is not over. */
bool link_goes_on(struct esp_link *link);
/* Who answered a SYNC is the loader from now on. True: it is the one that there was. */
bool link_take_loader(struct esp_link *link, uint32_t sync_value);
