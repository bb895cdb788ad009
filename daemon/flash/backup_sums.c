#include "daemon/flash/backup_sums.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/base/regular.h"

/* "0123...  config.bin\n"; ret has BACKUP_SUMS_MAX bytes. */
static int make_line(enum backup_part part, const uint8_t *bytes, uint32_t size, char *ret) {
    uint8_t digest[EVP_MAX_MD_SIZE];
    char hex[2 * sizeof digest + 1];
    unsigned n = 0;

    if (EVP_Digest(bytes, size, digest, &n, EVP_sha256(), NULL) != 1)
        return -ENOMEM;
    hex_encode(digest, n, hex);
    return snprintf(ret, BACKUP_SUMS_MAX, "%s  %s\n", hex, backup_part_file(part));
}

int backup_sums_make(const struct backup *backup, char *ret) {
    char line[BACKUP_SUMS_MAX];

    *ret = 0;
    for (enum backup_part i = 0; i < BACKUP_PARTS; i++) {
        const struct backup_area *part = &backup->parts[i];
        int r = part->size ? make_line(i, part->bytes, part->size, line) : 0;

        if (r < 0)
            return r;
        if (r)
            strcat(ret, line);
    }
    return 0;
}

int backup_sums_check(int generation, enum backup_part part, const uint8_t *bytes, uint32_t size) {
    char sums[BACKUP_SUMS_MAX], line[BACKUP_SUMS_MAX];
    cleanup(close_fd_p) int fd = -1;
    struct stat st;
    int r = regular_open(generation, BACKUP_SUMS_FILE, &fd, &st);
    ssize_t n;

    if (r < 0)
        return r == -ENOENT ? 0 : r == -ELOOP || r == -EUCLEAN ? -EBADMSG : r;
    n = pread(fd, sums, sizeof sums - 1, 0);
    if (n < 0)
        return -errno;
    sums[n] = 0;
    r = make_line(part, bytes, size, line);
    if (r < 0)
        return r;
    return strstr(sums, line) ? 1 : -EBADMSG;
}
