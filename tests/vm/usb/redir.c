#include "tests/vm/usb/redir.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <usbredirparser.h>

#define N_ENDPOINTS   32
#define TRANSFERS_MAX 64 // waiting at once; the drivers have 2 each way
#define TRANSFER_MAX  16384
#define SLOW_HOST_NS  INT64_C(250000000)

struct transfer {
    uint64_t id;
    struct usb_redir_bulk_packet_header header;
    uint8_t *data; // what the host sends; NULL for what it reads
    size_t len, done;
};

struct queue {
    struct transfer transfers[TRANSFERS_MAX];
    size_t len;
};

struct redir {
    struct usbredirparser *parser;
    int fd;
    bool gone;
    struct chip *chip;
    struct usb_log *log;
    const struct redir_ops *ops;
    void *userdata;
    bool log_waits;
    struct queue out, in;
    int64_t read_at; // when the host last had a transfer waiting for bytes
};

// ---- the parser's file
// ----------------------------------------------------------------------------------------------

static void on_log(void *priv, int level, const char *message) {
    (void)priv;
    if (level <= usbredirparser_warning)
        fprintf(stderr, "usbboard: usbredir: %s\n", message);
}

static int on_read(void *priv, uint8_t *data, int count) {
    struct redir *r = priv;
    ssize_t n = recv(r->fd, data, (size_t)count, 0);

    if (n > 0)
        return (int)n;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    r->gone = true;
    return -1;
}

static int on_write(void *priv, uint8_t *data, int count) {
    struct redir *r = priv;
    ssize_t n = send(r->fd, data, (size_t)count, MSG_NOSIGNAL);

    if (n >= 0)
        return (int)n;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    r->gone = true;
    return -1;
}

// ---- plugging in
// ----------------------------------------------------------------------------------------------------

static void describe_endpoint(struct usb_redir_ep_info_header *info, uint8_t address) {
    size_t i = (address & 0x80 ? 16u : 0u) + (address & 0x0Fu);

    info->type[i] = usb_redir_type_bulk;
    info->max_packet_size[i] = CHIP_PACKET;
}

// QEMU wants the endpoints before the device.
static void on_hello(void *priv, struct usb_redir_hello_header *hello) {
    struct redir *r = priv;
    const struct chip_model *m = r->chip->model;
    uint8_t more = m->class_in_full ? m->interface_class : 0;
    struct usb_redir_interface_info_header interfaces = { .interface_count = 1 };
    struct usb_redir_ep_info_header endpoints = { .type = { 0 } };
    struct usb_redir_device_connect_header device = {
        .speed = usb_redir_speed_full,
        .vendor_id = m->vendor,
        .product_id = m->product,
        .device_version_bcd = m->version,
    };

    (void)hello;
    interfaces.interface_class[0] = m->interface_class;
    interfaces.interface_subclass[0] = interfaces.interface_protocol[0] = more;
    memset(endpoints.type, usb_redir_type_invalid, sizeof(endpoints.type));
    endpoints.type[0] = endpoints.type[16] = usb_redir_type_control;
    endpoints.max_packet_size[0] = endpoints.max_packet_size[16] = CHIP_PACKET;
    describe_endpoint(&endpoints, m->in_endpoint);
    describe_endpoint(&endpoints, m->out_endpoint);
    usbredirparser_send_interface_info(r->parser, &interfaces);
    usbredirparser_send_ep_info(r->parser, &endpoints);
    usbredirparser_send_device_connect(r->parser, &device);
    usb_log(r->log, "plug %s %04x:%04x serial=%s", m->name, m->vendor, m->product, r->chip->serial);
}

// ---- transfers that wait
// --------------------------------------------------------------------------------------------

static void remove_at(struct redir *r, struct queue *q, size_t i) {
    if (q->transfers[i].data)
        usbredirparser_free_packet_data(r->parser, q->transfers[i].data);
    q->len--;
    memmove(q->transfers + i, q->transfers + i + 1, (q->len - i) * sizeof(q->transfers[0]));
}

static void complete(struct redir *r, struct transfer *t, uint8_t status, uint8_t *data, size_t len) {
    t->header.status = status;
    t->header.length = (uint16_t)len;
    t->header.length_high = (uint16_t)(len >> 16);
    usbredirparser_send_bulk_packet(r->parser, t->id, &t->header, data, data ? (int)len : 0);
}

static void forget(struct redir *r, struct queue *q) {
    while (q->len > 0)
        remove_at(r, q, q->len - 1);
}

static void on_bulk(void *priv, uint64_t id, struct usb_redir_bulk_packet_header *header, uint8_t *data,
                    int data_len) {
    struct redir *r = priv;
    const struct chip_model *m = r->chip->model;
    bool in = header->endpoint == m->in_endpoint;
    struct queue *q = in ? &r->in : &r->out;
    struct transfer t = { .id = id, .header = *header, .data = data };

    t.len = in ? (size_t)header->length : (size_t)data_len;
    if ((!in && header->endpoint != m->out_endpoint) || q->len == TRANSFERS_MAX || t.len > TRANSFER_MAX) {
        complete(r, &t, usb_redir_inval, NULL, 0);
        if (data)
            usbredirparser_free_packet_data(r->parser, data);
        return;
    }
    q->transfers[q->len++] = t;
}

// The host gives a transfer up. What the chip has taken of it stays taken.
static bool cancel(struct redir *r, struct queue *q, uint64_t id) {
    for (size_t i = 0; i < q->len; i++) {
        if (q->transfers[i].id != id)
            continue;
        complete(r, &q->transfers[i], usb_redir_cancelled, NULL, q->transfers[i].done);
        remove_at(r, q, i);
        return true;
    }
    return false;
}

static void on_cancel(void *priv, uint64_t id) {
    struct redir *r = priv;

    if (cancel(r, &r->in, id)) {
        if (r->in.len == 0 && !r->chip->model->says_close)
            usb_log(r->log, "close");
    } else if (cancel(r, &r->out, id)) {
        usb_log(r->log, "write cancelled");
    }
}

// ---- control
// --------------------------------------------------------------------------------------------------------

static void log_open(struct redir *r, unsigned opens, unsigned closes) {
    if (r->chip->n_opens != opens)
        usb_log(r->log, "open");
    if (r->chip->n_closes != closes)
        usb_log(r->log, "close");
}

static void on_control(void *priv, uint64_t id, struct usb_redir_control_packet_header *header, uint8_t *data,
                       int data_len) {
    struct redir *r = priv;
    unsigned opens = r->chip->n_opens, closes = r->chip->n_closes;
    struct usb_request request = {
        .type = header->requesttype,
        .request = header->request,
        .value = header->value,
        .index = header->index,
        .length = header->length,
        .data = data,
    };
    struct usb_reply reply;

    if (!(request.type & USB_TYPE_IN))
        request.length = (uint16_t)data_len;
    chip_control(r->chip, now_ns(), &request, &reply);
    usb_log(r->log, "control %s%s", reply.words, reply.stall ? " stall" : "");
    log_open(r, opens, closes);
    r->ops->on_change(r->userdata);
    header->status = reply.stall ? usb_redir_stall : usb_redir_success;
    if (request.type & USB_TYPE_IN)
        header->length = (uint16_t)reply.len;
    usbredirparser_send_control_packet(r->parser, id, header, reply.len > 0 ? reply.data : NULL,
                                       (int)reply.len);
    if (data)
        usbredirparser_free_packet_data(r->parser, data);
}

static void on_reset(void *priv) {
    struct redir *r = priv;

    usb_log(r->log, "reset");
    forget(r, &r->out);
    forget(r, &r->in);
    chip_reset(r->chip);
    r->ops->on_change(r->userdata);
}

static void send_configuration(struct redir *r, uint64_t id, uint8_t status) {
    struct usb_redir_configuration_status_header answer = { .status = status,
                                                            .configuration = r->chip->configuration };

    usbredirparser_send_configuration_status(r->parser, id, &answer);
}

static void on_set_configuration(void *priv, uint64_t id, struct usb_redir_set_configuration_header *header) {
    struct redir *r = priv;
    bool known = header->configuration <= 1;

    usb_log(r->log, "control SET_CONFIGURATION %u%s", header->configuration, known ? "" : " stall");
    if (known)
        r->chip->configuration = header->configuration;
    send_configuration(r, id, known ? usb_redir_success : usb_redir_stall);
}

static void on_get_configuration(void *priv, uint64_t id) {
    struct redir *r = priv;

    usb_log(r->log, "control GET_CONFIGURATION");
    send_configuration(r, id, usb_redir_success);
}

static void send_setting(struct redir *r, uint64_t id, uint8_t interface, uint8_t status) {
    struct usb_redir_alt_setting_status_header answer = { .status = status, .interface = interface };

    usbredirparser_send_alt_setting_status(r->parser, id, &answer);
}

static void on_set_setting(void *priv, uint64_t id, struct usb_redir_set_alt_setting_header *header) {
    struct redir *r = priv;
    bool known = header->interface == 0 && header->alt == 0;

    usb_log(r->log, "control SET_INTERFACE %u%s", header->alt, known ? "" : " stall");
    send_setting(r, id, header->interface, known ? usb_redir_success : usb_redir_stall);
}

static void on_get_setting(void *priv, uint64_t id, struct usb_redir_get_alt_setting_header *header) {
    struct redir *r = priv;

    usb_log(r->log, "control GET_INTERFACE");
    send_setting(r, id, header->interface, header->interface == 0 ? usb_redir_success : usb_redir_stall);
}

// ---- life
// -----------------------------------------------------------------------------------------------------------

static void set_callbacks(struct usbredirparser *p) {
    p->log_func = on_log;
    p->read_func = on_read;
    p->write_func = on_write;
    p->hello_func = on_hello;
    p->reset_func = on_reset;
    p->set_configuration_func = on_set_configuration;
    p->get_configuration_func = on_get_configuration;
    p->set_alt_setting_func = on_set_setting;
    p->get_alt_setting_func = on_get_setting;
    p->cancel_data_packet_func = on_cancel;
    p->control_packet_func = on_control;
    p->bulk_packet_func = on_bulk;
}

struct redir *redir_new(int fd, struct chip *chip, struct usb_log *log, const struct redir_ops *ops,
                        void *userdata) {
    uint32_t caps[USB_REDIR_CAPS_SIZE] = { 0 };
    struct redir *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->parser = usbredirparser_create();
    if (!r->parser) {
        free(r);
        return NULL;
    }
    r->fd = fd;
    r->chip = chip;
    r->log = log;
    r->ops = ops;
    r->userdata = userdata;
    r->parser->priv = r;
    set_callbacks(r->parser);
    usbredirparser_caps_set_cap(caps, usb_redir_cap_connect_device_version);
    usbredirparser_caps_set_cap(caps, usb_redir_cap_ep_info_max_packet_size);
    usbredirparser_caps_set_cap(caps, usb_redir_cap_64bits_ids);
    usbredirparser_caps_set_cap(caps, usb_redir_cap_32bits_bulk_length);
    usbredirparser_init(r->parser, "usbboard", caps, USB_REDIR_CAPS_SIZE, usbredirparser_fl_usb_host);
    return r;
}

struct redir *redir_free(struct redir *r) {
    if (!r)
        return NULL;
    forget(r, &r->out);
    forget(r, &r->in);
    usbredirparser_destroy(r->parser);
    free(r);
    return NULL;
}

// ---- moving
// ---------------------------------------------------------------------------------------------------------

int redir_on_input(struct redir *r) {
    if (usbredirparser_do_read(r->parser) == usbredirparser_read_parse_error)
        fprintf(stderr, "usbboard: QEMU sent a packet that is not understood\n");
    return r->gone ? -EPIPE : 0;
}

static void pump_out(struct redir *r, int64_t now) {
    while (r->out.len > 0) {
        struct transfer *t = r->out.transfers;
        size_t n = chip_put(r->chip, now, t->data + t->done, t->len - t->done);

        t->done += n;
        usb_log_bulk(r->log, now, n, 0);
        if (t->done < t->len)
            return;
        complete(r, t, usb_redir_success, NULL, t->len);
        remove_at(r, &r->out, 0);
    }
}

static void pump_in(struct redir *r, int64_t now) {
    uint8_t data[TRANSFER_MAX];

    while (r->in.len > 0) {
        size_t before = r->chip->rx.len;
        size_t n = chip_fill(r->chip, now, data, r->in.transfers[0].len);

        r->read_at = now;
        if (n == 0)
            return;
        usb_log_bulk(r->log, now, 0, before - r->chip->rx.len);
        if (r->log_waits && r->chip->waited >= 0)
            usb_log(r->log, "waited us=%" PRId64 " bytes=%zu", r->chip->waited / 1000,
                    before - r->chip->rx.len);
        complete(r, r->in.transfers, usb_redir_success, data, n);
        remove_at(r, &r->in, 0);
    }
}

int redir_pump(struct redir *r, int64_t now) {
    pump_out(r, now);
    pump_in(r, now);
    if (usbredirparser_has_data_to_write(r->parser) > 0)
        usbredirparser_do_write(r->parser);
    return r->gone ? -EPIPE : 0;
}

bool redir_wants_output(const struct redir *r) {
    return usbredirparser_has_data_to_write(r->parser) > 0;
}

bool redir_host_reads(const struct redir *r, int64_t now) {
    return r->in.len > 0 || now - r->read_at < SLOW_HOST_NS;
}

void redir_log_waits(struct redir *r) {
    r->log_waits = true;
}

int64_t redir_due(const struct redir *r) {
    int64_t in = r->in.len > 0 ? chip_fill_due(r->chip) : CHIP_NEVER;
    int64_t out = r->out.len > 0 && r->chip->tx.len == 0 ? chip_put_due(r->chip) : CHIP_NEVER;

    return in < out ? in : out;
}
