#include "client/since.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
    char unit;
    uint64_t seconds;
} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 604800 } };

static bool parse_span(const char *text, time_t now, uint64_t *time_us) {
    unsigned long long n;
    uint64_t span;
    char *end;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno || *text < '0' || *text > '9' || !*end || end[1])
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (*end != units[i].unit)
            continue;
        /* Before 1970 there was nothing. */
        span = n > (uint64_t)now / units[i].seconds ? (uint64_t)now : n * units[i].seconds;
        *time_us = ((uint64_t)now - span) * 1000000;
        return true;
    }
    return false;
}

/* Days that there aren't, 2026-02-30, come out of mktime() as others. */
static bool to_time(struct tm *parts, bool is_utc, uint64_t *time_us) {
    const struct tm asked = *parts;
    time_t seconds;

    parts->tm_isdst = -1;
    seconds = is_utc ? timegm(parts) : mktime(parts);
    if (seconds < 0 || parts->tm_mday != asked.tm_mday || parts->tm_mon != asked.tm_mon)
        return false;
    *time_us = (uint64_t)seconds * 1000000;
    return true;
}

static bool parse_day(const char *text, time_t now, uint64_t *time_us) {
    struct tm parts;

    if ((strcmp(text, "today") && strcmp(text, "yesterday")) || !localtime_r(&now, &parts))
        return false;
    parts = (struct tm) { .tm_year = parts.tm_year, .tm_mon = parts.tm_mon, .tm_mday = parts.tm_mday };
    parts.tm_isdst = -1;
    if (*text == 'y')
        parts.tm_mday--; /* the 0th is the last of the month before */
    now = mktime(&parts);
    *time_us = (uint64_t)now * 1000000;
    return now >= 0;
}

static bool parse_date(const char *text, uint64_t *time_us) {
    static const char *const forms[] = { "%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M",
                                         "%Y-%m-%d %H:%M:%S" };

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm parts = { 0 };
        const char *end = strptime(text, forms[i], &parts);

        if (end && !strcmp(end, "Z") && i > 0)
            return to_time(&parts, true, time_us);
        if (end && !*end)
            return to_time(&parts, false, time_us);
    }
    return false;
}

bool since_parse(const char *text, uint64_t *time_us) {
    time_t now = time(NULL);

    return parse_day(text, now, time_us) || parse_span(text, now, time_us) || parse_date(text, time_us);
}
