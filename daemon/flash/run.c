#include "daemon/flash/run.h"

#include <string.h>

#include "daemon/firmware/pieces.h"

/* What a flash chip takes, as usual (facts 8), in ms. */
enum {
    ERASE_SECTOR_MS = 45,
    ERASE_BLOCK_MS = 150,
    PROGRAM_WINDOW_MS = FIRMWARE_WINDOW_BYTES / 256 * 6 / 10,
};

enum {
    BLOCK_BYTES_MIN = 0x400,
    PLAIN_BLOCK_BYTES = 0x1000, /* divides every piece: whole blocks of plain data are wanted */
    ERASED_AT_ONCE = 4,         /* pieces: so that a person sees it go on */
};

/* next can follow piece in one stream. */
static bool touches(const struct flash_piece *piece, const struct flash_piece *next) {
    const struct firmware_piece *a = piece->piece, *b = next->piece;

    if (next->region != piece->region || next->state != FLASH_PIECE_DIFFERS || next->send_inflated ||
        a->offset + a->size != b->offset || a->deflated != b->deflated)
        return false;
    return a->stream ? b->stream == a->stream + a->stream_size : !b->stream;
}

/* What the line carries in that time. */
static uint32_t carried(uint32_t baud, uint32_t ms) {
    return (uint32_t)((uint64_t)baud * ms / 10000);
}

/* Its windows come faster than the chip can erase and write for each. A stub erases ahead, as much as the run
 * has: where what follows comes slower, that is better left for then. */
static bool is_quick(const struct flash_piece *piece, uint32_t baud) {
    return piece->piece->deflated &&
           piece->piece->stream_size < carried(baud, 2 * (ERASE_BLOCK_MS + PROGRAM_WINDOW_MS));
}

static unsigned count(const struct flash_run *run, unsigned n, uint32_t baud, const uint8_t *plain) {
    bool is_prefix = true;
    unsigned most = run->is_erase && n > ERASED_AT_ONCE ? ERASED_AT_ONCE : n, i = 1;

    if (!run->loader->is_stub || plain)
        return 1;
    for (; i < most && touches(&run->pieces[i - 1], &run->pieces[i]); i++) {
        is_prefix = is_prefix && is_quick(&run->pieces[i - 1], baud);
        if (is_prefix && i > 1 && !is_quick(&run->pieces[i], baud))
            break;
    }
    return i;
}

static uint32_t plain_block_bytes(const struct flash_run *run, uint32_t block_bytes) {
    if (run->loader->is_stub && run->size % block_bytes == 0)
        return block_bytes;
    return block_bytes > PLAIN_BLOCK_BYTES ? PLAIN_BLOCK_BYTES : block_bytes;
}

/* Of a short run each sector is erased by itself, and one ahead for each block: they are to come as the
 * sectors do. */
static uint32_t deflated_block_bytes(const struct flash_run *run, uint32_t block_bytes, uint32_t baud) {
    uint32_t bytes = carried(baud, ERASE_SECTOR_MS);

    if (!run->loader->is_stub || run->size >= FIRMWARE_PIECE_BYTES || bytes > block_bytes)
        return block_bytes;
    return bytes < BLOCK_BYTES_MIN ? BLOCK_BYTES_MIN : bytes;
}

static uint32_t count_blocks(const struct flash_run *run) {
    struct esp_block block;
    uint32_t n = 0, work;

    for (uint32_t at = 0; at < run->stream_size; n++)
        at += flash_run_block(run, at, &block, &work);
    return n;
}

void flash_run_init(struct flash_run *ret, const struct esp_loader *loader, const struct flash_piece *pieces,
                    unsigned n, uint32_t block_bytes, uint32_t baud, const uint8_t *plain) {
    const struct firmware_piece *first = pieces->piece;

    *ret = (struct flash_run) { .loader = loader,
                                .pieces = pieces,
                                .offset = first->offset,
                                .is_erase = !first->stream,
                                .is_deflated = first->deflated && !plain,
                                .body = plain ? plain : first->stream };
    ret->n = count(ret, n, baud, plain);
    for (unsigned i = 0; i < ret->n; i++) {
        ret->size += pieces[i].piece->size;
        ret->body_size += plain ? pieces[i].piece->size : pieces[i].piece->stream_size;
    }
    ret->block_bytes =
        ret->is_deflated ? deflated_block_bytes(ret, block_bytes, baud) : plain_block_bytes(ret, block_bytes);
    if (ret->is_erase)
        return;
    ret->stream_size = ret->body_size;
    if (ret->is_deflated) {
        ret->stream_size += FIRMWARE_ZLIB_LEAD_BYTES + FIRMWARE_ZLIB_TAIL_BYTES;
        firmware_zlib_tail(first, ret->n, ret->tail); /* a region's pieces lie one behind the other */
    }
    ret->n_blocks = count_blocks(ret);
}

bool flash_run_is_region(const struct flash_run *run) {
    return run->offset == run->pieces->region->offset && run->size == run->pieces->region->size;
}

/* How much of the stream, from its first byte on, belongs to the run's first n pieces. */
static uint32_t stream_end(const struct flash_run *run, unsigned n) {
    const struct firmware_piece *first = run->pieces->piece;

    return n == run->n ? run->stream_size
                       : FIRMWARE_ZLIB_LEAD_BYTES + (uint32_t)(first[n].stream - first->stream);
}

/* Where the loader's window is full, and all of it goes to flash, in the piece of that number after `at`: in
 * its middle, or at its end. */
static uint32_t window_end(const struct flash_run *run, unsigned number, uint32_t at) {
    const struct firmware_piece *piece = run->pieces[number].piece;
    uint32_t begin = number ? stream_end(run, number) : FIRMWARE_ZLIB_LEAD_BYTES;

    return piece->window_end && begin + piece->window_end > at ? begin + piece->window_end
                                                               : stream_end(run, number + 1);
}

/* A block of a compressed stream. It ends where the loader's window is full: the work that this makes lies
 * under the next block's way over the wire, which is the longer the more of that window is still to come. It
 * may not go beyond the end of the fourth piece that it touches. */
static uint32_t deflated_size(const struct flash_run *run, uint32_t at, uint32_t most, uint32_t *ret_work) {
    const unsigned n_most = FLASH_RUN_INFLATED_MAX / FIRMWARE_PIECE_BYTES;
    bool is_aligned = run->loader->is_stub && run->offset % FIRMWARE_WINDOW_BYTES == 0;
    unsigned first = 0, end;

    while (stream_end(run, first + 1) <= at)
        first++;
    if (is_aligned && window_end(run, first, at) - at < most)
        most = window_end(run, first, at) - at;
    end = first + 1;
    *ret_work = run->pieces[first].piece->size;
    while (end < run->n && end < first + n_most && stream_end(run, end) < at + most)
        *ret_work += run->pieces[end++].piece->size;
    return stream_end(run, end) - at < most ? stream_end(run, end) - at : most;
}

/* What of the stretch of bytes at `begin` the block from `at` to `end` has: gives back where it begins there,
 * and *ret_size. */
static uint32_t part(uint32_t begin, uint32_t size, uint32_t at, uint32_t end, size_t *ret_size) {
    uint32_t from = at > begin ? at - begin : 0, to = end > begin ? end - begin : 0;

    if (from > size)
        from = size;
    if (to > size)
        to = size;
    *ret_size = to - from;
    return from;
}

uint32_t flash_run_block(const struct flash_run *run, uint32_t at, struct esp_block *ret,
                         uint32_t *ret_work) {
    uint32_t left = run->stream_size - at, most = left < run->block_bytes ? left : run->block_bytes,
             size = most;
    uint32_t body_at = FIRMWARE_ZLIB_LEAD_BYTES, tail_at = body_at + run->body_size;

    *ret = (struct esp_block) { .body = run->body + at, .body_size = most };
    *ret_work = most;
    if (!run->is_deflated)
        return most;
    size = deflated_size(run, at, most, ret_work);
    ret->lead = (const uint8_t *)FIRMWARE_ZLIB_LEAD + part(0, body_at, at, at + size, &ret->lead_size);
    ret->body = run->body + part(body_at, run->body_size, at, at + size, &ret->body_size);
    ret->tail = run->tail + part(tail_at, sizeof run->tail, at, at + size, &ret->tail_size);
    return size;
}
