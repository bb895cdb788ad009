// FTDI FT230X, of the FT-X family (bcdDevice 0x1000).
//
// What the host reads comes in packets of 64 bytes at most, each with two bytes of status before its data. A
// packet leaves when 62 bytes of data are there, or when the latency timer is over and there is any; the
// timer starts again at each packet, and at each end. (At such an end the real chip also sends a packet of
// the status alone where there is no data. Drivers drop these; only one that says something new is sent
// here.)
#include "tests/vm/usb/chip.h"

#include <string.h>

enum {
    RESET = 0x00,
    SET_MODEM_CTRL = 0x01,
    SET_FLOW_CTRL = 0x02,
    SET_BAUD_RATE = 0x03,
    SET_DATA = 0x04,
    GET_MODEM_STATUS = 0x05,
    SET_EVENT_CHAR = 0x06,
    SET_ERROR_CHAR = 0x07,
    SET_LATENCY_TIMER = 0x09,
    GET_LATENCY_TIMER = 0x0A,
    SET_BITMODE = 0x0B,
    READ_PINS = 0x0C,
    READ_EEPROM = 0x90,
};

enum { RESET_SIO, RESET_PURGE_RX, RESET_PURGE_TX };

#define BAUD_CLOCK      24000000 // Hz; eighths of a divisor of 3 MHz
#define LATENCY_DEFAULT 16       // ms
#define NS_PER_MS       INT64_C(1000000)
#define STATUS_LEN      2

#define MODEM_ALWAYS 0x01 // bit 0 of the first byte
#define LSR_OVERRUN  0x02
#define LSR_THRE     0x20
#define LSR_TEMT     0x40

#define DATA_BREAK 0x4000

#define EEPROM_BYTES 256
#define EEPROM_CBUS  0x1A // what each of CBUS0..3 does: none is a GPIO, as FTDI ships them

static const uint8_t cbus[4] = { 0x00, 0x02, 0x01, 0x06 };

// ---- the rate
// -------------------------------------------------------------------------------------------------------

// AN120: bits 0 to 13 are the divisor of 3 MHz, bits 14 to 16 its eighths; 0 and 1 stand for 3 and 2 Mbaud.
static uint32_t decode_rate(uint32_t encoded) {
    static const uint8_t eighths[8] = { 0, 4, 2, 1, 3, 5, 6, 7 };
    uint32_t divisor = encoded & 0x3FFF;

    if (divisor == 0)
        return 3000000;
    if (divisor == 1)
        return 2000000;
    return BAUD_CLOCK / (divisor * 8 + eighths[encoded >> 14 & 7]);
}

// ---- status
// ---------------------------------------------------------------------------------------------------------

static void put_status(struct chip *c, int64_t now, uint8_t *out) {
    out[0] = MODEM_ALWAYS;
    out[1] = (uint8_t)((c->overrun ? LSR_OVERRUN : 0) | (c->tx.len == 0 ? LSR_THRE : 0) |
                       (chip_tx_queued(c, now) == 0 ? LSR_TEMT : 0));
    c->overrun = false;
}

static void reset(struct chip *c) {
    c->ft230x =
        (struct ft230x) { .data = 8, .latency_ms = LATENCY_DEFAULT, .event_char = 0x0D, .due = CHIP_NEVER };
    c->enabled = true; // there is no switch: it receives from power-on
}

static void purge_rx(struct chip *c) {
    chip_purge_rx(c);
    c->ft230x.due = CHIP_NEVER;
}

// ---- requests
// -------------------------------------------------------------------------------------------------------

static void on_reset(struct chip *c, const struct usb_request *request, struct usb_reply *reply) {
    reply_words(reply, "RESET %u", request->value);
    switch (request->value) {
    case RESET_SIO: // rate and format stay; drivers send it when they open the port
        c->n_opens++;
        c->line.dtr = c->line.rts = false;
        c->ft230x.event_on = false;
        c->overrun = false;
        purge_rx(c);
        chip_purge_tx(c);
        reply_done(reply);
        return;
    case RESET_PURGE_RX:
        purge_rx(c);
        reply_done(reply);
        return;
    case RESET_PURGE_TX:
        chip_purge_tx(c);
        reply_done(reply);
        return;
    }
}

// The low byte has the levels, the high byte says which of them count.
static void on_modem(struct chip *c, const struct usb_request *request, struct usb_reply *reply) {
    if (request->value & 0x0100)
        c->line.dtr = request->value & 0x01;
    if (request->value & 0x0200)
        c->line.rts = request->value & 0x02;
    reply_words(reply, "SET_MODEM_CTRL dtr=%d rts=%d", c->line.dtr, c->line.rts);
    reply_done(reply);
}

static void on_latency(struct chip *c, const struct usb_request *request, struct usb_reply *reply) {
    reply_words(reply, "SET_LATENCY_TIMER %u", request->value);
    if (request->value == 0 || request->value > 255)
        return;
    c->ft230x.latency_ms = (uint8_t)request->value;
    reply_done(reply);
}

static void on_read_eeprom(const struct usb_request *request, struct usb_reply *reply) {
    uint8_t eeprom[EEPROM_BYTES] = { 0 };
    size_t at = 2u * request->index;

    reply_words(reply, "READ_EEPROM %u", request->index);
    if (at + 2 > sizeof(eeprom))
        return;
    memcpy(eeprom + EEPROM_CBUS, cbus, sizeof(cbus));
    reply_bytes(reply, request, eeprom + at, 2);
}

static void on_read(struct chip *c, int64_t now, const struct usb_request *request, struct usb_reply *reply) {
    uint8_t d[2] = { 0 };

    switch (request->request) {
    case GET_MODEM_STATUS:
        put_status(c, now, d);
        reply_words(reply, "GET_MODEM_STATUS empty=%d", (d[1] & LSR_TEMT) != 0);
        reply_bytes(reply, request, d, 2);
        return;
    case GET_LATENCY_TIMER:
        reply_words(reply, "GET_LATENCY_TIMER %u", c->ft230x.latency_ms);
        reply_bytes(reply, request, &c->ft230x.latency_ms, 1);
        return;
    case READ_PINS:
        reply_words(reply, "READ_PINS");
        reply_bytes(reply, request, d, 1);
        return;
    case READ_EEPROM:
        on_read_eeprom(request, reply);
        return;
    }
}

static void on_write(struct chip *c, const struct usb_request *request, struct usb_reply *reply) {
    // Bit 16 of the divisor is in the index: above the channel's number.
    uint32_t encoded = request->value | (uint32_t)(request->index >> 8 & 1) << 16;

    switch (request->request) {
    case RESET:
        on_reset(c, request, reply);
        return;
    case SET_MODEM_CTRL:
        on_modem(c, request, reply);
        return;
    case SET_FLOW_CTRL:
        reply_words(reply, "SET_FLOW_CTRL %02x", request->index >> 8);
        reply_done(reply);
        return;
    case SET_BAUD_RATE:
        chip_set_baud(c, decode_rate(encoded));
        reply_words(reply, "SET_BAUD_RATE %u", (unsigned)c->line.baud);
        reply_done(reply);
        return;
    case SET_DATA:
        c->ft230x.data = request->value;
        c->line.sends_break = request->value & DATA_BREAK;
        reply_words(reply, "SET_DATA %04x", request->value);
        reply_done(reply);
        return;
    case SET_EVENT_CHAR:
        c->ft230x.event_char = (uint8_t)request->value;
        c->ft230x.event_on = request->value & 0x100;
        reply_words(reply, "SET_EVENT_CHAR %04x", request->value);
        reply_done(reply);
        return;
    case SET_ERROR_CHAR:
        reply_words(reply, "SET_ERROR_CHAR %04x", request->value);
        reply_done(reply);
        return;
    case SET_LATENCY_TIMER:
        on_latency(c, request, reply);
        return;
    case SET_BITMODE:
        reply_words(reply, "SET_BITMODE %04x", request->value);
        if (request->value >> 8 == 0) // another would take the pins from the UART
            reply_done(reply);
        return;
    }
}

static void control(struct chip *c, int64_t now, const struct usb_request *request, struct usb_reply *reply) {
    if (request->type & USB_TYPE_IN)
        on_read(c, now, request, reply);
    else
        on_write(c, request, reply);
}

// ---- bytes for the host
// ---------------------------------------------------------------------------------------------

// The first end of the latency timer at or after `now`, counted on from its last start.
static int64_t next_tick(const struct ft230x *f, int64_t now) {
    int64_t latency = f->latency_ms * NS_PER_MS;
    int64_t since = now > f->tick ? now - f->tick : 0;

    return f->tick + (since + latency - 1) / latency * latency;
}

static void on_rx(struct chip *c, int64_t now, uint8_t byte) {
    struct ft230x *f = &c->ft230x;

    if (f->due == CHIP_NEVER) {
        f->due = next_tick(f, now + 1);
        f->oldest = now;
    }
    if (f->event_on && byte == f->event_char)
        f->due = now;
}

static size_t fill(struct chip *c, int64_t now, uint8_t *out, size_t size) {
    struct ft230x *f = &c->ft230x;
    size_t n = 0;

    while (n + STATUS_LEN < size) {
        bool full = c->rx.len >= CHIP_PACKET - STATUS_LEN && size - n >= CHIP_PACKET;

        if (!full && now < f->due && !c->overrun)
            break;
        if (c->rx.len == 0 && !c->overrun)
            break; // all left in full packets
        put_status(c, now, out + n);
        n += STATUS_LEN;
        c->waited = full || c->rx.len == 0 ? -1 : now - f->oldest;
        n += fifo_take(&c->rx, out + n,
                       size - n < CHIP_PACKET - STATUS_LEN ? size - n : CHIP_PACKET - STATUS_LEN);
        f->tick = now;
        f->due = c->rx.len == 0 ? CHIP_NEVER : next_tick(f, now + 1);
        f->oldest = now; // of the rest: at the least
        if (!full)
            break; // a short packet ends the transfer
    }
    return n;
}

static int64_t due(const struct chip *c) {
    return c->rx.len >= CHIP_PACKET - STATUS_LEN || c->overrun ? 0 : c->ft230x.due;
}

const struct chip_model chip_ft230x = {
    .name = "ft230x",
    .vendor = 0x0403,
    .product = 0x6015,
    .version = 0x1000,
    .usb_version = 0x0200,
    .interface_class = 0xFF,
    .class_in_full = true,
    .attributes = 0xA0,
    .milliamps_half = 45,
    .in_endpoint = 0x81,
    .out_endpoint = 0x02,
    .manufacturer = "FTDI",
    .product_name = "FT230X Basic UART",
    .rx_fifo = 512,
    .tx_fifo = 512,
    .reset = reset,
    .control = control,
    .fill = fill,
    .due = due,
    .on_rx = on_rx,
};
