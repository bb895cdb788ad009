/* What the chip says outside of frames, and what that means, however the bytes come in. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "daemon/esp/boot_log.h"

#define ETS     "ets Jun  8 2016 00:22:57\r\n\r\n"
#define ETS_3   "ets Jul 29 2019 12:21:46\r\n\r\n"
#define GARBAGE "\x80\x01\xfe\x80\x9c\x00\xf8\x1f\x80\xe0"

/* The rows of facts/esp32-serial-protocol.md 3, "Reading the boot log", and what surrounds them. */
static const struct row {
    const char *name, *text;
    size_t size;
    enum boot_log_verdict verdict;
    unsigned resets, downloads;
    int boot_value;
    const char *quote;
} rows[] = {
#define TEXT(literal) (literal), sizeof(literal) - 1
    { "nothing", TEXT(""), BOOT_LOG_NOTHING, 0, 0, -1, "" },
    { "download mode, revision 1",
      TEXT(ETS "rst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\r\n"
               "waiting for download\r\n"),
      BOOT_LOG_DOWNLOAD, 1, 1, 0x03, "waiting for download" },
    { "download mode, revision 3",
      TEXT(ETS_3 "rst:0x1 (POWERON_RESET),boot:0x23 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\r\n"
                 "waiting for download\r\n"),
      BOOT_LOG_DOWNLOAD, 1, 1, 0x23, "waiting for download" },
    { "the text is trusted over the bits",
      TEXT(ETS_3 "rst:0x1 (POWERON_RESET),boot:0xf (DOWNLOAD_BOOT(UART0))\r\nwaiting for download\r\n"),
      BOOT_LOG_DOWNLOAD, 1, 1, 0x0f, "waiting for download" },
    { "wrong strap: neither download nor application",
      TEXT(ETS "rst:0x1 (POWERON_RESET),boot:0xb (SDIO_REI_FEO_V1_BOOT)\r\n"), BOOT_LOG_NOTHING, 1, 0, 0x0b,
      "" },
    { "application boot",
      TEXT(ETS "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"
               "configsip: 0, SPIWP:0x00\r\n"
               "mode:DIO, clock div:1\r\nload:0x3fff8028,len:8\r\nentry 0x4009fa00\r\n"),
      BOOT_LOG_FIRMWARE, 1, 0, 0x13, "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)" },
    { "output of a running application", TEXT("temperature 21.5\r\n"), BOOT_LOG_FIRMWARE, 0, 0, -1,
      "temperature 21.5" },
    { "banner", TEXT("Pycom MicroPython 1.20.2.r4 on 2021-01-12; WiPy with ESP32\r\n"), BOOT_LOG_FIRMWARE, 0,
      0, -1, "Pycom MicroPython 1.20.2.r4 on 2021-01-12; WiPy with ESP32" },
    { "prompt without a line end", TEXT(">>> "), BOOT_LOG_FIRMWARE, 0, 0, -1, ">>> " },
    { "prompt after an empty line", TEXT("\r\n>>> "), BOOT_LOG_FIRMWARE, 0, 0, -1, ">>> " },
    { "scraps that mean nothing", TEXT("\r\n>>\r\nok\r\n"), BOOT_LOG_NOTHING, 0, 0, -1, "" },
    { "unfinished line", TEXT("waiting for down"), BOOT_LOG_NOTHING, 0, 0, -1, "" },
    { "unreadable flash",
      TEXT(ETS "rst:0x10 (RTCWDT_RTC_RESET),boot:0x33 (SPI_FAST_FLASH_BOOT)\r\n"
               "flash read err, 1000\r\nets_main.c 371 \r\n"),
      BOOT_LOG_NO_BOOT, 1, 0, 0x33, "flash read err, 1000" },
    { "empty flash",
      TEXT(ETS_3 "rst:0x7 (TG0WDT_SYS_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"
                 "invalid header: 0xffffffff\r\ninvalid header: 0xffffffff\r\n"),
      BOOT_LOG_NO_BOOT, 1, 0, 0x13, "invalid header: 0xffffffff" },
    { "no application", TEXT("Cannot load Firmware\r\n"), BOOT_LOG_NO_BOOT, 0, 0, -1,
      "Cannot load Firmware" },
    { "panic",
      TEXT("Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.\r\n"
           "Core 0 register dump:\r\nPC      : 0x400d1b2c\r\n"),
      BOOT_LOG_PANIC, 0, 0, -1,
      "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled." },
    { "fatal exception", TEXT("Fatal exception (28): LoadProhibited\r\n"), BOOT_LOG_PANIC, 0, 0, -1,
      "Fatal exception (28): LoadProhibited" },
    { "brownout", TEXT("Brownout detector was triggered\r\n\r\n" ETS), BOOT_LOG_BROWNOUT, 0, 0, -1,
      "Brownout detector was triggered" },
    { "from the application into download mode",
      TEXT(ETS "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n" ETS
               "rst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0))\r\nwaiting for download\r\n"),
      BOOT_LOG_DOWNLOAD, 2, 1, 0x03, "waiting for download" },
    { "from download mode into the application",
      TEXT("waiting for download\r\n" ETS "rst:0x1 (POWERON_RESET),boot:0x17 (SPI_FAST_FLASH_BOOT)\r\n"),
      BOOT_LOG_FIRMWARE, 1, 1, 0x17, "rst:0x1 (POWERON_RESET),boot:0x17 (SPI_FAST_FLASH_BOOT)" },
    { "garbage", TEXT(GARBAGE GARBAGE), BOOT_LOG_GARBAGE, 0, 0, -1, "" },
    { "garbage in which letters occur", TEXT("ab" GARBAGE "\r\nabcd\r\n" GARBAGE), BOOT_LOG_GARBAGE, 0, 0, -1,
      "abcd" },
    { "glitches of the lines, then a log",
      TEXT("\x80\xff\xfe" ETS "rst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0))\r\n"
           "waiting for download\r\n"),
      BOOT_LOG_DOWNLOAD, 1, 1, 0x03, "waiting for download" },
    { "glitches, then an application",
      TEXT("\x80\xff\xfe"
           "temperature 21.5\r\ntemperature 21.6\r\n"),
      BOOT_LOG_FIRMWARE, 0, 0, -1, "temperature 21.5" },
    { "garbage in between does not soften a panic",
      TEXT("Guru Meditation Error\r\n" GARBAGE "Core 0 register dump:\r\nPC      : 0x400d1b2c  PS      : "
           "0x00060330  A0      : 0x800d2a4e\r\n"),
      BOOT_LOG_PANIC, 0, 0, -1, "Guru Meditation Error" },
    { "garbage in between, and a line not yet ended",
      TEXT("temperature\r\n" GARBAGE "temperature 21.6 temperature 21.7 temperature 21.8"), BOOT_LOG_FIRMWARE,
      0, 0, -1, "temperature" },
    { "garbage after a log that was certain",
      TEXT("rst:0x1 (POWERON_RESET),boot:0x3 (D\r\nwaiting for download\r\n" GARBAGE GARBAGE GARBAGE GARBAGE
               GARBAGE),
      BOOT_LOG_DOWNLOAD, 1, 1, 0x03, "waiting for download" },
};

#define N_ROWS (sizeof rows / sizeof *rows)

static void feed(struct boot_log *log, const char *text, size_t size) {
    boot_log_feed(log, (const uint8_t *)text, size);
}

static void assert_row(const struct row *row, const struct boot_log *log, const char *how, size_t at) {
    if (log->verdict != row->verdict || log->resets != row->resets || log->downloads != row->downloads ||
        log->boot_value != row->boot_value || strcmp(log->quote, row->quote) != 0)
        fail_msg("%s, %s %zu: verdict %d, %u resets, %u downloads, boot 0x%x, \"%s\"", row->name, how, at,
                 (int)log->verdict, log->resets, log->downloads, (unsigned)log->boot_value, log->quote);
}

static void every_row_in_one_piece(void **state) {
    (void)state;
    for (size_t i = 0; i < N_ROWS; i++) {
        struct boot_log log;

        boot_log_reset(&log);
        feed(&log, rows[i].text, rows[i].size);
        assert_row(&rows[i], &log, "whole", 0);
    }
}

static void every_row_split_at_every_byte(void **state) {
    (void)state;
    for (size_t i = 0; i < N_ROWS; i++)
        for (size_t at = 0; at <= rows[i].size; at++) {
            struct boot_log log;

            boot_log_reset(&log);
            feed(&log, rows[i].text, at);
            feed(&log, rows[i].text + at, rows[i].size - at);
            assert_row(&rows[i], &log, "split at", at);
        }
}

static void every_row_byte_by_byte(void **state) {
    (void)state;
    for (size_t i = 0; i < N_ROWS; i++) {
        struct boot_log log;

        boot_log_reset(&log);
        for (size_t at = 0; at < rows[i].size; at++)
            feed(&log, rows[i].text + at, 1);
        assert_row(&rows[i], &log, "byte by byte", rows[i].size);
    }
}

/* Bit 4 of the boot value is GPIO0: set means the application. */
static void boot_values_of_an_application(void **state) {
    static const int values[] = { 0x13, 0x17, 0x1b, 0x1f, 0x33 };
    char line[64];

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct boot_log log;

        boot_log_reset(&log);
        feed(&log, line, (size_t)snprintf(line, sizeof line, "rst:0x1,boot:0x%x\r\n", (unsigned)values[i]));
        assert_int_equal(log.verdict, BOOT_LOG_FIRMWARE);
        assert_int_equal(log.boot_value, values[i]);
    }
}

static void verdict_moves_while_text_comes(void **state) {
    struct boot_log log;

    (void)state;
    boot_log_reset(&log);
    assert_int_equal(log.verdict, BOOT_LOG_NOTHING);
    feed(&log, GARBAGE, 10);
    assert_int_equal(log.verdict, BOOT_LOG_GARBAGE);
    feed(&log, "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r", 56);
    assert_int_equal(log.verdict, BOOT_LOG_FIRMWARE);
    feed(&log, "\ninvalid header: 0xffffffff\r", 28);
    assert_int_equal(log.verdict, BOOT_LOG_NO_BOOT);
    feed(&log, "\nwaiting for download", 21);
    assert_int_equal(log.downloads, 0);
    feed(&log, "\r", 1);
    assert_int_equal(log.downloads, 1);
    assert_int_equal(log.verdict, BOOT_LOG_DOWNLOAD);
    boot_log_reset(&log);
    assert_int_equal(log.verdict, BOOT_LOG_NOTHING);
    assert_int_equal(log.boot_value, -1);
    assert_string_equal(log.quote, "");
}

static void endless_line_is_cut(void **state) {
    struct boot_log log;

    (void)state;
    boot_log_reset(&log);
    for (int i = 0; i < 5000; i++)
        feed(&log, "x", 1);
    assert_int_equal(log.verdict, BOOT_LOG_FIRMWARE);
    assert_int_equal(strlen(log.quote), BOOT_LOG_LINE_MAX - 1);
    feed(&log, "\r\nwaiting for download\r\n", 24);
    assert_int_equal(log.verdict, BOOT_LOG_DOWNLOAD);
}

static void quote_is_printable(void **state) {
    struct boot_log log;

    (void)state;
    boot_log_reset(&log);
    feed(&log, "\x1b[31mrst \x07 and\tmore\x1b[0m words of text\r\n", 39);
    for (const char *c = log.quote; *c; c++)
        assert_in_range(*c, 0x20, 0x7e);
    assert_true(*log.quote);
}

/* -1 is for "none seen". */
static void boot_value_is_never_negative(void **state) {
    static const char *const lines[] = { "boot:0xffffffffffffffffff\r\n", "boot:0x80000000\r\n",
                                         "boot:0x\r\n" };
    struct boot_log log;

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        boot_log_reset(&log);
        feed(&log, lines[i], strlen(lines[i]));
        assert_in_range(log.boot_value, 0, 0xff);
    }
}

static void random_bytes_stay_in_bounds(void **state) {
    uint32_t seed = 99;
    struct boot_log log;

    (void)state;
    boot_log_reset(&log);
    for (int i = 0; i < 200000; i++) {
        uint8_t byte;

        seed = seed * 1664525 + 1013904223;
        byte = seed >> 31 ? (uint8_t)(seed >> 16) : (uint8_t)("rst:0xboot>> \r\n"[(seed >> 16) % 15]);
        boot_log_feed(&log, &byte, 1);
        assert_true(log.line_size < sizeof log.line);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_in_one_piece),
        cmocka_unit_test(every_row_split_at_every_byte),
        cmocka_unit_test(every_row_byte_by_byte),
        cmocka_unit_test(boot_values_of_an_application),
        cmocka_unit_test(verdict_moves_while_text_comes),
        cmocka_unit_test(endless_line_is_cut),
        cmocka_unit_test(quote_is_printable),
        cmocka_unit_test(random_bytes_stay_in_bounds),
        cmocka_unit_test(boot_value_is_never_negative),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
