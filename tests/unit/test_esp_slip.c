/* SLIP: what goes round comes back, and nothing that a wire can say breaks the decoder. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/esp/slip.h"

#define FUZZ_ROUNDS 2000
#define FUZZ_BYTES  1500

/* The decoder lives on the heap, at its exact size: ASan sees every byte beyond it. */
struct bench {
    struct slip_decoder *decoder;
    unsigned n_frames, n_broken, n_text;
    uint8_t frame[SLIP_FRAME_MAX]; /* the last one, whole or broken */
    size_t frame_size;
    uint8_t text[256];
};

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    bench->decoder = malloc(sizeof *bench->decoder);
    slip_decoder_reset(bench->decoder, SLIP_FRAME_MAX);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;

    free(bench->decoder);
    free(bench);
    return 0;
}

static void feed(struct bench *bench, const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++)
        switch (slip_decode(bench->decoder, bytes[i])) {
        case SLIP_NONE:
            break;
        case SLIP_TEXT:
            if (bench->n_text < sizeof bench->text)
                bench->text[bench->n_text] = bytes[i];
            bench->n_text++;
            break;
        case SLIP_FRAME:
            bench->n_frames++;
            assert_true(bench->decoder->size > 0);
            assert_true(bench->decoder->size <= bench->decoder->limit);
            bench->frame_size = bench->decoder->size;
            memcpy(bench->frame, bench->decoder->frame, bench->frame_size);
            break;
        case SLIP_BROKEN:
            bench->n_broken++;
            assert_true(bench->decoder->size <= bench->decoder->limit);
            bench->frame_size = bench->decoder->size;
            memcpy(bench->frame, bench->decoder->frame, bench->frame_size);
            break;
        }
}

/* As a C string, for bytes that a test writes down; the final NUL is not meant. */
#define FEED(bench, literal) feed(bench, (const uint8_t *)(literal), sizeof(literal) - 1)

static size_t frame_up(const uint8_t *bytes, size_t size, uint8_t *out) {
    size_t n = 0;

    out[n++] = 0xc0;
    n += slip_encode(bytes, size, out + n);
    out[n++] = 0xc0;
    return n;
}

static void assert_round_trip(struct bench *bench, const uint8_t *bytes, size_t size) {
    uint8_t *wire = malloc(SLIP_ENCODED_MAX(size));
    size_t n = frame_up(bytes, size, wire);
    unsigned before = bench->n_frames;

    assert_true(n <= SLIP_ENCODED_MAX(size));
    for (size_t i = 1; i + 1 < n; i++)
        assert_int_not_equal(wire[i], 0xc0);
    feed(bench, wire, n);
    free(wire);
    assert_int_equal(bench->n_frames, before + 1);
    assert_int_equal(bench->frame_size, size);
    assert_memory_equal(bench->frame, bytes, size);
}

/* ---- what comes back -------------------------------------------------------------------------- */

static void round_trip_of_each_byte(void **state) {
    uint8_t all[256];

    for (int i = 0; i < 256; i++) {
        all[i] = (uint8_t)i;
        assert_round_trip(*state, &all[i], 1);
    }
    assert_round_trip(*state, all, sizeof all);
}

static void round_trip_of_nothing_but_escapes(void **state) {
    uint8_t worst[1000];

    for (size_t i = 0; i < sizeof worst; i++)
        worst[i] = i % 3 ? 0xc0 : 0xdb;
    assert_round_trip(*state, worst, sizeof worst);
}

static void round_trip_at_the_limit(void **state) {
    uint8_t most[SLIP_FRAME_MAX];

    memset(most, 0xc0, sizeof most);
    assert_round_trip(*state, most, sizeof most);
}

static void encoding_is_the_specified_one(void **state) {
    static const uint8_t plain[] = { 0x01, 0xc0, 0xdb, 0xdc, 0xdd, 0x00 };
    static const uint8_t wire[] = { 0x01, 0xdb, 0xdc, 0xdb, 0xdd, 0xdc, 0xdd, 0x00 };
    uint8_t out[sizeof wire];

    (void)state;
    assert_int_equal(slip_encode(plain, sizeof plain, out), sizeof wire);
    assert_memory_equal(out, wire, sizeof wire);
    assert_int_equal(slip_encode(plain, 0, out), 0);
}

/* ---- between and around frames ---------------------------------------------------------------- */

static void two_delimiters_in_a_row(void **state) {
    struct bench *bench = *state;

    FEED(bench, "\xc0"
                "ab\xc0\xc0"
                "cd\xc0");
    assert_int_equal(bench->n_frames, 2);
    assert_memory_equal(bench->frame, "cd", 2);
    assert_int_equal(bench->n_text, 0);
}

/* The ROM may send empty frames after a change of rate (facts 1). */
static void empty_frames_do_not_invert_the_phase(void **state) {
    struct bench *bench = *state;

    FEED(bench, "\xc0\xc0\xc0\xc0\xc0"
                "ab\xc0");
    assert_int_equal(bench->n_frames, 1);
    assert_int_equal(bench->frame_size, 2);
    assert_int_equal(bench->n_text, 0);
}

static void text_between_frames(void **state) {
    struct bench *bench = *state;

    FEED(bench, "ets Jun\r\n\xc0"
                "ab\xc0rst:\xc0"
                "cd\xc0!");
    assert_int_equal(bench->n_frames, 2);
    assert_int_equal(bench->n_text, 14);
    assert_memory_equal(bench->text, "ets Jun\r\nrst:!", 14);
}

/* ---- broken ones ------------------------------------------------------------------------------ */

static void bad_escape_gives_up_the_frame(void **state) {
    struct bench *bench = *state;

    FEED(bench, "\xc0"
                "abc\xdb\x01");
    assert_int_equal(bench->n_broken, 1);
    assert_int_equal(bench->frame_size, 3);
    assert_memory_equal(bench->frame, "abc", 3);
    FEED(bench, "rest\xc0"); /* that delimiter closes the broken frame: the decoder takes it for an opening */
    assert_int_equal(bench->n_text, 4);
    FEED(bench, "\xc0"
                "ok\xc0");
    assert_int_equal(bench->n_frames, 1);
    assert_memory_equal(bench->frame, "ok", 2);
}

static void delimiter_after_an_escape_opens_the_next_frame(void **state) {
    struct bench *bench = *state;

    FEED(bench, "\xc0"
                "abc\xdb\xc0"
                "defg\xc0");
    assert_int_equal(bench->n_broken, 1);
    assert_int_equal(bench->n_frames, 1);
    /* The next frame begins empty: what had come of the broken one is no part of it. */
    assert_int_equal(bench->frame_size, 4);
    assert_memory_equal(bench->frame, "defg", 4);
}

static void overlong_frame_is_broken_at_the_limit(void **state) {
    struct bench *bench = *state;

    slip_decoder_reset(bench->decoder, 4);
    FEED(bench, "\xc0"
                "abcd\xc0");
    assert_int_equal(bench->n_frames, 1);
    FEED(bench, "\xc0"
                "abcde");
    assert_int_equal(bench->n_broken, 1);
    assert_int_equal(bench->frame_size, 4);
    assert_memory_equal(bench->frame, "abcd", 4);
    FEED(bench, "fgh\xc0\xc0ok\xc0");
    assert_int_equal(bench->n_text, 3);
    assert_int_equal(bench->n_frames, 2);
    assert_memory_equal(bench->frame, "ok", 2);
}

static void overlong_by_an_escaped_byte(void **state) {
    struct bench *bench = *state;

    slip_decoder_reset(bench->decoder, 2);
    FEED(bench, "\xc0"
                "ab\xdb\xdc");
    assert_int_equal(bench->n_broken, 1);
    FEED(bench, "\xc0"
                "a\xdb\xdd\xc0");
    assert_int_equal(bench->n_frames, 1);
    assert_memory_equal(bench->frame, "a\xdb", 2);
}

static void limit_beyond_the_buffer_is_cut_to_it(void **state) {
    struct bench *bench = *state;
    uint8_t byte = 'x';

    slip_decoder_reset(bench->decoder, SIZE_MAX);
    assert_int_equal(bench->decoder->limit, SLIP_FRAME_MAX);
    FEED(bench, "\xc0");
    for (size_t i = 0; i <= SLIP_FRAME_MAX; i++)
        feed(bench, &byte, 1);
    assert_int_equal(bench->n_broken, 1);
    assert_int_equal(bench->frame_size, SLIP_FRAME_MAX);
}

static void reset_in_mid_frame_forgets_it(void **state) {
    struct bench *bench = *state;

    FEED(bench, "\xc0"
                "abc\xdb");
    slip_decoder_reset(bench->decoder, SLIP_FRAME_MAX);
    FEED(bench, "\xdcx\xc0"
                "ok\xc0");
    assert_int_equal(bench->n_text, 2);
    assert_int_equal(bench->n_broken, 0);
    assert_int_equal(bench->n_frames, 1);
    assert_memory_equal(bench->frame, "ok", 2);
}

/* ---- anything --------------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Bytes in which those that mean something are frequent. */
static uint8_t random_byte(uint32_t *seed) {
    static const uint8_t special[] = { 0xc0, 0xdb, 0xdc, 0xdd };
    uint32_t random = next_random(seed);

    return random % 4 ? (uint8_t)(random >> 8) : special[random >> 8 & 3];
}

/* After any noise two delimiters at most bring a decoder back to its senses. */
static void random_bytes_then_a_frame(void **state) {
    struct bench *bench = *state;
    uint32_t seed = 20240229;

    for (int round = 0; round < FUZZ_ROUNDS; round++) {
        size_t size = next_random(&seed) % FUZZ_BYTES;
        uint8_t *noise = malloc(size + 1);
        unsigned frames;

        slip_decoder_reset(bench->decoder, next_random(&seed) % 300 + 2);
        for (size_t i = 0; i < size; i++)
            noise[i] = random_byte(&seed);
        feed(bench, noise, size);
        free(noise);
        FEED(bench, "\xc0\xc0");
        frames = bench->n_frames;
        FEED(bench, "ok\xc0");
        assert_int_equal(bench->n_frames, frames + 1);
        assert_int_equal(bench->frame_size, 2);
        assert_memory_equal(bench->frame, "ok", 2);
    }
}

static void random_frames_come_back(void **state) {
    uint32_t seed = 7;
    uint8_t bytes[600];

    for (int round = 0; round < FUZZ_ROUNDS; round++) {
        size_t size = next_random(&seed) % sizeof bytes + 1;

        for (size_t i = 0; i < size; i++)
            bytes[i] = random_byte(&seed);
        assert_round_trip(*state, bytes, size);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(round_trip_of_each_byte),
        TEST(round_trip_of_nothing_but_escapes),
        TEST(round_trip_at_the_limit),
        TEST(encoding_is_the_specified_one),
        TEST(two_delimiters_in_a_row),
        TEST(empty_frames_do_not_invert_the_phase),
        TEST(text_between_frames),
        TEST(bad_escape_gives_up_the_frame),
        TEST(delimiter_after_an_escape_opens_the_next_frame),
        TEST(overlong_frame_is_broken_at_the_limit),
        TEST(overlong_by_an_escaped_byte),
        TEST(limit_beyond_the_buffer_is_cut_to_it),
        TEST(reset_in_mid_frame_forgets_it),
        TEST(random_bytes_then_a_frame),
        TEST(random_frames_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
