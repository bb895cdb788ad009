/* Where the parts of a backup belong on a board, and what is made of them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/esp/md5.h"
#include "daemon/flash/restore.h"

#define MB4 0x400000u
#define MB8 0x800000u

static const uint32_t usual_sizes[BACKUP_PARTS] = { 0x1000, 0x7000, 0x1000 };

static const struct partitions usual_table = {
    .entries = { { .type = 1, .subtype = 2, .offset = 0x9000, .size = 0x7000, .label = "nvs" },
                 { .type = 0, .subtype = 0, .offset = 0x10000, .size = 0x1ae000, .label = "factory" },
                 { .type = 1, .subtype = 0, .offset = 0x1be000, .size = 0x1000, .label = "otadata" },
                 { .type = 1, .subtype = 6, .offset = 0x3ff000, .size = 0x1000, .label = "config" } },
    .n = 4,
};

/* Every part of a size other than 0, filled with what compresses a little. */
static struct backup make_backup(const uint32_t part_sizes[static BACKUP_PARTS]) {
    struct backup backup = { 0 };

    for (int i = 0; i < BACKUP_PARTS; i++) {
        if (!part_sizes[i])
            continue;
        backup.parts[i] = (struct backup_area) { .size = part_sizes[i], .bytes = malloc(part_sizes[i]) };
        for (uint32_t k = 0; k < part_sizes[i]; k++)
            backup.parts[i].bytes[k] = (uint8_t)((k * k >> 7) + k / 1024 + (uint32_t)i);
    }
    return backup;
}

static enum wipyd_error place(struct backup *backup, const struct partitions *table, uint32_t flash_bytes) {
    struct fault fault = { 0 };
    enum wipyd_error error = flash_restore_place(backup, table, flash_bytes, &fault);

    assert_int_equal(fault.code, error);
    assert_int_equal(*fault.story != 0, error != WIPYD_ERROR_NONE);
    return error;
}

static enum wipyd_error place_sizes(const uint32_t part_sizes[static BACKUP_PARTS],
                                    const struct partitions *table, uint32_t flash_bytes) {
    struct backup backup = make_backup(part_sizes);
    enum wipyd_error error = place(&backup, table, flash_bytes);

    backup_deinit(&backup);
    return error;
}

/* ---- place ----------------------------------------------------------------------------------- */

static void parts_go_where_the_board_has_them(void **state) {
    struct backup backup = make_backup(usual_sizes);
    struct partitions table = usual_table;

    (void)state;
    table.entries[0].offset = 0x1f0000;
    assert_int_equal(place(&backup, &table, MB4), WIPYD_ERROR_NONE);
    assert_int_equal(backup.parts[BACKUP_CONFIG].offset, 0x3ff000);
    assert_int_equal(backup.parts[BACKUP_NVS].offset, 0x1f0000);
    assert_int_equal(backup.parts[BACKUP_OTADATA].offset, 0x1be000);
    backup_deinit(&backup);
}

static void without_a_table_only_nvs_has_a_place(void **state) {
    static const uint32_t config_nvs[BACKUP_PARTS] = { 0x1000, 0x7000, 0 };
    static const uint32_t small_nvs[BACKUP_PARTS] = { 0, 0x6000, 0 },
                          otadata[BACKUP_PARTS] = { 0, 0, 0x1000 };
    struct backup backup = make_backup(config_nvs);

    (void)state;
    assert_int_equal(place(&backup, NULL, MB8), WIPYD_ERROR_NONE);
    assert_int_equal(backup.parts[BACKUP_CONFIG].offset, 0x3ff000);
    assert_int_equal(backup.parts[BACKUP_NVS].offset, 0x9000);
    backup_deinit(&backup);
    assert_int_equal(place_sizes(small_nvs, NULL, MB4), WIPYD_ERROR_BACKUP_INVALID);
    assert_int_equal(place_sizes(otadata, NULL, MB4), WIPYD_ERROR_BACKUP_INVALID);
    assert_int_equal(place_sizes(usual_sizes, NULL, MB4), WIPYD_ERROR_BACKUP_INVALID);
}

static void sizes_must_be_equal(void **state) {
    static const uint32_t odd[][BACKUP_PARTS] = { { 0, 0x6000, 0 }, { 0, 0x8000, 0 }, { 0, 0, 0x2000 } };
    struct partitions table = usual_table;

    (void)state;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        assert_int_equal(place_sizes(odd[i], &usual_table, MB4), WIPYD_ERROR_BACKUP_INVALID);
    table.n = 2; /* no otadata */
    assert_int_equal(place_sizes(usual_sizes, &table, MB4), WIPYD_ERROR_BACKUP_INVALID);
}

/* A table that is whole, and says what would ruin the board. */
static void places_that_no_board_has(void **state) {
    static const uint32_t nvs[BACKUP_PARTS] = { 0, 0x7000, 0 };
    static const uint32_t nowhere[] = { 0x0,      0x1000,   0x8000,     0x9001,   0xa000,  0xf000,
                                        0x3f9000, 0x3fc000, 0xfffff000, 0x400000, 0x1bd000 };
    struct partitions table = usual_table;

    (void)state;
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        table.entries[0].offset = nowhere[i];
        assert_int_equal(place_sizes(nvs, &table, MB4), WIPYD_ERROR_BACKUP_INVALID);
    }
    /* The same without a neighbour that gives it away. */
    table.n = 1;
    table.entries[0].offset = 0x3fc000;
    assert_int_equal(place_sizes(nvs, &table, MB8), WIPYD_ERROR_BACKUP_INVALID);
    table.entries[0].offset = 0x3f8000;
    assert_int_equal(place_sizes(nvs, &table, MB8), WIPYD_ERROR_NONE);
    table.entries[0].offset = 0x400000;
    assert_int_equal(place_sizes(nvs, &table, MB8), WIPYD_ERROR_NONE);
    assert_int_equal(place_sizes(nvs, &table, MB4), WIPYD_ERROR_BACKUP_INVALID);
}

static void chip_without_a_config_block(void **state) {
    static const uint32_t config[BACKUP_PARTS] = { 0x1000, 0, 0 };

    (void)state;
    assert_int_equal(place_sizes(config, NULL, MB4 / 2), WIPYD_ERROR_FLASH_TOO_SMALL);
    assert_int_equal(place_sizes(config, NULL, MB4), WIPYD_ERROR_NONE);
}

/* ---- prepare --------------------------------------------------------------------------------- */

/* The pieces of a region, sent and inflated, are the part. */
static void assert_region(const struct firmware_region *region, const struct backup_area *area) {
    uint32_t at = area->offset;

    assert_int_equal(region->kind, FIRMWARE_WRITE);
    assert_int_equal(region->offset, area->offset);
    assert_int_equal(region->size, area->size);
    for (unsigned i = 0; i < region->n_pieces; i++) {
        const struct firmware_piece *piece = &region->pieces[i];
        uint8_t bytes[FIRMWARE_PIECE_BYTES], md5[16];

        assert_int_equal(piece->offset, at);
        assert_true(piece->size <= FIRMWARE_PIECE_BYTES);
        assert_int_equal(piece->offset / FIRMWARE_PIECE_BYTES,
                         (piece->offset + piece->size - 1) / FIRMWARE_PIECE_BYTES);
        if (piece->deflated)
            assert_true(firmware_piece_inflate(piece, bytes));
        else
            memcpy(bytes, piece->stream, piece->size);
        assert_memory_equal(bytes, area->bytes + (piece->offset - area->offset), piece->size);
        esp_md5(bytes, piece->size, md5);
        assert_memory_equal(md5, piece->md5, 16);
        esp_md5(bytes, FIRMWARE_SECTOR_BYTES, md5);
        assert_memory_equal(md5, piece->head_md5, 16);
        at += piece->size;
    }
    assert_int_equal(at, area->offset + area->size);
}

static void layout_holds_the_parts(void **state) {
    struct backup backup = make_backup(usual_sizes);
    struct flash_restore restore;
    struct fault fault = { 0 };

    (void)state;
    assert_int_equal(place(&backup, &usual_table, MB4), WIPYD_ERROR_NONE);
    assert_int_equal(flash_restore_prepare(&restore, &backup, MB4, &fault), WIPYD_ERROR_NONE);
    assert_int_equal(restore.layout.n_regions, 3);
    assert_int_equal(restore.layout.nvs.offset, 0x9000);
    assert_int_equal(restore.layout.nvs.size, 0x7000);
    assert_int_equal(restore.layout.otadata.offset, 0x1be000);
    for (enum backup_part i = 0; i < BACKUP_PARTS; i++) {
        assert_string_equal(restore.layout.regions[i].name, backup_part_word(i));
        assert_region(&restore.layout.regions[i], &backup.parts[i]);
    }
    flash_restore_deinit(&restore);
    backup_deinit(&backup);
}

static void large_part_is_cut_at_64_kib(void **state) {
    static const uint32_t large_nvs[BACKUP_PARTS] = { 0, 0x10000, 0 };
    struct backup backup = make_backup(large_nvs);
    struct partitions table = usual_table;
    struct flash_restore restore;
    struct fault fault = { 0 };

    (void)state;
    table.entries[0].offset = 0x1fd000;
    table.entries[0].size = 0x10000;
    for (uint32_t i = 0, random = 1; i < 0x10000; i++, random = random * 1103515245 + 12345)
        backup.parts[BACKUP_NVS].bytes[i] = (uint8_t)(random >> 16); /* shorter plain than deflated */
    assert_int_equal(place(&backup, &table, MB4), WIPYD_ERROR_NONE);
    assert_int_equal(flash_restore_prepare(&restore, &backup, MB4, &fault), WIPYD_ERROR_NONE);
    assert_int_equal(restore.layout.n_regions, 1);
    assert_int_equal(restore.layout.regions[0].n_pieces, 2);
    assert_int_equal(restore.layout.otadata.size, 0);
    assert_region(&restore.layout.regions[0], &backup.parts[BACKUP_NVS]);
    flash_restore_deinit(&restore);
    backup_deinit(&backup);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_go_where_the_board_has_them),
        cmocka_unit_test(without_a_table_only_nvs_has_a_place),
        cmocka_unit_test(sizes_must_be_equal),
        cmocka_unit_test(places_that_no_board_has),
        cmocka_unit_test(chip_without_a_config_block),
        cmocka_unit_test(layout_holds_the_parts),
        cmocka_unit_test(large_part_is_cut_at_64_kib),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
