#pragma once

/*
 * DTR and RTS, which a pseudo-terminal doesn't have: this ioctl() stands before libc's and plays them.
 * Include it in one file of a program, after the bench.
 */

#include <dlfcn.h>
#include <sys/ioctl.h>

#define LINES_MAX 32

static struct {
    bool plays;
    int fails_at; /* the n-th change of the lines; 0 never */
    int lines;
    unsigned n;
    bool dtr[LINES_MAX], rts[LINES_MAX];
    uint64_t at_ms[LINES_MAX];
    struct bench *bench;
    void (*on_released)(struct bench *bench); /* EN has risen */
} driver;

typedef int ioctl_fn(int fd, unsigned long request, ...);

/* Both lines, or none, pull nothing: that is how the transistors are wired. */
static inline bool is_in_reset(int lines) {
    return (lines & (TIOCM_RTS | TIOCM_DTR)) == TIOCM_RTS;
}

static inline int set_lines(int lines) {
    bool was_in_reset = is_in_reset(driver.lines);

    assert_true(driver.n < LINES_MAX);
    if (driver.fails_at && (int)driver.n + 1 == driver.fails_at) {
        errno = EIO;
        return -1;
    }
    driver.lines = lines;
    driver.dtr[driver.n] = lines & TIOCM_DTR;
    driver.rts[driver.n] = lines & TIOCM_RTS;
    driver.at_ms[driver.n++] = uv_hrtime() / 1000000;
    if (was_in_reset && !is_in_reset(lines) && driver.on_released)
        driver.on_released(driver.bench);
    return 0;
}

int ioctl(int fd, unsigned long request, ...) {
    static ioctl_fn *real;
    void *argument;
    va_list args;

    va_start(args, request);
    argument = va_arg(args, void *);
    va_end(args);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "ioctl");
    if (driver.plays && request == TIOCMGET) {
        *(int *)argument = driver.lines;
        return 0;
    }
    if (driver.plays && request == TIOCMSET)
        return set_lines(*(int *)argument);
    return real(fd, request, argument);
}

static inline int set_up_lines(void **state) {
    int r;

    memset(&driver, 0, sizeof driver);
    driver.plays = true;
    r = set_up(state);
    driver.bench = *state;
    driver.n = 0; /* opening drops both */
    return r;
}

static inline int tear_down_lines(void **state) {
    int r = tear_down(state);

    memset(&driver, 0, sizeof driver);
    return r;
}
