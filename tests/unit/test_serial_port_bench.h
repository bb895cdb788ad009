#pragma once

/* A serial port on a pseudo-terminal: the master is the board, the slave is what the daemon opens. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "daemon/serial/port.h"
#include "tests/unit/test_loop.h"

/* The kernel's, as <asm/termbits.h> has it: that header clashes with <termios.h>, which uv.h brings along. */
struct termios2 {
    tcflag_t c_iflag, c_oflag, c_cflag, c_lflag;
    cc_t c_line, c_cc[19];
    speed_t c_ispeed, c_ospeed;
};

#ifndef BOTHER
#define BOTHER 0x1000
#endif

#define BIG_BYTES (64 * 1024)

enum moment { NEVER, IN_DATA, IN_WRITTEN, IN_GONE };

struct bench {
    uv_loop_t loop;
    struct guard guard;
    uv_timer_t board;
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

static inline uint8_t pattern(size_t i) {
    return (uint8_t)(i * 7 + i / 251);
}

/* ---- callbacks ------------------------------------------------------------------------------- */

static inline void on_closed(void *userdata) {
    struct bench *bench = userdata;

    assert_false(bench->in_call);
    bench->n_closed++;
}

static inline void close_port(struct bench *bench) {
    bench->in_call = true;
    serial_port_close(bench->port, on_closed, bench);
    bench->in_call = false;
    bench->port = NULL;
}

/* What holds in every callback: nobody is inside a call, and nothing comes after close. */
static inline void check_callback(struct bench *bench) {
    assert_false(bench->in_call);
    assert_non_null(bench->port);
    assert_int_equal(bench->n_closed, 0);
}

static inline void on_data(void *userdata, const uint8_t *bytes, size_t size) {
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

static inline void on_written(void *userdata) {
    struct bench *bench = userdata;

    check_callback(bench);
    assert_int_equal(bench->n_gone, 0);
    bench->n_written++;
    if (bench->close_in == IN_WRITTEN)
        close_port(bench);
}

static inline void on_gone(void *userdata) {
    struct bench *bench = userdata;

    check_callback(bench);
    bench->n_gone++;
    if (bench->close_in == IN_GONE)
        close_port(bench);
}

static const struct serial_port_events events = { on_data, on_written, on_gone };

/* ---- the bench ------------------------------------------------------------------------------- */

static inline void on_board(uv_timer_t *timer) {
    struct bench *bench = timer->data;
    ssize_t n = read(bench->master, bench->board_in + bench->n_board_in,
                     bench->board_step < BIG_BYTES - bench->n_board_in ? bench->board_step
                                                                       : BIG_BYTES - bench->n_board_in);

    if (n > 0)
        bench->n_board_in += (size_t)n;
}

static inline void run_until_bytes(struct bench *bench, const size_t *counter, size_t value) {
    guard_start(&bench->guard, WAIT_MS);
    while (*counter < value && !bench->guard.late)
        uv_run(&bench->loop, UV_RUN_ONCE);
    guard_stop(&bench->guard);
}

static inline void open_master(struct bench *bench) {
    int unlock = 0;

    bench->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    assert_true(bench->master >= 0);
    assert_int_equal(ioctl(bench->master, TIOCSPTLCK, &unlock), 0);
    assert_int_equal(ptsname_r(bench->master, bench->path, sizeof bench->path), 0);
}

static inline int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    bench->n_fds = count_fds();
    bench->in = malloc(BIG_BYTES);
    bench->board_in = malloc(BIG_BYTES);
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    guard_init(&bench->guard, &bench->loop);
    uv_timer_init(&bench->loop, &bench->board);
    bench->board.data = bench;
    open_master(bench);
    *state = bench;
    return 0;
}

static inline void close_master(struct bench *bench) {
    close(bench->master);
    bench->master = -1;
}

/* Every test ends here: port closed, nothing left on the loop, no fd left behind. */
static inline int tear_down(void **state) {
    struct bench *bench = *state;

    if (bench->port) {
        close_port(bench);
        run_until(&bench->guard, &bench->n_closed, 1);
    }
    guard_close(&bench->guard);
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

static inline void open_port(struct bench *bench) {
    bench->in_call = true;
    assert_int_equal(serial_port_open(&bench->port, &bench->loop, bench->path, &events, bench), 0);
    bench->in_call = false;
}

static inline int write_port(struct bench *bench, const uint8_t *bytes, size_t size) {
    int r;

    bench->in_call = true;
    r = serial_port_write(bench->port, bytes, size);
    bench->in_call = false;
    return r;
}

static inline struct termios2 line_of(const struct bench *bench) {
    struct termios2 tio;

    assert_int_equal(ioctl(bench->master, TCGETS2, &tio), 0);
    return tio;
}

static inline uint8_t *big_pattern(void) {
    uint8_t *bytes = malloc(BIG_BYTES);

    for (size_t i = 0; i < BIG_BYTES; i++)
        bytes[i] = pattern(i);
    return bytes;
}

/* What libuv opens once for the process must not count as ours. */
static inline void nothing(uv_work_t *work) {
    (void)work;
}

static inline int warm_up(void **state) {
    uv_loop_t loop;
    uv_work_t work;

    (void)state;
    uv_loop_init(&loop);
    uv_queue_work(&loop, &work, nothing, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
