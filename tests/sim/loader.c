#include "tests/sim/loader.h"
#include "tests/sim/board.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
    enum loader_op opcode;
    const char *name;
} ops[] = {
    { OP_FLASH_BEGIN, "FLASH_BEGIN" },
    { OP_FLASH_DATA, "FLASH_DATA" },
    { OP_FLASH_END, "FLASH_END" },
    { OP_MEM_BEGIN, "MEM_BEGIN" },
    { OP_MEM_END, "MEM_END" },
    { OP_MEM_DATA, "MEM_DATA" },
    { OP_SYNC, "SYNC" },
    { OP_WRITE_REG, "WRITE_REG" },
    { OP_READ_REG, "READ_REG" },
    { OP_SPI_SET_PARAMS, "SPI_SET_PARAMS" },
    { OP_SPI_ATTACH, "SPI_ATTACH" },
    { OP_READ_FLASH_SLOW, "READ_FLASH_SLOW" },
    { OP_CHANGE_BAUDRATE, "CHANGE_BAUDRATE" },
    { OP_DEFL_BEGIN, "DEFL_BEGIN" },
    { OP_DEFL_DATA, "DEFL_DATA" },
    { OP_DEFL_END, "DEFL_END" },
    { OP_MD5, "MD5" },
};

#define N_OPS (sizeof(ops) / sizeof(ops[0]))

const char *loader_op_name(uint8_t opcode) {
    for (size_t i = 0; i < N_OPS; i++)
        if (ops[i].opcode == opcode)
            return ops[i].name;
    return NULL;
}

int loader_op_from_name(const char *name) {
    char *end;
    unsigned long v;

    for (size_t i = 0; i < N_OPS; i++)
        if (strcasecmp(ops[i].name, name) == 0)
            return (int)ops[i].opcode;
    if (strncasecmp(name, "FLASH_DEFL_", 11) == 0)
        return loader_op_from_name(name + 6);
    if (strcasecmp(name, "SPI_FLASH_MD5") == 0)
        return OP_MD5;
    v = strtoul(name, &end, 16);
    return *name != 0 && *end == 0 && v <= 0xFF ? (int)v : -1;
}

void loader_start(struct board *b, const struct loader *loader) {
    loader_stop(b);
    b->loader.loader = loader;
    b->loader.flash_limit = 0x200000;
}

void loader_stop(struct board *b) {
    transfer_close(&b->loader.flash);
    transfer_close(&b->loader.ram);
    b->loader = (struct loader_state) { .loader = NULL };
}

static const struct loader_command *find(const struct loader *l, uint8_t opcode) {
    for (size_t i = 0; i < l->n_commands; i++)
        if (l->commands[i].opcode == opcode)
            return &l->commands[i];
    return NULL;
}

void loader_run(struct board *b, const uint8_t *frame, size_t len, struct outcome *out) {
    const struct loader_command *command = NULL;

    *out = (struct outcome) { .replies = 1 };
    if (len >= 8 && frame[0] == 0x00)
        command = find(b->loader.loader, frame[1]);
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

size_t loader_compose(struct loader_state *s, uint8_t opcode, const struct outcome *o, uint8_t *frame) {
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
