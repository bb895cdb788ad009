/*
 * The link to a chip, from above and from below: the input chooses what is asked, what comes in and in which
 * pieces, when the port takes bytes, when it goes away, and how time passes. Port, timer and clock are this
 * file's own, so that an hour of waiting costs nothing and every run is the same again.
 */

#include <errno.h>

#include "daemon/esp/chip.h"
#include "daemon/esp/link.h"
#include "daemon/esp/slip.h"
#include "daemon/serial/port.h"
#include "tests/fuzz/fuzz.h"

enum {
    STEPS_MAX = 400,
    TURNS_MAX = 60,        /* of the timer, that a request may take when the chip says no more */
    DONE_MS_MAX = 1800000, /* the same on the clock: an erase of the whole chip has its minutes */
    BODY_BYTES = 512,
    SINK_BYTES = 3 * ESP_READ_PACKET + 100,
};

struct serial_port {
    const struct serial_port_events *events;
    void *userdata;
    void (*on_closed)(void *userdata);
    void *closed_userdata;
    uint32_t baud;
    const uint8_t *tx;
    size_t tx_size;
    bool has_lines, is_gone, is_told, is_writing, is_written;
    uint64_t in, out;
};

static struct {
    uint64_t now;
    uv_timer_t *timer;
    uv_timer_cb on_timer;
    uint64_t due;
    bool is_started;
    uv_close_cb on_timer_closed;

    struct serial_port *port;
    struct esp_link *link;
    bool in_call, is_idle;
    unsigned n_gone, n_closed;
    uint64_t asked_ms;

    struct esp_request request;
    struct esp_identify identify;
    bool is_identifying;
    uint8_t body[BODY_BYTES], sink[SINK_BYTES];
    uint8_t frame[ESP_READ_PACKET];
    uint32_t read_done; /* that the chip has sent of it */
} bench;

/* ---- the loop -------------------------------------------------------------------------------- */

uint64_t uv_now(const uv_loop_t *loop) {
    (void)loop;
    return bench.now;
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *timer) {
    (void)loop;
    must(!bench.timer);
    bench.timer = timer;
    return 0;
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat) {
    must(timer == bench.timer && !bench.on_timer_closed && !repeat);
    bench.on_timer = cb;
    bench.due = bench.now + timeout;
    bench.is_started = true;
    return 0;
}

int uv_timer_stop(uv_timer_t *timer) {
    must(timer == bench.timer);
    bench.is_started = false;
    return 0;
}

uint64_t uv_timer_get_due_in(const uv_timer_t *timer) {
    must(timer == bench.timer);
    return bench.is_started && bench.due > bench.now ? bench.due - bench.now : 0;
}

void uv_close(uv_handle_t *handle, uv_close_cb cb) {
    must((void *)handle == (void *)bench.timer && !bench.on_timer_closed);
    bench.is_started = false;
    bench.on_timer_closed = cb;
}

/* True: there was one to fire. */
static bool fire(uint64_t late_ms) {
    if (!bench.is_started)
        return false;
    if (bench.now < bench.due + late_ms)
        bench.now = bench.due + late_ms;
    bench.is_started = false;
    bench.on_timer(bench.timer);
    return true;
}

/* ---- the port -------------------------------------------------------------------------------- */

int serial_port_open(struct serial_port **ret, uv_loop_t *loop, const char *path,
                     const struct serial_port_events *events, void *userdata) {
    struct serial_port *port = calloc(1, sizeof *port);

    (void)loop;
    must(port);
    port->events = events;
    port->userdata = userdata;
    port->baud = 115200;
    port->has_lines = *path == 'l';
    *ret = bench.port = port;
    return 0;
}

int serial_port_set_baud(struct serial_port *port, uint32_t baud) {
    if (port->is_gone)
        return -EIO;
    if (baud < 300 || baud > 4000000)
        return -EINVAL;
    port->baud = baud;
    return 0;
}

uint32_t serial_port_baud(const struct serial_port *port) {
    return port->baud;
}

int serial_port_set_lines(struct serial_port *port, bool dtr, bool rts) {
    (void)dtr, (void)rts;
    must(port->has_lines);
    return port->is_gone ? -EIO : 0;
}

bool serial_port_has_lines(const struct serial_port *port) {
    return port->has_lines;
}

int serial_port_write(struct serial_port *port, const uint8_t *bytes, size_t size) {
    volatile uint8_t sum = 0;

    if (port->is_gone)
        return -EIO;
    if (port->is_writing)
        return -EBUSY;
    for (size_t i = 0; i < size; i++) /* all of them are there */
        sum = (uint8_t)(sum + bytes[i]);
    port->is_writing = true;
    port->tx = bytes;
    port->tx_size = size;
    return 0;
}

void serial_port_discard(struct serial_port *port) {
    port->is_writing = false;
}

uint64_t serial_port_bytes_in(const struct serial_port *port) {
    return port->in;
}

uint64_t serial_port_bytes_out(const struct serial_port *port) {
    return port->out;
}

void serial_port_close(struct serial_port *port, void (*on_closed)(void *userdata), void *userdata) {
    port->on_closed = on_closed;
    port->closed_userdata = userdata;
}

/* ---- the link's user ------------------------------------------------------------------------- */

static void on_done(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    volatile uint8_t sum = 0;

    must(userdata == &bench && !bench.in_call);
    must(!bench.is_idle); /* once */
    bench.is_idle = true;
    must(outcome <= ESP_GONE);
    must(!reply || outcome == ESP_OK || outcome == ESP_REFUSED);
    must(outcome != ESP_GONE || bench.port->is_gone);
    must(outcome == ESP_GONE || !bench.port->is_told);
    must(bench.now - bench.asked_ms <= DONE_MS_MAX);
    if (reply && reply->payload)
        for (size_t i = 0; i < reply->payload_size; i++)
            sum = (uint8_t)(sum + reply->payload[i]);
    if (bench.is_identifying && outcome == ESP_OK)
        esp_identify_take(&bench.identify, reply);
    bench.is_identifying = false;
}

static void on_gone(void *userdata) {
    must(userdata == &bench && !bench.in_call && bench.is_idle);
    must(!bench.n_gone++);
}

static void on_closed(void *userdata) {
    must(userdata == &bench);
    bench.n_closed++;
}

static void on_text(void *userdata, const uint8_t *bytes, size_t size) {
    volatile uint8_t sum = 0;

    must(userdata == &bench && size > 0);
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + bytes[i]);
}

static void request(const struct esp_request *which) {
    bench.request = *which;
    esp_link_request(bench.link, which, on_done);
}

static void make_data(struct esp_request *ret, struct input *input, bool deflated) {
    static const uint8_t ends[ESP_REQUEST_TAIL_MAX];
    uint8_t how = take_byte(input);

    esp_request_data(ret, deflated, how,
                     &(struct esp_block) { ends, how % (ESP_LEAD_MAX + 1), bench.body, how * 2u, ends,
                                           how % (ESP_REQUEST_TAIL_MAX + 1) },
                     0x1000);
}

/* What only a stub can, or what it takes to run one. */
static void ask_of_stub(struct input *input) {
    const struct esp_loader *loader = esp_link_loader(bench.link);
    struct esp_request which;

    switch (take_byte(input) % 5) {
    case 0:
        esp_request_mem_begin(&which, 0x4009f000, 0x1800);
        break;
    case 1:
        esp_request_mem_data(&which, 0, bench.body, sizeof bench.body);
        break;
    case 2:
        esp_request_mem_end(&bench.request, 0x4009f000);
        esp_link_run_stub(bench.link, 0x4009f000,
                          input->size & 1 ? &esp_loader_stub : &esp_loader_stub_legacy, on_done);
        return;
    case 3:
        esp_request_end(&which, true, 0x10000);
        break;
    default:
        if (loader->has_read_flash)
            esp_request_read_flash(&which, 0x1000, take_u32(input) % (SINK_BYTES + 1), bench.sink);
        else
            esp_request_erase_region(&which, 0x1000, 0x1000);
        bench.read_done = 0;
        break;
    }
    request(&which);
}

static void ask(struct input *input) {
    struct esp_request which;
    uint8_t what = take_byte(input);
    uint32_t ms = take_byte(input) * 8u;

    bench.in_call = true;
    bench.is_idle = false;
    bench.asked_ms = bench.now;
    switch (what % 16) {
    case 0:
        esp_request_sync(&bench.request);
        esp_link_sync(bench.link, take_byte(input) % 8u, ms, on_done);
        break;
    case 1:
        esp_link_listen(bench.link, ms, on_done);
        break;
    case 2:
        esp_link_hear(bench.link, ms, on_done);
        break;
    case 3:
        esp_request_sync(&bench.request);
        esp_link_hear_sync(bench.link, ms, on_done);
        break;
    case 4:
        esp_link_say(bench.link, bench.body, 1 + take_byte(input), ms, on_done);
        break;
    case 5:
        if (esp_link_set_baud(bench.link, take_u32(input) % 5000000u, on_done) < 0)
            bench.is_idle = true;
        break;
    case 6:
        if (esp_link_has_lines(bench.link))
            esp_link_reset(bench.link, ms & 8 ? &esp_reset_to_application : esp_reset_to_download(ms / 16),
                           on_done);
        else
            bench.is_idle = true;
        break;
    case 7:
        if (esp_identify_next(&bench.identify, &which)) {
            bench.is_identifying = true;
            request(&which);
        } else {
            bench.is_idle = true;
        }
        break;
    case 8:
        make_data(&which, input, ms & 8);
        request(&which);
        break;
    case 9:
        esp_request_md5(&which, esp_link_loader(bench.link), 0x10000, ms * 64);
        request(&which);
        break;
    case 10:
        esp_request_read_flash_slow(&which, 0x8000, ESP_READ_SLOW_BYTES);
        request(&which);
        break;
    case 11:
        (void)!esp_link_can_baud(bench.link, take_u32(input) % 5000000u);
        bench.is_idle = true;
        break;
    case 12:
    case 13:
    case 14:
        ask_of_stub(input);
        break;
    default:
        esp_request_read_reg(&which, ESP_MAGIC_ADDRESS);
        request(&which);
        break;
    }
    bench.in_call = false;
}

/* ---- the chip -------------------------------------------------------------------------------- */

static void say(const uint8_t *bytes, size_t size) {
    if (bench.port->is_gone || !size)
        return;
    bench.port->in += size;
    bench.port->events->on_data(bench.port->userdata, bytes, size);
}

/* A good reply to what was asked last, but for what the input changes. */
static void reply(struct input *input) {
    uint8_t frame[160] = { 1, bench.request.head[1] }, out[SLIP_ENCODED_MAX(sizeof frame)];
    uint8_t how = take_byte(input);
    struct input payload = take_some(input, bench.request.payload_size);
    size_t size = 8 + bench.request.payload_size + esp_link_loader(bench.link)->status_bytes, n = 0;

    must(size <= sizeof frame);
    put_le16(frame + 2, (uint32_t)size - 8);
    put_le32(frame + 4, frame[1] == ESP_SYNC                  ? (how & 1 ? ESP_SYNC_STUB : ESP_SYNC_ROM)
                        : frame[1] == ESP_READ_REG && how & 1 ? ESP_MAGIC_ESP32
                                                              : take_u32(input));
    if (payload.size)
        memcpy(frame + 8, payload.bytes, payload.size);
    if (how & 2)
        frame[8 + bench.request.payload_size] = 1;
    if (how & 4)
        frame[1] = take_byte(input);
    out[n++] = 0xc0;
    n += slip_encode(frame, size, out + n);
    out[n++] = 0xc0;
    if (how & 8)
        n -= how >> 4 < n ? how >> 4 : n;
    say(out, n);
}

/* What follows the good reply to READ_FLASH: the frame that is due, or one that isn't; and their MD5. */
static void say_read(struct input *input) {
    static uint8_t out[SLIP_ENCODED_MAX(ESP_READ_PACKET) + 2];
    uint8_t how = take_byte(input);
    uint32_t left = bench.request.sink_size > bench.read_done ? bench.request.sink_size - bench.read_done : 0;
    uint32_t size = left ? left < ESP_READ_PACKET ? left : ESP_READ_PACKET : 16;
    size_t n = 0;

    if (how & 1)
        size -= (how >> 1) % size;
    memset(bench.frame, how, size);
    out[n++] = 0xc0;
    n += slip_encode(bench.frame, size, out + n);
    out[n++] = 0xc0;
    bench.read_done += size;
    say(out, n);
}

static void say_line(uint8_t which) {
    static const char *const lines[] = {
        "rst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\r\n",
        "rst:0x10 (RTCWDT_RTC_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n",
        "waiting for download\r\n",
        "\r\nBrownout detector was triggered\r\n",
        "Pycom MicroPython 1.20.1.r1 [v1.8.6-849-b0520f1] on 2019-09-12; WiPy with ESP32\r\n>>> ",
        "\xc0",
        "\xc0\xdb",
        "\xc0OHAI\xc0",
    };
    const char *line = lines[which % (sizeof lines / sizeof *lines)];

    say((const uint8_t *)line, strlen(line));
}

static void take_written(void) {
    if (!bench.port->is_writing || bench.port->is_gone)
        return;
    bench.port->is_writing = false;
    bench.port->out += bench.port->tx_size;
    bench.port->events->on_written(bench.port->userdata);
}

static void lose(bool is_told) {
    bench.port->is_gone = true;
    bench.port->is_writing = false;
    if (!is_told || bench.port->is_told)
        return;
    bench.port->is_told = true;
    bench.port->events->on_gone(bench.port->userdata);
}

/* ---- a run ----------------------------------------------------------------------------------- */

static void step(struct input *input) {
    struct input piece;

    struct esp_request next;

    switch (take_byte(input) % 14) {
    case 0:
    case 1:
        if (bench.is_idle)
            ask(input);
        break;
    case 12:
        if (!bench.is_idle) {
            make_data(&next, input, true);
            esp_link_prepare(bench.link, &next);
        }
        break;
    case 13:
        say_read(input);
        break;
    case 2:
    case 3:
        take_written();
        break;
    case 4:
    case 5:
    case 6:
        reply(input);
        break;
    case 7:
        piece = take_some(input, take_byte(input));
        say(piece.bytes, piece.size);
        break;
    case 8:
        say_line(take_byte(input));
        break;
    case 9:
        fire(0);
        break;
    case 10:
        bench.now += take_byte(input);
        if (bench.is_started && bench.now >= bench.due)
            fire(0);
        break;
    default:
        switch (take_byte(input) % 8) {
        case 0:
            lose(true);
            break;
        case 1:
            lose(false); /* found out when it is written to, told later */
            break;
        case 2:
            esp_link_stop(bench.link);
            bench.is_idle = true;
            bench.is_identifying = false;
            break;
        case 3:
            esp_link_forget_log(bench.link);
            break;
        case 4:
            fire(take_byte(input)); /* the loop was held up */
            break;
        default:
            break;
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct input input = { bytes, size };
    uint8_t how = take_byte(&input);

    memset(&bench, 0, sizeof bench);
    bench.now = 1000;
    bench.is_idle = true;
    must(esp_link_open(&bench.link, NULL, how & 1 ? "lines" : "none", on_gone, &bench) == 0);
    esp_link_on_text(bench.link, how & 2 ? on_text : NULL);
    esp_identify_init(&bench.identify, esp_link_loader(bench.link));
    esp_request_sync(&bench.request);
    for (unsigned i = 0; i < STEPS_MAX && input.size; i++)
        step(&input);

    /* The chip says no more; what was asked ends all the same. */
    if (bench.port->is_gone && !bench.port->is_told)
        lose(true);
    for (unsigned i = 0; i < TURNS_MAX && !bench.is_idle && !(how & 4); i++) {
        take_written();
        must(bench.is_idle || fire(0));
    }
    must(bench.is_idle || how & 4);

    esp_link_close(bench.link, on_closed, &bench);
    must(!bench.n_closed && bench.on_timer_closed);
    bench.on_timer_closed((uv_handle_t *)bench.timer);
    must(!bench.n_closed);
    bench.port->on_closed(bench.port->closed_userdata);
    must(bench.n_closed == 1);
    free(bench.port);
    return 0;
}
