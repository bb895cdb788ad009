#pragma once

/*
 * An alarm at a moment of the wall clock. It survives suspension, and rings too when the clock was set: then
 * whoever listens looks at the time again. Nothing wakes the loop before that.
 */

#include <uv.h>

#include "daemon/base/clean.h"

struct poll_alarm;

/* on_ring: the moment is there, or the clock was set. Negative errno. */
must_check int poll_alarm_new(struct poll_alarm **ret, uv_loop_t *loop, void (*on_ring)(void *userdata),
                              void *userdata);
/* since 1970; a moment that has passed rings at once (from the loop). 0: never. Negative errno. */
must_check int poll_alarm_set(struct poll_alarm *alarm, uint64_t at_us);
void poll_alarm_close(struct poll_alarm *alarm, void (*on_closed)(void *userdata), void *userdata);
