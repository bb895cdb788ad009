/* Who holds a port: other programs, on a pseudo-terminal. */

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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/test_holder.h"
#include "tests/unit/test_pty.h"

static void holder_with_lock_is_named(void **state) {
    struct bench *bench = *state;
    pid_t pid = holder_start("holder", bench->path, true);
    char holder[64], wanted[32];

    assert_int_equal(open_port(bench), -EBUSY);
    assert_true(serial_holder_find(bench->path, holder, sizeof holder));
    snprintf(wanted, sizeof wanted, " (pid %d)", pid);
    assert_non_null(strstr(holder, wanted));
    holder_stop(pid);
    assert_int_equal(open_port(bench), 0);
}

static void holder_without_lock_is_named(void **state) {
    struct bench *bench = *state;
    pid_t pid = holder_start("holder", bench->path, false);
    char holder[64], wanted[32], link[64];

    snprintf(link, sizeof link, "/tmp/wipyd-test-link-%d", getpid()); /* as /dev/serial/by-id/... */
    assert_int_equal(symlink(bench->path, link), 0);
    assert_true(serial_holder_find(link, holder, sizeof holder));
    unlink(link);
    snprintf(wanted, sizeof wanted, " (pid %d)", pid);
    assert_non_null(strstr(holder, wanted));
    holder_stop(pid);
    assert_false(serial_holder_find(bench->path, holder, sizeof holder));
    assert_false(serial_holder_find("/dev/no-such-tty", holder, sizeof holder));
}

/* TIOCEXCL keeps out programs that know nothing of flock; root is never kept out, so the other one isn't
 * root. */
static void program_without_flock_is_kept_out(void **state) {
    struct bench *bench = *state;
    int status;
    pid_t pid;

    assert_int_equal(open_port(bench), 0);
    assert_int_equal(chmod(bench->path, 0666), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (getuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
            _exit(2);
        _exit(open(bench->path, O_RDWR | O_NOCTTY | O_NONBLOCK) < 0 && errno == EBUSY ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Any program may name itself anything: no line is forged with it. */
static void holder_with_odd_name(void **state) {
    struct bench *bench = *state;
    pid_t pid = holder_start("a\nb\x1b[2J\xff", bench->path, true);
    char holder[64], wanted[64];

    assert_true(serial_holder_find(bench->path, holder, sizeof holder));
    snprintf(wanted, sizeof wanted, "a?b?[2J? (pid %d)", (int)pid);
    assert_string_equal(holder, wanted);
    holder_stop(pid);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(holder_with_lock_is_named),
        moment(holder_without_lock_is_named),
        moment(program_without_flock_is_kept_out),
        moment(holder_with_odd_name),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
