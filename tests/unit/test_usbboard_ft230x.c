/* The simulated FT230X: divisors, lines, status bytes, the latency timer. The requests are those that Linux's
 * ftdi_sio sends. */
#include "tests/unit/test_usbboard.h"

const struct chip_model *const the_model = &chip_ft230x;

#define OUT 0x40
#define IN  0xC0

static bool send(struct bench *bench, int64_t now, uint8_t code, uint16_t value, uint16_t index) {
    return request(bench, now, OUT, code, value, index, NULL, 0);
}

static void receive(struct bench *bench, int64_t now, size_t n) {
    static const uint8_t bytes[1024] = { 'x' };

    chip_receive(&bench->chip, now, bytes, n);
}

static void descriptors_are_whole(void **state) {
    check_descriptors(*state, 0x0403, 0x6015, 0x1000);
}

/* wValue, wIndex (1: the channel), what the divider gives: the first ones as AN120 lists them */
static void rates_are_the_divisors(void **state) {
    static const struct {
        uint16_t value, index;
        uint32_t baud;
    } rows[] = {
        { 0x2710, 0x0001, 300 },     { 0x4138, 0x0001, 9600 },    { 0x809C, 0x0001, 19200 },
        { 0xC04E, 0x0001, 38400 },   { 0xC034, 0x0001, 57553 },   { 0x001A, 0x0001, 115384 },
        { 0x000D, 0x0001, 230769 },  { 0x4006, 0x0001, 461538 },  { 0x8003, 0x0001, 923076 },
        { 0x0003, 0x0001, 1000000 }, { 0x0002, 0x0001, 1500000 }, { 0x0001, 0x0001, 2000000 },
        { 0x0000, 0x0001, 3000000 }, { 0x0003, 0x0101, 888888 },  { 0x4003, 0x0101, 827586 },
        { 0x8003, 0x0101, 800000 },  { 0xC003, 0x0101, 774193 },
    };
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_true(send(bench, 0, 0x03, rows[i].value, rows[i].index));
        assert_int_equal(bench->chip.line.baud, rows[i].baud);
    }
    assert_string_equal(bench->reply.words, "SET_BAUD_RATE 774193");
}

static void unknown_requests_stall(void **state) {
    struct bench *bench = *state;

    assert_false(send(bench, 0, 0x55, 0, 0));
    assert_false(ask(bench, IN, 0x55, 0, 2));
    assert_false(send(bench, 0, 0x0B, 0x0101, 0)); /* bit-bang */
    assert_false(send(bench, 0, 0x00, 9, 0));
    assert_true(request(bench, 0, IN, 0x90, 0, 0x1A / 2, NULL, 2)); /* what CBUS0 and 1 do: no GPIO (8) */
    assert_int_equal(bench->reply.len, 2);
    assert_true(bench->reply.data[0] != 8 && bench->reply.data[1] != 8);
    assert_false(request(bench, 0, IN, 0x90, 0, 128, NULL, 2));
}

static void lines_in_modem_ctrl(void **state) {
    struct bench *bench = *state;

    assert_true(send(bench, 0, 0x01, 0x0303, 1));
    assert_true(bench->chip.line.dtr && bench->chip.line.rts);
    assert_true(send(bench, 0, 0x01, 0x0100, 1)); /* DTR alone */
    assert_true(!bench->chip.line.dtr && bench->chip.line.rts);
    assert_string_equal(bench->reply.words, "SET_MODEM_CTRL dtr=0 rts=1");
    assert_true(send(bench, 0, 0x02, 0, 1)); /* no handshake: the lines stay */
    assert_true(bench->chip.line.rts);
}

/* RESET at each open: lines and buffers, but neither rate nor latency. */
static void reset_at_open(void **state) {
    struct bench *bench = *state;

    assert_true(send(bench, 0, 0x03, 0x8003, 1));
    assert_true(send(bench, 0, 0x09, 1, 1));
    assert_true(send(bench, 0, 0x01, 0x0303, 1));
    receive(bench, 0, 100);
    assert_true(send(bench, 0, 0x00, 0, 1));
    assert_false(bench->chip.line.dtr || bench->chip.line.rts);
    assert_int_equal(bench->chip.rx.len, 0);
    assert_int_equal(chip_fill_due(&bench->chip), CHIP_NEVER);
    assert_int_equal(bench->chip.line.baud, 923076);
    assert_true(ask(bench, IN, 0x0A, 0, 1));
    assert_int_equal(bench->reply.data[0], 1);
    assert_int_equal(bench->chip.n_opens, 1);
}

static void two_status_bytes_a_packet(void **state) {
    struct bench *bench = *state;
    uint8_t out[512];

    receive(bench, MS, 130); /* 62 + 62 + 6 */
    assert_true(chip_fill_due(&bench->chip) <= MS);
    assert_int_equal(chip_fill(&bench->chip, MS, out, sizeof out), 128);
    for (size_t at = 0; at < 128; at += 64) {
        assert_int_equal(out[at], 0x01);     /* nothing is wired to CTS, DSR, RI, DCD */
        assert_int_equal(out[at + 1], 0x60); /* nothing to send */
    }
    assert_int_equal(chip_fill(&bench->chip, MS, out, sizeof out), 0);
    assert_int_equal(chip_fill(&bench->chip, 17 * MS, out, sizeof out), 8);
}

static void short_packets_wait_for_the_timer(void **state) {
    static const uint8_t latencies[] = { 16, 1, 2, 255 };
    struct bench *bench = *state;
    uint8_t out[512];
    int64_t now = 0;

    for (size_t i = 0; i < sizeof latencies; i++) {
        int64_t latency = latencies[i] * MS;

        if (i > 0) /* the first is the default */
            assert_true(send(bench, now, 0x09, latencies[i], 1));
        receive(bench, now, 1);
        now = chip_fill_due(&bench->chip);
        assert_int_equal(chip_fill(&bench->chip, now, out, sizeof out), 3);
        /* From here on the timer's start is known. */
        receive(bench, now + latency / 4, 5);
        assert_int_equal(chip_fill_due(&bench->chip), now + latency);
        assert_int_equal(chip_fill(&bench->chip, now + latency - 1, out, sizeof out), 0);
        assert_int_equal(chip_fill(&bench->chip, now + latency, out, sizeof out), 7);
        assert_int_equal(bench->chip.waited, latency - latency / 4);
        assert_int_equal(chip_fill_due(&bench->chip), CHIP_NEVER);
        /* Idle, it runs on: who comes later waits for its next end only. */
        receive(bench, now + 4 * latency + latency / 2, 1);
        assert_int_equal(chip_fill_due(&bench->chip), now + 5 * latency);
        now += 5 * latency;
        assert_int_equal(chip_fill(&bench->chip, now, out, sizeof out), 3);
    }
    assert_false(send(bench, now, 0x09, 0, 1));
    assert_false(send(bench, now, 0x09, 256, 1));
}

static void event_character_doesnt_wait(void **state) {
    struct bench *bench = *state;
    uint8_t out[64];

    assert_true(send(bench, 0, 0x06, 0x0100 | 'x', 1));
    receive(bench, MS, 1); /* it begins with an x */
    assert_int_equal(chip_fill(&bench->chip, MS, out, sizeof out), 3);
}

/* Nobody reads: what doesn't fit is lost, and the next packet says so, once. */
static void overrun_is_told(void **state) {
    struct bench *bench = *state;
    uint8_t out[64];

    receive(bench, 0, 513);
    assert_int_equal(bench->chip.n_overruns, 1);
    assert_int_equal(chip_fill(&bench->chip, MS, out, sizeof out), 64);
    assert_int_equal(out[1], 0x62);
    assert_int_equal(chip_fill(&bench->chip, MS, out, sizeof out), 64);
    assert_int_equal(out[1], 0x60);
}

static void empty_when_the_last_bit_has_left(void **state) {
    struct bench *bench = *state;
    uint8_t out[64] = { 0 };

    assert_true(send(bench, 0, 0x03, 0x001A, 1));
    assert_int_equal(chip_put(&bench->chip, MS, out, 20), 20);
    assert_true(request(bench, MS, IN, 0x05, 0, 1, NULL, 2));
    assert_int_equal(bench->reply.data[1], 0x00);
    assert_int_equal(chip_take(&bench->chip, MS, out, sizeof out), 20);
    assert_true(request(bench, MS, IN, 0x05, 0, 1, NULL, 2));
    assert_int_equal(bench->reply.data[1], 0x20); /* in the shift register */
    assert_true(request(bench, 3 * MS, IN, 0x05, 0, 1, NULL, 2));
    assert_int_equal(bench->reply.data[1], 0x60);
}

static void sends_at_the_rate(void **state) {
    struct bench *bench = *state;

    assert_true(send(bench, 0, 0x03, 0x4138, 1)); /* 9600 */
    check_pace(bench);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(descriptors_are_whole),
        TEST(rates_are_the_divisors),
        TEST(unknown_requests_stall),
        TEST(lines_in_modem_ctrl),
        TEST(reset_at_open),
        TEST(two_status_bytes_a_packet),
        TEST(short_packets_wait_for_the_timer),
        TEST(event_character_doesnt_wait),
        TEST(overrun_is_told),
        TEST(empty_when_the_last_bit_has_left),
        TEST(sends_at_the_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
