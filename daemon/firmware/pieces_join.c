/* As input, zlib changes nothing. */
#define ZLIB_CONST

#include "daemon/firmware/pieces_join.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

/* What zlib says in data_type when it stops at a block's end. */
enum { UNUSED_BITS = 7, IN_LAST_BLOCK = 64, AT_BLOCK_END = 128 };

/* The bits at which the last block begins and ends. libdeflate doesn't say, so zlib goes through it once. */
static int find_last_block(const uint8_t *stream, size_t size, size_t *ret_begin, size_t *ret_end) {
    uint8_t plain[4096];
    z_stream z = { .next_in = stream, .avail_in = (uInt)size };
    size_t block = 0, at;
    int r = inflateInit2(&z, -MAX_WBITS), result = -EBADMSG;

    if (r != Z_OK)
        return r == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
    for (;;) {
        z.next_out = plain;
        z.avail_out = sizeof plain;
        r = inflate(&z, Z_BLOCK);
        if (r != Z_OK && r != Z_STREAM_END)
            break;
        if (!(z.data_type & AT_BLOCK_END)) {
            if (r == Z_STREAM_END)
                break;
            continue; /* only the room for what comes out was full */
        }
        at = 8 * (size_t)z.total_in - (unsigned)(z.data_type & UNUSED_BITS);
        if (z.data_type & IN_LAST_BLOCK) {
            *ret_begin = block;
            *ret_end = at;
            result = 0;
            break;
        }
        block = at;
    }
    inflateEnd(&z);
    return result;
}

int pieces_join_open(uint8_t *stream, size_t *size) {
    size_t begin, end, bytes;
    int r = find_last_block(stream, *size, &begin, &end);

    if (r < 0)
        return r;
    stream[begin / 8] &= (uint8_t) ~(1u << begin % 8);
    /* Three bits of 0 begin a stored block, and the rest of the byte is skipped. */
    bytes = (end + 7) / 8;
    if (end % 8)
        stream[bytes - 1] &= (uint8_t)((1u << end % 8) - 1);
    while (bytes < (end + 3 + 7) / 8)
        stream[bytes++] = 0;
    memcpy(stream + bytes, "\x00\x00\xff\xff", 4); /* its length 0, and the complement */
    *size = bytes + 4;
    return 0;
}
