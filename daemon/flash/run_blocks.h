#pragma once

/* Inside of a run: where the blocks of a compressed stream end that a stub gets. */

#include "daemon/flash/run.h"

/*
 * How long the run takes at that rate, in us, by what a stub does with its blocks (facts 2 and 8), and where
 * its first blocks end, which goes to run. For runs that begin at a multiple of FIRMWARE_PIECE_BYTES, are
 * compressed, and have all but ends.
 */
uint64_t flash_run_plan(struct flash_run *run, uint32_t baud);
/* What the pieces from one number on to before another take at best, in us, as a run of their own. */
uint64_t flash_run_rest(const struct flash_run *run, unsigned from, unsigned to, uint32_t baud);
