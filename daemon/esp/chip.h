#pragma once

/*
 * Who the chip is, and which flash hangs on it: a list of commands to send and what their replies mean.
 * Pure: esp_identify_next says what to ask, esp_identify_take is told the reply, until next gives false. A
 * reply has no checksum (facts 1): who the chip is and which flash it has is asked until it is said twice in
 * a row. Source of registers and bits: facts/esp32-serial-protocol.md 4 and 5.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/esp/codec.h"

#define ESP_MAGIC_ADDRESS 0x40001000u
#define ESP_MAGIC_ESP32   0x00f01d83u

struct esp_chip {
    uint32_t magic;
    uint32_t efuse[7];     /* block 0, words 0 to 6 */
    uint32_t apb_ctl_date; /* revision bit 2 */
    uint32_t uart_divider; /* of UART0, at the host's rate */
    uint32_t rtc_calibration;
    uint32_t jedec;       /* manufacturer | type << 8 | capacity << 16 */
    uint32_t flash_bytes; /* 0: can't be told from jedec */
};

struct esp_identify {
    const struct esp_loader *loader; /* first: the table of steps takes offset 0 for "nowhere" */
    struct esp_chip chip;
    unsigned step;
    unsigned polls; /* of the SPI controller's busy bit */
    unsigned reads; /* of this step's register */
    uint32_t saved_usr, saved_usr2;
};

void esp_identify_init(struct esp_identify *identify, const struct esp_loader *loader);
/* The next command, or false when all is known: no ESP32 (chip.magic), or everything else too. */
bool esp_identify_next(struct esp_identify *identify, struct esp_request *ret);
/* The good reply to that command. */
void esp_identify_take(struct esp_identify *identify, const struct esp_reply *reply);

/* Six bytes, as printed from left to right. False: none burnt (all zero). */
bool esp_chip_mac(const struct esp_chip *chip, uint8_t ret[static 6]);
/* Major * 100 + minor. */
unsigned esp_chip_revision(const struct esp_chip *chip);
/* "ESP32-D0WDQ6"; static storage. */
const char *esp_chip_package(const struct esp_chip *chip);
/* 26 or 40 MHz, by the divider at host_baud. */
unsigned esp_chip_crystal_mhz(const struct esp_chip *chip, uint32_t host_baud);
bool esp_chip_is_encrypted(const struct esp_chip *chip);
bool esp_chip_is_secure_boot(const struct esp_chip *chip);
/* SPI_ATTACH's pins: 0, or for flash inside the package the pads from eFuse. */
uint32_t esp_chip_flash_pins(const struct esp_chip *chip);
/* Bytes, 0 when unknown, from the capacity byte. */
uint32_t esp_flash_bytes(uint32_t jedec);
/* What to ask the ROM for so that its UART really runs at baud: it derives its divider from a crystal
 * estimate that is off by what its RC oscillator is off (facts 6). */
uint32_t esp_rom_baud(const struct esp_chip *chip, uint32_t baud);
