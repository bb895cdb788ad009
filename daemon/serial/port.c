#include "daemon/serial/port.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include "daemon/serial/termios.h"

#define READ_BYTES_MAX     4096
#define READS_PER_TURN_MAX 4 /* then the other ports have their turn */
#define BAUD_AT_OPEN       115200
#define NS_PER_S           1000000000u
#define DRAIN_TURN_NS      5000000u
#define LATE_NS            20000000u /* by as much a busy bus may be late: 64 boards behind one hub */
#define DRAIN_TURNS_MAX    400 /* 4 KiB in the driver and 512 bytes in transfers leave in 400 ms at 115200 */
#define ADAPTER_BYTES      640 /* CP2102's transmit buffer; FT230X has 512 */
#define BAUD_OFF_PERCENT   3 /* a UART samples in the middle of a bit: past 4 to 5 % the stop bit is missed */

enum port_state {
    PORT_OPEN,
    PORT_LOST,    /* the tty is gone, on_gone is due */
    PORT_GONE,    /* on_gone was told */
    PORT_CLOSING, /* no more callbacks but on_closed */
};

enum write_state {
    WRITE_NONE,
    WRITE_UNDER_WAY,
    WRITE_DONE, /* all is in the driver, on_written is due */
};

struct serial_port {
    int fd;
    enum port_state state;
    const struct serial_port_events *events;
    void *userdata;

    uv_loop_t *loop;
    uv_poll_t poll;
    int polled; /* the uv_poll_event bits asked for */
    /* Runs when something is due that was found out inside a call: no callback may run in there. An idle
     * handle, because it keeps the loop from sleeping, and POLLOUT would come only when the driver is almost
     * empty. */
    uv_idle_t due;
    uv_work_t release;
    unsigned n_pending; /* handles and requests that hold the object in memory */
    void (*on_closed)(void *userdata);
    void *closed_userdata;

    struct tty_settings settings_found;
    struct tty_settings settings_left; /* where settings_owed: what the line has until then */
    bool settings_owed;
    bool low_latency_set; /* by us: to be put back */
    bool has_lines;
    int lines_found; /* OUT1, OUT2 and the like travel in the same word as DTR and RTS */
    uint32_t baud;

    enum write_state write_state;
    const uint8_t *write_next;
    size_t write_left;
    uint64_t bytes_in, bytes_out;
    uint64_t leaves_at; /* uv_hrtime: all that the driver has taken has been on the line, at its rate */
    bool is_answered;   /* something has come since it was taken */
};

static void on_due(uv_idle_t *handle);
static void on_poll(uv_poll_t *handle, int status, int events);

/* ---- states ---------------------------------------------------------------------------------- */

/* Asks for input always (loss shows there) and for output while something waits. */
static void poll_again(struct serial_port *port) {
    int want = UV_READABLE | UV_DISCONNECT | (port->write_state == WRITE_UNDER_WAY ? UV_WRITABLE : 0);
    int r;

    if (want == port->polled)
        return;
    port->polled = want;
    r = uv_poll_start(&port->poll, want, on_poll);
    assert(r == 0); /* it fails for a closing handle only */
    (void)r;
}

static void tell_soon(struct serial_port *port) {
    int r = uv_idle_start(&port->due, on_due);

    assert(r == 0);
    (void)r;
}

static void lose(struct serial_port *port) {
    if (port->state != PORT_OPEN)
        return;
    port->state = PORT_LOST;
    port->write_state = WRITE_NONE;
    uv_poll_stop(&port->poll);
    tell_soon(port);
}

static void on_due(uv_idle_t *handle) {
    struct serial_port *port = handle->data;

    uv_idle_stop(&port->due);
    switch (port->state) {
    case PORT_OPEN:
        if (port->write_state == WRITE_DONE) {
            port->write_state = WRITE_NONE;
            port->events->on_written(port->userdata);
        }
        return;
    case PORT_LOST:
        port->state = PORT_GONE;
        port->events->on_gone(port->userdata);
        return;
    case PORT_GONE:
    case PORT_CLOSING:
        return;
    }
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Ten bits a byte. */
static uint64_t wire_ns(const struct serial_port *port, uint64_t size) {
    return size * 10 * NS_PER_S / (port->baud > 0 ? port->baud : BAUD_AT_OPEN);
}

/* As long as what an adapter keeps can take. */
static uint64_t most_ns(const struct serial_port *port) {
    return wire_ns(port, ADAPTER_BYTES) + LATE_NS;
}

static void count_out(struct serial_port *port, size_t size) {
    uint64_t now = uv_hrtime();

    port->bytes_out += size;
    if (port->leaves_at < now)
        port->leaves_at = now;
    port->leaves_at += wire_ns(port, size);
    port->is_answered = false;
}

/* Hands over as much as the driver takes. */
static void write_some(struct serial_port *port) {
    while (port->write_left > 0) {
        ssize_t n = write(port->fd, port->write_next, port->write_left);

        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0 || (n < 0 && errno == EAGAIN)) {
            poll_again(port);
            return;
        }
        if (n < 0) {
            lose(port);
            return;
        }
        port->write_next += n;
        port->write_left -= (size_t)n;
        count_out(port, (size_t)n);
    }
    port->write_state = WRITE_DONE;
    poll_again(port);
    tell_soon(port);
}

/* True when the input is empty for now, false when there may be more or the port is no longer ours. */
static bool read_some(struct serial_port *port) {
    for (unsigned i = 0; i < READS_PER_TURN_MAX; i++) {
        uint8_t bytes[READ_BYTES_MAX];
        ssize_t n = read(port->fd, bytes, sizeof bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0) {
            lose(port);
            return false;
        }
        port->bytes_in += (uint64_t)n;
        port->is_answered = true;
        port->events->on_data(port->userdata, bytes, (size_t)n);
        if (port->state != PORT_OPEN)
            return false;
    }
    return false;
}

static void on_poll(uv_poll_t *handle, int status, int events) {
    struct serial_port *port = handle->data;

    if (status < 0) {
        lose(port);
        return;
    }
    if (events & (UV_READABLE | UV_DISCONNECT)) {
        bool empty = read_some(port);

        if (port->state != PORT_OPEN)
            return;
        /* A hang-up counts only once what came before it has been read. */
        if (empty && (events & UV_DISCONNECT)) {
            lose(port);
            return;
        }
    }
    if ((events & UV_WRITABLE) && port->write_state == WRITE_UNDER_WAY)
        write_some(port);
}

int serial_port_write(struct serial_port *port, const uint8_t *bytes, size_t size) {
    if (port->state != PORT_OPEN)
        return -EIO;
    if (port->write_state == WRITE_UNDER_WAY)
        return -EBUSY; /* one that is done, though nobody was told yet, may be followed: they are told
                          together */
    port->write_state = WRITE_UNDER_WAY;
    port->write_next = bytes;
    port->write_left = size;
    write_some(port);
    return 0;
}

void serial_port_discard(struct serial_port *port) {
    if (port->state != PORT_OPEN)
        return;
    port->write_state = WRITE_NONE;
    port->write_left = 0;
    poll_again(port);
    /* A tty that refuses is gone, which the poll tells. */
    (void)!tty_discard_input(port->fd);
}

uint64_t serial_port_bytes_in(const struct serial_port *port) {
    return port->bytes_in;
}

uint64_t serial_port_bytes_out(const struct serial_port *port) {
    return port->bytes_out;
}

/* ---- the line -------------------------------------------------------------------------------- */

int serial_port_set_baud(struct serial_port *port, uint32_t baud) {
    uint32_t got, off;
    int r;

    if (port->state != PORT_OPEN)
        return -EIO;
    if (baud == 0) /* would hang up */
        return -EINVAL;
    r = tty_set_baud(port->fd, baud, &got);
    if (r < 0)
        return r;
    off = got > baud ? got - baud : baud - got;
    if ((uint64_t)off * 100 > (uint64_t)baud * BAUD_OFF_PERCENT) {
        /* The line keeps the rate that serial_port_baud tells. */
        if (port->baud > 0)
            (void)!tty_set_baud(port->fd, port->baud, &got);
        return -EINVAL;
    }
    port->baud = got;
    return 0;
}

uint32_t serial_port_baud(const struct serial_port *port) {
    return port->baud;
}

int serial_port_set_lines(struct serial_port *port, bool dtr, bool rts) {
    if (port->state != PORT_OPEN)
        return -EIO;
    if (!port->has_lines)
        return -ENOTTY;
    return tty_set_lines(port->fd, port->lines_found, dtr, rts);
}

bool serial_port_has_lines(const struct serial_port *port) {
    return port->has_lines;
}

/* ---- open ------------------------------------------------------------------------------------ */

/* The fd, locked for us: nothing of the line is touched before that. */
static int open_locked(const char *path, struct tty_settings *found) {
    cleanup(close_fd_p) int fd = -1;
    int result, r;

    fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = tty_settings_get(fd, found);
    if (r < 0)
        return r;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    r = tty_set_exclusive(fd, true);
    if (r < 0)
        return r;
    /* A tty that was just plugged in echoes: what the board says would come back to it as input. First of
     * all, because each step after this one takes a USB adapter a millisecond or more. */
    r = tty_make_quiet(fd);
    if (r < 0) {
        (void)!tty_set_exclusive(fd, false);
        return r;
    }
    result = fd;
    fd = -1;
    return result;
}

/* Brings the line into the state that the header promises. */
static int set_up(struct serial_port *port) {
    bool was;
    int r;

    /* open() has raised both lines; where RTS is wired straight to EN that holds the board in reset. */
    r = tty_get_lines(port->fd, &port->lines_found);
    if (r < 0 && r != -ENOTTY)
        return r;
    port->has_lines = r == 0;
    if (port->has_lines) {
        r = tty_set_lines(port->fd, port->lines_found, false, false);
        if (r < 0)
            return r;
    }
    r = tty_make_raw(port->fd);
    if (r < 0)
        return r;
    /* In a second step: CH341 loses the rate when it comes with a change of format. */
    r = serial_port_set_baud(port, BAUD_AT_OPEN);
    if (r < 0)
        return r;
    /* FTDI's latency timer makes each short reply wait up to 16 ms. Drivers without the flag answer at once.
     */
    if (tty_set_low_latency(port->fd, true, &was) == 0)
        port->low_latency_set = !was;
    return tty_discard_input(port->fd);
}

/* What is still to leave: of an adapter's buffer no driver tells. */
static uint64_t left_ns(const struct serial_port *port) {
    uint64_t now = uv_hrtime(), end = port->leaves_at + (port->is_answered ? 0 : LATE_NS);

    return end > now ? end - now : 0;
}

static bool is_sending(const struct serial_port *port) {
    unsigned waiting;

    return (tty_output_waiting(port->fd, &waiting) == 0 && waiting > 0) || left_ns(port) > 0;
}

/* As much as an adapter keeps anyway leaves whole, wherever it is: half a SYNC would spoil the next one. */
static int discard(struct serial_port *port) {
    return left_ns(port) > most_ns(port) ? tty_discard_all(port->fd) : tty_discard_input(port->fd);
}

/* Leaves the tty as it was found and to whoever wants it next. */
static void put_back(struct serial_port *port) {
    bool was;

    /* Best effort all through: of a port that has gone away nothing is left to put back. */
    (void)!discard(port);
    if (port->low_latency_set)
        (void)!tty_set_low_latency(port->fd, false, &was);
    port->settings_owed = port->state == PORT_CLOSING && is_sending(port) &&
                          tty_settings_get(port->fd, &port->settings_left) == 0;
    if (!port->settings_owed)
        (void)!tty_settings_put(port->fd, &port->settings_found);
    (void)!tty_set_exclusive(port->fd, false);
    flock(port->fd, LOCK_UN);
}

int serial_port_open(struct serial_port **ret, uv_loop_t *loop, const char *path,
                     const struct serial_port_events *events, void *userdata) {
    struct serial_port *port = calloc(1, sizeof *port);
    int r;

    if (!port)
        return -ENOMEM;
    port->loop = loop;
    port->events = events;
    port->userdata = userdata;
    port->fd = open_locked(path, &port->settings_found);
    if (port->fd < 0) {
        r = port->fd;
        free(port);
        return r;
    }
    r = set_up(port);
    if (r >= 0)
        r = uv_poll_init(loop, &port->poll, port->fd);
    if (r < 0) {
        put_back(port);
        close(port->fd);
        free(port);
        return r;
    }
    port->poll.data = port;
    uv_idle_init(loop, &port->due); /* can't fail */
    port->due.data = port;
    port->n_pending = 2;
    poll_again(port);
    *ret = port;
    return 0;
}

/* ---- close ----------------------------------------------------------------------------------- */

static void release_one(struct serial_port *port) {
    if (--port->n_pending > 0)
        return;
    if (port->on_closed)
        port->on_closed(port->closed_userdata);
    free(port);
}

static void on_handle_closed(uv_handle_t *handle) {
    release_one(handle->data);
}

static void sleep_ns(uint64_t ns) {
    const struct timespec time = { .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S) };

    nanosleep(&time, NULL);
}

/* A USB adapter's driver keeps its output through TCFLSH, and sends it at the rate of the moment. At the rate
 * that was found, 9600 more often than not, that takes seconds: the board hears noise, or takes a SYNC's rate
 * for ours, and the kernel lets an open() wait, ours too, until the last close is through. */
static void put_back_late(struct serial_port *port) {
    struct tty_settings now;
    uint64_t most = most_ns(port), left;
    unsigned waiting;

    for (unsigned i = 0; i < DRAIN_TURNS_MAX; i++) {
        if (tty_output_waiting(port->fd, &waiting) < 0 || waiting == 0)
            break;
        sleep_ns(DRAIN_TURN_NS);
    }
    left = left_ns(port);
    sleep_ns(left < most ? left : most);
    /* Whoever has the port by now has set it already, or is about to. */
    if (flock(port->fd, LOCK_EX | LOCK_NB) < 0)
        return;
    if (tty_settings_get(port->fd, &now) == 0 && memcmp(&now, &port->settings_left, sizeof now) == 0)
        (void)!tty_settings_put(port->fd, &port->settings_found);
}

static void close_in_pool(uv_work_t *work) {
    struct serial_port *port = work->data;

    if (port->settings_owed)
        put_back_late(port);
    close(port->fd);
}

static void on_released(uv_work_t *work, int status) {
    struct serial_port *port = work->data;

    if (status < 0) /* cancelled before it ran; nobody does that yet */
        close(port->fd);
    release_one(port);
}

void serial_port_close(struct serial_port *port, void (*on_closed)(void *userdata), void *userdata) {
    int r;

    assert(port->state != PORT_CLOSING);
    port->state = PORT_CLOSING;
    port->on_closed = on_closed;
    port->closed_userdata = userdata;
    uv_close((uv_handle_t *)&port->poll, on_handle_closed);
    uv_close((uv_handle_t *)&port->due, on_handle_closed);
    put_back(port);
    /* The last close of a tty waits for output to leave, up to closing_wait (30 s), and what a USB adapter
     * has in flight can't be discarded. Switching that wait off needs CAP_SYS_ADMIN; a thread doesn't. */
    port->release.data = port;
    port->n_pending++;
    r = uv_queue_work(port->loop, &port->release, close_in_pool, on_released);
    assert(r == 0); /* it fails without a function to run only */
    (void)r;
}
