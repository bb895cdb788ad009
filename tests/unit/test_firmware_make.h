#pragma once

/* Images, partition tables and archives for the tests of daemon/firmware, made without its code. */

#include <archive.h>
#include <archive_entry.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A byte string that the test owns. */
struct blob {
    uint8_t *bytes;
    size_t size;
};

static inline struct blob blob_new(size_t size) {
    struct blob blob = { calloc(1, size ? size : 1), size };

    assert_non_null(blob.bytes);
    return blob;
}

static inline void blob_free_p(struct blob *blob) {
    free(blob->bytes);
}

#define owned __attribute__((__cleanup__(blob_free_p)))

static inline void put32(uint8_t *p, uint32_t value) {
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

static inline void sha256_of(const uint8_t *bytes, size_t size, uint8_t ret[static 32]) {
    assert_int_equal(EVP_Digest(bytes, size, ret, NULL, EVP_sha256(), NULL), 1);
}

/* One segment of body bytes (a multiple of 4), pseudo-random, with text at text_offset of the image. */
static inline struct blob make_image(size_t body, bool hashed, const char *text, size_t text_size,
                                     size_t text_offset) {
    size_t checksum_at = (24 + 8 + body) | 15;
    struct blob image = blob_new(checksum_at + 1 + (hashed ? 32 : 0));
    const uint8_t header[12] = { 0xe9, 1, 2, 0x0f, 0xd0, 0x05, 0x0a, 0x40, 0xee };
    uint32_t random = 12345;
    uint8_t checksum = 0xef;

    memcpy(image.bytes, header, sizeof header);
    image.bytes[23] = hashed;
    put32(image.bytes + 24, 0x3f400020);
    put32(image.bytes + 28, (uint32_t)body);
    for (size_t i = 32; i < 32 + body; i++) {
        random = random * 1103515245 + 12345;
        image.bytes[i] = (i / 64) % 3 ? (uint8_t)(random >> 16) : 0;
    }
    if (text) {
        image.bytes[text_offset - 1] = 0;
        memcpy(image.bytes + text_offset, text, text_size);
    }
    for (size_t i = 32; i < 32 + body; i++)
        checksum ^= image.bytes[i];
    image.bytes[checksum_at] = checksum;
    if (hashed)
        sha256_of(image.bytes, checksum_at + 1, image.bytes + checksum_at + 1);
    return image;
}

#define CLUSTER(board, release) board " with ESP32\0v1.8.6-849-b0520f1 on 2018-08-29\0" release

static inline struct blob make_application(size_t body) {
    static const char TEXT[] = CLUSTER("WiPy", "1.20.1.r1");

    return make_image(body, true, TEXT, sizeof TEXT, 0x240);
}

struct entry {
    const char *label;
    uint8_t type, subtype;
    uint32_t offset, size;
};

/* 3072 bytes, ended by a digest entry or by FF. */
static inline struct blob make_table(const struct entry *entries, size_t n, bool digest) {
    struct blob table = blob_new(0xc00);

    memset(table.bytes, 0xff, table.size);
    for (size_t i = 0; i < n; i++) {
        uint8_t *p = table.bytes + 32 * i;

        memset(p, 0, 32);
        p[0] = 0xaa;
        p[1] = 0x50;
        p[2] = entries[i].type;
        p[3] = entries[i].subtype;
        put32(p + 4, entries[i].offset);
        put32(p + 8, entries[i].size);
        memcpy(p + 12, entries[i].label, strlen(entries[i].label));
    }
    if (digest) {
        memset(table.bytes + 32 * n, 0xeb, 2);
        assert_int_equal(EVP_Digest(table.bytes, 32 * n, table.bytes + 32 * n + 16, NULL, EVP_md5(), NULL),
                         1);
    }
    return table;
}

static const struct entry TABLE_4MB[] = {
    { "nvs", 1, 2, 0x9000, 0x7000 },       { "factory", 0, 0, 0x10000, 0x1ae000 },
    { "otadata", 1, 0, 0x1be000, 0x1000 }, { "ota_0", 0, 0x10, 0x1c0000, 0x1ae000 },
    { "fs", 1, 5, 0x380000, 0x7f000 },     { "config", 1, 6, 0x3ff000, 0x1000 },
};
static const struct entry TABLE_8MB[] = {
    { "nvs", 1, 2, 0x9000, 0x7000 },       { "factory", 0, 0, 0x10000, 0x1ef000 },
    { "otadata", 1, 0, 0x1ff000, 0x1000 }, { "ota_0", 0, 0x10, 0x210000, 0x1ef000 },
    { "config", 1, 6, 0x3ff000, 0x1000 },
};

/* A .tar.gz that is being written. */
struct packer {
    struct archive *archive;
    struct blob blob;
};

static inline void packer_begin(struct packer *packer) {
    packer->blob = blob_new(8 * 1024 * 1024);
    packer->blob.size = 0;
    packer->archive = archive_write_new();
    assert_non_null(packer->archive);
    assert_int_equal(archive_write_add_filter_gzip(packer->archive), ARCHIVE_OK);
    assert_int_equal(archive_write_set_format_ustar(packer->archive), ARCHIVE_OK);
    assert_int_equal(
        archive_write_open_memory(packer->archive, packer->blob.bytes, 8 * 1024 * 1024, &packer->blob.size),
        ARCHIVE_OK);
}

/* type: AE_IFREG and the like; link: the target of a hard link, or of a symbolic one, or NULL. */
static inline void packer_add_entry(struct packer *packer, const char *name, unsigned type, const char *link,
                                    const void *bytes, size_t size) {
    struct archive_entry *entry = archive_entry_new();

    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, type);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)size);
    if (link && type == AE_IFLNK)
        archive_entry_set_symlink(entry, link);
    else if (link)
        archive_entry_set_hardlink(entry, link);
    assert_int_equal(archive_write_header(packer->archive, entry), ARCHIVE_OK);
    if (size)
        assert_int_equal(archive_write_data(packer->archive, bytes, size), size);
    archive_entry_free(entry);
}

static inline void packer_add(struct packer *packer, const char *name, const void *bytes, size_t size) {
    packer_add_entry(packer, name, AE_IFREG, NULL, bytes, size);
}

static inline struct blob packer_end(struct packer *packer) {
    assert_int_equal(archive_write_close(packer->archive), ARCHIVE_OK);
    archive_write_free(packer->archive);
    return packer->blob;
}
