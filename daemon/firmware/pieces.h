#pragma once

/* A stretch of flash cut into pieces, each with its digest and with what is sent for it. */

#include <libdeflate.h>
#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/firmware/package.h"

struct firmware_pieces {
    struct firmware_piece *pieces;
    unsigned n;
    uint8_t *streams; /* what the pieces' streams point into */
};

/* For what has been erased. Returns 0 or a negative errno; deinit ret in either case. */
must_check int firmware_pieces_erase(struct firmware_pieces *ret, uint32_t offset, uint32_t size);
/* For bytes, size (a multiple of 4096) of them, borrowed during the call. Each piece is a zlib stream of its
 * own (its window is the format's 32 KiB), or plain where that is not shorter. Errors as above. */
must_check int firmware_pieces_write(struct firmware_pieces *ret, uint32_t offset, const uint8_t *bytes,
                                     uint32_t size, struct libdeflate_compressor *compressor);
void firmware_pieces_deinit(struct firmware_pieces *pieces);
