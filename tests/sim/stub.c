#include "tests/sim/stub.h"
#include "tests/sim/board.h"

#include <string.h>

#define APB_HZ 80000000u // the new line raises the clock from the crystal's

static uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

bool stub_is_new(const struct board *b) {
    return b->loader.loader == &loader_stub_new;
}

void stub_start(struct board *b) {
    static const uint8_t greeting[] = { 0xC0, 'O', 'H', 'A', 'I', 0xC0 };

    b->stub.late = 0;
    b->stub.write.window_len = 0;
    b->loader.attached = true;
    if (stub_is_new(b))
        board_set_baud(b, b->wire.chip_baud, APB_HZ / b->wire.chip_baud);
    board_send(b, greeting, sizeof(greeting));
}

void stub_stop(struct board *b) {
    stub_write_stop(&b->stub.write);
    stub_read_stop(&b->stub.read);
    b->stub.ram_open = false;
    b->stub.late = 0;
}

// ---- commands that the two share
// ------------------------------------------------------------------------------------

static void greet(struct board *b, const struct request *q, struct outcome *out) {
    (void)b;
    (void)q;
    out->replies = 8;
}

static void write_reg(struct board *b, const struct request *q, struct outcome *out) {
    for (size_t at = 0; at + 16 <= q->len; at += 16) {
        const uint8_t *entry = q->data + at;
        out->cost_us += le32(entry + 12);
        regs_write(&b->regs, le32(entry), le32(entry + 4), le32(entry + 8));
    }
    if (q->len % 16 != 0)
        out->error = stub_is_new(b) ? STUB_TOO_LITTLE : STUB_BAD_LENGTH;
}

static void attach(struct board *b, const struct request *q, struct outcome *out) {
    (void)b;
    (void)q;
    (void)out;
}

// The new line sets what is asked for. The legacy one scales its divider by the rate that it is told it has.
static void change_baudrate(struct board *b, const struct request *q, struct outcome *out) {
    uint64_t wanted = le32(q->data), now = le32(q->data + 4);
    uint64_t baud = stub_is_new(b) ? wanted : now ? b->wire.chip_baud * wanted / now : 0;

    if (baud == 0 || baud > 5000000)
        baud = 1; // whatever it is now, nobody hears it
    out->next = NEXT_CHANGE_BAUD;
    out->baud = (uint32_t)baud;
    out->clkdiv = (stub_is_new(b) ? APB_HZ : b->chip.xtal_hz) / out->baud;
}

static bool in_flash(const struct board *b, uint32_t offset, uint32_t len) {
    return offset <= b->loader.flash_limit && len <= b->loader.flash_limit - offset;
}

static void md5(struct board *b, const struct request *q, struct outcome *out) {
    uint32_t offset = le32(q->data), len = le32(q->data + 4);

    out->cost_us = work_settle(b);
    if (!in_flash(b, offset, len)) {
        out->error = stub_is_new(b) ? STUB_SPI_FAILED : 0x63;
        return;
    }
    out->cost_us += flash_md5(&b->flash, offset, len, out->payload);
    out->payload_len = 16;
}

static void erase_region(struct board *b, const struct request *q, struct outcome *out) {
    uint32_t offset = le32(q->data), len = le32(q->data + 4);

    if (offset % FLASH_SECTOR != 0 || len % FLASH_SECTOR != 0)
        out->error = stub_is_new(b) ? STUB_BAD_LENGTH : offset % FLASH_SECTOR ? 0x32 : 0x33;
    else if (!in_flash(b, offset, len))
        out->error = stub_is_new(b) ? STUB_SPI_FAILED : 0x37;
    if (out->error)
        return;
    out->cost_us = work_settle(b);
    out->cost_us += flash_begin_erase_fast(&b->flash, offset, len);
}

static void erase_flash(struct board *b, const struct request *q, struct outcome *out) {
    (void)q;
    out->cost_us = work_settle(b);
    out->cost_us += flash_begin_erase_fast(&b->flash, 0, b->flash.size);
}

static void run_user_code(struct board *b, const struct request *q, struct outcome *out) {
    (void)q;
    out->silent = true;
    if (!stub_is_new(b))
        out->next = NEXT_RUN_RAM;
}

static void not_implemented(struct board *b, const struct request *q, struct outcome *out) {
    (void)b;
    (void)q;
    out->error = STUB_NOT_IMPLEMENTED;
}

// ---- RAM
// ------------------------------------------------------------------------------------------------------------

// The real ones would overwrite themselves; here it is refused, so that a test sees it.
static void mem_begin(struct board *b, const struct request *q, struct outcome *out) {
    uint32_t size = le32(q->data), at = le32(q->data + 12);

    if (ram_overlaps_stub(b->loader.loader, at, size)) {
        out->error = STUB_BAD_LENGTH;
        return;
    }
    b->stub.ram_left = size;
    b->stub.ram_open = true;
    ram_begin(&b->ram, at, size);
}

static void mem_data(struct board *b, const struct request *q, struct outcome *out) {
    uint32_t len = (uint32_t)q->len - 16;

    if (!b->stub.ram_open)
        out->error = STUB_NOT_OPEN;
    else if (len > b->stub.ram_left || (stub_is_new(b) && le32(q->data) != len))
        out->error = STUB_TOO_MUCH;
    else if (!stub_is_new(b) && len % 4 != 0)
        out->error = STUB_BAD_LENGTH;
    if (out->error)
        return;
    b->stub.ram_left -= len; // neither line looks at the checksum here
    ram_append(&b->ram, q->data + 16, len);
}

static void mem_end(struct board *b, const struct request *q, struct outcome *out) {
    uint32_t flag = le32(q->data);

    out->entry = le32(q->data + 4);
    if (stub_is_new(b) && !b->stub.ram_open)
        out->error = STUB_NOT_OPEN;
    else if (!stub_is_new(b) && b->stub.ram_left > 0)
        out->error = STUB_TOO_LITTLE;
    b->stub.ram_open = false;
    b->stub.ram_left = 0;
    if (!out->error && (stub_is_new(b) ? flag == 0 : out->entry != 0))
        out->next = NEXT_RUN_RAM;
}

// ---- from a frame to a reply
// ----------------------------------------------------------------------------------------

static void reply_error(struct outcome *out, uint8_t error) {
    out->error = error;
}

static uint8_t length_error(uint8_t opcode) {
    if (opcode == OP_FLASH_DATA || opcode == OP_MEM_DATA)
        return STUB_TOO_LITTLE;
    return STUB_BAD_LENGTH;
}

static void run_new(struct board *b, const uint8_t *frame, size_t len, struct outcome *out) {
    const struct loader_command *command;
    struct request q = { .data = frame + 8, .len = len - 8, .opcode = frame[1], .checksum = frame[4] };

    if (frame[0] != 0x00) {
        reply_error(out, STUB_UNKNOWN_COMMAND);
        return;
    }
    if (len < 8 || ((size_t)frame[2] | (size_t)frame[3] << 8) != q.len) {
        reply_error(out, STUB_BAD_LENGTH);
        return;
    }
    if (b->stub.late) {
        reply_error(out, b->stub.late);
        b->stub.late = 0;
        return;
    }
    command = loader_find(b->loader.loader, q.opcode);
    if (!command)
        reply_error(out, q.opcode >= 0xD5 && q.opcode <= 0xDE ? STUB_NOT_IMPLEMENTED : STUB_UNKNOWN_COMMAND);
    else if (q.len < command->len_min || q.len > command->len_max)
        reply_error(out, length_error(q.opcode));
    else
        command->run(b, &q, out);
}

// The legacy line believes the length in the header: a shorter frame is filled up with what was in the
// buffer.
static void run_legacy(struct board *b, const uint8_t *frame, size_t len, struct outcome *out) {
    const struct loader_command *command;
    struct request q = { .data = frame + 8, .opcode = frame[1], .checksum = frame[4] };

    (void)len;
    q.len = (size_t)frame[2] | (size_t)frame[3] << 8;
    if (q.len > STUB_BLOCK_MAX + 16) {
        reply_error(out, STUB_BAD_LENGTH);
        out->detail = 0xEE;
        return;
    }
    command = loader_find(b->loader.loader, q.opcode);
    if (!command)
        reply_error(out, STUB_NOT_IMPLEMENTED);
    else if (q.len < command->len_min || q.len > command->len_max)
        reply_error(out, STUB_BAD_LENGTH);
    else
        command->run(b, &q, out);
    if (out->error && out->error < STUB_BAD_LENGTH)
        out->error = 0x01; // it answers "yes or no" and loses the detail
}

static void run(struct board *b, const uint8_t *frame, size_t len, struct outcome *out) {
    *out = (struct outcome) { .replies = 1 };
    if (b->stub.read.on)
        stub_read_on_frame(b, frame, len, out);
    else if (stub_is_new(b))
        run_new(b, frame, len, out);
    else
        run_legacy(b, frame, len, out);
}

static size_t compose(struct loader_state *s, uint8_t opcode, const struct outcome *o, uint8_t *frame) {
    size_t payload_len = o->error ? 0 : o->payload_len;
    size_t data_len = payload_len + 2;

    // The legacy line has sent its header before it knows how MD5 ends.
    if (s->loader == &loader_stub_legacy && opcode == OP_MD5)
        data_len = 18;
    frame[0] = 0x01;
    frame[1] = opcode;
    frame[2] = (uint8_t)data_len;
    frame[3] = 0;
    for (int i = 0; i < 4; i++)
        frame[4 + i] = (uint8_t)((o->has_value ? o->value : 0) >> (8 * i));
    memcpy(frame + 8, o->payload, payload_len);
    frame[8 + payload_len] = o->error;
    frame[8 + payload_len + 1] = o->detail;
    return 8 + payload_len + 2;
}

#define DATA_MAX (16 + STUB_BLOCK_MAX)
#define NEW_MAX  (16 + 0x40FF) // its buffer

static const struct loader_command commands_new[] = {
    { OP_FLASH_BEGIN, 16, 20, stub_flash_begin },
    { OP_FLASH_DATA, 16, NEW_MAX, stub_flash_data },
    { OP_FLASH_END, 4, 4, stub_flash_end },
    { OP_MEM_BEGIN, 16, 16, mem_begin },
    { OP_MEM_END, 8, 8, mem_end },
    { OP_MEM_DATA, 16, NEW_MAX, mem_data },
    { OP_SYNC, 36, 36, greet },
    { OP_WRITE_REG, 1, NEW_MAX, write_reg },
    { OP_READ_REG, 4, 4, loader_read_reg },
    { OP_SPI_SET_PARAMS, 24, 24, loader_spi_set_params },
    { OP_SPI_ATTACH, 4, 4, attach },
    { OP_CHANGE_BAUDRATE, 8, 8, change_baudrate },
    { OP_DEFL_BEGIN, 16, 20, stub_flash_begin },
    { OP_DEFL_DATA, 16, NEW_MAX, stub_flash_data },
    { OP_DEFL_END, 4, 4, stub_flash_end },
    { OP_MD5, 16, 16, md5 },
    { OP_GET_SECURITY_INFO, 0, 0, not_implemented },
    { OP_ERASE_FLASH, 0, NEW_MAX, erase_flash },
    { OP_ERASE_REGION, 8, 8, erase_region },
    { OP_READ_FLASH, 16, 16, stub_read_flash },
    { OP_RUN_USER_CODE, 0, NEW_MAX, run_user_code },
};

static const struct loader_command commands_legacy[] = {
    { OP_FLASH_BEGIN, 16, 20, stub_flash_begin },
    { OP_FLASH_DATA, 16, DATA_MAX, stub_flash_data },
    { OP_FLASH_END, 0, DATA_MAX, stub_flash_end },
    { OP_MEM_BEGIN, 16, 16, mem_begin },
    { OP_MEM_END, 8, 8, mem_end },
    { OP_MEM_DATA, 16, DATA_MAX, mem_data },
    { OP_SYNC, 36, 36, greet },
    { OP_WRITE_REG, 0, DATA_MAX, write_reg },
    { OP_READ_REG, 4, 4, loader_read_reg },
    { OP_SPI_SET_PARAMS, 24, 24, loader_spi_set_params },
    { OP_SPI_ATTACH, 4, 4, attach },
    { OP_CHANGE_BAUDRATE, 8, 8, change_baudrate },
    { OP_DEFL_BEGIN, 16, 20, stub_flash_begin },
    { OP_DEFL_DATA, 16, DATA_MAX, stub_flash_data },
    { OP_DEFL_END, 0, DATA_MAX, stub_flash_end },
    { OP_MD5, 16, 16, md5 },
    { OP_ERASE_FLASH, 0, 0, erase_flash },
    { OP_ERASE_REGION, 8, 8, erase_region },
    { OP_READ_FLASH, 16, 16, stub_read_flash },
    { OP_RUN_USER_CODE, 0, DATA_MAX, run_user_code },
};

const struct loader loader_stub_new = {
    .name = "stub-new",
    .slip = SLIP_STUB_NEW,
    .by_interrupt = true,
    .status_len = 2,
    .block_max = STUB_BLOCK_MAX,
    .commands = commands_new,
    .n_commands = sizeof(commands_new) / sizeof(commands_new[0]),
    .run = run,
    .compose = compose,
};

const struct loader loader_stub_legacy = {
    .name = "stub-legacy",
    .slip = SLIP_STUB_LEGACY,
    .by_interrupt = true,
    .status_len = 2,
    .block_max = STUB_BLOCK_MAX,
    .commands = commands_legacy,
    .n_commands = sizeof(commands_legacy) / sizeof(commands_legacy[0]),
    .run = run,
    .compose = compose,
};
