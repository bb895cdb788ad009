#pragma once

/*
 * Deflate streams (RFC 1951) made fit to stand before another one: the last block is no longer marked as the
 * last, and an empty stored block brings the end to that of a byte. So an image is compressed once, piece by
 * piece, at the strongest setting, and each run of its pieces is a stream without compressing again.
 */

#include <stddef.h>
#include <stdint.h>

#include "daemon/base/clean.h"

/* By how much a stream grows, at most. */
#define PIECES_JOIN_BYTES 5u

/* Opens the end of a whole stream, size bytes (changed to what they are after), with room for
 * PIECES_JOIN_BYTES more. *ret_at: how many of its bytes it takes until `mark` bytes (a multiple of 4096)
 * have come out; 0: that many don't. -ENOMEM; -EBADMSG: it is no deflate stream. */
must_check int pieces_join_open(uint8_t *stream, size_t *size, uint32_t mark, uint32_t *ret_at);
