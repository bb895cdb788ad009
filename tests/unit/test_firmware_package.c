#include "daemon/firmware/package.h"

#include <stdio.h>
#include <zlib.h>

#include "daemon/firmware/pieces.h"
#include "tests/unit/test_firmware_make.h"

#define MB (1024u * 1024u)

struct file {
    const char *name, *text;
};

/* The images that scripts may name: a bootloader of 0x2040 bytes, an application, both tables, 300 plain
 * bytes. */
static struct blob pack(const struct file *scripts, size_t n, struct blob application) {
    owned struct blob bootloader = make_image(0x1ff0, true, NULL, 0, 0), data = blob_new(300);
    owned struct blob table_4mb = make_table(TABLE_4MB, sizeof TABLE_4MB / sizeof *TABLE_4MB, false);
    owned struct blob table_8mb = make_table(TABLE_8MB, sizeof TABLE_8MB / sizeof *TABLE_8MB, true);
    struct packer packer;

    packer_begin(&packer);
    for (size_t i = 0; i < n; i++)
        packer_add(&packer, scripts[i].name, scripts[i].text, strlen(scripts[i].text));
    packer_add(&packer, "wipy.bin", application.bytes, application.size);
    packer_add(&packer, "bootloader.bin", bootloader.bytes, bootloader.size);
    packer_add(&packer, "partitions_4MB.bin", table_4mb.bytes, table_4mb.size);
    packer_add(&packer, "partitions_8MB.bin", table_8mb.bytes, table_8mb.size);
    packer_add(&packer, "data", data.bytes, data.size);
    packer_add(&packer, "empty", NULL, 0);
    return packer_end(&packer);
}

static struct firmware_package *read_sound(struct blob blob) {
    struct firmware_package *package = NULL;
    struct fault fault = { 0 };
    enum wipyd_error error = firmware_package_read(&package, blob.bytes, blob.size, "p.tar.gz", &fault);

    if (error)
        fail_msg("%s: %s", wipyd_error_bus_name(error), fault.story);
    return package;
}

/* The streams of n pieces between the two ends are a zlib stream, and stand for plain. */
static void assert_stream(const struct firmware_piece *pieces, unsigned n, const uint8_t *plain) {
    size_t at = FIRMWARE_ZLIB_LEAD_BYTES, size = 0;
    uint8_t *stream, *out;
    uLongf n_out;

    for (unsigned i = 0; i < n; i++) {
        assert_ptr_equal(pieces[i].stream, pieces->stream + (at - FIRMWARE_ZLIB_LEAD_BYTES));
        at += pieces[i].stream_size;
        size += pieces[i].size;
    }
    stream = malloc(at + FIRMWARE_ZLIB_TAIL_BYTES);
    out = malloc(size);
    memcpy(stream, FIRMWARE_ZLIB_LEAD, FIRMWARE_ZLIB_LEAD_BYTES);
    memcpy(stream + FIRMWARE_ZLIB_LEAD_BYTES, pieces->stream, at - FIRMWARE_ZLIB_LEAD_BYTES);
    firmware_zlib_tail(pieces, n, stream + at);
    n_out = size;
    assert_int_equal(uncompress(out, &n_out, stream, at + FIRMWARE_ZLIB_TAIL_BYTES), Z_OK);
    assert_int_equal(n_out, size);
    assert_memory_equal(out, plain, size);
    free(stream);
    free(out);
}

/* Every run of deflated pieces is one stream. */
static void assert_runs(const struct firmware_region *region, const uint8_t *flash) {
    for (unsigned first = 0; first < region->n_pieces; first++)
        for (unsigned n = 1; first + n <= region->n_pieces && region->pieces[first + n - 1].deflated; n++)
            assert_stream(&region->pieces[first], n, flash + region->pieces[first].offset);
}

/* What a board does with the pieces, checking on the way that they are well cut. */
static struct blob apply(const struct firmware_layout *layout) {
    struct blob flash = blob_new(layout->flash_bytes);
    bool writing = false;

    assert_int_equal(layout->fault.code, WIPYD_ERROR_NONE);
    memset(flash.bytes, 0xa5, flash.size);
    for (unsigned i = 0; i < layout->n_regions; i++) {
        const struct firmware_region *region = &layout->regions[i];
        uint32_t offset = region->offset;
        uint8_t md5[EVP_MAX_MD_SIZE];

        assert_true(region->kind == FIRMWARE_WRITE || !writing); /* erases first */
        writing = region->kind == FIRMWARE_WRITE;
        for (unsigned k = 0; k < i; k++) /* no overlap */
            assert_true(region->offset >= layout->regions[k].offset + layout->regions[k].size ||
                        layout->regions[k].offset >= region->offset + region->size);
        for (unsigned k = 0; k < region->n_pieces; k++) {
            const struct firmware_piece *piece = &region->pieces[k];
            uint8_t *target = flash.bytes + piece->offset;
            assert_int_equal(piece->offset, offset);
            assert_int_equal(piece->offset % FIRMWARE_SECTOR_BYTES, 0);
            assert_int_equal(piece->size % FIRMWARE_SECTOR_BYTES, 0);
            assert_int_equal(piece->offset / FIRMWARE_PIECE_BYTES,
                             (piece->offset + piece->size - 1) / FIRMWARE_PIECE_BYTES);
            if (!writing) {
                assert_null(piece->stream);
                memset(target, 0xff, piece->size);
            } else if (piece->deflated) {
                assert_true(piece->stream_size < piece->size);
                assert_true(firmware_piece_inflate(piece, target));
                assert_stream(piece, 1, target);
            } else {
                assert_int_equal(piece->stream_size, piece->size);
                memcpy(target, piece->stream, piece->size);
            }
            assert_int_equal(EVP_Digest(target, piece->size, md5, NULL, EVP_md5(), NULL), 1);
            assert_memory_equal(md5, piece->md5, 16);
            offset += piece->size;
        }
        assert_int_equal(offset, region->offset + region->size);
        assert_runs(region, flash.bytes);
        assert_int_equal(EVP_Digest(flash.bytes + region->offset, region->size, md5, NULL, EVP_md5(), NULL),
                         1);
        assert_memory_equal(md5, region->md5, 16);
    }
    for (uint32_t i = 0; i < FIRMWARE_CONFIG_BYTES; i++)
        assert_int_equal(flash.bytes[FIRMWARE_CONFIG_OFFSET + i], 0xa5);
    return flash;
}

static void expect_region(const struct firmware_layout *layout, unsigned i, enum firmware_region_kind kind,
                          const char *name, uint32_t offset, uint32_t end) {
    assert_true(i < layout->n_regions);
    assert_int_equal(layout->regions[i].kind, kind);
    assert_string_equal(layout->regions[i].name, name);
    assert_int_equal(layout->regions[i].offset, offset);
    assert_int_equal(layout->regions[i].offset + layout->regions[i].size, end);
}

#define OBJECT_SCRIPT(mb, more)                                                                              \
    "{\"version\": \"2.1\", \"script\": [[\"w\", \"bootloader\", \"bootloader.bin\"],"                       \
    "[\"w\", \"partitions\", \"partitions_" mb ".bin\"], [\"w\", \"factory\", \"wipy.bin\"]" more "]}"

static void each_size_has_its_script(void **state) {
    static const struct file SCRIPTS[] = { { "script_4MB", OBJECT_SCRIPT("4MB", "") },
                                           { "script_8MB", OBJECT_SCRIPT("8MB", "") },
                                           { "script2", "nonsense" },
                                           { "script_8MB_enc", "nonsense" } };
    owned struct blob application = make_application(0x1ff00), blob = pack(SCRIPTS, 4, application);
    struct firmware_package *package = read_sound(blob);
    const struct firmware_layout *small = firmware_package_layout(package, 4 * MB),
                                 *large = firmware_package_layout(package, 8 * MB);

    (void)state;
    assert_null(firmware_package_layout(package, 2 * MB));
    assert_null(firmware_package_layout(package, 16 * MB));
    assert_string_equal(package->name, "p.tar.gz");
    assert_int_equal(package->bytes, blob.size);
    assert_string_equal(package->version.board, "WiPy");
    assert_string_equal(package->version.release, "1.20.1.r1");
    assert_int_equal(package->version.image_offset, 0x240);

    assert_string_equal(small->script, "script_4MB");
    assert_int_equal(small->n_regions, 4);
    expect_region(small, 0, FIRMWARE_ERASE, "otadata", 0x1be000, 0x1bf000);
    expect_region(small, 1, FIRMWARE_WRITE, "bootloader.bin", 0x1000, 0x4000);
    expect_region(small, 2, FIRMWARE_WRITE, "partitions_4MB.bin", 0x8000, 0x9000);
    expect_region(small, 3, FIRMWARE_WRITE, "wipy.bin", 0x10000, 0x30000);
    assert_int_equal(small->factory.size, 0x1ae000);

    assert_string_equal(large->script, "script_8MB");
    expect_region(large, 0, FIRMWARE_ERASE, "otadata", 0x1ff000, 0x200000);
    assert_int_equal(large->otadata.offset, 0x1ff000);
    assert_int_equal(large->nvs.offset, 0x9000);
    assert_int_equal(large->nvs.size, 0x7000);

    /* the application is prepared once, the bootloader once for each size */
    assert_ptr_equal(small->regions[3].pieces, large->regions[3].pieces);
    assert_ptr_not_equal(small->regions[1].pieces, large->regions[1].pieces);

    owned struct blob flash = apply(small), flash_8mb = apply(large);

    assert_memory_equal(flash.bytes + 0x10000, application.bytes, application.size);
    assert_int_equal(flash.bytes[0x10000 + application.size], 0xff);
    assert_int_equal(flash.bytes[0x30000], 0xa5);
    assert_int_equal(flash.bytes[0x1002] << 8 | flash.bytes[0x1003], 0x022f);
    assert_int_equal(flash_8mb.bytes[0x1002] << 8 | flash_8mb.bytes[0x1003], 0x023f);
    assert_int_equal(flash.bytes[0x10003], 0x0f); /* only the image at 0x1000 is patched */
    assert_null(firmware_package_unref(package));
}

#define HEX_WRITES                                                                                           \
    "[\"w\", \"0x1000\", \"bootloader.bin\"], [\"w\", \"0x8000\", \"partitions_4MB.bin\"],"                  \
    "[\"w\", \"0x10000\", \"wipy.bin\"]"

static void erases_leave_out_what_is_written(void **state) {
    /* the writes come first on paper, and the erases overlap each other */
    static const struct file SCRIPT = { "script",
                                        "[" HEX_WRITES ", [\"e\", \"0x1000\", \"0x40000\"],"
                                        "[\"e\", \"0x41000\", \"0x10000\"], [\"e\", \"0x50000\", \"0x3000\"],"
                                        "[\"e\", \"ota_0\"], [\"e\", \"nvs\"]]" };
    owned struct blob application = make_application(0x1ff00), blob = pack(&SCRIPT, 1, application);
    struct firmware_package *package = read_sound(blob);

    (void)state;
    for (unsigned i = 0; i < FIRMWARE_LAYOUTS; i++) {
        const struct firmware_layout *layout = &package->layouts[i];

        assert_string_equal(layout->script, "script");
        assert_int_equal(layout->n_regions, 7);
        expect_region(layout, 0, FIRMWARE_ERASE, "0x4000", 0x4000, 0x8000);
        expect_region(layout, 1, FIRMWARE_ERASE, "nvs", 0x9000, 0x10000);
        expect_region(layout, 2, FIRMWARE_ERASE, "0x30000", 0x30000, 0x53000);
        expect_region(layout, 3, FIRMWARE_ERASE, "0x1a0000", 0x1a0000, 0x320000); /* with otadata in it */
        expect_region(layout, 4, FIRMWARE_WRITE, "bootloader.bin", 0x1000, 0x4000);
        expect_region(layout, 6, FIRMWARE_WRITE, "wipy.bin", 0x10000, 0x30000);

        owned struct blob flash = apply(layout);

        assert_int_equal(flash.bytes[0x1be000], 0xff);
        assert_int_equal(flash.bytes[0x320000], 0xa5);
    }
    firmware_package_unref(package);
}

static void otadata_that_is_written_is_not_erased(void **state) {
    static const struct file SCRIPT = { "script2",
                                        OBJECT_SCRIPT("4MB", ", [\"w\", \"0x1be000\", \"data\"]") };
    owned struct blob application = make_application(0x1ff00), blob = pack(&SCRIPT, 1, application);
    struct firmware_package *package = read_sound(blob);
    const struct firmware_layout *layout = firmware_package_layout(package, 4 * MB);

    (void)state;
    assert_string_equal(layout->script, "script2");
    assert_int_equal(layout->n_regions, 4);
    expect_region(layout, 3, FIRMWARE_WRITE, "data", 0x1be000, 0x1bf000);
    firmware_package_unref(package);
}

static void incompressible_pieces_are_sent_plain(void **state) {
    static const struct file SCRIPT = { "script2", OBJECT_SCRIPT("4MB", "") };
    static const char TEXT[] = CLUSTER("WiPy", "1.20.1.r1");
    owned struct blob noise = blob_new(0x30000);
    uint64_t random = 88172645463325252u;

    (void)state;
    memcpy(noise.bytes, TEXT, sizeof TEXT);
    for (size_t i = 0x100; i < noise.size; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        noise.bytes[i] = (uint8_t)(random >> 32);
    }

    owned struct blob application = make_image(0x30100, true, (char *)noise.bytes, 0x30000, 0x40);
    owned struct blob blob = pack(&SCRIPT, 1, application);
    struct firmware_package *package = read_sound(blob);
    const struct firmware_layout *layout = firmware_package_layout(package, 8 * MB);
    owned struct blob flash = apply(layout);

    assert_int_equal(layout->regions[3].n_pieces, 4);
    assert_false(layout->regions[3].pieces[1].deflated);
    assert_true(layout->regions[3].pieces[3].deflated); /* mostly padding */
    assert_memory_equal(flash.bytes + 0x10000, application.bytes, application.size);
    firmware_package_unref(package);
}

static void a_fault_of_one_size_leaves_the_other_usable(void **state) {
    static const struct file SCRIPTS[] = { { "script_4MB", "nonsense" },
                                           { "script_8MB", OBJECT_SCRIPT("8MB", "") } };
    owned struct blob application = make_application(0x1ff00);

    (void)state;
    for (size_t first = 0; first < 2; first++) {
        owned struct blob blob = pack(SCRIPTS + first, 2 - first, application);
        struct firmware_package *package = read_sound(blob);
        const struct firmware_layout *layout = firmware_package_layout(package, 4 * MB);

        assert_int_equal(layout->fault.code, first ? WIPYD_ERROR_SCRIPT_MISSING : WIPYD_ERROR_SCRIPT_INVALID);
        assert_int_equal(layout->n_regions, 0);
        assert_int_equal(firmware_package_layout(package, 8 * MB)->fault.code, WIPYD_ERROR_NONE);
        assert_string_equal(package->version.board, "WiPy");
        firmware_package_unref(package);
    }
}

static void references_keep_a_package(void **state) {
    static const struct file SCRIPT = { "script2", OBJECT_SCRIPT("4MB", "") };
    owned struct blob application = make_application(0x1ff00), blob = pack(&SCRIPT, 1, application);
    struct firmware_package *package = read_sound(blob);

    (void)state;
    assert_ptr_equal(firmware_package_ref(package), package);
    assert_null(firmware_package_unref(package));
    assert_int_equal(package->n_refs, 1);
    assert_null(firmware_package_unref(package));
    assert_null(firmware_package_unref(NULL));
}

/* Each as the only script, hence for both sizes; on 8 MB as well unless the story begins elsewhere. */
static const struct {
    enum wipyd_error error, error_8mb;
    const char *text, *story; /* story: of 4 MB; NULL: any */
} REFUSED[] = {
#define BOTH(code) WIPYD_ERROR_##code, WIPYD_ERROR_##code
#define WITH(more) "[" HEX_WRITES ", " more "]"
#define WITH_8(more)                                                                                         \
    "[[\"w\",\"0x1000\",\"bootloader.bin\"],[\"w\",\"0x8000\",\"partitions_8MB.bin\"],"                      \
    "[\"w\",\"0x10000\",\"wipy.bin\"]," more "]"
    { BOTH(SCRIPT_PROTECTED), WITH("[\"e\", \"0x3FF000\", \"0x1000\"]"),
      "script: op 4: the erase, 0x1000 bytes at 0x3ff000, meets the config block at 0x3ff000" },
    { BOTH(SCRIPT_PROTECTED), WITH("[\"e\", \"config\"]"),
      "script: op 4: \"config\" is the config block at 0x3ff000" },
    { BOTH(SCRIPT_PROTECTED), WITH("[\"w\", \"cb\", \"data\"]"), NULL },
    { BOTH(SCRIPT_PROTECTED), WITH("[\"w\", \"0x3FF800\", \"data\"]"), NULL },
    { BOTH(SCRIPT_PROTECTED), WITH("[\"e\", \"0x37F000\", \"0x81000\"]"), NULL },
    { BOTH(SCRIPT_PROTECTED), WITH("[\"e\", \"fs\"]"),
      "script: op 4: \"fs\" is the file system with the user's files" },
    { BOTH(SCRIPT_PROTECTED), WITH("[\"e\", \"fs1\"]"), NULL },
    { BOTH(SCRIPT_PROTECTED), WITH("[\"e\", \"0x37F000\", \"0x2000\"]"),
      "script: op 4: the erase, 0x2000 bytes at 0x37f000, meets the file system with the user's files" },
    { BOTH(SCRIPT_PROTECTED), WITH("[\"w\", \"0x3FE000\", \"data\"]"), NULL },
    { WIPYD_ERROR_SCRIPT_OUT_OF_RANGE, WIPYD_ERROR_SCRIPT_PROTECTED,
      WITH("[\"e\", \"0x400000\", \"0x1000\"]"),
      "script: op 4: the erase, 0x1000 bytes at 0x400000, ends past the flash's 0x400000 bytes" },
    { WIPYD_ERROR_SCRIPT_OUT_OF_RANGE, WIPYD_ERROR_SCRIPT_PROTECTED, WITH("[\"w\", \"0x7FF000\", \"data\"]"),
      NULL },
    { WIPYD_ERROR_SCRIPT_PROTECTED, WIPYD_ERROR_NONE, WITH_8("[\"e\", \"0x380000\", \"0x1000\"]"), NULL },
    { WIPYD_ERROR_SCRIPT_PROTECTED, WIPYD_ERROR_SCRIPT_PROTECTED, WITH_8("[\"e\", \"0x3FE000\", \"0x2000\"]"),
      NULL },
    { BOTH(SCRIPT_OUT_OF_RANGE), WITH("[\"e\", \"0x800000\", \"0x1000\"]"), NULL },
    { BOTH(SCRIPT_OUT_OF_RANGE), WITH("[\"e\", \"0xFFFFF000\", \"0x2000\"]"), NULL },
    { BOTH(SCRIPT_OUT_OF_RANGE), WITH("[\"e\", \"0x9000\", \"0xFFFFFFFF\"]"), NULL },
    { BOTH(SCRIPT_OUT_OF_RANGE), WITH("[\"w\", \"0xFFFFFFFF\", \"data\"]"), NULL },
    { BOTH(SCRIPT_UNALIGNED), WITH("[\"e\", \"0x9800\", \"0x1000\"]"),
      "script: op 4: the erase at 0x9800 doesn't begin at a sector (0x1000)" },
    { BOTH(SCRIPT_UNALIGNED), WITH("[\"e\", \"0x9000\", \"0x1001\"]"),
      "script: op 4: the erase of 0x1001 bytes is not one of whole sectors (0x1000)" },
    { BOTH(SCRIPT_UNALIGNED), WITH("[\"w\", \"0x370800\", \"data\"]"), NULL },
    { BOTH(SCRIPT_OVERLAP), WITH("[\"w\", \"0x2000\", \"data\"]"),
      "script: op 4: data (0x12c bytes at 0x2000) overlaps an earlier write at 0x2000" },
    { BOTH(SCRIPT_OVERLAP), WITH("[\"w\", \"0x8000\", \"partitions_4MB.bin\"]"), NULL },
    { BOTH(MEMBER_MISSING), WITH("[\"w\", \"nvs\", \"nvs.bin\"]"),
      "script: op 4: nvs.bin is not in the package" },
    { BOTH(SCRIPT_INVALID), WITH("[\"w\", \"nvs\", \"empty\"]"), "script: op 4: empty is empty" },
    { BOTH(SCRIPT_INVALID), "[[\"w\", \"0x8000\", \"partitions_4MB.bin\"]]",
      "script: it writes no application to factory at 0x10000" },
    { BOTH(PARTITION_OVERFLOW),
      "{\"version\":\"2\",\"partitions\":{\"factory\":[\"0x10000\",\"0x1F000\"]},"
      "\"script\":[[\"w\",\"factory\",\"wipy.bin\"]]}",
      "script: op 1: wipy.bin (0x1ff50 bytes) is longer than factory (0x1f000)" },
    { BOTH(PARTITION_OVERFLOW), WITH("[\"w\", \"bootloader\", \"wipy.bin\"]"), NULL },
    { BOTH(PARTITION_OVERFLOW), "[[\"w\", \"0x1000\", \"wipy.bin\"]]", NULL },
    { BOTH(IMAGE_CORRUPT), "[[\"w\", \"0x1000\", \"data\"]]",
      "script: op 1: data: not an ESP32 image: it begins with 0x00, not 0xe9" },
    { BOTH(IMAGE_CORRUPT), WITH("[\"w\", \"0x1C0000\", \"data\"]"), NULL },
    { BOTH(IMAGE_CORRUPT), "[[\"w\", \"0x8000\", \"data\"]]",
      "script: op 1: data is not a partition table, or a damaged one" },
    { BOTH(PACKAGE_INVALID),
      "[[\"w\", \"0x8000\", \"partitions_4MB.bin\"], [\"w\", \"factory\", \"bootloader.bin\"]]",
      "bootloader.bin: no board and release in the image" },
    { BOTH(SCRIPT_INVALID),
      "{\"version\":\"2\",\"partitions\":{\"otadata\":[\"0x190000\",\"0x1000\"]},"
      "\"script\":[[\"w\",\"partitions\",\"partitions_4MB.bin\"],"
      "[\"w\",\"factory\",\"wipy.bin\"]]}",
      "script: otadata is at 0x190000 (0x1000 bytes), but at 0x1be000 (0x1000 bytes) in the partition table "
      "it "
      "writes" },
    { BOTH(SCRIPT_PROTECTED),
      "{\"version\":\"2\",\"partitions\":{\"otadata\":[\"0x3FF000\",\"0x1000\"]},"
      "\"script\":[[\"w\",\"factory\",\"wipy.bin\"]]}",
      NULL },
    { BOTH(IMAGE_CORRUPT),
      "{\"version\":\"2\",\"partitions\":{\"otadata\":[\"0x20000\",\"0x1000\"]},"
      "\"script\":[[\"w\",\"factory\",\"wipy.bin\"]]}",
      NULL },
#undef BOTH
#undef WITH
#undef WITH_8
};

static void scripts_that_do_harm_are_refused(void **state) {
    owned struct blob application = make_application(0x1ff00);

    (void)state;
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        /* a sound script for the other size keeps the package readable, so that each layout shows its own
         * fault */
        const struct file scripts[2][2] = {
            { { "script_4MB", REFUSED[i].text }, { "script_8MB", OBJECT_SCRIPT("8MB", "") } },
            { { "script_4MB", OBJECT_SCRIPT("4MB", "") }, { "script_8MB", REFUSED[i].text } },
        };

        for (unsigned k = 0; k < FIRMWARE_LAYOUTS; k++) {
            owned struct blob blob = pack(scripts[k], 2, application);
            struct firmware_package *package = read_sound(blob);
            const struct fault *fault = &package->layouts[k].fault;
            enum wipyd_error expected = k ? REFUSED[i].error_8mb : REFUSED[i].error;

            if (fault->code != expected)
                fail_msg("%s: %s (%s)", REFUSED[i].text, wipyd_error_bus_name(fault->code), fault->story);
            if (!k && REFUSED[i].story) {
                const char *story = REFUSED[i].story;
                char expected_story[320];

                snprintf(expected_story, sizeof expected_story, "%s%s",
                         strncmp(story, "script:", 7) ? "" : "script_4MB:",
                         strncmp(story, "script:", 7) ? story : story + 7);
                assert_string_equal(fault->story, expected_story);
            }
            firmware_package_unref(package);
        }
    }
}

static void packages_without_a_usable_layout_are_refused(void **state) {
    static const struct file SCRIPTS[] = { { "script_4MB_enc", OBJECT_SCRIPT("4MB", "") },
                                           { "script_8MB", "[[\"e\", \"all\"]]" } };
    owned struct blob application = make_application(0x1ff00);

    (void)state;
    for (size_t n = 1; n <= 2; n++) {
        owned struct blob blob = pack(SCRIPTS, n, application);
        struct firmware_package *package = NULL;
        struct fault fault = { 0 };

        assert_int_equal(firmware_package_read(&package, blob.bytes, blob.size, "p.tar.gz", &fault),
                         n == 1 ? WIPYD_ERROR_SCRIPT_MISSING : WIPYD_ERROR_SCRIPT_UNKNOWN_OP);
        assert_null(package);
        assert_string_equal(
            fault.story, n == 1 ? "neither script_4MB, script2 nor script is in the package"
                                : "script_8MB: op 1: \"all\" is the whole chip, with data that must be kept");
    }
}

static void a_damaged_application_is_refused(void **state) {
    static const struct file SCRIPT = { "script", "[" HEX_WRITES "]" };
    owned struct blob application = make_application(0x1ff00);

    (void)state;
    application.bytes[0x10000] ^= 1;

    owned struct blob blob = pack(&SCRIPT, 1, application);
    struct firmware_package *package = NULL;
    struct fault fault = { 0 };

    assert_int_equal(firmware_package_read(&package, blob.bytes, blob.size, "p.tar.gz", &fault),
                     WIPYD_ERROR_IMAGE_CORRUPT);
    assert_memory_equal(fault.story, "script: op 3: wipy.bin: the image's checksum", 44);
}

/* ---- the real ones --------------------------------------------------------------------------- */

/* False, with the reason on the terminal, where the package is absent. */
static bool read_real(const char *name, struct blob *ret) {
    const char *shared = getenv("WIPYD_SHARED");
    char path[512];
    FILE *file;

    snprintf(path, sizeof path, "%s/firmware/%s", shared ? shared : "../shared", name);
    file = fopen(path, "rb");
    if (!file) {
        print_message("SKIP: %s is not here (set WIPYD_SHARED)\n", path);
        return false;
    }
    *ret = blob_new(4 * MB);
    ret->size = fread(ret->bytes, 1, ret->size, file);
    fclose(file);
    return true;
}

/* Of a flash full of A5 after the package; computed by tests/integration/packages.py. */
static void expect_flash(const struct firmware_package *package, uint32_t flash_bytes, const char *sha256) {
    owned struct blob flash = apply(firmware_package_layout(package, flash_bytes));
    uint8_t digest[32];
    char text[65];

    sha256_of(flash.bytes, flash.size, digest);
    for (size_t i = 0; i < 32; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(text, sha256);
}

static void real_1_18_1_list_script(void **state) {
    owned struct blob blob = { 0 };

    (void)state;
    if (!read_real("WiPy-1.18.1.r1.tar.gz", &blob))
        skip();

    struct firmware_package *package = read_sound(blob);

    assert_string_equal(package->version.board, "WiPy");
    assert_string_equal(package->version.release, "1.18.1.r1");
    assert_int_equal(package->version.image_offset, 0x2b46);
    assert_true(package->version.image_offset < FIRMWARE_VERSION_WINDOW);
    for (unsigned i = 0; i < FIRMWARE_LAYOUTS; i++) {
        const struct firmware_layout *layout = &package->layouts[i];

        assert_string_equal(layout->script, "script");
        assert_int_equal(layout->n_regions, 6);
        expect_region(layout, 0, FIRMWARE_ERASE, "0x6000", 0x6000, 0x8000);
        expect_region(layout, 1, FIRMWARE_ERASE, "nvs", 0x9000, 0x10000);
        expect_region(layout, 2, FIRMWARE_ERASE, "0x13a000", 0x13a000, 0x201000);
        expect_region(layout, 3, FIRMWARE_WRITE, "bootloader.bin", 0x1000, 0x6000);
        expect_region(layout, 4, FIRMWARE_WRITE, "partitions.bin", 0x8000, 0x9000);
        expect_region(layout, 5, FIRMWARE_WRITE, "wipy.bin", 0x10000, 0x13a000);
        assert_int_equal(layout->otadata.offset, 0x190000);
        assert_int_equal(layout->factory.size, 0x180000);
    }
    expect_flash(package, 4 * MB, "adb45328ec9f1e011b6431d5e6d589fbcfbbf75b8d515bf9555ae974180e87fc");
    expect_flash(package, 8 * MB, "cef865388ae57b721149d862543ba0f51b1bc66a4b33d084757fedcb12ad2f92");
    firmware_package_unref(package);
}

static void real_1_20_1_object_scripts(void **state) {
    owned struct blob blob = { 0 };

    (void)state;
    if (!read_real("WiPy-1.20.1.r1-0.7.0.tar.gz", &blob))
        skip();

    struct firmware_package *package = read_sound(blob);
    const struct firmware_layout *small = &package->layouts[0], *large = &package->layouts[1];

    assert_string_equal(package->version.board, "WiPy");
    assert_string_equal(package->version.release, "1.20.1.r1-0.7.0-vanilla-dragonfly-onewire");
    assert_int_equal(package->version.image_offset, 0x13d0c);
    assert_string_equal(small->script, "script_4MB");
    assert_int_equal(small->n_regions, 4);
    expect_region(small, 0, FIRMWARE_ERASE, "otadata", 0x1be000, 0x1bf000);
    expect_region(small, 1, FIRMWARE_WRITE, "bootloader.bin", 0x1000, 0x7000);
    expect_region(small, 2, FIRMWARE_WRITE, "partitions_4MB.bin", 0x8000, 0x9000);
    expect_region(small, 3, FIRMWARE_WRITE, "wipy.bin", 0x10000, 0x185000);
    assert_string_equal(large->script, "script_8MB");
    assert_int_equal(large->n_regions, 4);
    expect_region(large, 0, FIRMWARE_ERASE, "otadata", 0x1ff000, 0x200000);
    expect_region(large, 2, FIRMWARE_WRITE, "partitions_8MB.bin", 0x8000, 0x9000);
    assert_ptr_equal(small->regions[3].pieces, large->regions[3].pieces);
    expect_flash(package, 4 * MB, "75bf8eb6ea57a195c0b5bcd60ceaf3f81533e2888bff76137501273d02e1beab");
    expect_flash(package, 8 * MB, "0357d1e183e8528bc77282a4dcb5e3d22cb1a1ae10e0729468fbdeb12d6d757a");
    firmware_package_unref(package);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_size_has_its_script),
        cmocka_unit_test(erases_leave_out_what_is_written),
        cmocka_unit_test(otadata_that_is_written_is_not_erased),
        cmocka_unit_test(incompressible_pieces_are_sent_plain),
        cmocka_unit_test(a_fault_of_one_size_leaves_the_other_usable),
        cmocka_unit_test(references_keep_a_package),
        cmocka_unit_test(scripts_that_do_harm_are_refused),
        cmocka_unit_test(packages_without_a_usable_layout_are_refused),
        cmocka_unit_test(a_damaged_application_is_refused),
        cmocka_unit_test(real_1_18_1_list_script),
        cmocka_unit_test(real_1_20_1_object_scripts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
