#include "tests/sim/pty.h"

#include <asm/termbits.h> // termios2 and BOTHER; excludes <termios.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <unistd.h>

// As cp210x and ftdi_sio of Linux 6.1 have a tty that was just plugged in: lines, signals, echo.
static int configure(int fd) {
    struct termios2 t;

    if (ioctl(fd, TCGETS2, &t) < 0)
        return -errno;
    t.c_iflag = ICRNL | IXON;
    t.c_oflag = OPOST | ONLCR;
    t.c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN;
    t.c_cflag = B9600 | CS8 | CREAD | CLOCAL | HUPCL;
    t.c_ispeed = 9600;
    t.c_ospeed = 9600;
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    return ioctl(fd, TCSETS2, &t) < 0 ? -errno : 0;
}

static int open_all(struct pty *p) {
    int locked = 0;
    int r;

    p->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (p->master < 0 || ioctl(p->master, TIOCSPTLCK, &locked) < 0)
        return -errno;
    if (ptsname_r(p->master, p->slave, sizeof(p->slave)) != 0)
        return -errno;
    r = configure(p->master);
    if (r < 0)
        return r;
    p->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (p->inotify < 0 || inotify_add_watch(p->inotify, p->slave, IN_OPEN) < 0)
        return -errno;
    // One open and close: from now on the master says POLLHUP while no host has the slave open.
    pty_discard(p);
    unlink(p->link);
    return symlink(p->slave, p->link) < 0 ? -errno : 0;
}

int pty_open(struct pty *p, const char *link) {
    int r;

    *p = (struct pty) { .master = -1, .inotify = -1 };
    snprintf(p->link, sizeof(p->link), "%s", link);
    r = open_all(p);
    if (r < 0)
        pty_close(p);
    return r;
}

void pty_close(struct pty *p) {
    if (p->master >= 0) {
        unlink(p->link);
        close(p->master);
    }
    if (p->inotify >= 0)
        close(p->inotify);
    p->master = -1;
    p->inotify = -1;
}

uint32_t pty_host_baud(const struct pty *p) {
    struct termios2 t;

    // On a master this reads the slave's settings. The kernel keeps c_ospeed right for the Bxxx codes too.
    if (ioctl(p->master, TCGETS2, &t) < 0 || t.c_ospeed == 0)
        return 9600;
    return t.c_ospeed;
}

bool pty_echoes(const struct pty *p) {
    struct termios2 t;

    return ioctl(p->master, TCGETS2, &t) == 0 && (t.c_lflag & ECHO);
}

void pty_swallow_notices(struct pty *p) {
    char buf[1024];

    while (read(p->inotify, buf, sizeof(buf)) > 0)
        ;
}

bool pty_discard(struct pty *p) {
    struct pollfd pfd = { .fd = p->master };
    int slave = open(p->slave, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);

    if (slave >= 0) {
        ioctl(slave, TCFLSH, TCIOFLUSH);
        close(slave);
    }
    // In this order: an open after the swallowing leaves a notice, one before it shows in the poll.
    pty_swallow_notices(p);
    if (poll(&pfd, 1, 0) < 0)
        return false;
    return (pfd.revents & POLLHUP) == 0;
}
