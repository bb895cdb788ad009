#include "daemon/firmware/poll_schedule.h"

#define SECOND_US       1000000ull
#define BACK_OFF_US     (15 * 60 * SECOND_US)
#define RETRY_AFTER_MAX 86400ull

static uint64_t jitter(uint64_t delay_us, uint32_t random) {
    uint64_t tenth = delay_us / 10;

    /* delay is at most 30 days, so this is far from overflowing. */
    return delay_us - tenth + ((2 * tenth * (random >> 8)) >> 24);
}

uint64_t poll_schedule_delay_us(uint64_t interval_us, unsigned failures, uint64_t retry_after_s,
                                uint32_t random) {
    uint64_t delay = interval_us, retry_after;

    if (failures > 0) {
        uint64_t back_off = BACK_OFF_US << (failures < 16 ? failures - 1 : 15);

        if (back_off < delay)
            delay = back_off;
    }
    delay = jitter(delay, random);
    retry_after = (retry_after_s < RETRY_AFTER_MAX ? retry_after_s : RETRY_AFTER_MAX) * SECOND_US;
    return delay > retry_after ? delay : retry_after;
}

uint64_t poll_schedule_next_us(uint64_t now_us, uint64_t next_us, uint64_t delay_us) {
    return next_us > now_us && next_us - now_us > delay_us ? now_us + delay_us : next_us;
}
