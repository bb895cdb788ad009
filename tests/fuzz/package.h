#pragma once

/* What must hold of every plan and of every package that is taken, whatever it was made from. */

#include "daemon/firmware/layout.h"
#include "daemon/firmware/package.h"
#include "tests/fuzz/fuzz.h"

static inline bool meets(uint32_t offset, uint32_t size, uint32_t other, uint32_t other_size) {
    return offset < (uint64_t)other + other_size && other < (uint64_t)offset + size;
}

/* A stretch that may be erased or written: whole sectors, on the chip, and not the config block. */
static inline void must_be_allowed(uint32_t offset, uint32_t size, uint32_t flash_bytes) {
    must(size > 0 && offset % FIRMWARE_SECTOR_BYTES == 0 && size % FIRMWARE_SECTOR_BYTES == 0);
    must((uint64_t)offset + size <= flash_bytes);
    must(!meets(offset, size, FIRMWARE_CONFIG_OFFSET, FIRMWARE_CONFIG_BYTES));
}

static inline void check_plan(const struct firmware_plan *plan, uint32_t flash_bytes) {
    must(plan->n_erases <= FIRMWARE_PLAN_ERASES_MAX && plan->n_writes <= FIRMWARE_SCRIPT_OPS_MAX);
    must(plan->n_writes > 0 && plan->application);
    for (unsigned i = 0; i < plan->n_erases; i++) {
        must_be_allowed(plan->erases[i].offset, plan->erases[i].size, flash_bytes);
        must(is_printable_ascii(plan->erases[i].name));
        if (i)
            must(plan->erases[i - 1].offset + plan->erases[i - 1].size <= plan->erases[i].offset);
    }
    for (unsigned i = 0; i < plan->n_writes; i++) {
        const struct firmware_plan_write *write = &plan->writes[i];

        must_be_allowed(write->offset, write->size, flash_bytes);
        must(write->member && write->size >= write->member->size);
        must(write->size - write->member->size < FIRMWARE_SECTOR_BYTES);
        for (unsigned k = 0; k < i; k++)
            must(!meets(write->offset, write->size, plan->writes[k].offset, plan->writes[k].size));
        for (unsigned k = 0; k < plan->n_erases; k++)
            must(!meets(write->offset, write->size, plan->erases[k].offset, plan->erases[k].size));
    }
}
