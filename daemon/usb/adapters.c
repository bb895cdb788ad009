#include "daemon/usb/adapters.h"

#include <stddef.h>

#define SILICON_LABS 0x10c4
#define FTDI         0x0403
#define MICROCHIP    0x04d8

#define PIC_UNHANDLED                                                                                        \
    "A microcontroller on this carrier resets the board, over a protocol of its own that isn't spoken here " \
    "yet."

/* Silicon Labs: the ids that the kernel's cp210x driver knows as theirs. FTDI: the driver's defaults. Pycom's
 * carriers: facts/pycom.md 4.2 and 4.3; those in DFU mode have other ids and no tty.
 * Rates, facts/esp32-serial-protocol.md 3, and:
 * - CP2102: 921600 is the highest row of AN205 rev. 0.3, table 1. CP2104 and CP2102N may have its ids, and do
 *   2 M (CP2104 datasheet rev. 1.1, 6.1) and 3 M.
 * - CP2105: interface 0, the enhanced one, does 2 M, interface 1, the standard one, 921600; the ids don't say
 *   which. CP2108: 2 M. Both by Linux's cp210x.c, cp210x_init_max_speed(), and OpenBSD's uslcom(4); their
 *   datasheets were not at hand.
 * - FT-X: 300 to 3 M (FT231X datasheet, FT_000565). FT232R the same. FT232H (FT_000288), FT2232H and FT4232H
 *   have a clock of 120 MHz instead of 48 MHz, and do more than a stub is asked for.
 * - The PIC reads at 230400 at most (facts/pycom.md 4.2). */
static const struct usb_adapter adapters[] = {
    { SILICON_LABS, 0xea60, "CP2102/CP2104", 921600, NULL },
    { SILICON_LABS, 0xea61, "CP210x", 921600, NULL },
    { SILICON_LABS, 0xea63, "CP2102N", 3000000, NULL },
    { SILICON_LABS, 0xea70, "CP2105", 921600, NULL },
    { SILICON_LABS, 0xea71, "CP2108", 2000000, NULL },
    { SILICON_LABS, 0xea80, "CP2110", 921600,
      NULL }, /* a HID device: a tty only where some driver makes one */
    { FTDI, 0x6001, "FT232R", 3000000, NULL },
    { FTDI, 0x6010, "FT2232H", 3000000, NULL },
    { FTDI, 0x6011, "FT4232H", 3000000, NULL },
    { FTDI, 0x6014, "FT232H", 3000000, NULL },
    { FTDI, 0x6015, "FT230X", 3000000, NULL }, /* all of FT-X; Pycom's Expansion Board 1.0 to 2.1 */
    { MICROCHIP, 0xef98, "Expansion Board 3", 230400, PIC_UNHANDLED },
    { MICROCHIP, 0xf012, "Pysense", 230400, PIC_UNHANDLED },
    { MICROCHIP, 0xf013, "Pytrack", 230400, PIC_UNHANDLED },
    { MICROCHIP, 0xef38, "Pyscan", 230400, PIC_UNHANDLED },
    { MICROCHIP, 0xed14, "Pygate", 230400, PIC_UNHANDLED },
};

const struct usb_adapter *usb_adapter_find(const struct config *config, uint16_t vendor, uint16_t product,
                                           struct usb_adapter *ret) {
    for (size_t i = 0; i < sizeof adapters / sizeof *adapters; i++)
        if (adapters[i].vendor == vendor && adapters[i].product == product)
            return &adapters[i];
    for (unsigned i = 0; i < config->n_adapters; i++)
        if (config->adapters[i].vendor == vendor && config->adapters[i].product == product) {
            *ret = (struct usb_adapter) { vendor, product, config->adapters[i].name, USB_ADAPTER_BAUD_UNKNOWN,
                                          NULL };
            return ret;
        }
    return NULL;
}
