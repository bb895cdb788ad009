#include "daemon/esp/slip.h"

enum { END = 0xc0, ESC = 0xdb, ESC_END = 0xdc, ESC_ESC = 0xdd };

size_t slip_encode(const uint8_t *bytes, size_t size, uint8_t *out) {
    size_t n = 0;

    for (size_t i = 0; i < size; i++)
        if (bytes[i] == END || bytes[i] == ESC) {
            out[n++] = ESC;
            out[n++] = bytes[i] == END ? ESC_END : ESC_ESC;
        } else {
            out[n++] = bytes[i];
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
