#pragma once

/*
 * Releases: the words in an image, and their order.
 * Source: facts/pycom.md 1.3 (intVersion) and 2.6 (the uname cluster, present in all 15 images examined).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FIRMWARE_BOARD_MAX   32
#define FIRMWARE_RELEASE_MAX 64

struct firmware_version {
    char board[FIRMWARE_BOARD_MAX];     /* "WiPy" */
    char release[FIRMWARE_RELEASE_MAX]; /* "1.20.1.r1" */
    char git[96];                       /* "v1.8.6-849-b0520f1 on 2018-08-29" */
    uint32_t image_offset;              /* where in the image the cluster begins */
};

/* The uname cluster always lies within this many first bytes of an application image (facts/pycom.md 2.6). */
#define FIRMWARE_VERSION_WINDOW 0x24000u

/* Finds "<Board> with ESP32\0<git> on YYYY-MM-DD\0<release>\0" anywhere in bytes. False: not there, or not
 * wholly. */
bool firmware_version_find(const uint8_t *bytes, size_t size, struct firmware_version *ret);

/* Whether that is one of Pycom's own names of a kind of board (facts/pycom.md 1.6), as images spell them. */
bool firmware_board_is_pycom(const char *board);

/* Pycom's intVersion of a release, "1.20.2.r4" -> 77596036; three-part releases count as r0.
 * False: not a release that can be ordered (extra text, a part out of range); never guessed. */
bool firmware_release_parse(const char *release, uint32_t *ret);
