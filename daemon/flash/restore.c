#include "daemon/flash/restore.h"

#include <libdeflate.h>
#include <stdio.h>
#include <string.h>

/* Sent once: the best is not worth its time. */
enum { DEFLATE_LEVEL = 6 };

/* The smallest chip that has a config block. */
#define FLASH_BYTES_MIN (FIRMWARE_CONFIG_OFFSET + FIRMWARE_CONFIG_BYTES)
/* What comes before is boot loader and partition table. */
#define AREAS_FROM (PARTITION_TABLE_OFFSET + FIRMWARE_SECTOR_BYTES)

/* Where NVS lies in every Pycom layout (facts/pycom.md 2.7); otadata lies elsewhere in each. */
static const struct firmware_area usual_nvs = { 0x9000, 0x7000 };

static const struct {
    uint8_t type, subtype;
} partition_of[BACKUP_PARTS] = {
    [BACKUP_NVS] = { 1, 2 },
    [BACKUP_OTADATA] = { 1, 0 },
};

/* ---- place ----------------------------------------------------------------------------------- */

static bool overlap(uint32_t a, uint32_t a_size, uint32_t b, uint32_t b_size) {
    return a < b ? b - a < a_size : a - b < b_size;
}

/* A table may be valid, and yet say what no board has. */
static enum wipyd_error check_place(const struct partitions *table, const struct partition *place,
                                    uint32_t flash_bytes, struct fault *fault) {
    if (place->offset % FIRMWARE_SECTOR_BYTES || place->offset < AREAS_FROM || place->offset >= flash_bytes ||
        place->size > flash_bytes - place->offset ||
        overlap(place->offset, place->size, FIRMWARE_CONFIG_OFFSET, FIRMWARE_CONFIG_BYTES))
        return fault_set(fault, WIPYD_ERROR_BACKUP_INVALID,
                         "the board's partition table has %s at 0x%x, where none can be", place->label,
                         place->offset);
    for (unsigned i = 0; i < table->n; i++) {
        const struct partition *other = &table->entries[i];

        if (other != place && overlap(place->offset, place->size, other->offset, other->size))
            return fault_set(fault, WIPYD_ERROR_BACKUP_INVALID,
                             "the board's partition table has %s and %s in one place", place->label,
                             other->label);
    }
    return WIPYD_ERROR_NONE;
}

static enum wipyd_error place_by_table(struct backup_area *area, enum backup_part part,
                                       const struct partitions *table, uint32_t flash_bytes,
                                       struct fault *fault) {
    const struct partition *place =
        partitions_find(table, partition_of[part].type, partition_of[part].subtype);
    const char *word = backup_part_word(part);

    if (!place)
        return fault_set(fault, WIPYD_ERROR_BACKUP_INVALID, "the board's partition table has no %s", word);
    if (place->size != area->size)
        return fault_set(fault, WIPYD_ERROR_BACKUP_INVALID,
                         "the backup's %s has 0x%x bytes, the board's 0x%x: its layout is another one", word,
                         area->size, place->size);
    area->offset = place->offset;
    return check_place(table, place, flash_bytes, fault);
}

static enum wipyd_error place_without_table(struct backup_area *area, enum backup_part part,
                                            struct fault *fault) {
    if (part == BACKUP_OTADATA)
        return fault_set(fault, WIPYD_ERROR_BACKUP_INVALID,
                         "the board has no partition table that says where otadata belongs");
    if (area->size != usual_nvs.size)
        return fault_set(fault, WIPYD_ERROR_BACKUP_INVALID,
                         "the board has no partition table that says where an nvs of 0x%x bytes belongs",
                         area->size);
    area->offset = usual_nvs.offset;
    return WIPYD_ERROR_NONE;
}

enum wipyd_error flash_restore_place(struct backup *backup, const struct partitions *table,
                                     uint32_t flash_bytes, struct fault *fault) {
    enum wipyd_error error = WIPYD_ERROR_NONE;

    if (flash_bytes < FLASH_BYTES_MIN)
        return fault_set(fault, WIPYD_ERROR_FLASH_TOO_SMALL, "the flash chip has %u KiB", flash_bytes >> 10);
    for (enum backup_part i = 0; !error && i < BACKUP_PARTS; i++) {
        struct backup_area *area = &backup->parts[i];

        if (!area->bytes)
            continue;
        if (i == BACKUP_CONFIG)
            area->offset = FIRMWARE_CONFIG_OFFSET;
        else if (table)
            error = place_by_table(area, i, table, flash_bytes, fault);
        else
            error = place_without_table(area, i, fault);
    }
    return error;
}

/* ---- prepare --------------------------------------------------------------------------------- */

static int prepare_regions(struct flash_restore *restore, const struct backup *backup,
                           struct libdeflate_compressor *compressor) {
    for (enum backup_part i = 0; i < BACKUP_PARTS; i++) {
        const struct backup_area *area = &backup->parts[i];
        struct firmware_region *region = &restore->regions[restore->layout.n_regions];
        int r;

        if (!area->bytes)
            continue;
        r = firmware_pieces_write(&restore->pieces[i], area->offset, area->bytes, area->size, compressor);
        if (r < 0)
            return r;
        *region = (struct firmware_region) { .kind = FIRMWARE_WRITE,
                                             .offset = area->offset,
                                             .size = area->size,
                                             .pieces = restore->pieces[i].pieces,
                                             .n_pieces = restore->pieces[i].n };
        memcpy(region->md5, restore->pieces[i].md5, sizeof region->md5);
        snprintf(region->name, sizeof region->name, "%s", backup_part_word(i));
        restore->layout.n_regions++;
    }
    return 0;
}

enum wipyd_error flash_restore_prepare(struct flash_restore *ret, const struct backup *backup,
                                       uint32_t flash_bytes, struct fault *fault) {
    const struct backup_area *nvs = &backup->parts[BACKUP_NVS], *otadata = &backup->parts[BACKUP_OTADATA];
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(DEFLATE_LEVEL);
    int r;

    *ret = (struct flash_restore) { .layout = { .flash_bytes = flash_bytes, .script = "the backup" } };
    if (!compressor)
        return fault_set(fault, WIPYD_ERROR_NO_MEMORY, "preparing the backup");
    ret->layout.regions = ret->regions;
    ret->layout.nvs = (struct firmware_area) { nvs->offset, nvs->size };
    ret->layout.otadata = (struct firmware_area) { otadata->offset, otadata->size };
    r = prepare_regions(ret, backup, compressor);
    libdeflate_free_compressor(compressor);
    return r < 0 ? fault_errno(fault, r, "preparing the backup") : WIPYD_ERROR_NONE;
}

void flash_restore_deinit(struct flash_restore *restore) {
    for (int i = 0; i < BACKUP_PARTS; i++)
        firmware_pieces_deinit(&restore->pieces[i]);
    *restore = (struct flash_restore) { 0 };
}
