#pragma once

/* How often the loop turns, and how long a turn takes without the sleep: a daemon that blocks is found here.
 */

#include <stdint.h>
#include <uv.h>

#include "daemon/base/clean.h"

struct loop_meter {
    uv_prepare_t prepare;
    uint64_t turns;
    uint64_t longest_us; /* since start */
    uint64_t over_10ms;  /* turns that took longer than 10 ms */
    uint64_t last_ns, last_idle_ns;
};

/* Begins to count. The loop must have been configured with UV_METRICS_IDLE_TIME; the meter keeps no loop
 * alive. */
void loop_meter_start(struct loop_meter *meter, uv_loop_t *loop);
/* The meter's memory must last until the loop has closed it. */
void loop_meter_close(struct loop_meter *meter);
