/* Serial ports of USB adapters come and go, in a umockdev testbed; one test has the kernel lose messages. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dlfcn.h>
#include <linux/netlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/usb/watch.h"
#include "tests/integration/usb_bed.h"

#define LIMIT_MS 10000
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

/* ---- sanitizers, and the way around the preload ---------------------------------------------- */

/* umockdev's own; nothing of ours goes through it. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libumockdev\nleak:libglib\nleak:libgobject\n";
}

static bool has_real_netlink;

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

/* ---- the bench ------------------------------------------------------------------------------- */

static void on_closed(void *userdata) {
    struct bench *bench = userdata;

    bench->is_closed = true;
    bench->watch = NULL;
}

static void tell(struct bench *bench, char sign, const struct usb_port *port) {
    assert_true(bench->n_told < N_TOLD);
    snprintf(bench->told[bench->n_told++], sizeof bench->told[0], "%c%s %s", sign, port->name, port->slot);
    bench->last = *port;
    if (bench->n_told == bench->close_after)
        usb_watch_close(bench->watch, on_closed, bench);
}

static void on_added(void *userdata, const struct usb_port *port) {
    char node[64];

    snprintf(node, sizeof node, "/dev/%s", port->name);
    assert_string_equal(port->node, node);
    assert_int_equal(strncmp(port->syspath, "/sys/", 5), 0);
    assert_true(*port->slot && *port->adapter);
    tell(userdata, '+', port);
}

static void on_removed(void *userdata, const struct usb_port *port) {
    tell(userdata, '-', port);
}

static const struct usb_watch_events events = { on_added, on_removed };

static double processor_ms(void) {
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void turn(struct bench *bench, uv_run_mode mode) {
    double before = processor_ms(), took;

    uv_run(&bench->loop, mode);
    took = processor_ms() - before;
    if (took > bench->longest_turn_ms)
        bench->longest_turn_ms = took;
}

static void make_room(void *userdata) {
    struct bench *bench = userdata;

    assert_non_null(bench->watch);
    turn(bench, UV_RUN_NOWAIT);
}

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    assert_int_equal(uv_loop_init(&bench->loop), 0);
    assert_int_equal(config_init(&bench->config), 0);
    bed_new(&bench->bed, make_room, bench);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;

    if (has_real_netlink) /* a child that has failed: the other tests are its parent's */
        _exit(1);
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

static void start(struct bench *bench) {
    assert_int_equal(usb_watch_new(&bench->watch, &bench->loop, &bench->config, &events, bench), 0);
    assert_int_equal(bench->n_told, 0);
}

static void on_limit(uv_timer_t *timer) {
    bool *is_over = timer->data;

    *is_over = true;
}

/* Turns until that much has been told. */
static void wait_told(struct bench *bench, unsigned n) {
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

static void assert_told(struct bench *bench, unsigned i, const char *wanted) {
    wait_told(bench, i + 1);
    assert_string_equal(bench->told[i], wanted);
}

static const struct bed_adapter sentinel = {
    .name = "ttyUSB99", .slot = "9-9", .vendor = "0403", .product = "6015"
};

/* Nothing but n things are told: what comes last is told next. */
static void assert_no_more(struct bench *bench, unsigned n) {
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

/* ---- come and go ----------------------------------------------------------------------------- */

static void there_at_start(void **state) {
    struct bench *bench = *state;

    bed_add(&bench->bed, &ftdi);
    bed_add(&bench->bed, &silabs);
    start(bench);
    wait_told(bench, 2);
    assert_told(bench, bench->told[0][7] == '0' ? 0 : 1, "+ttyUSB0 " FTDI_SLOT);
    assert_told(bench, bench->told[0][7] == '0' ? 1 : 0, "+ttyUSB1 " SILABS_SLOT);
    assert_no_more(bench, 2);
}

static void plugged_and_unplugged(void **state) {
    struct bench *bench = *state;

    start(bench);
    bed_add(&bench->bed, &ftdi);
    assert_told(bench, 0, "+ttyUSB0 " FTDI_SLOT);
    assert_string_equal(bench->last.adapter, "FT230X");
    assert_string_equal(bench->last.serial, "DP05AB");
    assert_null(bench->last.unhandled);
    bed_add(&bench->bed, &silabs);
    assert_told(bench, 1, "+ttyUSB1 " SILABS_SLOT);
    assert_string_equal(bench->last.adapter, "CP2102/CP2104");
    assert_int_equal(bench->last.vendor, 0x10c4);
    assert_int_equal(bench->last.product, 0xea60);
    assert_string_equal(bench->last.serial, "0001");
    bed_remove(&bench->bed, &ftdi);
    assert_told(bench, 2, "-ttyUSB0 " FTDI_SLOT);
    bed_add(&bench->bed, &ftdi);
    assert_told(bench, 3, "+ttyUSB0 " FTDI_SLOT);
    bed_remove(&bench->bed, &silabs);
    assert_told(bench, 4, "-ttyUSB1 " SILABS_SLOT);
    assert_no_more(bench, 5);
}

/* Added between the monitor's start and the list: both tell of it. */
static void plugged_while_starting(void **state) {
    struct bench *bench = *state;

    bed_add(&bench->bed, &ftdi);
    start(bench);
    bed_add(&bench->bed, &silabs);
    bed_remove(&bench->bed, &ftdi);
    wait_told(bench, 1);
    assert_no_more(bench, 1);
    assert_string_equal(bench->told[0], "+ttyUSB1 " SILABS_SLOT);
}

static void renumbered_in_its_slot(void **state) {
    struct bed_adapter renumbered = ftdi;
    struct bench *bench = *state;

    renumbered.name = "ttyUSB5";
    start(bench);
    bed_add(&bench->bed, &ftdi);
    bed_remove(&bench->bed, &ftdi);
    bed_add(&bench->bed, &renumbered);
    assert_told(bench, 1, "-ttyUSB0 " FTDI_SLOT);
    assert_told(bench, 2, "+ttyUSB5 " FTDI_SLOT);
    assert_no_more(bench, 3);
}

/* Its "remove" was lost: what stands in its place tells that it has gone. */
static void lost_remove(void **state) {
    struct bed_adapter renumbered = ftdi, elsewhere = ftdi;
    struct bench *bench = *state;

    renumbered.name = "ttyUSB5";
    elsewhere.name = "ttyUSB5";
    elsewhere.slot = "1-3";
    start(bench);
    bed_add(&bench->bed, &ftdi);
    assert_told(bench, 0, "+ttyUSB0 " FTDI_SLOT);
    umockdev_testbed_remove_device(bench->bed.testbed, "/sys/devices/1-1/1-1:1.0/ttyUSB0/tty/ttyUSB0");
    umockdev_testbed_remove_device(bench->bed.testbed, "/sys/devices/1-1/1-1:1.0/ttyUSB0");
    bed_add(&bench->bed, &renumbered);
    assert_told(bench, 1, "-ttyUSB0 " FTDI_SLOT);
    assert_told(bench, 2, "+ttyUSB5 " FTDI_SLOT);
    umockdev_testbed_remove_device(bench->bed.testbed, "/sys/devices/1-1/1-1:1.0/ttyUSB5/tty/ttyUSB5");
    umockdev_testbed_remove_device(bench->bed.testbed, "/sys/devices/1-1/1-1:1.0/ttyUSB5");
    bed_add(&bench->bed, &elsewhere);
    assert_told(bench, 3, "-ttyUSB5 " FTDI_SLOT);
    assert_told(bench, 4, "+ttyUSB5 pci-0000:00:11.0-usb-0:3:1.0");
    assert_no_more(bench, 5);
}

static void told_twice(void **state) {
    struct bench *bench = *state;
    struct bed_paths paths;

    start(bench);
    bed_add(&bench->bed, &ftdi);
    bed_paths(&bench->bed, &ftdi, &paths);
    assert_told(bench, 0, "+ttyUSB0 " FTDI_SLOT);
    bed_event(&bench->bed, paths.tty, "add");
    bed_event(&bench->bed, paths.tty, "change");
    bed_add(&bench->bed, &silabs);
    assert_told(bench, 1, "+ttyUSB1 " SILABS_SLOT);
    bed_event(&bench->bed, paths.tty, "remove");
    bed_event(&bench->bed, paths.tty, "remove");
    assert_told(bench, 2, "-ttyUSB0 " FTDI_SLOT);
    assert_no_more(bench, 3);
}

static void changed_slot(void **state) {
    struct bench *bench = *state;
    struct bed_paths paths;

    start(bench);
    bed_add(&bench->bed, &ftdi);
    bed_paths(&bench->bed, &ftdi, &paths);
    assert_told(bench, 0, "+ttyUSB0 " FTDI_SLOT);
    umockdev_testbed_set_property(bench->bed.testbed, paths.tty, "ID_PATH", "another");
    bed_event(&bench->bed, paths.tty, "change");
    assert_told(bench, 1, "-ttyUSB0 " FTDI_SLOT);
    assert_told(bench, 2, "+ttyUSB0 another");
    assert_no_more(bench, 3);
}

static void moved(void **state) {
    struct bed_adapter there = { .name = "ttyUSB7", .slot = "1-4", FT230X };
    struct bench *bench = *state;
    struct bed_paths paths;

    start(bench);
    bed_add(&bench->bed, &ftdi);
    assert_told(bench, 0, "+ttyUSB0 " FTDI_SLOT);
    bed_add(&bench->bed, &there);
    assert_told(bench, 1, "+ttyUSB7 pci-0000:00:11.0-usb-0:4:1.0");
    bed_paths(&bench->bed, &there, &paths);
    umockdev_testbed_set_property(bench->bed.testbed, paths.tty, "DEVPATH_OLD",
                                  "/devices/1-1/1-1:1.0/ttyUSB0/tty/ttyUSB0");
    bed_event(&bench->bed, paths.tty, "move");
    assert_told(bench, 2, "-ttyUSB0 " FTDI_SLOT);
    assert_no_more(bench, 3);
}

static void udev_comes_to_it_later(void **state) {
    struct bed_adapter early = ftdi;
    struct bench *bench = *state;
    struct bed_paths paths;

    early.unknown_yet = true;
    bed_add(&bench->bed, &early);
    bed_add(&bench->bed, &silabs);
    start(bench);
    assert_told(bench, 0, "+ttyUSB1 " SILABS_SLOT);
    bed_paths(&bench->bed, &early, &paths);
    umockdev_testbed_set_property(bench->bed.testbed, paths.tty, "USEC_INITIALIZED", "2");
    umockdev_testbed_set_property(bench->bed.testbed, paths.tty, "ID_PATH", "here");
    bed_event(&bench->bed, paths.tty, "add");
    assert_told(bench, 1, "+ttyUSB0 here");
    assert_no_more(bench, 2);
}

/* ---- slots ----------------------------------------------------------------------------------- */

static void same_serial_numbers(void **state) {
    struct bed_adapter twin = silabs;
    struct bench *bench = *state;

    twin.name = "ttyUSB2";
    twin.slot = "1-3";
    start(bench);
    bed_add(&bench->bed, &silabs);
    bed_add(&bench->bed, &twin);
    assert_told(bench, 0, "+ttyUSB1 " SILABS_SLOT);
    assert_told(bench, 1, "+ttyUSB2 pci-0000:00:11.0-usb-0:3:1.0");
    bed_remove(&bench->bed, &silabs);
    assert_told(bench, 2, "-ttyUSB1 " SILABS_SLOT);
    assert_no_more(bench, 3);
}

static void ports_of_one_adapter(void **state) {
    struct bed_adapter ports[] = {
        { .name = "ttyUSB0", .slot = "1-1", .vendor = "0403", .product = "6010" },
        { .name = "ttyUSB1", .slot = "1-1", .vendor = "0403", .product = "6010", .interface = 1 },
        { .name = "ttyUSB2", .slot = "1-2", .vendor = "10c4", .product = "ea71" },
        { .name = "ttyUSB3", .slot = "1-2", .vendor = "10c4", .product = "ea71", .port = 1 },
        { .name = "ttyUSB4", .slot = "1-2", .vendor = "10c4", .product = "ea71", .port = 2, .id_path = "" },
    };
    static const char *const wanted[] = {
        "+ttyUSB0 pci-0000:00:11.0-usb-0:1:1.0",
        "+ttyUSB1 pci-0000:00:11.0-usb-0:1:1.1",
        "+ttyUSB2 pci-0000:00:11.0-usb-0:2:1.0",
        "+ttyUSB3 pci-0000:00:11.0-usb-0:2:1.0-port1",
        "+ttyUSB4 usb-1-2:1.0-port2",
    };
    struct bench *bench = *state;

    start(bench);
    for (unsigned i = 0; i < 5; i++) {
        bed_add(&bench->bed, &ports[i]);
        assert_told(bench, i, wanted[i]);
    }
    bed_remove(&bench->bed, &ports[0]);
    assert_told(bench, 5, "-ttyUSB0 pci-0000:00:11.0-usb-0:1:1.0");
    assert_no_more(bench, 6);
}

static void without_id_path(void **state) {
    struct bed_adapter adapter = { .name = "ttyUSB0", .slot = "3-1.4.2", FT230X, .id_path = "" };
    struct bench *bench = *state;

    start(bench);
    bed_add(&bench->bed, &adapter);
    assert_told(bench, 0, "+ttyUSB0 usb-3-1.4.2:1.0");
    assert_string_equal(bench->last.serial, "");
    assert_no_more(bench, 1);
}

/* Neither may take the other's place. */
static void same_id_path(void **state) {
    struct bed_adapter one = ftdi, other = silabs;
    struct bench *bench = *state;
    struct bed_paths paths;

    one.id_path = other.id_path = "platform-usb-0:1:1.0";
    start(bench);
    bed_add(&bench->bed, &one);
    bed_add(&bench->bed, &other);
    assert_told(bench, 0, "+ttyUSB0 platform-usb-0:1:1.0");
    assert_told(bench, 1, "+ttyUSB1 usb-1-2:1.0");
    bed_paths(&bench->bed, &one, &paths);
    bed_event(&bench->bed, paths.tty, "change");
    bed_paths(&bench->bed, &other, &paths);
    bed_event(&bench->bed, paths.tty, "change");
    assert_no_more(bench, 2);
}

static void odd_serial_number(void **state) {
    struct bed_adapter adapter = { .name = "ttyUSB0", .slot = "1-1", FT230X, .serial = "a b\xff\x01" };
    struct bench *bench = *state;

    start(bench);
    bed_add(&bench->bed, &adapter);
    wait_told(bench, 1);
    assert_string_equal(bench->last.serial, "a_b__");
}

/* ---- which adapters -------------------------------------------------------------------------- */

static void strangers_are_not_told_of(void **state) {
    static const struct bed_adapter strangers[] = {
        { .name = "ttyUSB0", .slot = "1-1", .vendor = "1a86", .product = "7523" },
        { .name = "ttyUSB1", .slot = "1-2", .vendor = "0403", .product = "6016" },
        { .name = "ttyUSB2", .slot = "1-3", .vendor = "04d8", .product = "ef99" },
        { .name = "ttyUSB3", .slot = "1-4", .vendor = "6015", .product = "0403" },
        { .name = "ttyUSB4", .slot = "1-5", .vendor = "0403x", .product = "6015" },
        { .name = "ttyUSB5", .slot = "1-6", .vendor = "", .product = "6015" },
        { .name = "ttyUSB6", .slot = "1-7", .vendor = "10403", .product = "6015" },
        { .name = "ttyS0", .slot = "serial8250", FT230X, .without_usb = true },
        { .name = "ttyUSB7", .slot = "virtual", FT230X, .without_usb = true },
        { .name = "rfcomm0", .slot = "1-8", FT230X },
    };
    struct bench *bench = *state;

    for (unsigned i = 0; i < 5; i++)
        bed_add(&bench->bed, &strangers[i]);
    start(bench);
    for (unsigned i = 5; i < sizeof strangers / sizeof *strangers; i++)
        bed_add(&bench->bed, &strangers[i]);
    for (unsigned i = 0; i < sizeof strangers / sizeof *strangers; i += 2)
        bed_remove(&bench->bed, &strangers[i]);
    assert_no_more(bench, 0);
}

static void carriers_are_told_of_with_a_reason(void **state) {
    static const struct {
        const char *product, *name;
    } carriers[] = { { "ef98", "Expansion Board 3" },
                     { "f012", "Pysense" },
                     { "f013", "Pytrack" },
                     { "ef38", "Pyscan" },
                     { "ed14", "Pygate" } };
    struct bench *bench = *state;
    char name[16], slot[16];

    start(bench);
    for (unsigned i = 0; i < sizeof carriers / sizeof *carriers; i++) {
        struct bed_adapter adapter = { .name = name, .slot = slot, .vendor = "04d8", .is_acm = true };

        snprintf(name, sizeof name, "ttyACM%u", i);
        snprintf(slot, sizeof slot, "1-%u", i + 1);
        adapter.product = carriers[i].product;
        adapter.serial = "Py343434";
        bed_add(&bench->bed, &adapter);
        wait_told(bench, i + 1);
        assert_string_equal(bench->last.adapter, carriers[i].name);
        assert_string_equal(bench->last.serial, "Py343434");
        assert_non_null(bench->last.unhandled);
        assert_int_equal(bench->last.unhandled[strlen(bench->last.unhandled) - 1], '.');
    }
    assert_no_more(bench, 5);
}

static void configured_adapters(void **state) {
    struct bed_adapter ch340 = { .name = "ttyUSB0", .slot = "1-1", .vendor = "1a86", .product = "7523" };
    struct bench *bench = *state;

    bench->config.n_adapters = 2;
    bench->config.adapters[0] = (struct config_adapter) { 0x1a86, 0x7523, "CH340" };
    bench->config.adapters[1] = (struct config_adapter) { 0x10c4, 0xea60, "Mine" };
    bed_add(&bench->bed, &ch340);
    start(bench);
    wait_told(bench, 1);
    assert_string_equal(bench->last.adapter, "CH340");
    assert_null(bench->last.unhandled);
    bed_add(&bench->bed, &silabs);
    wait_told(bench, 2);
    assert_string_equal(bench->last.adapter, "CP2102/CP2104");
    assert_no_more(bench, 2);
}

/* ---- many ------------------------------------------------------------------------------------ */

/* A good half of it is umockdev's own, which looks at every path twice. All 64 in one turn take above 25 ms.
 */
static void assert_turns_are_short(const struct bench *bench) {
#if defined __SANITIZE_ADDRESS__
    const double limit_ms = 75;
#else
    const double limit_ms = 15;
#endif

    print_message("# the longest turn took %.2f ms\n", bench->longest_turn_ms);
    assert_true(bench->longest_turn_ms < limit_ms);
}

static void each_of_many(struct bench *bench,
                         bool (*what)(struct bed *bed, const struct bed_adapter *adapter)) {
    char name[16], slot[16];

    for (unsigned i = 0; i < N_BURST; i++) {
        struct bed_adapter adapter = { .name = name, .slot = slot, FT230X, .serial = "0001" };

        snprintf(name, sizeof name, "ttyUSB%u", i);
        snprintf(slot, sizeof slot, "1-%u", i + 1);
        assert_true(what(&bench->bed, &adapter));
    }
}

static void many_at_start(void **state) {
    struct bench *bench = *state;

    each_of_many(bench, bed_add);
    start(bench);
    wait_told(bench, N_BURST);
    assert_no_more(bench, N_BURST);
    assert_turns_are_short(bench);
}

static void many_at_once(void **state) {
    struct bench *bench = *state;

    start(bench);
    each_of_many(bench, bed_add);
    wait_told(bench, N_BURST);
    each_of_many(bench, bed_remove);
    wait_told(bench, 2 * N_BURST);
    assert_no_more(bench, 2 * N_BURST);
    assert_turns_are_short(bench);
    for (unsigned i = 0; i < 2 * N_BURST; i++)
        assert_int_equal(bench->told[i][0], i < N_BURST ? '+' : '-');
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

#define EXIT_SKIP 77

/* In a network of its own, where nobody else hears the messages. */
static void lose_messages(struct bench *bench) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        _exit(EXIT_SKIP);
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
    usb_watch_close(bench->watch, on_closed, bench);
    uv_run(&bench->loop, UV_RUN_DEFAULT);
    assert_true(bench->is_closed);
}

static void queue_runs_over(void **state) {
    struct bench *bench = *state;
    pid_t child;
    int status;

    assert_int_equal(uv_loop_close(&bench->loop), 0);
    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        uv_loop_init(&bench->loop);
        lose_messages(bench);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIP) {
        print_message("# no network of its own may be made here\n");
        skip();
    }
    assert_int_equal(status, 0);
}

/* ---- close ----------------------------------------------------------------------------------- */

static void close_before_the_list(void **state) {
    struct bench *bench = *state;

    bed_add(&bench->bed, &ftdi);
    start(bench);
}

/* Inside each callback of a list, of an event, and of a port that takes another's place. */
static void close_inside_a_callback(void **state) {
    struct bed_adapter renumbered = ftdi;
    struct bench *bench = *state;

    renumbered.name = "ttyUSB5";
    for (unsigned i = 1; i <= 5; i++) {
        bench->n_told = 0;
        bench->is_closed = false;
        bench->close_after = i;
        bed_add(&bench->bed, &ftdi);
        bed_add(&bench->bed, &silabs);
        start(bench);
        for (unsigned n = 0; n < 100 && bench->n_told < 2 && !bench->is_closed; n++)
            turn(bench, UV_RUN_NOWAIT);
        umockdev_testbed_remove_device(bench->bed.testbed, "/sys/devices/1-1/1-1:1.0/ttyUSB0/tty/ttyUSB0");
        umockdev_testbed_remove_device(bench->bed.testbed, "/sys/devices/1-1/1-1:1.0/ttyUSB0");
        bed_add(&bench->bed, &renumbered);
        bed_remove(&bench->bed, &silabs);
        uv_run(&bench->loop, UV_RUN_DEFAULT);
        assert_true(bench->is_closed);
        assert_int_equal(bench->n_told, i);
        bed_remove(&bench->bed, &renumbered);
    }
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static void no_umockdev(void **state) {
    (void)state;
    print_message("# no libumockdev-preload\n");
    skip();
}

int main(int argc, char **argv) {
    static const struct CMUnitTest none[] = { cmocka_unit_test(no_umockdev) };
    static const struct CMUnitTest tests[] = {
        moment(there_at_start),
        moment(plugged_and_unplugged),
        moment(plugged_while_starting),
        moment(renumbered_in_its_slot),
        moment(lost_remove),
        moment(told_twice),
        moment(changed_slot),
        moment(moved),
        moment(udev_comes_to_it_later),
        moment(same_serial_numbers),
        moment(ports_of_one_adapter),
        moment(without_id_path),
        moment(same_id_path),
        moment(odd_serial_number),
        moment(strangers_are_not_told_of),
        moment(carriers_are_told_of_with_a_reason),
        moment(configured_adapters),
        moment(many_at_start),
        moment(many_at_once),
        moment(queue_runs_over),
        moment(close_before_the_list),
        moment(close_inside_a_callback),
    };

    (void)argc;
    if (!bed_preload(argv))
        return cmocka_run_group_tests(none, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
