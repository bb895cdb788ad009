/* Which serial ports the watch tells of, and what it calls their slots. */

#include "tests/unit/test_usb_watch_bench.h"

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

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        moment(same_serial_numbers),
        moment(ports_of_one_adapter),
        moment(without_id_path),
        moment(same_id_path),
        moment(odd_serial_number),
        moment(strangers_are_not_told_of),
        moment(carriers_are_told_of_with_a_reason),
        moment(configured_adapters),
    };

    (void)argc;
    return bed_preload(argv) ? cmocka_run_group_tests(tests, NULL, NULL) : without_umockdev();
}
