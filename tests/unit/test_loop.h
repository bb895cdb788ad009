#pragma once

/* A loop that a test turns until something has happened, or for some time; and what it must not leave open.
 */

#include <dirent.h>
#include <stdbool.h>
#include <uv.h>

#define WAIT_MS 20000

struct guard {
    uv_loop_t *loop;
    uv_timer_t timer;
    bool late;
};

static inline void guard_init(struct guard *guard, uv_loop_t *loop) {
    *guard = (struct guard) { .loop = loop };
    uv_timer_init(loop, &guard->timer);
    guard->timer.data = guard;
}

/* One more turn is to be made by the test. */
static inline void guard_close(struct guard *guard) {
    uv_close((uv_handle_t *)&guard->timer, NULL);
}

static inline void guard_on_time(uv_timer_t *timer) {
    struct guard *guard = timer->data;

    guard->late = true;
}

/* Again and again: where it is due before the turn sleeps, nothing else would end that sleep. */
static inline void guard_start(struct guard *guard, uint64_t ms) {
    uv_timer_start(&guard->timer, guard_on_time, ms, ms);
}

static inline void guard_stop(struct guard *guard) {
    uv_timer_stop(&guard->timer);
    assert_false(guard->late);
}

/* Until the counter is there, or fails. */
static inline void run_until(struct guard *guard, const unsigned *counter, unsigned value) {
    guard_start(guard, WAIT_MS);
    while (*counter < value && !guard->late)
        uv_run(guard->loop, UV_RUN_ONCE);
    guard_stop(guard);
}

static inline void run_some_ms(struct guard *guard, uint64_t ms) {
    guard_start(guard, ms);
    while (!guard->late)
        uv_run(guard->loop, UV_RUN_ONCE);
    uv_timer_stop(&guard->timer);
    guard->late = false;
}

static inline int count_fds(void) {
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}
