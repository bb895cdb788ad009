#pragma once

/*
 * What is on the flash now: the partition table, which slot boots, and the board and release that its image
 * names. Pure: flash_probe_next says what to ask, flash_probe_take is told the reply, until next gives false.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/esp/codec.h"
#include "daemon/firmware/partitions.h"
#include "daemon/firmware/version.h"

struct flash_probe {
    const struct esp_loader *loader;
    uint32_t flash_bytes;
    bool is_thorough; /* search the whole window for the version, not only where it usually is */

    bool has_table, has_app, has_version;
    struct partitions table;
    uint32_t app_offset; /* of the slot that boots */
    struct firmware_version version;

    enum {
        PROBE_TABLE,
        PROBE_OTADATA,
        PROBE_APP,
        PROBE_HINT,
        PROBE_SCAN,
        PROBE_DONE,
    } state;
    uint32_t offset;     /* of the next read */
    uint32_t first_hint; /* where the version is in an image that is at hand; 0: none; set after init */
    uint32_t hint;
    uint32_t n_bytes;
    uint8_t chunk[ESP_READ_SLOW_BYTES];   /* what a loader with READ_FLASH gives */
    uint8_t bytes[PARTITION_TABLE_BYTES]; /* what is being collected */
};

/* is_thorough: takes up to 2304 round trips when the version isn't where it usually is. */
void flash_probe_init(struct flash_probe *probe, const struct esp_loader *loader, uint32_t flash_bytes,
                      bool is_thorough);
bool flash_probe_next(struct flash_probe *probe, struct esp_request *ret);
void flash_probe_take(struct flash_probe *probe, const struct esp_reply *reply);
