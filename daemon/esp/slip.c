#include "daemon/esp/slip.h"

#include <string.h>

enum { END = 0xc0, ESC = 0xdb, ESC_END = 0xdc, ESC_ESC = 0xdd };

static const uint8_t *find(const uint8_t *bytes, const uint8_t *end, uint8_t byte) {
    const uint8_t *found = memchr(bytes, byte, (size_t)(end - bytes));

    return found ? found : end;
}

/* Run by run: one byte in 128 is to be escaped, and 64 boards at 921600 baud have 6 MB a second between them.
 */
size_t slip_encode(const uint8_t *bytes, size_t size, uint8_t *out) {
    const uint8_t *end = bytes + size, *next_end, *next_esc;
    size_t n = 0;

    if (size == 0)
        return 0;
    next_end = find(bytes, end, END);
    next_esc = find(bytes, end, ESC);
    while (bytes < end) {
        const uint8_t *stop = next_end < next_esc ? next_end : next_esc;

        memcpy(out + n, bytes, (size_t)(stop - bytes));
        n += (size_t)(stop - bytes);
        if (stop == end)
            break;
        out[n++] = ESC;
        out[n++] = stop == next_end ? ESC_END : ESC_ESC;
        bytes = stop + 1;
        if (stop == next_end)
            next_end = find(bytes, end, END);
        else
            next_esc = find(bytes, end, ESC);
    }
    return n;
}

void slip_decoder_reset(struct slip_decoder *decoder, size_t limit) {
    decoder->state = SLIP_HUNT;
    decoder->size = 0;
    decoder->limit = limit < SLIP_FRAME_MAX ? limit : SLIP_FRAME_MAX;
}

static enum slip_event add(struct slip_decoder *decoder, uint8_t byte) {
    if (decoder->size == decoder->limit) {
        decoder->state = SLIP_HUNT;
        return SLIP_BROKEN;
    }
    decoder->frame[decoder->size++] = byte;
    decoder->state = SLIP_BODY;
    return SLIP_NONE;
}

enum slip_event slip_decode(struct slip_decoder *decoder, uint8_t byte) {
    if (decoder->state == SLIP_REOPENED) { /* the broken frame was left to the caller until now */
        decoder->state = SLIP_BODY;
        decoder->size = 0;
    }
    switch (decoder->state) {
    case SLIP_HUNT:
        if (byte != END)
            return SLIP_TEXT;
        decoder->state = SLIP_BODY;
        decoder->size = 0;
        return SLIP_NONE;
    case SLIP_BODY:
        if (byte == ESC) {
            decoder->state = SLIP_ESCAPE;
            return SLIP_NONE;
        }
        if (byte != END)
            return add(decoder, byte);
        if (!decoder->size) /* C0 C0: the second opens a frame */
            return SLIP_NONE;
        decoder->state = SLIP_HUNT;
        return SLIP_FRAME;
    case SLIP_ESCAPE:
        if (byte == ESC_END || byte == ESC_ESC)
            return add(decoder, byte == ESC_END ? END : ESC);
        /* A C0 here may well be the opening of the next frame. */
        decoder->state = byte == END ? SLIP_REOPENED : SLIP_HUNT;
        return SLIP_BROKEN;
    case SLIP_REOPENED:
        break;
    }
    return SLIP_NONE;
}
