#pragma once

/*
 * org.wipyd1 on the bus: what others may ask. Translates between D-Bus and the fleet, decides nothing.
 * Happy path: service_new, service_attach, service_announce, service_close.
 */

#include <systemd/sd-bus.h>
#include <uv.h>

#include "daemon/base/clean.h"
#include "daemon/board/fleet.h"
#include "daemon/firmware/poll.h"
#include "daemon/loop/meter.h"

struct service;

/* Puts the objects on bus (a reference is taken). meter: borrowed until service_close. Negative errno. */
must_check int service_new(struct service **ret, uv_loop_t *loop, sd_bus *bus,
                           const struct loop_meter *meter);
/* What fleet_new, firmware_store_open and firmware_poll_new want; their userdata is the service. */
const struct fleet_events *service_fleet_events(void);
const struct firmware_store_events *service_store_events(void);
void service_on_poll_changed(void *userdata);
/* Borrowed until service_close. */
void service_attach(struct service *service, struct fleet *fleet, struct firmware_store *store,
                    struct firmware_poll *poll);
/* The objects leave the bus, and what was attached is not touched any more: before any of it is closed.
 * Events that still come are dropped. Again: nothing. */
void service_detach(struct service *service);
/* Takes the name org.wipyd1: from here on people may ask. Negative errno: -EEXIST another wipyd has it. */
must_check int service_announce(struct service *service);
/* The object goes away when the loop has closed its handles. NULL is fine. */
struct service *service_close(struct service *service);
