#include "daemon/firmware/partitions.h"

#include <openssl/evp.h>
#include <string.h>

#include "daemon/base/bytes.h"

#define ENTRY_BYTES 32u

enum mark { MARK_ENTRY = 0x50aa, MARK_DIGEST = 0xebeb, MARK_END = 0xffff };

static bool is_blank(const uint8_t *entry) {
    for (size_t i = 0; i < ENTRY_BYTES; i++)
        if (entry[i] != 0xff)
            return false;
    return true;
}

/* The digest entry: EB EB, 14 bytes FF, then the MD5 of all entries before it. */
static bool digest_is_right(const uint8_t *bytes, size_t digest_offset) {
    uint8_t md5[EVP_MAX_MD_SIZE];

    return EVP_Digest(bytes, digest_offset, md5, NULL, EVP_md5(), NULL) == 1 &&
           !memcmp(md5, bytes + digest_offset + 16, 16);
}

static bool read_entry(const uint8_t *bytes, struct partition *ret) {
    *ret = (struct partition) {
        .type = bytes[2],
        .subtype = bytes[3],
        .offset = get_le32(bytes + 4),
        .size = get_le32(bytes + 8),
    };
    memcpy(ret->label, bytes + 12, 16);
    return ret->size && ret->size <= UINT32_MAX - ret->offset;
}

bool partitions_parse(const uint8_t *bytes, size_t size, struct partitions *ret) {
    *ret = (struct partitions) { 0 };
    for (size_t offset = 0; offset + ENTRY_BYTES <= size; offset += ENTRY_BYTES) {
        const uint8_t *entry = bytes + offset;
        uint16_t mark = get_le16(entry);

        if (mark == MARK_END)
            return ret->n > 0 && is_blank(entry);
        if (mark == MARK_DIGEST)
            return ret->n > 0 && digest_is_right(bytes, offset);
        if (mark != MARK_ENTRY || ret->n == PARTITIONS_MAX || !read_entry(entry, &ret->entries[ret->n]))
            return false;
        ret->n++;
    }
    return false; /* without an end mark it was cut off */
}

const struct partition *partitions_find(const struct partitions *table, uint8_t type, uint8_t subtype) {
    for (unsigned i = 0; i < table->n; i++)
        if (table->entries[i].type == type && table->entries[i].subtype == subtype)
            return &table->entries[i];
    return NULL;
}
