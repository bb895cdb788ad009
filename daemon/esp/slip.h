#pragma once

/* SLIP as the ESP32 loader speaks it: C0 body C0, with C0 -> DB DC and DB -> DB DD inside.
 * Pure: bytes in, bytes out. */

#include <stddef.h>
#include <stdint.h>

/* The longest encoding of n bytes. */
#define SLIP_ENCODED_MAX(n) (2 * (n) + 2)

/* A reply has fewer than 100 bytes (facts/esp32-serial-protocol.md 1); READ_FLASH frames of a stub have 4096.
 */
#define SLIP_FRAME_MAX 4224

/* Adds the encoding of bytes, without the delimiters, at out; gives back how many bytes that are. */
size_t slip_encode(const uint8_t *bytes, size_t size, uint8_t *out);

enum slip_event {
    SLIP_NONE,   /* more is needed */
    SLIP_TEXT,   /* the byte stands outside of any frame */
    SLIP_FRAME,  /* a frame is complete: frame, size */
    SLIP_BROKEN, /* a wrong escape or too long: what had come is in frame, size; hunting for the next C0 */
};

struct slip_decoder {
    enum { SLIP_HUNT, SLIP_BODY, SLIP_ESCAPE, SLIP_REOPENED } state;
    size_t size, limit; /* limit: the longest frame expected, at most SLIP_FRAME_MAX */
    uint8_t frame[SLIP_FRAME_MAX];
};

/* Begins to hunt; frames longer than limit are broken. */
void slip_decoder_reset(struct slip_decoder *decoder, size_t limit);
/* Takes one byte. frame and size hold until the next call. */
enum slip_event slip_decode(struct slip_decoder *decoder, uint8_t byte);
