#include "daemon/firmware/layout.h"

#include <stdio.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/firmware/image.h"
#include "daemon/firmware/partitions.h"

#define SECTOR           FIRMWARE_SECTOR_BYTES
#define FLASH_BYTES_MAX  (8u * 1024u * 1024u)
#define SECTORS_MAX      (FLASH_BYTES_MAX / SECTOR)
#define BOOTLOADER_BYTES 0x7000u
#define PARTITIONS_BYTES 0x1000u /* the sector that the table has to itself */
#define IMAGE_MAGIC      0xe9

/* The file system, which users fill: at 0x380000 on 4 MB, at 0x400000 on 8 MB (facts/pycom.md 2.4, 2.7). */
#define FS_OFFSET  0x380000u
#define FS_BYTES   0x7f000u
#define FS1_OFFSET 0x400000u

enum partition_id {
    TYPE_APP = 0,
    TYPE_DATA = 1,
    SUBTYPE_FACTORY = 0,
    SUBTYPE_OTADATA = 0,
    SUBTYPE_NVS = 2,
};

enum sector_mark { SECTOR_ERASED = 1, SECTOR_WRITTEN = 2 };

struct planning {
    const struct firmware_script *script;
    const struct firmware_archive *archive;
    uint32_t flash_bytes;
    bool has_table; /* the script writes a partition table: then that one says where things are */
    struct partitions table;
    uint8_t sectors[SECTORS_MAX]; /* enum sector_mark */
    struct firmware_plan *plan;
    struct fault *fault;
};

static bool meets(uint32_t offset, uint32_t size, uint32_t other, uint32_t other_size) {
    return offset < (uint64_t)other + other_size && other < (uint64_t)offset + size;
}

static bool is_within(uint32_t offset, uint32_t size, struct firmware_area area) {
    return offset >= area.offset && (uint64_t)offset + size <= (uint64_t)area.offset + area.size;
}

static struct firmware_area area_of_partition(const struct partition *partition) {
    return partition ? (struct firmware_area) { partition->offset, partition->size }
                     : (struct firmware_area) { 0 };
}

static struct firmware_area area_of_script(const struct firmware_script *script, const char *name) {
    const struct firmware_script_area *area = firmware_script_area(script, name);

    return area ? (struct firmware_area) { area->offset, area->size } : (struct firmware_area) { 0 };
}

static const struct firmware_member *member_of(const struct planning *p, const struct firmware_op *op) {
    return firmware_archive_find(p->archive, op->member);
}

/* ---- where things are ------------------------------------------------------------------------ */

/* All members that the script names, and the partition table among them. */
static enum wipyd_error read_members(struct planning *p) {
    for (unsigned i = 0; i < p->script->n_ops; i++) {
        const struct firmware_op *op = &p->script->ops[i];
        const struct firmware_member *member;

        if (op->verb != FIRMWARE_VERB_WRITE)
            continue;
        member = member_of(p, op);
        if (!member)
            return fault_set(p->fault, WIPYD_ERROR_MEMBER_MISSING, "%s: op %u: %s is not in the package",
                             p->script->name, op->line, op->member);
        if (!member->size)
            return fault_set(p->fault, WIPYD_ERROR_SCRIPT_INVALID, "%s: op %u: %s is empty", p->script->name,
                             op->line, op->member);
        if (op->offset != PARTITION_TABLE_OFFSET)
            continue;
        if (!partitions_parse(member->bytes, member->size, &p->table))
            return fault_set(p->fault, WIPYD_ERROR_IMAGE_CORRUPT,
                             "%s: op %u: %s is not a partition table, or a damaged one", p->script->name,
                             op->line, op->member);
        p->has_table = true;
    }
    return WIPYD_ERROR_NONE;
}

/* What the script states must be what the board will find in its table. */
static enum wipyd_error compare_tables(const struct planning *p, const char *name,
                                       struct firmware_area real) {
    const struct firmware_script_area *area = firmware_script_area(p->script, name);

    if (!p->has_table || !area || !area->stated || (area->offset == real.offset && area->size == real.size))
        return WIPYD_ERROR_NONE;
    return fault_set(
        p->fault, WIPYD_ERROR_SCRIPT_INVALID,
        "%s: %s is at 0x%x (0x%x bytes), but at 0x%x (0x%x bytes) in the partition table it writes",
        p->script->name, name, area->offset, area->size, real.offset, real.size);
}

static enum wipyd_error check_area(const struct planning *p, const char *name, struct firmware_area area) {
    if ((uint64_t)area.offset + area.size > p->flash_bytes)
        return fault_set(p->fault, WIPYD_ERROR_SCRIPT_OUT_OF_RANGE,
                         "%s: partition %s, 0x%x bytes at 0x%x, ends past the flash's 0x%x bytes",
                         p->script->name, name, area.size, area.offset, p->flash_bytes);
    if (area.offset % SECTOR || area.size % SECTOR)
        return fault_set(p->fault, WIPYD_ERROR_SCRIPT_UNALIGNED,
                         "%s: partition %s, 0x%x bytes at 0x%x, is not made of whole sectors",
                         p->script->name, name, area.size, area.offset);
    return WIPYD_ERROR_NONE;
}

static enum wipyd_error find_areas(struct planning *p) {
    struct firmware_plan *plan = p->plan;
    enum wipyd_error error;

    if (p->has_table) {
        plan->nvs = area_of_partition(partitions_find(&p->table, TYPE_DATA, SUBTYPE_NVS));
        plan->otadata = area_of_partition(partitions_find(&p->table, TYPE_DATA, SUBTYPE_OTADATA));
        plan->factory = area_of_partition(partitions_find(&p->table, TYPE_APP, SUBTYPE_FACTORY));
        if (!plan->factory.size)
            return fault_set(p->fault, WIPYD_ERROR_IMAGE_CORRUPT,
                             "%s: the partition table it writes has no factory partition", p->script->name);
    } else {
        plan->nvs = area_of_script(p->script, "nvs");
        plan->otadata = area_of_script(p->script, "otadata");
        plan->factory = area_of_script(p->script, "factory");
    }
    const struct {
        const char *name;
        struct firmware_area area;
    } areas[] = { { "nvs", plan->nvs }, { "otadata", plan->otadata }, { "factory", plan->factory } };

    for (size_t i = 0; i < sizeof areas / sizeof *areas; i++) {
        error = check_area(p, areas[i].name, areas[i].area);
        if (error)
            return error;
    }
    error = compare_tables(p, "factory", plan->factory);
    if (!error)
        error = compare_tables(p, "otadata", plan->otadata);
    return error;
}

static bool meets_application(const struct planning *p, uint32_t offset, uint32_t size) {
    static const char *const NAMES[] = { "factory", "ota_0" };

    if (p->has_table) {
        for (unsigned i = 0; i < p->table.n; i++)
            if (p->table.entries[i].type == TYPE_APP &&
                meets(offset, size, p->table.entries[i].offset, p->table.entries[i].size))
                return true;
        return false;
    }
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        struct firmware_area area = area_of_script(p->script, NAMES[i]);

        if (meets(offset, size, area.offset, area.size))
            return true;
    }
    return false;
}

/* ---- what may be touched --------------------------------------------------------------------- */

/* On 8 MB the file system is at 0x400000, and since 1.20 ota_0 runs through the place that it has on 4 MB.
 * Where the new table has no application there, something else that is older may be. */
static bool meets_file_system(const struct planning *p, uint32_t offset, uint32_t size) {
    if (p->flash_bytes > FS1_OFFSET && meets(offset, size, FS1_OFFSET, p->flash_bytes - FS1_OFFSET))
        return true;
    if (!meets(offset, size, FS_OFFSET, FS_BYTES))
        return false;
    return p->flash_bytes <= FS1_OFFSET || !p->has_table || !meets_application(p, FS_OFFSET, FS_BYTES);
}

static const char CONFIG[] = "the config block at 0x3ff000", FS[] = "the file system with the user's files";

/* What must be kept and lies there, or NULL. */
static const char *find_protected(const struct planning *p, uint32_t offset, uint32_t size) {
    if (meets(offset, size, FIRMWARE_CONFIG_OFFSET, FIRMWARE_CONFIG_BYTES))
        return CONFIG;
    return meets_file_system(p, offset, size) ? FS : NULL;
}

/* By these names whatever they stand for is kept, on any flash size and whatever the script's own table makes
 * of it. */
static enum wipyd_error check_name(const struct planning *p, const struct firmware_op *op) {
    const char *kept = NULL;

    if (!strcmp(op->area, "config"))
        kept = CONFIG;
    if (!strcmp(op->area, "fs") || !strcmp(op->area, "fs1"))
        kept = FS;
    if (kept)
        return fault_set(p->fault, WIPYD_ERROR_SCRIPT_PROTECTED, "%s: op %u: \"%s\" is %s", p->script->name,
                         op->line, op->area, kept);
    return WIPYD_ERROR_NONE;
}

static enum wipyd_error check_place(const struct planning *p, const struct firmware_op *op, uint32_t size) {
    const char *what = op->verb == FIRMWARE_VERB_WRITE ? op->member : "the erase", *kept;
    /* of whole sectors, since that is what erasing touches */
    uint32_t begin = op->offset / SECTOR * SECTOR;
    uint64_t end = ((uint64_t)op->offset + size + SECTOR - 1) / SECTOR * SECTOR;

    if (end > p->flash_bytes)
        return fault_set(p->fault, WIPYD_ERROR_SCRIPT_OUT_OF_RANGE,
                         "%s: op %u: %s, 0x%x bytes at 0x%x, ends past the flash's 0x%x bytes",
                         p->script->name, op->line, what, size, op->offset, p->flash_bytes);
    kept = find_protected(p, begin, (uint32_t)(end - begin));
    if (kept)
        return fault_set(p->fault, WIPYD_ERROR_SCRIPT_PROTECTED,
                         "%s: op %u: %s, 0x%x bytes at 0x%x, meets %s", p->script->name, op->line, what, size,
                         op->offset, kept);
    if (op->offset % SECTOR)
        return fault_set(p->fault, WIPYD_ERROR_SCRIPT_UNALIGNED,
                         "%s: op %u: %s at 0x%x doesn't begin at a sector (0x%x)", p->script->name, op->line,
                         what, op->offset, SECTOR);
    if (op->verb == FIRMWARE_VERB_ERASE && size % SECTOR)
        return fault_set(p->fault, WIPYD_ERROR_SCRIPT_UNALIGNED,
                         "%s: op %u: the erase of 0x%x bytes is not one of whole sectors (0x%x)",
                         p->script->name, op->line, size, SECTOR);
    return WIPYD_ERROR_NONE;
}

struct room {
    const char *name;
    uint32_t size;
};

static void narrow_room(struct room *room, const char *name, uint32_t size) {
    if (size < room->size)
        *room = (struct room) { name, size };
}

/* The room that a write has: the area's that it names, and of every area that begins there, whether the
 * script says its name or gives the number. More would run over what the new table puts behind it. */
static struct room find_room(const struct planning *p, const struct firmware_op *op) {
    struct room room = { "the flash", UINT32_MAX };

    if (*op->area)
        narrow_room(&room, op->area, op->size);
    if (op->offset == FIRMWARE_BOOTLOADER_OFFSET)
        narrow_room(&room, "the bootloader's area", BOOTLOADER_BYTES);
    if (op->offset == PARTITION_TABLE_OFFSET)
        narrow_room(&room, "the partition table's sector", PARTITIONS_BYTES);
    if (op->offset == p->plan->factory.offset)
        narrow_room(&room, "factory", p->plan->factory.size);
    for (unsigned i = 0; i < p->table.n; i++)
        if (p->table.entries[i].offset == op->offset)
            narrow_room(&room, "its partition", p->table.entries[i].size);
    return room;
}

static bool ends_with_bin(const char *name) {
    size_t length = strlen(name);

    return length > 4 && !strcmp(name + length - 4, ".bin");
}

static bool is_image(const struct planning *p, const struct firmware_op *op,
                     const struct firmware_member *member) {
    return op->offset == FIRMWARE_BOOTLOADER_OFFSET ||
           meets_application(p, op->offset, round_up((uint32_t)member->size, SECTOR)) ||
           (member->bytes[0] == IMAGE_MAGIC && ends_with_bin(member->name));
}

/* ---- the ops --------------------------------------------------------------------------------- */

static enum wipyd_error add_write(struct planning *p, const struct firmware_op *op) {
    const struct firmware_member *member = member_of(p, op);
    uint32_t size = (uint32_t)member->size, span = round_up(size, SECTOR);
    struct room room = find_room(p, op);
    enum wipyd_error error;

    if (size > room.size)
        return fault_set(p->fault, WIPYD_ERROR_PARTITION_OVERFLOW,
                         "%s: op %u: %s (0x%x bytes) is longer than %s (0x%x)", p->script->name, op->line,
                         op->member, size, room.name, room.size);
    error = check_place(p, op, size);
    if (error)
        return error;
    for (uint32_t sector = op->offset / SECTOR; sector < (op->offset + span) / SECTOR; sector++) {
        if (p->sectors[sector] & SECTOR_WRITTEN)
            return fault_set(p->fault, WIPYD_ERROR_SCRIPT_OVERLAP,
                             "%s: op %u: %s (0x%x bytes at 0x%x) overlaps an earlier write at 0x%x",
                             p->script->name, op->line, op->member, size, op->offset, sector * SECTOR);
        p->sectors[sector] |= SECTOR_WRITTEN;
    }
    if (is_image(p, op, member)) {
        char name[FIRMWARE_MEMBER_NAME_MAX + 48];

        snprintf(name, sizeof name, "%s: op %u: %s", p->script->name, op->line, op->member);
        error = firmware_image_check(member->bytes, member->size, name, p->fault);
        if (error)
            return error;
    }
    if (op->offset == p->plan->factory.offset)
        p->plan->application = member;
    p->plan->writes[p->plan->n_writes++] = (struct firmware_plan_write) {
        .offset = op->offset,
        .size = span,
        .member = member,
        .patch_flash_bytes = op->offset == FIRMWARE_BOOTLOADER_OFFSET ? p->flash_bytes : 0,
    };
    return WIPYD_ERROR_NONE;
}

static enum wipyd_error add_erase(struct planning *p, const struct firmware_op *op) {
    enum wipyd_error error = check_place(p, op, op->size);

    if (error)
        return error;
    for (uint32_t sector = op->offset / SECTOR; sector < (op->offset + op->size) / SECTOR; sector++)
        p->sectors[sector] |= SECTOR_ERASED;
    return WIPYD_ERROR_NONE;
}

static enum wipyd_error add_ops(struct planning *p) {
    for (unsigned i = 0; i < p->script->n_ops; i++) {
        const struct firmware_op *op = &p->script->ops[i];
        enum wipyd_error error = check_name(p, op);

        if (error)
            return error;
        switch (op->verb) {
        case FIRMWARE_VERB_ERASE:
            error = add_erase(p, op);
            break;
        case FIRMWARE_VERB_WRITE:
            error = add_write(p, op);
            break;
        }
        if (error)
            return error;
    }
    if (!p->plan->application)
        return fault_set(p->fault, WIPYD_ERROR_SCRIPT_INVALID,
                         "%s: it writes no application to factory at 0x%x", p->script->name,
                         p->plan->factory.offset);
    return WIPYD_ERROR_NONE;
}

/* A board that was once updated over the air boots ota_0, the old firmware, until otadata is erased. What the
 * script itself writes there stays. */
static enum wipyd_error add_otadata(struct planning *p) {
    const struct firmware_area area = p->plan->otadata;
    const char *kept;

    if (!area.size)
        return WIPYD_ERROR_NONE;
    if (meets(area.offset, area.size, p->plan->factory.offset, p->plan->factory.size) ||
        meets(area.offset, area.size, 0, PARTITION_TABLE_OFFSET + PARTITIONS_BYTES))
        return fault_set(p->fault, WIPYD_ERROR_IMAGE_CORRUPT,
                         "%s: the partition table has otadata at 0x%x, over another area", p->script->name,
                         area.offset);
    kept = find_protected(p, area.offset, area.size);
    if (kept)
        return fault_set(p->fault, WIPYD_ERROR_SCRIPT_PROTECTED, "%s: otadata, 0x%x bytes at 0x%x, meets %s",
                         p->script->name, area.size, area.offset, kept);
    for (uint32_t sector = area.offset / SECTOR; sector < (area.offset + area.size) / SECTOR; sector++)
        p->sectors[sector] |= SECTOR_ERASED;
    return WIPYD_ERROR_NONE;
}

/* ---- what is left to erase ------------------------------------------------------------------- */

static void name_erase(const struct planning *p, struct firmware_plan_erase *erase) {
    const struct {
        const char *name;
        struct firmware_area area;
    } areas[] = {
        { "nvs", p->plan->nvs },
        { "otadata", p->plan->otadata },
        { "ota_0", p->has_table ? area_of_partition(partitions_find(&p->table, TYPE_APP, 0x10))
                                : area_of_script(p->script, "ota_0") },
    };

    for (size_t i = 0; i < sizeof areas / sizeof *areas; i++)
        if (is_within(erase->offset, erase->size, areas[i].area)) {
            strcpy(erase->name, areas[i].name);
            return;
        }
    snprintf(erase->name, sizeof erase->name, "0x%x", erase->offset);
}

/* Runs of sectors that are erased and not written: so touching erases become one, and no two regions overlap.
 */
static void collect_erases(struct planning *p) {
    struct firmware_plan *plan = p->plan;
    uint32_t n = p->flash_bytes / SECTOR;

    for (uint32_t begin = 0, end; begin < n; begin = end + 1) {
        for (end = begin; end < n && p->sectors[end] == SECTOR_ERASED; end++)
            ;
        if (end > begin) {
            struct firmware_plan_erase *erase = &plan->erases[plan->n_erases++];

            erase->offset = begin * SECTOR;
            erase->size = (end - begin) * SECTOR;
            name_erase(p, erase);
        }
    }
}

enum wipyd_error firmware_plan_make(struct firmware_plan *ret, const struct firmware_script *script,
                                    const struct firmware_archive *archive, uint32_t flash_bytes,
                                    struct fault *fault) {
    struct planning planning = {
        .script = script, .archive = archive, .flash_bytes = flash_bytes, .plan = ret, .fault = fault
    };
    enum wipyd_error error;

    *ret = (struct firmware_plan) { 0 };
    error = read_members(&planning);
    if (!error)
        error = find_areas(&planning);
    if (!error)
        error = add_ops(&planning);
    if (!error)
        error = add_otadata(&planning);
    if (!error)
        collect_erases(&planning);
    return error;
}
