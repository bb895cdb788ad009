#include "daemon/firmware/partitions.h"

#include "tests/unit/test_firmware_make.h"

#define N_4MB (sizeof TABLE_4MB / sizeof *TABLE_4MB)

static void tables_with_and_without_digest_are_read(void **state) {
    (void)state;
    for (int digest = 0; digest < 2; digest++) {
        owned struct blob table = make_table(TABLE_4MB, N_4MB, digest);
        struct partitions partitions;
        const struct partition *found;

        assert_true(partitions_parse(table.bytes, table.size, &partitions));
        assert_int_equal(partitions.n, N_4MB);
        found = partitions_find(&partitions, 1, 0);
        assert_non_null(found);
        assert_string_equal(found->label, "otadata");
        assert_int_equal(found->offset, 0x1be000);
        assert_int_equal(found->size, 0x1000);
        found = partitions_find(&partitions, 0, 0x10);
        assert_non_null(found);
        assert_int_equal(found->offset, 0x1c0000);
        assert_null(partitions_find(&partitions, 0, 0x11));
    }
}

static void a_damaged_byte_is_seen_by_the_digest(void **state) {
    owned struct blob table = make_table(TABLE_4MB, N_4MB, true);
    struct partitions partitions;

    (void)state;
    for (size_t i = 0; i < 32 * N_4MB; i++) {
        table.bytes[i] ^= 4;
        assert_false(partitions_parse(table.bytes, table.size, &partitions));
        table.bytes[i] ^= 4;
    }
    table.bytes[32 * N_4MB + 16] ^= 1;
    assert_false(partitions_parse(table.bytes, table.size, &partitions));
}

static void cut_table_is_refused(void **state) {
    owned struct blob table = make_table(TABLE_4MB, N_4MB, true);
    struct partitions partitions;

    (void)state;
    for (size_t size = 0; size < 32 * (N_4MB + 1); size++)
        assert_false(partitions_parse(table.bytes, size, &partitions));
    assert_true(partitions_parse(table.bytes, 32 * (N_4MB + 1), &partitions));
}

static void other_bytes_are_no_table(void **state) {
    owned struct blob zero = blob_new(0xc00), blank = blob_new(0xc00);
    struct partitions partitions;

    (void)state;
    memset(blank.bytes, 0xff, blank.size);
    assert_false(partitions_parse(zero.bytes, zero.size, &partitions));
    assert_false(partitions_parse(blank.bytes, blank.size, &partitions));
}

static void impossible_entries_are_refused(void **state) {
    static const struct entry IMPOSSIBLE[] = {
        { "empty", 0, 0, 0x10000, 0 },
        { "wraps", 0, 0, 0xfffff000, 0x2000 },
    };
    struct partitions partitions;

    (void)state;
    for (size_t i = 0; i < sizeof IMPOSSIBLE / sizeof *IMPOSSIBLE; i++) {
        owned struct blob table = make_table(&IMPOSSIBLE[i], 1, true);

        assert_false(partitions_parse(table.bytes, table.size, &partitions));
    }
}

static void too_many_entries_are_refused(void **state) {
    struct entry entries[PARTITIONS_MAX + 1];
    struct partitions partitions;

    (void)state;
    for (size_t i = 0; i < PARTITIONS_MAX + 1; i++)
        entries[i] = (struct entry) { "sixteen letters.", 1, 2, 0x10000 * (uint32_t)i, 0x1000 };
    for (unsigned n = PARTITIONS_MAX; n <= PARTITIONS_MAX + 1; n++) {
        owned struct blob table = make_table(entries, n, false);

        assert_int_equal(partitions_parse(table.bytes, table.size, &partitions), n == PARTITIONS_MAX);
    }
    assert_string_equal(partitions.entries[0].label, "sixteen letters.");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_with_and_without_digest_are_read),
        cmocka_unit_test(a_damaged_byte_is_seen_by_the_digest),
        cmocka_unit_test(cut_table_is_refused),
        cmocka_unit_test(other_bytes_are_no_table),
        cmocka_unit_test(impossible_entries_are_refused),
        cmocka_unit_test(too_many_entries_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
