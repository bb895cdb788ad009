// The serial wire between host and chip: both directions paced to the baud rate (10 bits a byte), garbled
// where the two ends disagree about it, with the loss that tests ask for.
//
// Time is virtual: every byte has its own arrival time in CLOCK_MONOTONIC nanoseconds, counted on from the
// byte before it, so that a late wake-up of this process doesn't add up. Bytes are taken from the pty in
// pieces of at most CHUNK_NS of wire time, which leaves the rest in the kernel's queue: the host gets the
// back-pressure of a real driver.
#pragma once

#include "tests/sim/pty.h"
#include "tests/sim/rng.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIME_NEVER INT64_MAX

struct wire_ops {
    // A byte has arrived at the chip at time `now`. Returns true when the chip has started something: what
    // else is due must be looked at before the next byte.
    bool (*on_byte)(void *ctx, int64_t now, uint8_t byte);
    // The last byte queued for the host has left at time `now`.
    void (*on_sent)(void *ctx, int64_t now);
};

struct wire_settings {
    bool fast;          // no pacing
    bool rx_dead;       // host -> chip broken
    bool tx_dead;       // chip -> host broken
    uint32_t baud_fail; // at this rate and above all is garbled; 0 = never
    // Noise, both ways, each a chance per byte: a wrong bit, the byte is lost, the bytes after it are late.
    double flip_rate, drop_rate, stall_rate;
    uint32_t stall_ms;   // so late
    uint32_t noise_from; // there is noise at this rate and above; 0 = at all
};

struct wire_counters {
    uint64_t opens;          // times that a host has opened the tty
    uint64_t rx_bytes;       // at the chip's pin
    uint64_t tx_bytes;       // from the chip's pin
    uint64_t rx_garbled;     // host -> chip, changed on the way
    uint64_t tx_garbled;     // chip -> host, changed on the way
    uint64_t noise_drops;    // lost by drop_rate, both ways
    uint64_t noise_stalls;   // pauses by stall_rate, both ways
    uint64_t tx_dropped;     // chip -> host, nobody had the port open or the host's queue was full
    uint64_t syncs;          // whole SYNC frames that the host sent, whatever the chip made of them
    uint64_t non_sync_bytes; // bytes that the host sent outside whole SYNC frames
    uint64_t bytes_received; // all that the host sent
    uint64_t
        bytes_other; // non_sync_bytes that came while no loader had answered a SYNC since the chip's reset
};

struct wire {
    struct pty pty;
    const struct wire_ops *ops;
    void *ctx;
    struct wire_settings set;
    struct wire_counters n;
    struct rng rng;
    uint32_t chip_baud;
    bool autobaud;  // the chip takes any rate up to 230400 until it has seen a SYNC
    bool host_open; // somebody has the slave open
    bool untouched; // no host has set the tty yet

    uint8_t rx[4096]; // the piece that is on its way to the chip
    size_t rx_len, rx_pos;
    int64_t rx_start; // when its first bit started
    int64_t rx_free;  // when the piece before it ended
    uint32_t rx_baud;
    uint64_t rx_byte_q16; // duration of a byte, ns << 16
    size_t spotted;       // bytes of a SYNC frame matched so far
    bool greeted;         // a loader has answered a SYNC: what the host sends is meant for it

    uint8_t *tx; // queue to the host
    size_t tx_len, tx_cap;
    size_t tx_flying; // of these, the piece on the wire
    int64_t tx_start, tx_due, tx_free;
};

void wire_init(struct wire *w, const struct wire_ops *ops, void *ctx);
void wire_deinit(struct wire *w);

// Plug and unplug. `link` is the symlink to make. Returns 0 or a negative errno.
int wire_plug(struct wire *w, const char *link);
void wire_unplug(struct wire *w);
bool wire_is_plugged(const struct wire *w);

// The host's rate as of now.
uint32_t wire_host_baud(const struct wire *w);
bool wire_bauds_agree(uint32_t a, uint32_t b);

// The chip sends at time `now` (or as soon as what it sent before has left). Bytes are copied.
void wire_send(struct wire *w, int64_t now, const void *bytes, size_t len);

// The chip stops in the middle (reset, power): what has not left by `now` never will.
void wire_cut(struct wire *w, int64_t now);

// A loader has answered a SYNC, or the chip has left it.
void wire_set_greeted(struct wire *w, bool greeted);

// How long `len` bytes take at the chip's rate, in ns.
int64_t wire_duration(const struct wire *w, size_t len);

// When the next thing happens on the wire, and when it is worth waking up for it.
int64_t wire_next(const struct wire *w);
int64_t wire_wake(const struct wire *w);

// Lets happen what happens at time `t` == wire_next(). `limit` = time of the next event elsewhere.
void wire_run(struct wire *w, int64_t t, int64_t limit);

// For the event loop: what to poll, and what to do when it is ready.
bool wire_wants_input(const struct wire *w);
void wire_on_input(struct wire *w, int64_t now);
void wire_on_notice(struct wire *w, int64_t now);
