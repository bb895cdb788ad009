#include "tests/sim/slip.h"

enum {
    END = 0xC0,
    ESC = 0xDB,
    ESC_END = 0xDC,
    ESC_ESC = 0xDD,
};

void slip_reset(struct slip_decoder *d) {
    d->inside = false;
    d->escaped = false;
    d->overlong = false;
    d->len = 0;
}

#define LEGACY_FRAME_MAX (0x4000 + 64)

static void append(struct slip_decoder *d, uint8_t byte) {
    if (d->len == sizeof(d->frame))
        d->overlong = true;
    else
        d->frame[d->len++] = byte;
}

static enum slip_event on_end(struct slip_decoder *d) {
    d->escaped = false;
    if (d->len == 0) {
        d->inside = d->manner == SLIP_ROM;
        return SLIP_NOTHING;
    }
    d->inside = false;
    return SLIP_FRAME;
}

static void on_bad_escape(struct slip_decoder *d, uint8_t byte) {
    switch (d->manner) {
    case SLIP_ROM:
        append(d, byte);
        break;
    case SLIP_STUB_NEW:
        slip_reset(d);
        break;
    case SLIP_STUB_LEGACY:
        d->escaped = true; // until an escape is complete
        break;
    }
}

enum slip_event slip_feed(struct slip_decoder *d, uint8_t byte) {
    if (!d->inside) {
        if (byte == END) {
            slip_reset(d);
            d->inside = true;
        }
        return SLIP_NOTHING;
    }
    if (byte == END && !(d->escaped && d->manner == SLIP_STUB_NEW))
        return on_end(d);
    if (d->escaped) {
        d->escaped = false;
        if (byte == ESC_END)
            append(d, END);
        else if (byte == ESC_ESC)
            append(d, ESC);
        else
            on_bad_escape(d, byte);
    } else if (byte == ESC) {
        d->escaped = true;
    } else {
        append(d, byte);
    }
    if (d->manner == SLIP_STUB_NEW && d->overlong)
        slip_reset(d);
    return d->manner == SLIP_STUB_LEGACY && d->len == LEGACY_FRAME_MAX ? on_end(d) : SLIP_NOTHING;
}

size_t slip_encode(const uint8_t *body, size_t len, uint8_t *out) {
    size_t n = 0;

    out[n++] = END;
    for (size_t i = 0; i < len; i++) {
        if (body[i] == END || body[i] == ESC) {
            out[n++] = ESC;
            out[n++] = body[i] == END ? ESC_END : ESC_ESC;
        } else {
            out[n++] = body[i];
        }
    }
    out[n++] = END;
    return n;
}

uint8_t loader_checksum(const uint8_t *data, size_t len) {
    uint8_t sum = 0xEF;

    for (size_t i = 0; i < len; i++)
        sum ^= data[i];
    return sum;
}
