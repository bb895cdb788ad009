#include "daemon/usb/adapters.h"

#include <stddef.h>

#define SILICON_LABS 0x10c4
#define FTDI         0x0403
#define MICROCHIP    0x04d8

#define PIC_UNHANDLED                                                                                        \
    "A microcontroller on this carrier resets the board, over a protocol of its own that isn't spoken here " \
    "yet."

/* Silicon Labs: the ids that the kernel's cp210x driver knows as theirs. FTDI: the driver's defaults. Pycom's
 * carriers: facts/pycom.md 4.2 and 4.3; those in DFU mode have other ids and no tty. */
static const struct usb_adapter adapters[] = {
    { SILICON_LABS, 0xea60, "CP2102/CP2104", NULL },
    { SILICON_LABS, 0xea61, "CP210x", NULL },
    { SILICON_LABS, 0xea63, "CP2102N", NULL },
    { SILICON_LABS, 0xea70, "CP2105", NULL },
    { SILICON_LABS, 0xea71, "CP2108", NULL },
    { SILICON_LABS, 0xea80, "CP2110", NULL }, /* a HID device: a tty only where some driver makes one */
    { FTDI, 0x6001, "FT232R", NULL },
    { FTDI, 0x6010, "FT2232H", NULL },
    { FTDI, 0x6011, "FT4232H", NULL },
    { FTDI, 0x6014, "FT232H", NULL },
    { FTDI, 0x6015, "FT230X", NULL }, /* all of FT-X; Pycom's Expansion Board 1.0 to 2.1 */
    { MICROCHIP, 0xef98, "Expansion Board 3", PIC_UNHANDLED },
    { MICROCHIP, 0xf012, "Pysense", PIC_UNHANDLED },
    { MICROCHIP, 0xf013, "Pytrack", PIC_UNHANDLED },
    { MICROCHIP, 0xef38, "Pyscan", PIC_UNHANDLED },
    { MICROCHIP, 0xed14, "Pygate", PIC_UNHANDLED },
};

const struct usb_adapter *usb_adapter_find(const struct config *config, uint16_t vendor, uint16_t product,
                                           struct usb_adapter *ret) {
    for (size_t i = 0; i < sizeof adapters / sizeof *adapters; i++)
        if (adapters[i].vendor == vendor && adapters[i].product == product)
            return &adapters[i];
    for (unsigned i = 0; i < config->n_adapters; i++)
        if (config->adapters[i].vendor == vendor && config->adapters[i].product == product) {
            *ret = (struct usb_adapter) { vendor, product, config->adapters[i].name, NULL };
            return ret;
        }
    return NULL;
}
