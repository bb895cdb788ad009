// SLIP as the chip's loader speaks it, and the loader's checksum. Written apart from the daemon's: one checks
// the other. Bytes in, bytes out; no fd, no clock.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Largest frame taken: the new stub's buffer, which holds 8 header + 16 block header + 0x4000 data and a
// little.
#define SLIP_FRAME_MAX 0x4107

// How a receiver takes what is no clean frame.
enum slip_manner {
    SLIP_ROM,         // C0 C0 is still the start of a frame; a bad escape keeps the byte
    SLIP_STUB_NEW,    // strict toggle: C0 C0 is nothing; a bad escape or too long: dropped, its C0 then opens
    SLIP_STUB_LEGACY, // the same toggle; a bad escape loses its two bytes, too long ends the frame
};

enum slip_event {
    SLIP_NOTHING, // the byte was taken
    SLIP_FRAME,   // frame[0..len) is complete; it stays valid until the next byte
};

struct slip_decoder {
    enum slip_manner manner;
    bool inside;   // between an opening and a closing C0
    bool escaped;  // DB seen
    bool overlong; // more than SLIP_FRAME_MAX bytes: the rest is dropped
    size_t len;
    uint8_t frame[SLIP_FRAME_MAX];
};

// Back to outside a frame; the manner stays.
void slip_reset(struct slip_decoder *d);

enum slip_event slip_feed(struct slip_decoder *d, uint8_t byte);

// Encodes with both C0. `out` needs 2 * len + 2 bytes. Returns the length on the wire.
size_t slip_encode(const uint8_t *body, size_t len, uint8_t *out);

// XOR of all bytes, seeded with EF.
uint8_t loader_checksum(const uint8_t *data, size_t len);
