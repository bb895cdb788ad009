#pragma once

/*
 * What the fuzz targets share: an input taken apart from its front, and what must hold. A target is
 * LLVMFuzzerTestOneInput in a file of its own; tests/fuzz/run.py builds the seeds, runs all of them and says
 * how to run one again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* What a target promises, besides that memory is safe: a crash that says which promise was broken. */
#define must(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                   \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

struct input {
    const uint8_t *bytes;
    size_t size;
};

/* 0 past the end. */
static inline uint8_t take_byte(struct input *input) {
    uint8_t byte;

    if (!input->size)
        return 0;
    byte = *input->bytes++;
    input->size--;
    return byte;
}

static inline uint32_t take_u32(struct input *input) {
    uint32_t value = take_byte(input);

    value |= (uint32_t)take_byte(input) << 8;
    value |= (uint32_t)take_byte(input) << 16;
    return value | (uint32_t)take_byte(input) << 24;
}

/* At most size bytes, borrowed from the input. */
static inline struct input take_some(struct input *input, size_t size) {
    struct input some = { input->bytes, size < input->size ? size : input->size };

    input->bytes += some.size;
    input->size -= some.size;
    return some;
}

/* Up to the next NUL or the end, at most size - 1 bytes. */
static inline void take_text(struct input *input, char *ret, size_t size) {
    size_t n = 0;
    uint8_t byte;

    while (input->size && (byte = take_byte(input)))
        if (n + 1 < size)
            ret[n++] = (char)byte;
    ret[n] = 0;
}

static inline bool is_printable_ascii(const char *text) {
    for (; *text; text++)
        if (*text < 0x20 || *text > 0x7e)
            return false;
    return true;
}

/* A story is one line and has its end within size. */
static inline void must_be_story(const char *story, size_t size) {
    must(memchr(story, 0, size));
    must(*story && !strchr(story, '\n'));
}
