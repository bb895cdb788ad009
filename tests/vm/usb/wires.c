#include "tests/vm/usb/wires.h"

#include <asm/termbits.h> // termios2 and BOTHER; excludes <termios.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MAX_S 20

static int connect_control(const char *path) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const struct timeval limit = { .tv_sec = ANSWER_MAX_S };
    int fd, error;

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

// A request, and its answer awaited. Returns 0 or a negative errno.
static int request(struct wires *w, const char *line) {
    char answer[256];
    ssize_t n;

    if (send(w->control, line, strlen(line), MSG_NOSIGNAL) < 0)
        return -errno;
    n = recv(w->control, answer, sizeof(answer) - 1, 0); // answers this short come in one piece
    if (n < 0)
        return errno == EAGAIN ? -ETIMEDOUT : -errno;
    if (n == 0)
        return -EPIPE;
    answer[n] = 0;
    return strcmp(answer, "ok\n") == 0 ? 0 : -EPROTO;
}

static int make_raw(int fd) {
    struct termios2 t;

    if (ioctl(fd, TCGETS2, &t) < 0)
        return -errno;
    t.c_iflag = 0;
    t.c_oflag = 0;
    t.c_lflag = 0;
    t.c_cflag &= ~(tcflag_t)(CSIZE | CSTOPB | PARENB | CRTSCTS);
    t.c_cflag |= CS8 | CREAD | CLOCAL;
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    return ioctl(fd, TCSETS2, &t) < 0 ? -errno : 0;
}

static int open_all(struct wires *w, const char *tty_path, const char *control_path) {
    int r;

    w->control = connect_control(control_path);
    if (w->control < 0) {
        fprintf(stderr, "usbboard: %s: %s: is the board's process (wipysim) running?\n", control_path,
                strerror(errno));
        return -1;
    }
    r = request(w, "unplug\n");
    if (r == 0)
        r = request(w, "plug\n");
    if (r < 0) {
        fprintf(stderr, "usbboard: %s: the board can't be plugged in: %s\n", control_path, strerror(-r));
        return -1;
    }
    w->tty = open(tty_path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (w->tty < 0) {
        fprintf(stderr, "usbboard: %s: %s\n", tty_path, strerror(errno));
        return -1;
    }
    r = make_raw(w->tty);
    if (r < 0) {
        fprintf(stderr, "usbboard: %s: no terminal settings: %s\n", tty_path, strerror(-r));
        return -1;
    }
    return 0;
}

int wires_open(struct wires *w, const char *tty_path, const char *control_path) {
    *w = (struct wires) { .tty = -1, .control = -1 };
    if (open_all(w, tty_path, control_path) == 0)
        return 0;
    wires_close(w);
    return -1;
}

void wires_close(struct wires *w) {
    if (w->tty >= 0)
        close(w->tty);
    if (w->control >= 0) {
        (void)request(w, "unplug\n"); // when the board is gone it is unplugged too
        close(w->control);
    }
    *w = (struct wires) { .tty = -1, .control = -1 };
}

int wires_set_baud(struct wires *w, uint32_t baud) {
    struct termios2 t;

    if (ioctl(w->tty, TCGETS2, &t) < 0)
        return -errno;
    t.c_cflag &= ~(tcflag_t)(CBAUD | CIBAUD);
    t.c_cflag |= BOTHER | (tcflag_t)BOTHER << IBSHIFT;
    t.c_ospeed = t.c_ispeed = baud;
    return ioctl(w->tty, TCSETS2, &t) < 0 ? -errno : 0;
}

int wires_set_lines(struct wires *w, bool dtr, bool rts) {
    char line[32];

    snprintf(line, sizeof(line), "lines %d %d\n", dtr, rts);
    return request(w, line);
}

ssize_t wires_read(struct wires *w, void *bytes, size_t size) {
    ssize_t n = read(w->tty, bytes, size);

    if (n == 0)
        return -EIO; // hung up
    return n < 0 ? -errno : n;
}

ssize_t wires_write(struct wires *w, const void *bytes, size_t len) {
    ssize_t n = write(w->tty, bytes, len);

    return n < 0 ? -errno : n;
}

void wires_discard(struct wires *w) {
    ioctl(w->tty, TCFLSH, TCOFLUSH);
}
