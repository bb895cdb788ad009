#pragma once

/* ESP32 images (facts/esp32-serial-protocol.md 5, "Image header and patching"). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/base/fault.h"

/* Checks magic, chip id, segments, XOR checksum and, where the header says there is one, the SHA-256.
 * Trailing bytes are allowed where they are 32 hex digits of MD5 (2017's appimg.bin) or FF padding.
 * name is used in the story. IMAGE_CORRUPT. */
enum wipyd_error firmware_image_check(const uint8_t *bytes, size_t size, const char *name,
                                      struct fault *fault);

/* Sets header bytes 2 and 3 to DIO, 80 MHz and the flash's real size (4 MB gives 02 2F) and redoes the
 * SHA-256 where there is one. bytes must have passed firmware_image_check; only for the image at 0x1000.
 * flash_bytes: a power of two from 1 to 16 MB. False: the SHA-256 can't be computed (no memory), and bytes
 * are no image any more. */
must_check bool firmware_image_patch(uint8_t *bytes, size_t size, uint32_t flash_bytes);
