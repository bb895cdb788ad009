/* A serial port on a pseudo-terminal: the master is the board, the slave is what the daemon opens. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "daemon/serial/port.h"

/* The kernel's, as <asm/termbits.h> has it: that header clashes with <termios.h>, which uv.h brings along. */
struct termios2 {
    tcflag_t c_iflag, c_oflag, c_cflag, c_lflag;
    cc_t c_line, c_cc[19];
    speed_t c_ispeed, c_ospeed;
};

#ifndef BOTHER
#define BOTHER 0x1000
#endif

#define WAIT_MS   10000
#define BIG_BYTES (64 * 1024)

enum moment { NEVER, IN_DATA, IN_WRITTEN, IN_GONE };

struct bench {
    uv_loop_t loop;
    uv_timer_t guard, board;
    bool late;
    int master;
    char path[64];
    int n_fds;

    struct serial_port *port;
    bool in_call; /* a call is under way: no callback may run */
    enum moment close_in;
    unsigned n_data, n_written, n_gone, n_closed;
    uint8_t *in;
    size_t n_in;

    /* The board: takes so many bytes each millisecond. */
    size_t board_step;
    uint8_t *board_in;
    size_t n_board_in;
};

static int count_fds(void) {
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static uint8_t pattern(size_t i) {
    return (uint8_t)(i * 7 + i / 251);
}

/* ---- callbacks ------------------------------------------------------------------------------- */

static void on_closed(void *userdata) {
    struct bench *bench = userdata;

    assert_false(bench->in_call);
    bench->n_closed++;
}

static void close_port(struct bench *bench) {
    bench->in_call = true;
    serial_port_close(bench->port, on_closed, bench);
    bench->in_call = false;
    bench->port = NULL;
}

/* What holds in every callback: nobody is inside a call, and nothing comes after close. */
static void check_callback(struct bench *bench) {
    assert_false(bench->in_call);
    assert_non_null(bench->port);
    assert_int_equal(bench->n_closed, 0);
}

static void on_data(void *userdata, const uint8_t *bytes, size_t size) {
    struct bench *bench = userdata;

    check_callback(bench);
    assert_true(bench->n_in + size <= BIG_BYTES);
    assert_int_equal(bench->n_gone, 0);
    memcpy(bench->in + bench->n_in, bytes, size);
    bench->n_in += size;
    bench->n_data++;
    if (bench->close_in == IN_DATA)
        close_port(bench);
}

static void on_written(void *userdata) {
    struct bench *bench = userdata;

    check_callback(bench);
    assert_int_equal(bench->n_gone, 0);
    bench->n_written++;
    if (bench->close_in == IN_WRITTEN)
        close_port(bench);
}

static void on_gone(void *userdata) {
    struct bench *bench = userdata;

    check_callback(bench);
    bench->n_gone++;
    if (bench->close_in == IN_GONE)
        close_port(bench);
}

static const struct serial_port_events events = { on_data, on_written, on_gone };

/* ---- the bench ------------------------------------------------------------------------------- */

static void on_guard(uv_timer_t *timer) {
    struct bench *bench = timer->data;

    bench->late = true;
}

static void on_board(uv_timer_t *timer) {
    struct bench *bench = timer->data;
    ssize_t n = read(bench->master, bench->board_in + bench->n_board_in,
                     bench->board_step < BIG_BYTES - bench->n_board_in ? bench->board_step
                                                                       : BIG_BYTES - bench->n_board_in);

    if (n > 0)
        bench->n_board_in += (size_t)n;
}

/* Runs the loop until the counter is there, or fails. */
static void run_until(struct bench *bench, const unsigned *counter, unsigned value) {
    uv_timer_start(&bench->guard, on_guard, WAIT_MS, 0);
    while (*counter < value && !bench->late)
        uv_run(&bench->loop, UV_RUN_ONCE);
    uv_timer_stop(&bench->guard);
    assert_false(bench->late);
}

static void run_until_bytes(struct bench *bench, const size_t *counter, size_t value) {
    uv_timer_start(&bench->guard, on_guard, WAIT_MS, 0);
    while (*counter < value && !bench->late)
        uv_run(&bench->loop, UV_RUN_ONCE);
    uv_timer_stop(&bench->guard);
    assert_false(bench->late);
}

static void run_some_ms(struct bench *bench, uint64_t ms) {
    uv_timer_start(&bench->guard, on_guard, ms, 0);
    while (!bench->late)
        uv_run(&bench->loop, UV_RUN_ONCE);
    bench->late = false;
}

static void open_master(struct bench *bench) {
    int unlock = 0;

    bench->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    assert_true(bench->master >= 0);
    assert_int_equal(ioctl(bench->master, TIOCSPTLCK, &unlock), 0);
    assert_int_equal(ptsname_r(bench->master, bench->path, sizeof bench->path), 0);
}

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    bench->n_fds = count_fds();
    bench->in = malloc(BIG_BYTES);
    bench->board_in = malloc(BIG_BYTES);
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    uv_timer_init(&bench->loop, &bench->guard);
    uv_timer_init(&bench->loop, &bench->board);
    bench->guard.data = bench->board.data = bench;
    open_master(bench);
    *state = bench;
    return 0;
}

static void close_master(struct bench *bench) {
    close(bench->master);
    bench->master = -1;
}

/* Every test ends here: port closed, nothing left on the loop, no fd left behind. */
static int tear_down(void **state) {
    struct bench *bench = *state;

    if (bench->port) {
        close_port(bench);
        run_until(bench, &bench->n_closed, 1);
    }
    uv_close((uv_handle_t *)&bench->guard, NULL);
    uv_close((uv_handle_t *)&bench->board, NULL);
    assert_int_equal(uv_run(&bench->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    if (bench->master >= 0)
        close_master(bench);
    assert_int_equal(count_fds(), bench->n_fds);
    free(bench->in);
    free(bench->board_in);
    free(bench);
    return 0;
}

static void open_port(struct bench *bench) {
    bench->in_call = true;
    assert_int_equal(serial_port_open(&bench->port, &bench->loop, bench->path, &events, bench), 0);
    bench->in_call = false;
}

static int write_port(struct bench *bench, const uint8_t *bytes, size_t size) {
    int r;

    bench->in_call = true;
    r = serial_port_write(bench->port, bytes, size);
    bench->in_call = false;
    return r;
}

static struct termios2 line_of(const struct bench *bench) {
    struct termios2 tio;

    assert_int_equal(ioctl(bench->master, TCGETS2, &tio), 0);
    return tio;
}

static uint8_t *big_pattern(void) {
    uint8_t *bytes = malloc(BIG_BYTES);

    for (size_t i = 0; i < BIG_BYTES; i++)
        bytes[i] = pattern(i);
    return bytes;
}

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
    char holder[64], pid[32];

    open_port(bench);
    assert_int_equal(serial_port_set_baud(bench->port, 250000), 0);
    assert_int_equal(serial_port_open(&second, &bench->loop, bench->path, &events, bench), -EBUSY);
    assert_null(second);
    assert_int_equal(line_of(bench).c_ospeed, 250000); /* the loser left the line alone */
    assert_true(serial_holder_find(bench->path, holder, sizeof holder));
    snprintf(pid, sizeof pid, " (pid %d)", getpid());
    assert_non_null(strstr(holder, pid));
    assert_int_equal(strncmp(holder, "test_serial", 11), 0);
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
    run_until(bench, &bench->n_closed, 1);
    bench->n_closed = 0;
    run_some_ms(bench, 20);
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
    run_until(bench, &bench->n_closed, 1);
    after = line_of(bench);
    assert_memory_equal(&before, &after, sizeof after);
    close(keeper);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

static void bytes_come_in(void **state) {
    struct bench *bench = *state;
    uint8_t *bytes = big_pattern();
    size_t sent = 0;

    open_port(bench);
    uv_timer_start(&bench->guard, on_guard, WAIT_MS, 0);
    while (bench->n_in < BIG_BYTES && !bench->late) {
        ssize_t n = write(bench->master, bytes + sent, BIG_BYTES - sent);

        if (n > 0)
            sent += (size_t)n;
        uv_run(&bench->loop, UV_RUN_NOWAIT);
    }
    assert_false(bench->late);
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
    run_some_ms(bench, 20);
    assert_int_equal(bench->n_written, 0);
    uv_timer_start(&bench->board, on_board, 0, 1);
    run_until(bench, &bench->n_written, 1);
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
        run_until(bench, &bench->n_written, i + 1);
    }
    assert_int_equal(write_port(bench, NULL, 0), 0);
    run_until(bench, &bench->n_written, 51);
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
    run_until(bench, &bench->n_written, 1);
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

/* ---- gone ------------------------------------------------------------------------------------ */

static void gone_while_reading(void **state) {
    struct bench *bench = *state;

    open_port(bench);
    run_some_ms(bench, 5);
    close_master(bench);
    run_until(bench, &bench->n_gone, 1);
    assert_int_equal(write_port(bench, (const uint8_t *)"x", 1), -EIO);
    assert_int_equal(serial_port_set_baud(bench->port, 9600), -EIO);
    serial_port_discard(bench->port);
    run_some_ms(bench, 20);
    assert_int_equal(bench->n_gone, 1);
}

static void gone_during_write(void **state) {
    struct bench *bench = *state;
    uint8_t *bytes = big_pattern();

    open_port(bench);
    assert_int_equal(write_port(bench, bytes, BIG_BYTES), 0);
    run_some_ms(bench, 5);
    close_master(bench);
    run_until(bench, &bench->n_gone, 1);
    run_some_ms(bench, 20);
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
    run_until(bench, &bench->n_gone, 1);
    run_some_ms(bench, 20);
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
        run_until(bench, &bench->n_closed, 1);
        assert_null(bench->port);
    }
    run_some_ms(bench, 20);
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
    run_until(bench, &bench->n_closed, 1);
    assert_int_equal(bench->n_data + bench->n_written + bench->n_gone, 0);
}

static void close_with_loss_due(void **state) {
    struct bench *bench = *state;

    open_port(bench);
    close_master(bench);
    assert_int_equal(write_port(bench, (const uint8_t *)"x", 1), 0);
    close_port(bench);
    run_until(bench, &bench->n_closed, 1);
    assert_int_equal(bench->n_gone, 0);
}

static void close_without_on_closed(void **state) {
    struct bench *bench = *state;

    open_port(bench);
    serial_port_close(bench->port, NULL, NULL);
    bench->port = NULL;
}

/* What libuv opens once for the process must not count as ours. */
static void nothing(uv_work_t *work) {
    (void)work;
}

static int warm_up(void **state) {
    uv_loop_t loop;
    uv_work_t work;

    (void)state;
    uv_loop_init(&loop);
    uv_queue_work(&loop, &work, nothing, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

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
        moment(gone_while_reading),
        moment(gone_during_write),
        moment(gone_found_by_write),
        moment(close_in_each_callback),
        moment(close_during_write_with_input_waiting),
        moment(close_with_loss_due),
        moment(close_without_on_closed),
    };

    alarm(120);
    return cmocka_run_group_tests(tests, warm_up, NULL);
}
