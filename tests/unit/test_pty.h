#pragma once

/* A port on a pseudo-terminal of which nothing is expected but that it opens and closes. Include cmocka
 * first. */

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/serial/port.h"

struct bench {
    uv_loop_t loop;
    int master;
    char path[64];
    struct serial_port *port;
};

static inline void ignore_data(void *userdata, const uint8_t *bytes, size_t size) {
    (void)userdata;
    (void)bytes;
    (void)size;
}

static inline void ignore_event(void *userdata) {
    (void)userdata;
}

static inline int open_port(struct bench *bench) {
    static const struct serial_port_events events = { ignore_data, ignore_event, ignore_event };

    return serial_port_open(&bench->port, &bench->loop, bench->path, &events, bench);
}

static inline void close_port(struct bench *bench) {
    serial_port_close(bench->port, NULL, NULL);
    bench->port = NULL;
    uv_run(&bench->loop, UV_RUN_DEFAULT);
}

static inline int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    assert_non_null(bench);
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    bench->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    assert_true(bench->master >= 0);
    assert_int_equal(unlockpt(bench->master), 0);
    assert_int_equal(ptsname_r(bench->master, bench->path, sizeof bench->path), 0);
    *state = bench;
    return 0;
}

static inline int tear_down(void **state) {
    struct bench *bench = *state;

    if (bench->port)
        close_port(bench);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    close(bench->master);
    free(bench);
    return 0;
}
