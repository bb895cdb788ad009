/* sd-bus on the loop, against a dbus-daemon of our own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/loop/bus_loop.h"
#include "tests/unit/test_loop.h"

#define MESSAGES_PER_TURN 16 /* as bus_loop.c has it */

struct bench {
    pid_t daemon;
    char address[512];
    int n_fds;
    uv_loop_t loop;
    struct guard guard;
    uv_check_t check;

    sd_bus *bus;  /* served by the loop */
    sd_bus *peer; /* somebody else, blocking */
    struct bus_loop *bus_loop;

    unsigned n_signals, n_replies, n_lost, n_turns;
    unsigned n_in_turn, most_in_turn;
    int reply_errno, lost_r;
    bool close_in_signal, close_in_lost;
};

static bool daemon_is_missing;
static unsigned n_to_fail; /* reads from a socket, for want of memory */

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    if (n_to_fail == 0)
        return syscall(SYS_recvmsg, fd, message, flags);
    n_to_fail--;
    errno = ENOMEM;
    return -1;
}

/* ---- the bench ------------------------------------------------------------------------------- */

static void on_check(uv_check_t *check) {
    struct bench *bench = check->data;

    bench->n_turns++;
    bench->n_in_turn = 0;
}

static void start_daemon(struct bench *bench) {
    int address[2];
    size_t n = 0;
    ssize_t r;

    assert_int_equal(pipe(address), 0);
    bench->daemon = fork();
    assert_true(bench->daemon >= 0);
    if (bench->daemon == 0) {
        char print[48], listen[64];

        close(address[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that is killed leaves no daemon behind */
        /* stderr: it complains about fd limits in containers. */
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(127);
        snprintf(listen, sizeof listen, "--address=unix:abstract=wipyd-test-%d", getpid());
        snprintf(print, sizeof print, "--print-address=%d", address[1]);
        execlp("dbus-daemon", "dbus-daemon", "--session", "--nofork", "--nopidfile", "--nosyslog", listen,
               print, NULL);
        _exit(127);
    }
    close(address[1]);
    while ((r = read(address[0], bench->address + n, sizeof bench->address - 1 - n)) > 0) {
        n += (size_t)r;
        if (bench->address[n - 1] == '\n')
            break;
    }
    close(address[0]);
    bench->address[strcspn(bench->address, "\n")] = 0;
    assert_true(n > 0);
}

static void stop_daemon(struct bench *bench) {
    if (bench->daemon > 0) {
        kill(bench->daemon, SIGKILL);
        waitpid(bench->daemon, NULL, 0);
    }
    bench->daemon = 0;
}

static void open_bus(const struct bench *bench, sd_bus **ret) {
    const char *name;

    assert_true(sd_bus_new(ret) >= 0);
    assert_true(sd_bus_set_address(*ret, bench->address) >= 0);
    assert_true(sd_bus_set_bus_client(*ret, true) >= 0);
    assert_true(sd_bus_start(*ret) >= 0);
    assert_true(sd_bus_get_unique_name(*ret, &name) >= 0); /* waits for Hello */
}

static int on_signal(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct bench *bench = userdata;

    (void)message;
    (void)error;
    bench->n_signals++;
    if (++bench->n_in_turn > bench->most_in_turn)
        bench->most_in_turn = bench->n_in_turn;
    if (bench->close_in_signal)
        bench->bus_loop = bus_loop_close(bench->bus_loop);
    return 0;
}

static int on_reply(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct bench *bench = userdata;

    (void)error;
    bench->n_replies++;
    bench->reply_errno = sd_bus_message_get_errno(message);
    return 0;
}

static void on_lost(void *userdata, int r) {
    struct bench *bench = userdata;

    bench->n_lost++;
    bench->lost_r = r;
    uv_stop(&bench->loop); /* it may come just before the loop sleeps */
    if (bench->close_in_lost)
        bench->bus_loop = bus_loop_close(bench->bus_loop);
}

static int set_up(void **state) {
    struct bench *bench;

    if (daemon_is_missing)
        return 0;
    bench = calloc(1, sizeof *bench);
    bench->n_fds = count_fds();
    start_daemon(bench);
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    guard_init(&bench->guard, &bench->loop);
    uv_check_init(&bench->loop, &bench->check);
    bench->check.data = bench;
    uv_check_start(&bench->check, on_check);
    open_bus(bench, &bench->bus);
    open_bus(bench, &bench->peer);
    assert_true(
        sd_bus_match_signal(bench->bus, NULL, NULL, "/test", "test.Test", "Signal", on_signal, bench) >= 0);
    assert_int_equal(bus_loop_new(&bench->bus_loop, &bench->loop, bench->bus, on_lost, bench), 0);
    *state = bench;
    return 0;
}

/* Every test ends here: nothing left on the loop, no fd left behind. */
static int tear_down(void **state) {
    struct bench *bench = *state;

    if (daemon_is_missing)
        return 0;
    bench->bus_loop = bus_loop_close(bench->bus_loop);
    guard_close(&bench->guard);
    uv_close((uv_handle_t *)&bench->check, NULL);
    assert_int_equal(uv_run(&bench->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    sd_bus_close(bench->bus);
    assert_null(sd_bus_unref(bench->bus));
    sd_bus_close(bench->peer);
    sd_bus_unref(bench->peer);
    stop_daemon(bench);
    assert_int_equal(count_fds(), bench->n_fds);
    free(bench);
    return 0;
}

static struct bench *begin(void **state) {
    if (daemon_is_missing)
        skip();
    return *state;
}

static void send_signals(const struct bench *bench, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        assert_true(sd_bus_emit_signal(bench->peer, "/test", "test.Test", "Signal", "u", i) >= 0);
    assert_true(sd_bus_flush(bench->peer) >= 0);
}

/* A blocking call: what arrives before its reply is read into the bus's queue. The peer's own call first, so
 * that the daemon has routed the peer's signals. */
static void call_blocking(sd_bus *bus) {
    sd_bus_error error = SD_BUS_ERROR_NULL;

    assert_true(sd_bus_call_method(bus, "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetId", &error,
                                   NULL, NULL) >= 0);
}

static bool fd_is_silent(const struct bench *bench) {
    struct pollfd fd = { .fd = sd_bus_get_fd(bench->bus), .events = POLLIN };

    return poll(&fd, 1, 50) == 0;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void call_gets_its_reply(void **state) {
    struct bench *bench = begin(state);

    assert_true(sd_bus_call_method_async(bench->bus, NULL, "org.freedesktop.DBus", "/",
                                         "org.freedesktop.DBus", "GetId", on_reply, bench, NULL) >= 0);
    run_until(&bench->guard, &bench->n_replies, 1);
    assert_int_equal(bench->reply_errno, 0);
}

static void queued_message_is_dispatched_with_silent_fd(void **state) {
    struct bench *bench = begin(state);
    uint64_t n_queued = 0;

    run_some_ms(&bench->guard, 20); /* the AddMatch reply */
    send_signals(bench, 1);
    call_blocking(bench->peer);
    call_blocking(bench->bus);
    assert_int_equal(bench->n_signals, 0);
    assert_true(sd_bus_get_n_queued_read(bench->bus, &n_queued) >= 0);
    assert_true(n_queued > 0);
    assert_true(fd_is_silent(bench));
    run_until(&bench->guard, &bench->n_signals, 1);
}

/* The same from within the loop, just before it would sleep. */
static void on_queue_now(uv_timer_t *timer) {
    struct bench *bench = timer->data;

    send_signals(bench, 1);
    call_blocking(bench->peer);
    call_blocking(bench->bus);
    assert_int_equal(bench->n_signals, 0);
    assert_true(fd_is_silent(bench));
}

static void message_queued_inside_callback_is_dispatched(void **state) {
    struct bench *bench = begin(state);
    uv_timer_t timer;

    uv_timer_init(&bench->loop, &timer);
    timer.data = bench;
    uv_timer_start(&timer, on_queue_now, 20, 0);
    run_until(&bench->guard, &bench->n_signals, 1);
    uv_close((uv_handle_t *)&timer, NULL);
    run_some_ms(&bench->guard, 1);
}

static void flood_is_dispatched_in_turns(void **state) {
    struct bench *bench = begin(state);

    run_some_ms(&bench->guard, 20);
    send_signals(bench, 500);
    call_blocking(bench->peer);
    call_blocking(bench->bus);
    assert_true(fd_is_silent(bench));
    run_until(&bench->guard, &bench->n_signals, 500);
    assert_true(bench->most_in_turn <= MESSAGES_PER_TURN);
}

static void call_without_reply_times_out(void **state) {
    struct bench *bench = begin(state);
    sd_bus_message *message = NULL;
    const char *name;
    uint64_t started = uv_hrtime();

    assert_true(sd_bus_get_unique_name(bench->peer, &name) >= 0); /* reads nothing any more */
    assert_true(sd_bus_message_new_method_call(bench->bus, &message, name, "/", "test.Test", "Sleep") >= 0);
    assert_true(sd_bus_call_async(bench->bus, NULL, message, on_reply, bench, 200000) >= 0);
    sd_bus_message_unref(message);
    run_until(&bench->guard, &bench->n_replies, 1);
    assert_int_equal(bench->reply_errno, ETIMEDOUT);
    assert_true(uv_hrtime() - started >= 199000000);
    assert_true(uv_hrtime() - started < 2000000000);
    assert_true(bench->n_turns < 30); /* slept, not spun */
}

static void idle_bus_wakes_nobody(void **state) {
    struct bench *bench = begin(state);
    unsigned before;

    run_some_ms(&bench->guard, 50);
    before = bench->n_turns;
    run_some_ms(&bench->guard, 300);
    assert_true(bench->n_turns - before <= 2);
}

static void lost_when_daemon_dies(void **state) {
    struct bench *bench = begin(state);

    run_some_ms(&bench->guard, 20);
    stop_daemon(bench);
    run_until(&bench->guard, &bench->n_lost, 1);
    assert_true(bench->lost_r < 0);
    run_some_ms(&bench->guard, 50);
    assert_int_equal(bench->n_lost, 1);
}

static void lost_when_bus_is_closed(void **state) {
    struct bench *bench = begin(state);

    run_some_ms(&bench->guard, 20);
    sd_bus_close(bench->bus);
    run_until(&bench->guard, &bench->n_lost, 1);
    assert_int_equal(bench->lost_r, -ENOTCONN);
}

static void close_in_lost(void **state) {
    struct bench *bench = begin(state);

    bench->close_in_lost = true;
    run_some_ms(&bench->guard, 20);
    stop_daemon(bench);
    run_until(&bench->guard, &bench->n_lost, 1);
    assert_null(bench->bus_loop);
    run_some_ms(&bench->guard, 20);
    assert_int_equal(bench->n_lost, 1);
}

static void close_in_handler(void **state) {
    struct bench *bench = begin(state);

    bench->close_in_signal = true;
    run_some_ms(&bench->guard, 20);
    send_signals(bench, 3);
    call_blocking(bench->peer);
    call_blocking(bench->bus); /* all three wait in the queue now */
    run_until(&bench->guard, &bench->n_signals, 1);
    stop_daemon(bench);
    run_some_ms(&bench->guard, 50);
    assert_int_equal(bench->n_signals, 1);
    assert_int_equal(bench->n_lost, 0);
}

static void memory_that_comes_back(void **state) {
    struct bench *bench = begin(state);

    run_some_ms(&bench->guard, 20);
    send_signals(bench, 1);
    call_blocking(bench->peer);
    n_to_fail = 10;
    run_until(&bench->guard, &bench->n_signals, 1);
    assert_int_equal(n_to_fail, 0);
    assert_int_equal(bench->n_lost, 0);
}

static void lost_when_memory_stays_away(void **state) {
    struct bench *bench = begin(state);

    run_some_ms(&bench->guard, 20);
    send_signals(bench, 1);
    call_blocking(bench->peer);
    n_to_fail = 1000;
    run_until(&bench->guard, &bench->n_lost, 1);
    assert_in_range(n_to_fail, 900, 990);
    n_to_fail = 0;
    assert_int_equal(bench->lost_r, -ENOMEM);
}

static void close_before_first_turn(void **state) {
    struct bench *bench = begin(state);

    bench->bus_loop = bus_loop_close(bench->bus_loop);
    assert_null(bus_loop_close(NULL));
}

static void nothing(uv_work_t *work) {
    (void)work;
}

/* What libuv opens once for the process must not count as ours; and is there a dbus-daemon? */
static int prepare_group(void **state) {
    uv_loop_t loop;
    uv_work_t work;

    (void)state;
    daemon_is_missing = system("dbus-daemon --version >/dev/null 2>&1") != 0;
    if (daemon_is_missing)
        print_message("SKIP: dbus-daemon is not installed\n");
    uv_loop_init(&loop);
    uv_queue_work(&loop, &work, nothing, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(call_gets_its_reply),
        moment(queued_message_is_dispatched_with_silent_fd),
        moment(message_queued_inside_callback_is_dispatched),
        moment(flood_is_dispatched_in_turns),
        moment(call_without_reply_times_out),
        moment(idle_bus_wakes_nobody),
        moment(lost_when_daemon_dies),
        moment(lost_when_bus_is_closed),
        moment(close_in_lost),
        moment(close_in_handler),
        moment(memory_that_comes_back),
        moment(lost_when_memory_stays_away),
        moment(close_before_first_turn),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, prepare_group, NULL);
}
