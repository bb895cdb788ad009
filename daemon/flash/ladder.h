#pragma once

/*
 * The rates worth a try, what came of each in one job, and when a job goes one down. Pure: no fd, no clock.
 *
 * The rungs: multiples of the ROM's own 115200 as far as a UART of 80 MHz and the adapters have them in
 * common, then what FT-X and CP2102N do beyond (adapters.c).
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/clean.h"

#define LADDER_FIRST_BAUD 115200u /* the ROM listens at what it heard first, which is what we send first */
enum { LADDER_RATES = 7 };
extern const uint32_t ladder_rates[LADDER_RATES]; /* upwards */

/* The next rate below baud; 0 below 115200. */
uint32_t ladder_below(uint32_t baud);
/* The rung of a rate; -1: it isn't one. */
int ladder_rung(uint32_t baud);

/* What came of one rate. */
struct ladder_count {
    uint32_t blocks;  /* that the loader took */
    uint32_t errors;  /* commands that the wire spoilt: checksum, no reply, MD5 of what was just written */
    bool is_given_up; /* the job went on at a lower one because of those */
};

/* One job's way. */
struct ladder {
    struct ladder_count counts[LADDER_RATES];
    uint32_t baud;          /* reached last, on the way up or down; 0: none yet */
    uint32_t errors;        /* of all rates, also of those that are no rungs */
    unsigned region_errors; /* failures in a row of the region at hand, at any rate */
    unsigned here;          /* of these, at the rate at hand */
};

void ladder_note_block(struct ladder *ladder, uint32_t baud);
void ladder_note_error(struct ladder *ladder, uint32_t baud);

enum ladder_verdict {
    LADDER_SAME,  /* begin the region again at the same rate */
    LADDER_LOWER, /* and one rate lower */
    LADDER_FAIL,
};

/* The region at hand has failed. A first time may be chance: the same rate once more; from then on one lower
 * each time; at the lowest until it has failed six times in all, and twice there. can_lower: there is a lower
 * rate. */
enum ladder_verdict ladder_region_failed(struct ladder *ladder, bool can_lower);
/* It is written and verified. */
void ladder_region_done(struct ladder *ladder);
/* From baud to the next one below, because of the line. */
uint32_t ladder_give_up(struct ladder *ladder, uint32_t baud);
