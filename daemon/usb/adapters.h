#pragma once

/* USB serial adapters by vendor and product id: what hangs on them is said by none of these ids. */

#include <stdint.h>

#include "daemon/base/config.h"

/* Of what nobody has measured: usual for UARTs of the last twenty years, and what Pycom's own tool uses. */
#define USB_ADAPTER_BAUD_UNKNOWN 921600u

struct usb_adapter {
    uint16_t vendor, product;
    const char *name;      /* "FT230X" */
    uint32_t baud_max;     /* the most of the ladder that is tried unless a person names a rate */
    const char *unhandled; /* NULL: served; else one sentence that says why it isn't */
};

/* The built-in table (facts/pycom.md 4.2, facts/esp32-serial-protocol.md 3), then the configured ones, which
 * may not take a built-in one's place. NULL: not ours. Borrowed from the table or from *ret, which a
 * configured one is put into. */
const struct usb_adapter *usb_adapter_find(const struct config *config, uint16_t vendor, uint16_t product,
                                           struct usb_adapter *ret);
