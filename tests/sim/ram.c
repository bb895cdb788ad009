#include "tests/sim/ram.h"
#include "tests/sim/stub.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct stub_segment {
    uint32_t address, size;
    const char *sha256;
};

// esp32-serial-protocol.md section 7; the digests are of the segments in the two published files.
static const struct {
    const struct loader *loader;
    uint32_t entry;
    struct stub_segment text, data;
} stubs[] = {
    { &loader_stub_new, // v1.2.2
      0x400A902C,
      { 0x400A8000, 6456, "fc5fb606754d152b9b9e4f20c72fdad83d1d99b1b139744bc53cc160b1edd570" },
      { 0x3FFDED6C, 212, "580837cfef9d57b223a4d30cf634dad72f1fdcc19b499ca62b514b487a0c3438" } },
    { &loader_stub_legacy, // v1.11.1
      0x400BE658,
      { 0x400BE000, 3540, "b2dff40d626d2e83234ba17f79ab968cf5505cf989d15f9954ed477777eeddad" },
      { 0x3FFDEBAC, 156, "67e2e29deda649edc6921f9c7149f2c18f0497b94828553ec743873aea219c73" } },
};

static void drop(struct ram_segment *s) {
    free(s->bytes);
    *s = (struct ram_segment) { .bytes = NULL };
}

void ram_clear(struct ram *r) {
    for (unsigned i = 0; i < RAM_SEGMENTS; i++)
        drop(&r->segments[i]);
    r->current = 0;
}

void ram_begin(struct ram *r, uint32_t address, uint32_t size) {
    unsigned place = (r->current + 1) % RAM_SEGMENTS;

    for (unsigned i = 0; i < RAM_SEGMENTS; i++) {
        struct ram_segment *s = &r->segments[i];
        if (s->bytes && s->address < address + size && address < s->address + s->size)
            drop(s);
    }
    for (unsigned i = 0; i < RAM_SEGMENTS; i++)
        if (!r->segments[i].bytes)
            place = i;
    drop(&r->segments[place]);
    r->current = place;
    r->segments[place] =
        (struct ram_segment) { .address = address, .size = size, .bytes = malloc((size_t)size + 1) };
    if (!r->segments[place].bytes)
        abort();
}

void ram_append(struct ram *r, const uint8_t *data, uint32_t len) {
    struct ram_segment *s = &r->segments[r->current];

    if (!s->bytes)
        return;
    if (len > s->size - s->filled)
        len = s->size - s->filled;
    memcpy(s->bytes + s->filled, data, len);
    s->filled += len;
}

static bool holds(const struct ram *r, const struct stub_segment *wanted) {
    uint8_t digest[32];
    char hex[65];

    for (unsigned i = 0; i < RAM_SEGMENTS; i++) {
        const struct ram_segment *s = &r->segments[i];
        if (!s->bytes || s->address != wanted->address || s->size != wanted->size || s->filled != s->size)
            continue;
        if (EVP_Digest(s->bytes, s->size, digest, NULL, EVP_sha256(), NULL) != 1)
            abort();
        for (size_t k = 0; k < sizeof(digest); k++)
            snprintf(hex + 2 * k, 3, "%02x", digest[k]);
        return strcmp(hex, wanted->sha256) == 0;
    }
    return false;
}

const struct loader *ram_find_stub(const struct ram *r, uint32_t entry) {
    for (size_t i = 0; i < sizeof(stubs) / sizeof(stubs[0]); i++)
        if (stubs[i].entry == entry && holds(r, &stubs[i].text) && holds(r, &stubs[i].data))
            return stubs[i].loader;
    return NULL;
}

static bool overlaps(const struct stub_segment *s, uint32_t address, uint32_t size) {
    return address < s->address + s->size && s->address < address + size;
}

bool ram_overlaps_stub(const struct loader *running, uint32_t address, uint32_t size) {
    for (size_t i = 0; i < sizeof(stubs) / sizeof(stubs[0]); i++)
        if (stubs[i].loader == running &&
            (overlaps(&stubs[i].text, address, size) || overlaps(&stubs[i].data, address, size)))
            return true;
    return false;
}
