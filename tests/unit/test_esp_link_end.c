/* The ends of a link: the port is closed, or goes away, at every moment; and the lines that reset the board,
 * which the test's own ioctl() plays for the pseudo-terminal. */

#include "tests/unit/test_esp_link_bench.h"
#include "tests/unit/test_esp_link_lines.h"

/* ---- the moments -------------------------------------------------------------------------------- */

static uint64_t bytes_received(const struct bench *bench) {
    uint64_t sent, received;

    esp_link_count(bench->link, &sent, &received);
    return received;
}

static bool at_once(const struct bench *bench) {
    (void)bench;
    return true;
}

static bool chip_has_request(const struct bench *bench) {
    return bench->n_requests > 0;
}

static bool chip_has_sync(const struct bench *bench) {
    return bench->n_syncs > 0;
}

static bool log_has_reset(const struct bench *bench) {
    return esp_link_boot_log(bench->link)->resets > 0;
}

static bool link_has_bytes(const struct bench *bench) {
    return bytes_received(bench) > 0;
}

static bool lines_have_moved(const struct bench *bench) {
    (void)bench;
    return driver.n > 1;
}

static bool board_is_released(const struct bench *bench) {
    return bench->n_ticks > 0;
}

static void start_idle(struct bench *bench) {
    (void)bench;
}

static void start_sending(struct bench *bench) {
    struct esp_request request;

    chip_is_deaf(bench);
    bench->body = calloc(1, BODY_MAX);
    esp_request_data(&request, false, 0, &(struct esp_block) { .body = bench->body, .body_size = BODY_MAX },
                     0);
    ask(bench, &request);
}

static void start_awaiting(struct bench *bench) {
    ask_register(bench, 0, LONG_MS);
}

static void say_boot(struct bench *bench, const uint8_t *frame, size_t size) {
    (void)frame;
    (void)size;
    say_text(bench, DOWNLOAD_LOG);
}

static void start_draining(struct bench *bench) {
    bench->on_request = say_boot;
    ask_register(bench, 0, LONG_MS);
}

static void start_listening(struct bench *bench) {
    ask_listen(bench, LONG_MS);
}

static void start_syncing(struct bench *bench) {
    ask_sync(bench, 50, 0);
}

static void start_resyncing(struct bench *bench) {
    ask_register(bench, 0, 1);
}

static void say_one_sync(struct bench *bench, const uint8_t *frame, size_t size) {
    (void)frame;
    (void)size;
    say_syncs(bench, 1, ESP_SYNC_ROM);
}

static void start_sync_tail(struct bench *bench) {
    bench->on_request = say_one_sync;
    ask_sync(bench, 50, 0);
}

static void start_baud(struct bench *bench) {
    ask_baud(bench, 230400);
}

static void start_reset(struct bench *bench) {
    ask_reset(bench, esp_reset_to_download(1));
}

static void nothing_to_say(struct bench *bench) {
    (void)bench;
}

static void tick_soon(struct bench *bench) {
    tick_once(bench, 1, nothing_to_say);
}

static void start_reset_until_released(struct bench *bench) {
    driver.on_released = tick_soon;
    ask_reset(bench, esp_reset_to_download(1));
}

static const struct moment {
    const char *name;
    void (*start)(struct bench *bench);
    bool (*reached)(const struct bench *bench);
    enum { BUSY, AT_REST, WITH_LINES } kind;
} moments[] = {
    { "idle", start_idle, at_once, AT_REST },
    { "sending", start_sending, at_once, BUSY },
    { "awaiting", start_awaiting, chip_has_request, BUSY },
    { "draining", start_draining, log_has_reset, BUSY },
    { "listening", start_listening, at_once, BUSY },
    { "about to sync", start_syncing, at_once, BUSY },
    { "syncing", start_syncing, chip_has_sync, BUSY },
    { "syncing again", start_resyncing, chip_has_sync, BUSY },
    { "sync tail", start_sync_tail, link_has_bytes, BUSY },
    { "settling at a rate", start_baud, at_once, BUSY },
    { "about to reset", start_reset, at_once, WITH_LINES },
    { "in reset", start_reset, lines_have_moved, WITH_LINES },
    { "out of reset", start_reset_until_released, board_is_released, WITH_LINES },
};

#define N_MOMENTS (sizeof moments / sizeof *moments)

/* Runs end at each moment, on a bench of its own. */
static void at_every_moment(void (*end)(struct bench *bench, const struct moment *moment)) {
    for (size_t i = 0; i < N_MOMENTS; i++) {
        void *bench;

        (moments[i].kind == WITH_LINES ? set_up_lines : set_up)(&bench);
        moments[i].start(bench);
        run_until(bench, moments[i].reached);
        if (((struct bench *)bench)->n_done)
            fail_msg("%s was over before it was reached", moments[i].name);
        end(bench, &moments[i]);
        (moments[i].kind == WITH_LINES ? tear_down_lines : tear_down)(&bench);
    }
}

/* ---- closed ------------------------------------------------------------------------------------- */

static void end_by_close(struct bench *bench, const struct moment *moment) {
    (void)moment;
    close_link(bench);
    run_until(bench, is_closed);
    assert_int_equal(bench->n_done, 0);
    assert_int_equal(bench->n_gone, 0);
}

static void close_at_every_moment(void **state) {
    (void)state;
    at_every_moment(end_by_close);
}

static void close_from_inside_the_callback(void **state) {
    struct bench *bench = *state;

    bench->close_in_done = true;
    ask_listen(bench, 1);
    run_until(bench, is_closed);
    assert_int_equal(bench->n_done, 1);
}

static void answer_and_more(struct bench *bench, const uint8_t *frame, size_t size) {
    uint8_t out[128];
    size_t n = add_reply(out, 0, frame[1], 1, NULL, 0, 0, 0);

    (void)size;
    n = add_reply(out, n, frame[1], 2, NULL, 0, 0, 0);
    say(bench, out, n);
}

static void close_from_inside_the_callback_of_a_reply(void **state) {
    struct bench *bench = *state;

    bench->close_in_done = true;
    bench->on_request = answer_and_more; /* bytes are left when the link closes */
    ask_register(bench, 0, LONG_MS);
    run_until(bench, is_closed);
    assert_int_equal(bench->n_done, 1);
}

static void close_after_loss(struct bench *bench, const struct moment *moment) {
    chip_goes(bench);
    end_by_close(bench, moment);
}

/* Nobody was told of the loss yet, and nobody is. */
static void close_right_after_the_loss(void **state) {
    (void)state;
    at_every_moment(close_after_loss);
}

/* ---- gone --------------------------------------------------------------------------------------- */

static void assert_gone(struct bench *bench) {
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_GONE);
}

static bool is_told_gone(const struct bench *bench) {
    return bench->n_gone > 0;
}

static void end_by_loss(struct bench *bench, const struct moment *moment) {
    chip_goes(bench);
    if (moment->kind == AT_REST)
        run_until(bench, is_told_gone);
    else
        assert_gone(bench);
    assert_int_equal(bench->n_gone, moment->kind == AT_REST);
    /* What is asked after that finds the port gone, whatever it is. */
    ask_register(bench, 0, LONG_MS);
    assert_gone(bench);
    ask_sync(bench, 5, LONG_MS);
    assert_gone(bench);
    ask_listen(bench, LONG_MS);
    assert_gone(bench);
    ask_baud(bench, 921600);
    assert_gone(bench);
    if (moment->kind == WITH_LINES) {
        ask_reset(bench, &esp_reset_to_application);
        assert_gone(bench);
    }
    assert_int_equal(bench->n_gone, moment->kind == AT_REST); /* once */
}

static void gone_at_every_moment(void **state) {
    (void)state;
    at_every_moment(end_by_loss);
}

static void close_from_inside_on_gone(void **state) {
    struct bench *bench = *state;

    bench->close_in_gone = true;
    chip_goes(bench);
    run_until(bench, is_closed);
    assert_int_equal(bench->n_gone, 1);
    assert_int_equal(bench->n_done, 0);
}

/* The request is made while the loss is known to the kernel only. */
static void request_right_after_the_loss(void **state) {
    struct bench *bench = *state;

    chip_goes(bench);
    ask_register(bench, 0, LONG_MS);
    assert_gone(bench);
    assert_int_equal(bench->n_gone, 0);
}

static void lines_that_fail_are_a_port_gone(void **state) {
    struct bench *bench = *state;

    driver.fails_at = 3;
    ask_reset(bench, esp_reset_to_download(0));
    assert_gone(bench);
    /* Then the port itself finds out: that was told. */
    chip_goes(bench);
    tick_once(bench, 30, nothing_to_say);
    run_until(bench, has_ticked);
    assert_int_equal(bench->n_gone, 0);
    assert_int_equal(bench->n_done, 0);
}

static void port_that_cannot_be_opened(void **state) {
    struct bench *bench = *state;
    struct esp_link *link = NULL;

    assert_int_equal(esp_link_open(&link, &bench->loop, "/dev/no-such-tty", on_gone, bench), -ENOENT);
    assert_int_equal(esp_link_open(&link, &bench->loop, "/dev/null", on_gone, bench), -ENOTTY);
    assert_int_equal(esp_link_open(&link, &bench->loop, bench->path, on_gone, bench), -EBUSY);
    assert_null(link);
}

/* ---- reset -------------------------------------------------------------------------------------- */

static void say_download_log(struct bench *bench) {
    say_text(bench, DOWNLOAD_LOG);
}

static void say_application_log(struct bench *bench) {
    say_text(bench,
             "ets Jun  8 2016 00:22:57\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n");
}

/* The ROM begins to talk at once; its log needs 10 to 25 ms, and an FTDI adapter keeps it for 16 more. */
static void boot_to_download(struct bench *bench) {
    tick_once(bench, 40, say_download_log);
}

static void boot_to_application(struct bench *bench) {
    tick_once(bench, 40, say_application_log);
}

static void reset_into_the_application_hears_its_log(void **state) {
    struct bench *bench = *state;

    assert_true(esp_link_has_lines(bench->link));
    driver.on_released = boot_to_application;
    ask_reset(bench, &esp_reset_to_application);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_OK);
    assert_int_equal(esp_link_boot_log(bench->link)->verdict, BOOT_LOG_FIRMWARE);
    assert_int_equal(esp_link_boot_log(bench->link)->boot_value, 0x13);
}

static void answer_syncs(struct bench *bench, const uint8_t *frame, size_t size) {
    (void)size;
    if (frame[1] == ESP_SYNC)
        say_syncs(bench, 8, ESP_SYNC_ROM);
}

static void reset_into_download_hears_its_log(void **state) {
    struct bench *bench = *state;

    for (unsigned attempt = 0; attempt < 4; attempt++) {
        driver.on_released = boot_to_download;
        driver.n = 0;
        esp_link_forget_log(bench->link);
        ask_reset(bench, esp_reset_to_download(attempt));
        say_text(bench, "glitch\xf8\x80\r\n"); /* before the release: no part of the log */
        wait_done(bench);
        assert_int_equal(bench->outcome, ESP_OK);
        assert_int_equal(esp_link_boot_log(bench->link)->verdict, BOOT_LOG_DOWNLOAD);
        assert_int_equal(esp_link_boot_log(bench->link)->n_garbage, 0);
    }
    bench->on_request = answer_syncs;
    ask_sync(bench, 5, 0);
    wait_done(bench);
    assert_value(bench, ESP_SYNC_ROM);
}

/* facts 3, "DTR/RTS": EN is held low, then GPIO0 low while EN rises, and in the end both are let go. */
static void reset_sequences_do_what_the_transistors_need(void **state) {
    static const uint16_t delays[] = { 50, 550, 50, 550 };
    struct bench *bench = *state;

    for (unsigned attempt = 0; attempt < 4; attempt++) {
        int in_reset = -1, boots = -1;

        driver.n = 0;
        ask_reset(bench, esp_reset_to_download(attempt));
        wait_done(bench);
        for (int i = 0; i < (int)driver.n; i++) {
            if (driver.rts[i] && !driver.dtr[i])
                in_reset = i;
            if (driver.dtr[i] && !driver.rts[i])
                boots = i;
        }
        assert_true(in_reset >= 0 && boots > in_reset && boots + 1 < (int)driver.n);
        assert_true(driver.at_ms[in_reset + 1] - driver.at_ms[in_reset] >= 99);
        assert_true(driver.at_ms[boots + 1] - driver.at_ms[boots] >= delays[attempt] - 1u);
        assert_false(driver.dtr[driver.n - 1]);
        assert_false(driver.rts[driver.n - 1]);
    }
    assert_ptr_equal(esp_reset_to_download(4), esp_reset_to_download(0));
}

int main(void) {
#define TEST(name)       cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_LINES(name) cmocka_unit_test_setup_teardown(name, set_up_lines, tear_down_lines)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(close_at_every_moment),
        TEST(close_from_inside_the_callback),
        TEST(close_from_inside_the_callback_of_a_reply),
        cmocka_unit_test(close_right_after_the_loss),
        cmocka_unit_test(gone_at_every_moment),
        TEST(close_from_inside_on_gone),
        TEST(request_right_after_the_loss),
        TEST_LINES(lines_that_fail_are_a_port_gone),
        TEST(port_that_cannot_be_opened),
        TEST_LINES(reset_into_the_application_hears_its_log),
        TEST_LINES(reset_into_download_hears_its_log),
        TEST_LINES(reset_sequences_do_what_the_transistors_need),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
