/* A serial port: opening it, its line, its bytes. See test_serial_port_end.c for its ends. */

#include "tests/unit/test_serial_port_bench.h"

/* ---- open ------------------------------------------------------------------------------------ */

static void open_makes_line_raw(void **state) {
    struct bench *bench = *state;
    struct termios2 tio;

    open_port(bench);
    tio = line_of(bench);
    assert_int_equal(tio.c_iflag, 0);
    assert_int_equal(tio.c_oflag, 0);
    assert_int_equal(tio.c_lflag, 0);
    assert_int_equal(tio.c_cflag & (CSIZE | PARENB | CSTOPB | CRTSCTS | HUPCL | CREAD | CLOCAL),
                     CS8 | CREAD | CLOCAL);
    assert_int_equal(tio.c_ospeed, 115200);
    assert_int_equal(tio.c_ispeed, 115200);
    assert_int_equal(serial_port_baud(bench->port), 115200);
    assert_int_equal(serial_port_bytes_in(bench->port), 0);
    assert_int_equal(serial_port_bytes_out(bench->port), 0);
}

static void open_throws_old_input_away(void **state) {
    struct bench *bench = *state;
    int fd = open(bench->path, O_RDWR | O_NOCTTY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(bench->master, "old\n", 4), 4);
    usleep(20000); /* a pty hands input over in a kernel worker */
    open_port(bench);
    close(fd);
    assert_int_equal(write(bench->master, "new", 3), 3);
    run_until_bytes(bench, &bench->n_in, 3);
    assert_int_equal(bench->n_in, 3);
    assert_memory_equal(bench->in, "new", 3);
}

static void open_missing_node(void **state) {
    struct bench *bench = *state;

    assert_int_equal(serial_port_open(&bench->port, &bench->loop, "/dev/no-such-tty", &events, bench),
                     -ENOENT);
    assert_int_equal(serial_port_open(&bench->port, &bench->loop, "/dev/null", &events, bench), -ENOTTY);
    assert_null(bench->port);
}

static void second_open_is_busy(void **state) {
    struct bench *bench = *state;
    struct serial_port *second = NULL;
    char holder[64];

    open_port(bench);
    assert_int_equal(serial_port_set_baud(bench->port, 250000), 0);
    assert_int_equal(serial_port_open(&second, &bench->loop, bench->path, &events, bench), -EBUSY);
    assert_null(second);
    assert_int_equal(line_of(bench).c_ospeed, 250000); /* the loser left the line alone */
    assert_false(serial_holder_find(bench->path, holder, sizeof holder));
}

static void sleep_in_pool(uv_work_t *work) {
    (void)work;
    usleep(100000);
}

/* Even while the threads have better things to do than to close it. */
static void close_lets_next_open_in_at_once(void **state) {
    struct bench *bench = *state;
    struct serial_port *first;
    uv_work_t busy[4]; /* as many as libuv has threads */

    open_port(bench);
    first = bench->port;
    for (size_t i = 0; i < sizeof busy / sizeof *busy; i++)
        assert_int_equal(uv_queue_work(&bench->loop, &busy[i], sleep_in_pool, NULL), 0);
    close_port(bench);
    open_port(bench); /* before the loop ran */
    assert_ptr_not_equal(first, bench->port);
    run_until(&bench->guard, &bench->n_closed, 1);
    bench->n_closed = 0;
    run_some_ms(&bench->guard, 20);
}

/* ---- the line -------------------------------------------------------------------------------- */

static void any_baud_is_set_and_read_back(void **state) {
    static const uint32_t rates[] = { 9600, 115200, 921600, 1234567, 74880, 4000000 };
    struct bench *bench = *state;

    open_port(bench);
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        assert_int_equal(serial_port_set_baud(bench->port, rates[i]), 0);
        assert_int_equal(serial_port_baud(bench->port), rates[i]);
        assert_int_equal(line_of(bench).c_ospeed, rates[i]);
        assert_int_equal(line_of(bench).c_ispeed, rates[i]);
    }
    assert_int_equal(serial_port_set_baud(bench->port, 0), -EINVAL);
    assert_int_equal(serial_port_baud(bench->port), 4000000);
}

static void pty_has_no_lines(void **state) {
    struct bench *bench = *state;

    open_port(bench);
    assert_false(serial_port_has_lines(bench->port));
    assert_int_equal(serial_port_set_lines(bench->port, true, false), -ENOTTY);
}

static void close_puts_termios_back(void **state) {
    struct bench *bench = *state;
    int keeper = open(bench->path, O_RDWR | O_NOCTTY | O_CLOEXEC); /* or the pty would hang up at close */
    struct termios2 before, after;

    assert_true(keeper >= 0);
    before = line_of(bench);
    before.c_cflag = (before.c_cflag & ~(tcflag_t)CBAUD) | BOTHER | PARENB | HUPCL;
    before.c_ispeed = before.c_ospeed = 31250;
    before.c_lflag |= ICANON | ECHO;
    before.c_cc[VMIN] = 7;
    assert_int_equal(ioctl(bench->master, TCSETS2, &before), 0);
    before = line_of(bench);
    open_port(bench);
    assert_int_equal(serial_port_set_baud(bench->port, 921600), 0);
    close_port(bench);
    run_until(&bench->guard, &bench->n_closed, 1);
    after = line_of(bench);
    assert_false(after.c_lflag & ECHO); /* the one thing that stays off */
    before.c_lflag &= ~(tcflag_t)ECHO;
    assert_memory_equal(&before, &after, sizeof after);
    close(keeper);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static void bytes_come_in(void **state) {
    struct bench *bench = *state;
    uint8_t *bytes = big_pattern();
    size_t sent = 0;

    open_port(bench);
    guard_start(&bench->guard, WAIT_MS);
    while (bench->n_in < BIG_BYTES && !bench->guard.late) {
        ssize_t n = write(bench->master, bytes + sent, BIG_BYTES - sent);

        if (n > 0)
            sent += (size_t)n;
        uv_run(&bench->loop, UV_RUN_NOWAIT);
    }
    guard_stop(&bench->guard);
    assert_memory_equal(bench->in, bytes, BIG_BYTES);
    assert_int_equal(serial_port_bytes_in(bench->port), BIG_BYTES);
    free(bytes);
}

static void big_write_to_slow_reader(void **state) {
    struct bench *bench = *state;
    uint8_t *bytes = big_pattern();

    open_port(bench);
    bench->board_step = 1000;
    assert_int_equal(write_port(bench, bytes, BIG_BYTES), 0);
    assert_int_equal(write_port(bench, bytes, 1), -EBUSY);
    assert_true(serial_port_bytes_out(bench->port) < BIG_BYTES); /* or this tests nothing */
    run_some_ms(&bench->guard, 20);
    assert_int_equal(bench->n_written, 0);
    uv_timer_start(&bench->board, on_board, 0, 1);
    run_until(&bench->guard, &bench->n_written, 1);
    assert_int_equal(serial_port_bytes_out(bench->port), BIG_BYTES);
    run_until_bytes(bench, &bench->n_board_in, BIG_BYTES);
    uv_timer_stop(&bench->board);
    assert_memory_equal(bench->board_in, bytes, BIG_BYTES);
    assert_int_equal(bench->n_written, 1);
    free(bytes);
}

static void write_after_write(void **state) {
    struct bench *bench = *state;

    open_port(bench);
    bench->board_step = 100;
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(write_port(bench, (const uint8_t *)"abc", 3), 0);
        assert_int_equal(bench->n_written, i);
        run_until(&bench->guard, &bench->n_written, i + 1);
    }
    assert_int_equal(write_port(bench, NULL, 0), 0);
    run_until(&bench->guard, &bench->n_written, 51);
    uv_timer_start(&bench->board, on_board, 0, 1);
    run_until_bytes(bench, &bench->n_board_in, 150);
    uv_timer_stop(&bench->board);
}

static void discard_forgets_queued_bytes(void **state) {
    struct bench *bench = *state;
    uint8_t *bytes = big_pattern();
    size_t given;

    open_port(bench);
    assert_int_equal(write_port(bench, bytes, BIG_BYTES), 0);
    given = (size_t)serial_port_bytes_out(bench->port);
    assert_true(given < BIG_BYTES);
    serial_port_discard(bench->port);
    memset(bytes, 0xee, BIG_BYTES); /* no longer borrowed */
    bench->board_step = 4096;
    uv_timer_start(&bench->board, on_board, 0, 1);
    run_until_bytes(bench, &bench->n_board_in, given);
    assert_int_equal(bench->n_written, 0);
    assert_int_equal(write_port(bench, (const uint8_t *)"next", 4), 0);
    run_until(&bench->guard, &bench->n_written, 1);
    run_until_bytes(bench, &bench->n_board_in, given + 4);
    uv_timer_stop(&bench->board);
    for (size_t i = 0; i < given; i++)
        assert_int_equal(bench->board_in[i], pattern(i));
    assert_memory_equal(bench->board_in + given, "next", 4);
    free(bytes);
}

static void discard_forgets_input_and_due_on_written(void **state) {
    struct bench *bench = *state;

    open_port(bench);
    assert_int_equal(write_port(bench, (const uint8_t *)"x", 1), 0);
    assert_int_equal(write(bench->master, "stale", 5), 5);
    usleep(20000);
    serial_port_discard(bench->port);
    assert_int_equal(write(bench->master, "fresh", 5), 5);
    run_until_bytes(bench, &bench->n_in, 5);
    assert_int_equal(bench->n_in, 5);
    assert_memory_equal(bench->in, "fresh", 5);
    assert_int_equal(bench->n_written, 0);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(open_makes_line_raw),
        moment(open_throws_old_input_away),
        moment(open_missing_node),
        moment(second_open_is_busy),
        moment(close_lets_next_open_in_at_once),
        moment(any_baud_is_set_and_read_back),
        moment(pty_has_no_lines),
        moment(close_puts_termios_back),
        moment(bytes_come_in),
        moment(big_write_to_slow_reader),
        moment(write_after_write),
        moment(discard_forgets_queued_bytes),
        moment(discard_forgets_input_and_due_on_written),
    };

    alarm(120);
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
