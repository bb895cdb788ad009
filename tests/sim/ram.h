// What a host has uploaded to the chip's RAM, and whether a jump to it starts a stub that the simulator
// knows. The stubs' bytes are not here, only their digests: a known upload is played by a `struct loader`.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loader;

#define RAM_SEGMENTS 4

struct ram_segment {
    uint32_t address, size; // as in MEM_BEGIN, bytes
    uint32_t filled;        // bytes that have come
    uint8_t *bytes;         // owned; NULL = unused
};

struct ram {
    struct ram_segment segments[RAM_SEGMENTS];
    unsigned current; // the one that MEM_DATA fills
};

// Power or reset: all is gone.
void ram_clear(struct ram *r);

// MEM_BEGIN. A segment that overlaps an older one replaces it; with all places taken the oldest goes.
void ram_begin(struct ram *r, uint32_t address, uint32_t size);

// MEM_DATA: bytes that follow those before. What goes beyond the segment's size is dropped.
void ram_append(struct ram *r, const uint8_t *data, uint32_t len);

// The stub that a jump to `entry` starts, by the SHA-256 of its two segments; NULL when it is none that is
// known.
const struct loader *ram_find_stub(const struct ram *r, uint32_t entry);

// Whether the range touches the text or the data of a stub that runs. The ROM has none.
bool ram_overlaps_stub(const struct loader *running, uint32_t address, uint32_t size);
