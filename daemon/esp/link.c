#include "daemon/esp/link.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "daemon/esp/link_state.h"

/* Milliseconds. */
enum {
    DRAIN_QUIET = 60,     /* nothing for so long: what was late has come */
    DRAIN_MOST = 1000,    /* a chip that never stops talking */
    SYNC_TAIL_QUIET = 50, /* the ROM answers one SYNC eight times */
    BAUD_SETTLE = 50,     /* facts 6: wait, flush, probe */
    RESET_LISTEN = 150,   /* the boot log takes 10 to 25 ms, and an FTDI chip 16 ms more */
    LATE = 10,            /* more than a timer is late on a loop that isn't held up */
    RESYNC_ATTEMPTS = 6,
    SYNC_REPLIES = 8,
    SYNC_FRAME_MAX = 128, /* bytes, as for the other replies */
    SYNC_REPLIES_MORE_MS = 100,
};

static void on_timer(uv_timer_t *timer);

void link_start_timer(struct esp_link *link, uint64_t ms) {
    int r = uv_timer_start(&link->timer, on_timer, ms, 0);

    link->due = uv_now(link->loop) + ms;
    link->is_late = false;
    assert(r == 0); /* only fails for a closing handle or no callback */
    (void)r;
}

/* What the log says of resets until now is no news. */
static void forget_resets(struct esp_link *link) {
    link->resets_before = link->log.resets;
}

static void complete(struct esp_link *link, enum esp_outcome outcome, const struct esp_reply *reply) {
    esp_link_fn fn = link->fn;

    if (outcome == ESP_REBOOTED)
        forget_resets(link);
    uv_timer_stop(&link->timer);
    link->state = IDLE;
    link->fn = NULL;
    fn(link->userdata, outcome, reply);
}

void link_complete_later(struct esp_link *link, enum esp_outcome outcome, const struct esp_reply *reply) {
    link->has_completion = true;
    link->completion = outcome;
    link->has_reply = reply != NULL;
    if (reply)
        link->reply = *reply;
}

void link_shorten_timer(struct esp_link *link, uint64_t ms) {
    if (uv_timer_get_due_in(&link->timer) > ms)
        link_start_timer(link, ms);
}

uint64_t link_wire_ms(const struct esp_link *link, size_t bytes) {
    return (uint64_t)bytes * 10 * 1000 / serial_port_baud(link->port) + 1;
}

/* A quarter more than the wire needs: drivers queue, hosts are busy. */
static uint64_t time_limit(const struct esp_link *link) {
    return link->request.timeout_ms + link_wire_ms(link, link->tx[link->tx_now].size) * 5 / 4;
}

/* Frames request, if that was not done ahead, and hands it to the port. False: it could not even be begun. */
static bool send_request(struct esp_link *link, const struct esp_request *request,
                         size_t n_extra_delimiters) {
    struct link_frame *ahead = &link->tx[!link->tx_now];

    if (link_frame_is(ahead, request) && !n_extra_delimiters)
        link->tx_now = !link->tx_now;
    else if (!link_frame_build(&link->tx[link->tx_now], request, n_extra_delimiters))
        return false;
    ahead->is_ready = false;
    link_start_timer(link, time_limit(link));
    return serial_port_write(link->port, link->tx[link->tx_now].bytes, link->tx[link->tx_now].size) == 0;
}

static bool has_rebooted(const struct esp_link *link) {
    return link->log.resets != link->resets_before;
}

static void hear(struct esp_link *link, const uint8_t *bytes, size_t size) {
    boot_log_feed(&link->log, bytes, size);
    if (link->on_text && size)
        link->on_text(link->userdata, bytes, size);
    link->has_heard = true;
}

/* Hunts anew. What stands in an unfinished frame may be the beginning of a boot log. */
static void restart_decoder(struct esp_link *link, size_t limit) {
    if (link->decoder->state == SLIP_BODY || link->decoder->state == SLIP_ESCAPE)
        hear(link, link->decoder->frame, link->decoder->size);
    slip_decoder_reset(link->decoder, limit);
}

static void start_drain(struct esp_link *link, enum esp_outcome outcome, bool resync) {
    restart_decoder(link, SLIP_FRAME_MAX);
    link->state = DRAINING;
    link->outcome = outcome;
    link->is_resync = resync;
    link->sync_attempts = RESYNC_ATTEMPTS;
    link->syncs_sent = 0;
    link->drain_end = uv_now(link->loop) + DRAIN_MOST;
    link_start_timer(link, DRAIN_QUIET);
}

static void send_sync(struct esp_link *link) {
    struct esp_request sync;

    if (!link->sync_attempts) {
        complete(link, link->is_resync && has_rebooted(link) ? ESP_REBOOTED : ESP_LOST, NULL);
        return;
    }
    link->sync_attempts--;
    link->sync_replies = 0;
    serial_port_discard(link->port);
    restart_decoder(link, SYNC_FRAME_MAX);
    link->state = SYNCING;
    esp_request_sync(&sync);
    link->request = sync;
    /* A half-sent frame is closed by one delimiter; where none was open, that one opens, so alternate. A stub
     * that was left, or heard a SYNC at another rate, takes every other delimiter for the wrong one and hears
     * no frame at all (facts 2). The first SYNC to a chip that has not answered yet is a plain one. */
    if (!send_request(link, &sync, (link->is_resync + link->syncs_sent++) % 2))
        link_start_timer(link, sync.timeout_ms);
}

static void on_sync_frame(struct esp_link *link, const struct esp_reply *reply) {
    if (reply->value != ESP_SYNC_ROM && reply->value != ESP_SYNC_STUB)
        return; /* locked on to the wrong rate: the timer brings the next attempt */
    link->sync_reply = *reply;
    link->sync_reply.payload = NULL;
    link->sync_replies = 1;
    link->state = SYNC_TAIL;
    link_start_timer(link, SYNC_REPLIES_MORE_MS);
}

static void finish_sync(struct esp_link *link) {
    bool is_same = link_take_loader(link, link->sync_reply.value);

    if (link->is_resync && link->next_loader && link->loader == link->next_loader) {
        complete(link, ESP_OK, NULL); /* only its hello was lost */
        return;
    }
    if (link->is_resync) {
        complete(link, has_rebooted(link) || !is_same ? ESP_REBOOTED : ESP_NO_REPLY, NULL);
        return;
    }
    forget_resets(link); /* the one that brought the ROM up, for example */
    complete(link, ESP_OK, &link->sync_reply);
}

static void on_frame(struct esp_link *link) {
    struct esp_reply reply;
    enum esp_frame_kind kind;

    if (link_take_stub_frame(link))
        return;
    if (link->state != SENDING && link->state != AWAITING && link->state != SYNCING &&
        link->state != SYNC_TAIL)
        return;
    kind = esp_reply_parse(link->decoder->frame, link->decoder->size, &link->request, link->loader, &reply);
    if (link->state == SYNC_TAIL) {
        if (kind == ESP_FRAME_REPLY && ++link->sync_replies <= SYNC_REPLIES)
            link_start_timer(link, link->sync_replies < SYNC_REPLIES ? SYNC_TAIL_QUIET : 0);
        return;
    }
    switch (kind) {
    case ESP_FRAME_REPLY:
        if (link->state == SYNCING)
            on_sync_frame(link, &reply);
        else if (!link_goes_on(link))
            link_complete_later(link, ESP_OK, &reply);
        return;
    case ESP_FRAME_REFUSAL:
        if (link->state != SYNCING)
            link_complete_later(link, ESP_REFUSED, &reply);
        return;
    case ESP_FRAME_STALE:
        return;
    case ESP_FRAME_ALIEN:
        if (link->state == AWAITING && !link->next_loader)
            link_shorten_timer(link, LINK_AFTER_BROKEN_MS);
        if (link->state == SYNCING) /* nobody knows yet who is there: our own SYNC come back, or any noise */
            hear(link, link->decoder->frame, link->decoder->size);
        return;
    }
}

/* What follows a reply in the same breath came too early to belong to the next request; but it may be the
 * boot log of a chip that was reset right after it. The reply lies in the decoder. */
static void hear_rest(struct esp_link *link, const uint8_t *bytes, size_t size) {
    const uint8_t *end;

    for (; size; size--, bytes++) {
        end = *bytes == 0xc0 ? memchr(bytes + 1, 0xc0, size - 1) : NULL;
        if (!end) {
            hear(link, bytes, 1);
            continue;
        }
        size -= (size_t)(end - bytes);
        bytes = end;
    }
}

static void feed(struct esp_link *link, const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        /* Nothing was asked, so nothing is a frame: a stray delimiter must not swallow a boot log. */
        if (link->state == LISTENING) {
            hear(link, &bytes[i], 1);
            continue;
        }
        switch (slip_decode(link->decoder, bytes[i])) {
        case SLIP_NONE:
            break;
        case SLIP_TEXT:
            hear(link, &bytes[i], 1);
            break;
        case SLIP_BROKEN:
            hear(link, link->decoder->frame, link->decoder->size);
            if (bytes[i] != 0xc0) /* the byte that was one too many may be text as well */
                hear(link, &bytes[i], 1);
            if ((link->state == AWAITING || link->state == READING) && !link->next_loader)
                link_shorten_timer(link, LINK_AFTER_BROKEN_MS);
            break;
        case SLIP_FRAME:
            on_frame(link);
            if (link->has_completion) {
                hear_rest(link, &bytes[i + 1], size - i - 1);
                return;
            }
            break;
        }
    }
}

static void send_now(struct esp_link *link) {
    slip_decoder_reset(link->decoder, link->request.sink ? SLIP_FRAME_MAX : 128);
    link->state = SENDING;
    if (!send_request(link, &link->request, 0))
        link_start_timer(link, 0);
}

static void on_data(void *userdata, const uint8_t *bytes, size_t size) {
    struct esp_link *link = userdata;

    if (link->state == PAUSING)
        return;
    feed(link, bytes, size);
    if (link->has_completion && link->is_fencing && link->completion == ESP_OK) {
        link->has_completion = link->is_fencing = false;
        link->request = link->behind;
        send_now(link);
        return;
    }
    if (link->has_completion) {
        link->has_completion = false;
        link->answered = esp_request_opcode(&link->request);
        complete(link, link->completion, link->has_reply ? &link->reply : NULL);
        return;
    }
    if (link->state == DRAINING && uv_now(link->loop) < link->drain_end)
        link_start_timer(link, DRAIN_QUIET);
    /* The chip printed a boot log while a command was under way: hear it out, then say so. */
    if ((link->state == SENDING || link->state == AWAITING || link->state == READING) && has_rebooted(link))
        start_drain(link, ESP_REBOOTED, false);
    if (link->state == LISTENING && !link->reset && link->sync_attempts &&
        link->log.downloads != link->downloads_before)
        send_sync(link);
    if (link->wakes && link->has_heard && (link->state == LISTENING || link->state == SYNCING))
        complete(link, link->state == LISTENING ? ESP_OK : ESP_LOST, NULL);
}

static void on_written(void *userdata) {
    struct esp_link *link = userdata;

    if (link->state == SENDING)
        link->state = AWAITING;
}

static void on_port_gone(void *userdata) {
    struct esp_link *link = userdata;
    bool was_told = link->is_gone && link->state == IDLE; /* by the outcome of a request */

    link->is_gone = true;
    if (link->state != IDLE)
        complete(link, ESP_GONE, NULL);
    else if (!was_told)
        link->on_gone(link->userdata);
}

static const struct serial_port_events port_events = {
    .on_data = on_data,
    .on_written = on_written,
    .on_gone = on_port_gone,
};

static void next_reset_step(struct esp_link *link) {
    const struct esp_reset_step *step;
    int r;

    if (link->reset_step == link->reset->n_steps) {
        /* The lines are where they belong: hear the rest of the boot log. */
        link->reset = NULL;
        link->state = LISTENING;
        link_start_timer(link, RESET_LISTEN);
        return;
    }
    step = &link->reset->steps[link->reset_step++];
    r = serial_port_set_lines(link->port, step->dtr, step->rts);
    if (r < 0) {
        link->is_gone = true;
        complete(link, ESP_GONE, NULL);
        return;
    }
    /* Listen as soon as EN is released for the last time: the log begins then. */
    if (link->reset_step > 1 && !step->rts)
        link->state = LISTENING;
    link_start_timer(link, step->hold_ms);
}

/* A loop that was held up runs its timers before it reads: what came in time must not be told as missing. And
 * what the driver had no room for has not been sent meanwhile: its time begins now. Once: is_late. */
static bool reads_first(struct esp_link *link) {
    if (link->is_late || uv_now(link->loop) <= link->due + LATE)
        return false;
    link->is_late =
        uv_timer_start(&link->timer, on_timer, link->state == SENDING ? time_limit(link) : 1, 0) == 0;
    return link->is_late;
}

static void on_timer(uv_timer_t *timer) {
    struct esp_link *link = timer->data;

    if (reads_first(link))
        return;

    if (link->is_gone) {
        complete(link, ESP_GONE, NULL);
        return;
    }
    switch (link->state) {
    case IDLE:
    case CLOSED:
        return;
    case SENDING:
    case AWAITING:
    case READING:
        start_drain(link, ESP_NO_REPLY, true);
        return;
    case DRAINING:
        /* The log may have shown only when the frame in which it stood was given up. */
        if (link->is_resync && !has_rebooted(link))
            send_sync(link);
        else
            complete(link, link->is_resync ? ESP_REBOOTED : link->outcome, NULL);
        return;
    case LISTENING:
        if (link->reset)
            next_reset_step(link);
        else if (link->sync_attempts)
            send_sync(link);
        else
            complete(link, ESP_OK, NULL);
        return;
    case SYNCING:
        send_sync(link);
        return;
    case SYNC_TAIL:
        finish_sync(link);
        return;
    case PAUSING:
        if (link->reset) {
            next_reset_step(link);
            return;
        }
        serial_port_discard(link->port);
        slip_decoder_reset(link->decoder, SLIP_FRAME_MAX);
        complete(link, ESP_OK, NULL);
        return;
    }
}

int esp_link_open(struct esp_link **ret, uv_loop_t *loop, const char *path, void (*on_gone)(void *userdata),
                  void *userdata) {
    struct esp_link *link = calloc(1, sizeof *link);
    int r;

    if (!link)
        return -ENOMEM;
    link->decoder = malloc(sizeof *link->decoder);
    if (!link->decoder) {
        free(link);
        return -ENOMEM;
    }
    link->loop = loop;
    link->loader = &esp_loader_rom;
    link->on_gone = on_gone;
    link->userdata = userdata;
    slip_decoder_reset(link->decoder, SLIP_FRAME_MAX);
    boot_log_reset(&link->log);
    r = serial_port_open(&link->port, loop, path, &port_events, link);
    if (r < 0) {
        free(link->decoder);
        free(link);
        return r;
    }
    link->baud = 115200; /* as serial_port_open leaves it */
    uv_timer_init(loop, &link->timer);
    link->timer.data = link;
    *ret = link;
    return 0;
}

static void begin(struct esp_link *link, esp_link_fn fn) {
    assert(link->state == IDLE && !link->fn);
    link->fn = fn;
    link->reset = NULL;
    link->sync_attempts = 0;
    link->is_resync = link->is_fencing = false;
    link->wakes = link->has_heard = false;
    link->next_loader = NULL;
    link->read_done = 0;
    link->read_is_broken = false;
    link->downloads_before = link->log.downloads;
}

/* A port that went away while nothing was asked: on_timer says so. */
static bool begin_gone(struct esp_link *link) {
    if (!link->is_gone)
        return false;
    link->state = PAUSING;
    link_start_timer(link, 0);
    return true;
}

void esp_link_request(struct esp_link *link, const struct esp_request *request, esp_link_fn fn) {
    begin(link, fn);
    if (begin_gone(link))
        return;
    if (has_rebooted(link)) { /* while nothing was asked: on_timer says so */
        link->state = DRAINING;
        link->outcome = ESP_REBOOTED;
        link_start_timer(link, 0);
        return;
    }
    link->request = *request;
    if (link_needs_fence(link, request))
        link_make_fence(link, request);
    send_now(link);
}

void esp_link_sync(struct esp_link *link, unsigned attempts, uint32_t listen_ms, esp_link_fn fn) {
    begin(link, fn);
    forget_resets(link);
    if (begin_gone(link))
        return;
    link->sync_attempts = attempts;
    link->syncs_sent = 0;
    restart_decoder(link, SLIP_FRAME_MAX);
    link->state = LISTENING;
    link_start_timer(link, listen_ms);
}

void esp_link_reset(struct esp_link *link, const struct esp_reset_sequence *sequence, esp_link_fn fn) {
    begin(link, fn);
    forget_resets(link);
    if (begin_gone(link))
        return;
    link->loader = &esp_loader_rom;
    link->reset = sequence;
    link->reset_step = 0;
    slip_decoder_reset(link->decoder, SLIP_FRAME_MAX);
    serial_port_discard(link->port);
    link->state = PAUSING;
    link_start_timer(link, 0);
}

void esp_link_listen(struct esp_link *link, uint32_t ms, esp_link_fn fn) {
    begin(link, fn);
    forget_resets(link);
    if (begin_gone(link))
        return;
    restart_decoder(link, SLIP_FRAME_MAX);
    link->state = LISTENING;
    link_start_timer(link, ms);
}

void esp_link_hear(struct esp_link *link, uint32_t ms, esp_link_fn fn) {
    esp_link_listen(link, ms, fn);
    link->wakes = true;
    if (link->has_heard) /* an unfinished frame was text */
        link_start_timer(link, 0);
}

void esp_link_hear_sync(struct esp_link *link, uint32_t ms, esp_link_fn fn) {
    begin(link, fn);
    if (begin_gone(link))
        return;
    restart_decoder(link, SYNC_FRAME_MAX);
    link->wakes = true;
    link->has_heard = false; /* what an unfinished frame held is no news: on_text was told */
    esp_request_sync(&link->request);
    link->state = SYNCING;
    link_start_timer(link, ms);
}

void esp_link_say(struct esp_link *link, const void *bytes, size_t size, uint32_t ms, esp_link_fn fn) {
    esp_link_hear(link, ms, fn);
    if (link->state != LISTENING)
        return;
    serial_port_discard(link->port); /* of an earlier operation, if the port still hasn't taken it all */
    link->wakes = true;
    if (link_frame_reserve(&link->tx[link->tx_now], size)) {
        memcpy(link->tx[link->tx_now].bytes, bytes, size);
        /* A port that refuses is gone, which it tells by itself. */
        (void)!serial_port_write(link->port, link->tx[link->tx_now].bytes, size);
    }
}

void esp_link_on_text(struct esp_link *link,
                      void (*on_text)(void *userdata, const uint8_t *bytes, size_t size)) {
    link->on_text = on_text;
}

void esp_link_stop(struct esp_link *link) {
    uv_timer_stop(&link->timer);
    if (!link->is_gone)
        serial_port_discard(link->port);
    /* A sequence that is cut off must not hold the chip in reset. */
    if (link->reset && !link->is_gone)
        (void)!serial_port_set_lines(link->port, false, false);
    link->reset = NULL;
    link->state = IDLE;
    link->fn = NULL;
}

int esp_link_set_baud(struct esp_link *link, uint32_t baud, esp_link_fn fn) {
    int r = link->is_gone ? 0 : serial_port_set_baud(link->port, baud);

    if (r < 0)
        return r;
    link->baud = baud;
    begin(link, fn);
    if (begin_gone(link))
        return 0;
    link->state = PAUSING;
    link_start_timer(link, BAUD_SETTLE);
    return 0;
}

bool esp_link_can_baud(struct esp_link *link, uint32_t baud) {
    bool can = serial_port_set_baud(link->port, baud) == 0;

    /* Going back to a rate that worked a moment ago fails only with the port, which tells by itself. */
    if (serial_port_set_baud(link->port, link->baud) < 0)
        return false;
    return can;
}

static void on_part_closed(struct esp_link *link) {
    if (--link->n_pending)
        return;
    if (link->on_closed)
        link->on_closed(link->closed_userdata);
    free(link->tx[0].bytes);
    free(link->tx[1].bytes);
    free(link->decoder);
    free(link);
}

static void on_port_closed(void *userdata) {
    on_part_closed(userdata);
}

static void on_timer_closed(uv_handle_t *handle) {
    on_part_closed(handle->data);
}

void esp_link_close(struct esp_link *link, void (*on_closed)(void *userdata), void *userdata) {
    assert(link->state != CLOSED);
    esp_link_stop(link);
    link->state = CLOSED;
    link->on_closed = on_closed;
    link->closed_userdata = userdata;
    link->n_pending = 2;
    uv_close((uv_handle_t *)&link->timer, on_timer_closed);
    serial_port_close(link->port, on_port_closed, link);
}
