#pragma once

/* A stretch of flash cut into pieces, each with its digest and with what is sent for it. */

#include <libdeflate.h>
#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/firmware/package.h"

struct firmware_pieces {
    struct firmware_piece *pieces;
    unsigned n;
    uint8_t md5[16];  /* of all of them */
    uint8_t *streams; /* what the pieces' streams point into */
};

/* For what has been erased. Returns 0 or a negative errno; deinit ret in either case. */
must_check int firmware_pieces_erase(struct firmware_pieces *ret, uint32_t offset, uint32_t size);
/* For bytes, size (a multiple of 4096) of them, borrowed during the call. Each piece is deflated by itself,
 * or plain where that is not shorter; see struct firmware_piece. Errors as above. */
must_check int firmware_pieces_write(struct firmware_pieces *ret, uint32_t offset, const uint8_t *bytes,
                                     uint32_t size, struct libdeflate_compressor *compressor);
/* The end of the zlib stream that n pieces make, which are deflated and touch each other: the last block,
 * which is empty, and the digest of all. ret has FIRMWARE_ZLIB_TAIL_BYTES. */
void firmware_zlib_tail(const struct firmware_piece *pieces, unsigned n, uint8_t *ret);
/* What a deflated piece stands for, at ret, which has its size. False: no memory. */
must_check bool firmware_piece_inflate(const struct firmware_piece *piece, uint8_t *ret);
void firmware_pieces_deinit(struct firmware_pieces *pieces);
