#pragma once

/*
 * What a generation's files were when they were saved: SHA256SUMS beside them, a line each as sha256sum(1)
 * writes it, so that `sha256sum -c SHA256SUMS` says the same as we do. Generations of a wipyd before this
 * have none.
 */

#include "daemon/base/clean.h"
#include "daemon/flash/backup.h"

#define BACKUP_SUMS_FILE "SHA256SUMS"
/* For each part 64 digits, two blanks, the file's name, a line feed; and a NUL. */
#define BACKUP_SUMS_MAX (BACKUP_PARTS * (64 + 2 + 16 + 1) + 1)

/* The file's text for the parts of a size other than 0; ret has BACKUP_SUMS_MAX bytes. Negative errno. */
must_check int backup_sums_make(const struct backup *backup, char *ret);
/* Of one part, as it was read out of the folder generation. 1: it is as it was saved; 0: the generation has
 * no sums; -EBADMSG: it isn't as it was saved, or the sums themselves are damaged; else negative errno.
 * Blocking. */
must_check int backup_sums_check(int generation, enum backup_part part, const uint8_t *bytes, uint32_t size);
