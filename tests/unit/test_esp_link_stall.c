/*
 * The loop stood still: the machine was busy, or asleep. What the chip said in time, and what could not be
 * sent meanwhile, is not silence of the chip.
 */

#include <time.h>

#include "tests/unit/test_esp_link_chips.h"

enum {
    FRAME_BYTES = 24 * 1024, /* more than a pty takes at once */
    TAKEN_BYTES = 4096,      /* at once, and then nothing for 10 ms */
    FRAME_MS = 340,          /* at 921600, and what the link adds */
    LIMIT_MS = 400,
    STALL_MS = FRAME_MS + LIMIT_MS + 150,
};

static void stand_still(void) {
    const struct timespec time = { .tv_nsec = STALL_MS * 1000000L };

    nanosleep(&time, NULL);
}

static void answer_and_stand_still(struct bench *bench, const uint8_t *frame, size_t size) {
    answer_well(bench, frame, size);
    if (!bench->moment++)
        stand_still();
}

static void answer_in_time_that_is_read_late(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_and_stand_still;
    ask_register(bench, ONE, SHORT_MS);
    wait_done(bench);
    assert_value(bench, ~ONE);
    assert_int_equal(bench->n_syncs, 0);
    assert_listens(bench);
}

/* The chip takes what the wire brings, and answers what has two ends. */
static void stand_still_then_take(struct bench *bench) {
    uint8_t bytes[TAKEN_BYTES];
    ssize_t n;

    if (!bench->moment++)
        stand_still();
    n = read(bench->master, bytes, sizeof bytes);
    for (ssize_t i = 0; i < n; i++)
        bench->n_delimiters += bytes[i] == 0xc0;
    if (bench->n_delimiters == 2)
        say_reply(bench, ESP_MEM_DATA, 0);
}

static void frame_that_was_half_sent(void **state) {
    struct bench *bench = *state;
    struct esp_request request;

    ask_baud(bench, 921600);
    wait_done(bench);
    bench->body = calloc(1, FRAME_BYTES);
    esp_request_mem_data(&request, 0, bench->body, FRAME_BYTES);
    request.timeout_ms = LIMIT_MS;
    chip_is_deaf(bench);
    ask(bench, &request);
    tick_every(bench, 10, stand_still_then_take);
    wait_done(bench);
    uv_timer_stop(&bench->ticker);
    chip_listens(bench);
    assert_int_equal(bench->outcome, ESP_OK);
    assert_int_equal(bench->n_syncs, 0);
}

/* One that is really silent is told so, all the same. */
static void stand_still_once(struct bench *bench) {
    (void)bench;
    stand_still();
}

static void silence_is_silence(void **state) {
    struct bench *bench = *state;

    ask_register(bench, ONE, SHORT_MS);
    tick_once(bench, 1, stand_still_once);
    assert_true(wait_done(bench) < 5000);
    assert_int_equal(bench->outcome, ESP_LOST);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        TEST(answer_in_time_that_is_read_late),
        TEST(frame_that_was_half_sent),
        TEST(silence_is_silence),
    };

    alarm(120);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
