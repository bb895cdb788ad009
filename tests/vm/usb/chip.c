#include "tests/vm/usb/chip.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define AHEAD_NS 8000000 // handed to the board's wire before its time

// USB 2.0, table 9-4 and 9-5
enum {
    GET_STATUS = 0,
    CLEAR_FEATURE = 1,
    SET_FEATURE = 3,
    GET_DESCRIPTOR = 6,
    GET_CONFIGURATION = 8,
    SET_CONFIGURATION = 9,
    GET_INTERFACE = 10,
    SET_INTERFACE = 11,
};
enum {
    DESCRIPTOR_DEVICE = 1,
    DESCRIPTOR_CONFIGURATION = 2,
    DESCRIPTOR_STRING = 3,
    DESCRIPTOR_INTERFACE = 4,
    DESCRIPTOR_ENDPOINT = 5,
};
enum { STRING_LANGUAGES, STRING_MANUFACTURER, STRING_PRODUCT, STRING_SERIAL };

static const struct chip_model *const models[] = { &chip_cp2102, &chip_ft230x };

const struct chip_model *chip_model_find(const char *name) {
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
        if (strcmp(models[i]->name, name) == 0)
            return models[i];
    return NULL;
}

// ---- small parts
// ----------------------------------------------------------------------------------------------------

uint16_t get_u16(const uint8_t *at) {
    return (uint16_t)(at[0] | at[1] << 8);
}

uint32_t get_u32(const uint8_t *at) {
    return get_u16(at) | (uint32_t)get_u16(at + 2) << 16;
}

void put_u16(uint8_t *at, uint16_t v) {
    at[0] = (uint8_t)v;
    at[1] = (uint8_t)(v >> 8);
}

void put_u32(uint8_t *at, uint32_t v) {
    put_u16(at, (uint16_t)v);
    put_u16(at + 2, (uint16_t)(v >> 16));
}

static size_t fifo_put(struct fifo *f, const uint8_t *bytes, size_t len) {
    size_t n = len < f->cap - f->len ? len : f->cap - f->len;

    for (size_t i = 0; i < n; i++)
        f->bytes[(f->start + f->len + i) % f->cap] = bytes[i];
    f->len += n;
    return n;
}

size_t fifo_take(struct fifo *f, uint8_t *out, size_t size) {
    size_t n = size < f->len ? size : f->len;

    for (size_t i = 0; i < n; i++)
        out[i] = f->bytes[(f->start + i) % f->cap];
    f->start = (f->start + n) % f->cap;
    f->len -= n;
    return n;
}

void reply_words(struct usb_reply *reply, const char *format, ...) {
    va_list args;

    va_start(args, format);
    vsnprintf(reply->words, sizeof(reply->words), format, args);
    va_end(args);
}

void reply_done(struct usb_reply *reply) {
    reply->stall = false;
}

void reply_bytes(struct usb_reply *reply, const struct usb_request *request, const void *bytes, size_t len) {
    reply->len = len < request->length ? len : request->length;
    memcpy(reply->data, bytes, reply->len);
    reply_done(reply);
}

void chip_init(struct chip *c, const struct chip_model *model, const char *serial) {
    *c = (struct chip) { .model = model, .serial = serial };
    chip_reset(c);
}

void chip_reset(struct chip *c) {
    c->configuration = 0;
    c->enabled = false;
    c->line = (struct chip_line) { .baud = 9600 };
    c->rx = (struct fifo) { .cap = c->model->rx_fifo };
    c->tx = (struct fifo) { .cap = c->model->tx_fifo };
    c->tx_free = 0;
    c->overrun = false;
    c->model->reset(c);
}

void chip_purge_rx(struct chip *c) {
    c->rx.start = c->rx.len = 0;
}

void chip_purge_tx(struct chip *c) {
    c->tx.start = c->tx.len = 0;
    c->tx_free = 0;
    c->n_tx_purges++;
}

void chip_set_baud(struct chip *c, uint32_t baud) {
    c->line.baud = baud;
}

// ---- standard requests
// ----------------------------------------------------------------------------------------------

static void get_device(const struct chip *c, const struct usb_request *request, struct usb_reply *reply) {
    uint8_t d[18] = { sizeof(d), DESCRIPTOR_DEVICE };

    put_u16(d + 2, c->model->usb_version);
    d[7] = CHIP_PACKET;
    put_u16(d + 8, c->model->vendor);
    put_u16(d + 10, c->model->product);
    put_u16(d + 12, c->model->version);
    d[14] = STRING_MANUFACTURER;
    d[15] = STRING_PRODUCT;
    d[16] = STRING_SERIAL;
    d[17] = 1; // configurations
    reply_bytes(reply, request, d, sizeof(d));
}

static void get_configuration(const struct chip *c, const struct usb_request *request,
                              struct usb_reply *reply) {
    const struct chip_model *m = c->model;
    uint8_t more = m->class_in_full ? m->interface_class : 0;
    const uint8_t d[] = {
        // configuration: total length, one interface, value 1, no string
        9,
        DESCRIPTOR_CONFIGURATION,
        32,
        0,
        1,
        1,
        0,
        m->attributes,
        m->milliamps_half,
        // interface 0, setting 0, two endpoints
        9,
        DESCRIPTOR_INTERFACE,
        0,
        0,
        2,
        m->interface_class,
        more,
        more,
        STRING_PRODUCT,
        // bulk, 64 bytes, no interval
        7,
        DESCRIPTOR_ENDPOINT,
        m->in_endpoint,
        2,
        CHIP_PACKET,
        0,
        0,
        7,
        DESCRIPTOR_ENDPOINT,
        m->out_endpoint,
        2,
        CHIP_PACKET,
        0,
        0,
    };

    reply_bytes(reply, request, d, sizeof(d));
}

static void get_string(const struct chip *c, const struct usb_request *request, struct usb_reply *reply) {
    const char *const strings[] = { "", c->model->manufacturer, c->model->product_name, c->serial };
    uint8_t d[CHIP_REPLY_MAX - 2] = { 4, DESCRIPTOR_STRING, 0x09, 0x04 }; // English (US)
    uint8_t index = (uint8_t)request->value;

    if (index > STRING_SERIAL)
        return;
    if (index != STRING_LANGUAGES) {
        size_t n = strnlen(strings[index], (sizeof(d) - 2) / 2);
        d[0] = (uint8_t)(2 + 2 * n);
        for (size_t i = 0; i < n; i++)
            put_u16(d + 2 + 2 * i, (uint8_t)strings[index][i]);
    }
    reply_bytes(reply, request, d, d[0]);
}

static void get_descriptor(const struct chip *c, const struct usb_request *request, struct usb_reply *reply) {
    unsigned index = request->value & 0xFFu;

    switch (request->value >> 8) {
    case DESCRIPTOR_DEVICE:
        reply_words(reply, "GET_DESCRIPTOR device");
        get_device(c, request, reply);
        return;
    case DESCRIPTOR_CONFIGURATION:
        reply_words(reply, "GET_DESCRIPTOR configuration");
        get_configuration(c, request, reply);
        return;
    case DESCRIPTOR_STRING:
        reply_words(reply, "GET_DESCRIPTOR string %u", index);
        get_string(c, request, reply);
        return;
    }
    reply_words(reply, "GET_DESCRIPTOR type %u", request->value >> 8);
}

static void standard(struct chip *c, const struct usb_request *request, struct usb_reply *reply) {
    switch (request->request) {
    case GET_DESCRIPTOR:
        get_descriptor(c, request, reply);
        return;
    case GET_STATUS:
        reply_words(reply, "GET_STATUS");
        reply_bytes(reply, request, "\0", 2);
        return;
    case GET_CONFIGURATION:
        reply_words(reply, "GET_CONFIGURATION");
        reply_bytes(reply, request, &c->configuration, 1);
        return;
    case SET_CONFIGURATION:
        reply_words(reply, "SET_CONFIGURATION %u", request->value);
        if (request->value > 1)
            return;
        c->configuration = (uint8_t)request->value;
        reply_done(reply);
        return;
    case GET_INTERFACE:
        reply_words(reply, "GET_INTERFACE");
        reply_bytes(reply, request, "", 1);
        return;
    case SET_INTERFACE:
        reply_words(reply, "SET_INTERFACE %u", request->value);
        if (request->value == 0)
            reply_done(reply);
        return;
    case CLEAR_FEATURE:
    case SET_FEATURE:
        reply_words(reply, "%s %u", request->request == SET_FEATURE ? "SET_FEATURE" : "CLEAR_FEATURE",
                    request->value);
        reply_done(reply);
        return;
    }
}

void chip_control(struct chip *c, int64_t now, const struct usb_request *request, struct usb_reply *reply) {
    reply->stall = true;
    reply->len = 0;
    reply_words(reply, "UNKNOWN type=%02x request=%02x value=%04x index=%04x length=%u", request->type,
                request->request, request->value, request->index, request->length);
    if ((request->type & USB_TYPE_MASK) == USB_TYPE_VENDOR)
        c->model->control(c, now, request, reply);
    else if ((request->type & USB_TYPE_MASK) == 0)
        standard(c, request, reply);
}

// ---- host to board
// ---------------------------------------------------------------------------------------------------

static int64_t span(const struct chip *c, size_t bytes) {
    return (int64_t)(bytes * UINT64_C(10000000000) / c->line.baud); // 10 bits a byte
}

// What was handed on ahead of its time is in the chip still.
size_t chip_put(struct chip *c, int64_t now, const uint8_t *bytes, size_t len) {
    size_t queued = chip_tx_queued(c, now);
    size_t room = queued < c->tx.cap ? c->tx.cap - queued : 0;

    return fifo_put(&c->tx, bytes, len < room ? len : room);
}

int64_t chip_put_due(const struct chip *c) {
    return c->fast ? 0 : c->tx_free - span(c, c->tx.cap / 2);
}

size_t chip_take(struct chip *c, int64_t now, uint8_t *out, size_t size) {
    int64_t start = c->tx_free > now ? c->tx_free : now;
    int64_t room = now + AHEAD_NS - start;
    size_t n;

    if (c->fast)
        return fifo_take(&c->tx, out, size);
    if (room <= 0 || c->tx.len == 0)
        return 0;
    n = (size_t)((uint64_t)room * c->line.baud / UINT64_C(10000000000)) + 1; // whose first bit starts in time
    n = fifo_take(&c->tx, out, n < size ? n : size);
    c->tx_free = start + span(c, n);
    return n;
}

int64_t chip_take_due(const struct chip *c) {
    if (c->tx.len == 0)
        return CHIP_NEVER;
    // Half of what was handed on early is used up first: fewer wake-ups.
    return c->fast ? 0 : c->tx_free - AHEAD_NS / 2;
}

size_t chip_tx_queued(const struct chip *c, int64_t now) {
    size_t on_wire = 0;

    if (c->tx_free > now)
        on_wire = (size_t)((uint64_t)(c->tx_free - now) * c->line.baud / UINT64_C(10000000000)) + 1;
    return c->tx.len + on_wire;
}

// ---- board to host
// ---------------------------------------------------------------------------------------------------

void chip_receive(struct chip *c, int64_t now, const uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < len && c->enabled; i++) {
        if (fifo_put(&c->rx, bytes + i, 1) == 0) {
            c->overrun = true;
            c->n_overruns++;
            continue;
        }
        c->model->on_rx(c, now, bytes[i]);
    }
}

size_t chip_fill(struct chip *c, int64_t now, uint8_t *out, size_t size) {
    c->waited = -1;
    return c->model->fill(c, now, out, size);
}

int64_t chip_fill_due(const struct chip *c) {
    return c->model->due(c);
}
