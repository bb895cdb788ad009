#pragma once

/*
 * What is the board's own: config block, NVS, otadata. Saved under FOLDER/<mac>/<time>-<job>/ as config.bin,
 * nvs.bin, otadata.bin, mode 0600, every generation kept; a generation appears whole (fsync, rename) or not
 * at all, and only when it differs from the newest. Blocking: call from the thread pool. Contents are never
 * logged.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/base/fault.h"

enum backup_part { BACKUP_CONFIG, BACKUP_NVS, BACKUP_OTADATA, BACKUP_PARTS };

struct backup {
    struct backup_area {
        uint32_t offset, size; /* on flash; size 0: the layout has no such area */
        uint8_t *bytes;        /* owned */
    } parts[BACKUP_PARTS];
};

/* The newest generation of that board, its sizes only where they equal those that `like` has; parts that are
 * missing or of another size have bytes NULL. mac: 12 hex digits. Nothing there, or unreadable: all parts are
 * NULL. */
void backup_load_newest(const char *folder, const char *mac, const struct backup *like, struct backup *ret);
/* Saves all parts. BACKUP_FAILED. */
must_check enum wipyd_error backup_save(const char *folder, const char *mac, uint32_t job_id,
                                        const struct backup *backup, struct fault *fault);
void backup_deinit(struct backup *backup);
