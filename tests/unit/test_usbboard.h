/* For the tests of the simulated USB chips: a chip, and requests as a driver sends them. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/vm/usb/chip.h"

#define MS INT64_C(1000000)

struct bench {
    struct chip chip;
    struct usb_reply reply; /* to the last request */
};

extern const struct chip_model *const the_model; /* whose tests these are */

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    assert_non_null(bench);
    chip_init(&bench->chip, the_model, "SER1");
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    free(*state);
    return 0;
}

/* Whether it was granted. */
static bool request(struct bench *bench, int64_t now, uint8_t type, uint8_t code, uint16_t value,
                    uint16_t index, const void *data, uint16_t length) {
    const struct usb_request r = {
        .type = type, .request = code, .value = value, .index = index, .length = length, .data = data
    };

    memset(&bench->reply, 0xA5, sizeof bench->reply);
    chip_control(&bench->chip, now, &r, &bench->reply);
    return !bench->reply.stall;
}

static bool ask(struct bench *bench, uint8_t type, uint8_t code, uint16_t value, uint16_t length) {
    return request(bench, 0, type, code, value, 0, NULL, length);
}

/* What every chip must do. */

static void get_descriptor(struct bench *bench, uint16_t value, uint16_t length) {
    assert_true(ask(bench, 0x80, 6, value, length));
    assert_true(bench->reply.len <= length);
}

/* The lengths inside agree, and the endpoints are bulk, one each way, 64 bytes. */
static void check_descriptors(struct bench *bench, uint16_t vendor, uint16_t product, uint16_t version) {
    const struct chip_model *model = bench->chip.model;
    uint8_t d[256];
    size_t len, at, n_endpoints = 0;

    get_descriptor(bench, 0x0100, 64);
    memcpy(d, bench->reply.data, sizeof d);
    assert_int_equal(bench->reply.len, 18);
    assert_int_equal(d[0], 18);
    assert_int_equal(get_u16(d + 8), vendor);
    assert_int_equal(get_u16(d + 10), product);
    assert_int_equal(get_u16(d + 12), version);
    assert_int_equal(d[17], 1);

    get_descriptor(bench, 0x0200, 9); /* a host asks for the head first */
    assert_int_equal(bench->reply.len, 9);
    len = get_u16(bench->reply.data + 2);
    get_descriptor(bench, 0x0200, 255);
    assert_int_equal(bench->reply.len, len);
    memcpy(d, bench->reply.data, len);
    for (at = 0; at < len; at += d[at]) {
        assert_true(d[at] >= 2 && at + d[at] <= len);
        if (d[at + 1] != 5)
            continue;
        n_endpoints++;
        assert_true(d[at + 2] == model->in_endpoint || d[at + 2] == model->out_endpoint);
        assert_int_equal(d[at + 3], 2);
        assert_int_equal(get_u16(d + at + 4), CHIP_PACKET);
    }
    assert_int_equal(at, len);
    assert_int_equal(n_endpoints, 2);

    for (uint16_t i = 0; i < 4; i++) {
        get_descriptor(bench, (uint16_t)(0x0300 + i), 255);
        assert_int_equal(bench->reply.data[0], bench->reply.len);
        assert_int_equal(bench->reply.data[1], 3);
    }
    assert_memory_equal(bench->reply.data + 2, "S\0E\0R\0001\0", 8);
    assert_int_equal(bench->reply.len, 10);
    assert_false(ask(bench, 0x80, 6, 0x0304, 255)); /* no such string */
    assert_false(ask(bench, 0x80, 6, 0x0600, 10));  /* full speed only */
}

/* Bytes leave at the rate: of `n` in the chip, all have left after their time and not before. */
static void check_pace(struct bench *bench) {
    struct chip *chip = &bench->chip;
    const uint8_t bytes[2000] = { 1 };
    uint8_t out[4096];
    size_t cap = chip->tx.cap, put, left = sizeof bytes;
    int64_t now = MS, byte_ns = INT64_C(10000000000) / chip->line.baud,
            end = now + (int64_t)sizeof bytes * byte_ns;

    put = chip_put(chip, now, bytes, left);
    assert_int_equal(put, cap);
    assert_int_equal(chip_put(chip, now, bytes, 1), 0);
    for (left -= put; left > 0 || chip_tx_queued(chip, now) > 0; now += MS) {
        chip_take(chip, now, out, sizeof out);
        assert_true(chip_tx_queued(chip, now) <= cap);
        left -= chip_put(chip, now, bytes, left);
        assert_true(now < end + 2 * MS);
    }
    assert_true(now >= end - MS);
}
