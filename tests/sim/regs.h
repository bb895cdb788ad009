// The chip's registers as the loader's READ_REG and WRITE_REG see them: chip magic, eFuses, UART divider, RTC
// calibration, and the SPI peripheral through which a host talks to the flash part directly.
#pragma once

#include "tests/sim/flash.h"

#include <stdbool.h>
#include <stdint.h>

#define EFUSE_WORDS 32

struct chip_facts {
    uint32_t magic;              // register 0x40001000
    uint32_t efuse[EFUSE_WORDS]; // 0x3FF5A000...
    uint32_t apb_ctl_date;       // bit 31 is part of the revision
    uint32_t flash_id;           // JEDEC id as RDID gives it: manufacturer | type << 8 | capacity << 16
    uint32_t xtal_hz;            // true crystal
    double xtal_error;           // what the ROM's estimate is off by: 0.05 = 5 % too high
};

// What a WiPy 2 (4 MB, revision 0) or WiPy 3 (8 MB, revision 1) has burnt. `mac` is 6 bytes.
void chip_facts_init(struct chip_facts *c, uint32_t flash_size, const uint8_t *mac);

// The chip that the transcripts were recorded from: nothing burnt (but the oscillator's trim, which a host's
// sums need), date register of a later die.
void chip_facts_init_blank(struct chip_facts *c, uint32_t flash_size);

// The ROM's estimate of the crystal, Hz, as a host works it out from calibration register and eFuse word 4. 0
// = no estimate.
uint32_t chip_crystal_estimate(const struct chip_facts *c);

struct regs {
    const struct chip_facts *chip;
    struct flash *flash;
    uint32_t clkdiv; // UART0: bits 19:0 integer, 23:20 fraction
    uint32_t strap;  // GPIO strap register
    uint8_t status2, status3;
    bool write_enabled; // flash part: WREN seen
    struct {
        uint32_t address, value;
    } other[64]; // whatever else was written
    unsigned n_other;
};

// At reset. The flash part keeps its status registers.
void regs_init(struct regs *r, const struct chip_facts *chip, struct flash *flash);

uint32_t regs_read(struct regs *r, uint32_t address);
void regs_write(struct regs *r, uint32_t address, uint32_t value, uint32_t mask);
