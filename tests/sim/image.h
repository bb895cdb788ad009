// What is in the flash: bootloader image, partition table, Pycom's boot selector, application image and its
// names. The simulated second stage and firmware decide by the bytes that the flash really holds. No I/O, no
// clock.
#pragma once

#include "tests/sim/flash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum image_verdict {
    IMAGE_GOOD,
    IMAGE_NO_MAGIC,     // does not begin with E9
    IMAGE_BAD_LAYOUT,   // segments leave the flash
    IMAGE_BAD_CHECKSUM, // XOR over the segments
    IMAGE_BAD_SHA256,   // only where the header announces one
};

struct image {
    enum image_verdict verdict;
    uint32_t len; // bytes including checksum and digest, when good
    uint32_t entry;
    uint8_t mode; // 0 QIO, 1 QOUT, 2 DIO, 3 DOUT
    uint8_t checksum, checksum_wanted;
    unsigned n_segments;
    struct {
        uint32_t address, len;
    } segments[16];
};

void image_check(const struct flash *f, uint32_t offset, struct image *out);

struct partitions {
    bool valid;
    uint32_t factory, ota_0, otadata; // offsets, 0 = not in the table
};

void partitions_read(const struct flash *f, struct partitions *out);

// Which app Pycom's bootloader starts: its offset, 0 = none. A bad boot selector is rewritten to "factory,
// ready" as it does.
uint32_t boot_select(struct flash *f, const struct partitions *p);

struct firmware_names {
    char board[32];   // "WiPy"
    char git[64];     // "v1.8.6-849-b0520f1"
    char date[16];    // "2018-08-29"
    char release[80]; // "1.18.1.r1"
};

// Finds `<Board> with ESP32\0<git> on YYYY-MM-DD\0<release>\0` in the head of the app. False when it isn't
// there.
bool firmware_names_read(const struct flash *f, uint32_t app, struct firmware_names *out);
