#include "tests/sim/image.h"

#include <ctype.h>
#include <openssl/sha.h>
#include <string.h>
#include <zlib.h>

#define NAMES_WITHIN 0x24000u // pycom.md 2.6
#define TABLE_OFFSET 0x8000u
#define TABLE_LEN    0xC00u

static uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

void image_check(const struct flash *f, uint32_t offset, struct image *out) {
    uint8_t sum = 0xEF;
    uint8_t digest[SHA256_DIGEST_LENGTH];

    *out = (struct image) { .verdict = IMAGE_NO_MAGIC };
    if (offset >= f->size - 24 || f->mem[offset] != 0xE9)
        return;
    const uint8_t *image = f->mem + offset;
    uint32_t room = f->size - offset;
    uint32_t at = 24;

    out->verdict = IMAGE_BAD_LAYOUT;
    out->n_segments = image[1];
    out->mode = image[2];
    out->entry = le32(image + 4);
    if (out->n_segments == 0 || out->n_segments > 16)
        return;
    for (unsigned i = 0; i < out->n_segments; i++) {
        if (room - at < 8 + 16 || le32(image + at + 4) > room - at - 8 - 16)
            return;
        out->segments[i].address = le32(image + at);
        out->segments[i].len = le32(image + at + 4);
        at += 8;
        for (uint32_t k = 0; k < out->segments[i].len; k++)
            sum ^= image[at + k];
        at += out->segments[i].len;
    }
    at |= 15;
    out->checksum = sum;
    out->checksum_wanted = image[at];
    at++;
    if (sum != out->checksum_wanted) {
        out->verdict = IMAGE_BAD_CHECKSUM;
        return;
    }
    if (image[23] == 1) {
        if (room - at < sizeof(digest))
            return;
        SHA256(image, at, digest);
        if (memcmp(digest, image + at, sizeof(digest)) != 0) {
            out->verdict = IMAGE_BAD_SHA256;
            return;
        }
        at += (uint32_t)sizeof(digest);
    }
    out->len = at;
    out->verdict = IMAGE_GOOD;
}

void partitions_read(const struct flash *f, struct partitions *out) {
    *out = (struct partitions) { .valid = false };
    for (uint32_t at = TABLE_OFFSET; at < TABLE_OFFSET + TABLE_LEN; at += 32) {
        const uint8_t *entry = f->mem + at;
        if (entry[0] != 0xAA || entry[1] != 0x50)
            break;
        out->valid = true;
        uint8_t type = entry[2], subtype = entry[3];
        uint32_t offset = le32(entry + 4);
        if (type == 0 && subtype == 0x00)
            out->factory = offset;
        else if (type == 0 && subtype == 0x10)
            out->ota_0 = offset;
        else if (type == 1 && subtype == 0x00)
            out->otadata = offset;
    }
}

// pycom.md 2.5: ActiveImg, Status, PrevImg, size, safeboot, 16 bytes of signature, CRC
uint32_t boot_select(struct flash *f, const struct partitions *p) {
    uint8_t selector[40];
    struct image factory;

    if (!p->valid || p->otadata == 0 || p->otadata > f->size - FLASH_SECTOR)
        return p->factory;
    memcpy(selector, f->mem + p->otadata, sizeof(selector));
    if (le32(selector + 4) != UINT32_MAX && le32(selector + 36) == (uint32_t)crc32(0xFFFFFFFF, selector, 36))
        return le32(selector) == 1 && p->ota_0 ? p->ota_0 : p->factory;

    image_check(f, p->factory, &factory);
    memset(selector, 0xFF, sizeof(selector));
    put32(selector, 0);
    put32(selector + 4, 1);
    put32(selector + 8, 0);
    put32(selector + 12, factory.len);
    put32(selector + 16, 0);
    put32(selector + 36, (uint32_t)crc32(0xFFFFFFFF, selector, 36));
    flash_rewrite(f, p->otadata, selector, sizeof(selector));
    return p->factory;
}

// Copies the string at *at and steps over its NUL. False when it is empty, too long or has odd bytes.
static bool take_string(const uint8_t *mem, uint32_t end, uint32_t *at, char *out, size_t cap) {
    size_t n = 0;

    while (*at < end && mem[*at] != 0) {
        if (n + 1 >= cap || mem[*at] < 0x20 || mem[*at] > 0x7E)
            return false;
        out[n++] = (char)mem[(*at)++];
    }
    out[n] = 0;
    if (*at >= end || n == 0)
        return false;
    (*at)++;
    return true;
}

static bool names_at(const uint8_t *mem, uint32_t start, uint32_t tail, uint32_t end,
                     struct firmware_names *out) {
    char version[128];
    uint32_t board = tail;

    // Real images have pointers right before the name, so only letters and digits belong to it.
    while (board > start && tail - board < sizeof(out->board) - 1 && isalnum(mem[board - 1]))
        board--;
    if (board == tail)
        return false;
    memcpy(out->board, mem + board, tail - board);
    out->board[tail - board] = 0;

    uint32_t at = tail + (uint32_t)sizeof(" with ESP32");
    if (!take_string(mem, end, &at, version, sizeof(version)))
        return false;
    char *on = strstr(version, " on ");
    if (!on || strlen(on + 4) != 10 || (size_t)(on - version) >= sizeof(out->git))
        return false;
    *on = 0;
    memcpy(out->git, version, strlen(version) + 1);
    memcpy(out->date, on + 4, 11);
    return take_string(mem, end, &at, out->release, sizeof(out->release));
}

bool firmware_names_read(const struct flash *f, uint32_t app, struct firmware_names *out) {
    static const char tail[] = " with ESP32"; // its NUL is part of the pattern
    uint32_t end = f->size - app < NAMES_WITHIN ? f->size : app + NAMES_WITHIN;

    for (uint32_t at = app; at + sizeof(tail) <= end; at++) {
        const uint8_t *hit = memmem(f->mem + at, end - at, tail, sizeof(tail));
        if (!hit)
            return false;
        at = (uint32_t)(hit - f->mem);
        if (names_at(f->mem, app, at, end, out))
            return true;
    }
    return false;
}
