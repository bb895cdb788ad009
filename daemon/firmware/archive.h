#pragma once

/*
 * The members of a .tar.gz in memory: small, flat, regular files with distinct names, or nothing at all.
 * Limits: facts/pycom.md 2.1.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/base/fault.h"

#define FIRMWARE_MEMBERS_MAX      32u
#define FIRMWARE_MEMBER_BYTES_MAX (8u * 1024u * 1024u)
#define FIRMWARE_TOTAL_BYTES_MAX  (16u * 1024u * 1024u)
#define FIRMWARE_MEMBER_NAME_MAX  64u

struct firmware_member {
    char name[FIRMWARE_MEMBER_NAME_MAX]; /* printable ASCII, no '/' */
    uint8_t *bytes;                      /* owned by the archive; FF follows up to a multiple of 4096 */
    size_t size;                         /* without that FF */
};

struct firmware_archive {
    struct firmware_member members[FIRMWARE_MEMBERS_MAX];
    unsigned n;
};

/* Unpacks all members. bytes is borrowed during the call; name is used in the story. Whatever it returns,
 * deinit ret afterwards. PACKAGE_INVALID, PACKAGE_TOO_LARGE. */
must_check enum wipyd_error firmware_archive_read(struct firmware_archive *ret, const void *bytes,
                                                  size_t size, const char *name, struct fault *fault);
void firmware_archive_deinit(struct firmware_archive *archive);
/* Borrowed from archive; NULL when there is none of that name. */
const struct firmware_member *firmware_archive_find(const struct firmware_archive *archive, const char *name);

/* A name that may stand in a story and in an archive: 1 to 63 printable ASCII characters without '/' or
 * quotes. */
bool firmware_name_is_plain(const char *name);
