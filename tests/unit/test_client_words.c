/* What wipyctl makes of words: times that a person writes, text that may come from anywhere, numbers, JSON.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "client/json.h"
#include "client/since.h"
#include "client/text.h"

#define S UINT64_C(1000000)

static int set_up(void **state) {
    (void)state;
    setenv("TZ", "Europe/Berlin", 1);
    tzset();
    return setlocale(LC_ALL, "C.UTF-8") ? 0 : -1;
}

/* ---- times ----------------------------------------------------------------------------------- */

static void dates_are_of_this_place(void **state) {
    static const struct {
        const char *text;
        uint64_t seconds;
    } rows[] = {
        { "2026-11-22", 1795302000 },          { "2026-11-22T10:00", 1795338000 },
        { "2026-11-22 10:00", 1795338000 },    { "2026-11-22T10:00:59", 1795338059 },
        { "2026-11-22 10:00:59", 1795338059 }, { "2026-11-22T10:00Z", 1795341600 },
        { "2026-07-01", 1782856800 },          { "2024-02-29", 1709161200 },
    };
    uint64_t time_us;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!since_parse(rows[i].text, &time_us))
            fail_msg("%s", rows[i].text);
        assert_int_equal(time_us, rows[i].seconds * S);
    }
}

static void what_is_no_time_is_refused(void **state) {
    static const char *const rows[] = {
        "",
        "x",
        "2026-02-30",
        "2026-13-01",
        "2026-11-22Z",
        "2026-11-22T25:00",
        "2026-11-22T10:00x",
        "1969-01-01",
        "2",
        "2y",
        "2dd",
        "-2d",
        " 2d",
        "d",
        "99999999999999999999d",
        "tomorrow",
        "todayx",
    };
    uint64_t time_us;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (since_parse(rows[i], &time_us))
            fail_msg("%s", rows[i]);
}

static void spans_count_back_from_now(void **state) {
    static const struct {
        const char *text;
        uint64_t seconds;
    } rows[] = {
        { "0s", 0 }, { "30s", 30 }, { "5m", 300 }, { "2h", 7200 }, { "3d", 259200 }, { "1w", 604800 }
    };
    uint64_t time_us, now;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        now = (uint64_t)time(NULL);
        assert_true(since_parse(rows[i].text, &time_us));
        assert_in_range(time_us, (now - rows[i].seconds) * S, (now - rows[i].seconds + 60) * S);
    }
    assert_true(since_parse("9999999999999w", &time_us)); /* longer than there have been clocks */
    assert_int_equal(time_us, 0);
}

static void today_begins_at_midnight(void **state) {
    uint64_t today = 0, yesterday = 0;
    char buffer[TEXT_SIZE];

    (void)state;
    assert_true(since_parse("today", &today) && since_parse("yesterday", &yesterday));
    assert_in_range(today - yesterday, 23 * 3600 * S, 25 * 3600 * S);
    assert_non_null(strstr(text_time(buffer, today), " 00:00:00"));
    assert_non_null(strstr(text_time(buffer, yesterday), " 00:00:00"));
}

/* ---- text ------------------------------------------------------------------------------------ */

static void what_steers_a_terminal_is_replaced(void **state) {
    static const struct {
        const char *text, *clean;
    } rows[] = {
        { "plain", "plain" },
        { "a\x1b[2Jb\nc\td\x7f", "a?[2Jb?c?d?" },
        { "\xe2\x82\xac f\xc3\xbcr", "\xe2\x82\xac f\xc3\xbcr" },
        { "x\xe2\x80\xaey\xe2\x81\xa6z\xe2\x80\x8e", "x?y?z?" },
        { "cut \xe2\x82", "cut ??" },
        { "\xff\xc3=", "?"
                       "?=" },
        { "\xc2\x9b"
          "31m",
          "?31m" },
    };
    char text[64];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        strcpy(text, rows[i].text);
        text_clean(text);
        assert_string_equal(text, rows[i].clean);
    }
}

static void text_is_cut_by_columns(void **state) {
    char text[64] = "bench \xe4\xb8\x96\xe7\x95\x8c three";

    (void)state;
    assert_int_equal(text_columns(text), 16);
    assert_int_equal(text_cut(text, 16), 16);
    assert_int_equal(text_cut(text, 10), 9); /* a wide character that would not fit wholly goes */
    assert_string_equal(text, "bench \xe4\xb8\x96\xe2\x80\xa6");
    assert_int_equal(text_cut(text, 1), 1);
    assert_string_equal(text, "\xe2\x80\xa6");
    assert_int_equal(text_cut(text, 0), 0);
    assert_string_equal(text, "");
    assert_int_equal(text_columns("ab\xff"), 3);
    assert_int_equal(text_columns("e\xcc\x81"), 1);
    strcpy(text, "abcdef");
    setlocale(LC_ALL, "C");
    assert_int_equal(text_cut(text, 3), 3);
    assert_string_equal(text, "ab~");
    setlocale(LC_ALL, "C.UTF-8");
}

static void releases_fit_a_table(void **state) {
    char buffer[TEXT_SIZE];

    (void)state;
    assert_string_equal(text_release(buffer, "1.20.1.r1"), "1.20.1.r1");
    assert_string_equal(text_release(buffer, "1.20.1.r1-0.7.0-vanilla-dragonfly-onewire"), "1.20.1.r1-...");
    assert_string_equal(text_release(buffer, "averyveryverylongwordwithout-end"),
                        "averyveryverylongwordwithout-end");
    assert_string_equal(text_release(buffer, NULL), "");
    assert_string_equal(text_or_dash(NULL), "-");
    assert_string_equal(text_or_dash(""), "-");
    assert_string_equal(text_or_dash("x"), "x");
}

static void numbers_are_for_people(void **state) {
    static const struct {
        char *(*write)(char *, uint64_t);
        uint64_t number;
        const char *text;
    } rows[] = {
        { text_bytes, 812, "812 B" },
        { text_bytes, 512 * 1024 + 1, "512 KiB" },
        { text_bytes, 4 << 20, "4 MiB" },
        { text_bytes, 1268777, "1.21 MiB" },
        { text_clock, 7, "0:07" },
        { text_clock, 750, "12:30" },
        { text_clock, 3723, "1:02:03" },
        { text_duration, 800000, "0.8 s" },
        { text_duration, 93 * S, "93 s" },
        { text_duration, 200 * S, "3 min 20 s" },
        { text_span, 40 * S, "40 s" },
        { text_span, 35 * 60 * S, "35 min" },
        { text_span, 22 * 3600 * S, "22 h" },
        { text_span, 3 * 86400 * S, "3 d" },
        { text_day, 1795338059 * S, "2026-11-22" },
        { text_time, 1795338059 * S, "2026-11-22 10:00:59" },
        { text_iso_time, 1795338059 * S + 250000, "2026-11-22T09:00:59.250Z" },
    };
    char buffer[TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(rows[i].write(buffer, rows[i].number), rows[i].text);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void print_all(enum json_mode mode, char *ret, size_t size) {
    FILE *file = tmpfile();
    int out = dup(STDOUT_FILENO);
    struct json json;
    size_t n;

    assert_true(file && out >= 0);
    fflush(stdout);
    dup2(fileno(file), STDOUT_FILENO);
    json_begin(&json, mode);
    json_map_begin(&json);
    json_string(&json, "texts");
    json_array_begin(&json);
    json_string(&json, "a \"word\"");
    json_string(&json, "no \xff UTF-8");
    json_string(&json, NULL);
    json_array_end(&json);
    json_string(&json, "number");
    json_number(&json, UINT64_MAX);
    json_string(&json, "real");
    json_real(&json, 1.5);
    json_string(&json, "none");
    json_real(&json, 0.0 / 0.0);
    json_string(&json, "yes");
    json_bool(&json, true);
    json_string(&json, "when");
    json_time(&json, 1795338059 * S);
    json_string(&json, "never");
    json_time(&json, 0);
    json_map_end(&json);
    assert_int_equal(json_print(&json), 0);
    dup2(out, STDOUT_FILENO);
    close(out);
    rewind(file);
    n = fread(ret, 1, size - 1, file);
    ret[n] = 0;
    fclose(file);
}

static void json_is_one_document(void **state) {
    char text[600];

    (void)state;
    print_all(JSON_SHORT, text, sizeof text);
    assert_string_equal(text,
                        "{\"texts\":[\"a \\\"word\\\"\",\"no ? UTF-8\",null],\"number\":18446744073709551615,"
                        "\"real\":1.5,\"none\":0,\"yes\":true,\"when\":\"2026-11-22T09:00:59.000Z\","
                        "\"never\":null}\n");
    print_all(JSON_PRETTY, text, sizeof text);
    assert_non_null(strstr(text, "\n  \"number\": 18446744073709551615,\n"));
}

/* A number where a key has to stand. */
static void trouble_on_the_way_is_kept(void **state) {
    struct json json;

    (void)state;
    json_begin(&json, JSON_SHORT);
    json_map_begin(&json);
    json_number(&json, 5);
    json_map_end(&json);
    assert_int_not_equal(json.status, yajl_gen_status_ok);
    json_drop(&json);
    json_drop(&json); /* again is fine */
    assert_true(json_print(&json) < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_of_this_place),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(spans_count_back_from_now),
        cmocka_unit_test(today_begins_at_midnight),
        cmocka_unit_test(what_steers_a_terminal_is_replaced),
        cmocka_unit_test(text_is_cut_by_columns),
        cmocka_unit_test(releases_fit_a_table),
        cmocka_unit_test(numbers_are_for_people),
        cmocka_unit_test(json_is_one_document),
        cmocka_unit_test(trouble_on_the_way_is_kept),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
