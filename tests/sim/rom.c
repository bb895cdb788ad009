// The mask ROM's loader: its command table. Judged by the recorded transcripts.
#include "tests/sim/board.h"

#include <stdio.h>
#include <string.h>

static uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void greet(struct board *b, const struct request *q, struct outcome *out) {
    static const uint8_t greeting[4] = { 0x07, 0x07, 0x12, 0x20 };

    (void)b;
    if (memcmp(q->data, greeting, sizeof(greeting)) != 0) {
        out->error = ROM_MALFORMED;
        return;
    }
    out->replies = 8;
    out->has_value = true;
    out->value = 0x20120707;
    out->clears_error = true;
}

static void write_reg(struct board *b, const struct request *q, struct outcome *out) {
    regs_write(&b->regs, le32(q->data), le32(q->data + 4), le32(q->data + 8));
    out->cost_us = le32(q->data + 12);
}

static void spi_attach(struct board *b, const struct request *q, struct outcome *out) {
    (void)q;
    (void)out;
    b->loader.attached = true;
}

static void read_flash_slow(struct board *b, const struct request *q, struct outcome *out) {
    uint32_t offset = le32(q->data);
    uint32_t len = le32(q->data + 4);

    out->payload_len = sizeof(out->payload);
    if (len > sizeof(out->payload))
        out->error = ROM_BAD_READ_LENGTH;
    else if (!b->loader.attached || offset > b->loader.flash_limit || len > b->loader.flash_limit - offset)
        out->error = ROM_FAILED;
    if (out->error)
        out->keep_payload = true;
    else
        flash_read(&b->flash, offset, out->payload, sizeof(out->payload));
}

// The ROM works out its divider from its own estimate of the crystal, which is wrong by some per cent; the
// true crystal makes the rate.
static void change_baudrate(struct board *b, const struct request *q, struct outcome *out) {
    uint32_t wanted = le32(q->data);
    uint32_t estimate = chip_crystal_estimate(&b->chip);
    uint64_t div16;

    if (estimate == 0)
        estimate = b->chip.xtal_hz;
    if (wanted == 0 || wanted > 5000000) {
        out->error = ROM_MALFORMED;
        return;
    }
    div16 = ((uint64_t)estimate * 16 + wanted / 2) / wanted;
    out->next = NEXT_CHANGE_BAUD;
    out->baud = (uint32_t)(((uint64_t)b->chip.xtal_hz * 16 + div16 / 2) / div16);
    out->clkdiv = (uint32_t)((div16 >> 4) | (div16 & 15) << 20);
}

static void md5(struct board *b, const struct request *q, struct outcome *out) {
    uint32_t offset = le32(q->data);
    uint32_t len = le32(q->data + 4);
    uint8_t digest[16];
    char hex[33];

    if (!b->loader.attached || offset > b->loader.flash_limit || len > b->loader.flash_limit - offset) {
        out->error = ROM_FAILED;
        return;
    }
    out->cost_us = flash_md5(&b->flash, offset, len, digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    memcpy(out->payload, hex, 32);
    out->payload_len = 32;
    out->clears_error = true;
}

static const struct loader_command commands[] = {
    { OP_FLASH_BEGIN, 16, 16, transfer_begin },
    { OP_FLASH_DATA, 16, 16 + 0x1800, transfer_data },
    { OP_FLASH_END, 4, 4, transfer_end },
    { OP_MEM_BEGIN, 16, 16, transfer_begin },
    { OP_MEM_END, 8, 8, transfer_end },
    { OP_MEM_DATA, 16, 16 + 0x1800, transfer_data },
    { OP_SYNC, 36, 36, greet },
    { OP_WRITE_REG, 16, 16, write_reg },
    { OP_READ_REG, 4, 4, loader_read_reg },
    { OP_SPI_SET_PARAMS, 24, 24, loader_spi_set_params },
    { OP_SPI_ATTACH, 8, 8, spi_attach },
    { OP_READ_FLASH_SLOW, 8, 8, read_flash_slow },
    { OP_CHANGE_BAUDRATE, 8, 8, change_baudrate },
    { OP_DEFL_BEGIN, 16, 16, transfer_begin },
    { OP_DEFL_DATA, 16, 16 + 0x1800, transfer_data },
    { OP_DEFL_END, 4, 4, transfer_end },
    { OP_MD5, 8, 16, md5 },
};

static void run(struct board *b, const uint8_t *frame, size_t len, struct outcome *out) {
    const struct loader_command *command = NULL;

    *out = (struct outcome) { .replies = 1 };
    if (len >= 8 && frame[0] == 0x00)
        command = loader_find(b->loader.loader, frame[1]);
    if (!command) {
        out->unknown = true;
        out->error = ROM_MALFORMED;
        return;
    }
    struct request q = { .opcode = frame[1], .data = frame + 8, .len = len - 8, .checksum = frame[4] };
    size_t announced = (size_t)frame[2] | (size_t)frame[3] << 8;
    if (announced != q.len || q.len < command->len_min || q.len > command->len_max) {
        // A frame whose length is not the announced one (half a packet) is no command at all; a wrong length
        // is a bad one.
        out->unknown = announced != q.len;
        out->error = ROM_MALFORMED;
        return;
    }
    command->run(b, &q, out);
}

static size_t compose(struct loader_state *s, uint8_t opcode, const struct outcome *o, uint8_t *frame) {
    size_t data_len = o->payload_len + s->loader->status_len;

    if (!o->unknown)
        s->reply_opcode = opcode;
    if (o->has_value)
        s->reply_value = o->value;
    if (!o->keep_payload)
        memcpy(s->reply_data, o->payload, o->payload_len);
    if (o->error || o->clears_error)
        s->reply_error = o->error;
    s->reply_data[o->payload_len] = o->error ? 1 : 0;
    s->reply_data[o->payload_len + 1] = s->reply_error;

    frame[0] = 0x01;
    frame[1] = s->reply_opcode;
    frame[2] = (uint8_t)data_len;
    frame[3] = (uint8_t)(data_len >> 8);
    for (int i = 0; i < 4; i++)
        frame[4 + i] = (uint8_t)(s->reply_value >> (8 * i));
    memcpy(frame + 8, s->reply_data, data_len);
    return 8 + data_len;
}

const struct loader loader_rom = {
    .name = "rom",
    .slip = SLIP_ROM,
    .status_len = 4,
    .block_max = 0x1800,
    .commands = commands,
    .n_commands = sizeof(commands) / sizeof(commands[0]),
    .run = run,
    .compose = compose,
};
