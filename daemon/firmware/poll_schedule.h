#pragma once

/* When to poll: pure arithmetic on moments, in microseconds since 1970. */

#include <stdint.h>

/* From the end of a poll to the next: interval, jittered by up to 10 % either way; after failures in a row a
 * back-off that begins at 15 minutes, doubles, and ends at interval, jittered too. retry_after_s (0: not
 * said) is obeyed where it is longer, up to a day. random: any 32 bits. */
uint64_t poll_schedule_delay_us(uint64_t interval_us, unsigned failures, uint64_t retry_after_s,
                                uint32_t random);
/* next as it must be seen at now: one that is further away than delay, which it once was set with, means that
 * the clock was set back. */
uint64_t poll_schedule_next_us(uint64_t now_us, uint64_t next_us, uint64_t delay_us);
