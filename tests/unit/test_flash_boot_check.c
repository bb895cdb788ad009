/* Leaving a board that can be reset by its lines: it must be made to run, whatever it had said before. */

#include "tests/unit/test_esp_link_bench.h"
#include "tests/unit/test_esp_link_lines.h"

#include "daemon/flash/phases.h"

#define APPLICATION_LOG                                                                                      \
    "ets Jun  8 2016 00:22:57\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"

/* A job that has come as far as its last phase. */
struct leaving {
    struct bench *bench;
    struct flash_job job;
    unsigned n_finished;
};

static void on_change(void *userdata, struct flash_job *job) {
    (void)userdata;
    (void)job;
}

static void on_finished(void *userdata, struct flash_job *job) {
    struct leaving *leaving = userdata;

    assert_null(job->link);
    leaving->n_finished++;
    leaving->bench->n_closed++; /* the link was the job's, and the job has closed it */
}

static const struct flash_job_events events = { .on_change = on_change, .on_finished = on_finished };

/* The bench's own link makes room for the job's. */
static struct leaving *begin_leaving(struct bench *bench) {
    struct leaving *leaving = calloc(1, sizeof *leaving);
    struct flash_job *job = &leaving->job;

    close_link(bench);
    run_until(bench, is_closed);
    bench->n_closed = 0;
    leaving->bench = bench;
    job->loop = &bench->loop;
    job->device = job->node = bench->path;
    job->events = &events;
    job->userdata = leaving;
    job->phase_since = uv_hrtime();
    job->status.state = WIPYD_JOB_STATE_RUNNING;
    job->status.phase = WIPYD_PHASE_BOOT_CHECK;
    job->reset_attempt = 1;
    job->may_reset = true;
    uv_timer_init(&bench->loop, &job->timer);
    job->timer.data = job;
    assert_int_equal(esp_link_open(&job->link, &bench->loop, bench->path, flash_job_on_port_gone, job), 0);
    chip_listens(bench);
    return leaving;
}

static bool is_log_heard(const struct bench *bench) {
    const struct leaving *leaving = (const void *)bench->body;

    return esp_link_boot_log(leaving->job.link)->verdict != BOOT_LOG_NOTHING;
}

/* What the board says before it is left, and at which rate that ends. */
static void hear(struct leaving *leaving, const char *text) {
    say_text(leaving->bench, text);
    leaving->bench->body = (void *)leaving;
    run_until(leaving->bench, is_log_heard);
    leaving->bench->body = NULL;
}

static void on_rate(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_job *job = userdata;
    struct leaving *leaving = job->userdata;

    (void)reply;
    assert_int_equal(outcome, ESP_OK);
    leaving->bench->n_done++;
}

static void set_rate(struct leaving *leaving, uint32_t baud) {
    assert_int_equal(esp_link_set_baud(leaving->job.link, baud, on_rate), 0);
    wait_done(leaving->bench);
}

/* The lines moved: EN was pulled low for long enough, and both are free again. */
static bool was_reset(void) {
    for (unsigned i = 0; i + 1 < driver.n; i++)
        if (driver.rts[i] && !driver.dtr[i] && driver.at_ms[i + 1] - driver.at_ms[i] >= 99)
            return !driver.dtr[driver.n - 1] && !driver.rts[driver.n - 1];
    return false;
}

static void leave(struct leaving *leaving) {
    driver.n = 0;
    switch (flash_enter_boot_check(&leaving->job)) {
    case STEP_WAIT:
        run_until(leaving->bench, is_closed);
        assert_int_equal(leaving->n_finished, 1);
        assert_int_equal(leaving->job.status.state, WIPYD_JOB_STATE_DONE);
        return;
    case STEP_NEXT: /* nothing had to be done: the test ends the job */
        esp_link_close(leaving->job.link, on_closed, leaving->bench);
        uv_close((uv_handle_t *)&leaving->job.timer, NULL);
        run_until(leaving->bench, is_closed);
        return;
    case STEP_AGAIN:
    case STEP_GOTO:
    case STEP_RETRY:
    case STEP_FAIL:
        fail();
    }
}

static void say_application(struct bench *bench) {
    say_text(bench, APPLICATION_LOG);
}

static void say_banner(struct bench *bench) {
    say_text(bench, "Pycom MicroPython 1.20.1.r1 [v1.11-392-g6a5f7ba] on 2019-12-12; WiPy with ESP32\r\n"
                    "Type \"help()\" for more information.\r\n>>> ");
}

static void say_application_then_banner(struct bench *bench) {
    say_application(bench);
    tick_once(bench, 900, say_banner);
}

static void say_download(struct bench *bench) {
    say_text(bench, DOWNLOAD_LOG);
}

static void boot_application(struct bench *bench) {
    tick_once(bench, 30, say_application);
}

static void boot_to_the_prompt(struct bench *bench) {
    tick_once(bench, 30, say_application_then_banner);
}

static void boot_download(struct bench *bench) {
    tick_once(bench, 30, say_download);
}

static void go(struct bench *bench) {
    chip_goes(bench);
}

static void say_application_and_go(struct bench *bench) {
    say_application(bench);
    tick_once(bench, 700, go);
}

static void boot_application_and_go(struct bench *bench) {
    tick_once(bench, 30, say_application_and_go);
}

static void stop(struct bench *bench) {
    flash_job_stop(&((struct leaving *)(void *)bench->body)->job, WIPYD_ERROR_SHUTTING_DOWN);
}

static void say_application_and_stop(struct bench *bench) {
    say_application(bench);
    tick_once(bench, 700, stop);
}

static void boot_application_and_stop(struct bench *bench) {
    tick_once(bench, 30, say_application_and_stop);
}

static void boots_after(struct bench *bench, const char *said_before, uint32_t baud) {
    struct leaving *leaving = begin_leaving(bench);

    if (said_before)
        hear(leaving, said_before);
    if (baud != 115200)
        set_rate(leaving, baud);
    driver.on_released = boot_to_the_prompt;
    leave(leaving);
    assert_true(was_reset());
    assert_string_equal(leaving->job.status.user_action, "");
    free(leaving);
}

static void board_boots_at_the_first_rate(void **state) {
    boots_after(*state, DOWNLOAD_LOG, 115200);
}

static void board_boots_after_a_higher_rate(void **state) {
    boots_after(*state, NULL, 921600);
}

/* The log of the connection, which says "waiting for download", is no proof that it waits now. */
static void old_log_of_a_download_does_not_count(void **state) {
    boots_after(*state, DOWNLOAD_LOG, 921600);
}

static void old_log_of_a_firmware_does_not_count(void **state) {
    boots_after(*state, APPLICATION_LOG, 921600);
}

static void board_that_waits_for_a_download_again(void **state) {
    struct leaving *leaving = begin_leaving(*state);

    driver.on_released = boot_download;
    leave(leaving);
    assert_true(was_reset());
    assert_non_null(strstr(leaving->job.status.user_action, "wire off G23"));
    free(leaving);
}

static void board_that_a_person_has_reset_is_left_to_the_person(void **state) {
    struct leaving *leaving = begin_leaving(*state);

    leaving->job.reset_attempt = 0;
    leave(leaving);
    assert_int_equal(driver.n, 0);
    assert_non_null(strstr(leaving->job.status.user_action, "press reset"));
    free(leaving);
}

/* The lines are there, and were used by whoever was here before. */
static void lines_that_may_not_be_used_stay(void **state) {
    struct leaving *leaving = begin_leaving(*state);

    leaving->job.may_reset = false;
    leave(leaving);
    assert_int_equal(driver.n, 0);
    assert_non_null(strstr(leaving->job.status.user_action, "press reset"));
    free(leaving);
}

static void banner_confirms_the_release(void **state) {
    struct leaving *leaving = begin_leaving(*state);
    uint64_t begin = uv_hrtime();

    driver.on_released = boot_to_the_prompt;
    leave(leaving);
    assert_string_equal(leaving->job.status.confirmed_release, "1.20.1.r1");
    assert_true(uv_hrtime() - begin < UINT64_C(3000000000)); /* not until it is quiet */
    free(leaving);
}

static void program_that_never_ends_is_not_waited_for(void **state) {
    struct leaving *leaving = begin_leaving(*state);

    driver.on_released = boot_application;
    leave(leaving);
    assert_string_equal(leaving->job.status.confirmed_release, "");
    assert_string_equal(leaving->job.status.user_action, "");
    free(leaving);
}

/* A dry run says nothing about what runs then, and need not wait for it. */
static void dry_run_does_not_wait_for_the_banner(void **state) {
    struct leaving *leaving = begin_leaving(*state);
    uint64_t begin = uv_hrtime();

    leaving->job.dry_run = true;
    driver.on_released = boot_application;
    leave(leaving);
    assert_true(uv_hrtime() - begin < UINT64_C(2000000000));
    free(leaving);
}

/* Everything was written and verified: it is no failure if the board is taken away now. */
static void unplug_before_the_banner_is_done(void **state) {
    struct leaving *leaving = begin_leaving(*state);

    fault_set(&leaving->job.status.fault, WIPYD_ERROR_VERIFY_FAILED, "a piece that went well at last");
    driver.on_released = boot_application_and_go;
    leave(leaving);
    assert_int_equal(leaving->job.status.fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(leaving->job.status.phase, WIPYD_PHASE_DONE);
    free(leaving);
}

static void stop_before_the_banner_is_done(void **state) {
    struct leaving *leaving = begin_leaving(*state);

    driver.on_released = boot_application_and_stop;
    (*(struct bench **)state)->body = (void *)leaving;
    leave(leaving);
    (*(struct bench **)state)->body = NULL;
    assert_int_equal(leaving->job.status.fault.code, WIPYD_ERROR_NONE);
    free(leaving);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_lines, tear_down_lines)
    const struct CMUnitTest tests[] = {
        TEST(board_boots_at_the_first_rate),
        TEST(board_boots_after_a_higher_rate),
        TEST(old_log_of_a_download_does_not_count),
        TEST(old_log_of_a_firmware_does_not_count),
        TEST(board_that_waits_for_a_download_again),
        TEST(board_that_a_person_has_reset_is_left_to_the_person),
        TEST(lines_that_may_not_be_used_stay),
        TEST(banner_confirms_the_release),
        TEST(program_that_never_ends_is_not_waited_for),
        TEST(dry_run_does_not_wait_for_the_banner),
        TEST(unplug_before_the_banner_is_done),
        TEST(stop_before_the_banner_is_done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
