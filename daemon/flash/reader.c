#include "daemon/flash/reader.h"

#include <string.h>

#include "daemon/esp/md5.h"

enum { SECTOR = 4096, PART = 1024, REREADS_MAX = 3 };

void flash_reader_init(struct flash_reader *reader, const struct esp_loader *loader, uint32_t offset,
                       uint32_t size, uint8_t *out, const uint8_t *known) {
    *reader = (struct flash_reader) { .loader = loader,
                                      .offset = offset,
                                      .size = size,
                                      .out = out,
                                      .known = known,
                                      .state = known && size > SECTOR ? READER_ALL : READER_SECTOR };
}

void flash_reader_set_loader(struct flash_reader *reader, const struct esp_loader *loader) {
    if (reader->loader == loader)
        return;
    reader->loader = loader;
    reader->done -= reader->done % SECTOR;
    reader->state = READER_SECTOR;
}

bool flash_reader_next(struct flash_reader *reader, struct esp_request *ret) {
    uint32_t at = reader->offset + reader->done;

    if (reader->done == reader->size)
        return false;
    switch (reader->state) {
    case READER_ALL:
        esp_request_md5(ret, reader->loader, at, reader->size);
        return true;
    case READER_SECTOR:
        esp_request_md5(ret, reader->loader, at, SECTOR);
        return true;
    case READER_PART:
        esp_request_md5(ret, reader->loader, at, PART);
        return true;
    case READER_BYTES:
        esp_request_read_flash_slow(ret, at, ESP_READ_SLOW_BYTES);
        return true;
    case READER_TAIL:
        esp_request_md5(ret, reader->loader, at + PART, SECTOR - PART);
        return true;
    case READER_STRETCH:
        esp_request_read_flash(ret, at, reader->stretch, reader->out + reader->done);
        return true;
    }
    return false;
}

/* If digest is that of size blank bytes, or of what is known to be at that place: takes them. */
static bool take_known(struct flash_reader *reader, uint32_t at, uint32_t size,
                       const uint8_t digest[static 16]) {
    uint8_t *out = reader->out + at, md5[16];

    memset(out, 0xff, size);
    esp_md5(out, size, md5);
    if (!memcmp(md5, digest, 16))
        return true;
    if (!reader->known)
        return false;
    esp_md5(reader->known + at, size, md5);
    if (memcmp(md5, digest, 16) != 0)
        return false;
    memcpy(out, reader->known + at, size);
    return true;
}

static bool check_sector(struct flash_reader *reader) {
    uint8_t md5[16];

    esp_md5(reader->out + reader->done - SECTOR, SECTOR, md5);
    if (!memcmp(md5, reader->sector_md5, 16)) {
        reader->rereads = 0;
        reader->state = READER_SECTOR;
        return true;
    }
    reader->done -= SECTOR;
    reader->state = READER_SECTOR; /* the digest itself may have been damaged on the way */
    return ++reader->rereads < REREADS_MAX;
}

bool flash_reader_take(struct flash_reader *reader, const struct esp_reply *reply) {
    uint8_t digest[16];

    switch (reader->state) {
    case READER_ALL:
        if (esp_reply_md5(reply, reader->loader, digest) && take_known(reader, 0, reader->size, digest))
            reader->done = reader->size;
        else
            reader->state = READER_SECTOR;
        return true;
    case READER_SECTOR:
        if (!esp_reply_md5(reply, reader->loader, digest))
            return ++reader->rereads < REREADS_MAX;
        memcpy(reader->sector_md5, digest, 16);
        if (take_known(reader, reader->done, SECTOR, digest)) {
            reader->done += SECTOR;
            reader->rereads = 0;
        } else {
            reader->state = reader->loader->has_read_flash ? READER_TAIL : READER_PART;
        }
        return true;
    case READER_PART:
        if (esp_reply_md5(reply, reader->loader, digest) && take_known(reader, reader->done, PART, digest)) {
            reader->done += PART;
            break;
        }
        reader->state = READER_BYTES;
        return true;
    case READER_BYTES:
        memcpy(reader->out + reader->done, reply->payload, ESP_READ_SLOW_BYTES);
        reader->done += ESP_READ_SLOW_BYTES;
        reader->n_reads++;
        if (reader->done % PART)
            return true;
        break;
    case READER_TAIL:
        reader->stretch = esp_reply_md5(reply, reader->loader, digest) &&
                                  take_known(reader, reader->done + PART, SECTOR - PART, digest)
                              ? PART
                              : SECTOR;
        reader->state = READER_STRETCH;
        return true;
    case READER_STRETCH:
        reader->done += SECTOR;
        reader->n_reads++;
        break;
    }
    reader->state = READER_PART;
    return reader->done % SECTOR ? true : check_sector(reader);
}
