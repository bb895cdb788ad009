/* What MicroPython says at its prompt, whole, in pieces, and what only looks like it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/esp/repl.h"

#define BANNER "Pycom MicroPython 1.20.2.r4 [v1.20.1.r2-392-gdeadbee] on 2021-01-12; WiPy with ESP32"
#define UNAME                                                                                                \
    "(sysname='WiPy', nodename='WiPy', release='1.20.1.r1', version='v1.8.6-849-b0520f1 on 2018-08-29', "    \
    "machine='WiPy with ESP32', pybytes='1.6.1')"

static void feed(struct esp_repl_text *text, const char *bytes) {
    esp_repl_text_feed(text, (const uint8_t *)bytes, strlen(bytes));
}

static void banners(void **state) {
    static const struct {
        const char *line, *board, *release; /* board NULL: it is none */
    } rows[] = {
        { BANNER, "WiPy", "1.20.2.r4" },
        { "Pycom MicroPython 1.18.2.r7 [v1.8.6-849-b0520f1] on 2018-08-29; LoPy4 with ESP32", "LoPy4",
          "1.18.2.r7" },
        { "MicroPython v1.8.6-760-g90b72952 on 2017-09-01; WiPy with ESP32", "WiPy", "" },
        { "MicroPython v1.19.1 on 2022-06-18; ESP32 module with ESP32", "ESP32 module", "" },
        { "main.py's last words: " BANNER, "WiPy", "1.20.2.r4" },
        { "MicroPython v1.9.4 on 2018-05-11; PYBv1.1 with STM32F405RG", NULL, NULL },
        { "Pycom MicroPython 1.20.2.r4 [v1.20.1.r2] on 2021-01-12", NULL, NULL },
        { "Pycom MicroPython 1.20.2.r4 [v1.20.1.r2] on 2021-01-12; ", NULL, NULL },
        { "Pycom MicroPython 1.20.2.r4 [v1.20.1.r2] on 2021-01-12;  with ESP32", NULL, NULL },
        { "Pycom MicroPython 1.20.2.r4 [v1.20.1.r2] on 2021-01-12; Wi/Py with ESP32", NULL, NULL },
        { "Pycom MicroPython 1.20'2 [v1.20.1.r2] on 2021-01-12; WiPy with ESP32", NULL, NULL },
        { "Pycom MicroPython ", NULL, NULL },
        { "MicroPython", NULL, NULL },
        { "I love MicroPython a lot; WiPy with ESP32", NULL, NULL },
        { "", NULL, NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct esp_repl_words words = { .board = "before", .release = "before" };

        print_message("%s\n", rows[i].line);
        assert_int_equal(esp_repl_banner_parse(rows[i].line, &words), rows[i].board != NULL);
        assert_string_equal(words.board, rows[i].board ? rows[i].board : "before");
        assert_string_equal(words.release, rows[i].board ? rows[i].release : "before");
    }
}

/* Words that are too long are none, rather than cut. */
static void words_too_long(void **state) {
    struct esp_repl_words words;
    char line[512], long_word[128];

    (void)state;
    for (size_t n = 30; n < sizeof long_word; n++) {
        memset(long_word, 'x', n);
        long_word[n] = 0;
        snprintf(line, sizeof line, "MicroPython v1 on 2017; %s with ESP32", long_word);
        assert_int_equal(esp_repl_banner_parse(line, &words), n < sizeof words.board);
        snprintf(line, sizeof line, "Pycom MicroPython %s [v] on 2021; WiPy with ESP32", long_word);
        assert_int_equal(esp_repl_banner_parse(line, &words), n < sizeof words.release);
    }
}

static void banner_is_whole_at_its_end(void **state) {
    struct esp_repl_text text;

    (void)state;
    esp_repl_text_reset(&text);
    feed(&text, "\r\n" BANNER);
    assert_false(text.has_banner);
    feed(&text, "\r");
    assert_true(text.has_banner);
    assert_string_equal(text.words.board, "WiPy");
    assert_string_equal(text.words.release, "1.20.2.r4");
    feed(&text, "\nType \"help()\" for more information.\r\n>>>");
    assert_false(text.has_prompt);
    feed(&text, " ");
    assert_true(text.has_prompt);
    feed(&text, "i");
    assert_false(text.has_prompt);
}

static void prompt_in_the_middle_is_none(void **state) {
    struct esp_repl_text text;

    (void)state;
    esp_repl_text_reset(&text);
    feed(&text, "a >>> ");
    assert_false(text.has_prompt);
    feed(&text, "\n>>> ");
    assert_true(text.has_prompt);
    esp_repl_text_reset(&text);
    feed(&text, ">>> ");
    assert_true(text.has_prompt);
}

static void raw_repl(void **state) {
    struct esp_repl_text text;

    (void)state;
    esp_repl_text_reset(&text);
    feed(&text, "\r\n>>> \r\nraw REPL; CTRL-B to exit\r\n");
    assert_false(text.has_raw);
    feed(&text, ">");
    assert_true(text.has_raw);
    assert_false(text.has_prompt);
    feed(&text, "OK" UNAME);
    assert_false(text.has_uname);
    feed(&text, "\r\n\x04\x04>");
    assert_true(text.has_uname);
    assert_string_equal(text.words.board, "WiPy");
    assert_string_equal(text.words.release, "1.20.1.r1");
    feed(&text, "\r\n" BANNER "\r\n>>> ");
    assert_true(text.has_banner);
    assert_true(text.has_prompt);
    assert_false(text.has_raw);
}

static void unames(void **state) {
    static const struct {
        const char *line, *board, *release;
    } rows[] = {
        { UNAME, "WiPy", "1.20.1.r1" },
        { "(sysname=\"FiPy\", nodename=\"FiPy\", release=\"1.20.2.r4\")", "FiPy", "1.20.2.r4" },
        { "(sysname='esp32', nodename='esp32')", "esp32", "" },
        { "(sysname='WiPy, nodename=WiPy", NULL, NULL },
        { "(sysname=WiPy)", NULL, NULL },
        { "(sysname='', release='1.20.1.r1')", NULL, NULL },
        { "(sysname='WiPy', release='1.20.1;r1')", NULL, NULL },
        { "(sysname='WiPy', release='')", NULL, NULL },
        { "import uos;print(uos.uname())", NULL, NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct esp_repl_text text;

        print_message("%s\n", rows[i].line);
        esp_repl_text_reset(&text);
        feed(&text, rows[i].line);
        feed(&text, "\r\n");
        assert_int_equal(text.has_uname, rows[i].board != NULL);
        assert_string_equal(text.words.board, rows[i].board ? rows[i].board : "");
        assert_string_equal(text.words.release, rows[i].board ? rows[i].release : "");
    }
}

/* However the text is cut, and whatever lies between its bytes that is none. */
static void in_pieces_and_among_garbage(void **state) {
    static const char whole[] =
        "\x1b\r\nraw REPL; CTRL-B to exit\r\n>OK" UNAME "\r\n\x04\x04>\r\n" BANNER "\r\n>>> ";

    (void)state;
    for (size_t cut = 1; cut < sizeof whole; cut++) {
        static const uint8_t garbage[] = { 0, 0x80, 0xff, 0xc0, 0x1b, 4 };
        struct esp_repl_text text;

        esp_repl_text_reset(&text);
        for (size_t at = 0; at < sizeof whole - 1; at += cut) {
            size_t n = sizeof whole - 1 - at;

            esp_repl_text_feed(&text, (const uint8_t *)whole + at, n < cut ? n : cut);
            esp_repl_text_feed(&text, garbage, sizeof garbage);
        }
        assert_true(text.has_uname && text.has_banner && text.has_prompt);
        assert_string_equal(text.words.release, "1.20.2.r4");
    }
}

/* Any bytes, for ever: nothing is written beyond, and what comes after them is understood. */
static void flood(void **state) {
    struct esp_repl_text text;

    (void)state;
    srand(1);
    esp_repl_text_reset(&text);
    for (unsigned i = 0; i < 200000; i++) {
        uint8_t byte = (uint8_t)rand();

        esp_repl_text_feed(&text, &byte, 1);
        assert_true(text.size < sizeof text.text);
        assert_int_equal(text.text[text.size], 0);
    }
    for (unsigned i = 0; i < 5000; i++)
        feed(&text, "x");
    feed(&text, "\r\n" BANNER "\r\n>>> ");
    assert_true(text.has_banner && text.has_prompt);
}

/* Ctrl-F would reboot into safe boot. */
static void nothing_to_be_sent_holds_ctrl_f(void **state) {
    static const char *const all[] = { ESP_REPL_BANNER_REQUEST, ESP_REPL_STOP,    ESP_REPL_RAW,
                                       ESP_REPL_UNAME,          ESP_REPL_EXECUTE, ESP_REPL_LEAVE_RAW,
                                       ESP_REPL_RESTART };

    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        assert_null(strchr(all[i], 6));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(banners),
        cmocka_unit_test(words_too_long),
        cmocka_unit_test(banner_is_whole_at_its_end),
        cmocka_unit_test(prompt_in_the_middle_is_none),
        cmocka_unit_test(raw_repl),
        cmocka_unit_test(unames),
        cmocka_unit_test(in_pieces_and_among_garbage),
        cmocka_unit_test(flood),
        cmocka_unit_test(nothing_to_be_sent_holds_ctrl_f),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
