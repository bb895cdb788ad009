#include "daemon/loop/bus_loop.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

/* Then the serial ports have their turn; one message may be a question about all that was ever done. */
#define MESSAGES_PER_TURN_MAX 16
#define PROCESS_NS_MAX        2000000
/* In a row; then there is no memory, and whoever starts us again has a better chance. */
#define SHORTAGES_MAX 16

enum bus_loop_state {
    BUS_LOOP_SERVING,
    BUS_LOOP_LOST, /* on_lost was told */
    BUS_LOOP_CLOSING,
};

struct bus_loop {
    enum bus_loop_state state;
    sd_bus *bus;
    bus_loop_lost_fn on_lost;
    void *userdata;

    uv_prepare_t prepare; /* before every sleep: what does the bus wait for? */
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned n_pending; /* handles not yet closed */

    int fd;
    int polled;        /* the uv_poll_event bits asked for */
    uint64_t timed_us; /* the moment that the timer is set for, UINT64_MAX for never */
    bool more;         /* a turn ended before the bus had nothing left */

    sd_bus_slot *filter;
    sd_bus_message *call; /* that is being dispatched, or NULL */
    unsigned n_shortages; /* since something went well */
};

/* Sees each message before its handlers do. */
static int on_message(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct bus_loop *self = userdata;

    (void)error;
    if (sd_bus_message_is_method_call(message, NULL, NULL) > 0)
        self->call = sd_bus_message_ref(message);
    return 0;
}

/* sd-bus has lost what it was at, and goes on: whoever called hears of it. */
static bool is_shortage(struct bus_loop *self, int r) {
    if (r >= 0) {
        self->n_shortages = 0;
        return false;
    }
    if ((r != -ENOMEM && r != -ENOBUFS) || ++self->n_shortages > SHORTAGES_MAX)
        return false;
    if (self->call)
        (void)sd_bus_reply_method_errno(self->call, r, NULL);
    return true;
}

static void lose(struct bus_loop *self, int r) {
    self->state = BUS_LOOP_LOST;
    uv_prepare_stop(&self->prepare);
    uv_poll_stop(&self->poll);
    uv_timer_stop(&self->timer);
    self->on_lost(self->userdata, r);
}

/* Dispatches what is there. Any handler in here may close us. */
static void process(struct bus_loop *self) {
    uint64_t end_ns = uv_hrtime() + PROCESS_NS_MAX;
    unsigned n = 0;
    int r;

    do {
        r = sd_bus_process(self->bus, NULL);
        if (self->state != BUS_LOOP_SERVING)
            return;
        if (is_shortage(self, r))
            r = 1;
        self->call = sd_bus_message_unref(self->call);
        if (r < 0) {
            lose(self, r);
            return;
        }
    } while (r > 0 && ++n < MESSAGES_PER_TURN_MAX && uv_hrtime() < end_ns);
    self->more = r > 0;
}

static void on_poll(uv_poll_t *handle, int status, int events) {
    struct bus_loop *self = handle->data;

    (void)events;
    if (status < 0) /* libuv has stopped the poll; what is wrong is the bus's to find out and name */
        self->polled = 0;
    process(self);
}

static void on_timer(uv_timer_t *handle) {
    struct bus_loop *self = handle->data;

    self->timed_us = UINT64_MAX;
    process(self);
}

static uint64_t now_us(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* until_us: a moment of CLOCK_MONOTONIC; what is past is due at once. */
static int set_timer(struct bus_loop *self, uint64_t until_us) {
    uint64_t now;

    if (until_us == self->timed_us && (until_us == UINT64_MAX || uv_is_active((uv_handle_t *)&self->timer)))
        return 0;
    self->timed_us = until_us;
    if (until_us == UINT64_MAX)
        return uv_timer_stop(&self->timer);
    now = now_us();
    /* Rounded up, or the loop would spin through the last millisecond. */
    return uv_timer_start(&self->timer, on_timer, until_us > now ? (until_us - now + 999) / 1000 : 0, 0);
}

static int ask(struct bus_loop *self) {
    uint64_t until_us = UINT64_MAX;
    int fd, events, r, want = 0;

    /* sd-bus picks its socket while it is being opened; from then on the fd stays. */
    fd = sd_bus_get_fd(self->bus);
    if (fd < 0)
        return fd;
    if (fd != self->fd)
        return -ENOTCONN;
    events = sd_bus_get_events(self->bus);
    if (events < 0)
        return events;
    if (events & POLLIN)
        want |= UV_READABLE;
    if (events & POLLOUT)
        want |= UV_WRITABLE;
    if (want != self->polled) {
        r = want ? uv_poll_start(&self->poll, want, on_poll) : uv_poll_stop(&self->poll);
        if (r < 0)
            return r;
        self->polled = want;
    }
    /* 0 when a message has been read and waits in the bus's queue: the fd says nothing about those. */
    r = sd_bus_get_timeout(self->bus, &until_us);
    if (r < 0)
        return r;
    return set_timer(self, self->more ? 0 : until_us);
}

static void on_prepare(uv_prepare_t *handle) {
    struct bus_loop *self = handle->data;
    int r = ask(self);

    if (r < 0)
        lose(self, r);
}

static void on_handle_closed(uv_handle_t *handle) {
    struct bus_loop *self = handle->data;

    if (--self->n_pending > 0)
        return;
    sd_bus_message_unref(self->call);
    sd_bus_unref(self->bus);
    free(self);
}

int bus_loop_new(struct bus_loop **ret, uv_loop_t *loop, sd_bus *bus, bus_loop_lost_fn on_lost,
                 void *userdata) {
    struct bus_loop *self;
    int r, fd;

    fd = sd_bus_get_fd(bus);
    if (fd < 0)
        return fd;
    self = calloc(1, sizeof *self);
    if (!self)
        return -ENOMEM;
    self->fd = fd;
    self->timed_us = UINT64_MAX;
    self->on_lost = on_lost;
    self->userdata = userdata;
    r = sd_bus_add_filter(bus, &self->filter, on_message, self);
    if (r >= 0)
        r = uv_poll_init(loop, &self->poll, fd);
    if (r < 0) {
        sd_bus_slot_unref(self->filter);
        free(self);
        return r;
    }
    self->bus = sd_bus_ref(bus);
    /* These can't fail. */
    uv_timer_init(loop, &self->timer);
    uv_prepare_init(loop, &self->prepare);
    uv_prepare_start(&self->prepare, on_prepare);
    self->poll.data = self->timer.data = self->prepare.data = self;
    self->n_pending = 3;
    *ret = self;
    return 0;
}

struct bus_loop *bus_loop_close(struct bus_loop *bus_loop) {
    if (!bus_loop)
        return NULL;
    assert(bus_loop->state != BUS_LOOP_CLOSING);
    bus_loop->state = BUS_LOOP_CLOSING;
    bus_loop->filter = sd_bus_slot_unref(bus_loop->filter);
    uv_close((uv_handle_t *)&bus_loop->prepare, on_handle_closed);
    uv_close((uv_handle_t *)&bus_loop->poll, on_handle_closed);
    uv_close((uv_handle_t *)&bus_loop->timer, on_handle_closed);
    return NULL;
}
