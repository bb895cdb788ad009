/* What wipyctl makes of words: a person's times, and text of any origin that is shown on a terminal. */

#include <locale.h>

#include "client/since.h"
#include "client/text.h"
#include "tests/fuzz/fuzz.h"

enum { TEXT_BYTES = 400 };

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    setenv("TZ", "Europe/Berlin", 1);
    must(setlocale(LC_ALL, "C.UTF-8"));
    return 0;
}

static void must_be_clean(const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        must(*p >= 0x20 && *p != 0x7f);
        must(*p != 0xc2 || p[1] >= 0xa0);                               /* C1 */
        must(*p != 0xe2 || p[1] != 0x80 || p[2] < 0xa8 || p[2] > 0xae); /* what turns and breaks lines */
        must(*p != 0xe2 || p[1] != 0x81 || p[2] < 0xa6 || p[2] > 0xa9);
    }
}

static void check_text(const char *original, size_t columns) {
    char text[TEXT_BYTES + 4], again[TEXT_BYTES + 4], release[TEXT_SIZE];
    size_t before, left;

    strcpy(text, original);
    text_clean(text);
    must(strlen(text) <= strlen(original));
    must_be_clean(text);
    strcpy(again, text);
    text_clean(again);
    must(!strcmp(text, again));
    before = text_columns(text);
    left = text_cut(text, columns);
    must(left <= columns && left <= before && left == text_columns(text));
    must(before <= columns ? !strcmp(text, again) : strlen(text) < sizeof text);
    must_be_clean(text);
    must(text_release(release, original) == release && strlen(release) < sizeof release);
}

static void check_numbers(uint64_t number) {
    char *(*const writers[])(char *, uint64_t) = { text_bytes, text_clock, text_duration, text_span,
                                                   text_day,   text_time,  text_iso_time };
    char buffer[TEXT_SIZE];

    for (size_t i = 0; i < sizeof writers / sizeof *writers; i++) {
        must(writers[i](buffer, number) == buffer);
        must(memchr(buffer, 0, sizeof buffer) && is_printable_ascii(buffer));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct input input = { bytes, size };
    uint64_t number = take_u32(&input), time_us = 0;
    size_t columns = take_byte(&input);
    char text[TEXT_BYTES];

    number |= (uint64_t)take_u32(&input) << 32;
    take_text(&input, text, sizeof text);
    if (since_parse(text, &time_us))
        must(*text && time_us % 1000000 == 0);
    check_text(text, columns);
    check_numbers(number);
    return 0;
}
