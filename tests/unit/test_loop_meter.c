/* What the meter makes of turns that take known times. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <unistd.h>

#include "daemon/loop/meter.h"

enum { N_SHORT = 200, N_LONG = 4, LONG_MS = 20 };

struct bench {
    uv_loop_t loop;
    uv_timer_t timer;
    struct loop_meter meter;
    unsigned n;
};

/* Every 51st turn is a long one, after each of the others the loop sleeps. */
static void on_timer(uv_timer_t *timer) {
    struct bench *bench = timer->data;

    bench->n++;
    if (bench->n % (N_SHORT / N_LONG + 1) == 0)
        usleep(LONG_MS * 1000);
    if (bench->n <= N_SHORT + N_LONG) /* a turn is counted when the next one begins */
        return;
    uv_close((uv_handle_t *)timer, NULL);
    loop_meter_close(&bench->meter);
}

static void known_turns(void **unused) {
    static struct bench bench;
    uint64_t half, most;

    (void)unused;
    assert_int_equal(uv_loop_init(&bench.loop), 0);
    assert_int_equal(uv_loop_configure(&bench.loop, UV_METRICS_IDLE_TIME), 0);
    loop_meter_start(&bench.meter, &bench.loop);
    assert_int_equal(loop_meter_quantile_us(&bench.meter, 0.99), 0);
    uv_timer_init(&bench.loop, &bench.timer);
    bench.timer.data = &bench;
    uv_timer_start(&bench.timer, on_timer, 1, 1);
    uv_run(&bench.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&bench.loop), 0);

    /* Two in a hundred are long. A busy machine makes others long as well, but not half of them. */
    half = loop_meter_quantile_us(&bench.meter, 0.5);
    most = loop_meter_quantile_us(&bench.meter, 0.99);
    assert_true(bench.meter.turns > N_SHORT + N_LONG);
    assert_true(half < LONG_MS * 1000); /* 0 where a turn takes less than a microsecond */
    assert_in_range(most, LONG_MS * 1000, bench.meter.longest_us);
    assert_int_equal(loop_meter_quantile_us(&bench.meter, 1), bench.meter.longest_us);
    assert_true(bench.meter.over_10ms >= N_LONG);
}

/* The bounds of the buckets follow each other, and are no further apart than is promised. */
static void every_length(void **unused) {
    (void)unused;
    for (uint64_t us = 1; us < 2000000; us += 1 + us / 7) {
        struct loop_meter meter = { .longest_us = UINT64_MAX };
        uint64_t told;

        loop_meter_count(&meter, us);
        meter.longest_us = UINT64_MAX;
        told = loop_meter_quantile_us(&meter, 0.99);
        assert_in_range(told, us, us + us / 16);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(known_turns), cmocka_unit_test(every_length) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
