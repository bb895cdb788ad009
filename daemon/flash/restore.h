#pragma once

/*
 * What a restore writes: the parts of a backup, each where the board has its area, as a layout like that of a
 * package. Here alone may the config block be written.
 */

#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/base/fault.h"
#include "daemon/firmware/package.h"
#include "daemon/firmware/partitions.h"
#include "daemon/firmware/pieces.h"
#include "daemon/flash/backup.h"

struct flash_restore {
    struct firmware_layout layout; /* nvs and otadata: where those restored lie */
    struct firmware_region regions[BACKUP_PARTS];
    struct firmware_pieces pieces[BACKUP_PARTS];
};

/* Sets the offsets of the parts that have bytes. table: the board's own; NULL: it has no valid one.
 * FLASH_TOO_SMALL; BACKUP_INVALID: a part has no place on this board, or one of another size. Pure. */
must_check enum wipyd_error flash_restore_place(struct backup *backup, const struct partitions *table,
                                                uint32_t flash_bytes, struct fault *fault);
/* The layout, by the parts as they are placed; deinit ret in either case. NO_MEMORY, SYSTEM. Compresses: call
 * it from the thread pool. */
must_check enum wipyd_error flash_restore_prepare(struct flash_restore *ret, const struct backup *backup,
                                                  uint32_t flash_bytes, struct fault *fault);
void flash_restore_deinit(struct flash_restore *restore);
