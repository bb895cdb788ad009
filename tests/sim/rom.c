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

static void read_reg(struct board *b, const struct request *q, struct outcome *out) {
    out->has_value = true;
    out->value = regs_read(&b->regs, le32(q->data));
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

static void spi_set_params(struct board *b, const struct request *q, struct outcome *out) {
    (void)out;
    b->loader.flash_limit = le32(q->data + 4);
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
    { OP_READ_REG, 4, 4, read_reg },
    { OP_SPI_SET_PARAMS, 24, 24, spi_set_params },
    { OP_SPI_ATTACH, 8, 8, spi_attach },
    { OP_READ_FLASH_SLOW, 8, 8, read_flash_slow },
    { OP_CHANGE_BAUDRATE, 8, 8, change_baudrate },
    { OP_DEFL_BEGIN, 16, 16, transfer_begin },
    { OP_DEFL_DATA, 16, 16 + 0x1800, transfer_data },
    { OP_DEFL_END, 4, 4, transfer_end },
    { OP_MD5, 8, 16, md5 },
};

const struct loader loader_rom = {
    .name = "rom",
    .status_len = 4,
    .block_max = 0x1800,
    .commands = commands,
    .n_commands = sizeof(commands) / sizeof(commands[0]),
};
