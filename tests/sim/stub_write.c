// A stub's writes: BEGIN answers at once, a block is acknowledged when its checksum is right and written
// afterwards, erasing as it goes; END finds all that was accepted in flash. What goes wrong after a block's
// acknowledgement is told later: by the new line to the next command of any kind, which isn't executed, and
// then forgotten; by the legacy one to every block and END until the next BEGIN.
#include "tests/sim/board.h"

#include <stdlib.h>
#include <string.h>

static uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void stub_write_stop(struct stub_write *w) {
    if (w->z_open)
        inflateEnd(&w->z);
    w->z_open = false;
    w->open = false;
}

// ---- erasing
// --------------------------------------------------------------------------------------------------------

static bool is_blank(const struct flash *f, uint32_t sector) {
    for (uint32_t i = 0; i < FLASH_SECTOR; i++)
        if (f->mem[(sector + i) & (f->size - 1)] != 0xFF)
            return false;
    return true;
}

// The next sector, or block of 64 KiB where it is aligned and so much remains. Without `wait` nothing happens
// while an earlier erase still runs.
static void erase_next(struct board *b, bool wait) {
    struct stub_write *w = &b->stub.write;
    bool block;

    if (w->erase_left == 0)
        return;
    if (stub_is_new(b) && !w->dirty_seen) {
        if (is_blank(&b->flash, w->erase_at)) {
            w->erase_at += FLASH_SECTOR;
            w->erase_left -= FLASH_SECTOR;
            return;
        }
        w->dirty_seen = true;
    }
    if (w->erase_runs && !wait)
        return;
    block = w->erase_at % FLASH_BLOCK == 0 && w->erase_left >= FLASH_BLOCK;
    work_add_erase(b, w->erase_at, block ? FLASH_BLOCK : FLASH_SECTOR,
                   block ? b->flash.timings.block_us : b->flash.timings.sector_us);
    w->erase_at += block ? FLASH_BLOCK : FLASH_SECTOR;
    w->erase_left -= block ? FLASH_BLOCK : FLASH_SECTOR;
    w->erase_runs = true;
}

// False: the new line waits for ever for an erase that its BEGIN didn't announce.
static bool erase_up_to(struct board *b, uint32_t end) {
    struct stub_write *w = &b->stub.write;

    if (!stub_is_new(b))
        end = (end / FLASH_SECTOR + 1) * FLASH_SECTOR; // one sector more when it ends on one
    while (w->erase_at < end && w->erase_left > 0)
        erase_next(b, true);
    return w->erase_at >= end || !stub_is_new(b);
}

// ---- writing
// --------------------------------------------------------------------------------------------------------

static void write_piece(struct board *b, const uint8_t *data, uint32_t len, struct outcome *out) {
    struct stub_write *w = &b->stub.write;

    if (!stub_is_new(b) && len > w->remaining)
        len = w->remaining;
    if (len == 0)
        return;
    if (!erase_up_to(b, w->offset + len)) {
        out->next = NEXT_HANG;
        return;
    }
    work_bind(b);
    if (w->offset > b->loader.flash_limit || len > b->loader.flash_limit - w->offset) {
        b->stub.late = STUB_SPI_FAILED;
        if (stub_is_new(b))
            return;
    } else {
        work_add_program(b, w->offset, data, len);
        work_bind(b);
        w->erase_runs = false;
    }
    w->offset += len;
    w->remaining -= len;
}

// ---- inflating
// ------------------------------------------------------------------------------------------------------

enum inflate_status {
    INFLATE_MORE_INPUT,
    INFLATE_MORE_OUTPUT,
    INFLATE_DONE,
    INFLATE_FAILED,
};

static bool take_header(struct stub_write *w, const uint8_t **data, uint32_t *len) {
    while (w->header_len < 2 && *len > 0) {
        w->trailer[w->header_len++] = *(*data)++;
        (*len)--;
    }
    if (w->header_len < 2)
        return true;
    return (w->trailer[0] & 15) == 8 && (w->trailer[0] * 256 + w->trailer[1]) % 31 == 0 &&
           (w->trailer[1] & 32) == 0;
}

static enum inflate_status check_trailer(struct stub_write *w, const uint8_t **data, uint32_t *len) {
    while (w->trailer_len < 4 && *len > 0) {
        w->trailer[w->trailer_len++] = *(*data)++;
        (*len)--;
    }
    if (w->trailer_len < 4)
        return INFLATE_MORE_INPUT;
    uint32_t wanted = (uint32_t)w->trailer[0] << 24 | (uint32_t)w->trailer[1] << 16 |
                      (uint32_t)w->trailer[2] << 8 | w->trailer[3];
    return wanted == w->adler ? INFLATE_DONE : INFLATE_FAILED;
}

// Inflates into the window. `wrapped` = the checksum at the end is looked at. `more` = the host has announced
// more compressed bytes than these.
static enum inflate_status inflate_some(struct stub_write *w, const uint8_t **data, uint32_t *len,
                                        bool wrapped, bool more) {
    uint32_t before = w->window_len;
    int r;

    if (w->header_len < 2 && !take_header(w, data, len))
        return INFLATE_FAILED;
    if (!w->z_ended) {
        w->z.next_in = *data;
        w->z.avail_in = *len;
        w->z.next_out = w->window + w->window_len;
        w->z.avail_out = STUB_WINDOW - w->window_len;
        r = inflate(&w->z, Z_SYNC_FLUSH);
        *data = w->z.next_in;
        *len = w->z.avail_in;
        w->window_len = STUB_WINDOW - w->z.avail_out;
        w->adler = (uint32_t)adler32(w->adler, w->window + before, w->window_len - before);
        if (r != Z_OK && r != Z_BUF_ERROR && r != Z_STREAM_END)
            return INFLATE_FAILED;
        w->z_ended = r == Z_STREAM_END;
    }
    if (w->z_ended) {
        enum inflate_status status = wrapped ? check_trailer(w, data, len) : INFLATE_DONE;
        return status == INFLATE_MORE_INPUT && !more ? INFLATE_FAILED : status;
    }
    if (w->window_len == STUB_WINDOW)
        return INFLATE_MORE_OUTPUT;
    return more ? INFLATE_MORE_INPUT : INFLATE_FAILED;
}

static void write_deflated(struct board *b, const uint8_t *data, uint32_t len, uint32_t number,
                           struct outcome *out) {
    struct stub_write *w = &b->stub.write;
    bool is_new = stub_is_new(b);
    enum inflate_status status = INFLATE_MORE_INPUT;

    if (!is_new && w->remaining == 0 && len > 4) {
        b->stub.late = STUB_TOO_MUCH;
        return;
    }
    if (is_new && number == 0)
        w->window_len = 0; // the legacy line goes on where the last stream, perhaps an abandoned one, ended
    while (len > 0 && status < INFLATE_DONE && !b->stub.late && out->next == NEXT_NOTHING &&
           (is_new || w->remaining > 0)) {
        uint32_t had = len;
        erase_next(b, false);
        // The new line knows of the wrapper in the packet with number 0 only.
        status = inflate_some(w, &data, &len, !is_new || number == 0, w->packed > had);
        w->packed -= had - len;
        if (status == INFLATE_DONE || w->window_len == STUB_WINDOW) {
            write_piece(b, w->window, w->window_len, out);
            w->window_len = 0;
        }
    }
    if (status == INFLATE_FAILED)
        b->stub.late = STUB_INFLATE_FAILED;
    else if (!is_new && status == INFLATE_DONE && w->remaining > 0)
        b->stub.late = STUB_TOO_LITTLE;
}

// ---- commands
// -------------------------------------------------------------------------------------------------------

void stub_flash_begin(struct board *b, const struct request *q, struct outcome *out) {
    struct stub_write *w = &b->stub.write;
    uint32_t size = le32(q->data), offset = le32(q->data + 12);

    if (q->len != 16 && q->len != 20)
        out->error = STUB_BAD_LENGTH;
    else if (!stub_is_new(b) && le32(q->data + 8) > STUB_BLOCK_MAX)
        out->error = STUB_BAD_BLOCK_SIZE;
    if (out->error)
        return;
    w->open = true;
    w->remaining = size;
    w->offset = offset;
    w->packed = le32(q->data + 4) * le32(q->data + 8);
    w->erase_at = offset / FLASH_SECTOR * FLASH_SECTOR;
    w->erase_left = flash_units(offset, size, FLASH_SECTOR) * FLASH_SECTOR;
    w->dirty_seen = false;
    w->erase_runs = work_is_pending(b);
    b->stub.late = 0;
    if (q->opcode == OP_DEFL_BEGIN) {
        if (w->z_open)
            inflateEnd(&w->z);
        w->z = (z_stream) { .next_in = NULL };
        if (inflateInit2(&w->z, -15) != Z_OK)
            abort();
        w->z_open = true;
        w->z_ended = false;
        w->header_len = w->trailer_len = 0;
        w->adler = 1;
    }
    if (stub_is_new(b))
        erase_next(b, false);
    else if (!b->flash.protect_hard)
        b->flash.status1 = 0; // it unlocks
}

static uint8_t check_data(const struct board *b, const struct request *q) {
    uint32_t len = (uint32_t)q->len - 16;

    if (!b->stub.write.open)
        return STUB_NOT_OPEN;
    if (!stub_is_new(b) && b->stub.late)
        return b->stub.late;
    if (le32(q->data) != len)
        return stub_is_new(b) && q->opcode == OP_FLASH_DATA ? STUB_TOO_MUCH : STUB_BAD_LENGTH;
    return loader_checksum(q->data + 16, len) == q->checksum ? ROM_OK : STUB_BAD_CHECKSUM;
}

// Packet numbers are not looked at, except 0.
void stub_flash_data(struct board *b, const struct request *q, struct outcome *out) {
    struct stub_write *w = &b->stub.write;
    uint32_t len = (uint32_t)q->len - 16;

    out->error = check_data(b, q);
    if (out->error)
        return;
    if (b->reply_fault.used && b->reply_fault.action == FAULT_STUB_WRITE_ERROR) {
        b->stub.late = (uint8_t)b->reply_fault.arg;
        return;
    }
    w->erase_runs = work_is_pending(b);
    if (q->opcode == OP_FLASH_DATA)
        write_piece(b, q->data + 16, len < w->remaining ? len : w->remaining, out);
    else if (!w->z_open)
        b->stub.late = STUB_INFLATE_FAILED;
    else
        write_deflated(b, q->data + 16, len, le32(q->data + 4), out);
}

void stub_flash_end(struct board *b, const struct request *q, struct outcome *out) {
    struct stub_write *w = &b->stub.write;
    bool is_new = stub_is_new(b);

    if (!w->open) {
        out->error = STUB_NOT_OPEN;
    } else if (w->remaining > 0) {
        out->error = is_new ? STUB_BAD_LENGTH : STUB_TOO_LITTLE;
    } else {
        stub_write_stop(w);
        if (!is_new)
            out->error = b->stub.late;
        if (!is_new && !out->error && le32(q->data) == 0)
            out->next = NEXT_REBOOT;
    }
}
