#pragma once

/* USB serial adapters by vendor and product id: what hangs on them is said by none of these ids. */

#include <stdint.h>

#include "daemon/base/config.h"

struct usb_adapter {
    uint16_t vendor, product;
    const char *name;      /* "FT230X" */
    const char *unhandled; /* NULL: served; else one sentence that says why it isn't */
};

/* The built-in table (facts/pycom.md 4.2, facts/esp32-serial-protocol.md 3), then the configured ones, which
 * may not take a built-in one's place. NULL: not ours. Borrowed from the table or from *ret, which a
 * configured one is put into. */
const struct usb_adapter *usb_adapter_find(const struct config *config, uint16_t vendor, uint16_t product,
                                           struct usb_adapter *ret);
