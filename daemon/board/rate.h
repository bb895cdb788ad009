#pragma once

/*
 * Which rate a job begins with, out of what slot and board have shown; and whether a slot is worse than its
 * neighbours. Pure: no clock, no database.
 *
 * A place or a board of which nothing is known is tried at the most that its adapter does. A rate that a job
 * had to give up is barred there, after RATE_WAIT_JOBS good jobs below it, or RATE_WAIT_DAYS, it is tried
 * once more; each time that it fails again the wait doubles, and a rate that has long been good has it halved
 * again. Upwards it goes one barred rate a job. So a slot that can't do the most begins its second board with
 * what it can, and has at most log2(boards / RATE_WAIT_JOBS) + 1 boards after that begin too high.
 *
 * Whom to blame: the slot; the board where the slot has lately been good at that rate with others.
 */

#include <stddef.h>

#include "daemon/flash/ladder.h"

enum {
    RATE_WAIT_JOBS = 8,
    RATE_WAIT_DAYS = 7,
    RATE_PROVEN_JOBS = 4, /* good in a row: one failure is the board's */
    RATE_SLOTS_MAX = 256,
    RATE_FORGIVE_TIMES = 4, /* the wait, in good jobs in a row, until a strike is forgotten */
};

/* What one rate has shown: struct rate_record without its key. */
struct rate_rung {
    uint32_t blocks, errors, good, strikes, wait;
    uint64_t failed_us, used_us;
};

/* One slot's, or one board's. All zero: nothing is known. */
struct rate_memory {
    struct rate_rung rungs[LADDER_RATES];
};

/* A rate of the ladder, at most ceiling (baud), at least 115200. now_us: since 1970. */
uint32_t rate_choose(const struct rate_memory *slot, const struct rate_memory *board, uint32_t ceiling,
                     uint64_t now_us);
/* An attempt is over. is_done: its image is written and verified. reached: the rate that it ended with. */
void rate_learn(struct rate_memory *slot, struct rate_memory *board, const struct ladder *ladder,
                uint32_t reached, bool is_done, uint64_t now_us);

/* Of the highest rate at which the slot is worse than its neighbours, else of the highest that it was tried
 * at. */
struct rate_health {
    uint32_t baud; /* 0: nothing was ever sent there */
    double share;  /* of its blocks that failed, 0 to 1 */
    double usual;  /* the median of its neighbours */
    bool is_bad;
};

/* slots: n of them, at most RATE_SLOTS_MAX are looked at; which: the one. Bad: of at least three failures,
 * even the lower end of what they may mean (Wilson's interval, three sigma) is beyond 2 % and beyond four
 * times the neighbours' median; those count that have at least 50 blocks at that rate. Without such
 * neighbours nothing is bad. */
void rate_health(const struct rate_memory *slots, size_t n, size_t which, struct rate_health *ret);
/* The highest rate at which the last job was good; 0: none yet. */
uint32_t rate_good(const struct rate_memory *memory);
/* One sentence; empty where it isn't bad. name: of the slot. */
void rate_advice(const struct rate_health *health, const char *name, char *ret, size_t size);
