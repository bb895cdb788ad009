#pragma once

/*
 * Pieces that are written in one go: one BEGIN, one stream, one END. The ROM gets one piece at a time; a stub
 * as many as touch, because it writes while the next block arrives, and would have nothing to do at each
 * beginning. Pure: nothing is copied but what stands before and behind the pieces' own bytes.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/esp/codec.h"
#include "daemon/firmware/package.h"
#include "daemon/flash/job.h"

/* A block may inflate to no more than this, so that no reply has to wait for long (facts 2). */
#define FLASH_RUN_INFLATED_MAX (4 * FIRMWARE_PIECE_BYTES)

/* Blocks of which it is reckoned where they end best: all of an image of 2 MB. */
#define FLASH_RUN_PLANNED 256

struct flash_run {
    const struct esp_loader *loader;
    const struct flash_piece *pieces; /* borrowed */
    unsigned n;
    uint32_t offset, size; /* on flash */
    bool is_erase;         /* nothing is sent */
    bool is_deflated;
    uint32_t block_bytes; /* the most in one block */
    uint32_t stream_size; /* bytes to be sent */
    uint32_t n_blocks;
    const uint8_t *body;
    uint32_t body_size;
    uint8_t tail[FIRMWARE_ZLIB_TAIL_BYTES];
    uint32_t ends[FLASH_RUN_PLANNED]; /* where the first blocks end in the stream */
    unsigned n_ends;
};

/*
 * The best run from the first of n pieces on; all are borrowed. block_bytes: the most that the loader is
 * to get in one block. plain: the first piece's own bytes, to be sent as they are (then it is a run of one);
 * or NULL.
 */
void flash_run_init(struct flash_run *ret, const struct esp_loader *loader, const struct flash_piece *pieces,
                    unsigned n, uint32_t block_bytes, uint32_t baud, const uint8_t *plain);
/* It writes a whole region, whose MD5 is known. */
bool flash_run_is_region(const struct flash_run *run);
/* The block at that byte of the stream: how many bytes it has, and in ret_work how many of flash it may come
 * to. */
uint32_t flash_run_block(const struct flash_run *run, uint32_t at, struct esp_block *ret, uint32_t *ret_work);
