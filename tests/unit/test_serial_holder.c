/* Who holds a port: other programs, on a pseudo-terminal. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/serial/port.h"

struct bench {
    uv_loop_t loop;
    int master;
    char path[64];
    struct serial_port *port;
};

static void on_data(void *userdata, const uint8_t *bytes, size_t size) {
    (void)userdata;
    (void)bytes;
    (void)size;
}

static void on_event(void *userdata) {
    (void)userdata;
}

static const struct serial_port_events events = { on_data, on_event, on_event };

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    assert_int_equal(uv_loop_init(&bench->loop), 0);
    bench->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    assert_true(bench->master >= 0);
    assert_int_equal(unlockpt(bench->master), 0);
    assert_int_equal(ptsname_r(bench->master, bench->path, sizeof bench->path), 0);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;

    if (bench->port)
        serial_port_close(bench->port, NULL, NULL);
    uv_run(&bench->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    close(bench->master);
    free(bench);
    return 0;
}

static int open_port(struct bench *bench) {
    return serial_port_open(&bench->port, &bench->loop, bench->path, &events, bench);
}

/* Runs as another program; holds the node as told until it is killed. */
static pid_t start_holder(const struct bench *bench, bool with_lock) {
    int ready[2];
    char c;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open(bench->path, O_RDWR | O_NOCTTY);

        if (fd < 0 || (with_lock && flock(fd, LOCK_EX) < 0))
            _exit(1);
        close(bench->master);
        close(ready[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (write(ready[1], "r", 1) == 1)
            sleep(60);
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

static void stop_holder(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void holder_with_lock_is_named(void **state) {
    struct bench *bench = *state;
    pid_t pid = start_holder(bench, true);
    char holder[64], wanted[32];

    assert_int_equal(open_port(bench), -EBUSY);
    assert_true(serial_holder_find(bench->path, holder, sizeof holder));
    snprintf(wanted, sizeof wanted, " (pid %d)", pid);
    assert_non_null(strstr(holder, wanted));
    stop_holder(pid);
    assert_int_equal(open_port(bench), 0);
}

static void holder_without_lock_is_named(void **state) {
    struct bench *bench = *state;
    pid_t pid = start_holder(bench, false);
    char holder[64], wanted[32], link[64];

    snprintf(link, sizeof link, "/tmp/wipyd-test-link-%d", getpid()); /* as /dev/serial/by-id/... */
    assert_int_equal(symlink(bench->path, link), 0);
    assert_true(serial_holder_find(link, holder, sizeof holder));
    unlink(link);
    snprintf(wanted, sizeof wanted, " (pid %d)", pid);
    assert_non_null(strstr(holder, wanted));
    stop_holder(pid);
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
    char holder[64], wanted[64];

    assert_int_equal(prctl(PR_SET_NAME, "a\nb\x1b[2J\xff"), 0);
    assert_int_equal(open_port(bench), 0);
    assert_true(serial_holder_find(bench->path, holder, sizeof holder));
    snprintf(wanted, sizeof wanted, "a?b?[2J? (pid %d)", getpid());
    assert_string_equal(holder, wanted);
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
