#pragma once

/* Points in time, as people type them. */

#include <stdbool.h>
#include <stdint.h>

/*
 * "2026-11-22", "2026-11-22T10:00", "2026-11-22 10:00:30" (of the clocks here; with a Z behind it of UTC),
 * "today", "yesterday", or a span before now: "45s", "30m", "2h", "3d", "1w". Microseconds since 1970; false:
 * none of these.
 */
bool since_parse(const char *text, uint64_t *time_us);
