/* What a serial driver can do that a pseudo-terminal can't: modem lines, rates that get rounded, latency. The
 * test's own ioctl() stands before libc's and plays the driver for one pty. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/serial.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/unit/test_pty.h"

/* The kernel's, as <asm/termbits.h> has it: that header clashes with <termios.h>, which uv.h brings along. */
struct termios2 {
    tcflag_t c_iflag, c_oflag, c_cflag, c_lflag;
    cc_t c_line, c_cc[19];
    speed_t c_ispeed, c_ospeed;
};

#define CALLS_MAX  64
#define TIOCM_OUT2 0x4000 /* <asm/termios.h>, which clashes as well */

static struct {
    bool plays;
    int fail; /* for this request ... */
    unsigned long fail_request;
    int lines; /* TIOCM_* bits, -1 for none */
    int lines_set[CALLS_MAX];
    unsigned n_echoing; /* requests that take an adapter time, while what comes in is echoed */
    unsigned n_lines_set;
    int waiting;          /* bytes in the driver; each look finds a thousand fewer */
    uint64_t sends_until; /* uv_hrtime: the adapter's own buffer, of which the driver doesn't tell */
    unsigned n_torn;      /* changes of the rate while there was anything in either */
    int next_opener; /* a descriptor of another program, which takes the port while we wait; -1 for none */
    unsigned serial_flags;
    unsigned closing_wait;
    bool has_serial;
    uint32_t rounds_to; /* the only rate besides 115200, 0 for any */
} driver;

typedef int ioctl_fn(int fd, unsigned long request, ...);

int ioctl(int fd, unsigned long request, ...) {
    static ioctl_fn *real;
    struct serial_struct *serial;
    struct termios2 *tio;
    void *argument;
    va_list args;

    va_start(args, request);
    argument = va_arg(args, void *);
    va_end(args);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "ioctl");
    if (!driver.plays)
        return real(fd, request, argument);
    if (request == TIOCMGET || request == TIOCMSET || request == TIOCGSERIAL) {
        struct termios2 now;

        assert_int_equal(real(fd, TCGETS2, &now), 0);
        driver.n_echoing += (now.c_lflag & ECHO) != 0;
    }
    if (driver.fail && request == driver.fail_request) {
        errno = driver.fail;
        return -1;
    }
    switch (request) {
    case TIOCMGET:
        if (driver.lines < 0)
            break;
        *(int *)argument = driver.lines;
        return 0;
    case TIOCMSET:
        if (driver.lines < 0)
            break;
        driver.lines = *(int *)argument;
        assert_true(driver.n_lines_set < CALLS_MAX);
        driver.lines_set[driver.n_lines_set++] = driver.lines;
        return 0;
    case TIOCOUTQ:
        *(int *)argument = driver.waiting;
        driver.waiting = driver.waiting > 1000 ? driver.waiting - 1000 : 0;
        if (driver.next_opener >= 0 && driver.waiting == 0)
            assert_int_equal(flock(driver.next_opener, LOCK_EX | LOCK_NB), 0);
        return 0;
    case TIOCGSERIAL:
        if (!driver.has_serial)
            break;
        serial = argument;
        memset(serial, 0, sizeof *serial);
        serial->flags = (int)driver.serial_flags;
        serial->closing_wait = (unsigned short)driver.closing_wait;
        return 0;
    case TIOCSSERIAL:
        serial = argument;
        assert_true(driver.has_serial);
        if (serial->closing_wait != driver.closing_wait) { /* as the kernel for all but root */
            errno = EPERM;
            return -1;
        }
        driver.serial_flags = (unsigned)serial->flags;
        return 0;
    case TCSETS2:
        tio = argument;
        if (driver.waiting > 0 || uv_hrtime() < driver.sends_until) {
            struct termios2 now;

            assert_int_equal(real(fd, TCGETS2, &now), 0);
            driver.n_torn += now.c_ospeed != tio->c_ospeed;
        }
        if (driver.rounds_to && tio->c_ospeed != 115200)
            tio->c_ospeed = tio->c_ispeed = driver.rounds_to;
        break;
    }
    return real(fd, request, argument);
}

/* ---- the bench ------------------------------------------------------------------------------- */

static int driver_set_up(void **state) {
    memset(&driver, 0, sizeof driver);
    driver.lines = TIOCM_DTR | TIOCM_RTS | TIOCM_OUT2 | TIOCM_CTS;
    driver.has_serial = true;
    driver.serial_flags = ASYNC_SKIP_TEST;
    driver.closing_wait = 3000;
    driver.next_opener = -1;
    set_up(state);
    driver.plays = true;
    return 0;
}

static int driver_tear_down(void **state) {
    struct bench *bench = *state;

    if (bench->port)
        close_port(bench);
    driver.plays = false;
    return tear_down(state);
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void open_drops_both_lines_in_one_step(void **state) {
    struct bench *bench = *state;

    assert_int_equal(open_port(bench), 0);
    assert_true(serial_port_has_lines(bench->port));
    assert_int_equal(driver.n_lines_set, 1);
    assert_int_equal(driver.lines_set[0] & (TIOCM_DTR | TIOCM_RTS), 0);
    assert_int_equal(driver.lines_set[0] & TIOCM_OUT2, TIOCM_OUT2); /* gates the interrupt of an old UART */
}

/* A new tty of the kernel's echoes. */
static void nothing_is_echoed_while_opening(void **state) {
    struct bench *bench = *state;
    struct termios2 found;

    assert_int_equal(ioctl(bench->master, TCGETS2, &found), 0);
    assert_true(found.c_lflag & ECHO);
    assert_int_equal(open_port(bench), 0);
    assert_int_equal(driver.n_echoing, 0);
}

static void lines_are_set_in_one_step(void **state) {
    static const int wanted[] = { 0, TIOCM_DTR, TIOCM_RTS, TIOCM_DTR | TIOCM_RTS };
    struct bench *bench = *state;

    assert_int_equal(open_port(bench), 0);
    for (unsigned i = 0; i < 4; i++) {
        driver.n_lines_set = 0;
        assert_int_equal(serial_port_set_lines(bench->port, wanted[i] & TIOCM_DTR, wanted[i] & TIOCM_RTS), 0);
        assert_int_equal(driver.n_lines_set, 1);
        assert_int_equal(driver.lines & (TIOCM_DTR | TIOCM_RTS | TIOCM_OUT2), wanted[i] | TIOCM_OUT2);
    }
}

static void no_lines_by_einval(void **state) {
    struct bench *bench = *state;

    driver.fail_request = TIOCMGET;
    driver.fail = EINVAL;
    assert_int_equal(open_port(bench), 0);
    assert_false(serial_port_has_lines(bench->port));
    assert_int_equal(serial_port_set_lines(bench->port, true, true), -ENOTTY);
    assert_int_equal(driver.n_lines_set, 0);
}

/* Whatever fails while the port is opened: the error comes through and the next open finds it free. */
static void open_fails_at_each_step(void **state) {
    static const unsigned long requests[] = { TCGETS2, TIOCEXCL, TIOCMGET, TIOCMSET, TCSETS2, TCFLSH };
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        driver.fail_request = requests[i];
        driver.fail = EIO;
        assert_int_equal(open_port(bench), -EIO);
        assert_null(bench->port);
        driver.fail = 0;
        assert_int_equal(open_port(bench), 0);
        close_port(bench);
    }
}

static void rate_is_rounded_a_little(void **state) {
    struct bench *bench = *state;

    assert_int_equal(open_port(bench), 0);
    driver.rounds_to = 923077; /* CP2102 for 921600 */
    assert_int_equal(serial_port_set_baud(bench->port, 921600), 0);
    assert_int_equal(serial_port_baud(bench->port), 923077);
}

static void rate_is_rounded_too_far(void **state) {
    struct bench *bench = *state;
    struct termios2 tio;

    assert_int_equal(open_port(bench), 0);
    driver.rounds_to = 921600;
    assert_int_equal(serial_port_set_baud(bench->port, 1500000), -EINVAL);
    /* The line is where it was. */
    assert_int_equal(serial_port_baud(bench->port), 115200);
    assert_int_equal(ioctl(bench->master, TCGETS2, &tio), 0);
    assert_int_equal(tio.c_ospeed, 115200);
    /* 3 % is the limit. */
    driver.rounds_to = 103000;
    assert_int_equal(serial_port_set_baud(bench->port, 100000), 0);
    driver.rounds_to = 103001;
    assert_int_equal(serial_port_set_baud(bench->port, 100000), -EINVAL);
    driver.rounds_to = 97000;
    assert_int_equal(serial_port_set_baud(bench->port, 100000), 0);
}

static void latency_is_lowered_and_put_back(void **state) {
    struct bench *bench = *state;

    assert_int_equal(open_port(bench), 0);
    assert_int_equal(driver.serial_flags, ASYNC_SKIP_TEST | ASYNC_LOW_LATENCY);
    close_port(bench);
    assert_int_equal(driver.serial_flags, ASYNC_SKIP_TEST);
    assert_int_equal(driver.closing_wait, 3000);
}

static void low_latency_found_is_left(void **state) {
    struct bench *bench = *state;

    driver.serial_flags = ASYNC_LOW_LATENCY;
    assert_int_equal(open_port(bench), 0);
    close_port(bench);
    assert_int_equal(driver.serial_flags, ASYNC_LOW_LATENCY);
}

static void latency_is_refused(void **state) {
    struct bench *bench = *state;

    driver.fail_request = TIOCSSERIAL;
    driver.fail = EPERM;
    assert_int_equal(open_port(bench), 0);
    close_port(bench);
    driver.has_serial = false;
    assert_int_equal(open_port(bench), 0);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, driver_set_up, driver_tear_down)

static struct termios2 line_of(struct bench *bench) {
    struct termios2 line;

    memset(&line, 0, sizeof line);
    assert_int_equal(ioctl(bench->master, TCGETS2, &line), 0);
    return line;
}

/* Cancelled in the middle of a block: what is in the driver leaves at the rate at which it was meant. */
static void rate_stays_until_output_has_left(void **state) {
    struct bench *bench = *state;
    int keeper = open(bench->path, O_RDWR | O_NOCTTY | O_CLOEXEC); /* or the pty would forget at close */
    struct termios2 found = line_of(bench), after;

    assert_true(keeper >= 0);
    assert_int_equal(open_port(bench), 0);
    assert_int_equal(serial_port_set_baud(bench->port, 921600), 0);
    driver.waiting = 3000;
    close_port(bench);
    assert_int_equal(driver.waiting, 0);
    assert_int_equal(driver.n_torn, 0);
    after = line_of(bench);
    found.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    assert_memory_equal(&found, &after, sizeof found);
    close(keeper);
}

/* Cancelled just after a SYNC: an adapter sends on at the rate of the moment, and a ROM would take that for
 * ours. */
static void rate_stays_until_an_adapter_has_sent(void **state) {
    static const uint8_t sync[46] = { 0xc0 };
    struct bench *bench = *state;
    int keeper = open(bench->path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios2 found = line_of(bench), after;

    assert_true(keeper >= 0);
    assert_int_equal(open_port(bench), 0);
    assert_int_equal(serial_port_write(bench->port, sync, sizeof sync), 0);
    driver.sends_until = uv_hrtime() + sizeof sync * 10 * 1000000000u / 115200;
    close_port(bench);
    assert_true(uv_hrtime() >= driver.sends_until);
    assert_int_equal(driver.n_torn, 0);
    after = line_of(bench);
    assert_int_equal(after.c_ospeed, found.c_ospeed);
    assert_int_not_equal(found.c_ospeed, 115200);
    close(keeper);
}

static void late_put_back_spares_the_next(void **state) {
    struct bench *bench = *state;
    struct termios2 ours, after;

    driver.next_opener = open(bench->path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(driver.next_opener >= 0);
    assert_int_equal(open_port(bench), 0);
    ours = line_of(bench);
    driver.waiting = 3000;
    close_port(bench);
    after = line_of(bench);
    assert_memory_equal(&ours, &after, sizeof ours); /* the next one's, which are the same here */
    close(driver.next_opener);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(open_drops_both_lines_in_one_step), moment(nothing_is_echoed_while_opening),
        moment(lines_are_set_in_one_step),         moment(no_lines_by_einval),
        moment(open_fails_at_each_step),           moment(rate_is_rounded_a_little),
        moment(rate_is_rounded_too_far),           moment(latency_is_lowered_and_put_back),
        moment(low_latency_found_is_left),         moment(latency_is_refused),
        moment(rate_stays_until_output_has_left),  moment(rate_stays_until_an_adapter_has_sent),
        moment(late_put_back_spares_the_next),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
