/* A look at a port: what is said to a firmware's prompt, and what DTR and RTS do, where either is allowed. */

#include "tests/unit/test_flash_visit_bench.h"

#include "tests/unit/test_esp_link_lines.h"

/* ---- the prompt ----------------------------------------------------------------------------------- */

static void assert_confirmed(const struct bench *bench, const char *release) {
    assert_int_equal(bench->report.fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(bench->report.seen, BOARD_SEEN_FIRMWARE);
    assert_true(bench->report.is_confirmed);
    assert_string_equal(bench->report.board.board, "WiPy");
    assert_string_equal(bench->report.board.release, release);
}

static void prompt_is_not_spoken_to_unless_allowed(void **state) {
    struct bench *bench = *state;

    bench->board = PROMPT;
    visit(bench);
    assert_int_equal(bench->report.seen, BOARD_SEEN_FIRMWARE);
    assert_false(bench->report.is_confirmed);
    assert_only_syncs(bench, 3);
}

/* Whatever our SYNCs have typed in, Ctrl-B finds an empty line. */
static void idle_prompt_says_who_it_is(void **state) {
    struct bench *bench = *state;

    bench->request.may_speak = true;
    for (bench->request.syncs = 0; bench->request.syncs < 6; bench->request.syncs++) {
        bench->board = PROMPT;
        if (bench->request.syncs) { /* an earlier look has left its SYNCs there */
            bench->request.may_speak = false;
            visit(bench);
            close_and_begin_anew(bench);
            bench->request.may_speak = true;
        }
        assert_true(visit(bench) < 2500);
        assert_confirmed(bench, "1.20.2.r4");
        assert_int_equal(bench->n_syncs, bench->request.syncs);
        assert_int_equal(bench->sent[bench->n_sent - 1], 2);
        assert_int_equal(bench->n_restarts + bench->n_stops, 0);
        close_and_begin_anew(bench);
    }
}

static void endless_program_hears_one_ctrl_b(void **state) {
    struct bench *bench = *state;

    bench->board = PROGRAM;
    bench->request.may_speak = true;
    assert_true(visit(bench) < 2500);
    assert_int_equal(bench->report.seen, BOARD_SEEN_SILENT);
    assert_int_equal(bench->n_sent, 3 * SYNC_BYTES + 1);
    assert_int_equal(bench->sent[bench->n_sent - 1], 2);
    assert_int_equal(bench->n_stops, 0);
}

static void banner_that_came_by_itself_needs_no_ctrl_b(void **state) {
    struct bench *bench = *state;

    bench->request.may_speak = bench->request.may_stop_program = true;
    start_and_say(bench, ROM_BOOT BANNER ">>> ", strlen(ROM_BOOT BANNER ">>> "));
    wait_report(bench);
    assert_confirmed(bench, "1.20.2.r4");
    assert_int_equal(bench->n_sent, 0);
}

static void only_a_prompt_is_spoken_to(void **state) {
    static const char *const texts[] = { ROM_DOWNLOAD, ROM_BOOT "flash read err, 1000\r\n",
                                         "\x80\x81\x82\x83\x84", ROM_BOOT "Guru Meditation Error\r\n" };
    struct bench *bench = *state;

    bench->request.may_speak = bench->request.may_stop_program = true;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        start_and_say(bench, texts[i], strlen(texts[i]));
        wait_report(bench);
        assert_only_syncs(bench, bench->n_syncs);
        close_and_begin_anew(bench);
    }
}

static void program_is_stopped_with_consent_and_started_again(void **state) {
    struct bench *bench = *state;

    bench->board = PROGRAM;
    bench->banner = OLD_BANNER;
    bench->request.may_speak = bench->request.may_stop_program = true;
    assert_true(visit(bench) < 5000);
    assert_confirmed(bench, "1.8.0.b1"); /* by uname: the old banner has no release */
    assert_int_equal(bench->n_stops, 1);
    assert_int_equal(bench->n_restarts, 1);
    assert_int_equal(bench->board, PROGRAM);
    assert_int_equal(count_sent(bench, 3), 1);
    assert_int_equal(bench->sent[bench->n_sent - 1], 4);
}

static void old_banner_alone_confirms_no_release(void **state) {
    struct bench *bench = *state;

    bench->board = PROMPT;
    bench->banner = OLD_BANNER;
    bench->request.may_speak = true;
    visit(bench);
    assert_false(bench->report.is_confirmed);
    assert_string_equal(bench->report.board.board, "WiPy");
    assert_string_equal(bench->report.board.release, "");
}

/* No MicroPython: two times Ctrl-C, and no Ctrl-D. */
static void dumb_board_is_let_be(void **state) {
    struct bench *bench = *state;

    bench->request.may_speak = bench->request.may_stop_program = true;
    assert_true(visit(bench) < 4000);
    assert_int_equal(bench->report.seen, BOARD_SEEN_SILENT);
    assert_int_equal(bench->n_sent, 3 * SYNC_BYTES + 3);
    assert_memory_equal(bench->sent + 3 * SYNC_BYTES, "\2\3\3", 3);
}

static bool is_stopped(const struct bench *bench) {
    return bench->n_stops > 0;
}

static bool is_raw(const struct bench *bench) {
    return bench->is_raw;
}

/* At every moment after Ctrl-C: the program goes on. */
static void close_after_the_program_was_stopped(void **state) {
    static bool (*const moments[])(const struct bench *) = { is_stopped, is_raw };
    struct bench *bench = *state;

    bench->request.may_speak = bench->request.may_stop_program = true;
    bench->banner = OLD_BANNER;
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++)
        for (uint64_t ms = 0; ms <= 40; ms += 8) {
            bench->board = PROGRAM;
            bench->n_stops = bench->n_restarts = 0;
            start(bench);
            run_until(bench, moments[i]);
            pass(bench, ms);
            close_and_begin_anew(bench);
            assert_int_equal(bench->n_restarts, 1);
            assert_int_equal(bench->board, PROGRAM);
        }
}

/* ---- DTR and RTS ---------------------------------------------------------------------------------- */

static void boot(struct bench *bench) {
    bool is_download = driver.lines & TIOCM_DTR;

    if (!driver.n)
        return;
    bench->board = is_download ? ROM : PROGRAM;
    say_text(bench, is_download ? ROM_DOWNLOAD : ROM_BOOT);
}

static void boot_application(struct bench *bench) {
    bench->board = PROGRAM;
    say_text(bench, ROM_BOOT);
}

static void lines_stay_untouched_unless_allowed(void **state) {
    struct bench *bench = *state;

    bench->request.may_speak = bench->request.may_stop_program = true;
    bench->board = PROGRAM;
    visit(bench);
    assert_true(bench->report.has_lines);
    assert_false(bench->report.was_reset);
    bench->give_back = true;
    close_and_begin_anew(bench);
    assert_int_equal(driver.n, 1); /* both dropped at open */
    assert_false(driver.dtr[0] || driver.rts[0]);
}

static void board_is_reset_read_and_given_back(void **state) {
    struct bench *bench = *state;

    driver.on_released = boot;
    bench->board = PROGRAM;
    bench->request.may_reset = bench->give_back = true;
    assert_true(visit(bench) < 4000);
    assert_int_equal(bench->report.seen, BOARD_SEEN_DOWNLOAD);
    assert_true(bench->report.was_reset && bench->report.is_esp32);
    assert_string_equal(bench->report.board.release, "1.18.1.r1");
    assert_int_equal(bench->board, ROM);
    close_and_begin_anew(bench);
    assert_int_equal(bench->board, PROGRAM);
    assert_false(driver.lines & (TIOCM_DTR | TIOCM_RTS));
    bench->board = ROM; /* for the check of what was sent */
}

static void board_is_not_given_back_unless_wanted(void **state) {
    struct bench *bench = *state;

    driver.on_released = boot;
    bench->board = PROGRAM;
    bench->request.may_reset = true;
    visit(bench);
    assert_true(bench->report.was_reset);
    close_and_begin_anew(bench);
    assert_int_equal(bench->board, ROM);
}

static void banner_comes_before_a_reset(void **state) {
    struct bench *bench = *state;

    bench->board = PROMPT;
    bench->request.may_reset = bench->request.may_speak = true;
    visit(bench);
    assert_confirmed(bench, "1.20.2.r4");
    assert_false(bench->report.was_reset);
    assert_int_equal(driver.n, 1);
}

/* GPIO0 is wired to nothing: all four are tried, and what runs in the end is reported. */
static void reset_that_leads_into_the_firmware(void **state) {
    struct bench *bench = *state;

    driver.on_released = boot_application;
    bench->board = PROGRAM;
    bench->request.may_reset = true;
    assert_true(visit(bench) < 9000);
    assert_int_equal(bench->report.seen, BOARD_SEEN_FIRMWARE);
    assert_true(bench->report.was_reset);
    assert_int_equal(bench->report.resets, 4);
    assert_int_equal(bench->n_syncs, 3); /* the first ones */
}

static void reset_that_does_nothing(void **state) {
    struct bench *bench = *state;

    bench->request.may_reset = true;
    assert_true(visit(bench) < 9000);
    assert_int_equal(bench->report.seen, BOARD_SEEN_SILENT);
    assert_true(bench->report.was_reset);
    assert_only_syncs(bench, 3 + 4 * 5);
}

/* In the middle of a sequence the lines would hold the chip in reset for good. */
static void close_in_the_middle_of_a_reset(void **state) {
    struct bench *bench = *state;

    bench->request.may_reset = true;
    bench->request.syncs = 0;
    for (int i = 0; i < 16; i++) {
        driver.n = 0;
        start(bench);
        run_until(bench, is_open);
        pass(bench, 2 * LISTEN_MS + (uint64_t)i * 40);
        bench->give_back = i % 2;
        close_and_begin_anew(bench);
        assert_false(driver.lines & (TIOCM_DTR | TIOCM_RTS));
    }
}

int main(void) {
#define TEST(name)       cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_LINES(name) cmocka_unit_test_setup_teardown(name, set_up_lines, tear_down_lines)
    static const struct CMUnitTest tests[] = {
        TEST(prompt_is_not_spoken_to_unless_allowed),
        TEST(idle_prompt_says_who_it_is),
        TEST(endless_program_hears_one_ctrl_b),
        TEST(banner_that_came_by_itself_needs_no_ctrl_b),
        TEST(only_a_prompt_is_spoken_to),
        TEST(program_is_stopped_with_consent_and_started_again),
        TEST(old_banner_alone_confirms_no_release),
        TEST(dumb_board_is_let_be),
        TEST(close_after_the_program_was_stopped),
        TEST_LINES(lines_stay_untouched_unless_allowed),
        TEST_LINES(board_is_reset_read_and_given_back),
        TEST_LINES(board_is_not_given_back_unless_wanted),
        TEST_LINES(banner_comes_before_a_reset),
        TEST_LINES(reset_that_leads_into_the_firmware),
        TEST_LINES(reset_that_does_nothing),
        TEST_LINES(close_in_the_middle_of_a_reset),
    };

    alarm(200);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
