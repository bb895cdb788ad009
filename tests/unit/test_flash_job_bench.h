#pragma once

/* Whole jobs against a boot ROM with a flash chip, on a port that has DTR and RTS, and a backup to restore.
 */

#include "tests/unit/test_esp_link_bench.h"
#include "tests/unit/test_esp_link_lines.h"
#include "tests/unit/test_flash_rom.h"
#include "tests/unit/test_folder.h"

#define CONFIG_AT  0x3ff000u
#define NVS_AT     0x9000u
#define OTADATA_AT 0x1be000u
#define FACTORY_AT 0x10000u
#define CLUSTER_AT (FACTORY_AT + 0x2b40)
#define GENERATION "20240101T000000.000Z-9"

static const uint32_t sizes[BACKUP_PARTS] = { 0x1000, 0x7000, 0x1000 };
static const uint32_t offsets[BACKUP_PARTS] = { CONFIG_AT, NVS_AT, OTADATA_AT };

#define CONFIG_AND_NVS (1u << BACKUP_CONFIG | 1u << BACKUP_NVS)
#define ALL_PARTS      (CONFIG_AND_NVS | 1u << BACKUP_OTADATA)

static struct {
    char root[64], folder[128];
    struct backup backup; /* the generation that there is */
    uint8_t *before;      /* the flash when the job began */
} home;

static inline void fill(uint8_t *bytes, uint32_t size, uint32_t seed) {
    for (uint32_t i = 0; i < size; i++) {
        seed = seed * 1103515245 + 12345;
        bytes[i] = i / 512 % 2 ? (uint8_t)(seed >> 16) : 0;
    }
}

static inline void write_file(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static inline void make_generation(void) {
    char path[300];

    assert_int_equal(mkdir(home.folder, 0700), 0);
    snprintf(path, sizeof path, "%s/" ROM_MAC_FOLDER, home.folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/" ROM_MAC_FOLDER "/" GENERATION, home.folder);
    assert_int_equal(mkdir(path, 0700), 0);
    for (enum backup_part i = 0; i < BACKUP_PARTS; i++) {
        home.backup.parts[i] = (struct backup_area) { .size = sizes[i], .bytes = malloc(sizes[i]) };
        fill(home.backup.parts[i].bytes, sizes[i], 77 + i);
        snprintf(path, sizeof path, "%s/" ROM_MAC_FOLDER "/" GENERATION "/%s", home.folder,
                 backup_part_file(i));
        write_file(path, home.backup.parts[i].bytes, sizes[i]);
    }
}

static inline void set_table(void) {
    rom_set_partition(0, 1, 2, NVS_AT, 0x7000, "nvs");
    rom_set_partition(1, 0, 0, FACTORY_AT, 0x1ae000, "factory");
    rom_set_partition(2, 1, 0, OTADATA_AT, 0x1000, "otadata");
    rom_set_partition(3, 1, 6, CONFIG_AT, 0x1000, "config");
}

static inline int set_up_job(void **state) {
    set_up_lines(state);
    rom_set_up(*state);
    memset(&home, 0, sizeof home);
    memset(&run, 0, sizeof run);
    folder_make(home.root, sizeof home.root);
    snprintf(home.folder, sizeof home.folder, "%s/backup", home.root);
    make_generation();
    set_table();
    for (int i = 0; i < BACKUP_PARTS; i++)
        fill(rom.flash + offsets[i], sizes[i], 5 + (uint32_t)i);
    home.before = malloc(ROM_FLASH_BYTES);
    memcpy(home.before, rom.flash, ROM_FLASH_BYTES);
    return 0;
}

static inline int tear_down_job(void **state) {
    int r;

    free_job();
    r = tear_down_lines(state);
    rom_tear_down();
    backup_deinit(&home.backup);
    free(home.before);
    folder_remove(home.root);
    return r;
}

static const struct flash_status *restore_as(const char *mac, const char *name, unsigned parts,
                                             bool dry_run) {
    struct flash_job_request request = { .id = 12,
                                         .kind = WIPYD_JOB_KIND_RESTORE,
                                         .dry_run = dry_run,
                                         .restore_mac = mac,
                                         .restore_backup = name,
                                         .restore_parts = parts,
                                         .backup_folder = home.folder };

    free_job();
    return run_job(&request);
}

static inline const struct flash_status *restore(unsigned parts) {
    return restore_as(ROM_MAC, GENERATION, parts, false);
}

static inline void assert_done(const struct flash_status *status) {
    if (status->fault.code)
        print_message("# %s: %s\n", wipyd_error_sentence(status->fault.code), status->fault.story);
    assert_int_equal(status->fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(status->state, WIPYD_JOB_STATE_DONE);
    assert_true(status->progress >= 1);
}

static inline void assert_fault(const struct flash_status *status, enum wipyd_error code) {
    assert_int_equal(status->fault.code, code);
    assert_int_equal(status->state, WIPYD_JOB_STATE_FAILED);
    assert_true(*status->fault.story);
}

/* The flash holds the backup's parts, and nothing else has changed. */
static inline void assert_restored(unsigned parts) {
    for (int i = 0; i < BACKUP_PARTS; i++)
        if (parts & 1u << i)
            memcpy(home.before + offsets[i], home.backup.parts[i].bytes, sizes[i]);
    assert_memory_equal(rom.flash, home.before, ROM_FLASH_BYTES);
}

static inline void assert_untouched(void) {
    assert_int_equal(rom.n_begins, 0);
    assert_memory_equal(rom.flash, home.before, ROM_FLASH_BYTES);
}

static inline size_t count_generations(struct backup_entry *newest) {
    struct backup_entry *entries;
    size_t n;

    assert_int_equal(backup_list(home.folder, NULL, &entries, &n), 0);
    if (n && newest)
        *newest = entries[0];
    free(entries);
    return n;
}
