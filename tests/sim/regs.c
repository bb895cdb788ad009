#include "tests/sim/regs.h"

#include <string.h>

enum {
    REG_MAGIC = 0x40001000,
    REG_EFUSE = 0x3FF5A000,
    REG_UART0_CLKDIV = 0x3FF40014,
    REG_RTC_CALIBRATION = 0x3FF5F06C,
    REG_GPIO_STRAP = 0x3FF44038,
    REG_APB_CTL_DATE = 0x3FF6607C,
    REG_SPI = 0x3FF42000,
};

enum { // offsets in the SPI peripheral
    SPI_CMD = 0x00,
    SPI_ADDR = 0x04,
    SPI_USR1 = 0x20,
    SPI_USR2 = 0x24,
    SPI_MISO_DLEN = 0x2C,
    SPI_W0 = 0x80,
};

#define SPI_CMD_USR (1u << 18)
#define CK8M_FREQ   34u // eFuse word 4, low byte: the RC oscillator in units of 250 kHz

static uint8_t mac_crc8(const uint8_t *mac) {
    uint8_t crc = 0;

    for (int i = 0; i < 6; i++) {
        crc ^= mac[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (uint8_t)((crc >> 1) ^ ((crc & 1) ? 0x8C : 0));
    }
    return crc;
}

void chip_facts_init(struct chip_facts *c, uint32_t flash_size, const uint8_t *mac) {
    chip_facts_init_blank(c, flash_size);
    c->apb_ctl_date = 0x16042000;
    c->xtal_error = 0.05;
    c->efuse[1] = (uint32_t)mac[2] << 24 | (uint32_t)mac[3] << 16 | (uint32_t)mac[4] << 8 | mac[5];
    c->efuse[2] = (uint32_t)mac_crc8(mac) << 16 | (uint32_t)mac[0] << 8 | mac[1];
    c->efuse[3] = flash_size > 0x400000 ? 1u << 15 : 0; // revision 1; package 0 = D0WDQ6
}

void chip_facts_init_blank(struct chip_facts *c, uint32_t flash_size) {
    *c = (struct chip_facts) {
        .magic = 0x00F01D83,
        .efuse = { [4] = CK8M_FREQ },
        .apb_ctl_date = 0x96042000, // rom-connect.txt
        .flash_id = flash_size > 0x400000 ? 0x1740C8 : 0x1640C8,
        .xtal_hz = 40000000,
    };
}

// esp32-serial-protocol.md section 6: estimate = cal * 15625 * (word 4 & FF) / 40
static uint32_t calibration(const struct chip_facts *c) {
    uint32_t ck8m = c->efuse[4] & 0xFF;

    if (ck8m == 0)
        return 0;
    return (uint32_t)((double)c->xtal_hz * (1.0 + c->xtal_error) * 40.0 / 15625.0 / ck8m + 0.5);
}

uint32_t chip_crystal_estimate(const struct chip_facts *c) {
    return (uint32_t)((uint64_t)calibration(c) * 15625u * (c->efuse[4] & 0xFF) / 40u);
}

static uint32_t *other_slot(struct regs *r, uint32_t address, bool make) {
    for (unsigned i = 0; i < r->n_other; i++)
        if (r->other[i].address == address)
            return &r->other[i].value;
    if (!make || r->n_other == sizeof(r->other) / sizeof(r->other[0]))
        return NULL;
    r->other[r->n_other].address = address;
    r->other[r->n_other].value = 0;
    return &r->other[r->n_other++].value;
}

static uint32_t other_get(struct regs *r, uint32_t address) {
    const uint32_t *slot = other_slot(r, address, false);

    return slot ? *slot : 0;
}

static void other_set(struct regs *r, uint32_t address, uint32_t value) {
    uint32_t *slot = other_slot(r, address, true);

    if (slot)
        *slot = value;
}

void regs_init(struct regs *r, const struct chip_facts *chip, struct flash *flash) {
    uint8_t status2 = r->status2, status3 = r->status3;

    *r = (struct regs) { .chip = chip, .flash = flash, .status2 = status2, .status3 = status3 };
}

// ---- the flash part behind the SPI peripheral
// ---------------------------------------------------------------------

// JESD216 header, one parameter table of the density only.
static uint8_t sfdp_byte(const struct regs *r, uint32_t at) {
    static const uint8_t header[24] = { 'S',  'F',  'D',  'P',  0x00, 0x01, 0x00, 0xFF,
                                        0x00, 0x00, 0x01, 0x09, 0x30, 0x00, 0x00, 0xFF,
                                        0xC8, 0x00, 0x01, 0x03, 0x60, 0x00, 0x00, 0xFF };
    uint32_t density = r->flash->size * 8 - 1;

    if (at < sizeof(header))
        return header[at];
    if (at >= 0x34 && at < 0x38)
        return (uint8_t)(density >> (8 * (at - 0x34)));
    return 0xFF;
}

static void write_status(struct regs *r, uint8_t *status, uint8_t value) {
    if (r->write_enabled)
        *status = value;
    r->write_enabled = false;
}

// Runs the command in USR2 with the data in W0..W15: RDID and what a stock tool sends around it.
static void spi_user_command(struct regs *r) {
    uint8_t command = (uint8_t)other_get(r, REG_SPI + SPI_USR2);
    uint32_t miso_bits = (other_get(r, REG_SPI + SPI_MISO_DLEN) & 0xFFFFFF) + 1;
    uint32_t miso_mask = miso_bits >= 32 ? UINT32_MAX : (1u << miso_bits) - 1;
    uint32_t w0 = other_get(r, REG_SPI + SPI_W0);
    uint32_t answer = 0;
    bool answers = true;

    switch (command) {
    case 0x9F: // RDID
        answer = r->chip->flash_id;
        break;
    case 0x05: // RDSR
        answer = r->flash->status1 | (r->write_enabled ? 2u : 0u);
        break;
    case 0x35:
        answer = r->status2;
        break;
    case 0x15:
        answer = r->status3;
        break;
    case 0x5A: { // SFDP, 24-bit address in the upper bits
        uint32_t at = other_get(r, REG_SPI + SPI_ADDR) >> 8;
        for (uint32_t i = 0; i < 4; i++)
            answer |= (uint32_t)sfdp_byte(r, at + i) << (8 * i);
        break;
    }
    case 0x01: // WRSR
        if (r->write_enabled && (other_get(r, REG_SPI + 0x28) & 0xFFFFFF) >= 15)
            r->status2 = (uint8_t)(w0 >> 8);
        write_status(r, &r->flash->status1, (uint8_t)w0);
        answers = false;
        break;
    case 0x31:
        write_status(r, &r->status2, (uint8_t)w0);
        answers = false;
        break;
    case 0x11:
        write_status(r, &r->status3, (uint8_t)w0);
        answers = false;
        break;
    case 0x06: // WREN
    case 0x50: // the same for volatile status bits
        r->write_enabled = true;
        answers = false;
        break;
    case 0x04: // WRDI
    case 0x66: // reset enable
    case 0x99: // reset
        r->write_enabled = false;
        answers = false;
        break;
    default: // power-down, wake-up, a vendor's own: nothing to say
        answers = false;
        break;
    }
    if (answers)
        other_set(r, REG_SPI + SPI_W0, answer & miso_mask);
}

// ---- access
// -------------------------------------------------------------------------------------------------------

uint32_t regs_read(struct regs *r, uint32_t address) {
    if (address >= REG_EFUSE && address < REG_EFUSE + 4 * EFUSE_WORDS && address % 4 == 0)
        return r->chip->efuse[(address - REG_EFUSE) / 4];
    switch (address) {
    case REG_MAGIC:
        return r->chip->magic;
    case REG_UART0_CLKDIV:
        return r->clkdiv;
    case REG_RTC_CALIBRATION:
        return calibration(r->chip) << 7;
    case REG_GPIO_STRAP:
        return r->strap;
    case REG_APB_CTL_DATE:
        return r->chip->apb_ctl_date;
    default:
        return other_get(r, address);
    }
}

void regs_write(struct regs *r, uint32_t address, uint32_t value, uint32_t mask) {
    uint32_t now = (regs_read(r, address) & ~mask) | (value & mask);

    if (address == REG_UART0_CLKDIV) {
        r->clkdiv = now;
    } else if (address == REG_SPI + SPI_CMD) {
        if (now & SPI_CMD_USR)
            spi_user_command(r);
        other_set(r, address, now & ~SPI_CMD_USR);
    } else {
        other_set(r, address, now);
    }
}
