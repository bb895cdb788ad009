/* A package's flashing script against members that are sound: what is planned, for both sizes of flash. */

#include "daemon/firmware/script.h"
#include "tests/fuzz/image.h"
#include "tests/fuzz/package.h"

static uint8_t *padded(const uint8_t *bytes, size_t size) {
    size_t room = round_up((uint32_t)size, FIRMWARE_SECTOR_BYTES);
    uint8_t *copy = malloc(room);

    must(copy);
    memset(copy, 0xff, room);
    memcpy(copy, bytes, size);
    return copy;
}

static void add_member(struct firmware_archive *archive, const char *name, const uint8_t *bytes,
                       size_t size) {
    struct firmware_member *member = &archive->members[archive->n++];

    snprintf(member->name, sizeof member->name, "%s", name);
    member->bytes = padded(bytes, size);
    member->size = size;
}

/* As Pycom's packages name them. */
static void make_archive(struct firmware_archive *archive) {
    static uint8_t image[0x3000], table[PARTITION_TABLE_BYTES];
    size_t size = make_image(image, 0x2f00);

    make_table(table);
    add_member(archive, "bootloader.bin", image, size);
    add_member(archive, "wipy.bin", image, size);
    add_member(archive, "appimg.bin", image, size);
    add_member(archive, "partitions.bin", table, sizeof table);
    add_member(archive, "partitions_4MB.bin", table, sizeof table);
    add_member(archive, "partitions_8MB.bin", table, sizeof table);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static struct firmware_archive archive;
    static struct firmware_script script;
    static struct firmware_plan plan;
    static const uint32_t sizes[] = { 0x400000, 0x800000 };
    struct firmware_member member = { .name = "script_4MB", .size = size };
    struct fault fault;

    if (size > FIRMWARE_SCRIPT_BYTES_MAX + 16)
        return 0;
    if (!archive.n)
        make_archive(&archive);
    member.bytes = malloc(size ? size : 1);
    must(member.bytes);
    if (size)
        memcpy(member.bytes, bytes, size);
    fault.code = WIPYD_ERROR_NONE;
    if (firmware_script_read(&script, &member, &fault)) {
        must_be_story(fault.story, sizeof fault.story);
        must(fault.code == WIPYD_ERROR_SCRIPT_INVALID || fault.code == WIPYD_ERROR_SCRIPT_UNKNOWN_OP);
        free(member.bytes);
        return 0;
    }
    free(member.bytes); /* nothing is borrowed from it */
    must(script.n_ops >= 1 && script.n_ops <= FIRMWARE_SCRIPT_OPS_MAX);
    must(script.n_areas <= FIRMWARE_SCRIPT_AREAS_MAX);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (firmware_plan_make(&plan, &script, &archive, sizes[i], &fault))
            must_be_story(fault.story, sizeof fault.story);
        else
            check_plan(&plan, sizes[i]);
    }
    return 0;
}
