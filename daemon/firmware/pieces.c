#include "daemon/firmware/pieces.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <zlib.h>

#include "daemon/firmware/pieces_join.h"

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

static int digest_blank(struct firmware_pieces *ret, const uint8_t *blank, uint32_t size) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_good = context && EVP_DigestInit_ex(context, EVP_md5(), NULL) == 1;

    for (uint32_t n; is_good && size; size -= n) {
        n = size < FIRMWARE_PIECE_BYTES ? size : FIRMWARE_PIECE_BYTES;
        is_good = EVP_DigestUpdate(context, blank, n) == 1;
    }
    is_good = is_good && EVP_DigestFinal_ex(context, ret->md5, NULL) == 1;
    EVP_MD_CTX_free(context);
    return is_good ? 0 : -EIO;
}

int firmware_pieces_erase(struct firmware_pieces *ret, uint32_t offset, uint32_t size) {
    cleanup(free_p) uint8_t *blank = malloc(FIRMWARE_PIECE_BYTES);
    int r = cut(ret, offset, size);

    if (r < 0)
        return r;
    if (!blank)
        return -ENOMEM;
    memset(blank, 0xff, FIRMWARE_PIECE_BYTES);
    r = digest_blank(ret, blank, size);
    if (r < 0)
        return r;
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

/* stream has room for the piece as it is. */
static int deflate_piece(struct firmware_piece *piece, const uint8_t *plain, uint8_t *stream,
                         struct libdeflate_compressor *compressor) {
    size_t room = piece->size - FIRMWARE_ZLIB_LEAD_BYTES - FIRMWARE_ZLIB_TAIL_BYTES - PIECES_JOIN_BYTES;
    size_t n = libdeflate_deflate_compress(compressor, plain, piece->size, stream, room);
    int r;

    piece->deflated = n > 0;
    if (!piece->deflated) {
        memcpy(stream, plain, piece->size);
        piece->stream_size = piece->size;
        return 0;
    }
    r = pieces_join_open(stream, &n, FIRMWARE_WINDOW_BYTES, &piece->window_end);
    piece->stream_size = (uint32_t)n;
    piece->adler = libdeflate_adler32(1, plain, piece->size);
    return r;
}

int firmware_pieces_write(struct firmware_pieces *ret, uint32_t offset, const uint8_t *bytes, uint32_t size,
                          struct libdeflate_compressor *compressor) {
    size_t used = 0;
    uint8_t *streams;
    int r = cut(ret, offset, size);

    if (r < 0)
        return r;
    if (EVP_Digest(bytes, size, ret->md5, NULL, EVP_md5(), NULL) != 1)
        return -EIO;
    ret->streams = malloc(size); /* no stream is longer than its piece */
    if (!ret->streams)
        return -ENOMEM;
    for (unsigned i = 0; i < ret->n; i++) {
        struct firmware_piece *piece = &ret->pieces[i];
        const uint8_t *plain = bytes + (piece->offset - offset);

        r = deflate_piece(piece, plain, ret->streams + used, compressor);
        if (r < 0)
            return r;
        used += piece->stream_size;
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

void firmware_zlib_tail(const struct firmware_piece *pieces, unsigned n, uint8_t *ret) {
    uLong adler = pieces[0].adler;

    for (unsigned i = 1; i < n; i++)
        adler = adler32_combine(adler, pieces[i].adler, (z_off_t)pieces[i].size);
    ret[0] = 0x03; /* the last block, of Huffman's fixed codes, and at once its end */
    ret[1] = 0x00;
    for (unsigned i = 0; i < 4; i++)
        ret[2 + i] = (uint8_t)(adler >> (24 - 8 * i));
}

bool firmware_piece_inflate(const struct firmware_piece *piece, uint8_t *ret) {
    struct libdeflate_decompressor *decompressor = libdeflate_alloc_decompressor();
    cleanup(free_p) uint8_t *whole = malloc(piece->stream_size + 2);
    enum libdeflate_result result = LIBDEFLATE_BAD_DATA;

    if (decompressor && whole) {
        memcpy(whole, piece->stream, piece->stream_size);
        memcpy(whole + piece->stream_size, "\x03", 2);
        result = libdeflate_deflate_decompress(decompressor, whole, piece->stream_size + 2, ret, piece->size,
                                               NULL);
    }
    libdeflate_free_decompressor(decompressor);
    return result == LIBDEFLATE_SUCCESS;
}

void firmware_pieces_deinit(struct firmware_pieces *pieces) {
    free(pieces->pieces);
    free(pieces->streams);
    *pieces = (struct firmware_pieces) { 0 };
}
