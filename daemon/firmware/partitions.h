#pragma once

/* The ESP32 partition table: 32-byte entries, magic AA 50 (facts/pycom.md 2.6, 2.7). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARTITION_TABLE_OFFSET 0x8000u
#define PARTITION_TABLE_BYTES  0xc00u
#define PARTITIONS_MAX         32

struct partition {
    uint8_t type, subtype; /* app 0: factory 0, ota_0 0x10; data 1: otadata 0, nvs 2, config 6 */
    uint32_t offset, size; /* bytes */
    char label[17];
};

struct partitions {
    struct partition entries[PARTITIONS_MAX];
    unsigned n;
};

/* Reads entries up to the end mark (FF, or the EB EB digest entry, whose MD5 is checked). False: no table, or
 * a damaged one. */
bool partitions_parse(const uint8_t *bytes, size_t size, struct partitions *ret);
/* The first entry of that type and subtype, or NULL. Borrowed from table. */
const struct partition *partitions_find(const struct partitions *table, uint8_t type, uint8_t subtype);
