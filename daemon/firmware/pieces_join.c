/* As input, zlib changes nothing. */
#define ZLIB_CONST

#include "daemon/firmware/pieces_join.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

/* What zlib says in data_type when it stops at a block's end. */
enum { UNUSED_BITS = 7, IN_LAST_BLOCK = 64, AT_BLOCK_END = 128 };

/* What libdeflate doesn't say, so that zlib goes through the stream once. */
struct found {
    size_t last_begin, last_end; /* bits at which the last block begins and ends */
    uint32_t mark, at;           /* as in pieces_join_open */
};

static int look_through(const uint8_t *stream, size_t size, struct found *ret) {
    uint8_t plain[4096];
    z_stream z = { .next_in = stream, .avail_in = (uInt)size };
    size_t block = 0, at;
    int r = inflateInit2(&z, -MAX_WBITS), result = -EBADMSG;

    if (r != Z_OK)
        return r == Z_MEM_ERROR ? -ENOMEM : -EBADMSG;
    for (;;) {
        z.next_out = plain;
        z.avail_out = (uInt)(sizeof plain - z.total_out % sizeof plain);
        r = inflate(&z, Z_BLOCK);
        if (r != Z_OK && r != Z_STREAM_END)
            break;
        if (z.total_out == ret->mark && !ret->at)
            ret->at = (uint32_t)z.total_in;
        if (!(z.data_type & AT_BLOCK_END)) {
            if (r == Z_STREAM_END)
                break;
            continue; /* only the room for what comes out was full */
        }
        at = 8 * (size_t)z.total_in - (unsigned)(z.data_type & UNUSED_BITS);
        if (z.data_type & IN_LAST_BLOCK) {
            ret->last_begin = block;
            ret->last_end = at;
            result = 0;
            break;
        }
        block = at;
    }
    inflateEnd(&z);
    return result;
}

int pieces_join_open(uint8_t *stream, size_t *size, uint32_t mark, uint32_t *ret_at) {
    struct found found = { .mark = mark };
    size_t begin, end, bytes;
    int r = look_through(stream, *size, &found);

    if (r < 0)
        return r;
    begin = found.last_begin;
    end = found.last_end;
    *ret_at = found.at;
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
