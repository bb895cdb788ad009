/* What is on the flash: the layouts that boards have, blank and garbage, and tables made to lead astray. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "daemon/base/bytes.h"
#include "daemon/esp/md5.h"
#include "daemon/flash/probe.h"

#define MB           (1u << 20)
#define FLASH_BYTES  (8 * MB)
#define TABLE        PARTITION_TABLE_OFFSET
#define REQUESTS_MAX 2500 /* 2304 and what comes before the search */
#define CLUSTER                                                                                              \
    "WiPy with ESP32\0v1.11-8b6a3ce on 2021-01-12\0"                                                         \
    "1.20.2.r4"

struct bench {
    uint8_t *flash;
    uint32_t flash_bytes; /* of the chip: reading beyond fails the test */
    unsigned n_requests;
    struct flash_probe probe;
};

struct entry {
    uint8_t type, subtype;
    uint32_t offset, size;
};

/* facts/pycom.md 2.7 */
static const struct layout {
    const char *name;
    uint32_t flash_bytes;
    bool has_digest;
    struct entry entries[6]; /* nvs, factory, otadata, ota_0, file system, config */
    unsigned n;
} layouts[] = {
    { "up to 1.19",
      4 * MB,
      false,
      { { 1, 2, 0x9000, 0x7000 },
        { 0, 0, 0x10000, 0x180000 },
        { 1, 0, 0x190000, 0x1000 },
        { 0, 0x10, 0x1a0000, 0x180000 },
        { 1, 0x81, 0x380000, 0x7f000 },
        { 1, 6, 0x3ff000, 0x1000 } },
      6 },
    { "1.20, 4 MB",
      4 * MB,
      true,
      { { 1, 2, 0x9000, 0x7000 },
        { 0, 0, 0x10000, 0x1ae000 },
        { 1, 0, 0x1be000, 0x1000 },
        { 0, 0x10, 0x1c0000, 0x1ae000 },
        { 1, 0x81, 0x380000, 0x7f000 },
        { 1, 6, 0x3ff000, 0x1000 } },
      6 },
    { "1.20, 8 MB",
      8 * MB,
      true,
      { { 1, 2, 0x9000, 0x7000 },
        { 0, 0, 0x10000, 0x1ef000 },
        { 1, 0, 0x1ff000, 0x1000 },
        { 0, 0x10, 0x210000, 0x1ef000 },
        { 1, 6, 0x3ff000, 0x1000 } },
      5 },
};

enum { FACTORY = 1, OTADATA = 2, OTA_0 = 3 };

#define N_LAYOUTS (sizeof layouts / sizeof *layouts)

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    bench->flash = malloc(FLASH_BYTES);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;

    free(bench->flash);
    free(bench);
    return 0;
}

static void blank(struct bench *bench, uint32_t flash_bytes) {
    memset(bench->flash, 0xff, FLASH_BYTES);
    bench->flash_bytes = flash_bytes;
}

static void put_table(struct bench *bench, const struct layout *layout) {
    uint8_t *at = bench->flash + TABLE;

    blank(bench, layout->flash_bytes);
    for (unsigned i = 0; i < layout->n; i++, at += 32) {
        memset(at, 0, 32);
        at[0] = 0xaa;
        at[1] = 0x50;
        at[2] = layout->entries[i].type;
        at[3] = layout->entries[i].subtype;
        put_le32(at + 4, layout->entries[i].offset);
        put_le32(at + 8, layout->entries[i].size);
    }
    if (layout->has_digest) {
        at[0] = at[1] = 0xeb;
        esp_md5(bench->flash + TABLE, (size_t)(at - bench->flash) - TABLE, at + 16);
    }
}

static void put_app(struct bench *bench, uint32_t offset) {
    memset(bench->flash + offset, 0, 0x30000);
    bench->flash[offset] = 0xe9;
}

static void put_cluster(struct bench *bench, uint32_t offset) {
    memcpy(bench->flash + offset, CLUSTER, sizeof CLUSTER);
}

/* facts/pycom.md 2.5: active image, status, previous image, size, safeboot; signature; CRC. */
static void put_otadata(struct bench *bench, uint32_t offset, uint32_t active) {
    uint8_t *at = bench->flash + offset;

    memset(at, 0, 20);
    memset(at + 20, 0xff, 16);
    put_le32(at, active);
    put_le32(at + 4, 1);
    put_le32(at + 12, 1220160);
    put_le32(at + 36, (uint32_t)crc32(0xffffffff, at, 36));
}

static const struct flash_probe *probe(struct bench *bench, bool is_thorough) {
    struct esp_request request;

    bench->n_requests = 0;
    flash_probe_init(&bench->probe, &esp_loader_rom, bench->flash_bytes, is_thorough);
    while (flash_probe_next(&bench->probe, &request)) {
        uint32_t at = get_le32(request.head + 8), size = get_le32(request.head + 12);
        uint8_t *payload = malloc(64); /* gone after take: nothing may be borrowed from it */

        assert_true(++bench->n_requests <= REQUESTS_MAX);
        assert_int_equal(request.head[1], ESP_READ_FLASH_SLOW);
        assert_int_equal(size, 64);
        if (at > bench->flash_bytes - 64)
            fail_msg("0x%x is beyond a flash of 0x%x", at, bench->flash_bytes);
        memcpy(payload, bench->flash + at, 64);
        flash_probe_take(&bench->probe, &(struct esp_reply) { .payload = payload, .payload_size = 64 });
        free(payload);
    }
    assert_false(flash_probe_next(&bench->probe, &request));
    return &bench->probe;
}

static void assert_version(const struct flash_probe *found) {
    assert_true(found->has_app);
    assert_true(found->has_version);
    assert_string_equal(found->version.board, "WiPy");
    assert_string_equal(found->version.release, "1.20.2.r4");
}

/* ---- the boards that exist ---------------------------------------------------------------------- */

static void layouts_boot_factory(void **state) {
    struct bench *bench = *state;

    for (size_t i = 0; i < N_LAYOUTS; i++) {
        const struct flash_probe *found;

        put_table(bench, &layouts[i]);
        put_app(bench, 0x10000);
        put_cluster(bench, 0x10000 + 0x2b42);
        found = probe(bench, false);
        assert_true(found->has_table);
        assert_int_equal(found->table.n, layouts[i].n);
        assert_int_equal(found->app_offset, 0x10000);
        assert_version(found);
        assert_true(bench->n_requests <= 8); /* table 4, otadata, app, hint 2 */
    }
}

static void layouts_boot_ota_0_when_otadata_says_so(void **state) {
    struct bench *bench = *state;

    for (size_t i = 0; i < N_LAYOUTS; i++) {
        uint32_t ota_0 = layouts[i].entries[OTA_0].offset;
        const struct flash_probe *found;

        put_table(bench, &layouts[i]);
        put_otadata(bench, layouts[i].entries[OTADATA].offset, 1);
        put_app(bench, 0x10000);
        memcpy(bench->flash + 0x10000 + 0x2b40,
               "LoPy with ESP32\0v1 on 2018-08-29\0"
               "1.18.0",
               40);
        put_app(bench, ota_0);
        put_cluster(bench, ota_0 + 0x2b42);
        found = probe(bench, false);
        assert_int_equal(found->app_offset, ota_0);
        assert_version(found);
    }
}

/* The example of facts/pycom.md 2.5. */
static void crc_of_otadata_is_that_of_the_bootloader(void **state) {
    static const uint8_t wanted[] = { 0x1e, 0x8b, 0xc3, 0x9b };
    struct bench *bench = *state;

    blank(bench, 4 * MB);
    put_otadata(bench, 0x190000, 0);
    assert_memory_equal(bench->flash + 0x190000 + 36, wanted, 4);
}

static void otadata_that_does_not_count_boots_factory(void **state) {
    struct bench *bench = *state;
    uint32_t at = layouts[1].entries[OTADATA].offset;

    for (int which = 0; which < 40; which++) {
        const struct flash_probe *found;

        put_table(bench, &layouts[1]);
        put_app(bench, 0x10000);
        put_app(bench, layouts[1].entries[OTA_0].offset);
        put_cluster(bench, 0x10000 + 0x2b42);
        put_otadata(bench, at, 1);
        bench->flash[at + (uint32_t)which] ^= 4; /* the value or its CRC: one of them is wrong */
        found = probe(bench, false);
        assert_int_equal(found->app_offset, 0x10000);
        assert_version(found);
    }
    put_otadata(bench, at, 2); /* "treated as factory" */
    assert_int_equal(probe(bench, false)->app_offset, 0x10000);
    put_otadata(bench, at, 0);
    assert_int_equal(probe(bench, false)->app_offset, 0x10000);
}

static void version_at_each_place_known(void **state) {
    static const uint32_t places[] = { 0x2b42, 0x13d0c, 0x18380, 0x2204e };
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        put_table(bench, &layouts[1]);
        put_app(bench, 0x10000);
        put_cluster(bench, 0x10000 + places[i]);
        assert_version(probe(bench, false));
        assert_true(bench->n_requests <= 6 + 2 * (i + 1));
    }
}

/* ---- flash that holds none ---------------------------------------------------------------------- */

static void blank_flash_is_known_after_one_read(void **state) {
    struct bench *bench = *state;
    const struct flash_probe *found;

    blank(bench, 4 * MB);
    found = probe(bench, true);
    assert_false(found->has_table);
    assert_false(found->has_app);
    assert_false(found->has_version);
    assert_int_equal(bench->n_requests, 1);
}

static void table_without_an_application(void **state) {
    struct bench *bench = *state;
    const struct flash_probe *found;

    put_table(bench, &layouts[1]);
    found = probe(bench, true);
    assert_true(found->has_table);
    assert_false(found->has_app);
    assert_true(bench->n_requests < 10);
}

static void garbage_where_the_table_is(void **state) {
    struct bench *bench = *state;
    uint32_t seed = 1;

    for (int round = 0; round < 50; round++) {
        blank(bench, 4 * MB);
        for (uint32_t i = 0; i < PARTITION_TABLE_BYTES; i++) {
            seed = seed * 1664525 + 1013904223;
            bench->flash[TABLE + i] = (uint8_t)(seed >> 24);
        }
        assert_false(probe(bench, true)->has_table);
        assert_false(bench->probe.has_app);
    }
}

static void damaged_tables(void **state) {
    struct bench *bench = *state;

    put_table(bench, &layouts[1]);
    bench->flash[TABLE + 40] ^= 1; /* the digest finds it */
    assert_false(probe(bench, true)->has_table);
    put_table(bench, &layouts[1]);
    bench->flash[TABLE + 6 * 32 + 20] ^= 1; /* the digest itself */
    assert_false(probe(bench, true)->has_table);
    put_table(bench, &layouts[0]);
    bench->flash[TABLE + 6 * 32] = 0; /* neither an entry nor the end */
    assert_false(probe(bench, true)->has_table);
}

static void table_without_an_end(void **state) {
    struct bench *bench = *state;

    put_table(bench, &layouts[0]);
    for (uint32_t at = 32; at < 0x4000; at += 32)
        memcpy(bench->flash + TABLE + at, bench->flash + TABLE, 32);
    assert_false(probe(bench, true)->has_table);
    assert_true(bench->n_requests <= PARTITION_TABLE_BYTES / 64);
}

/* ---- versions elsewhere ------------------------------------------------------------------------- */

static void version_elsewhere_is_found_by_the_thorough_only(void **state) {
    struct bench *bench = *state;

    put_table(bench, &layouts[1]);
    put_app(bench, 0x10000);
    put_cluster(bench, 0x10000 + 0x1abcd);
    assert_false(probe(bench, false)->has_version);
    assert_true(bench->probe.has_app);
    assert_true(bench->n_requests < 20);
    assert_version(probe(bench, true));
}

static void version_across_the_borders_of_windows(void **state) {
    struct bench *bench = *state;

    put_table(bench, &layouts[1]);
    for (uint32_t at = PARTITION_TABLE_BYTES - 200; at < 2 * PARTITION_TABLE_BYTES + 200; at += 5) {
        put_app(bench, 0x10000);
        put_cluster(bench, 0x10000 + at);
        assert_version(probe(bench, true));
    }
}

static void version_at_the_end_of_the_search_and_beyond(void **state) {
    struct bench *bench = *state;

    put_table(bench, &layouts[1]);
    put_app(bench, 0x10000);
    put_cluster(bench, 0x10000 + FIRMWARE_VERSION_WINDOW - sizeof CLUSTER);
    assert_version(probe(bench, true));
    put_app(bench, 0x10000);
    put_cluster(bench, 0x10000 + FIRMWARE_VERSION_WINDOW + 64);
    assert_false(probe(bench, true)->has_version);
}

/* A cluster that begins just before the place where one is looked for must not lose its first letters:
 * there is no board called "Py". */
static void name_is_never_cut_at_a_place_known(void **state) {
    static const uint32_t places[] = { 0x2b40, 0x13d0c, 0x18380, 0x2204c };
    struct bench *bench = *state;

    put_table(bench, &layouts[1]);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (uint32_t before = 1; before <= 16; before++) {
            put_app(bench, 0x10000);
            put_cluster(bench, 0x10000 + places[i] - before);
            if (probe(bench, false)->has_version)
                assert_string_equal(bench->probe.version.board, "WiPy");
            assert_version(probe(bench, true));
        }
}

/* ---- tables made to lead astray ----------------------------------------------------------------- */

static void slots_at_and_beyond_the_end(void **state) {
    struct bench *bench = *state;
    static const uint32_t beyond[] = { 4 * MB, 4 * MB + 1, 8 * MB, UINT32_MAX - 0x1000, UINT32_MAX - 2 };

    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++)
        for (int which = FACTORY; which <= OTA_0; which++) {
            struct layout layout = layouts[0];

            layout.entries[which].offset = beyond[i];
            layout.entries[which].size = 1;
            put_table(bench, &layout);
            put_app(bench, 0x10000);
            if (which != OTADATA)
                put_otadata(bench, layout.entries[OTADATA].offset, 1);
            probe(bench, true); /* asserts on each request */
        }
}

/* An image whose window goes past the end. */
static void application_just_before_the_end(void **state) {
    struct bench *bench = *state;

    for (uint32_t before = 4; before <= 0x24400; before += before < 400 ? 4 : 332) {
        struct layout layout = layouts[0];

        layout.entries[FACTORY].offset = 4 * MB - before;
        layout.entries[FACTORY].size = before;
        put_table(bench, &layout);
        put_app(bench, 4 * MB - before);
        probe(bench, true);
        if (before < 1000)
            continue;
        if (before <= FIRMWARE_VERSION_WINDOW)
            put_cluster(bench, 4 * MB - 200);
        else
            put_cluster(bench, 4 * MB - before + FIRMWARE_VERSION_WINDOW - 200);
        assert_version(probe(bench, true));
    }
}

static void slots_that_are_not_aligned(void **state) {
    struct bench *bench = *state;

    for (uint32_t odd = 1; odd < 4; odd++) {
        struct layout layout = layouts[0];

        layout.entries[FACTORY].offset = 0x10000 + odd;
        put_table(bench, &layout);
        put_app(bench, 0x10000);
        probe(bench, true);
    }
}

static void random_tables_never_lead_beyond_the_flash(void **state) {
    struct bench *bench = *state;
    uint32_t seed = 4242;

    for (int round = 0; round < 300; round++) {
        struct layout layout = { .flash_bytes = MB << round % 4, .n = 6, .has_digest = round & 4 };

        for (unsigned i = 0; i < layout.n; i++) {
            seed = seed * 1664525 + 1013904223;
            layout.entries[i] = (struct entry) { .type = (uint8_t)(seed >> 31),
                                                 .subtype = seed >> 30 & 1 ? 0 : 0x10,
                                                 .offset = seed >> 29 & 1 ? (seed << 8) % (8 * MB) : seed,
                                                 .size = 1 };
        }
        put_table(bench, &layout);
        memset(bench->flash + TABLE + PARTITION_TABLE_BYTES, 0xe9,
               FLASH_BYTES - TABLE - PARTITION_TABLE_BYTES);
        probe(bench, round & 1);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(layouts_boot_factory),
        TEST(layouts_boot_ota_0_when_otadata_says_so),
        TEST(crc_of_otadata_is_that_of_the_bootloader),
        TEST(otadata_that_does_not_count_boots_factory),
        TEST(version_at_each_place_known),
        TEST(blank_flash_is_known_after_one_read),
        TEST(table_without_an_application),
        TEST(garbage_where_the_table_is),
        TEST(damaged_tables),
        TEST(table_without_an_end),
        TEST(version_elsewhere_is_found_by_the_thorough_only),
        TEST(version_across_the_borders_of_windows),
        TEST(version_at_the_end_of_the_search_and_beyond),
        TEST(name_is_never_cut_at_a_place_known),
        TEST(slots_at_and_beyond_the_end),
        TEST(application_just_before_the_end),
        TEST(slots_that_are_not_aligned),
        TEST(random_tables_never_lead_beyond_the_flash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
