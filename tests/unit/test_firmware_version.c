#include "daemon/firmware/version.h"

#include "tests/unit/test_firmware_make.h"

/* facts/pycom.md 1.3, with the two sources' own constants */
static const struct {
    const char *release;
    uint32_t number;
} RELEASES[] = {
    { "1.1.2.b1", 67634305 },  { "1.8.0.b1", 71303297 },  { "1.18.0", 76546432 },
    { "1.18.0.r0", 76546432 }, { "1.18.1.r1", 76546945 }, { "1.20.0.rc13", 77594893 },
    { "1.20.2.r4", 77596036 },
};

static void known_releases_have_their_numbers(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof RELEASES / sizeof *RELEASES; i++) {
        uint32_t number;

        assert_true(firmware_release_parse(RELEASES[i].release, &number));
        assert_int_equal(number, RELEASES[i].number);
    }
}

/* The other way: a number's parts, written out again, are the release. */
static void numbers_read_back_as_releases(void **state) {
    static const char *const KINDS[] = { "a", "b", "rc", "r" };

    (void)state;
    for (size_t i = 0; i < sizeof RELEASES / sizeof *RELEASES; i++) {
        uint32_t n = RELEASES[i].number, again;
        char text[64];

        snprintf(text, sizeof text, "%u.%u.%u.%s%u", n >> 26, n >> 19 & 0x7f, n >> 9 & 0x3ff,
                 KINDS[n >> 7 & 3], n & 0x7f);
        assert_true(firmware_release_parse(text, &again));
        assert_int_equal(again, n);
        if (strlen(RELEASES[i].release) > 6)
            assert_string_equal(text, RELEASES[i].release);
    }
}

static void releases_are_ordered(void **state) {
    static const char *const ORDER[] = { "0.9.9",           "1.8.0.b1",   "1.18.0.a9", "1.18.0.b0",
                                         "1.18.0.b12",      "1.18.0.rc1", "1.18.0",    "1.18.0.r1",
                                         "1.18.1.a0",       "1.18.2.r7",  "1.20.0.a1", "1.20.0.rc0",
                                         "1.20.0.rc13",     "1.20.2.r4",  "1.20.2.r6", "2.0.0.a0",
                                         "63.127.1023.r127" };
    uint32_t last = 0;

    (void)state;
    for (size_t i = 0; i < sizeof ORDER / sizeof *ORDER; i++) {
        uint32_t number;

        assert_true(firmware_release_parse(ORDER[i], &number));
        assert_true(number > last);
        last = number;
    }
}

static void others_are_not_guessed(void **state) {
    static const char *const OTHERS[] = {
        "",
        "1",
        "1.20",
        "1.20.1.",
        "1.20.1.r",
        "1.20.1.x1",
        "1.20.1.1",
        "1.20.1r1",
        "v1.20.1.r1",
        " 1.20.1.r1",
        "1.20.1.r1 ",
        "1.20.1.r1.1",
        "1.20.1.r1-0.7.0",
        "1.20.1.R1",
        "1.020.1.r1",
        "1.20.1.r01",
        "64.0.0",
        "1.128.0",
        "1.0.1024",
        "1.0.0.r128",
        "-1.20.1.r1",
        "1.20.-1.r1",
        "1..1.r1",
        "1.20.1.rcc1",
        "1.20.1.rc",
        "99999999999999999999.0.0",
        "1.20.1.r1-0.7.0-vanilla-dragonfly-onewire",
    };

    (void)state;
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
        uint32_t number = 42;

        if (firmware_release_parse(OTHERS[i], &number))
            fail_msg("\"%s\" was taken for %u", OTHERS[i], number);
        assert_int_equal(number, 42);
    }
}

static void cluster_is_found_among_other_words(void **state) {
    static const char BYTES[] = "\xe9\x02 with ESP32\0x"
                                "Pycom MicroPython 1.20.1.r1 [x] on 2018-08-29; WiPy with ESP32\r\n\0"
                                "LoPy with ESP32\0no date here\0001.0.0\0"
                                "\x01" CLUSTER("WiPy", "1.20.1.r1-0.7.0-vanilla") "\0more";
    struct firmware_version version;

    (void)state;
    assert_true(firmware_version_find((const uint8_t *)BYTES, sizeof BYTES, &version));
    assert_string_equal(version.board, "WiPy");
    assert_string_equal(version.release, "1.20.1.r1-0.7.0-vanilla");
    assert_string_equal(version.git, "v1.8.6-849-b0520f1 on 2018-08-29");
    assert_memory_equal(BYTES + version.image_offset, "WiPy with ESP32", 16);
}

/* A window read off a flash may begin or end anywhere. */
static void cut_cluster_is_not_found(void **state) {
    static const char CLUSTER_BYTES[] = CLUSTER("WiPy", "1.20.1.r1");
    struct firmware_version version;

    (void)state;
    for (size_t size = 0; size < sizeof CLUSTER_BYTES; size++) {
        uint8_t *exact = malloc(size + 1); /* so that a sanitizer sees reads behind it */

        memcpy(exact, CLUSTER_BYTES, size);
        assert_false(firmware_version_find(exact, size, &version));
        free(exact);
    }
    assert_true(firmware_version_find((const uint8_t *)CLUSTER_BYTES, sizeof CLUSTER_BYTES, &version));
    assert_int_equal(version.image_offset, 0);
}

static void odd_clusters_are_refused(void **state) {
    static const struct {
        const char *bytes;
        size_t size;
    } ODD[] = {
#define ODD_CLUSTER(text) { text, sizeof text }
        ODD_CLUSTER(CLUSTER("", "1.20.1.r1")),
        ODD_CLUSTER(CLUSTER("ABoardWhoseNameIsLongerThanAnyBoard", "1.20.1.r1")),
        ODD_CLUSTER(CLUSTER("WiPy", "")),
        ODD_CLUSTER(CLUSTER("WiPy", "1.20.1 r1")),
        ODD_CLUSTER(CLUSTER("WiPy", "1.20.1\x80")),
        ODD_CLUSTER(CLUSTER("WiPy", "0123456789012345678901234567890123456789012345678901234567890123")),
        ODD_CLUSTER("WiPy with ESP32\0 on 2018-08-29\0001.18.1.r1"),
        ODD_CLUSTER("WiPy with ESP32\0v1.8.6 on 2018-8-29\0001.18.1.r1"),
        ODD_CLUSTER("WiPy with ESP32S3\0v1.8.6 on 2018-08-29\0001.18.1.r1"),
#undef ODD_CLUSTER
    };
    struct firmware_version version;

    (void)state;
    for (size_t i = 0; i < sizeof ODD / sizeof *ODD; i++)
        assert_false(firmware_version_find((const uint8_t *)ODD[i].bytes, ODD[i].size, &version));
}

static void pycoms_boards_are_known_by_name(void **state) {
    static const char *const theirs[] = { "WiPy", "LoPy", "LoPy4", "SiPy", "GPy", "FiPy" };
    static const char *const others[] = { "", "wipy", "WiPy2", "LoPy3", "WiP", "ESP32 module", "Huzzah" };

    (void)state;
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        assert_true(firmware_board_is_pycom(theirs[i]));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(firmware_board_is_pycom(others[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_releases_have_their_numbers),
        cmocka_unit_test(numbers_read_back_as_releases),
        cmocka_unit_test(releases_are_ordered),
        cmocka_unit_test(others_are_not_guessed),
        cmocka_unit_test(cluster_is_found_among_other_words),
        cmocka_unit_test(cut_cluster_is_not_found),
        cmocka_unit_test(odd_clusters_are_refused),
        cmocka_unit_test(pycoms_boards_are_known_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
