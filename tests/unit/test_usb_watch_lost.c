/* Messages that the kernel loses: the watch listens to the kernel itself here, around the preload. */

#include "tests/unit/test_usb_watch_bench.h"

#include <dlfcn.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/syscall.h>

static bool has_real_netlink; /* from here on the watch listens to the kernel itself */

/* ---- the way around the preload -------------------------------------------------------------- */

int socket(int domain, int type, int protocol) {
    static int (*next)(int, int, int);

    if (has_real_netlink && domain == AF_NETLINK)
        return (int)syscall(SYS_socket, domain, type, protocol);
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "socket");
    return next(domain, type, protocol);
}

/* libudev asks whether udev runs before it listens. */
int access(const char *path, int mode) {
    static int (*next)(const char *, int);

    if (has_real_netlink && strcmp(path, "/run/udev/control") == 0)
        return 0;
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "access");
    return next(path, mode);
}

/* ---- messages that the kernel loses ---------------------------------------------------------- */

/* As udevd's messages come, only that they mean nothing: more than the queue holds. */
static void flood(void) {
    struct sockaddr_nl group = { .nl_family = AF_NETLINK, .nl_groups = 2 };
    static const char message[4096];
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

    assert_true(fd >= 0);
    for (unsigned i = 0; i < 2000; i++)
        if (sendto(fd, message, sizeof message, 0, (const struct sockaddr *)&group, sizeof group) < 0)
            assert_int_equal(errno, ENOBUFS);
    close(fd);
}

/* In a network of its own, where nobody else hears the messages; made before there is any thread. */
static bool is_alone;

static void queue_runs_over(void **state) {
    struct bench *bench = *state;

    if (!is_alone) {
        print_message("# no network of its own may be made here\n");
        skip();
    }
    has_real_netlink = true;
    bed_add(&bench->bed, &ftdi);
    bed_add(&bench->bed, &silabs);
    start(bench);
    wait_told(bench, 2);
    bed_remove(&bench->bed, &ftdi); /* nobody tells */
    flood();
    assert_told(bench, 2, "-ttyUSB0 " FTDI_SLOT);
    bed_add(&bench->bed, &ftdi);
    flood();
    assert_told(bench, 3, "+ttyUSB0 " FTDI_SLOT);
    assert_int_equal(bench->n_told, 4);
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        moment(queue_runs_over),
    };

    (void)argc;
    if (!bed_preload(argv))
        return without_umockdev();
    is_alone = unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
