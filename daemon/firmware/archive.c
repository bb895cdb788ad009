#include "daemon/firmware/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <libdeflate.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/firmware/package.h"
#include "proto/names.h"

/* What tar itself may add to the members: headers, extended headers, rounding, the final blocks. */
#define TAR_OVERHEAD_BYTES (1024u * 1024u)
/* RFC 1952: 10 bytes of header, at least 2 of deflate, CRC and length. */
#define GZIP_BYTES_MIN 20u

static void free_reader_p(struct archive **reader) {
    if (*reader)
        archive_read_free(*reader);
}

static void free_decompressor_p(struct libdeflate_decompressor **decompressor) {
    libdeflate_free_decompressor(*decompressor);
}

bool firmware_name_is_plain(const char *name) {
    size_t length = 0;

    for (; name[length]; length++)
        if (length + 1 == FIRMWARE_MEMBER_NAME_MAX || name[length] < 0x20 || name[length] > 0x7e ||
            strchr("/\"\\", name[length]))
            return false;
    return length > 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/*
 * libarchive's own gzip filter does not look at the CRC (as of 3.6.2), so a flipped
 * bit would pass: libdeflate unpacks and checks, libarchive reads the tar. The length in the trailer is only
 * a promise, but the buffer is never larger than the limit, and a stream that doesn't keep the promise is
 * refused.
 */
static enum wipyd_error unpack_gzip(const uint8_t *bytes, size_t size, const char *name, uint8_t **ret,
                                    size_t *ret_size, struct fault *fault) {
    cleanup(free_decompressor_p) struct libdeflate_decompressor *decompressor = NULL;
    cleanup(free_p) uint8_t *tar = NULL;
    size_t tar_size, used = 0, got = 0;

    if (size > WIPYD_PACKAGE_BYTES_MAX)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_TOO_LARGE, "%s: %zu bytes are more than %u", name, size,
                         WIPYD_PACKAGE_BYTES_MAX);
    if (size < GZIP_BYTES_MIN || bytes[0] != 0x1f || bytes[1] != 0x8b)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: not a gzip file", name);
    tar_size = get_le32(bytes + size - 4);
    if (!tar_size)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: the gzip file is empty", name);

    decompressor = libdeflate_alloc_decompressor();
    /* A cut or overwritten trailer promises anything; what it unpacks to tells damage from size. */
    bool capped = tar_size > FIRMWARE_TOTAL_BYTES_MAX + TAR_OVERHEAD_BYTES;
    if (capped)
        tar_size = FIRMWARE_TOTAL_BYTES_MAX + TAR_OVERHEAD_BYTES;
    tar = malloc(tar_size);
    if (!decompressor || !tar)
        return fault_errno(fault, -ENOMEM, "%s", name);

    switch (libdeflate_gzip_decompress_ex(decompressor, bytes, size, tar, tar_size, &used, &got)) {
    case LIBDEFLATE_SUCCESS:
        break;
    case LIBDEFLATE_INSUFFICIENT_SPACE:
        if (capped)
            return fault_set(fault, WIPYD_ERROR_PACKAGE_TOO_LARGE, "%s: unpacks to more than %u bytes", name,
                             FIRMWARE_TOTAL_BYTES_MAX);
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID,
                         "%s: unpacks to more than the %zu bytes it promises", name, tar_size);
    case LIBDEFLATE_SHORT_OUTPUT:
    case LIBDEFLATE_BAD_DATA:
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: the gzip data are damaged or cut off",
                         name);
    }
    if (used != size)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: %zu bytes follow the gzip data", name,
                         size - used);
    *ret = steal_pointer(&tar);
    *ret_size = got;
    return WIPYD_ERROR_NONE;
}

static enum wipyd_error check_entry(const struct firmware_archive *archive, struct archive_entry *entry,
                                    uint64_t total, const char *name, struct fault *fault) {
    const char *path = archive_entry_pathname(entry);

    if (archive->n == FIRMWARE_MEMBERS_MAX)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_TOO_LARGE, "%s: more than %u members", name,
                         FIRMWARE_MEMBERS_MAX);
    if (!path || !firmware_name_is_plain(path))
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID,
                         "%s: member %u has a name that is not a flat one", name, archive->n + 1);
    if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) ||
        archive_entry_symlink(entry))
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: %s is not a regular file", name, path);
    if (firmware_archive_find(archive, path))
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: %s is there twice", name, path);
    if (!archive_entry_size_is_set(entry) || archive_entry_size(entry) < 0)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: %s has no size", name, path);

    uint64_t size = (uint64_t)archive_entry_size(entry);

    if (size > FIRMWARE_MEMBER_BYTES_MAX)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_TOO_LARGE, "%s: %s has more than %u bytes", name, path,
                         FIRMWARE_MEMBER_BYTES_MAX);
    if (total + size > FIRMWARE_TOTAL_BYTES_MAX)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_TOO_LARGE, "%s: its members have more than %u bytes",
                         name, FIRMWARE_TOTAL_BYTES_MAX);
    return WIPYD_ERROR_NONE;
}

static enum wipyd_error read_member(struct archive *reader, struct archive_entry *entry, const char *name,
                                    struct firmware_member *ret, struct fault *fault) {
    size_t size = (size_t)archive_entry_size(entry), padded = round_up((uint32_t)size, FIRMWARE_SECTOR_BYTES);
    cleanup(free_p) uint8_t *bytes = malloc(padded ? padded : 1);
    size_t got = 0;
    uint8_t surplus;

    if (!bytes)
        return fault_errno(fault, -ENOMEM, "%s", name);
    while (got < size) {
        la_ssize_t n = archive_read_data(reader, bytes + got, size - got);

        if (n <= 0)
            return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: %s is cut off", name,
                             archive_entry_pathname(entry));
        got += (size_t)n;
    }
    if (archive_read_data(reader, &surplus, 1) != 0)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: %s is longer than its header says", name,
                         archive_entry_pathname(entry));
    memset(bytes + size, 0xff, padded - size);
    strcpy(ret->name, archive_entry_pathname(entry)); /* plain, hence short enough */
    ret->size = size;
    ret->bytes = steal_pointer(&bytes);
    return WIPYD_ERROR_NONE;
}

static enum wipyd_error read_tar(struct firmware_archive *ret, const uint8_t *tar, size_t size,
                                 const char *name, struct fault *fault) {
    cleanup(free_reader_p) struct archive *reader = archive_read_new();
    uint64_t total = 0;

    if (!reader)
        return fault_errno(fault, -ENOMEM, "%s", name);
    if (archive_read_support_format_tar(reader) != ARCHIVE_OK ||
        archive_read_open_memory(reader, tar, size) != ARCHIVE_OK)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: not a tar archive", name);
    for (;;) {
        struct archive_entry *entry;
        enum wipyd_error error;
        int r = archive_read_next_header(reader, &entry);

        if (r == ARCHIVE_EOF)
            break;
        if (r != ARCHIVE_OK)
            return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: the tar archive is damaged", name);
        error = check_entry(ret, entry, total, name, fault);
        if (error)
            return error;
        error = read_member(reader, entry, name, &ret->members[ret->n], fault);
        if (error)
            return error;
        total += ret->members[ret->n++].size;
    }
    if (!ret->n)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: the archive is empty", name);
    return WIPYD_ERROR_NONE;
}

enum wipyd_error firmware_archive_read(struct firmware_archive *ret, const void *bytes, size_t size,
                                       const char *name, struct fault *fault) {
    cleanup(free_p) uint8_t *tar = NULL;
    size_t tar_size = 0;
    enum wipyd_error error;

    *ret = (struct firmware_archive) { 0 };
    error = unpack_gzip(bytes, size, name, &tar, &tar_size, fault);
    return error ? error : read_tar(ret, tar, tar_size, name, fault);
}

void firmware_archive_deinit(struct firmware_archive *archive) {
    for (unsigned i = 0; i < archive->n; i++)
        free(archive->members[i].bytes);
    *archive = (struct firmware_archive) { 0 };
}

const struct firmware_member *firmware_archive_find(const struct firmware_archive *archive,
                                                    const char *name) {
    for (unsigned i = 0; i < archive->n; i++)
        if (!strcmp(archive->members[i].name, name))
            return &archive->members[i];
    return NULL;
}
