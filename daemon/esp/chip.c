#include "daemon/esp/chip.h"

#include <stddef.h>

/* Registers. */
enum {
    EFUSE = 0x3ff5a000,
    APB_CTL_DATE = 0x3ff6607c,
    UART0_CLKDIV = 0x3ff40014,
    RTC_CALIBRATION = 0x3ff5f06c,
    SPI = 0x3ff42000,
    SPI_CMD = SPI + 0x00,
    SPI_USR = SPI + 0x1c,
    SPI_USR2 = SPI + 0x24,
    SPI_MISO_DLEN = SPI + 0x2c,
    SPI_W0 = SPI + 0x80,
};

#define SPI_CMD_USER         0x00040000u
#define SPI_USR_COMMAND_MISO 0x90000000u
#define SPI_USR2_READ_ID     0x7000009fu /* 8 bits of command, 9F */
#define SPI_POLLS_MAX        10

/* Of one register: on a line where no two are the same, nothing else goes well either. */
#define READS_MAX 10

enum what { READ, READ_TWICE, WRITE, ATTACH, PARAMS };

#define CHIP(field) offsetof(struct esp_identify, chip.field)
#define EFUSE_WORD(n)                                                                                        \
    { READ_TWICE, EFUSE + 4 * (n), 0, CHIP(efuse[n]) }

/* In this order; a READ's value goes to the field at `to`, a READ_TWICE's
 * when it came twice in a row: the MAC, what is forbidden, the size of the flash. The magic comes first: on
 * another chip nothing else is touched. */
static const struct step {
    enum what what;
    uint32_t address, value;
    size_t to;
} steps[] = {
    { READ, ESP_MAGIC_ADDRESS, 0, CHIP(magic) },
    EFUSE_WORD(0),
    EFUSE_WORD(1),
    EFUSE_WORD(2),
    EFUSE_WORD(3),
    EFUSE_WORD(4),
    EFUSE_WORD(5),
    EFUSE_WORD(6),
    { READ_TWICE, APB_CTL_DATE, 0, CHIP(apb_ctl_date) },
    { READ, UART0_CLKDIV, 0, CHIP(uart_divider) },
    { READ, RTC_CALIBRATION, 0, CHIP(rtc_calibration) },
    { ATTACH, 0, 0, 0 },
    /* The JEDEC id, by a user command of the SPI controller, whose settings are put back. */
    { READ, SPI_USR, 0, offsetof(struct esp_identify, saved_usr) },
    { READ, SPI_USR2, 0, offsetof(struct esp_identify, saved_usr2) },
    { WRITE, SPI_MISO_DLEN, 23, 0 },
    { WRITE, SPI_USR, SPI_USR_COMMAND_MISO, 0 },
    { WRITE, SPI_USR2, SPI_USR2_READ_ID, 0 },
    { WRITE, SPI_W0, 0, 0 },
    { WRITE, SPI_CMD, SPI_CMD_USER, 0 },
    { READ, SPI_CMD, 0, 0 },
    { READ_TWICE, SPI_W0, 0, CHIP(jedec) },
    { WRITE, SPI_USR, 0, offsetof(struct esp_identify, saved_usr) },
    { WRITE, SPI_USR2, 0, offsetof(struct esp_identify, saved_usr2) },
    { PARAMS, 0, 0, 0 },
};

#define N_STEPS (sizeof steps / sizeof *steps)

static uint32_t *field(struct esp_identify *identify, size_t offset) {
    return (uint32_t *)(void *)((char *)identify + offset);
}

void esp_identify_init(struct esp_identify *identify, const struct esp_loader *loader) {
    *identify = (struct esp_identify) { .loader = loader };
}

bool esp_identify_next(struct esp_identify *identify, struct esp_request *ret) {
    const struct step *step = &steps[identify->step];

    if (identify->step == N_STEPS || (identify->step == 1 && identify->chip.magic != ESP_MAGIC_ESP32))
        return false;
    switch (step->what) {
    case READ:
    case READ_TWICE:
        esp_request_read_reg(ret, step->address);
        return true;
    case WRITE:
        esp_request_write_reg(ret, step->address, step->to ? *field(identify, step->to) : step->value);
        return true;
    case ATTACH:
        esp_request_spi_attach(ret, identify->loader, esp_chip_flash_pins(&identify->chip));
        return true;
    case PARAMS:
        identify->chip.flash_bytes = esp_flash_bytes(identify->chip.jedec);
        if (!identify->chip.flash_bytes)
            return false;
        esp_request_spi_set_params(ret, identify->chip.flash_bytes);
        return true;
    }
    return false;
}

void esp_identify_take(struct esp_identify *identify, const struct esp_reply *reply) {
    const struct step *step = &steps[identify->step];

    if (step->what == READ_TWICE) {
        uint32_t *known = field(identify, step->to);
        bool is_same = identify->reads++ && *known == reply->value;

        *known = reply->value;
        if (!is_same && identify->reads < READS_MAX)
            return;
    }
    if (step->what == READ && step->to)
        *field(identify, step->to) = reply->value;
    if (step->what == READ && step->address == SPI_CMD && reply->value & SPI_CMD_USER &&
        ++identify->polls < SPI_POLLS_MAX)
        return;
    identify->reads = 0;
    identify->step++;
}

bool esp_chip_mac(const struct esp_chip *chip, uint8_t ret[static 6]) {
    uint32_t w1 = chip->efuse[1], w2 = chip->efuse[2];

    ret[0] = (uint8_t)(w2 >> 8);
    ret[1] = (uint8_t)w2;
    ret[2] = (uint8_t)(w1 >> 24);
    ret[3] = (uint8_t)(w1 >> 16);
    ret[4] = (uint8_t)(w1 >> 8);
    ret[5] = (uint8_t)w1;
    return w1 || w2 & 0xffff;
}

static unsigned major_revision(const struct esp_chip *chip) {
    unsigned bits =
        (chip->efuse[3] >> 15 & 1) | (chip->efuse[5] >> 20 & 1) << 1 | (chip->apb_ctl_date >> 31) << 2;

    switch (bits) {
    case 1:
        return 1;
    case 3:
        return 2;
    case 7:
        return 3;
    default:
        return 0;
    }
}

unsigned esp_chip_revision(const struct esp_chip *chip) {
    return major_revision(chip) * 100 + (chip->efuse[5] >> 24 & 3);
}

static unsigned package_number(const struct esp_chip *chip) {
    return (chip->efuse[3] >> 9 & 7) + (chip->efuse[3] & 4 ? 8 : 0);
}

const char *esp_chip_package(const struct esp_chip *chip) {
    bool single = chip->efuse[3] & 1, v3 = major_revision(chip) == 3;

    switch (package_number(chip)) {
    case 0:
        return single ? "ESP32-S0WDQ6" : v3 ? "ESP32-D0WDQ6-V3" : "ESP32-D0WDQ6";
    case 1:
        return single ? "ESP32-S0WD" : v3 ? "ESP32-D0WD-V3" : "ESP32-D0WD";
    case 2:
        return "ESP32-D2WD";
    case 4:
        return "ESP32-U4WDH";
    case 5:
        return v3 ? "ESP32-PICO-V3" : "ESP32-PICO-D4";
    case 6:
        return "ESP32-PICO-V3-02";
    case 7:
        return "ESP32-D0WDR2-V3";
    default:
        return "ESP32 (unknown package)";
    }
}

static double crystal_estimate(const struct esp_chip *chip, uint32_t host_baud) {
    double divider = (double)(chip->uart_divider & 0xfffff) + (double)(chip->uart_divider >> 20 & 15) / 16;

    return host_baud * divider / 1e6;
}

unsigned esp_chip_crystal_mhz(const struct esp_chip *chip, uint32_t host_baud) {
    return crystal_estimate(chip, host_baud) > 33 ? 40 : 26;
}

bool esp_chip_is_encrypted(const struct esp_chip *chip) {
    return __builtin_parity(chip->efuse[0] >> 20 & 0x7f);
}

bool esp_chip_is_secure_boot(const struct esp_chip *chip) {
    /* ABS_DONE_0 is version 1; ABS_DONE_1 is version 2, which revision 3 brought. */
    return chip->efuse[6] & 1u << 4 || (chip->efuse[6] & 1u << 5 && major_revision(chip) >= 3);
}

uint32_t esp_chip_flash_pins(const struct esp_chip *chip) {
    uint32_t word5 = chip->efuse[5], clk, q, d, cs, hd;

    switch (package_number(chip)) {
    case 2:
    case 4:
    case 5:
    case 6:
        clk = word5 & 31;
        q = word5 >> 5 & 31;
        d = word5 >> 10 & 31;
        cs = word5 >> 15 & 31;
        hd = chip->efuse[3] >> 4 & 31;
        return hd << 24 | cs << 18 | d << 12 | q << 6 | clk;
    default:
        return 0;
    }
}

uint32_t esp_flash_bytes(uint32_t jedec) {
    unsigned capacity = jedec >> 16 & 0xff;

    if (jedec == 0xffffff || !jedec || jedec == 0xffff3f)
        return 0;
    if ((jedec & 0xff) == 0x1f) { /* Adesto: density in the type byte's low bits */
        unsigned density = jedec >> 8 & 0x1f;

        return density >= 4 && density <= 9 ? 1u << (density + 15) : 0;
    }
    /* The chip's addresses have 24 bits: above 16 MB nothing can be used. */
    if (capacity >= 0x12 && capacity <= 0x18)
        return 1u << capacity;
    if (capacity >= 0x32 && capacity <= 0x38)
        return 1u << (capacity - 0x20);
    return 0;
}

uint32_t esp_rom_baud(const struct esp_chip *chip, uint32_t baud) {
    uint64_t calibration = chip->rtc_calibration >> 7 & 0x1ffffff;
    uint64_t estimate = calibration * 15625 * (chip->efuse[4] & 0xff) / 40;
    uint64_t true_hz = estimate > 33000000 ? 40000000 : 26000000;
    uint64_t asked = baud * estimate / true_hz;

    /* No calibration, or one that can't be: the rate as it is. */
    if (asked < baud / 2 || asked > baud * 2ull)
        return baud;
    return (uint32_t)asked;
}
