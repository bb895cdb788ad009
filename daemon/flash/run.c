#include "daemon/flash/run.h"

#include <string.h>

#include "daemon/firmware/pieces.h"
#include "daemon/flash/run_blocks.h"

enum {
    BLOCK_BYTES_MIN = 0x400,
    PLAIN_BLOCK_BYTES = 0x1000, /* divides every piece: whole blocks of plain data are wanted */
    ERASED_AT_ONCE = 4,         /* pieces: so that a person sees it go on */
    SHORT_RUN = 4,              /* pieces: longer ones are all that touch */
    SECTOR_ERASE_MS = 45,       /* as usual (facts 8) */
};

/* next can follow piece in one stream. */
static bool touches(const struct flash_piece *piece, const struct flash_piece *next) {
    const struct firmware_piece *a = piece->piece, *b = next->piece;

    if (next->region != piece->region || next->state != FLASH_PIECE_DIFFERS || next->send_inflated ||
        a->offset + a->size != b->offset || a->deflated != b->deflated)
        return false;
    return a->stream ? b->stream == a->stream + a->stream_size : !b->stream;
}

static unsigned count_touching(const struct flash_run *run, unsigned n, const uint8_t *plain) {
    unsigned most = run->is_erase && n > ERASED_AT_ONCE ? ERASED_AT_ONCE : n, i = 1;

    if (!run->loader->is_stub || plain)
        return 1;
    while (i < most && touches(&run->pieces[i - 1], &run->pieces[i]))
        i++;
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
    uint32_t bytes = (uint32_t)((uint64_t)baud * SECTOR_ERASE_MS / 10000);

    if (!run->loader->is_stub || run->size >= FIRMWARE_PIECE_BYTES || bytes > block_bytes)
        return block_bytes;
    return bytes < BLOCK_BYTES_MIN ? BLOCK_BYTES_MIN : bytes;
}

/* The run of its first n pieces; block_bytes as of flash_run_init. */
static void set_length(struct flash_run *run, unsigned n, uint32_t block_bytes, uint32_t baud) {
    run->n = n;
    run->size = run->body_size = run->n_ends = 0;
    for (unsigned i = 0; i < n; i++) {
        run->size += run->pieces[i].piece->size;
        run->body_size += run->is_deflated ? run->pieces[i].piece->stream_size : run->pieces[i].piece->size;
    }
    run->stream_size = run->is_erase ? 0 : run->body_size;
    if (run->is_deflated)
        run->stream_size += FIRMWARE_ZLIB_LEAD_BYTES + FIRMWARE_ZLIB_TAIL_BYTES;
    run->block_bytes =
        run->is_deflated ? deflated_block_bytes(run, block_bytes, baud) : plain_block_bytes(run, block_bytes);
}

static bool can_be_planned(const struct flash_run *run) {
    return run->loader->is_stub && run->is_deflated && run->offset % FIRMWARE_PIECE_BYTES == 0;
}

/* A stub erases ahead with each block, as much as the run has, and what it programs has to wait for that:
 * where windows come faster than it can do both, short runs keep it from erasing too early. The last piece
 * may be short, and is then erased sector by sector, one for a block: of those it gets more by itself. What
 * is blank need not be erased where a run begins with it. */
static unsigned best_length(struct flash_run *run, unsigned most, uint32_t block_bytes, uint32_t baud) {
    unsigned best = most;
    uint64_t best_us, us;

    set_length(run, most, block_bytes, baud);
    best_us = flash_run_plan(run, baud);
    for (unsigned n = 1; n < most; n++) {
        if (n > SHORT_RUN && n < most - 1 && run->pieces[n].is_blank == run->pieces[n - 1].is_blank)
            continue;
        set_length(run, n, block_bytes, baud);
        us = flash_run_plan(run, baud) + flash_run_rest(run, n, most, baud);
        if (us < best_us) {
            best = n;
            best_us = us;
        }
    }
    return best;
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
    bool is_erase = !first->stream;

    *ret = (struct flash_run) { .loader = loader,
                                .pieces = pieces,
                                .offset = first->offset,
                                .is_erase = is_erase,
                                .is_deflated = !is_erase && first->deflated && !plain,
                                .body = plain ? plain : first->stream };
    n = count_touching(ret, n, plain);
    if (can_be_planned(ret) && n > 1)
        n = best_length(ret, n, block_bytes, baud);
    set_length(ret, n, block_bytes, baud);
    if (can_be_planned(ret))
        (void)flash_run_plan(ret, baud);
    if (ret->is_deflated)
        firmware_zlib_tail(first, n, ret->tail); /* a region's pieces lie one behind the other */
    ret->n_blocks = count_blocks(ret);
}

bool flash_run_is_region(const struct flash_run *run) {
    return run->offset == run->pieces->region->offset && run->size == run->pieces->region->size;
}
