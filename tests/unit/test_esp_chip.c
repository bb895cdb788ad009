/* Who the chip is: bits of eFuses, ids of flash chips, and the list of commands that asks for them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/esp/chip.h"

#define EFUSE(n)     (0x3ff5a000u + 4 * (n))
#define APB_CTL_DATE 0x3ff6607cu
#define UART0_CLKDIV 0x3ff40014u
#define RTC_CAL      0x3ff5f06cu
#define SPI_CMD      0x3ff42000u
#define SPI_USR      0x3ff4201cu
#define SPI_USR2     0x3ff42024u
#define SPI_W0       0x3ff42080u
#define SPI_BUSY     0x00040000u
#define REQUESTS_MAX 100

/* ---- revision, package, MAC --------------------------------------------------------------------- */

static void revision_of_each_combination_of_bits(void **state) {
    /* b2 b1 b0 -> major (facts 4) */
    static const unsigned majors[8] = { 0, 1, 0, 2, 0, 0, 0, 3 };

    (void)state;
    for (unsigned bits = 0; bits < 8; bits++)
        for (unsigned minor = 0; minor < 4; minor++) {
            struct esp_chip chip = { .efuse[3] = (bits & 1) << 15,
                                     .efuse[5] = (bits >> 1 & 1) << 20 | minor << 24,
                                     .apb_ctl_date = (bits >> 2) << 31 | 0x16042000 };

            assert_int_equal(esp_chip_revision(&chip), majors[bits] * 100 + minor);
        }
}

static void packages(void **state) {
    static const struct {
        uint32_t word3;
        bool is_v3;
        const char *name;
    } rows[] = {
        { 0 << 9, false, "ESP32-D0WDQ6" },
        { 0 << 9 | 1, false, "ESP32-S0WDQ6" },
        { 0 << 9, true, "ESP32-D0WDQ6-V3" },
        { 1 << 9, false, "ESP32-D0WD" },
        { 1 << 9 | 1, false, "ESP32-S0WD" },
        { 1 << 9, true, "ESP32-D0WD-V3" },
        { 2 << 9, false, "ESP32-D2WD" },
        { 4 << 9, false, "ESP32-U4WDH" },
        { 5 << 9, false, "ESP32-PICO-D4" },
        { 5 << 9, true, "ESP32-PICO-V3" },
        { 6 << 9, true, "ESP32-PICO-V3-02" },
        { 7 << 9, true, "ESP32-D0WDR2-V3" },
        { 3 << 9, false, "ESP32 (unknown package)" },
        { 0 << 9 | 4, false, "ESP32 (unknown package)" }, /* bit 2 counts eight */
        { 7 << 9 | 4, false, "ESP32 (unknown package)" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct esp_chip chip = { .efuse[3] = rows[i].word3 };

        if (rows[i].is_v3) {
            chip.efuse[3] |= 1u << 15;
            chip.efuse[5] = 1u << 20;
            chip.apb_ctl_date = 1u << 31;
        }
        assert_string_equal(esp_chip_package(&chip), rows[i].name);
    }
}

static void mac_from_two_words(void **state) {
    static const uint8_t wanted[6] = { 0x30, 0xae, 0xa4, 0x01, 0x02, 0x03 };
    struct esp_chip chip = { .efuse[1] = 0xa4010203, .efuse[2] = 0x00cd30ae }; /* cd: a CRC, no part of it */
    uint8_t mac[6];

    (void)state;
    assert_true(esp_chip_mac(&chip, mac));
    assert_memory_equal(mac, wanted, 6);
    chip = (struct esp_chip) { .efuse[2] = 0x00cd0000 };
    assert_false(esp_chip_mac(&chip, mac));
    chip = (struct esp_chip) { .efuse[2] = 1 };
    assert_true(esp_chip_mac(&chip, mac));
}

/* ---- security ----------------------------------------------------------------------------------- */

static void encrypted_by_an_odd_count(void **state) {
    (void)state;
    for (uint32_t bits = 0; bits < 128; bits++) {
        /* The bits around the field are set: they must not count. */
        struct esp_chip chip = { .efuse[0] = bits << 20 | 0xf80fffff };
        unsigned n = 0;

        for (uint32_t left = bits; left; left >>= 1)
            n += left & 1;
        assert_int_equal(esp_chip_is_encrypted(&chip), n % 2);
    }
}

static void secure_boot_by_version(void **state) {
    struct esp_chip chip = { .efuse[6] = ~(3u << 4) };

    (void)state;
    assert_false(esp_chip_is_secure_boot(&chip));
    chip.efuse[6] = 1 << 4;
    assert_true(esp_chip_is_secure_boot(&chip));
    chip.efuse[6] = 1 << 5; /* ABS_DONE_1 means something from revision 3 on */
    assert_false(esp_chip_is_secure_boot(&chip));
    chip.efuse[3] = 1u << 15;
    chip.efuse[5] = 1u << 20;
    chip.apb_ctl_date = 1u << 31;
    assert_true(esp_chip_is_secure_boot(&chip));
}

/* ---- flash -------------------------------------------------------------------------------------- */

static void flash_sizes_by_jedec_id(void **state) {
    static const struct {
        uint32_t jedec, bytes;
    } rows[] = {
        { 0x1640c8, 4u << 20 },   { 0x1740c8, 8u << 20 },   { 0x1840ef, 16u << 20 }, { 0x1240ef, 256u << 10 },
        { 0x1340ef, 512u << 10 }, { 0x1440ef, 1u << 20 },   { 0x1540ef, 2u << 20 },  { 0x3660ef, 4u << 20 },
        { 0x3260ef, 256u << 10 }, { 0x3860ef, 16u << 20 },  { 0x1940ef, 0 }, /* beyond 24 address bits */
        { 0x2020c2, 0 },          { 0x1140ef, 0 },          { 0x3160ef, 0 },         { 0x3960ef, 0 },
        { 0xff40ef, 0 },          { 0xffffff, 0 },          { 0x000000, 0 },         { 0xffff3f, 0 },
        { 0x01471f, 4u << 20 },   { 0x01841f, 512u << 10 }, { 0x01891f, 16u << 20 }, { 0x018a1f, 0 },
        { 0x01831f, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(esp_flash_bytes(rows[i].jedec), rows[i].bytes);
}

static void flash_pins_of_packages_with_flash_inside(void **state) {
    /* PICO-D4: clk 6, q 17, d 8, hd 11, cs 16 */
    struct esp_chip chip = { .efuse[3] = 5 << 9 | 11 << 4, .efuse[5] = 6 | 17 << 5 | 8 << 10 | 16 << 15 };

    (void)state;
    assert_int_equal(esp_chip_flash_pins(&chip), 11 << 24 | 16 << 18 | 8 << 12 | 17 << 6 | 6);
    chip.efuse[3] = 1 << 9 | 11 << 4; /* D0WD: its flash hangs on the default pins whatever stands there */
    assert_int_equal(esp_chip_flash_pins(&chip), 0);
    chip = (struct esp_chip) { .efuse[3] = 5 << 9 };
    assert_int_equal(esp_chip_flash_pins(&chip), 0);
}

/* ---- clocks ------------------------------------------------------------------------------------- */

static void crystal_by_the_divider(void **state) {
    struct esp_chip chip = { .uart_divider = 0x15b };

    (void)state;
    assert_int_equal(esp_chip_crystal_mhz(&chip, 115200), 40);
    chip.uart_divider = 0x15c | 5 << 20;
    assert_int_equal(esp_chip_crystal_mhz(&chip, 115200), 40);
    chip.uart_divider = 0xe1 | 11 << 20; /* 26 MHz / 115200 = 225.7 */
    assert_int_equal(esp_chip_crystal_mhz(&chip, 115200), 26);
    chip.uart_divider = 0x2b; /* 40 MHz / 921600 */
    assert_int_equal(esp_chip_crystal_mhz(&chip, 921600), 40);
}

/* A chip whose ROM estimates its crystal at hz. */
static struct esp_chip chip_with_estimate(uint64_t hz) {
    const uint32_t factor = 0x80;
    uint64_t calibration = hz * 40 / 15625 / factor;

    return (struct esp_chip) { .efuse[4] = 0xabcdef00 | factor,
                               .rtc_calibration = (uint32_t)calibration << 7 | 0x55 };
}

static void rom_baud_is_corrected_by_the_estimate(void **state) {
    static const uint32_t rates[] = { 115200, 230400, 460800, 921600 };

    (void)state;
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        for (int percent = -8; percent <= 8; percent += 4) {
            struct esp_chip chip = chip_with_estimate((uint64_t)(40000000 + 400000 * percent));
            uint32_t wanted = (uint32_t)((int64_t)rates[i] * (100 + percent) / 100);

            assert_in_range(esp_rom_baud(&chip, rates[i]), wanted - wanted / 500, wanted + wanted / 500);
            chip = chip_with_estimate((uint64_t)(26000000 + 260000 * percent));
            assert_in_range(esp_rom_baud(&chip, rates[i]), wanted - wanted / 500, wanted + wanted / 500);
        }
}

static void rom_baud_without_a_calibration_is_the_rate(void **state) {
    struct esp_chip chip = { 0 };

    (void)state;
    assert_int_equal(esp_rom_baud(&chip, 921600), 921600);
    chip.rtc_calibration = UINT32_MAX; /* one that can't be */
    chip.efuse[4] = UINT32_MAX;
    assert_int_equal(esp_rom_baud(&chip, 921600), 921600);
}

/* ---- the list of commands ----------------------------------------------------------------------- */

/* A chip as a map of registers that logs what it is asked. */
struct chip_model {
    uint32_t magic, jedec, usr, usr2, efuse[7];
    unsigned busy_reads; /* how often SPI_CMD still says busy */
    unsigned n_requests, n_reads_of_cmd, n_writes, n_attached;
    uint32_t attached_pins, params_bytes, usr_written, usr2_written;
    bool commanded;
    unsigned flipped_request; /* 0: none */
    uint32_t flipped_bit;
};

static uint32_t model_read(struct chip_model *model, uint32_t address) {
    if (address >= EFUSE(0) && address <= EFUSE(6))
        return model->efuse[(address - EFUSE(0)) / 4];
    switch (address) {
    case ESP_MAGIC_ADDRESS:
        return model->magic;
    case APB_CTL_DATE:
        return 0x96042000;
    case UART0_CLKDIV:
        return 0x15a;
    case RTC_CAL:
        return 0x00100080;
    case SPI_USR:
        return model->usr;
    case SPI_USR2:
        return model->usr2;
    case SPI_CMD:
        assert_true(model->commanded);
        model->n_reads_of_cmd++;
        return model->n_reads_of_cmd <= model->busy_reads ? SPI_BUSY : 0;
    case SPI_W0:
        return model->jedec;
    default:
        fail_msg("register 0x%08x is read", address);
        return 0;
    }
}

static void model_write(struct chip_model *model, uint32_t address, uint32_t value) {
    model->n_writes++;
    assert_int_equal(model->n_attached, 1); /* the flash can't be asked before */
    if (address == SPI_USR)
        model->usr_written = value;
    if (address == SPI_USR2)
        model->usr2_written = value;
    if (address == SPI_CMD) {
        assert_int_equal(value, SPI_BUSY);
        assert_int_equal(model->usr_written, 0x90000000);
        assert_int_equal(model->usr2_written, 0x7000009f);
        model->commanded = true;
    }
}

static struct esp_reply model_answer(struct chip_model *model, const struct esp_request *request) {
    const uint8_t *words = request->head + 8;
    struct esp_reply reply = { .opcode = request->head[1], .value = 0x1640c8 /* junk */ };

    assert_true(++model->n_requests <= REQUESTS_MAX);
    switch (request->head[1]) {
    case ESP_READ_REG:
        reply.value = model_read(model, get_le32(words));
        if (model->n_requests == model->flipped_request)
            reply.value ^= model->flipped_bit;
        break;
    case ESP_WRITE_REG:
        model_write(model, get_le32(words), get_le32(words + 4));
        break;
    case ESP_SPI_ATTACH:
        model->n_attached++;
        model->attached_pins = get_le32(words);
        break;
    case ESP_SPI_SET_PARAMS:
        model->params_bytes = get_le32(words + 4);
        break;
    default:
        fail_msg("command 0x%02x is sent", request->head[1]);
    }
    return reply;
}

static struct esp_chip identify(struct chip_model *model) {
    struct esp_identify identify;
    struct esp_request request;

    esp_identify_init(&identify, &esp_loader_rom);
    while (esp_identify_next(&identify, &request)) {
        struct esp_reply reply;

        /* Asking twice, as after a lost reply, asks the same. */
        assert_true(esp_identify_next(&identify, &request));
        reply = model_answer(model, &request);
        esp_identify_take(&identify, &reply);
    }
    assert_false(esp_identify_next(&identify, &request));
    return identify.chip;
}

static struct chip_model usual_chip(void) {
    return (struct chip_model) { .magic = ESP_MAGIC_ESP32,
                                 .jedec = 0x1640c8,
                                 .usr = 0x12345678,
                                 .usr2 = 0x70000003,
                                 .efuse = { 1, 0xa4010203, 0x00cd30ae, 4, 5, 6, 7 } };
}

static void identify_reads_everything(void **state) {
    struct chip_model model = usual_chip();
    struct esp_chip chip = identify(&model);

    (void)state;
    assert_int_equal(chip.magic, ESP_MAGIC_ESP32);
    assert_memory_equal(chip.efuse, model.efuse, sizeof chip.efuse);
    assert_int_equal(chip.apb_ctl_date, 0x96042000);
    assert_int_equal(chip.uart_divider, 0x15a);
    assert_int_equal(chip.rtc_calibration, 0x00100080);
    assert_int_equal(chip.jedec, 0x1640c8);
    assert_int_equal(chip.flash_bytes, 4u << 20);
    assert_int_equal(model.params_bytes, 4u << 20);
    /* The SPI controller is as it was. */
    assert_int_equal(model.usr_written, model.usr);
    assert_int_equal(model.usr2_written, model.usr2);
}

/* Any bit of any reply but the magic's, once: what is to be certain is right. */
static void flipped_bit_is_not_believed(void **state) {
    struct chip_model model = usual_chip();
    struct esp_chip wanted = identify(&model);
    unsigned n_requests = model.n_requests;

    (void)state;
    for (unsigned n = 2; n <= n_requests; n++)
        for (unsigned bit = 0; bit < 32; bit++) {
            struct esp_chip chip;

            model = usual_chip();
            model.flipped_request = n;
            model.flipped_bit = 1u << bit;
            chip = identify(&model);
            assert_memory_equal(chip.efuse, wanted.efuse, sizeof chip.efuse);
            assert_int_equal(chip.apb_ctl_date, wanted.apb_ctl_date);
            assert_int_equal(chip.jedec, wanted.jedec);
            assert_int_equal(model.params_bytes, 4u << 20);
        }
}

static void not_an_esp32_is_left_alone_after_one_read(void **state) {
    struct chip_model model = usual_chip();
    struct esp_chip chip;

    (void)state;
    model.magic = 0x6921506f; /* an ESP32-C3 */
    chip = identify(&model);
    assert_int_equal(model.n_requests, 1);
    assert_int_equal(chip.magic, 0x6921506f);
    assert_int_equal(chip.flash_bytes, 0);
}

static void busy_flash_is_polled_until_it_is_not(void **state) {
    struct chip_model model = usual_chip();

    (void)state;
    model.busy_reads = 3;
    identify(&model);
    assert_int_equal(model.n_reads_of_cmd, 4);
    assert_int_equal(model.params_bytes, 4u << 20);
}

static void flash_that_stays_busy_is_polled_ten_times(void **state) {
    struct chip_model model = usual_chip();

    (void)state;
    model.busy_reads = UINT32_MAX;
    identify(&model);
    assert_int_equal(model.n_reads_of_cmd, 10);
    assert_int_equal(model.usr_written, model.usr);
}

static void flash_of_unknown_size_gets_no_parameters(void **state) {
    static const uint32_t ids[] = { 0xffffff, 0, 0xffff3f, 0x1940ef };

    (void)state;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        struct chip_model model = usual_chip();
        struct esp_chip chip;

        model.jedec = ids[i];
        chip = identify(&model);
        assert_int_equal(chip.jedec, ids[i]);
        assert_int_equal(chip.flash_bytes, 0);
        assert_int_equal(model.params_bytes, 0);
        assert_int_equal(model.usr2_written, model.usr2);
    }
}

static void flash_inside_the_package_is_attached_by_its_pads(void **state) {
    struct chip_model model = usual_chip();

    (void)state;
    model.efuse[3] = 5 << 9 | 11 << 4;
    model.efuse[5] = 6 | 17 << 5 | 8 << 10 | 16 << 15;
    identify(&model);
    assert_int_equal(model.attached_pins, 11 << 24 | 16 << 18 | 8 << 12 | 17 << 6 | 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(revision_of_each_combination_of_bits),
        cmocka_unit_test(packages),
        cmocka_unit_test(mac_from_two_words),
        cmocka_unit_test(encrypted_by_an_odd_count),
        cmocka_unit_test(secure_boot_by_version),
        cmocka_unit_test(flash_sizes_by_jedec_id),
        cmocka_unit_test(flash_pins_of_packages_with_flash_inside),
        cmocka_unit_test(crystal_by_the_divider),
        cmocka_unit_test(rom_baud_is_corrected_by_the_estimate),
        cmocka_unit_test(rom_baud_without_a_calibration_is_the_rate),
        cmocka_unit_test(identify_reads_everything),
        cmocka_unit_test(flipped_bit_is_not_believed),
        cmocka_unit_test(not_an_esp32_is_left_alone_after_one_read),
        cmocka_unit_test(busy_flash_is_polled_until_it_is_not),
        cmocka_unit_test(flash_that_stays_busy_is_polled_ten_times),
        cmocka_unit_test(flash_of_unknown_size_gets_no_parameters),
        cmocka_unit_test(flash_inside_the_package_is_attached_by_its_pads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
