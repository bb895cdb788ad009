#pragma once

/* How often the loop turns, and how long a turn takes without the sleep: a daemon that blocks is found here.
 */

#include <stdint.h>
#include <uv.h>

#include "daemon/base/clean.h"

/* Turns by how long they took: sixteen to each doubling of a microsecond, the last one for all above 2 s. */
#define LOOP_METER_BUCKETS 288

struct loop_meter {
    uv_prepare_t prepare;
    uint64_t turns;
    uint64_t longest_us; /* since start */
    uint64_t over_10ms;  /* turns that took longer than 10 ms */
    uint64_t buckets[LOOP_METER_BUCKETS];
    uint64_t last_ns, last_idle_ns;
};

/* Begins to count. The loop must have been configured with UV_METRICS_IDLE_TIME; the meter keeps no loop
 * alive. */
void loop_meter_start(struct loop_meter *meter, uv_loop_t *loop);
/* A turn of that length; the meter counts the loop's by itself. */
void loop_meter_count(struct loop_meter *meter, uint64_t us);
/* What share of all turns since start, 0 to 1, took no longer than: microseconds, up to a sixteenth too many.
 * 0: no turn yet, or none of a whole microsecond. */
uint64_t loop_meter_quantile_us(const struct loop_meter *meter, double share);
/* The meter's memory must last until the loop has closed it. */
void loop_meter_close(struct loop_meter *meter);
