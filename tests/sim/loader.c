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
    { OP_GET_SECURITY_INFO, "GET_SECURITY_INFO" },
    { OP_ERASE_FLASH, "ERASE_FLASH" },
    { OP_ERASE_REGION, "ERASE_REGION" },
    { OP_READ_FLASH, "READ_FLASH" },
    { OP_RUN_USER_CODE, "RUN_USER_CODE" },
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
    stub_stop(b);
    transfer_close(&b->loader.flash);
    transfer_close(&b->loader.ram);
    b->loader = (struct loader_state) { .loader = NULL };
}

static uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

const struct loader_command *loader_find(const struct loader *l, uint8_t opcode) {
    for (size_t i = 0; i < l->n_commands; i++)
        if (l->commands[i].opcode == opcode)
            return &l->commands[i];
    return NULL;
}

void loader_read_reg(struct board *b, const struct request *q, struct outcome *out) {
    out->has_value = true;
    out->value = regs_read(&b->regs, le32(q->data));
    out->clears_error = true;
}

void loader_spi_set_params(struct board *b, const struct request *q, struct outcome *out) {
    (void)out;
    b->loader.flash_limit = le32(q->data + 4);
}
