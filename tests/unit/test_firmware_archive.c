#include "daemon/firmware/archive.h"

#include "tests/unit/test_firmware_make.h"

static enum wipyd_error read_blob(struct blob blob) {
    struct firmware_archive archive;
    struct fault fault = { 0 };
    enum wipyd_error error = firmware_archive_read(&archive, blob.bytes, blob.size, "p.tar.gz", &fault);

    firmware_archive_deinit(&archive);
    assert_int_equal(fault.code, error);
    if (error)
        assert_memory_equal(fault.story, "p.tar.gz: ", 10);
    return error;
}

static struct blob make_sound(void) {
    struct packer packer;

    packer_begin(&packer);
    packer_add(&packer, "script", "[]", 2);
    packer_add(&packer, "wipy.bin", "some bytes", 10);
    packer_add(&packer, "empty", NULL, 0);
    return packer_end(&packer);
}

static void members_are_found_and_padded(void **state) {
    owned struct blob blob = make_sound();
    struct firmware_archive archive;
    struct fault fault = { 0 };
    const struct firmware_member *member;

    (void)state;
    assert_int_equal(firmware_archive_read(&archive, blob.bytes, blob.size, "p.tar.gz", &fault),
                     WIPYD_ERROR_NONE);
    assert_int_equal(archive.n, 3);
    member = firmware_archive_find(&archive, "wipy.bin");
    assert_non_null(member);
    assert_int_equal(member->size, 10);
    assert_memory_equal(member->bytes, "some bytes", 10);
    for (size_t i = 10; i < 4096; i++)
        assert_int_equal(member->bytes[i], 0xff);
    assert_int_equal(firmware_archive_find(&archive, "empty")->size, 0);
    assert_null(firmware_archive_find(&archive, "wipy"));
    firmware_archive_deinit(&archive);
}

static void cut_anywhere_is_refused(void **state) {
    owned struct blob blob = make_sound();

    (void)state;
    for (size_t size = 0; size < blob.size; size++) {
        owned struct blob cut = blob_new(size);

        memcpy(cut.bytes, blob.bytes, size);
        assert_int_equal(read_blob(cut), WIPYD_ERROR_PACKAGE_INVALID);
    }
}

/* Padding bits mean nothing, and a run of zeros can be copied from more than one place: a damaged stream may
 * still be the same data. It must never be other data. */
static void a_damaged_byte_never_gives_other_data(void **state) {
    owned struct blob blob = make_sound();
    unsigned n_refused = 0;

    (void)state;
    for (size_t i = 10; i < blob.size; i++) {
        struct firmware_archive archive;
        struct fault fault;

        blob.bytes[i] ^= 0x40;
        if (firmware_archive_read(&archive, blob.bytes, blob.size, "p.tar.gz", &fault)) {
            assert_true(fault.code == WIPYD_ERROR_PACKAGE_INVALID ||
                        fault.code == WIPYD_ERROR_PACKAGE_TOO_LARGE);
            n_refused++;
        } else {
            assert_int_equal(archive.n, 3);
            assert_string_equal(archive.members[1].name, "wipy.bin");
            assert_memory_equal(archive.members[0].bytes, "[]", 2);
            assert_memory_equal(archive.members[1].bytes, "some bytes", 10);
        }
        firmware_archive_deinit(&archive);
        blob.bytes[i] ^= 0x40;
    }
    assert_true(n_refused >= blob.size - 10 - 8);
}

static void following_bytes_are_refused(void **state) {
    owned struct blob blob = make_sound();
    owned struct blob twice = blob_new(2 * blob.size), longer = blob_new(blob.size + 1);

    (void)state;
    memcpy(twice.bytes, blob.bytes, blob.size);
    memcpy(twice.bytes + blob.size, blob.bytes, blob.size);
    memcpy(longer.bytes, blob.bytes, blob.size);
    assert_int_equal(read_blob(twice), WIPYD_ERROR_PACKAGE_INVALID);
    assert_int_equal(read_blob(longer), WIPYD_ERROR_PACKAGE_INVALID);
}

static const struct {
    const char *name;
    unsigned type;
    const char *link;
} REFUSED[] = {
    { "/etc/passwd", AE_IFREG, NULL },
    { "..", AE_IFREG, NULL },
    { "../up", AE_IFREG, NULL },
    { "./wipy2.bin", AE_IFREG, NULL },
    { "a/b", AE_IFREG, NULL },
    { "a\\b", AE_IFREG, NULL },
    { "a\nb", AE_IFREG, NULL },
    { "caf\xc3\xa9", AE_IFREG, NULL },
    { "a-name-of-more-than-sixty-three-characters-which-no-package-needs.bin", AE_IFREG, NULL },
    { "directory", AE_IFDIR, NULL },
    { "link", AE_IFLNK, "/etc/shadow" },
    { "link", AE_IFREG, "wipy.bin" },
    { "fifo", AE_IFIFO, NULL },
    { "character", AE_IFCHR, NULL },
    { "block", AE_IFBLK, NULL },
    { "wipy.bin", AE_IFREG, NULL }, /* a second one */
};

static void names_and_types_that_reach_further_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        struct packer packer;

        packer_begin(&packer);
        packer_add(&packer, "wipy.bin", "some bytes", 10);
        packer_add_entry(&packer, REFUSED[i].name, REFUSED[i].type, REFUSED[i].link, NULL, 0);

        owned struct blob blob = packer_end(&packer);

        assert_int_equal(read_blob(blob), WIPYD_ERROR_PACKAGE_INVALID);
    }
}

static void member_count_is_capped(void **state) {
    (void)state;
    for (unsigned n = FIRMWARE_MEMBERS_MAX; n <= FIRMWARE_MEMBERS_MAX + 1; n++) {
        struct packer packer;

        packer_begin(&packer);
        for (unsigned i = 0; i < n; i++) {
            char name[16];

            snprintf(name, sizeof name, "member%u", i);
            packer_add(&packer, name, name, strlen(name));
        }

        owned struct blob blob = packer_end(&packer);

        assert_int_equal(read_blob(blob),
                         n > FIRMWARE_MEMBERS_MAX ? WIPYD_ERROR_PACKAGE_TOO_LARGE : WIPYD_ERROR_NONE);
    }
}

/* Zeros, of which a small file can promise a lot. */
static void sizes_are_capped(void **state) {
    static const struct {
        size_t sizes[3];
        enum wipyd_error error;
    } CASES[] = {
        { { FIRMWARE_MEMBER_BYTES_MAX, FIRMWARE_MEMBER_BYTES_MAX, 0 }, WIPYD_ERROR_NONE },
        { { FIRMWARE_MEMBER_BYTES_MAX + 1, 0, 0 }, WIPYD_ERROR_PACKAGE_TOO_LARGE },
        { { FIRMWARE_MEMBER_BYTES_MAX, FIRMWARE_MEMBER_BYTES_MAX, 1 }, WIPYD_ERROR_PACKAGE_TOO_LARGE },
        { { FIRMWARE_MEMBER_BYTES_MAX, FIRMWARE_MEMBER_BYTES_MAX, FIRMWARE_MEMBER_BYTES_MAX },
          WIPYD_ERROR_PACKAGE_TOO_LARGE },
    };
    static const char *const NAMES[3] = { "a", "b", "c" };
    owned struct blob zeros = blob_new(FIRMWARE_MEMBER_BYTES_MAX + 1);

    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct packer packer;

        packer_begin(&packer);
        for (size_t k = 0; k < 3; k++)
            if (CASES[i].sizes[k])
                packer_add(&packer, NAMES[k], zeros.bytes, CASES[i].sizes[k]);

        owned struct blob blob = packer_end(&packer);

        assert_int_equal(read_blob(blob), CASES[i].error);
    }
}

static void other_files_are_refused(void **state) {
    static const char *const OTHERS[] = { "", "x", "<html><title>404 Not Found</title></html>",
                                          "\x1f\x8b but no more than the first two bytes of a gzip file" };

    (void)state;
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
        owned struct blob blob = blob_new(strlen(OTHERS[i]));

        memcpy(blob.bytes, OTHERS[i], blob.size);
        assert_int_equal(read_blob(blob), WIPYD_ERROR_PACKAGE_INVALID);
    }
}

static void archive_without_members_is_refused(void **state) {
    struct packer packer;

    (void)state;
    packer_begin(&packer);

    owned struct blob blob = packer_end(&packer);

    assert_int_equal(read_blob(blob), WIPYD_ERROR_PACKAGE_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_found_and_padded),
        cmocka_unit_test(cut_anywhere_is_refused),
        cmocka_unit_test(a_damaged_byte_never_gives_other_data),
        cmocka_unit_test(following_bytes_are_refused),
        cmocka_unit_test(names_and_types_that_reach_further_are_refused),
        cmocka_unit_test(member_count_is_capped),
        cmocka_unit_test(sizes_are_capped),
        cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(archive_without_members_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
