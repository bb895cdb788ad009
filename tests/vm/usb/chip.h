// A USB-serial chip as the host's driver sees it: control requests in, replies or stalls out; bytes between
// the bulk endpoints and the UART's pins; DTR, RTS and the rate that follow from the requests. Pure: no file
// descriptor and no clock, every call brings its time (CLOCK_MONOTONIC, ns). cp2102.c and ft230x.c are the
// two models.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHIP_PACKET    64        // wMaxPacketSize of all endpoints, both chips
#define CHIP_FIFO_MAX  640       // the bigger of the chips' buffers
#define CHIP_NEVER     INT64_MAX // no time
#define CHIP_REPLY_MAX 256
#define CHIP_WORDS_MAX 160

// bmRequestType
#define USB_TYPE_IN     0x80
#define USB_TYPE_MASK   0x60
#define USB_TYPE_VENDOR 0x40

// A control request as it comes in. `data` has `length` bytes when the type says host to device, else it is
// NULL. Borrowed.
struct usb_request {
    uint8_t type;    // bmRequestType
    uint8_t request; // bRequest
    uint16_t value, index, length;
    const uint8_t *data;
};

struct usb_reply {
    bool stall;
    size_t len; // of data, at most the request's length
    uint8_t data[CHIP_REPLY_MAX];
    char words[CHIP_WORDS_MAX]; // the request as the log tells it
};

struct fifo {
    uint8_t bytes[CHIP_FIFO_MAX];
    size_t cap, start, len;
};

// What the UART's pins do.
struct chip_line {
    uint32_t baud; // what the divider really gives
    bool dtr, rts; // true = asserted
    bool sends_break;
};

struct chip;

struct chip_model {
    const char *name; // as on the command line
    uint16_t vendor, product, version;
    uint16_t usb_version;
    uint8_t interface_class; // also subclass and protocol, where the chip says so
    bool class_in_full;
    bool says_close; // a request tells that the port is closed; else the host just stops reading
    uint8_t attributes, milliamps_half; // of the configuration
    uint8_t in_endpoint, out_endpoint;  // addresses
    const char *manufacturer, *product_name;
    size_t rx_fifo, tx_fifo; // bytes
    void (*reset)(struct chip *c);
    // A vendor request. What isn't known is left alone: the reply is a stall then.
    void (*control)(struct chip *c, int64_t now, const struct usb_request *request, struct usb_reply *reply);
    // Packs what is due at `now` for one transfer of at most `size` bytes. Returns how many; 0 = nothing yet.
    size_t (*fill)(struct chip *c, int64_t now, uint8_t *out, size_t size);
    // When fill() would have something, as things stand: a time that may be past, or CHIP_NEVER.
    int64_t (*due)(const struct chip *c);
    // A byte has arrived from the board and is in the buffer.
    void (*on_rx)(struct chip *c, int64_t now, uint8_t byte);
};

extern const struct chip_model chip_cp2102;
extern const struct chip_model chip_ft230x;

struct cp2102 {
    uint32_t table_baud; // the rate by which the chip calls it
    uint16_t line_ctl;
    uint8_t flow[16];
    uint8_t escape; // events are embedded behind this character; 0 = off
    uint32_t errors;
};

struct ft230x {
    uint16_t data; // SET_DATA's value
    uint8_t latency_ms;
    uint8_t event_char;
    bool event_on;
    int64_t tick;   // when the latency timer last started
    int64_t due;    // a short packet leaves at this time
    int64_t oldest; // when the oldest byte for it came
};

struct chip {
    const struct chip_model *model;
    const char *serial; // borrowed
    bool fast;          // the wire is not paced
    bool enabled;       // the UART is on: what arrives is kept
    uint8_t configuration;
    struct chip_line line;
    struct fifo rx, tx; // from the board, to the board
    int64_t tx_free;    // when the last byte that was handed on has left
    bool overrun;       // a byte was lost, the host hasn't been told yet
    int64_t waited; // of the last fill()'s short packet, its oldest byte: ns in the chip; -1: none or unknown
    unsigned n_opens, n_closes;
    unsigned n_tx_purges; // what was handed on must be taken back, as far as it can be
    uint64_t n_overruns;
    union {
        struct cp2102 cp2102;
        struct ft230x ft230x;
    };
};

// `serial`: the USB serial number, borrowed as long as the chip lives.
void chip_init(struct chip *c, const struct chip_model *model, const char *serial);
// A USB reset: all as after power-on.
void chip_reset(struct chip *c);
const struct chip_model *chip_model_find(const char *name);

// Any control request, the standard ones too.
void chip_control(struct chip *c, int64_t now, const struct usb_request *request, struct usb_reply *reply);

// Host to board. chip_put() takes what fits and returns how much that was; chip_put_due() is when more will,
// if nothing does now. chip_take() gives the bytes that have their turn on the wire now (and a few ms ahead,
// so that a late wake-up doesn't tear holes); chip_take_due() is when there will be some.
size_t chip_put(struct chip *c, int64_t now, const uint8_t *bytes, size_t len);
int64_t chip_put_due(const struct chip *c);
size_t chip_take(struct chip *c, int64_t now, uint8_t *out, size_t size);
int64_t chip_take_due(const struct chip *c);
// How much of it is in the chip at `now`, the byte on the wire included.
size_t chip_tx_queued(const struct chip *c, int64_t now);

// Board to host. What doesn't fit is lost, as on the real chip.
void chip_receive(struct chip *c, int64_t now, const uint8_t *bytes, size_t len);
size_t chip_fill(struct chip *c, int64_t now, uint8_t *out, size_t size);
int64_t chip_fill_due(const struct chip *c);

// For the models.
__attribute__((format(printf, 2, 3))) void reply_words(struct usb_reply *reply, const char *format, ...);
void reply_bytes(struct usb_reply *reply, const struct usb_request *request, const void *bytes, size_t len);
void reply_done(struct usb_reply *reply);
uint16_t get_u16(const uint8_t *at);
uint32_t get_u32(const uint8_t *at);
void put_u16(uint8_t *at, uint16_t v);
void put_u32(uint8_t *at, uint32_t v);
size_t fifo_take(struct fifo *f, uint8_t *out, size_t size);
void chip_purge_rx(struct chip *c);
void chip_purge_tx(struct chip *c);
void chip_set_baud(struct chip *c, uint32_t baud);
