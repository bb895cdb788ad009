#pragma once

/*
 * Which of Espressif's flasher stubs may be run: by what is in them, never by where they come from. A stub
 * of another version may hang, or write what nobody asked for (facts 7).
 */

#include <stdint.h>

#include "daemon/esp/codec.h"

enum { ESP_STUB_TEXT, ESP_STUB_DATA, ESP_STUB_SEGMENTS };

/* The most that a segment of an accepted stub has. */
#define ESP_STUB_SEGMENT_MAX 6456u

struct esp_stub_segment {
    uint32_t address, size; /* bytes, in the chip's RAM */
    uint8_t sha256[32];
};

struct esp_stub {
    const struct esp_loader *loader; /* who it is once it runs */
    uint32_t entry, bss;
    struct esp_stub_segment segments[ESP_STUB_SEGMENTS];
};

/* The accepted stub that is just that; NULL: none is. */
const struct esp_stub *esp_stub_find(const struct esp_stub *like);
