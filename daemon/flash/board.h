#pragma once

/* What is told of a board, out of what was read from it: for jobs and for visits alike. Pure. */

#include <stdbool.h>

#include "daemon/base/fault.h"
#include "daemon/esp/chip.h"
#include "daemon/flash/job.h"
#include "daemon/flash/probe.h"

/* MAC, chip and flash size, of an ESP32. host_baud: the line's rate when the chip was read. */
void flash_board_take_chip(struct flash_board *board, const struct esp_chip *chip, uint32_t host_baud);
/* Board and release, or that there is no application. is_blank only where the place of the partition table,
 * or of the application, is erased: what can't be understood is somebody's. */
void flash_board_take_probe(struct flash_board *board, const struct flash_probe *probe);

/* serial_port_open's negative errno as an outcome: PORT_BUSY (holder: as serial_holder_find names it, may be
 * empty), PORT_GONE, NO_MEMORY or PORT_FAILED. */
enum wipyd_error flash_board_port_fault(struct fault *fault, const char *node, int r, const char *holder);
