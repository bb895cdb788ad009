/* A stub answers a block and then writes it, while the next one is on its way; what that brings has to wait
 * until all has been written. It programs when its window is full. With each block that finds the chip at
 * rest it erases what comes next, up to the end of the run, and what it programs after that waits for the
 * erase: so the best place for a block to end is often not where a window is full (facts 2). Here a stub's
 * time is reckoned block by block, and each ends where the wire loses least. */

#include "daemon/flash/run_blocks.h"

#include <string.h>

enum {
    /* What a flash chip takes, as usual (facts 8). */
    ERASE_SECTOR_US = 45000,
    ERASE_BLOCK_US = 150000,
    PROGRAM_PAGE_US = 600,
    PAGE_BYTES = 256,
    /* Of a block on the wire: its frame, and what SLIP makes of a thousand bytes (facts 8). */
    FRAME_BYTES = 26,
    ESCAPED_PERMILLE = 1008,
    ROUND_TRIP_US = 400,
    /* A block that is to come before an erase has ended, or after it: by as much as a host may be late. One
     * that is to end before a window is full. */
    BEFORE_US = 8000,
    AFTER_US = 6000,
    SHORT_BYTES = 512,
    /* A piece's last window may be full some bytes before the piece ends, which ends its last block of the
     * stream and has an empty one behind it. */
    EMPTY_BYTES = 8,
    /* Before it finds its window full it has taken such ends and what the next block of the stream begins
     * with: 17 bits, 19 lengths of 3 bits and 316 of 7 (RFC 1951 3.2.7). */
    CODES_BYTES = 287,
};

/* ---- the stream ------------------------------------------------------------------------------ */

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

static unsigned piece_at(const struct flash_run *run, uint32_t at) {
    unsigned number = 0;

    while (stream_end(run, number + 1) <= at)
        number++;
    return number;
}

/* As far as a block from `at` on may go: not beyond the end of the fourth piece that it touches. */
static uint32_t limit(const struct flash_run *run, unsigned number, uint32_t at) {
    unsigned end = number + FLASH_RUN_INFLATED_MAX / FIRMWARE_PIECE_BYTES;
    uint32_t most = stream_end(run, end < run->n ? end : run->n);

    return most - at < run->block_bytes ? most : at + run->block_bytes;
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* A stub in the middle of a run; times in us since BEGIN was sent. */
struct stub {
    uint64_t now;   /* the block before is answered */
    uint64_t free;  /* the chip has nothing more to do */
    uint64_t bound; /* all is programmed that was to be: until then it takes no block */
    uint32_t at;    /* in the stream */
    unsigned piece; /* there */
    uint32_t erased, programmed;
    bool is_dirty; /* something had to be erased */
};

static uint64_t wire_us(uint32_t bytes, uint32_t baud) {
    return (uint64_t)bytes * 10 * 1000 * ESCAPED_PERMILLE / baud;
}

static uint64_t program_us(uint32_t bytes) {
    return (uint64_t)bytes / PAGE_BYTES * PROGRAM_PAGE_US;
}

/* Of at most a piece. */
static uint64_t erase_us(uint32_t bytes) {
    return bytes == FIRMWARE_PIECE_BYTES ? ERASE_BLOCK_US
                                         : (uint64_t)bytes / FIRMWARE_SECTOR_BYTES * ERASE_SECTOR_US;
}

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static void erase(const struct flash_run *run, struct stub *stub) {
    bool is_block = run->size - stub->erased >= FIRMWARE_PIECE_BYTES;
    const struct flash_piece *piece = &run->pieces[stub->erased / FIRMWARE_PIECE_BYTES];

    stub->is_dirty |= !run->loader->skips_blank || !piece->is_blank;
    if (!stub->is_dirty) {
        stub->erased += piece->piece->size;
        return;
    }
    stub->free = later(stub->free, stub->now) + (is_block ? ERASE_BLOCK_US : ERASE_SECTOR_US);
    stub->erased += is_block ? FIRMWARE_PIECE_BYTES : FIRMWARE_SECTOR_BYTES;
}

static void program(const struct flash_run *run, struct stub *stub) {
    uint32_t left = run->size - stub->programmed;
    uint32_t bytes = left < FIRMWARE_WINDOW_BYTES ? left : FIRMWARE_WINDOW_BYTES;

    stub->programmed += bytes;
    while (stub->erased < stub->programmed)
        erase(run, stub);
    stub->free = stub->bound = later(stub->free, stub->now) + program_us(bytes);
}

/* It gets the block that ends there. */
static void take(const struct flash_run *run, uint32_t baud, struct stub *stub, uint32_t end) {
    uint64_t wire = wire_us(end - stub->at + FRAME_BYTES, baud);
    bool is_erasing;

    stub->now = later(stub->now + wire + ROUND_TRIP_US, stub->bound);
    is_erasing = stub->free > stub->now;
    while (stub->at < end) {
        uint32_t full = window_end(run, stub->piece, stub->at);

        if (!is_erasing && stub->erased < run->size)
            erase(run, stub);
        is_erasing = true;
        if (full > end) {
            stub->at = end;
            continue;
        }
        program(run, stub);
        is_erasing = false;
        stub->at = full;
        stub->piece += full == stream_end(run, stub->piece + 1);
    }
}

/* By how much it is behind a wire that never rests, if the next block is as long as can be. */
static int64_t lateness(const struct flash_run *run, uint32_t baud, const struct stub *stub) {
    uint32_t left = run->stream_size - stub->at;
    uint64_t next = wire_us(left < run->block_bytes ? left : run->block_bytes, baud);
    uint64_t bound = stub->bound > next ? stub->bound - next : 0;

    return (int64_t)later(stub->now, bound) - (int64_t)wire_us(stub->at, baud);
}

struct choice {
    uint32_t end;
    int64_t lateness;
};

/* A block that ends near the end of a window ends there: whether the stub programs and erases then hangs on a
 * few bytes. */
static uint32_t at_window_end(const struct flash_run *run, const struct stub *stub, uint32_t end) {
    uint32_t most = limit(run, stub->piece, stub->at), full = stub->at,
             next = window_end(run, stub->piece, full);

    while (next <= end + EMPTY_BYTES && next <= most && next < run->stream_size) {
        full = next;
        next = window_end(run, piece_at(run, full), full);
    }
    return full > stub->at && end <= full + CODES_BYTES ? full : end;
}

/* A block that ends there: is it better? */
static void consider(const struct flash_run *run, uint32_t baud, const struct stub *stub, int64_t end,
                     struct choice *best) {
    struct choice choice;
    struct stub after = *stub;

    if (end <= stub->at || end > limit(run, stub->piece, stub->at))
        return;
    choice.end = at_window_end(run, stub, (uint32_t)end);
    take(run, baud, &after, choice.end);
    choice.lateness = lateness(run, baud, &after);
    if (!best->end || choice.lateness < best->lateness ||
        (choice.lateness == best->lateness && choice.end > best->end))
        *best = choice;
}

/* Where a block ends that comes at that time. */
static int64_t arriving(const struct stub *stub, uint32_t baud, int64_t at_us) {
    int64_t us = at_us - (int64_t)stub->now;

    return stub->at + us * baud / (10 * 1000 * ESCAPED_PERMILLE) - FRAME_BYTES;
}

static uint32_t choose(const struct flash_run *run, uint32_t baud, const struct stub *stub) {
    int64_t most = limit(run, stub->piece, stub->at), full = window_end(run, stub->piece, stub->at), end;
    struct choice best = { 0 };

    consider(run, baud, stub, most, &best);
    consider(run, baud, stub, full, &best);
    if (stub->erased == run->size)
        return best.end;
    consider(run, baud, stub, full - SHORT_BYTES, &best);
    if (full < run->stream_size)
        consider(run, baud, stub, window_end(run, piece_at(run, (uint32_t)full), (uint32_t)full), &best);
    end = arriving(stub, baud, (int64_t)stub->free - BEFORE_US);
    if (end >= stub->at + SHORT_BYTES)
        consider(run, baud, stub, end < most ? end : most, &best);
    end = arriving(stub, baud, (int64_t)stub->free + AFTER_US);
    if (end >= stub->at + SHORT_BYTES)
        consider(run, baud, stub, end, &best);
    return best.end;
}

uint64_t flash_run_plan(struct flash_run *run, uint32_t baud) {
    struct stub stub = { .now = wire_us(FRAME_BYTES, baud) + ROUND_TRIP_US };

    erase(run, &stub);
    for (run->n_ends = 0; stub.at < run->stream_size;) {
        uint32_t end = choose(run, baud, &stub);

        take(run, baud, &stub, end);
        if (run->n_ends < FLASH_RUN_PLANNED)
            run->ends[run->n_ends++] = end;
    }
    return later(stub.now + ROUND_TRIP_US, stub.bound) + ROUND_TRIP_US;
}

uint64_t flash_run_rest(const struct flash_run *run, unsigned from, unsigned to, uint32_t baud) {
    uint64_t sum = program_us(FIRMWARE_WINDOW_BYTES); /* its last window, while nothing can be sent */

    for (unsigned i = from; i < to; i++) {
        const struct firmware_piece *piece = run->pieces[i].piece;
        uint32_t n_blocks = piece->stream_size / run->block_bytes + 1;
        uint64_t wire = wire_us(piece->stream_size + n_blocks * FRAME_BYTES, baud) + n_blocks * ROUND_TRIP_US;

        sum += later(wire, (run->pieces[i].is_blank ? 0 : erase_us(piece->size)) + program_us(piece->size));
    }
    return sum;
}

/* ---- a block --------------------------------------------------------------------------------- */

/* A block of a compressed stream: as planned, or where nothing is, up to where the window is full: the work
 * that this makes lies under the next block's way over the wire. */
static uint32_t deflated_end(const struct flash_run *run, uint32_t at) {
    bool is_aligned = run->loader->is_stub && run->offset % FIRMWARE_WINDOW_BYTES == 0;
    unsigned number = piece_at(run, at);
    uint32_t most = limit(run, number, at), full = window_end(run, number, at);

    for (unsigned i = 0; i < run->n_ends; i++)
        if (run->ends[i] > at)
            return run->ends[i];
    return is_aligned && full < most ? full : most;
}

/* Of all pieces that the block from `at` to `end` touches. */
static uint32_t inflated(const struct flash_run *run, uint32_t at, uint32_t end) {
    uint32_t sum = 0;

    for (unsigned i = piece_at(run, at); i < run->n && (i == 0 || stream_end(run, i) < end); i++)
        sum += run->pieces[i].piece->size;
    return sum;
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
    size = deflated_end(run, at) - at;
    *ret_work = inflated(run, at, at + size);
    ret->lead = (const uint8_t *)FIRMWARE_ZLIB_LEAD + part(0, body_at, at, at + size, &ret->lead_size);
    ret->body = run->body + part(body_at, run->body_size, at, at + size, &ret->body_size);
    ret->tail = run->tail + part(tail_at, sizeof run->tail, at, at + size, &ret->tail_size);
    return size;
}
