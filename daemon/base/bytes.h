#pragma once

/* Little-endian integers in byte strings (the ESP32's and its loader's order), hex, and text that was cut. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t get_le16(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get_le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void put_le16(uint8_t *p, uint32_t value) {
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
}

static inline void put_le32(uint8_t *p, uint32_t value) {
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
    p[2] = (uint8_t)(value >> 16);
    p[3] = (uint8_t)(value >> 24);
}

/* Lower-case hex with a final NUL: text has 2 * size + 1 bytes. */
static inline void hex_encode(const uint8_t *bytes, size_t size, char *text) {
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    text[2 * size] = 0;
}

/* Of one digit, in either case; -1: it is none. */
static inline int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Printable ASCII without blanks, as in a URL or a release. */
static inline bool is_graphic_text(const char *text) {
    for (; *text; text++)
        if (*text <= ' ' || *text > '~')
            return false;
    return true;
}

/* Takes off what a cut has left of a character in UTF-8: the bus carries nothing but whole ones. */
static inline void trim_cut_text(char *text) {
    size_t size = strlen(text), begin = size;
    unsigned char first;

    while (begin && ((unsigned char)text[begin - 1] & 0xc0) == 0x80)
        begin--;
    first = begin ? (unsigned char)text[begin - 1] : 0;
    if (first >= 0xc0 && size - begin + 1 < (first >= 0xf0 ? 4u : first >= 0xe0 ? 3u : 2u))
        text[begin - 1] = 0;
}

static inline uint32_t round_up(uint32_t value, uint32_t unit) {
    return (value + unit - 1) / unit * unit;
}
