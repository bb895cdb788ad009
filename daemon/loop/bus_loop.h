#pragma once

/* sd-bus on the libuv loop. Before every sleep the bus is asked for its fd, events and timeout (a
 * uv_prepare), so that messages already queued are never left lying. */

#include <systemd/sd-bus.h>
#include <uv.h>

#include "daemon/base/clean.h"

struct bus_loop;

/* Called from the loop when the connection is lost, once; r is a negative errno. */
typedef void (*bus_loop_lost_fn)(void *userdata, int r);

/* Serves bus (a reference is taken) until bus_loop_close. Negative errno. */
must_check int bus_loop_new(struct bus_loop **ret, uv_loop_t *loop, sd_bus *bus, bus_loop_lost_fn on_lost,
                            void *userdata);
/* Flushes nothing, calls no one back; its memory goes away when the loop has closed its handles. NULL is
 * fine. */
struct bus_loop *bus_loop_close(struct bus_loop *bus_loop);
