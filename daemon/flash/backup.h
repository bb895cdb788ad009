#pragma once

/*
 * What is the board's own: config block, NVS, otadata. Saved under FOLDER/<mac>/<time>-<job>/ as config.bin,
 * nvs.bin, otadata.bin, with their SHA256SUMS, mode 0600, every generation kept; a generation appears whole
 * (fsync, rename) or not at all, and only when it differs from the newest. What isn't as it was saved is not
 * given out. Blocking: call from the thread pool. Contents are never logged.
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
    bool is_unproven; /* read from a generation without sums: it was saved before there were any */
};

/* The newest generation of that board, its sizes only where they equal those that `like` has; parts that are
 * missing, damaged or of another size have bytes NULL. mac: 12 hex digits. Nothing there, or unreadable: all
 * parts are NULL. */
void backup_load_newest(const char *folder, const char *mac, const struct backup *like, struct backup *ret);
/* Saves all parts. BACKUP_FAILED. */
must_check enum wipyd_error backup_save(const char *folder, const char *mac, uint32_t job_id,
                                        const struct backup *backup, struct fault *fault);
/* A generation there is. */
struct backup_entry {
    char mac[18];  /* "30:ae:a4:01:02:03" */
    char name[64]; /* its folder's: it begins with the time, "20261122T101500.123Z-7" */
    uint64_t saved_us;
    uint32_t sizes[BACKUP_PARTS]; /* bytes; 0: it has no such part */
};
/* All generations, or those of one board (mac as above; NULL: all), by board, newest first. *ret is to be
 * freed. No folder: none. Negative errno; -EINVAL: mac is none. Blocking. */
must_check int backup_list(const char *folder, const char *mac, struct backup_entry **ret, size_t *ret_n);
/* Reads the parts wanted (1 << enum backup_part) of a generation, with the sizes that its files have, offsets
 * 0. NO_SUCH_BACKUP, BACKUP_INVALID (a part wanted isn't there, its size makes no sense, or it isn't as
 * it was saved), NO_MEMORY, SYSTEM. mac and name come from a caller: nothing outside of folder is ever
 * opened. Blocking. */
must_check enum wipyd_error backup_read(const char *folder, const char *mac, const char *name, unsigned parts,
                                        struct backup *ret, struct fault *fault);
/* Opens one part's file for reading; the same errors. *ret is the caller's. */
must_check enum wipyd_error backup_open(const char *folder, const char *mac, const char *name,
                                        enum backup_part part, int *ret, struct fault *fault);
/* "config", "nvs", "otadata". */
const char *backup_part_word(enum backup_part part);
/* The file's name in a generation's folder. */
const char *backup_part_file(enum backup_part part);
void backup_deinit(struct backup *backup);
