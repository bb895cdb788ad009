#include "tests/sim/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_NS  4000000 // wire time that is handled in one piece
#define CHUNK_MIN 16
// At rates at which blocks are sent, each piece costs more than it shows: 64 boards share a processor or two.
#define CHUNK_FAST_NS   16000000
#define CHUNK_FAST_BAUD 460800
#define AUTOBAUD_MAX    230400
#define TX_QUEUE_MAX    (1u << 20)

// `C0 00 08 24 00 00 00 00 00 07 07 12 20`, 32 times 55, `C0`
#define SYNC_WIRE_LEN 46

static uint8_t sync_wire_byte(size_t i) {
    static const uint8_t head[13] = { 0xC0, 0x00, 0x08, 0x24, 0, 0, 0, 0, 0, 0x07, 0x07, 0x12, 0x20 };

    if (i < sizeof(head))
        return head[i];
    return i == SYNC_WIRE_LEN - 1 ? 0xC0 : 0x55;
}

static int64_t span(uint32_t baud, size_t bytes) {
    return (int64_t)((bytes * UINT64_C(10000000000) + baud / 2) / baud);
}

static size_t chunk_len(const struct wire *w, uint32_t baud, size_t max) {
    uint64_t piece_ns = baud < CHUNK_FAST_BAUD ? CHUNK_NS : CHUNK_FAST_NS;
    size_t n = (size_t)(baud * piece_ns / UINT64_C(10000000000));

    if (w->set.fast || n > max)
        return max;
    return n < CHUNK_MIN ? CHUNK_MIN : n;
}

void wire_init(struct wire *w, const struct wire_ops *ops, void *ctx) {
    *w =
        (struct wire) { .pty = { .master = -1, .inotify = -1 }, .ops = ops, .ctx = ctx, .chip_baud = 115200 };
    w->set.stall_ms = 100;
    rng_seed(&w->rng, 1);
}

void wire_deinit(struct wire *w) {
    wire_unplug(w);
    free(w->tx);
    w->tx = NULL;
    w->tx_cap = 0;
}

int wire_plug(struct wire *w, const char *link) {
    int r = pty_open(&w->pty, link);

    w->host_open = false;
    w->untouched = true;
    w->rx_len = w->rx_pos = 0;
    w->tx_len = w->tx_flying = 0;
    w->spotted = 0;
    return r;
}

void wire_unplug(struct wire *w) {
    pty_close(&w->pty);
    w->host_open = false;
    w->rx_len = w->rx_pos = 0;
    w->tx_len = w->tx_flying = 0;
}

bool wire_is_plugged(const struct wire *w) {
    return w->pty.master >= 0;
}

uint32_t wire_host_baud(const struct wire *w) {
    return pty_host_baud(&w->pty);
}

bool wire_bauds_agree(uint32_t a, uint32_t b) {
    uint32_t diff = a > b ? a - b : b - a;

    return (uint64_t)diff * 100 <= (uint64_t)b * 4;
}

static bool rate_is_bad(const struct wire *w, uint32_t host_baud) {
    // The chip's divider never meets a rate exactly, so a little below counts too.
    if (w->set.baud_fail && (uint64_t)w->chip_baud * 104 >= (uint64_t)w->set.baud_fail * 100)
        return true;
    return !wire_bauds_agree(host_baud, w->chip_baud);
}

// By the rate that both ends have, whatever the pace: a board without pacing has the same noise.
static bool is_noisy(const struct wire *w) {
    return (uint64_t)w->chip_baud * 104 >= (uint64_t)w->set.noise_from * 100;
}

static bool strikes(struct wire *w, double chance) {
    return chance > 0 && is_noisy(w) && rng_unit(&w->rng) < chance;
}

static bool is_dropped(struct wire *w) {
    if (!strikes(w, w->set.drop_rate))
        return false;
    w->n.noise_drops++;
    return true;
}

static int64_t stall(struct wire *w) {
    if (!strikes(w, w->set.stall_rate))
        return 0;
    w->n.noise_stalls++;
    return (int64_t)w->set.stall_ms * 1000000;
}

static uint8_t through_the_wire(struct wire *w, uint8_t byte, bool bad, uint64_t *garbled) {
    if (!bad && !strikes(w, w->set.flip_rate))
        return byte;
    (*garbled)++;
    if (bad)
        return rng_other_byte(&w->rng, byte);
    return (uint8_t)(byte ^ (1u << rng_below(&w->rng, 8)));
}

// ---- host to chip
// -------------------------------------------------------------------------------------------------

static void count_non_sync(struct wire *w, size_t n) {
    w->n.non_sync_bytes += n;
    if (!w->greeted)
        w->n.bytes_other += n;
}

void wire_set_greeted(struct wire *w, bool greeted) {
    if (w->greeted && !greeted) {
        count_non_sync(w, w->spotted); // a frame's end looks like a SYNC's beginning
        w->spotted = 0;
    }
    w->greeted = greeted;
}

static void spot_sync(struct wire *w, uint8_t byte) {
    w->n.bytes_received++;
    if (byte != sync_wire_byte(w->spotted)) {
        count_non_sync(w, w->spotted);
        w->spotted = 0;
        if (byte != 0xC0) {
            count_non_sync(w, 1);
            return;
        }
    }
    if (++w->spotted == SYNC_WIRE_LEN) {
        w->n.syncs++;
        w->spotted = 0;
    }
}

static int64_t rx_arrival(const struct wire *w, size_t i) {
    return w->set.fast ? w->rx_start : w->rx_start + (int64_t)(((i + 1) * w->rx_byte_q16) >> 16);
}

// Puts the next piece on the wire, its first bit starting at `start`.
static void rx_take(struct wire *w, int64_t start) {
    ssize_t n;

    w->rx_len = w->rx_pos = 0;
    n = read(w->pty.master, w->rx, chunk_len(w, pty_host_baud(&w->pty), sizeof(w->rx)));
    // Asked again once the bytes are here: a host sets its rate first and writes then, perhaps in between.
    w->rx_baud = pty_host_baud(&w->pty);
    w->rx_byte_q16 = UINT64_C(655360000000000) / w->rx_baud;
    if (n > 0) {
        w->rx_start = start;
        w->rx_len = (size_t)n;
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        w->host_open = pty_discard(&w->pty);
        w->n.opens += w->host_open; // again, meanwhile
    }
}

static bool rx_deliver(struct wire *w, int64_t t) {
    uint8_t byte = w->rx[w->rx_pos++];
    int64_t late = stall(w);
    bool bad = rate_is_bad(w, w->rx_baud) && !(w->autobaud && w->rx_baud <= AUTOBAUD_MAX);

    if (late)
        w->rx_start = (w->set.fast ? t : w->rx_start) + late;
    spot_sync(w, byte);
    if (w->set.rx_dead || is_dropped(w))
        return false;
    w->n.rx_bytes++;
    return w->ops->on_byte(w->ctx, t, through_the_wire(w, byte, bad, &w->n.rx_garbled));
}

bool wire_wants_input(const struct wire *w) {
    return wire_is_plugged(w) && w->host_open && w->rx_len == 0;
}

void wire_on_input(struct wire *w, int64_t now) {
    if (wire_wants_input(w))
        rx_take(w, w->set.fast || now > w->rx_free ? now : w->rx_free);
}

void wire_on_notice(struct wire *w, int64_t now) {
    pty_swallow_notices(&w->pty);
    w->n.opens++;
    w->host_open = true;
    wire_on_input(w, now);
}

// ---- chip to host
// -------------------------------------------------------------------------------------------------

static void tx_launch(struct wire *w, int64_t now) {
    if (w->tx_flying > 0 || w->tx_len == 0)
        return;
    w->tx_flying = chunk_len(w, w->chip_baud, w->tx_len);
    if (w->tx_flying > w->tx_len)
        w->tx_flying = w->tx_len;
    w->tx_start = now > w->tx_free ? now : w->tx_free;
    if (w->set.fast)
        w->tx_start = now;
    for (size_t i = 0; i < w->tx_flying; i++)
        w->tx_start += stall(w);
    w->tx_due = w->tx_start + (w->set.fast ? 0 : span(w->chip_baud, w->tx_flying));
}

// Between the open and the first setting of a tty that was just plugged in the kernel echoes, and no host can
// help it: what the board says in that moment is lost here, so that all that is echoed later is the host's
// fault.
static bool host_hears(struct wire *w) {
    if (!w->host_open)
        return false;
    if (w->untouched)
        w->untouched = pty_echoes(&w->pty);
    return !w->untouched;
}

static void tx_land(struct wire *w, size_t n) {
    uint8_t *out = w->tx;
    size_t left = 0;

    w->n.tx_bytes += n;
    if (!host_hears(w) || w->set.tx_dead || !wire_is_plugged(w)) {
        w->n.tx_dropped += n;
    } else {
        bool bad = rate_is_bad(w, pty_host_baud(&w->pty));
        for (size_t i = 0; i < n; i++)
            if (!is_dropped(w))
                out[left++] = through_the_wire(w, out[i], bad, &w->n.tx_garbled);
        ssize_t written = left ? write(w->pty.master, out, left) : 0;
        w->n.tx_dropped += left - (written < 0 ? 0 : (size_t)written);
    }
    w->tx_len -= n;
    memmove(w->tx, w->tx + n, w->tx_len);
    w->tx_flying = 0;
}

void wire_send(struct wire *w, int64_t now, const void *bytes, size_t len) {
    if (len == 0 || w->tx_len + len > TX_QUEUE_MAX)
        return;
    if (w->tx_len + len > w->tx_cap) {
        size_t cap = (w->tx_len + len) * 2;
        uint8_t *grown = realloc(w->tx, cap);
        if (!grown)
            abort();
        w->tx = grown;
        w->tx_cap = cap;
    }
    memcpy(w->tx + w->tx_len, bytes, len);
    w->tx_len += len;
    tx_launch(w, now);
}

void wire_cut(struct wire *w, int64_t now) {
    if (w->tx_flying > 0 && !w->set.fast && now > w->tx_start) {
        int64_t done = (now - w->tx_start) / span(w->chip_baud, 1);
        tx_land(w, (size_t)done < w->tx_flying ? (size_t)done : w->tx_flying);
    } else if (w->tx_flying > 0 && w->set.fast) {
        tx_land(w, w->tx_flying);
    }
    w->tx_len = w->tx_flying = 0;
    w->tx_free = now;
}

int64_t wire_duration(const struct wire *w, size_t len) {
    return w->set.fast ? 0 : span(w->chip_baud, len);
}

// ---- time
// -----------------------------------------------------------------------------------------------------------

int64_t wire_next(const struct wire *w) {
    int64_t rx = w->rx_len > 0 ? rx_arrival(w, w->rx_pos) : TIME_NEVER;
    int64_t tx = w->tx_flying > 0 ? w->tx_due : TIME_NEVER;

    return rx < tx ? rx : tx;
}

int64_t wire_wake(const struct wire *w) {
    int64_t rx = w->rx_len > 0 ? rx_arrival(w, w->rx_len - 1) : TIME_NEVER;
    int64_t tx = w->tx_flying > 0 ? w->tx_due : TIME_NEVER;

    return rx < tx ? rx : tx;
}

void wire_run(struct wire *w, int64_t t, int64_t limit) {
    if (w->tx_flying > 0 && w->tx_due <= t) {
        w->tx_free = w->tx_due;
        tx_land(w, w->tx_flying);
        tx_launch(w, w->tx_free);
        if (w->tx_len == 0)
            w->ops->on_sent(w->ctx, t);
        return;
    }
    if (w->tx_flying > 0 && w->tx_due < limit)
        limit = w->tx_due;
    while (w->rx_pos < w->rx_len) {
        int64_t arrival = rx_arrival(w, w->rx_pos);
        if (arrival > limit)
            return;
        if (rx_deliver(w, arrival))
            break;
    }
    if (w->rx_len > 0 && w->rx_pos == w->rx_len) {
        w->rx_free = rx_arrival(w, w->rx_len - 1);
        rx_take(w, w->set.fast ? t : w->rx_free);
    }
}
