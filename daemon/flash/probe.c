#include "daemon/flash/probe.h"

#include <libdeflate.h>
#include <string.h>

#include "daemon/base/bytes.h"

enum {
    APP_MAGIC = 0xe9,
    HINT_BYTES = 128,    /* the longest cluster seen has 90 */
    BEFORE_HINT = 4,     /* tells a name that begins at a hint from one that began before it */
    OVERLAP = 192,       /* a cluster may lie across two windows */
    OTADATA_CRC_AT = 36, /* facts/pycom.md 2.5 */
    OTADATA_OTA_0 = 1,
};

/* Where the version cluster begins in images that were seen (facts/pycom.md 2.6, and the two packages for
 * tests): 1.18.0 and 1.18.1.r1, a 1.20.1.r1, 1.20.0.rc13, 1.20.2.r4. A miss costs two round trips. */
static const uint32_t hints[] = { 0x2b40, 0x13d0c, 0x18380, 0x2204c };

#define N_HINTS (sizeof hints / sizeof *hints)

void flash_probe_init(struct flash_probe *probe, const struct esp_loader *loader, uint32_t flash_bytes,
                      bool is_thorough) {
    memset(probe, 0, sizeof *probe);
    probe->loader = loader;
    probe->flash_bytes = flash_bytes;
    probe->is_thorough = is_thorough;
    probe->offset = PARTITION_TABLE_OFFSET;
}

bool flash_probe_next(struct flash_probe *probe, struct esp_request *ret) {
    if (probe->state == PROBE_DONE)
        return false;
    if (probe->loader->has_read_flash)
        esp_request_read_flash(ret, probe->offset, sizeof probe->chunk, probe->chunk);
    else
        esp_request_read_flash_slow(ret, probe->offset, ESP_READ_SLOW_BYTES);
    return true;
}

static bool is_beyond(const struct flash_probe *probe, uint32_t offset) {
    return offset > probe->flash_bytes - HINT_BYTES;
}

static void enter(struct flash_probe *probe, int state, uint32_t offset) {
    probe->state = (typeof(probe->state))state;
    probe->n_bytes = 0;
    probe->offset = offset & ~3u;
    if (is_beyond(probe, probe->offset))
        probe->state = PROBE_DONE;
}

static void enter_app(struct flash_probe *probe) {
    const struct partition *factory = partitions_find(&probe->table, 0, 0);

    if (!probe->app_offset)
        probe->app_offset = factory ? factory->offset : 0x10000;
    enter(probe, PROBE_APP, probe->app_offset);
}

static void take_table(struct flash_probe *probe) {
    const struct partition *otadata;
    const uint8_t *last = probe->bytes + probe->n_bytes - 32;

    /* Two entries a read; what is neither an entry nor their digest is the end. */
    if (probe->n_bytes < PARTITION_TABLE_BYTES && last[0] == 0xaa && last[1] == 0x50)
        return;
    memset(probe->bytes + probe->n_bytes, 0xff, sizeof probe->bytes - probe->n_bytes);
    probe->has_table = partitions_parse(probe->bytes, sizeof probe->bytes, &probe->table);
    if (!probe->has_table) {
        probe->state = PROBE_DONE;
        return;
    }
    otadata = partitions_find(&probe->table, 1, 0);
    if (otadata)
        enter(probe, PROBE_OTADATA, otadata->offset);
    else
        enter_app(probe);
}

static void take_otadata(struct flash_probe *probe) {
    const struct partition *ota_0 = partitions_find(&probe->table, 0, 0x10);
    const uint8_t *bytes = probe->bytes;

    if (ota_0 && get_le32(bytes) == OTADATA_OTA_0 &&
        get_le32(bytes + OTADATA_CRC_AT) == libdeflate_crc32(0xffffffff, bytes, OTADATA_CRC_AT))
        probe->app_offset = ota_0->offset;
    enter_app(probe);
}

static void enter_hint(struct flash_probe *probe) {
    uint32_t first = probe->first_hint;

    probe->first_hint = 0;
    if (first > BEFORE_HINT && first < FIRMWARE_VERSION_WINDOW &&
        !is_beyond(probe, probe->app_offset + first)) {
        enter(probe, PROBE_HINT, probe->app_offset + first - BEFORE_HINT);
        return;
    }
    while (probe->hint < N_HINTS && is_beyond(probe, probe->app_offset + hints[probe->hint]))
        probe->hint++;
    if (probe->hint < N_HINTS)
        enter(probe, PROBE_HINT, probe->app_offset + hints[probe->hint++] - BEFORE_HINT);
    else if (probe->is_thorough)
        enter(probe, PROBE_SCAN, probe->app_offset);
    else
        probe->state = PROBE_DONE;
}

static bool find_version(struct flash_probe *probe) {
    /* A name that begins with the first byte may have begun before it. */
    probe->has_version = firmware_version_find(probe->bytes, probe->n_bytes, &probe->version) &&
                         probe->version.image_offset > 0;
    if (probe->has_version)
        probe->state = PROBE_DONE;
    return probe->has_version;
}

/* The search has no more to read: neither of the window nor of the flash. */
static bool is_scanned(const struct flash_probe *probe) {
    uint32_t end = probe->app_offset + FIRMWARE_VERSION_WINDOW;

    return probe->offset + ESP_READ_SLOW_BYTES > (end < probe->flash_bytes ? end : probe->flash_bytes);
}

void flash_probe_take(struct flash_probe *probe, const struct esp_reply *reply) {
    memcpy(probe->bytes + probe->n_bytes, probe->loader->has_read_flash ? probe->chunk : reply->payload,
           ESP_READ_SLOW_BYTES);
    probe->n_bytes += ESP_READ_SLOW_BYTES;
    probe->offset += ESP_READ_SLOW_BYTES;

    switch (probe->state) {
    case PROBE_TABLE:
        take_table(probe);
        return;
    case PROBE_OTADATA:
        take_otadata(probe);
        return;
    case PROBE_APP:
        probe->has_app = probe->bytes[0] == APP_MAGIC;
        if (probe->has_app)
            enter_hint(probe);
        else
            probe->state = PROBE_DONE;
        return;
    case PROBE_HINT:
        if (probe->n_bytes == HINT_BYTES && !find_version(probe))
            enter_hint(probe);
        return;
    case PROBE_SCAN:
        if (probe->n_bytes < sizeof probe->bytes && !is_scanned(probe))
            return;
        if (find_version(probe))
            return;
        if (is_scanned(probe)) {
            probe->state = PROBE_DONE;
            return;
        }
        memmove(probe->bytes, probe->bytes + probe->n_bytes - OVERLAP, OVERLAP);
        probe->n_bytes = OVERLAP;
        return;
    case PROBE_DONE:
        return;
    }
}
