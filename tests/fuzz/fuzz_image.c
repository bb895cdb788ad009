/* ESP32 images and partition tables, and the release that an image names: as they come, and with their
 * checksums put right, so that damage is looked for behind them too. */

#include "daemon/firmware/image.h"
#include "daemon/firmware/package.h"
#include "daemon/firmware/version.h"
#include "tests/fuzz/image.h"

static void check_image(uint8_t *bytes, size_t size, uint32_t flash_bytes) {
    static const uint8_t clocks[] = { 0x0f, 0x1f, 0x2f, 0x3f, 0x4f };
    struct fault fault;

    fault.code = WIPYD_ERROR_NONE;
    if (firmware_image_check(bytes, size, "wipy.bin", &fault)) {
        must(fault.code == WIPYD_ERROR_IMAGE_CORRUPT);
        must_be_story(fault.story, sizeof fault.story);
        return;
    }
    must(size >= IMAGE_HEADER && bytes[0] == 0xe9);
    /* What was patched is as good as it was, and patching it again changes nothing. */
    must(firmware_image_patch(bytes, size, flash_bytes));
    must(bytes[2] == 2 && memchr(clocks, bytes[3], sizeof clocks));
    must(!firmware_image_check(bytes, size, "wipy.bin", &fault));
}

static void check_version(const uint8_t *bytes, size_t size) {
    struct firmware_version version;

    if (!firmware_version_find(bytes, size, &version))
        return;
    must(version.image_offset < size);
    must(*version.board && is_printable_ascii(version.board) && !strchr(version.board, ' '));
    must(*version.release && is_printable_ascii(version.release) && !strchr(version.release, ' '));
    must(!memcmp(bytes + version.image_offset, version.board, strlen(version.board)));
}

static void check_table(const uint8_t *bytes, size_t size) {
    static struct partitions table;

    if (!partitions_parse(bytes, size, &table))
        return;
    must(table.n <= PARTITIONS_MAX);
    for (unsigned i = 0; i < table.n; i++) {
        const struct partition *entry = &table.entries[i];

        must(memchr(entry->label, 0, sizeof entry->label));
        must(partitions_find(&table, entry->type, entry->subtype));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    uint8_t *copy;
    uint8_t how;

    if (size < 2)
        return 0;
    how = *bytes++;
    copy = malloc(--size);
    must(copy);
    memcpy(copy, bytes, size);
    if (how & 1) {
        mend_image(copy, size);
        mend_table(copy, size);
    }
    check_table(copy, size);
    check_version(copy, size);
    check_image(copy, size, 0x100000u << (how >> 4) % 5u);
    free(copy);
    return 0;
}
