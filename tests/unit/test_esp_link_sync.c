/* The wire to one chip: what reboots do to it, how it is found, and what is only listened to. */

#include "tests/unit/test_esp_link_chips.h"

/* ---- reboots ------------------------------------------------------------------------------------ */

/* What stands on the wire before the boot log: nothing, then more and more of a reply, up to a frame that
 * ends somewhere in the log because it has become too long. */
static void reboot(struct bench *bench, const uint8_t *frame, size_t size) {
    uint8_t half[128] = { 0xc0 };

    (void)size;
    if (frame[1] == ESP_SYNC) {
        say_syncs(bench, 8, ESP_SYNC_ROM);
        return;
    }
    memset(half + 1, 'x', sizeof half - 1);
    say(bench, half, (size_t)bench->moment);
    say_text(bench, DOWNLOAD_LOG);
}

static void reboot_in_mid_request(void **state) {
    struct bench *bench = *state;

    bench->on_request = reboot;
    ask_register(bench, ONE, LONG_MS);
    assert_true(wait_done(bench) < LONG_MS / 2);
    assert_int_equal(bench->outcome, ESP_REBOOTED);
    assert_int_equal(esp_link_boot_log(bench->link)->verdict, BOOT_LOG_DOWNLOAD);
    assert_int_equal(bench->n_syncs, 0);
    assert_listens(bench);
}

static void reboot_behind_half_a_reply(void **state) {
    static const int moments[] = { 1, 20, 60, 94, 95, 96, 97, 98, 99, 100, 101, 102, 128 };
    struct bench *bench = *state;

    /* 95 to 101: the frame becomes too long in the middle of "rst:0x1". */
    for (size_t i = 0; i < sizeof moments / sizeof *moments; i++) {
        bench->moment = moments[i];
        bench->on_request = reboot;
        esp_link_forget_log(bench->link);
        ask_register(bench, ONE, SHORT_MS);
        wait_done(bench);
        assert_int_equal(bench->outcome, ESP_REBOOTED);
        assert_int_equal(esp_link_boot_log(bench->link)->resets, 1);
    }
    assert_listens(bench);
}

static void say_log(struct bench *bench) {
    say_text(bench, DOWNLOAD_LOG);
}

/* The chip was dead for a while, and comes back to life while the link tries to sync again. */
static void reboot_after_the_timeout(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_syncs_only;
    tick_once(bench, SHORT_MS + 20, say_log);
    ask_register(bench, ONE, SHORT_MS);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_REBOOTED);
    assert_listens(bench);
}

static bool has_heard_a_reset(const struct bench *bench) {
    return esp_link_boot_log(bench->link)->resets == 1;
}

/* What stands between the reply and the boot log: nothing, or a late reply, which isn't text. */
static void answer_and_reboot(struct bench *bench, const uint8_t *frame, size_t size) {
    uint8_t out[1024];
    size_t n;

    (void)size;
    if (frame[1] == ESP_SYNC) {
        say_syncs(bench, 8, ESP_SYNC_ROM);
        return;
    }
    if (frame[1] != ESP_READ_REG) {
        answer_well(bench, frame, size);
        return;
    }
    n = add_reply(out, 0, ESP_READ_REG, ONE, NULL, 0, 0, 0);
    if (bench->moment)
        n = add_reply(out, n, ESP_SPI_FLASH_MD5, 0, "rst:0x1\r\nboot:0x3\r\nrst:0x1\r\n....", 32, 0, 0);
    memcpy(out + n, DOWNLOAD_LOG, strlen(DOWNLOAD_LOG));
    say(bench, out, n + strlen(DOWNLOAD_LOG)); /* all in one read */
}

static void reboot_right_behind_a_reply(void **state) {
    struct bench *bench = *state;

    for (bench->moment = 0; bench->moment < 2; bench->moment++) {
        bench->on_request = answer_and_reboot;
        esp_link_forget_log(bench->link);
        ask_register(bench, ONE, SHORT_MS);
        wait_done(bench);
        assert_int_equal(bench->outcome, ESP_OK);
        assert_int_equal(esp_link_boot_log(bench->link)->resets, 1);
        bench->on_request = answer_well;
        ask_register(bench, ONE, SHORT_MS);
        wait_done(bench);
        assert_int_equal(bench->outcome, ESP_REBOOTED);
    }
    assert_listens(bench);
}

/* While the pool works for a job nothing is asked: a reset must not go unnoticed then either, and is told
 * once. */
static void reboot_while_nothing_is_asked(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_well;
    say_log(bench);
    run_until(bench, has_heard_a_reset);
    ask_register(bench, ONE, SHORT_MS);
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_REBOOTED);
    assert_listens(bench);
}

/* ---- sync --------------------------------------------------------------------------------------- */

static void eight_replies_to_sync_are_swallowed(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_well;
    ask_sync(bench, 5, 0);
    wait_done(bench);
    assert_value(bench, ESP_SYNC_ROM);
    assert_int_equal(bench->n_syncs, 1);
    assert_int_equal(bench->n_delimiters, 2); /* a ROM that has not spoken yet gets plain ones */
    assert_listens(bench);
}

static void answer_with_few_syncs(struct bench *bench, const uint8_t *frame, size_t size) {
    (void)frame;
    (void)size;
    say_syncs(bench, (unsigned)bench->moment, ESP_SYNC_STUB);
}

static void fewer_or_more_replies_to_sync(void **state) {
    struct bench *bench = *state;

    for (bench->moment = 1; bench->moment <= 19; bench->moment += 6) {
        bench->on_request = answer_with_few_syncs;
        ask_sync(bench, 5, 0);
        wait_done(bench);
        assert_value(bench, ESP_SYNC_STUB);
        assert_ptr_equal(esp_link_loader(bench->link), &esp_loader_stub_unknown);
    }
}

static void answer_wrong_first(struct bench *bench, const uint8_t *frame, size_t size) {
    (void)frame;
    (void)size;
    say_syncs(bench, 8, bench->n_syncs < 3 ? 0x55555555 : ESP_SYNC_ROM);
}

static void wrong_value_in_sync_is_ignored(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_wrong_first;
    ask_sync(bench, 5, 0);
    wait_done(bench);
    assert_value(bench, ESP_SYNC_ROM);
    assert_int_equal(bench->n_syncs, 3);
}

static void sync_that_nobody_answers(void **state) {
    struct bench *bench = *state;

    ask_sync(bench, 3, 0);
    assert_true(wait_done(bench) < 3000);
    assert_int_equal(bench->outcome, ESP_LOST);
    assert_int_equal(bench->n_syncs, 3);
    assert_int_equal(bench->n_delimiters, 7); /* the second has one more */
}

/* Left in the middle of a frame, or woken at another rate: it takes an end for a beginning. */
static void stub_that_is_out_of_step(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_well;
    bench->is_strict = bench->is_inside = true;
    slip_decode(&bench->decoder, 0xc0);
    ask_sync(bench, 2, 0);
    wait_done(bench);
    assert_value(bench, ESP_SYNC_ROM);
    assert_int_equal(bench->n_syncs, 1);
    assert_listens(bench);
}

static void waiting_for_download_triggers_sync_at_once(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_well;
    tick_once(bench, 10, say_log);
    ask_sync(bench, 2, GUARD_MS);
    assert_true(wait_done(bench) < GUARD_MS / 2);
    assert_value(bench, ESP_SYNC_ROM);
    assert_int_equal(bench->n_ticks, 1);
    assert_int_equal(bench->n_syncs, 1);
}

/* The reset that brought the ROM up, by a person's hand, is no news to the request that follows. */
static void reset_while_listening_for_sync(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_well;
    tick_once(bench, 20, say_log);
    ask_sync(bench, 5, 500);
    wait_done(bench);
    assert_value(bench, ESP_SYNC_ROM);
    assert_int_equal(esp_link_boot_log(bench->link)->resets, 1);
    assert_listens(bench);
}

static void sync_after_listening_in_vain(void **state) {
    struct bench *bench = *state;

    bench->on_request = answer_well;
    tick_every(bench, 10, say_chatter);
    ask_sync(bench, 2, 60);
    assert_lasted(wait_done(bench), 60);
    assert_value(bench, ESP_SYNC_ROM);
}

/* ---- text and rates ----------------------------------------------------------------------------- */

static void listening_is_only_listening(void **state) {
    struct bench *bench = *state;

    say_text(bench, DOWNLOAD_LOG);
    ask_listen(bench, 50);
    assert_lasted(wait_done(bench), 50);
    assert_int_equal(bench->outcome, ESP_OK);
    assert_false(bench->has_reply);
    assert_int_equal(esp_link_boot_log(bench->link)->downloads, 1);
    assert_int_equal(bench->n_requests, 0);
    esp_link_forget_log(bench->link);
    assert_int_equal(esp_link_boot_log(bench->link)->verdict, BOOT_LOG_NOTHING);
}

static void rate_is_set_and_then_the_chip_answers(void **state) {
    struct bench *bench = *state;

    assert_int_equal(esp_link_baud(bench->link), 115200);
    assert_true(esp_link_can_baud(bench->link, 921600));
    assert_int_equal(esp_link_baud(bench->link), 115200);
    assert_false(esp_link_has_lines(bench->link)); /* a pty */
    bench->on_request = answer_well;
    ask_baud(bench, 230400);
    say_reply(bench, ESP_READ_REG, 0xdead); /* glitches of the change; the line is calm before it completes */
    wait_done(bench);
    assert_int_equal(bench->outcome, ESP_OK);
    assert_int_equal(esp_link_baud(bench->link), 230400);
    assert_listens(bench);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        TEST(reboot_in_mid_request),
        TEST(reboot_behind_half_a_reply),
        TEST(reboot_after_the_timeout),
        TEST(reboot_right_behind_a_reply),
        TEST(reboot_while_nothing_is_asked),
        TEST(eight_replies_to_sync_are_swallowed),
        TEST(fewer_or_more_replies_to_sync),
        TEST(wrong_value_in_sync_is_ignored),
        TEST(sync_that_nobody_answers),
        TEST(stub_that_is_out_of_step),
        TEST(waiting_for_download_triggers_sync_at_once),
        TEST(reset_while_listening_for_sync),
        TEST(sync_after_listening_in_vain),
        TEST(listening_is_only_listening),
        TEST(rate_is_set_and_then_the_chip_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
