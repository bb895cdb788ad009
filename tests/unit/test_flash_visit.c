/* One look at a port: who is there, and what is sent to find out. See test_flash_visit_talk.c for the prompt,
 * and test_flash_visit_end.c for the ends. */

#include "tests/unit/test_flash_visit_bench.h"
#include "tests/unit/test_holder.h"

/* ---- nobody, and somebody else ------------------------------------------------------------------- */

static void silent_port_gets_so_many_syncs_and_no_other_byte(void **state) {
    struct bench *bench = *state;

    for (bench->request.syncs = 0; bench->request.syncs < 6; bench->request.syncs++) {
        assert_true(visit(bench) < 2 * LISTEN_MS + 6 * 150 + 500);
        assert_int_equal(bench->report.fault.code, WIPYD_ERROR_NONE);
        assert_int_equal(bench->report.seen, BOARD_SEEN_SILENT);
        assert_false(bench->report.is_new);
        pass(bench, 50);
        assert_only_syncs(bench, bench->request.syncs);
        close_and_begin_anew(bench);
    }
}

static void quiet_visit_sends_nothing(void **state) {
    struct bench *bench = *state;

    bench->request.is_quiet = bench->request.may_reset = true;
    bench->request.may_speak = bench->request.may_stop_program = true;
    visit(bench);
    assert_int_equal(bench->report.seen, BOARD_SEEN_SILENT);
    say_later(bench, 20, ROM_DOWNLOAD);
    listen_on(bench, GUARD_MS);
    assert_true(wait_report(bench) < GUARD_MS / 2);
    assert_true(bench->report.is_new);
    assert_int_equal(bench->report.downloads, 1);
    assert_int_equal(bench->report.resets, 1);
    assert_int_equal(bench->report.seen, BOARD_SEEN_DEAF);
    pass(bench, 100);
    assert_int_equal(bench->n_sent, 0);
}

static void held_port_is_named_and_not_opened(void **state) {
    struct bench *bench = *state;

    for (int with_lock = 0; with_lock < 2; with_lock++) {
        pid_t pid = holder_start("screen", bench->path, with_lock);
        char wanted[64];

        visit(bench);
        snprintf(wanted, sizeof wanted, "screen (pid %d)", (int)pid);
        assert_int_equal(bench->report.fault.code, WIPYD_ERROR_PORT_BUSY);
        assert_string_equal(bench->report.holder, wanted);
        assert_non_null(strstr(bench->report.fault.story, wanted));
        assert_int_equal(bench->n_sent, 0);
        close_and_begin_anew(bench);
        holder_stop(pid);
    }
}

static int own_fd;

static void let_go(struct bench *bench) {
    (void)bench;
    flock(own_fd, LOCK_UN);
    close(own_fd);
}

/* A visit that was given up is closed in the pool: the next one finds the port locked, by nobody else. */
static void port_that_we_have_not_quite_closed(void **state) {
    struct bench *bench = *state;

    own_fd = open(bench->path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(own_fd >= 0);
    assert_int_equal(flock(own_fd, LOCK_EX | LOCK_NB), 0);
    bench->board = ROM;
    tick(bench, 150, 0, let_go);
    visit(bench);
    assert_int_equal(bench->report.fault.code, WIPYD_ERROR_NONE);
    assert_string_equal(bench->report.holder, "");
    assert_true(bench->n_sent > 0);
}

/* As long as that never happens there is an end of it, and it is told as what it is. */
static void port_that_we_never_close(void **state) {
    struct bench *bench = *state;
    int fd = open(bench->path, O_RDWR | O_NOCTTY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    visit(bench);
    assert_int_equal(bench->report.fault.code, WIPYD_ERROR_PORT_BUSY);
    assert_string_equal(bench->report.holder, "");
    assert_int_equal(bench->n_sent, 0);
    close_and_begin_anew(bench);
    close(fd);
}

static void port_that_cannot_be_opened(void **state) {
    static const struct {
        const char *path;
        enum wipyd_error code;
    } rows[] = { { "/dev/wipyd-no-such-node", WIPYD_ERROR_PORT_GONE }, { "/", WIPYD_ERROR_PORT_FAILED } };
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(bench->path, sizeof bench->path, "%s", rows[i].path);
        visit(bench);
        assert_int_equal(bench->report.fault.code, rows[i].code);
        assert_string_equal(bench->report.holder, "");
        close_and_begin_anew(bench);
    }
}

/* ---- what text means ------------------------------------------------------------------------------ */

static void each_verdict(void **state) {
    static const struct {
        const char *text;
        size_t size;
        enum board_seen seen;
        unsigned syncs;
    } rows[] = {
#define ROW(text, seen, syncs) { text, sizeof text - 1, seen, syncs }
        ROW("\x80\xff\x80\xf0\x01", BOARD_SEEN_NOISE, 3),
        ROW("\x80", BOARD_SEEN_SILENT, 3), /* of plugging in */
        ROW("temperature 21.5\r\n", BOARD_SEEN_FIRMWARE, 3),
        ROW("login: ", BOARD_SEEN_FIRMWARE, 3),
        ROW(ROM_BOOT "flash read err, 1000\r\n", BOARD_SEEN_NO_BOOT, 0),
        ROW(ROM_BOOT "invalid header: 0xffffffff\r\n" ROM_BOOT "invalid header: 0xffffffff\r\n",
            BOARD_SEEN_NO_BOOT, 0),
        ROW(ROM_BOOT "Guru Meditation Error: Core  0 panic'ed\r\n", BOARD_SEEN_PANIC, 0),
        ROW(ROM_BOOT "Brownout detector was triggered\r\n", BOARD_SEEN_BROWNOUT, 0),
        ROW(ROM_BOOT BANNER ">>> ", BOARD_SEEN_FIRMWARE, 0),
        ROW(BANNER ">>> ", BOARD_SEEN_FIRMWARE, 0),
        ROW(ROM_DOWNLOAD, BOARD_SEEN_DEAF, 3),
        ROW("\xc0" ROM_DOWNLOAD, BOARD_SEEN_DEAF, 3), /* a glitch that looks like the beginning of a frame */
    };
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        start_and_say(bench, rows[i].text, rows[i].size);
        assert_true(wait_report(bench) < 1500);
        print_message("%zu: %s\n", i, board_seen_word(bench->report.seen));
        assert_int_equal(bench->report.seen, rows[i].seen);
        assert_only_syncs(bench, rows[i].syncs);
        assert_false(bench->report.is_esp32 || bench->report.was_reset || bench->report.has_lines);
        assert_int_equal(bench->report.is_confirmed, strstr(rows[i].text, "WiPy") != NULL);
        close_and_begin_anew(bench);
    }
}

static void banner_after_a_boot_is_the_firmwares_own_word(void **state) {
    struct bench *bench = *state;

    start_and_say(bench, ROM_BOOT, strlen(ROM_BOOT));
    say_later(bench, 700, BANNER); /* its scripts come first */
    assert_true(wait_report(bench) < 1500);
    assert_int_equal(bench->report.seen, BOARD_SEEN_FIRMWARE);
    assert_int_equal(bench->report.resets, 1);
    assert_true(bench->report.is_confirmed);
    assert_string_equal(bench->report.board.board, "WiPy");
    assert_string_equal(bench->report.board.release, "1.20.2.r4");
    assert_int_equal(bench->n_sent, 0);
}

static void boot_without_a_banner_is_heard_out_for_3_seconds(void **state) {
    struct bench *bench = *state;
    uint64_t ms;

    start_and_say(bench, ROM_BOOT, strlen(ROM_BOOT));
    ms = wait_report(bench);
    assert_true(ms > 2900 && ms < 4000);
    assert_int_equal(bench->report.seen, BOARD_SEEN_FIRMWARE);
    assert_false(bench->report.is_confirmed);
    assert_int_equal(bench->n_sent, 0);
}

static void boot_loop_is_reported_after_the_second_boot(void **state) {
    struct bench *bench = *state;

    bench->request.listen_ms = 500; /* the first of it is heard on a slow machine, too */
    bench->tick_text = ROM_BOOT "I am about to\r\n";
    tick(bench, 20, 120, say_tick_text);
    assert_true(visit(bench) < 2000);
    assert_int_equal(bench->report.seen, BOARD_SEEN_FIRMWARE);
    assert_in_range(bench->report.resets, 2, 6);
    assert_int_equal(bench->n_sent, 0);
}

static void flood(void **state) {
    static const char *const texts[] = { "still talking\r\n", "\x80\x81\x82\x83\xc0\xdb\x01",
                                         "xxxxxxxxxxxxxxx", "\xc0\x01\x08\x04" };
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        bench->tick_text = texts[i];
        tick(bench, 2, 2, say_tick_text);
        assert_true(visit(bench) < 2 * LISTEN_MS + 1000);
        assert_only_syncs(bench, 3);
        assert_int_equal(bench->report.seen, i % 2 ? BOARD_SEEN_NOISE : BOARD_SEEN_FIRMWARE);
        listen_on(bench, 100);
        assert_true(wait_report(bench) < 600);
        assert_false(bench->report.is_new);
        close_and_begin_anew(bench);
    }
}

static void flood_after_a_boot_is_let_go(void **state) {
    struct bench *bench = *state;

    start_and_say(bench, ROM_BOOT, strlen(ROM_BOOT));
    bench->tick_text = "still talking\r\n";
    tick(bench, 5, 50, say_tick_text);
    assert_true(wait_report(bench) < 12000);
    assert_int_equal(bench->report.seen, BOARD_SEEN_FIRMWARE);
}

static void waiting_for_download_for_ever_gets_a_bounded_number_of_syncs(void **state) {
    struct bench *bench = *state;

    bench->tick_text = "waiting for download\r\n";
    tick(bench, 5, 30, say_tick_text);
    assert_true(visit(bench) < 4000);
    assert_int_equal(bench->report.seen, BOARD_SEEN_DEAF);
    assert_true(bench->n_syncs <= 3 * 3);
    assert_int_equal(bench->report.syncs, bench->n_syncs);
}

/* A wire from TX to RX, or the ROM's BASIC: nobody that speaks, and no ROM. */
static void echo_of_everything(void **state) {
    struct bench *bench = *state;

    start(bench);
    while (!bench->n_reports) {
        static size_t echoed;

        pass(bench, 10);
        say(bench, bench->sent + echoed, bench->n_sent - echoed);
        echoed = bench->n_sent;
    }
    assert_int_equal(bench->report.seen, BOARD_SEEN_NOISE);
    assert_false(bench->report.is_esp32);
    assert_int_equal(bench->n_commands, 0);
}

static void prompt_that_echoes_a_sync_is_firmware(void **state) {
    struct bench *bench = *state;

    bench->board = PROMPT;
    for (bench->request.syncs = 1; bench->request.syncs < 7; bench->request.syncs++) {
        visit(bench);
        assert_int_equal(bench->report.seen, BOARD_SEEN_FIRMWARE);
        assert_string_equal(bench->report.quote, "");
        assert_only_syncs(bench, bench->request.syncs);
        close_and_begin_anew(bench);
    }
}

/* ---- a ROM ---------------------------------------------------------------------------------------- */

static void assert_read(const struct bench *bench) {
    const struct flash_visit_report *report = &bench->report;

    assert_int_equal(report->fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(report->seen, BOARD_SEEN_DOWNLOAD);
    assert_true(report->is_esp32);
    assert_false(report->is_encrypted || report->is_secure_boot || report->is_confirmed || report->was_reset);
    assert_string_equal(report->board.mac, "30:ae:a4:01:02:03");
    assert_string_equal(report->board.chip, "ESP32-D0WDQ6 revision 0.0, 40 MHz crystal");
    assert_int_equal(report->board.flash_bytes, 4 << 20);
    assert_string_equal(report->board.board, "WiPy");
    assert_string_equal(report->board.release, "1.18.1.r1");
    assert_false(report->board.is_blank);
}

static void rom_is_read(void **state) {
    struct bench *bench = *state;

    bench->board = ROM;
    visit(bench);
    assert_read(bench);
    assert_int_equal(bench->report.syncs, 1);
}

/* At the second SYNC, at the last, and after it. */
static void rom_that_answers_late(void **state) {
    struct bench *bench = *state;

    bench->board = ROM;
    bench->request.listen_ms = 300;
    for (unsigned moment = 2; moment <= 4; moment++) {
        bench->answers_from = moment < 4 ? moment : 3;
        bench->answers_late_ms = moment < 4 ? 0 : 250;
        visit(bench);
        assert_read(bench);
        assert_int_equal(bench->n_syncs, moment < 4 ? moment : 3);
        close_and_begin_anew(bench);
    }
}

/* As one that was left in the middle of an erase: it answers after the report. */
static void rom_that_answers_while_listened_to(void **state) {
    struct bench *bench = *state;

    bench->board = ROM;
    bench->answers_late_ms = 900;
    visit(bench);
    assert_int_equal(bench->report.seen, BOARD_SEEN_SILENT);
    bench->answers_late_ms = 0;
    listen_on(bench, UINT64_MAX);
    assert_true(wait_report(bench) < 3000);
    assert_true(bench->report.is_new);
    assert_int_equal(bench->n_syncs, bench->request.syncs);
    assert_read(bench);
}

static void rom_comes_while_listened_to(void **state) {
    struct bench *bench = *state;

    bench->request.syncs = 0;
    visit(bench);
    assert_int_equal(bench->report.seen, BOARD_SEEN_SILENT);
    listen_on(bench, 100);
    wait_report(bench);
    assert_false(bench->report.is_new);
    assert_int_equal(bench->n_sent, 0);
    bench->board = ROM;
    say_later(bench, 30, ROM_DOWNLOAD);
    listen_on(bench, UINT64_MAX);
    assert_true(wait_report(bench) < 3000);
    assert_true(bench->report.is_new);
    assert_int_equal(bench->n_syncs, 1);
    assert_read(bench);
    /* And it runs its firmware again. */
    say_later(bench, 30, "\xc0" ROM_BOOT BANNER ">>> ");
    listen_on(bench, UINT64_MAX);
    assert_true(wait_report(bench) < 3000);
    assert_true(bench->report.is_new && bench->report.is_confirmed);
    assert_false(bench->report.is_esp32);
    assert_int_equal(bench->report.seen, BOARD_SEEN_FIRMWARE);
    assert_string_equal(bench->report.board.mac, "");
    assert_string_equal(bench->report.board.release, "1.20.2.r4");
    assert_int_equal(bench->report.resets, 2);
    assert_int_equal(bench->report.downloads, 1);
}

/* What comes between a report and the next listening isn't lost. */
static void download_between_report_and_listening(void **state) {
    struct bench *bench = *state;

    visit(bench);
    bench->board = ROM;
    say_text(bench, "\xc0" ROM_DOWNLOAD);
    pass(bench, 50);
    assert_int_equal(bench->n_reports, 1);
    listen_on(bench, GUARD_MS);
    assert_true(wait_report(bench) < 3000);
    assert_read(bench);
}

static void listening_from_inside_the_report(void **state) {
    struct bench *bench = *state;

    bench->listen_in_report = 50;
    start(bench);
    run_until(bench, has_report);
    wait_report(bench);
    assert_false(bench->report.is_new);
    assert_int_equal(bench->report.seen, BOARD_SEEN_SILENT);
}

static void deaf_board_while_listened_to(void **state) {
    struct bench *bench = *state;

    bench->request.syncs = 0;
    visit(bench);
    say_later(bench, 20, ROM_DOWNLOAD);
    listen_on(bench, GUARD_MS);
    assert_true(wait_report(bench) < 3000);
    assert_true(bench->report.is_new);
    assert_int_equal(bench->report.seen, BOARD_SEEN_DEAF);
    assert_only_syncs(bench, 1);
    assert_string_equal(bench->report.quote, "waiting for download");
}

static void other_chip(void **state) {
    struct bench *bench = *state;

    bench->board = ROM;
    bench->magic = 0x000007c6;
    visit(bench);
    assert_int_equal(bench->report.seen, BOARD_SEEN_DOWNLOAD);
    assert_false(bench->report.is_esp32);
    assert_int_equal(bench->n_commands, 1); /* and nothing was written to it */
    assert_string_equal(bench->report.board.mac, "");
}

static void encrypted_chip_is_not_read(void **state) {
    struct bench *bench = *state;

    bench->board = ROM;
    bench->efuse[0] = 1 << 20;
    bench->efuse[6] = 1 << 4;
    bench->has_app = bench->has_table = false;
    visit(bench);
    assert_int_equal(bench->report.seen, BOARD_SEEN_DOWNLOAD);
    assert_true(bench->report.is_esp32 && bench->report.is_encrypted && bench->report.is_secure_boot);
    assert_false(bench->report.board.is_blank);
}

static void flash_of_unknown_size_is_not_read(void **state) {
    struct bench *bench = *state;

    bench->board = ROM;
    bench->jedec = 0xffffff;
    visit(bench);
    assert_true(bench->report.is_esp32);
    assert_int_equal(bench->report.board.flash_bytes, 0);
    assert_false(bench->report.board.is_blank);
}

static void blank_is_what_is_erased(void **state) {
    struct bench *bench = *state;

    bench->board = ROM;
    for (unsigned bits = 0; bits < 4; bits++) {
        bench->has_app = false;
        bench->has_table = bits & 1;
        bench->has_bootloader = bits & 2;
        visit(bench);
        assert_true(bench->report.is_esp32);
        /* A bootloader without a table has its table elsewhere. */
        assert_int_equal(bench->report.board.is_blank, bits != 2);
        close_and_begin_anew(bench);
    }
}

/* That it can't be read makes it no ROM, and no fault. One that can: tests/integration. */
static void stub_is_no_rom(void **state) {
    struct bench *bench = *state;

    bench->board = ROM;
    bench->fails_from = 1;
    bench->sync_value = ESP_SYNC_STUB;
    visit(bench);
    assert_int_equal(bench->report.seen, BOARD_SEEN_STUB);
    assert_string_equal(bench->report.board.mac, "");
    assert_string_equal(bench->report.quote, "");
}

/* It answers SYNCs for ever and then nothing: bounded in time, and no fault. */
static void rom_that_cannot_be_read(void **state) {
    struct bench *bench = *state;

    bench->board = ROM;
    bench->fails_from = 5;
    assert_true(visit(bench) < 30000);
    assert_int_equal(bench->report.fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(bench->report.seen, BOARD_SEEN_NOISE);
    assert_false(bench->report.is_esp32);
    assert_string_equal(bench->report.quote, "a boot ROM answered, but could not be read");
}

static bool is_asking(const struct bench *bench) {
    return bench->n_commands == 6;
}

static void rom_boots_while_it_is_read(void **state) {
    struct bench *bench = *state;

    bench->board = ROM;
    bench->fails_from = 6;
    start(bench);
    run_until(bench, is_asking);
    bench->board = PROGRAM;
    say_text(bench, ROM_BOOT BANNER);
    assert_true(wait_report(bench) < 2000);
    assert_int_equal(bench->report.seen, BOARD_SEEN_FIRMWARE);
    assert_true(bench->report.is_confirmed);
    assert_string_equal(bench->report.board.mac, "");
    bench->board = ROM; /* for the check of what was sent */
}

static void rom_is_reset_into_download_while_it_is_read(void **state) {
    struct bench *bench = *state;

    bench->board = ROM;
    bench->fails_from = 6;
    start(bench);
    run_until(bench, is_asking);
    bench->fails_from = 0;
    say_text(bench, ROM_DOWNLOAD);
    assert_true(wait_report(bench) < 3000);
    assert_read(bench);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    static const struct CMUnitTest tests[] = {
        TEST(silent_port_gets_so_many_syncs_and_no_other_byte),
        TEST(quiet_visit_sends_nothing),
        TEST(held_port_is_named_and_not_opened),
        TEST(port_that_we_have_not_quite_closed),
        TEST(port_that_we_never_close),
        TEST(port_that_cannot_be_opened),
        TEST(each_verdict),
        TEST(banner_after_a_boot_is_the_firmwares_own_word),
        TEST(boot_without_a_banner_is_heard_out_for_3_seconds),
        TEST(boot_loop_is_reported_after_the_second_boot),
        TEST(flood),
        TEST(flood_after_a_boot_is_let_go),
        TEST(waiting_for_download_for_ever_gets_a_bounded_number_of_syncs),
        TEST(echo_of_everything),
        TEST(prompt_that_echoes_a_sync_is_firmware),
        TEST(rom_is_read),
        TEST(rom_that_answers_late),
        TEST(rom_that_answers_while_listened_to),
        TEST(rom_comes_while_listened_to),
        TEST(download_between_report_and_listening),
        TEST(listening_from_inside_the_report),
        TEST(deaf_board_while_listened_to),
        TEST(other_chip),
        TEST(encrypted_chip_is_not_read),
        TEST(flash_of_unknown_size_is_not_read),
        TEST(blank_is_what_is_erased),
        TEST(stub_is_no_rom),
        TEST(rom_that_cannot_be_read),
        TEST(rom_boots_while_it_is_read),
        TEST(rom_is_reset_into_download_while_it_is_read),
    };

    alarm(200);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
