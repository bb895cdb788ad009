// BEGIN, DATA..., END: to flash, plain or compressed, and to RAM. What the ROM does where packets are bad,
// repeated or missing is as recorded in rom-errors.txt.
#include "tests/sim/board.h"

#include <stdlib.h>
#include <string.h>

static uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void transfer_close(struct transfer *t) {
    if (t->kind == TRANSFER_DEFLATE)
        inflateEnd(&t->z);
    *t = (struct transfer) { .kind = TRANSFER_NONE };
}

static bool is_ram(uint32_t address, uint32_t len) {
    static const struct {
        uint32_t from, to;
    } areas[] = {
        { 0x3FFAE000, 0x40000000 }, // data RAM
        { 0x40070000, 0x400C2000 }, // instruction RAM
        { 0x50000000, 0x50002000 }, // slow RTC memory
    };

    for (size_t i = 0; i < sizeof(areas) / sizeof(areas[0]); i++)
        if (address >= areas[i].from && address <= areas[i].to && len <= areas[i].to - address)
            return true;
    return false;
}

static enum transfer_kind kind_of(uint8_t opcode) {
    switch (opcode) {
    case OP_FLASH_BEGIN:
    case OP_FLASH_DATA:
    case OP_FLASH_END:
        return TRANSFER_PLAIN;
    case OP_DEFL_BEGIN:
    case OP_DEFL_DATA:
    case OP_DEFL_END:
        return TRANSFER_DEFLATE;
    case OP_MEM_BEGIN:
    case OP_MEM_DATA:
    case OP_MEM_END:
        return TRANSFER_RAM;
    default:
        return TRANSFER_NONE;
    }
}

static uint8_t check_begin(const struct board *b, const struct transfer *t) {
    uint32_t block_max = b->set.block_max ? b->set.block_max : b->loader.loader->block_max;

    if (t->block_size == 0 || t->block_size > block_max)
        return ROM_MALFORMED;
    if (t->kind == TRANSFER_RAM)
        return is_ram(t->offset, t->size) ? ROM_OK : ROM_BAD_RAM_ADDRESS;
    if (!b->loader.attached || t->offset % FLASH_SECTOR != 0)
        return ROM_FAILED;
    if (t->offset > b->loader.flash_limit || t->size > b->loader.flash_limit - t->offset)
        return ROM_FAILED;
    return ROM_OK;
}

void transfer_begin(struct board *b, const struct request *q, struct outcome *out) {
    struct transfer t = {
        .kind = kind_of(q->opcode),
        .size = le32(q->data),
        .n_blocks = le32(q->data + 4),
        .block_size = le32(q->data + 8),
        .offset = le32(q->data + 12),
    };
    struct transfer *slot = t.kind == TRANSFER_RAM ? &b->loader.ram : &b->loader.flash;

    transfer_close(slot);
    out->error = check_begin(b, &t);
    if (out->error)
        return;
    *slot = t;
    if (t.kind == TRANSFER_RAM)
        ram_begin(&b->ram, t.offset, t.size);
    if (t.kind == TRANSFER_DEFLATE && inflateInit(&slot->z) != Z_OK)
        abort();
    if (t.kind != TRANSFER_RAM)
        out->cost_us = flash_begin_erase(&b->flash, t.offset, t.size);
}

// Inflates `len` bytes to a buffer that the caller gets (NULL when nothing came out). Returns an enum
// loader_error.
static uint8_t inflate_block(struct transfer *t, const uint8_t *data, uint32_t len, uint8_t **out,
                             uint32_t *out_len) {
    uint32_t room = t->size - t->written;
    uint8_t *buf = malloc((size_t)room + 1); // one more, so that too much shows
    int r;

    if (!buf)
        abort();
    t->z.next_in = data;
    t->z.avail_in = len;
    t->z.next_out = buf;
    t->z.avail_out = room + 1;
    r = inflate(&t->z, Z_SYNC_FLUSH);
    *out_len = room + 1 - t->z.avail_out;
    *out = buf;
    if (r == Z_OK || r == Z_BUF_ERROR || r == Z_STREAM_END) {
        if (*out_len <= room) {
            t->written += *out_len;
            return ROM_OK;
        }
        r = Z_DATA_ERROR;
    }
    free(buf);
    *out = NULL;
    return t->z.msg && strcmp(t->z.msg, "incorrect data check") == 0 ? ROM_BAD_ADLER : ROM_INFLATE_FAILED;
}

// The ROM writes where the last accepted packet ended: one that was counted but refused leaves no hole, what
// follows moves down (the digest of three packets in rom-errors.txt).
static void write_flash(struct board *b, struct transfer *t, const uint8_t *data, uint32_t len,
                        struct outcome *out) {
    uint32_t offset = t->offset + t->written;
    uint8_t *copy = NULL;
    uint32_t n = len;

    if (t->kind == TRANSFER_DEFLATE) {
        out->error = inflate_block(t, data, len, &copy, &n);
        if (out->error) {
            transfer_close(t);
            return;
        }
    } else {
        copy = malloc((size_t)len + 1);
        if (!copy)
            abort();
        memcpy(copy, data, len);
        t->written += len;
    }
    out->cost_us = flash_begin_program(&b->flash, offset, copy, n);
}

void transfer_data(struct board *b, const struct request *q, struct outcome *out) {
    enum transfer_kind kind = kind_of(q->opcode);
    struct transfer *t = kind == TRANSFER_RAM ? &b->loader.ram : &b->loader.flash;
    uint32_t len = le32(q->data);
    uint32_t number = le32(q->data + 4);
    const uint8_t *data = q->data + 16;

    if (t->kind != kind || len != q->len - 16 || len > t->block_size || number != t->next ||
        number >= t->n_blocks) {
        out->error = ROM_MALFORMED;
        return;
    }
    // A packet with a bad checksum is counted all the same.
    t->next++;
    if (loader_checksum(data, len) != q->checksum) {
        out->error = ROM_BAD_CHECKSUM;
        return;
    }
    if (kind == TRANSFER_RAM)
        ram_append(&b->ram, data, len);
    else
        write_flash(b, t, data, len, out);
}

void transfer_end(struct board *b, const struct request *q, struct outcome *out) {
    enum transfer_kind kind = kind_of(q->opcode);
    struct transfer *t = kind == TRANSFER_RAM ? &b->loader.ram : &b->loader.flash;
    uint32_t flag = le32(q->data);

    if (kind == TRANSFER_RAM) {
        out->entry = le32(q->data + 4);
        if (flag == 0 && out->entry != 0)
            out->next = NEXT_RUN_RAM;
        transfer_close(t);
        return;
    }
    // With no transfer open the loader says yes and goes on; otherwise it ends, one way or the other.
    if (t->kind == kind)
        out->next = flag == 0 ? NEXT_REBOOT : NEXT_LEAVE;
    transfer_close(t);
}
