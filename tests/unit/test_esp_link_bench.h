#pragma once

/*
 * A link on a pseudo-terminal with a scripted chip at its other end, both in one loop. What a test wants of
 * the chip is its on_request; without one the chip is dumb.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/bytes.h"
#include "daemon/esp/link.h"
#include "daemon/esp/slip.h"

#define GUARD_MS 20000
#define SHORT_MS 30 /* for a request that nobody will answer */
#define LONG_MS  8000
#define BODY_MAX (48 * 1024) /* more than a pty takes while nobody reads */
#define DOWNLOAD_LOG                                                                                         \
    "ets Jun  8 2016 00:22:57\r\n\r\n"                                                                       \
    "rst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\r\n"                      \
    "waiting for download\r\n"

struct bench {
    uv_loop_t loop;
    uv_timer_t guard, ticker;
    uint64_t deadline; /* uv_hrtime */
    bool late;
    int n_fds;

    struct esp_link *link;
    bool in_call; /* no callback may run meanwhile */
    unsigned n_done, n_gone, n_closed;
    enum esp_outcome outcome;
    bool has_reply, close_in_done, close_in_gone;
    struct esp_reply reply;
    uint8_t payload[64];
    void (*on_done)(struct bench *bench); /* may ask for more */

    /* the chip */
    int master;
    char path[64];
    uv_poll_t poll;
    bool is_polled;
    struct slip_decoder decoder;
    void (*on_request)(struct bench *bench, const uint8_t *frame, size_t size);
    void (*on_tick)(struct bench *bench);
    unsigned n_requests, n_syncs, n_delimiters, n_ticks;
    bool is_strict, is_inside; /* as the newer stub: each delimiter closes what the one before has opened */
    int moment;                /* for the script's own use */
    uv_idle_t dripper;
    uint8_t drip[512]; /* said one byte each turn of the loop */
    size_t n_drip, dripped;
    uint8_t *body;
};

/* ---- the chip ----------------------------------------------------------------------------------- */

static inline void say(struct bench *bench, const void *bytes, size_t size) {
    assert_int_equal(write(bench->master, bytes, size), size);
}

static inline void say_text(struct bench *bench, const char *text) {
    say(bench, text, strlen(text));
}

/* A reply as the ROM frames it, after what is in out already; gives back the new length. */
static inline size_t add_reply(uint8_t *out, size_t n, uint8_t opcode, uint32_t value, const void *payload,
                               size_t size, uint8_t status, uint8_t error) {
    uint8_t frame[128] = { 1, opcode };

    put_le16(frame + 2, (uint32_t)size + 4);
    put_le32(frame + 4, value);
    if (size)
        memcpy(frame + 8, payload, size);
    frame[8 + size] = status;
    frame[9 + size] = error;
    out[n++] = 0xc0;
    n += slip_encode(frame, 12 + size, out + n);
    out[n++] = 0xc0;
    return n;
}

static inline void say_reply(struct bench *bench, uint8_t opcode, uint32_t value) {
    uint8_t out[64];

    say(bench, out, add_reply(out, 0, opcode, value, NULL, 0, 0, 0));
}

static inline void say_refusal(struct bench *bench, uint8_t opcode, uint8_t error) {
    uint8_t out[64];

    say(bench, out, add_reply(out, 0, opcode, 0, NULL, 0, 1, error));
}

static inline void say_syncs(struct bench *bench, unsigned n, uint32_t value) {
    uint8_t out[512];
    size_t size = 0;

    while (n--)
        size = add_reply(out, size, ESP_SYNC, value, NULL, 0, 0, 0);
    say(bench, out, size);
}

static inline void on_drip(uv_idle_t *idle) {
    struct bench *bench = idle->data;

    if (bench->dripped < bench->n_drip)
        say(bench, &bench->drip[bench->dripped++], 1);
    else
        uv_idle_stop(idle);
}

static inline void say_dripping(struct bench *bench) {
    bench->dripped = 0;
    uv_idle_start(&bench->dripper, on_drip);
}

/* True: it closed an empty frame. */
static inline bool is_wasted(struct bench *bench, uint8_t byte) {
    if (!bench->is_strict || byte != 0xc0)
        return false;
    bench->is_inside = !bench->is_inside;
    return !bench->is_inside && !bench->decoder.size;
}

static inline void on_master(uv_poll_t *poll, int status, int events) {
    struct bench *bench = poll->data;
    uint8_t bytes[4096];
    ssize_t n = read(bench->master, bytes, sizeof bytes);

    (void)status;
    (void)events;
    if (n < 0 && errno != EAGAIN) /* the link has closed its end */
        uv_poll_stop(poll);
    for (ssize_t i = 0; i < n; i++) {
        bench->n_delimiters += bytes[i] == 0xc0;
        if (is_wasted(bench, bytes[i])) {
            slip_decoder_reset(&bench->decoder, SLIP_FRAME_MAX);
            continue;
        }
        if (slip_decode(&bench->decoder, bytes[i]) != SLIP_FRAME)
            continue;
        bench->n_requests++;
        bench->n_syncs += bench->decoder.frame[1] == ESP_SYNC;
        if (bench->on_request)
            bench->on_request(bench, bench->decoder.frame, bench->decoder.size);
        if (!bench->is_polled) /* it went away over that */
            return;
    }
}

static inline void chip_listens(struct bench *bench) {
    uv_poll_start(&bench->poll, UV_READABLE, on_master);
}

static inline void chip_is_deaf(struct bench *bench) {
    uv_poll_stop(&bench->poll);
}

/* Unplugs. */
static inline void chip_goes(struct bench *bench) {
    uv_close((uv_handle_t *)&bench->poll, NULL);
    bench->is_polled = false;
    close(bench->master);
    bench->master = -1;
}

static inline void on_ticker(uv_timer_t *timer) {
    struct bench *bench = timer->data;

    bench->n_ticks++;
    bench->on_tick(bench);
}

static inline void tick_every(struct bench *bench, uint64_t ms, void (*on_tick)(struct bench *bench)) {
    bench->on_tick = on_tick;
    uv_timer_start(&bench->ticker, on_ticker, ms, ms);
}

static inline void tick_once(struct bench *bench, uint64_t ms, void (*on_tick)(struct bench *bench)) {
    bench->on_tick = on_tick;
    uv_timer_start(&bench->ticker, on_ticker, ms, 0);
}

/* ---- the link ----------------------------------------------------------------------------------- */

static inline void on_closed(void *userdata) {
    struct bench *bench = userdata;

    assert_false(bench->in_call);
    bench->n_closed++;
}

static inline void close_link(struct bench *bench) {
    bench->in_call = true;
    esp_link_close(bench->link, on_closed, bench);
    bench->in_call = false;
    bench->link = NULL;
}

static inline void on_done(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct bench *bench = userdata;

    assert_false(bench->in_call);
    assert_non_null(bench->link);
    if (outcome != ESP_OK && outcome != ESP_REFUSED)
        assert_null(reply);
    bench->n_done++;
    bench->outcome = outcome;
    bench->has_reply = reply != NULL;
    bench->reply = reply ? *reply : (struct esp_reply) { 0 };
    if (reply && reply->payload) {
        assert_true(reply->payload_size <= sizeof bench->payload);
        memcpy(bench->payload, reply->payload, reply->payload_size);
    }
    if (bench->close_in_done)
        close_link(bench);
    else if (bench->on_done)
        bench->on_done(bench);
}

static inline void on_gone(void *userdata) {
    struct bench *bench = userdata;

    assert_false(bench->in_call);
    assert_non_null(bench->link);
    bench->n_gone++;
    if (bench->close_in_gone)
        close_link(bench);
}

static inline void ask(struct bench *bench, const struct esp_request *request) {
    bool before = bench->in_call;

    uv_update_time(&bench->loop);
    bench->in_call = true;
    esp_link_request(bench->link, request, on_done);
    bench->in_call = before;
}

static inline void ask_register(struct bench *bench, uint32_t address, uint32_t timeout_ms) {
    struct esp_request request;

    esp_request_read_reg(&request, address);
    request.timeout_ms = timeout_ms;
    ask(bench, &request);
}

static inline void ask_sync(struct bench *bench, unsigned attempts, uint32_t listen_ms) {
    uv_update_time(&bench->loop);
    bench->in_call = true;
    esp_link_sync(bench->link, attempts, listen_ms, on_done);
    bench->in_call = false;
}

static inline void ask_listen(struct bench *bench, uint32_t ms) {
    uv_update_time(&bench->loop);
    bench->in_call = true;
    esp_link_listen(bench->link, ms, on_done);
    bench->in_call = false;
}

static inline void ask_baud(struct bench *bench, uint32_t baud) {
    bench->in_call = true;
    assert_int_equal(esp_link_set_baud(bench->link, baud, on_done), 0);
    bench->in_call = false;
}

static inline void ask_reset(struct bench *bench, const struct esp_reset_sequence *sequence) {
    bench->in_call = true;
    esp_link_reset(bench->link, sequence, on_done);
    bench->in_call = false;
}

/* ---- the bench ---------------------------------------------------------------------------------- */

static inline void on_guard(uv_timer_t *timer) {
    struct bench *bench = timer->data;

    bench->late = uv_hrtime() > bench->deadline;
}

static inline void run_until(struct bench *bench, bool (*reached)(const struct bench *bench)) {
    /* It ticks, because a turn of the loop may sleep after the timer that was waited for. */
    bench->deadline = uv_hrtime() + GUARD_MS * UINT64_C(1000000);
    uv_timer_start(&bench->guard, on_guard, 5, 5);
    while (!reached(bench) && !bench->late)
        uv_run(&bench->loop, UV_RUN_ONCE);
    uv_timer_stop(&bench->guard);
    assert_false(bench->late);
}

static inline bool is_done(const struct bench *bench) {
    return bench->n_done > 0;
}

static inline bool is_closed(const struct bench *bench) {
    return bench->n_closed > 0;
}

static inline bool has_ticked(const struct bench *bench) {
    return bench->n_ticks > 0;
}

/* Runs until what was asked has completed, once; gives back how long that took. */
static inline uint64_t wait_done(struct bench *bench) {
    uint64_t begin = uv_hrtime();

    run_until(bench, is_done);
    assert_int_equal(bench->n_done, 1);
    bench->n_done = 0;
    return (uv_hrtime() - begin) / 1000000;
}

/* The loop's clock counts whole milliseconds. */
static inline void assert_lasted(uint64_t ms, uint64_t wanted_ms) {
    assert_true(ms + 3 >= wanted_ms);
}

static inline void assert_value(const struct bench *bench, uint32_t value) {
    assert_int_equal(bench->outcome, ESP_OK);
    assert_true(bench->has_reply);
    assert_int_equal(bench->reply.value, value);
}

static inline int count_fds(void) {
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static inline int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    /* The first loop of a process opens what stays. */
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    bench->n_fds = count_fds();
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    uv_timer_init(&bench->loop, &bench->guard);
    uv_timer_init(&bench->loop, &bench->ticker);
    uv_idle_init(&bench->loop, &bench->dripper);
    bench->guard.data = bench->ticker.data = bench->dripper.data = bench->poll.data = bench;
    slip_decoder_reset(&bench->decoder, SLIP_FRAME_MAX);
    bench->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    assert_true(bench->master >= 0);
    assert_int_equal(unlockpt(bench->master), 0);
    assert_int_equal(ptsname_r(bench->master, bench->path, sizeof bench->path), 0);
    assert_int_equal(esp_link_open(&bench->link, &bench->loop, bench->path, on_gone, bench), 0);
    assert_int_equal(uv_poll_init(&bench->loop, &bench->poll, bench->master), 0);
    bench->is_polled = true;
    chip_listens(bench);
    *state = bench;
    return 0;
}

static inline int tear_down(void **state) {
    struct bench *bench = *state;

    bench->close_in_done = bench->close_in_gone = false;
    bench->on_done = NULL;
    bench->on_request = NULL;
    if (bench->link)
        close_link(bench);
    run_until(bench, is_closed);
    assert_int_equal(bench->n_closed, 1);
    if (bench->is_polled)
        chip_goes(bench);
    uv_close((uv_handle_t *)&bench->guard, NULL);
    uv_close((uv_handle_t *)&bench->ticker, NULL);
    uv_close((uv_handle_t *)&bench->dripper, NULL);
    assert_int_equal(uv_run(&bench->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    assert_int_equal(count_fds(), bench->n_fds);
    free(bench->body);
    free(bench);
    return 0;
}
