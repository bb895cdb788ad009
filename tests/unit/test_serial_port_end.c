/* A serial port that goes away, or is closed, at every moment. */

#include "tests/unit/test_serial_port_bench.h"

/* ---- gone ------------------------------------------------------------------------------------ */

static void gone_while_reading(void **state) {
    struct bench *bench = *state;

    open_port(bench);
    run_some_ms(&bench->guard, 5);
    close_master(bench);
    run_until(&bench->guard, &bench->n_gone, 1);
    assert_int_equal(write_port(bench, (const uint8_t *)"x", 1), -EIO);
    assert_int_equal(serial_port_set_baud(bench->port, 9600), -EIO);
    serial_port_discard(bench->port);
    run_some_ms(&bench->guard, 20);
    assert_int_equal(bench->n_gone, 1);
}

static void gone_during_write(void **state) {
    struct bench *bench = *state;
    uint8_t *bytes = big_pattern();

    open_port(bench);
    assert_int_equal(write_port(bench, bytes, BIG_BYTES), 0);
    run_some_ms(&bench->guard, 5);
    close_master(bench);
    run_until(&bench->guard, &bench->n_gone, 1);
    run_some_ms(&bench->guard, 20);
    assert_int_equal(bench->n_gone, 1);
    assert_int_equal(bench->n_written, 0);
    free(bytes);
}

/* The write itself finds out, before the loop could: not from inside the call. */
static void gone_found_by_write(void **state) {
    struct bench *bench = *state;

    open_port(bench);
    close_master(bench);
    assert_int_equal(write_port(bench, (const uint8_t *)"x", 1), 0);
    assert_int_equal(bench->n_gone, 0);
    run_until(&bench->guard, &bench->n_gone, 1);
    run_some_ms(&bench->guard, 20);
    assert_int_equal(bench->n_gone, 1);
    assert_int_equal(bench->n_written, 0);
}

/* ---- close ----------------------------------------------------------------------------------- */

static void close_in_each_callback(void **state) {
    static const enum moment moments[] = { IN_DATA, IN_WRITTEN, IN_GONE };
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
        bench->n_closed = 0;
        bench->close_in = moments[i];
        open_port(bench);
        if (moments[i] == IN_DATA)
            assert_int_equal(write(bench->master, "data", 4), 4);
        if (moments[i] == IN_WRITTEN)
            assert_int_equal(write_port(bench, (const uint8_t *)"out", 3), 0);
        if (moments[i] == IN_GONE)
            close_master(bench);
        run_until(&bench->guard, &bench->n_closed, 1);
        assert_null(bench->port);
    }
    run_some_ms(&bench->guard, 20);
    assert_int_equal(bench->n_data, 1);
    assert_int_equal(bench->n_written, 1);
    assert_int_equal(bench->n_gone, 1);
    assert_int_equal(bench->n_closed, 1);
}

/* Both callbacks are due in the turn in which the port is closed: neither comes. */
static void close_during_write_with_input_waiting(void **state) {
    struct bench *bench = *state;
    uint8_t *bytes = big_pattern();
    uint64_t started;

    open_port(bench);
    assert_int_equal(write_port(bench, bytes, BIG_BYTES), 0);
    assert_int_equal(write(bench->master, "data", 4), 4);
    started = uv_hrtime();
    close_port(bench);
    assert_true(uv_hrtime() - started < 100000000); /* doesn't drain */
    free(bytes);
    run_until(&bench->guard, &bench->n_closed, 1);
    assert_int_equal(bench->n_data + bench->n_written + bench->n_gone, 0);
}

/* Half a SYNC would spoil the next one. */
static void close_lets_a_short_write_leave_whole(void **state) {
    struct bench *bench = *state;
    uint8_t bytes[46], got[64];

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = pattern(i);
    open_port(bench);
    assert_int_equal(write_port(bench, bytes, sizeof bytes), 0);
    close_port(bench);
    run_until(&bench->guard, &bench->n_closed, 1);
    assert_int_equal(read(bench->master, got, sizeof got), sizeof bytes);
    assert_memory_equal(got, bytes, sizeof bytes);
}

/* But for what the board has as good as read: a page. */
static void close_throws_a_long_write_away(void **state) {
    struct bench *bench = *state;
    uint8_t *bytes = big_pattern();
    uint64_t taken;
    ssize_t n, sum = 0;

    open_port(bench);
    assert_int_equal(write_port(bench, bytes, BIG_BYTES), 0);
    taken = serial_port_bytes_out(bench->port);
    close_port(bench);
    run_until(&bench->guard, &bench->n_closed, 1);
    while ((n = read(bench->master, bytes, BIG_BYTES)) > 0)
        sum += n;
    free(bytes);
    assert_in_range(taken, 4096 + 1, BIG_BYTES);
    assert_in_range(sum, 0, 4096);
}

static void close_with_loss_due(void **state) {
    struct bench *bench = *state;

    open_port(bench);
    close_master(bench);
    assert_int_equal(write_port(bench, (const uint8_t *)"x", 1), 0);
    close_port(bench);
    run_until(&bench->guard, &bench->n_closed, 1);
    assert_int_equal(bench->n_gone, 0);
}

static void close_without_on_closed(void **state) {
    struct bench *bench = *state;

    open_port(bench);
    serial_port_close(bench->port, NULL, NULL);
    bench->port = NULL;
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(gone_while_reading),
        moment(gone_during_write),
        moment(gone_found_by_write),
        moment(close_in_each_callback),
        moment(close_during_write_with_input_waiting),
        moment(close_lets_a_short_write_leave_whole),
        moment(close_throws_a_long_write_away),
        moment(close_with_loss_due),
        moment(close_without_on_closed),
    };

    alarm(120);
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
