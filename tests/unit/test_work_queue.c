/* Work in the pool, one piece after the other. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "daemon/loop/work_queue.h"
#include "tests/unit/test_loop.h"

struct bench {
    uv_loop_t loop;
    struct guard guard;
    uv_thread_t thread; /* the loop's */
    struct work_queue *queue;
    atomic_uint n_running, most_running, n_run;
    unsigned n_done, n_closed, add_more;
    char order[32]; /* a letter for each run and each done */
};

struct piece {
    struct bench *bench;
    char letter;
    bool close_in_done;
};

static void on_closed(void *userdata) {
    struct bench *bench = userdata;

    bench->n_closed++;
    bench->queue = NULL;
}

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    assert_int_equal(uv_loop_init(&bench->loop), 0);
    guard_init(&bench->guard, &bench->loop);
    bench->thread = uv_thread_self();
    assert_int_equal(work_queue_new(&bench->queue, &bench->loop), 0);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;

    if (bench->queue) {
        work_queue_close(bench->queue, on_closed, bench);
        run_until(&bench->guard, &bench->n_closed, 1);
    }
    assert_int_equal(bench->n_closed, 1);
    guard_close(&bench->guard);
    assert_int_equal(uv_run(&bench->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    free(bench);
    return 0;
}

/* Pieces run one at a time, and done comes between two of them: so nothing here is locked. */
static void note(struct bench *bench, char letter) {
    size_t n = strlen(bench->order);

    assert_true(n + 1 < sizeof bench->order);
    bench->order[n] = letter;
}

static void run(void *userdata) {
    const struct piece *piece = userdata;
    struct bench *bench = piece->bench;
    unsigned n = atomic_fetch_add(&bench->n_running, 1) + 1;
    uv_thread_t self = uv_thread_self();

    if (n > bench->most_running)
        bench->most_running = n;
    if (uv_thread_equal(&self, &bench->thread))
        bench->most_running = 99;
    usleep(2000);
    note(bench, piece->letter);
    bench->n_run++;
    atomic_fetch_sub(&bench->n_running, 1);
}

static void done(void *userdata) {
    const struct piece *piece = userdata;
    struct bench *bench = piece->bench;
    uv_thread_t self = uv_thread_self();

    assert_true(uv_thread_equal(&self, &bench->thread));
    note(bench, (char)(piece->letter - 32));
    bench->n_done++;
    if (bench->add_more) {
        bench->add_more--;
        assert_int_equal(work_queue_add(bench->queue, run, done, userdata), 0);
    }
    if (piece->close_in_done)
        work_queue_close(bench->queue, on_closed, bench);
}

static void add(struct piece *piece) {
    assert_int_equal(work_queue_add(piece->bench->queue, run, done, piece), 0);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void one_at_a_time_and_in_order(void **state) {
    struct bench *bench = *state;
    struct piece pieces[] = { { bench, 'a', false }, { bench, 'b', false }, { bench, 'c', false } };

    for (unsigned i = 0; i < 3; i++)
        add(&pieces[i]);
    assert_int_equal(bench->n_done, 0);
    run_until(&bench->guard, &bench->n_done, 3);
    assert_string_equal(bench->order, "aAbBcC");
    assert_int_equal(bench->most_running, 1);
}

static void done_may_add_more(void **state) {
    struct bench *bench = *state;
    struct piece piece = { bench, 'a', false };

    bench->add_more = 4;
    add(&piece);
    run_until(&bench->guard, &bench->n_done, 5);
    assert_string_equal(bench->order, "aAaAaAaAaA");
}

static void close_lets_all_finish(void **state) {
    struct bench *bench = *state;
    struct piece pieces[] = { { bench, 'a', false }, { bench, 'b', false } };

    add(&pieces[0]);
    add(&pieces[1]);
    work_queue_close(bench->queue, on_closed, bench);
    assert_int_equal(work_queue_add(bench->queue, run, done, &pieces[0]), -ECANCELED);
    assert_int_equal(bench->n_closed, 0);
    run_until(&bench->guard, &bench->n_closed, 1);
    assert_string_equal(bench->order, "aAbB");
}

static void close_inside_done(void **state) {
    struct bench *bench = *state;
    struct piece pieces[] = { { bench, 'a', true }, { bench, 'b', false } };

    add(&pieces[0]);
    add(&pieces[1]);
    run_until(&bench->guard, &bench->n_closed, 1);
    assert_string_equal(bench->order, "aAbB");
}

static void close_while_idle_comes_later(void **state) {
    struct bench *bench = *state;

    work_queue_close(bench->queue, on_closed, bench);
    assert_int_equal(bench->n_closed, 0);
    run_until(&bench->guard, &bench->n_closed, 1);
}

static void idle_queue_keeps_no_loop_alive(void **state) {
    struct bench *bench = *state;
    struct piece piece = { bench, 'a', false };

    add(&piece);
    assert_int_equal(uv_run(&bench->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(bench->n_done, 1);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(one_at_a_time_and_in_order),   moment(done_may_add_more),
        moment(close_lets_all_finish),        moment(close_inside_done),
        moment(close_while_idle_comes_later), moment(idle_queue_keeps_no_loop_alive),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
