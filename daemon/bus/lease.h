#pragma once

/*
 * Ports that other programs have for a while. The caller gets a file descriptor and holds it open; when it,
 * or the caller's death, closes the last copy, the daemon has the port again. Nothing is ever written to the
 * descriptor; when the device goes away, it comes to its end.
 *
 * Happy path: lease_begin, the port is closed (lease_look_after), the reply, the descriptor is closed.
 * Failure modes: DEVICE_BUSY, TOO_MANY_LEASES; a caller that vanishes before the reply: as if it had closed
 * it.
 */

#include "daemon/bus/objects.h"

/* A method's handler; object: the device. */
int lease_begin(sd_bus_message *message, void *object, sd_bus_error *error);
/* Something about the device has changed: replies when its port is closed. */
void lease_look_after(struct service *service, const struct fleet_device *device);
/* The device goes away; NULL: all of them do, and the fleet isn't told. */
void lease_drop(struct service *service, const struct fleet_device *device);
