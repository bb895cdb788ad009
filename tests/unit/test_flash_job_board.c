/* Whole jobs: the check of the board's type, and when DTR and RTS move. */

#include "tests/unit/test_flash_job_bench.h"

#include <libdeflate.h>

/* ---- the board's type --------------------------------------------------------------------------- */

/* A package for a board, with 4 KiB to write. */
static struct {
    struct firmware_package package;
    struct firmware_pieces pieces;
    struct firmware_region region;
} made;

static void make_package(const char *board) {
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(1);
    uint8_t image[0x1000];

    memset(&made, 0, sizeof made);
    fill(image, sizeof image, 3);
    assert_int_equal(firmware_pieces_write(&made.pieces, FACTORY_AT, image, sizeof image, compressor), 0);
    libdeflate_free_compressor(compressor);
    made.region = (struct firmware_region) { .kind = FIRMWARE_WRITE,
                                             .name = "wipy.bin",
                                             .offset = FACTORY_AT,
                                             .size = sizeof image,
                                             .pieces = made.pieces.pieces,
                                             .n_pieces = made.pieces.n };
    made.package.n_refs = 1; /* the test's own */
    snprintf(made.package.version.board, sizeof made.package.version.board, "%s", board);
    snprintf(made.package.version.release, sizeof made.package.version.release, "1.20.1.r1");
    made.package.layouts[0] = (struct firmware_layout) {
        .flash_bytes = ROM_FLASH_BYTES, .script = "script_4MB", .regions = &made.region, .n_regions = 1
    };
    made.package.layouts[1].flash_bytes = 2 * ROM_FLASH_BYTES;
}

/* What is on the flash; NULL: an image that names nothing. */
static void set_app(const char *board) {
    char cluster[128];
    int n = snprintf(cluster, sizeof cluster, "%s with ESP32%cv1.8.6-849-b0520f1 on 2018-08-29%c1.18.1.r1%c",
                     board ? board : "", 0, 0, 0);

    memset(rom.flash + FACTORY_AT, 0xff, 0x4000);
    rom.flash[FACTORY_AT] = 0xe9;
    rom.flash[CLUSTER_AT - 1] = 0;
    if (board)
        memcpy(rom.flash + CLUSTER_AT, cluster, (size_t)n);
}

static enum wipyd_error flash_with(const char *package, const char *found, bool any_esp32, const char *mac) {
    struct flash_job_request request = { .kind = WIPYD_JOB_KIND_FLASH,
                                         .dry_run = true,
                                         .any_esp32 = any_esp32,
                                         .resumed_mac = mac,
                                         .package = &made.package,
                                         .backup_folder = home.folder };
    enum wipyd_error code;

    make_package(package);
    set_app(found);
    code = run_job(&request)->fault.code;
    assert_string_equal(flash_job_status(run.job)->board.board, found ? found : "");
    free_job();
    assert_int_equal(made.package.n_refs, 1);
    firmware_pieces_deinit(&made.pieces);
    return code;
}

static void type_of_the_board_is_checked(void **state) {
    static const struct {
        const char *package, *found;
        bool any_esp32;
        const char *resumed_mac;
        enum wipyd_error wanted;
    } cases[] = {
        { "WiPy", "WiPy", false, NULL, WIPYD_ERROR_NONE },
        { "LoPy4", "LoPy4", false, NULL, WIPYD_ERROR_NONE },
        { "WiPy", "LoPy", false, NULL, WIPYD_ERROR_WRONG_BOARD },
        { "WiPy", "LoPy", true, NULL, WIPYD_ERROR_WRONG_BOARD },
        { "WiPy", "Huzzah", false, NULL, WIPYD_ERROR_WRONG_BOARD },
        { "WiPy", "Huzzah", true, NULL, WIPYD_ERROR_NONE },
        { "WiPy", NULL, false, NULL, WIPYD_ERROR_NONE },
        { "LoPy", NULL, false, NULL, WIPYD_ERROR_WRONG_BOARD },
        { "LoPy", NULL, true, NULL, WIPYD_ERROR_NONE },
        { "LoPy", NULL, false, ROM_MAC, WIPYD_ERROR_NONE },
        { "LoPy", "WiPy", false, ROM_MAC, WIPYD_ERROR_WRONG_BOARD },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum wipyd_error code =
            flash_with(cases[i].package, cases[i].found, cases[i].any_esp32, cases[i].resumed_mac);

        if (code != cases[i].wanted)
            fail_msg("a package for %s, a board with %s, any %d: %s", cases[i].package,
                     cases[i].found ? cases[i].found : "nothing", cases[i].any_esp32,
                     wipyd_error_sentence(code));
    }
}

/* ---- DTR and RTS -------------------------------------------------------------------------------- */

static bool has_moved(void) {
    for (unsigned i = 0; i < driver.n; i++)
        if (driver.dtr[i] || driver.rts[i])
            return true;
    return false;
}

static void lines_stay_where_they_may_not_be_used(void **state) {
    (void)state;
    driver.n = 0;
    assert_done(restore(CONFIG_AND_NVS));
    assert_false(has_moved());
}

/* Nobody answers, so a person is asked: not even then. */
static void lines_stay_while_nobody_answers(void **state) {
    struct flash_job_request request = { .kind = WIPYD_JOB_KIND_IDENTIFY, .backup_folder = home.folder };

    (void)state;
    driver.n = 0;
    rom.is_deaf = true;
    assert_fault(run_job(&request), WIPYD_ERROR_SILENCE);
    assert_false(has_moved());
}

static void lines_move_where_they_may(void **state) {
    struct flash_job_request request = { .kind = WIPYD_JOB_KIND_IDENTIFY,
                                         .may_reset = true,
                                         .backup_folder = home.folder };

    (void)state;
    driver.n = 0;
    assert_done(run_job(&request));
    assert_true(has_moved());
    assert_false(driver.dtr[driver.n - 1] || driver.rts[driver.n - 1]);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_job, tear_down_job)
    static const struct CMUnitTest tests[] = {
        TEST(type_of_the_board_is_checked),
        TEST(lines_stay_where_they_may_not_be_used),
        TEST(lines_stay_while_nobody_answers),
        TEST(lines_move_where_they_may),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
