#pragma once

/*
 * Serial ports of USB adapters, as udev tells of them. What is there at start and what comes later go one
 * way.
 *
 * Happy path: usb_watch_new, on_added and on_removed from the loop, usb_watch_close.
 * Failure modes: messages that were lost (ENOBUFS) and events for what is known already are made up for by
 * listing everything again: each port is added once and removed once. A port that changed its node or its
 * slot is removed and added. Where there is no udev, nothing is ever added, and that is logged once.
 */

#include <uv.h>

#include "daemon/base/clean.h"
#include "daemon/base/config.h"
#include "daemon/usb/adapters.h"

struct usb_watch;

/* All strings are owned by the watch and last until on_removed returns. */
struct usb_port {
    char *name; /* "ttyUSB0" */
    char *node; /* "/dev/ttyUSB0" */
    char *syspath;
    /* Where it is plugged in: ID_PATH; without one the USB device's and the interface's name. Two ports of
     * one adapter differ. Serial numbers play no part: they may all be "0001". */
    char *slot;
    char *serial; /* the adapter's serial number, may be empty */
    uint16_t vendor, product;
    char adapter[32];      /* its name in the table */
    uint32_t baud_max;     /* see adapters.h */
    const char *unhandled; /* NULL, or why it isn't served; static storage */
};

struct usb_watch_events {
    void (*on_added)(void *userdata, const struct usb_port *port);
    void (*on_removed)(void *userdata, const struct usb_port *port); /* about to go */
};

/* Never calls back from inside. config, events: borrowed until closed. Negative errno; no udev is no error.
 */
must_check int usb_watch_new(struct usb_watch **ret, uv_loop_t *loop, const struct config *config,
                             const struct usb_watch_events *events, void *userdata);
/* Calls on_removed for nothing. on_closed comes from the loop; the object is gone then. NULL is not allowed.
 */
void usb_watch_close(struct usb_watch *watch, void (*on_closed)(void *userdata), void *userdata);
