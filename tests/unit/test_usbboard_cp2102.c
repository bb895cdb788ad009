/* The simulated CP2102: rates, lines, what is kept and what is lost. The requests are those that Linux's
 * cp210x sends. */
#include "tests/unit/test_usbboard.h"

const struct chip_model *const the_model = &chip_cp2102;

#define OUT 0x41
#define IN  0xC1

static void set_rate(struct bench *bench, uint32_t baud) {
    uint8_t d[4];

    put_u32(d, baud);
    assert_true(request(bench, 0, OUT, 0x1E, 0, 0, d, 4));
}

static void enable(struct bench *bench, bool on) {
    assert_true(ask(bench, OUT, 0x00, on, 0));
}

static void descriptors_are_whole(void **state) {
    check_descriptors(*state, 0x10C4, 0xEA60, 0x0100);
}

/* asked for, what the chip calls it, what the divider gives (AN205, table 1; 0: the table doesn't say which
 * of two) */
static void rates_are_the_tables(void **state) {
    static const uint32_t rows[][3] = {
        { 300, 300, 300 },           { 9600, 9600, 9600 },       { 19200, 19200, 19200 },
        { 57600, 57600, 57553 },     { 115200, 115200, 115384 }, { 117028, 115200, 115384 },
        { 117029, 128000, 0 },       { 129348, 153600, 153846 }, { 230400, 230400, 230769 },
        { 273067, 460800, 461538 },  { 460800, 460800, 461538 }, { 500000, 500000, 500000 },
        { 576000, 576000, 571428 },  { 921600, 921600, 923076 }, { 1000000, 921600, 923076 },
        { 3000000, 921600, 923076 },
    };
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        set_rate(bench, rows[i][0]);
        if (rows[i][2] > 0)
            assert_int_equal(bench->chip.line.baud, rows[i][2]);
        assert_true(ask(bench, IN, 0x1D, 0, 4));
        assert_int_equal(get_u32(bench->reply.data), rows[i][1]);
    }
    assert_true(ask(bench, OUT, 0x01, 32, 0)); /* the older request: 3.6864 MHz by 32 */
    assert_int_equal(bench->chip.line.baud, 115384);
    assert_false(ask(bench, OUT, 0x01, 0, 0));
    assert_false(request(bench, 0, OUT, 0x1E, 0, 0, "\0", 1));
}

static void unknown_requests_stall(void **state) {
    struct bench *bench = *state;

    assert_true(ask(bench, 0xC0, 0xFF, 0x370B, 1));
    assert_int_equal(bench->reply.data[0], 2);
    assert_false(ask(bench, 0xC0, 0xFF, 0x3711, 2)); /* of other CP210x */
    assert_false(ask(bench, IN, 0x16, 0, 4));
    assert_false(ask(bench, OUT, 0x77, 0, 0));
    assert_string_equal(bench->reply.words, "UNKNOWN type=41 request=77 value=0000 index=0000 length=0");
    assert_false(ask(bench, 0xA1, 0x21, 0, 7)); /* a class's */
}

static void lines_in_set_mhs(void **state) {
    struct bench *bench = *state;

    assert_true(ask(bench, OUT, 0x07, 0x0303, 0));
    assert_true(bench->chip.line.dtr && bench->chip.line.rts);
    assert_true(ask(bench, OUT, 0x07, 0x0200, 0)); /* RTS alone */
    assert_true(bench->chip.line.dtr && !bench->chip.line.rts);
    assert_string_equal(bench->reply.words, "SET_MHS dtr=1 rts=0");
    assert_true(ask(bench, OUT, 0x07, 0x0003, 0)); /* levels that don't count */
    assert_true(bench->chip.line.dtr && !bench->chip.line.rts);
    assert_true(ask(bench, IN, 0x08, 0, 1));
    assert_int_equal(bench->reply.data[0], 0x01);
}

/* With CRTSCTS they travel in here, and RTS may be left to the chip. */
static void lines_in_set_flow(void **state) {
    struct bench *bench = *state;
    uint8_t flow[16] = { 0 };

    put_u32(flow, 0x09);     /* DTR active, CTS counts */
    put_u32(flow + 4, 0x80); /* RTS by the chip */
    assert_true(request(bench, 0, OUT, 0x13, 0, 0, flow, 16));
    assert_true(bench->chip.line.dtr && bench->chip.line.rts);
    put_u32(flow, 0x00);
    put_u32(flow + 4, 0x40);
    assert_true(request(bench, 0, OUT, 0x13, 0, 0, flow, 16));
    assert_true(!bench->chip.line.dtr && bench->chip.line.rts);
    assert_true(ask(bench, IN, 0x14, 0, 16));
    assert_memory_equal(bench->reply.data, flow, 16);
    assert_false(request(bench, 0, OUT, 0x13, 0, 0, flow, 8));
}

static void disabled_keeps_nothing(void **state) {
    struct bench *bench = *state;
    uint8_t out[64];

    chip_receive(&bench->chip, 0, (const uint8_t *)"lost", 4);
    enable(bench, true);
    assert_int_equal(chip_fill_due(&bench->chip), CHIP_NEVER);
    chip_receive(&bench->chip, 0, (const uint8_t *)"kept", 4);
    assert_true(chip_fill_due(&bench->chip) <= 0);
    assert_int_equal(chip_fill(&bench->chip, 0, out, sizeof out), 4);
    assert_memory_equal(out, "kept", 4);
    enable(bench, false);
    chip_receive(&bench->chip, 0, (const uint8_t *)"lost", 4);
    assert_int_equal(chip_fill(&bench->chip, 0, out, sizeof out), 0);
    assert_int_equal(bench->chip.n_opens, 1);
    assert_int_equal(bench->chip.n_closes, 1);
}

static void purge_and_comm_status(void **state) {
    struct bench *bench = *state;
    uint8_t bytes[100] = { 0 };

    set_rate(bench, 9600);
    enable(bench, true);
    chip_receive(&bench->chip, 0, bytes, 7);
    assert_int_equal(chip_put(&bench->chip, 0, bytes, sizeof bytes), sizeof bytes);
    assert_true(ask(bench, IN, 0x10, 0, 19));
    assert_int_equal(bench->reply.len, 19);
    assert_int_equal(get_u32(bench->reply.data + 8), 7);
    assert_int_equal(get_u32(bench->reply.data + 12), sizeof bytes);
    assert_true(ask(bench, OUT, 0x12, 0x000F, 0));
    assert_int_equal(bench->chip.n_tx_purges, 1);
    assert_true(ask(bench, IN, 0x10, 0, 19));
    assert_int_equal(get_u32(bench->reply.data + 8), 0);
    assert_int_equal(get_u32(bench->reply.data + 12), 0);
}

static void overrun_is_told(void **state) {
    struct bench *bench = *state;
    uint8_t bytes[600] = { 0 }, out[1024];

    enable(bench, true);
    chip_receive(&bench->chip, 0, bytes, sizeof bytes);
    assert_int_equal(bench->chip.n_overruns, 600 - 576);
    assert_true(ask(bench, IN, 0x10, 0, 19));
    assert_int_equal(get_u32(bench->reply.data), 0x08);
    assert_true(ask(bench, IN, 0x10, 0, 19));
    assert_int_equal(get_u32(bench->reply.data), 0);
    assert_int_equal(chip_fill(&bench->chip, 0, out, sizeof out), 576);
}

/* As the driver has it where it must know of errors (INPCK). */
static void events_are_embedded(void **state) {
    struct bench *bench = *state;
    uint8_t bytes[577] = { 'a', 0xEC, 'b' }, out[1024];

    assert_true(ask(bench, OUT, 0x15, 0xEC, 0));
    enable(bench, true);
    chip_receive(&bench->chip, 0, bytes, 3);
    assert_int_equal(chip_fill(&bench->chip, 0, out, sizeof out), 4);
    assert_memory_equal(out, "a\xEC\0b", 4);
    chip_receive(&bench->chip, 0, bytes, sizeof bytes);
    assert_true(chip_fill(&bench->chip, 0, out, sizeof out) >= 3);
    assert_memory_equal(out,
                        "\xEC\x02\x02"
                        "a",
                        4);
}

static void sends_at_the_rate(void **state) {
    struct bench *bench = *state;

    set_rate(bench, 9600);
    check_pace(bench);
    set_rate(bench, 921600);
    bench->chip.tx_free = 0;
    check_pace(bench);
}

/* The lines fall with the power. */
static void reset_is_power_on(void **state) {
    struct bench *bench = *state;

    assert_true(ask(bench, OUT, 0x07, 0x0303, 0));
    enable(bench, true);
    chip_receive(&bench->chip, 0, (const uint8_t *)"x", 1);
    chip_reset(&bench->chip);
    assert_false(bench->chip.line.dtr || bench->chip.line.rts || bench->chip.enabled);
    assert_int_equal(bench->chip.rx.len, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(descriptors_are_whole), TEST(rates_are_the_tables), TEST(unknown_requests_stall),
        TEST(lines_in_set_mhs),      TEST(lines_in_set_flow),    TEST(disabled_keeps_nothing),
        TEST(purge_and_comm_status), TEST(overrun_is_told),      TEST(events_are_embedded),
        TEST(sends_at_the_rate),     TEST(reset_is_power_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
