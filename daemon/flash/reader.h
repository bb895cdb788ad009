#pragma once

/*
 * Reads a range of flash, with as few bytes and round trips as it takes: blank parts, and parts equal to what
 * is known already, are recognised by their MD5. The ROM gives 64 bytes a round trip, a stub a sector, of
 * which only the beginning is sent where the rest is known: firmware writes its settings there. Every sector
 * read is checked by MD5, since a reply itself carries no checksum. Pure: flash_reader_next says what to ask,
 * flash_reader_take is told the reply.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/esp/codec.h"

struct flash_reader {
    const struct esp_loader *loader;
    uint32_t offset, size, done; /* bytes */
    uint8_t *out;
    const uint8_t *known; /* size bytes that may stand there, or NULL */
    enum { READER_ALL, READER_SECTOR, READER_PART, READER_BYTES, READER_TAIL, READER_STRETCH } state;
    uint32_t stretch; /* bytes that a stub is to send of the sector at hand */
    uint8_t sector_md5[16];
    unsigned rereads; /* of the sector at hand */
    unsigned n_reads; /* round trips that fetched bytes */
};

/* offset and size: multiples of 4096. out has size bytes and is borrowed until the end; so is known. */
void flash_reader_init(struct flash_reader *reader, const struct esp_loader *loader, uint32_t offset,
                       uint32_t size, uint8_t *out, const uint8_t *known);
/* Another loader answers from now on: the sector at hand is begun anew. */
void flash_reader_set_loader(struct flash_reader *reader, const struct esp_loader *loader);
/* The next command, or false when all is read. */
bool flash_reader_next(struct flash_reader *reader, struct esp_request *ret);
/* False: the same sector was read wrong three times. */
bool flash_reader_take(struct flash_reader *reader, const struct esp_reply *reply);
