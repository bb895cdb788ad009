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

static void append(struct slip_decoder *d, uint8_t byte) {
    if (d->len == sizeof(d->frame))
        d->overlong = true;
    else
        d->frame[d->len++] = byte;
}

enum slip_event slip_feed(struct slip_decoder *d, uint8_t byte) {
    if (!d->inside) {
        if (byte == END) {
            slip_reset(d);
            d->inside = true;
        }
        return SLIP_NOTHING;
    }
    if (byte == END) {
        if (d->len == 0) {
            d->escaped = false;
            return SLIP_NOTHING;
        }
        d->inside = false;
        d->escaped = false;
        return SLIP_FRAME;
    }
    if (d->escaped) {
        d->escaped = false;
        append(d, byte == ESC_END ? END : byte == ESC_ESC ? ESC : byte);
    } else if (byte == ESC) {
        d->escaped = true;
    } else {
        append(d, byte);
    }
    return SLIP_NOTHING;
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
