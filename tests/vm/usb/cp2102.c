// Silicon Labs CP2102. The requests are those of AN571, the rates those of AN205, table 1.
#include "tests/vm/usb/chip.h"

#include <string.h>

enum {
    IFC_ENABLE = 0x00,
    SET_BAUDDIV = 0x01,
    GET_BAUDDIV = 0x02,
    SET_LINE_CTL = 0x03,
    GET_LINE_CTL = 0x04,
    SET_BREAK = 0x05,
    SET_MHS = 0x07,
    GET_MDMSTS = 0x08,
    GET_COMM_STATUS = 0x10,
    RESET = 0x11,
    PURGE = 0x12,
    SET_FLOW = 0x13,
    GET_FLOW = 0x14,
    EMBED_EVENTS = 0x15,
    SET_CHARS = 0x19,
    GET_BAUDRATE = 0x1D,
    SET_BAUDRATE = 0x1E,
    VENDOR_SPECIFIC = 0xFF,
};

#define GET_PARTNUM    0x370B
#define PARTNUM_CP2102 2

#define BAUD_CLOCK    24000000 // Hz; the timer that makes the rates
#define BAUDDIV_CLOCK 3686400  // Hz; SET_BAUDDIV's unit

#define MHS_DTR       0x0001
#define MHS_RTS       0x0002
#define MHS_WRITE_DTR 0x0100
#define MHS_WRITE_RTS 0x0200

#define PURGE_TX 0x0005
#define PURGE_RX 0x000A

// The two words of SET_FLOW that matter: where DTR is (bits 0, 1 of the first) and RTS (bits 6, 7 of the
// second). Inactive, active, or left to the chip, which asserts RTS while there is room.
#define FLOW_DTR(ctl_hs)    ((ctl_hs)&3u)
#define FLOW_RTS(flow_repl) ((flow_repl) >> 6 & 3u)

#define COMM_ERROR_OVERRUN 0x08 // of the queue
#define LSR_OVERRUN        0x02
#define EVENT_ESCAPED      0x00
#define EVENT_LSR          0x02

// What a rate is taken for: the first row whose bound isn't below it.
static const struct {
    uint32_t up_to, baud;
} rates[] = {
    { 300, 300 },       { 600, 600 },       { 1200, 1200 },     { 1800, 1800 },         { 2400, 2400 },
    { 4000, 4000 },     { 4803, 4800 },     { 7207, 7200 },     { 9612, 9600 },         { 14428, 14400 },
    { 16062, 16000 },   { 19250, 19200 },   { 28912, 28800 },   { 38601, 38400 },       { 51558, 51200 },
    { 56280, 56000 },   { 58053, 57600 },   { 64111, 64000 },   { 77608, 76800 },       { 117028, 115200 },
    { 129347, 128000 }, { 156868, 153600 }, { 237832, 230400 }, { 254234, 250000 },     { 273066, 256000 },
    { 491520, 460800 }, { 567138, 500000 }, { 670254, 576000 }, { UINT32_MAX, 921600 },
};

static void set_rate(struct chip *c, uint32_t baud) {
    uint32_t divider;
    size_t i = 0;

    while (baud > rates[i].up_to)
        i++;
    c->cp2102.table_baud = rates[i].baud;
    divider = (2 * BAUD_CLOCK + rates[i].baud - 1) / (2 * rates[i].baud); // the nearest; down from the middle
    chip_set_baud(c, BAUD_CLOCK / divider);
}

static void reset(struct chip *c) {
    c->cp2102 = (struct cp2102) { .line_ctl = 0x0800 };
    set_rate(c, 115200);
}

// ---- requests
// -------------------------------------------------------------------------------------------------------

static void on_enable(struct chip *c, const struct usb_request *request, struct usb_reply *reply) {
    bool on = request->value & 1;

    reply_words(reply, "IFC_ENABLE %d", on);
    if (on && !c->enabled)
        c->n_opens++;
    else if (!on && c->enabled)
        c->n_closes++;
    c->enabled = on;
    chip_purge_rx(c);
    if (!on)
        c->overrun = false;
    reply_done(reply);
}

static void on_mhs(struct chip *c, const struct usb_request *request, struct usb_reply *reply) {
    if (request->value & MHS_WRITE_DTR)
        c->line.dtr = request->value & MHS_DTR;
    if (request->value & MHS_WRITE_RTS)
        c->line.rts = request->value & MHS_RTS;
    reply_words(reply, "SET_MHS dtr=%d rts=%d", c->line.dtr, c->line.rts);
    reply_done(reply);
}

static void on_set_flow(struct chip *c, const struct usb_request *request, struct usb_reply *reply) {
    uint32_t ctl_hs, flow_repl;

    reply_words(reply, "SET_FLOW length=%u", request->length);
    if (request->length != sizeof(c->cp2102.flow))
        return;
    memcpy(c->cp2102.flow, request->data, sizeof(c->cp2102.flow));
    ctl_hs = get_u32(request->data);
    flow_repl = get_u32(request->data + 4);
    c->line.dtr = FLOW_DTR(ctl_hs) != 0;
    c->line.rts = FLOW_RTS(flow_repl) != 0;
    reply_words(reply, "SET_FLOW ctl_hs=%02x flow_repl=%02x dtr=%d rts=%d", (unsigned)ctl_hs,
                (unsigned)flow_repl, c->line.dtr, c->line.rts);
    reply_done(reply);
}

static void on_purge(struct chip *c, const struct usb_request *request, struct usb_reply *reply) {
    reply_words(reply, "PURGE %04x", request->value);
    if (request->value & PURGE_TX)
        chip_purge_tx(c);
    if (request->value & PURGE_RX)
        chip_purge_rx(c);
    reply_done(reply);
}

static void on_comm_status(struct chip *c, int64_t now, const struct usb_request *request,
                           struct usb_reply *reply) {
    uint8_t d[19] = { 0 }; // errors, reasons to wait, bytes in, bytes out, three flags
    size_t out = chip_tx_queued(c, now);

    put_u32(d, c->cp2102.errors | (c->overrun ? COMM_ERROR_OVERRUN : 0));
    put_u32(d + 8, (uint32_t)c->rx.len);
    put_u32(d + 12, (uint32_t)out);
    c->overrun = false;
    reply_words(reply, "GET_COMM_STATUS out=%zu", out);
    reply_bytes(reply, request, d, sizeof(d));
}

static void on_vendor(const struct usb_request *request, struct usb_reply *reply) {
    const uint8_t part = PARTNUM_CP2102;

    if (request->value != GET_PARTNUM)
        return;
    reply_words(reply, "GET_PARTNUM");
    reply_bytes(reply, request, &part, 1);
}

static void on_read(struct chip *c, int64_t now, const struct usb_request *request, struct usb_reply *reply) {
    uint8_t d[4];

    switch (request->request) {
    case GET_BAUDDIV:
        put_u16(d, (uint16_t)(BAUDDIV_CLOCK / c->cp2102.table_baud));
        reply_words(reply, "GET_BAUDDIV");
        reply_bytes(reply, request, d, 2);
        return;
    case GET_BAUDRATE:
        put_u32(d, c->cp2102.table_baud);
        reply_words(reply, "GET_BAUDRATE");
        reply_bytes(reply, request, d, 4);
        return;
    case GET_LINE_CTL:
        put_u16(d, c->cp2102.line_ctl);
        reply_words(reply, "GET_LINE_CTL");
        reply_bytes(reply, request, d, 2);
        return;
    case GET_MDMSTS:
        d[0] = (uint8_t)((c->line.dtr ? MHS_DTR : 0) | (c->line.rts ? MHS_RTS : 0));
        reply_words(reply, "GET_MDMSTS dtr=%d rts=%d", c->line.dtr, c->line.rts);
        reply_bytes(reply, request, d, 1);
        return;
    case GET_FLOW:
        reply_words(reply, "GET_FLOW");
        reply_bytes(reply, request, c->cp2102.flow, sizeof(c->cp2102.flow));
        return;
    case GET_COMM_STATUS:
        on_comm_status(c, now, request, reply);
        return;
    case VENDOR_SPECIFIC:
        on_vendor(request, reply);
        return;
    }
}

static void on_write(struct chip *c, const struct usb_request *request, struct usb_reply *reply) {
    switch (request->request) {
    case IFC_ENABLE:
        on_enable(c, request, reply);
        return;
    case SET_BAUDDIV:
        reply_words(reply, "SET_BAUDDIV %u", request->value);
        if (request->value == 0)
            return;
        set_rate(c, BAUDDIV_CLOCK / request->value);
        reply_done(reply);
        return;
    case SET_BAUDRATE:
        reply_words(reply, "SET_BAUDRATE length=%u", request->length);
        if (request->length != 4)
            return;
        set_rate(c, get_u32(request->data));
        reply_words(reply, "SET_BAUDRATE %u actual=%u", (unsigned)get_u32(request->data),
                    (unsigned)c->line.baud);
        reply_done(reply);
        return;
    case SET_LINE_CTL:
        c->cp2102.line_ctl = request->value;
        reply_words(reply, "SET_LINE_CTL %04x", request->value);
        reply_done(reply);
        return;
    case SET_BREAK:
        c->line.sends_break = request->value & 1;
        reply_words(reply, "SET_BREAK %d", c->line.sends_break);
        reply_done(reply);
        return;
    case SET_MHS:
        on_mhs(c, request, reply);
        return;
    case RESET:
        reply_words(reply, "RESET");
        chip_purge_rx(c);
        chip_purge_tx(c);
        reply_done(reply);
        return;
    case PURGE:
        on_purge(c, request, reply);
        return;
    case SET_FLOW:
        on_set_flow(c, request, reply);
        return;
    case EMBED_EVENTS:
        c->cp2102.escape = (uint8_t)request->value;
        reply_words(reply, "EMBED_EVENTS %02x", c->cp2102.escape);
        reply_done(reply);
        return;
    case SET_CHARS:
        reply_words(reply, "SET_CHARS length=%u", request->length);
        if (request->length == 6)
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

static size_t fill(struct chip *c, int64_t now, uint8_t *out, size_t size) {
    uint8_t escape = c->cp2102.escape;
    size_t n = 0;

    (void)now;
    if (escape == 0)
        return fifo_take(&c->rx, out, size);
    if (c->overrun && size >= 3) {
        out[n++] = escape;
        out[n++] = EVENT_LSR;
        out[n++] = LSR_OVERRUN;
        c->overrun = false;
    }
    while (n + 2 <= size && fifo_take(&c->rx, out + n, 1) == 1) {
        if (out[n++] == escape)
            out[n++] = EVENT_ESCAPED;
    }
    return n;
}

static int64_t due(const struct chip *c) {
    return c->rx.len > 0 || (c->cp2102.escape != 0 && c->overrun) ? 0 : CHIP_NEVER;
}

static void on_rx(struct chip *c, int64_t now, uint8_t byte) {
    (void)c;
    (void)now;
    (void)byte;
}

const struct chip_model chip_cp2102 = {
    .name = "cp2102",
    .vendor = 0x10C4,
    .product = 0xEA60,
    .version = 0x0100,
    .usb_version = 0x0110,
    .interface_class = 0xFF,
    .says_close = true,
    .attributes = 0x80,
    .milliamps_half = 50,
    .in_endpoint = 0x81,
    .out_endpoint = 0x01,
    .manufacturer = "Silicon Labs",
    .product_name = "CP2102 USB to UART Bridge Controller",
    .rx_fifo = 576,
    .tx_fifo = 640,
    .reset = reset,
    .control = control,
    .fill = fill,
    .due = due,
    .on_rx = on_rx,
};
