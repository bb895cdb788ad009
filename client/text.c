#include "client/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <wchar.h>
#include <wctype.h>

#include "client/failure.h"
#include "client/terminal.h"

static const char *const escapes[TEXT_STYLE_COUNT] = {
    [TEXT_FAINT] = "\033[2m",  [TEXT_STRONG] = "\033[1m",    [TEXT_GOOD] = "\033[32m",
    [TEXT_BAD] = "\033[1;31m", [TEXT_ACTION] = "\033[1;33m",
};

/* The embeddings, overrides and isolates of Unicode's bidirectional algorithm (UAX 9) count as printable, but
 * can make a line read as another. */
static bool turns_direction(wchar_t c) {
    return (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069) || c == 0x200E || c == 0x200F;
}

void text_clean(char *text) {
    mbstate_t state = { 0 };
    char *from = text, *to = text;
    size_t length = strlen(text);

    while (length) {
        wchar_t c;
        size_t n = mbrtowc(&c, from, length, &state);

        if (n == (size_t)-1 || n == (size_t)-2) {
            memset(&state, 0, sizeof(state));
            *to++ = '?';
            n = 1;
        } else if (!iswprint((wint_t)c) || turns_direction(c)) {
            *to++ = '?';
        } else {
            memmove(to, from, n);
            to += n;
        }
        from += n;
        length -= n;
    }
    *to = '\0';
}

size_t text_columns(const char *text) {
    mbstate_t state = { 0 };
    size_t columns = 0, length = strlen(text);

    while (length) {
        wchar_t c;
        size_t n = mbrtowc(&c, text, length, &state);
        int width = n == (size_t)-1 || n == (size_t)-2 ? -1 : wcwidth(c);

        if (width < 0)
            return columns + length;
        columns += (size_t)width;
        text += n;
        length -= n;
    }
    return columns;
}

size_t text_cut(char *text, size_t columns) {
    const char *mark = terminal_is_utf8() ? "…" : "~";
    mbstate_t state = { 0 };
    size_t used = 0, at = 0, length = strlen(text), all = text_columns(text);

    if (all <= columns)
        return all;
    while (at < length) {
        wchar_t c;
        size_t n = mbrtowc(&c, text + at, length - at, &state);
        int width = n == (size_t)-1 || n == (size_t)-2 ? -1 : wcwidth(c);

        if (width < 0 || used + (size_t)width + 1 > columns)
            break;
        used += (size_t)width;
        at += n;
    }
    strcpy(text + at, columns ? mark : "");
    return columns ? used + 1 : 0;
}

void text_no_memory(void) {
    fflush(stdout);
    fprintf(stderr, "wipyctl: %s\n", wipyd_error_sentence(WIPYD_ERROR_NO_MEMORY));
    exit(EXIT_FAILED);
}

__attribute__((format(printf, 4, 0))) static void put(FILE *stream, enum text_style style, const char *end,
                                                      const char *format, va_list arguments) {
    const char *escape = terminal_has_colours(stream) ? escapes[style] : NULL;
    char *text;

    if (vasprintf(&text, format, arguments) < 0)
        text_no_memory();
    text_clean(text);
    fprintf(stream, "%s%s%s%s", escape ? escape : "", text, escape ? "\033[0m" : "", end);
    free(text);
}

void text_put(FILE *stream, enum text_style style, const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    put(stream, style, "", format, arguments);
    va_end(arguments);
}

void text_line(FILE *stream, enum text_style style, const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    put(stream, style, "\n", format, arguments);
    va_end(arguments);
}

const char *text_or_dash(const char *text) {
    return text && *text ? text : "-";
}

#define RELEASE_COLUMNS 16

char *text_release(char *buffer, const char *release) {
    size_t n = strlen(release ? release : ""), head = strcspn(release ? release : "", "-");

    if (n > RELEASE_COLUMNS && head < RELEASE_COLUMNS)
        snprintf(buffer, TEXT_SIZE, "%.*s-...", (int)head, release);
    else
        snprintf(buffer, TEXT_SIZE, "%s", release ? release : "");
    return buffer;
}

char *text_loader(char *buffer, const char *loader) {
    if (!loader || !*loader)
        *buffer = '\0';
    else
        snprintf(buffer, TEXT_SIZE, " by the %s", strcmp(loader, "rom") ? loader : "boot ROM");
    return buffer;
}

char *text_bytes(char *buffer, uint64_t bytes) {
    if (bytes < 1024)
        snprintf(buffer, TEXT_SIZE, "%" PRIu64 " B", bytes);
    else if (bytes < 1024 * 1024)
        snprintf(buffer, TEXT_SIZE, "%" PRIu64 " KiB", bytes / 1024);
    else if (bytes % (1024 * 1024) == 0)
        snprintf(buffer, TEXT_SIZE, "%" PRIu64 " MiB", bytes / (1024 * 1024));
    else
        snprintf(buffer, TEXT_SIZE, "%.2f MiB", (double)bytes / (1024 * 1024));
    return buffer;
}

char *text_clock(char *buffer, uint64_t seconds) {
    if (seconds < 3600)
        snprintf(buffer, TEXT_SIZE, "%" PRIu64 ":%02u", seconds / 60, (unsigned)(seconds % 60));
    else
        snprintf(buffer, TEXT_SIZE, "%" PRIu64 ":%02u:%02u", seconds / 3600, (unsigned)(seconds / 60 % 60),
                 (unsigned)(seconds % 60));
    return buffer;
}

char *text_duration(char *buffer, uint64_t duration_us) {
    uint64_t seconds = (duration_us + 500000) / 1000000;

    if (duration_us < 10 * 1000000)
        snprintf(buffer, TEXT_SIZE, "%.1f s", (double)duration_us / 1e6);
    else if (seconds < 120)
        snprintf(buffer, TEXT_SIZE, "%" PRIu64 " s", seconds);
    else
        snprintf(buffer, TEXT_SIZE, "%" PRIu64 " min %u s", seconds / 60, (unsigned)(seconds % 60));
    return buffer;
}

char *text_span(char *buffer, uint64_t duration_us) {
    uint64_t seconds = duration_us / 1000000, minutes = seconds / 60, hours = minutes / 60;

    if (seconds < 120)
        snprintf(buffer, TEXT_SIZE, "%" PRIu64 " s", seconds);
    else if (minutes < 120)
        snprintf(buffer, TEXT_SIZE, "%" PRIu64 " min", minutes);
    else if (hours < 48)
        snprintf(buffer, TEXT_SIZE, "%" PRIu64 " h", hours);
    else
        snprintf(buffer, TEXT_SIZE, "%" PRIu64 " d", hours / 24);
    return buffer;
}

char *text_day(char *buffer, uint64_t time_us) {
    time_t seconds = (time_t)(time_us / 1000000);
    struct tm parts;

    if (!localtime_r(&seconds, &parts) || !strftime(buffer, TEXT_SIZE, "%Y-%m-%d", &parts))
        strcpy(buffer, "?");
    return buffer;
}

char *text_time(char *buffer, uint64_t time_us) {
    time_t seconds = (time_t)(time_us / 1000000);
    struct tm parts;

    if (!localtime_r(&seconds, &parts) || !strftime(buffer, TEXT_SIZE, "%Y-%m-%d %H:%M:%S", &parts))
        strcpy(buffer, "?");
    return buffer;
}

char *text_iso_time(char *buffer, uint64_t time_us) {
    time_t seconds = (time_t)(time_us / 1000000);
    struct tm parts;
    size_t n;

    /* A year that gmtime can't hold is no time that a daemon wrote. */
    n = gmtime_r(&seconds, &parts) ? strftime(buffer, TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &parts) : 0;
    snprintf(buffer + n, TEXT_SIZE - n, ".%03uZ", (unsigned)(time_us / 1000 % 1000));
    return buffer;
}
