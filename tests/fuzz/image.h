#pragma once

/* Images and partition tables: sound ones, and the checksums of damaged ones put right, so that what lies
 * behind the checksums is reached. */

#include <openssl/evp.h>

#include "daemon/firmware/partitions.h"
#include "tests/fuzz/fuzz.h"

enum { IMAGE_HEADER = 24, SEGMENT_HEADER = 8, SEGMENTS_MAX = 16 };

/* The XOR checksum, and the SHA-256 where the header says that there is one; where the segments don't fit,
 * nothing is done. Gives back where the image ends, 0: it doesn't. */
static inline size_t mend_image(uint8_t *bytes, size_t size) {
    size_t at = IMAGE_HEADER, end;
    uint8_t checksum = 0xef;

    if (size < IMAGE_HEADER || bytes[0] != 0xe9 || bytes[1] > SEGMENTS_MAX)
        return 0;
    for (unsigned i = 0; i < bytes[1]; i++) {
        uint32_t length;

        if (size - at < SEGMENT_HEADER)
            return 0;
        length = get_le32(bytes + at + 4);
        at += SEGMENT_HEADER;
        if (length > size - at)
            return 0;
        for (size_t k = 0; k < length; k++)
            checksum ^= bytes[at + k];
        at += length;
    }
    end = (at | 15) + 1;
    if (end > size)
        return 0;
    bytes[end - 1] = checksum;
    if (bytes[23] != 1)
        return end;
    if (size - end < 32)
        return 0;
    must(EVP_Digest(bytes, end, bytes + end, NULL, EVP_sha256(), NULL) == 1);
    return end + 32;
}

/* The MD5 entry of a partition table, where there is one. */
static inline void mend_table(uint8_t *bytes, size_t size) {
    for (size_t at = 0; at + 32 <= size && at < PARTITION_TABLE_BYTES; at += 32)
        if (bytes[at] == 0xeb && bytes[at + 1] == 0xeb) {
            must(EVP_Digest(bytes, at, bytes + at + 16, NULL, EVP_md5(), NULL) == 1);
            return;
        }
}

/* One segment, with a uname cluster; size: at most what bytes has room for. Gives back its length. */
static inline size_t make_image(uint8_t *bytes, size_t size) {
    static const char cluster[] = "WiPy with ESP32\0v1.8.6-849-b0520f1 on 2018-08-29\0001.20.1.r1";
    size_t segment = (size - IMAGE_HEADER - SEGMENT_HEADER - 64) & ~(size_t)15;

    memset(bytes, 0, size);
    bytes[0] = 0xe9;
    bytes[1] = 1;
    bytes[2] = 2;
    bytes[3] = 0x2f;
    put_le32(bytes + 4, 0x40080400);
    bytes[23] = 1;
    put_le32(bytes + IMAGE_HEADER, 0x3f400020);
    put_le32(bytes + IMAGE_HEADER + 4, (uint32_t)segment);
    memcpy(bytes + IMAGE_HEADER + SEGMENT_HEADER + 64, cluster, sizeof cluster);
    return mend_image(bytes, size);
}

/* The layout of 1.18 (facts/pycom.md 2.7). */
static inline void make_table(uint8_t *bytes) {
    static const struct {
        uint8_t type, subtype;
        uint32_t offset, size;
        const char *label;
    } rows[] = {
        { 1, 2, 0x9000, 0x7000, "nvs" },       { 0, 0, 0x10000, 0x180000, "factory" },
        { 1, 0, 0x190000, 0x1000, "otadata" }, { 0, 0x10, 0x1a0000, 0x180000, "ota_0" },
        { 1, 6, 0x3ff000, 0x1000, "config" },
    };
    enum { ROWS = sizeof rows / sizeof *rows };

    memset(bytes, 0xff, PARTITION_TABLE_BYTES);
    for (size_t i = 0; i < ROWS; i++) {
        uint8_t *row = bytes + 32 * i;

        memset(row, 0, 32);
        row[0] = 0xaa;
        row[1] = 0x50;
        row[2] = rows[i].type;
        row[3] = rows[i].subtype;
        put_le32(row + 4, rows[i].offset);
        put_le32(row + 8, rows[i].size);
        memcpy(row + 12, rows[i].label, strlen(rows[i].label));
    }
    bytes[32 * ROWS] = bytes[32 * ROWS + 1] = 0xeb;
    mend_table(bytes, PARTITION_TABLE_BYTES);
}
