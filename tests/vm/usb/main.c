// usbboard: a USB adapter, CP2102 or FT230X, with a simulated board behind it, plugged into a virtual
// machine. See
// --help and README.md.
#include "tests/vm/usb/chip.h"
#include "tests/vm/usb/log.h"
#include "tests/vm/usb/redir.h"
#include "tests/vm/usb/wires.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PIECE_BYTES  256
#define FULL_WAIT_NS 1000000 // until a full tty is tried again: a pty's slave gets POLLOUT late

static const char usage[] =
    "Usage: usbboard --chip cp2102|ft230x --serial SER --connect SOCKET --tty DIR/NAME.tty --control "
    "DIR/NAME.ctl\n"
    "                [--log FILE] [--latency] [--fast]\n"
    "A USB adapter with a simulated board (wipysim) behind it. Connecting to SOCKET, the chardev of a QEMU\n"
    "\"-device usb-redir\", plugs it in, which gives the board its power; the end pulls it out. Runs until "
    "SIGTERM,\n"
    "SIGINT, the end of QEMU, or the board's own \"unplug\"; exits with 0 then, with 1 and a message on "
    "errors.\n"
    "  --log FILE   appends a line per event; README.md beside the source lists them\n"
    "  --latency    FT230X: the log also tells how long each short packet waited for the latency timer\n"
    "  --fast       the wire to the board is not paced; for a wipysim --fast\n";

struct options {
    const char *chip, *serial, *socket, *tty, *control, *log;
    bool latency, fast;
};

struct usbboard {
    struct chip chip;
    struct usb_log log;
    struct wires wires;
    struct redir *redir;
    struct chip_line applied;
    unsigned n_tx_purges;
    uint64_t n_overruns;
    uint8_t piece[PIECE_BYTES]; // on its way to the tty
    size_t piece_len;
    bool tty_full;
    int socket, signals;
    int failed;        // a negative errno: the board's process doesn't answer
    const char *ended; // why it is over
};

enum { ON_SIGNAL, ON_SOCKET, ON_TTY, N_POLLED };

// ---- options
// --------------------------------------------------------------------------------------------------------

static bool parse(int argc, char **argv, struct options *o) {
    static const struct option options[] = {
        { "chip", required_argument, NULL, 'c' },    { "serial", required_argument, NULL, 's' },
        { "connect", required_argument, NULL, 'q' }, { "tty", required_argument, NULL, 't' },
        { "control", required_argument, NULL, 'k' }, { "log", required_argument, NULL, 'l' },
        { "latency", no_argument, NULL, 'L' },       { "fast", no_argument, NULL, 'f' },
        { "help", no_argument, NULL, 'h' },          { 0 },
    };
    int option;

    *o = (struct options) { .chip = NULL };
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            o->chip = optarg;
            break;
        case 's':
            o->serial = optarg;
            break;
        case 'q':
            o->socket = optarg;
            break;
        case 't':
            o->tty = optarg;
            break;
        case 'k':
            o->control = optarg;
            break;
        case 'l':
            o->log = optarg;
            break;
        case 'L':
            o->latency = true;
            break;
        case 'f':
            o->fast = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        case '?':
            return false;
        }
    }
    if (optind == argc && o->chip && o->serial && o->socket && o->tty && o->control)
        return true;
    fputs(usage, stderr);
    return false;
}

// ---- the chip's pins
// ------------------------------------------------------------------------------------------------

static void on_change(void *userdata) {
    struct usbboard *u = userdata;
    const struct chip_line *line = &u->chip.line;
    int r = 0;

    if (u->chip.n_tx_purges != u->n_tx_purges) {
        u->n_tx_purges = u->chip.n_tx_purges;
        u->piece_len = 0;
        wires_discard(&u->wires);
    }
    if (line->baud != u->applied.baud) {
        r = wires_set_baud(&u->wires, line->baud);
        usb_log(&u->log, "rate %u", (unsigned)line->baud);
    }
    if (r == 0 && (line->dtr != u->applied.dtr || line->rts != u->applied.rts)) {
        r = wires_set_lines(&u->wires, line->dtr, line->rts);
        usb_log(&u->log, "lines dtr=%d rts=%d", line->dtr, line->rts);
    }
    if (line->sends_break != u->applied.sends_break)
        usb_log(&u->log, "break %d", line->sends_break);
    u->applied = *line;
    if (r < 0)
        u->failed = r;
}

static const struct redir_ops redir_ops = { .on_change = on_change };

// ---- bytes
// ----------------------------------------------------------------------------------------------------------

static void end(struct usbboard *u, const char *why) {
    if (!u->ended)
        u->ended = why;
}

static void to_board(struct usbboard *u, int64_t now) {
    u->tty_full = false;
    for (;;) {
        ssize_t n;

        if (u->piece_len == 0)
            u->piece_len = chip_take(&u->chip, now, u->piece, sizeof(u->piece));
        if (u->piece_len == 0)
            return;
        n = wires_write(&u->wires, u->piece, u->piece_len);
        if (n == -EAGAIN || n == -EINTR) {
            u->tty_full = true;
            return;
        }
        if (n < 0) {
            end(u, "the board is gone");
            return;
        }
        u->piece_len -= (size_t)n;
        memmove(u->piece, u->piece + n, u->piece_len);
    }
}

// Whether bytes of the board are fetched: they wait in the tty while a slow host is expected to make room for
// them.
static bool may_receive(const struct usbboard *u, int64_t now) {
    return !u->chip.enabled || u->chip.rx.len < u->chip.rx.cap || !redir_host_reads(u->redir, now);
}

static void from_board(struct usbboard *u, int64_t now) {
    uint8_t bytes[CHIP_FIFO_MAX];
    size_t room = u->chip.rx.cap - u->chip.rx.len;
    ssize_t n;

    if (!may_receive(u, now))
        return;
    n = wires_read(&u->wires, bytes, room > 0 ? room : sizeof(bytes));
    if (n == -EAGAIN || n == -EINTR)
        return;
    if (n < 0) {
        end(u, "the board is gone");
        return;
    }
    chip_receive(&u->chip, now, bytes, (size_t)n);
    if (u->chip.n_overruns != u->n_overruns) {
        usb_log(&u->log, "overrun lost=%llu", (unsigned long long)(u->chip.n_overruns - u->n_overruns));
        u->n_overruns = u->chip.n_overruns;
    }
}

static void pump(struct usbboard *u, int64_t now) {
    to_board(u, now);
    if (redir_pump(u->redir, now) < 0)
        end(u, "QEMU has closed the connection");
    to_board(u, now);
}

// ---- the loop
// -------------------------------------------------------------------------------------------------------

static int64_t wake(const struct usbboard *u, int64_t now) {
    int64_t due = redir_due(u->redir);
    int64_t take = u->piece_len > 0 ? now + FULL_WAIT_NS : chip_take_due(&u->chip);

    if (!may_receive(u, now) && now + FULL_WAIT_NS < due)
        due = now + FULL_WAIT_NS;
    return take < due ? take : due;
}

static void turn(struct usbboard *u) {
    int64_t now = now_ns(), due;
    struct pollfd fds[N_POLLED] = {
        [ON_SIGNAL] = { .fd = u->signals, .events = POLLIN },
        [ON_SOCKET] = { .fd = u->socket, .events = POLLIN },
        [ON_TTY] = { .fd = u->wires.tty, .events = POLLIN },
    };
    struct timespec wait;

    if (redir_wants_output(u->redir))
        fds[ON_SOCKET].events |= POLLOUT;
    if (!may_receive(u, now))
        fds[ON_TTY].fd = -1;
    due = wake(u, now);
    due = due > now ? due - now : 0;
    wait = (struct timespec) { .tv_sec = due / 1000000000, .tv_nsec = due % 1000000000 };
    if (ppoll(fds, N_POLLED, due > INT64_C(3600000000000) ? NULL : &wait, NULL) < 0)
        return;
    now = now_ns();
    if (fds[ON_SIGNAL].revents)
        end(u, "asked to end");
    if (fds[ON_SOCKET].revents && redir_on_input(u->redir) < 0)
        end(u, "QEMU has closed the connection");
    if (fds[ON_TTY].revents)
        from_board(u, now);
    if (!u->ended)
        pump(u, now);
}

static int connect_qemu(const char *path) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
        fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
        return fd;
    close(fd);
    return -1;
}

static int catch_signals(void) {
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

// Returns the exit code.
static int run(struct usbboard *u, const struct options *o) {
    if (wires_open(&u->wires, o->tty, o->control) < 0)
        return 1;
    on_change(u);
    u->socket = connect_qemu(o->socket);
    if (u->socket < 0) {
        fprintf(stderr,
                "usbboard: %s: %s: is QEMU running, with that socket as the chardev of a usb-redir?\n",
                o->socket, strerror(errno));
        return 1;
    }
    u->redir = redir_new(u->socket, &u->chip, &u->log, &redir_ops, u);
    if (!u->redir) {
        fprintf(stderr, "usbboard: out of memory\n");
        return 1;
    }
    if (o->latency)
        redir_log_waits(u->redir);
    pump(u, now_ns());
    while (!u->ended && u->failed == 0)
        turn(u);
    usb_log(&u->log, "unplug %s", u->ended ? u->ended : strerror(-u->failed));
    if (u->failed < 0 && !u->ended)
        fprintf(stderr, "usbboard: %s: the board's process doesn't answer: %s\n", o->control,
                strerror(-u->failed));
    return u->ended ? 0 : 1;
}

int main(int argc, char **argv) {
    static struct usbboard u; // large: keep it off the stack
    const struct chip_model *model;
    struct options o;
    int code, r;

    if (!parse(argc, argv, &o))
        return 2;
    model = chip_model_find(o.chip);
    if (!model) {
        fprintf(stderr, "usbboard: --chip %s: cp2102 or ft230x is expected\n", o.chip);
        return 2;
    }
    u = (struct usbboard) { .socket = -1, .wires = { .tty = -1, .control = -1 } };
    chip_init(&u.chip, model, o.serial);
    u.chip.fast = o.fast;
    u.signals = catch_signals();
    r = usb_log_open(&u.log, o.log);
    if (r < 0 || u.signals < 0) {
        fprintf(stderr, "usbboard: %s: %s\n", o.log ? o.log : "signals", strerror(r < 0 ? -r : errno));
        return 1;
    }
    code = run(&u, &o);
    redir_free(u.redir);
    if (u.socket >= 0)
        close(u.socket);
    wires_close(&u.wires);
    usb_log_close(&u.log);
    return code;
}
