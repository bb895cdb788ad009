/* The ends of a look at a port: it is closed, or the port goes away, at every moment of every kind of it. */

#include "tests/unit/test_flash_visit_bench.h"

#include "tests/unit/test_esp_link_lines.h"

enum { STEP_MS = 19, STEPS = 15 };

static void boot(struct bench *bench) {
    bool is_download = driver.lines & TIOCM_DTR;

    bench->board = is_download ? ROM : PROMPT;
    say_text(bench, is_download ? ROM_DOWNLOAD : ROM_BOOT);
}

/* Short, so that the moments lie close to each other. */
static void prepare(struct bench *bench, enum board board) {
    bench->board = board;
    bench->request.listen_ms = 30;
    bench->request.syncs = 1;
    bench->banner = OLD_BANNER;
    bench->request.may_speak = bench->request.may_stop_program = board == PROGRAM;
    bench->request.may_reset = board == DUMB;
    driver.plays = board == DUMB;
    driver.on_released = boot;
    driver.bench = bench;
}

static void each(void (*end)(struct bench *bench, uint64_t ms)) {
    static const enum board boards[] = { DUMB, ROM, PROMPT, PROGRAM };

    for (size_t i = 0; i < sizeof boards / sizeof *boards; i++)
        for (uint64_t ms = 0; ms < STEPS * STEP_MS; ms += STEP_MS) {
            void *state;

            memset(&driver, 0, sizeof driver);
            set_up(&state);
            prepare(state, boards[i]);
            end(state, ms);
            ((struct bench *)state)->board = ROM; /* what a ROM was asked may hold any byte */
            tear_down(&state);
        }
    memset(&driver, 0, sizeof driver);
}

static void close_after(struct bench *bench, uint64_t ms) {
    start(bench);
    if (ms)
        pass(bench, ms);
    bench->give_back = ms / STEP_MS % 2;
    close_visit(bench);
    run_until(bench, is_closed);
    assert_true(bench->n_reports <= 1);
    assert_false(driver.lines & (TIOCM_DTR | TIOCM_RTS));
}

static void close_at_every_moment(void **state) {
    (void)state;
    each(close_after);
}

static void go_after(struct bench *bench, uint64_t ms) {
    start(bench);
    if (ms)
        pass(bench, ms);
    uv_timer_stop(&bench->ticker);
    board_goes(bench);
    /* One report if it had none; one more if it rested. */
    while (!bench->n_reports || bench->report.fault.code == WIPYD_ERROR_NONE) {
        bench->n_reports = 0;
        wait_report(bench);
    }
    assert_int_equal(bench->report.fault.code, WIPYD_ERROR_PORT_GONE);
    bench->n_reports = 0;
    pass(bench, 20);
    assert_int_equal(bench->n_reports, 0);
    bench->give_back = true;
}

static void gone_at_every_moment(void **state) {
    (void)state;
    each(go_after);
}

/* The port goes away while a board is being given back, or a program started again. */
static void go_while_closing(struct bench *bench, uint64_t ms) {
    start(bench);
    pass(bench, 4 * STEP_MS + ms);
    bench->give_back = true;
    close_visit(bench);
    uv_run(&bench->loop, UV_RUN_NOWAIT);
    uv_timer_stop(&bench->ticker);
    board_goes(bench);
    run_until(bench, is_closed);
}

static void gone_while_closing(void **state) {
    (void)state;
    each(go_while_closing);
}

static void close_from_inside_the_report(void **state) {
    static const enum board boards[] = { DUMB, ROM, PROMPT, PROGRAM };

    (void)state;
    for (size_t i = 0; i < sizeof boards / sizeof *boards; i++) {
        struct bench *bench;
        void *made;

        memset(&driver, 0, sizeof driver);
        set_up(&made);
        bench = made;
        prepare(bench, boards[i]);
        bench->close_in_report = bench->give_back = true;
        start(bench);
        run_until(bench, is_closed);
        assert_int_equal(bench->n_reports, 1);
        bench->board = ROM;
        tear_down(&made);
    }
    memset(&driver, 0, sizeof driver);
}

static void close_from_inside_the_report_of_a_loss(void **state) {
    struct bench *bench = *state;

    visit(bench);
    bench->n_reports = 0;
    bench->close_in_report = true;
    board_goes(bench);
    run_until(bench, is_closed);
    assert_int_equal(bench->n_reports, 1);
    assert_int_equal(bench->report.fault.code, WIPYD_ERROR_PORT_GONE);
}

static void gone_while_listened_to(void **state) {
    struct bench *bench = *state;

    visit(bench);
    listen_on(bench, UINT64_MAX);
    pass(bench, 30);
    board_goes(bench);
    wait_report(bench);
    assert_int_equal(bench->report.fault.code, WIPYD_ERROR_PORT_GONE);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_at_every_moment),      cmocka_unit_test(gone_at_every_moment),
        cmocka_unit_test(gone_while_closing),         cmocka_unit_test(close_from_inside_the_report),
        TEST(close_from_inside_the_report_of_a_loss), TEST(gone_while_listened_to),
    };

    alarm(300);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
