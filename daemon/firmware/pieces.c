#include "daemon/firmware/pieces.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

/* bytes: all that the piece stands for. */
static int digest(struct firmware_piece *piece, const uint8_t *bytes) {
    return EVP_Digest(bytes, piece->size, piece->md5, NULL, EVP_md5(), NULL) == 1 &&
                   EVP_Digest(bytes, FIRMWARE_SECTOR_BYTES, piece->head_md5, NULL, EVP_md5(), NULL) == 1
               ? 0
               : -EIO;
}

/* Pieces end where a multiple of FIRMWARE_PIECE_BYTES is, so the first and the last may be short. */
static int cut(struct firmware_pieces *ret, uint32_t offset, uint32_t size) {
    uint32_t first = offset / FIRMWARE_PIECE_BYTES, last = (offset + size - 1) / FIRMWARE_PIECE_BYTES;

    *ret = (struct firmware_pieces) { 0 };
    ret->pieces = calloc(last - first + 1, sizeof *ret->pieces);
    if (!ret->pieces)
        return -ENOMEM;
    for (uint32_t end = offset + size; offset < end; offset += ret->pieces[ret->n++].size) {
        uint32_t room = FIRMWARE_PIECE_BYTES - offset % FIRMWARE_PIECE_BYTES;

        ret->pieces[ret->n].offset = offset;
        ret->pieces[ret->n].size = end - offset < room ? end - offset : room;
    }
    return 0;
}

int firmware_pieces_erase(struct firmware_pieces *ret, uint32_t offset, uint32_t size) {
    cleanup(free_p) uint8_t *blank = malloc(FIRMWARE_PIECE_BYTES);
    int r = cut(ret, offset, size);

    if (r < 0)
        return r;
    if (!blank)
        return -ENOMEM;
    memset(blank, 0xff, FIRMWARE_PIECE_BYTES);
    for (unsigned i = 0; i < ret->n; i++) {
        struct firmware_piece *piece = &ret->pieces[i];

        /* most are whole ones */
        if (i > 0 && piece->size == piece[-1].size) {
            memcpy(piece->md5, piece[-1].md5, sizeof piece->md5);
            memcpy(piece->head_md5, piece[-1].head_md5, sizeof piece->head_md5);
            continue;
        }
        r = digest(piece, blank);
        if (r < 0)
            return r;
    }
    return 0;
}

int firmware_pieces_write(struct firmware_pieces *ret, uint32_t offset, const uint8_t *bytes, uint32_t size,
                          struct libdeflate_compressor *compressor) {
    size_t used = 0;
    uint8_t *streams;
    int r = cut(ret, offset, size);

    if (r < 0)
        return r;
    ret->streams = malloc(size); /* no stream is longer than its piece */
    if (!ret->streams)
        return -ENOMEM;
    for (unsigned i = 0; i < ret->n; i++) {
        struct firmware_piece *piece = &ret->pieces[i];
        const uint8_t *plain = bytes + (piece->offset - offset);
        size_t n =
            libdeflate_zlib_compress(compressor, plain, piece->size, ret->streams + used, piece->size - 1);

        piece->deflated = n > 0;
        if (!piece->deflated) {
            memcpy(ret->streams + used, plain, piece->size);
            n = piece->size;
        }
        piece->stream_size = (uint32_t)n;
        used += n;
        r = digest(piece, plain);
        if (r < 0)
            return r;
    }

    /* Given back what compression saved, the block may have moved: only now can be pointed into it. */
    streams = realloc(ret->streams, used);
    if (streams)
        ret->streams = streams;
    used = 0;
    for (unsigned i = 0; i < ret->n; i++) {
        ret->pieces[i].stream = ret->streams + used;
        used += ret->pieces[i].stream_size;
    }
    return 0;
}

void firmware_pieces_deinit(struct firmware_pieces *pieces) {
    free(pieces->pieces);
    free(pieces->streams);
    *pieces = (struct firmware_pieces) { 0 };
}
