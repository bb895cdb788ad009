/* Serial ports of USB adapters come and go, few and many, in a umockdev testbed. */

#include "tests/unit/test_usb_watch_bench.h"

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

int main(int argc, char **argv) {
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
        moment(many_at_start),
        moment(many_at_once),
        moment(close_before_the_list),
        moment(close_inside_a_callback),
    };

    (void)argc;
    return bed_preload(argv) ? cmocka_run_group_tests(tests, NULL, NULL) : without_umockdev();
}
