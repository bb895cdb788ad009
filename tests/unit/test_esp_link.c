/* The wire to one chip, at the moments at which wires and chips go wrong. See test_esp_link_sync.c for its
 * reboots, sync and rates, test_esp_link_end.c for the ends. */

#include "tests/unit/test_esp_link_chips.h"

/* ---- replies ------------------------------------------------------------------------------------ */

static void request_is_answered(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_well;
    ask_register(bench, ONE, LONG_MS);
    assert_true(wait_done(bench) < LONG_MS / 2);
    assert_value(bench, ~ONE);
    assert_int_equal(bench->n_requests, 1);
}

static void reply_brings_its_payload(void **state) {
    struct bench *bench = *state;
    struct esp_request request;

    bench->on_request = answer_well;
    esp_request_md5(&request, esp_link_loader(bench->link), 0, 4096);
    ask(bench, &request);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_OK);
    assert_int_equal(bench->reply.payload_size, 32);
    assert_memory_equal(bench->payload, "6ae59e64850377ee5470c854761551ea", 32);
}

static void refuse(struct bench *bench, const uint8_t *frame, size_t size) {
    (void)size;
    if (frame[8] == 4)
        say_refusal(bench, frame[1], 7);
    else
        say_refusal(bench, ESP_SPI_FLASH_MD5, 5); /* as the ROM refuses a command that it doesn't know */
}

static void refused(void **state) {
    struct bench *bench = *state;

    bench->on_request = refuse;
    ask_register(bench, ONE, LONG_MS);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_REFUSED);
    assert_int_equal(bench->reply.error, 7);
    ask_register(bench, TWO, LONG_MS);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_REFUSED);
    assert_int_equal(bench->reply.error, 5);
    assert_listens(bench);
}

static void answer_dripping(struct bench *bench, const uint8_t *frame, size_t size) {
    (void)size;
    bench->n_drip = add_reply(bench->drip, 0, frame[1], 0xc0dbc0db, NULL, 0, 0, 0);
    say_dripping(bench);
}

static void reply_in_single_bytes(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_dripping;
    ask_register(bench, ONE, LONG_MS);
    wait_done(bench);
    assert_value(bench, 0xc0dbc0db);
}

static void answer_twice(struct bench *bench, const uint8_t *frame, size_t size) {
    uint8_t out[128];
    size_t n = add_reply(out, 0, frame[1], 1, NULL, 0, 0, 0);

    if (frame[1] != ESP_READ_REG) { /* what stands between two of a kind */
        answer_well(bench, frame, size);
        return;
    }
    n = add_reply(out, n, frame[1], 2, NULL, 0, 0, 0);
    if (bench->moment)
        n -= (size_t)bench->moment; /* the rest comes before the next reply */
    say(bench, out, n);
    bench->on_request = answer_well;
}

static void duplicate_reply_in_the_same_chunk(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_twice;
    ask_register(bench, ONE, LONG_MS);
    wait_done(bench);
    assert_value(bench, 1);
    assert_listens(bench);
}

static void answer_after_the_rest(struct bench *bench, const uint8_t *frame, size_t size) {
    uint8_t out[128];
    size_t n = add_reply(out, 0, frame[1], 2, NULL, 0, 0, 0);

    memmove(out, out + n - (size_t)bench->moment, (size_t)bench->moment);
    n = add_reply(out, (size_t)bench->moment, frame[1], ~get_le32(frame + 8), NULL, 0, 0, 0);
    (void)size;
    say(bench, out, n);
    bench->on_request = answer_well;
}

static void duplicate_reply_cut_in_two(void **state) {
    struct bench *bench = *state;

    for (bench->moment = 1; bench->moment < 13; bench->moment++) {
        bench->on_request = answer_twice;
        ask_register(bench, ONE, LONG_MS);
        wait_done(bench);
        assert_value(bench, 1);
        bench->on_request = answer_after_the_rest;
        ask_register(bench, TWO, LONG_MS);
        wait_done(bench);
        assert_value(bench, ~TWO);
    }
}

/* Each answer comes a second time, but only when the next command is there: as from a chip or a driver that
 * says it late. */
static void answer_after_the_one_before(struct bench *bench, const uint8_t *frame, size_t size) {
    static uint8_t last[128];
    static size_t n_last;
    uint8_t out[256];
    char digest[33];
    size_t n = bench->n_requests > 1 ? n_last : 0;

    (void)size;
    memcpy(out, last, n);
    snprintf(digest, sizeof digest, "%032x", get_le32(frame + 8));
    n_last = frame[1] == ESP_SPI_FLASH_MD5
                 ? add_reply(last, 0, frame[1], 0, digest, 32, 0, 0)
                 : add_reply(last, 0, frame[1], ~get_le32(frame + 8), NULL, 0, 0, 0);
    memcpy(out + n, last, n_last);
    say(bench, out, n + n_last);
}

static void late_duplicates_are_no_answers(void **state) {
    struct bench *bench = *state;
    struct esp_request request;
    char digest[33];

    bench->on_request = answer_after_the_one_before;
    for (uint32_t i = 0; i < 12; i++) {
        if (i % 4 < 2) {
            ask_register(bench, 0x1000 + i, LONG_MS);
            wait_done(bench);
            assert_value(bench, ~(0x1000 + i));
            continue;
        }
        esp_request_md5(&request, esp_link_loader(bench->link), i << 16, 4096);
        ask(bench, &request);
        wait_done(bench);
        snprintf(digest, sizeof digest, "%032x", i << 16);
        assert_int_equal(bench->outcome, ESP_OK);
        assert_memory_equal(bench->payload, digest, 32);
    }
    assert_listens(bench);
}

static void ask_again(struct bench *bench) {
    assert_value(bench, ~(uint32_t)(bench->moment));
    if (++bench->moment == 200)
        return;
    bench->n_done = 0;
    ask_register(bench, (uint32_t)bench->moment, LONG_MS);
}

static void next_request_from_inside_the_callback(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_well;
    bench->on_done = ask_again;
    ask_register(bench, 0, LONG_MS);
    wait_done(bench);
    assert_int_equal(bench->n_requests, 200 + 199); /* and what stands between two of a kind */
}

static void check_block(struct bench *bench, const uint8_t *frame, size_t size) {
    assert_true(size > 24);
    assert_memory_equal(frame + 24, bench->body, size - 24);
    say_reply(bench, frame[1], 0);
}

static void block_of_escapes_goes_out_whole(void **state) {
    struct bench *bench = *state;
    struct esp_request request;
    uint64_t sent, received;

    bench->body = malloc(0x1000);
    memset(bench->body, 0xdb, 0x1000);
    bench->on_request = check_block;
    esp_request_data(&request, true, 0, &(struct esp_block) { .body = bench->body, .body_size = 0x1000 }, 0);
    ask(bench, &request);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_OK);
    esp_link_count(bench->link, &sent, &received);
    assert_in_range(sent, 0x2000 + 26, 0x2000 + 50);
    assert_int_equal(received, 14);
}

/* ---- silence and what comes late ---------------------------------------------------------------- */

static void timeout_then_sync_is_no_reply(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_syncs_only;
    ask_register(bench, ONE, SHORT_MS);
    assert_lasted(wait_done(bench), SHORT_MS);
    assert_int_equal(bench->outcome, ESP_NO_REPLY);
    assert_int_equal(bench->n_syncs, 1);
    assert_listens(bench);
}

enum { LATE_IN_DRAIN, BEFORE_THE_SYNCS, AMONG_THE_SYNCS, AFTER_THE_SYNCS, N_LATE_MOMENTS };

static void say_late(struct bench *bench) {
    say_reply(bench, ESP_READ_REG, 0xdead);
}

static void answer_late(struct bench *bench, const uint8_t *frame, size_t size) {
    (void)size;
    if (frame[1] != ESP_SYNC)
        return;
    switch (bench->moment) {
    case BEFORE_THE_SYNCS:
        say_late(bench);
        say_syncs(bench, 8, ESP_SYNC_ROM);
        return;
    case AMONG_THE_SYNCS:
        say_syncs(bench, 4, ESP_SYNC_ROM);
        say_late(bench);
        say_syncs(bench, 4, ESP_SYNC_ROM);
        return;
    case AFTER_THE_SYNCS:
        say_syncs(bench, 8, ESP_SYNC_ROM);
        say_late(bench);
        return;
    default:
        say_syncs(bench, 8, ESP_SYNC_ROM);
    }
}

static void timeout_then_late_reply(void **state) {
    struct bench *bench = *state;

    for (int moment = 0; moment < N_LATE_MOMENTS; moment++) {
        bench->moment = moment;
        bench->n_ticks = 0;
        bench->on_request = answer_late;
        if (moment == LATE_IN_DRAIN)
            tick_once(bench, SHORT_MS + 25, say_late);
        ask_register(bench, ONE, SHORT_MS);
        wait_done(bench);
        assert_int_equal(bench->outcome, ESP_NO_REPLY);
        assert_int_equal(bench->n_ticks, moment == LATE_IN_DRAIN);
        assert_listens(bench);
    }
}

static void dead_chip_is_lost_in_bounded_time(void **state) {
    struct bench *bench = *state;

    ask_register(bench, ONE, SHORT_MS);
    assert_true(wait_done(bench) < 3000);
    assert_int_equal(bench->outcome, ESP_LOST);
    assert_int_equal(bench->n_syncs, 6);
    /* Every other SYNC has one delimiter more, in case a frame was left open. */
    assert_int_equal(bench->n_delimiters, 2 + 6 * 2 + 3);
    bench->on_request = answer_well;
    ask_sync(bench, 2, 0);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_OK);
    assert_listens(bench);
}

static void chip_that_takes_nothing_is_lost_in_bounded_time(void **state) {
    struct bench *bench = *state;
    struct esp_request request;

    chip_is_deaf(bench);
    bench->body = calloc(1, BODY_MAX);
    esp_request_data(&request, false, 0, &(struct esp_block) { .body = bench->body, .body_size = BODY_MAX },
                     0);
    ask_baud(bench, 921600);
    wait_done(bench);
    request.timeout_ms = 0; /* the wire's own time comes on top */
    ask(bench, &request);
    assert_true(wait_done(bench) < 10000);
    assert_int_equal(bench->outcome, ESP_LOST);
}

/* ---- broken and noisy --------------------------------------------------------------------------- */

static void answer_broken(struct bench *bench, const uint8_t *frame, size_t size) {
    static const char *const broken[] = {
        "\xc0\x01\x0a\x04\xdb\x01\x01\xc0",                 /* a wrong escape */
        "\xc0\x01\x0a\x05\x01\x01\x01\x01\x01\x01\x01\xc0", /* a byte was lost */
        "\xc0\x01\x0a\xc0",                                 /* most of it was lost */
    };

    (void)size;
    if (frame[1] == ESP_SYNC)
        say_syncs(bench, 8, ESP_SYNC_ROM);
    else
        say_text(bench, broken[bench->moment]);
}

static void broken_reply_shortens_the_wait(void **state) {
    struct bench *bench = *state;

    for (int moment = 0; moment < 3; moment++) {
        bench->moment = moment;
        bench->on_request = answer_broken;
        ask_register(bench, ONE, LONG_MS);
        assert_true(wait_done(bench) < LONG_MS / 2);
        assert_int_equal(bench->outcome, ESP_NO_REPLY);
        assert_listens(bench);
    }
}

static void say_noise(struct bench *bench) {
    static const uint8_t broken[] = { 0xc0, 0xdb, 0x01, 'x' };

    switch (bench->n_ticks % 3) {
    case 0:
        say_syncs(bench, 1, ESP_SYNC_ROM); /* stale, while no SYNC is under way */
        return;
    case 1:
        say_text(bench, "\xc0\x02zz\xc0still here\r\n");
        return;
    default:
        say(bench, broken, sizeof broken);
    }
}

static void hear_some(void *userdata, const uint8_t *bytes, size_t size) {
    struct bench *bench = userdata;

    assert_true(size > 0 && bytes); /* a frame that breaks at its first byte holds no text */
    bench->moment++;
}

static void noise_cannot_keep_a_request_alive(void **state) {
    struct bench *bench = *state;

    esp_link_on_text(bench->link, hear_some);
    tick_every(bench, 10, say_noise);
    ask_register(bench, ONE, 300);
    assert_true(wait_done(bench) < 4000);
    assert_true(bench->n_ticks > 10);
    assert_true(bench->moment > 0);
    assert_int_not_equal(bench->outcome, ESP_OK);
}

static void chatter_cannot_keep_a_request_alive(void **state) {
    struct bench *bench = *state;

    tick_every(bench, 10, say_chatter);
    ask_register(bench, ONE, SHORT_MS);
    assert_true(wait_done(bench) < 4000);
    assert_int_equal(bench->outcome, ESP_LOST);
    assert_int_equal(esp_link_boot_log(bench->link)->verdict, BOOT_LOG_FIRMWARE);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        TEST(request_is_answered),
        TEST(reply_brings_its_payload),
        TEST(refused),
        TEST(reply_in_single_bytes),
        TEST(duplicate_reply_in_the_same_chunk),
        TEST(duplicate_reply_cut_in_two),
        TEST(late_duplicates_are_no_answers),
        TEST(next_request_from_inside_the_callback),
        TEST(block_of_escapes_goes_out_whole),
        TEST(timeout_then_sync_is_no_reply),
        TEST(timeout_then_late_reply),
        TEST(dead_chip_is_lost_in_bounded_time),
        TEST(chip_that_takes_nothing_is_lost_in_bounded_time),
        TEST(broken_reply_shortens_the_wait),
        TEST(noise_cannot_keep_a_request_alive),
        TEST(chatter_cannot_keep_a_request_alive),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
