#pragma once

/* The watch in a umockdev testbed: what it tells is kept as text. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/usb/watch.h"
#include "tests/integration/usb_bed.h"

#define LIMIT_MS 60000
#define N_BURST  64
#define N_TOLD   512

struct bench {
    uv_loop_t loop;
    struct config config;
    struct bed bed;
    struct usb_watch *watch;
    char told[N_TOLD][160]; /* "+ttyUSB0 SLOT", "-ttyUSB0 SLOT" */
    unsigned n_told;
    struct usb_port last; /* the strings are borrowed: only while it is there */
    unsigned close_after; /* close inside that callback; 0: never */
    bool is_closed;
    double longest_turn_ms; /* processor time */
};

/* umockdev's own; nothing of ours goes through it. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libumockdev\nleak:libglib\nleak:libgobject\n";
}

/* ---- the bench ------------------------------------------------------------------------------- */

static inline void on_closed(void *userdata) {
    struct bench *bench = userdata;

    bench->is_closed = true;
    bench->watch = NULL;
}

static inline void tell(struct bench *bench, char sign, const struct usb_port *port) {
    assert_true(bench->n_told < N_TOLD);
    snprintf(bench->told[bench->n_told++], sizeof bench->told[0], "%c%s %s", sign, port->name, port->slot);
    bench->last = *port;
    if (bench->n_told == bench->close_after)
        usb_watch_close(bench->watch, on_closed, bench);
}

static inline void on_added(void *userdata, const struct usb_port *port) {
    char node[64];

    snprintf(node, sizeof node, "/dev/%s", port->name);
    assert_string_equal(port->node, node);
    assert_int_equal(strncmp(port->syspath, "/sys/", 5), 0);
    assert_true(*port->slot && *port->adapter);
    tell(userdata, '+', port);
}

static inline void on_removed(void *userdata, const struct usb_port *port) {
    tell(userdata, '-', port);
}

static const struct usb_watch_events events = { on_added, on_removed };

static inline double processor_ms(void) {
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static inline void turn(struct bench *bench, uv_run_mode mode) {
    double before = processor_ms(), took;

    uv_run(&bench->loop, mode);
    took = processor_ms() - before;
    if (took > bench->longest_turn_ms)
        bench->longest_turn_ms = took;
}

static inline void make_room(void *userdata) {
    struct bench *bench = userdata;

    assert_non_null(bench->watch);
    turn(bench, UV_RUN_NOWAIT);
}

static inline int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    assert_int_equal(uv_loop_init(&bench->loop), 0);
    assert_int_equal(config_init(&bench->config), 0);
    bed_new(&bench->bed, make_room, bench);
    *state = bench;
    return 0;
}

static inline int tear_down(void **state) {
    struct bench *bench = *state;

    if (bench->watch && !bench->is_closed) {
        unsigned n = bench->n_told;

        if (bench->close_after == 0 || n < bench->close_after)
            usb_watch_close(bench->watch, on_closed, bench);
        uv_run(&bench->loop, UV_RUN_DEFAULT);
        assert_int_equal(bench->n_told, n);
    }
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    bed_free(&bench->bed);
    config_deinit(&bench->config);
    free(bench);
    return 0;
}

static inline void start(struct bench *bench) {
    assert_int_equal(usb_watch_new(&bench->watch, &bench->loop, &bench->config, &events, bench), 0);
    assert_int_equal(bench->n_told, 0);
}

static inline void on_limit(uv_timer_t *timer) {
    bool *is_over = timer->data;

    *is_over = true;
}

/* Turns until that much has been told. */
static inline void wait_told(struct bench *bench, unsigned n) {
    bool is_over = false;
    uv_timer_t limit;

    uv_timer_init(&bench->loop, &limit);
    limit.data = &is_over;
    uv_timer_start(&limit, on_limit, LIMIT_MS, 0);
    while (bench->n_told < n && !is_over)
        turn(bench, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&limit, NULL);
    uv_run(&bench->loop, UV_RUN_NOWAIT);
    if (bench->n_told < n)
        fail_msg("%u of %u were told", bench->n_told, n);
}

static inline void assert_told(struct bench *bench, unsigned i, const char *wanted) {
    wait_told(bench, i + 1);
    assert_string_equal(bench->told[i], wanted);
}

static const struct bed_adapter sentinel = {
    .name = "ttyUSB99", .slot = "9-9", .vendor = "0403", .product = "6015"
};

/* Nothing but n things are told: what comes last is told next. */
static inline void assert_no_more(struct bench *bench, unsigned n) {
    bed_add(&bench->bed, &sentinel);
    assert_told(bench, n, "+ttyUSB99 pci-0000:00:19.0-usb-0:9:1.0");
    assert_int_equal(bench->n_told, n + 1);
}

#define FT230X .vendor = "0403", .product = "6015"
#define CP2102 .vendor = "10c4", .product = "ea60"

static const struct bed_adapter ftdi = { .name = "ttyUSB0", .slot = "1-1", FT230X, .serial = "DP05AB" };
static const struct bed_adapter silabs = { .name = "ttyUSB1", .slot = "1-2", CP2102, .serial = "0001" };

#define FTDI_SLOT   "pci-0000:00:11.0-usb-0:1:1.0"
#define SILABS_SLOT "pci-0000:00:11.0-usb-0:2:1.0"

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static inline void no_umockdev(void **state) {
    (void)state;
    print_message("# no libumockdev-preload\n");
    skip();
}

static inline int without_umockdev(void) {
    static const struct CMUnitTest none[] = { cmocka_unit_test(no_umockdev) };

    return cmocka_run_group_tests(none, NULL, NULL);
}
