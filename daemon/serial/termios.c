#include "daemon/serial/termios.h"

#include <asm/termbits.h>
#include <assert.h>
#include <errno.h>
#include <linux/serial.h>
#include <string.h>
#include <sys/ioctl.h>

static_assert(sizeof(struct termios2) <= sizeof(struct tty_settings), "termios2 fits");

static int call(int fd, unsigned long request, void *argument) {
    int r;

    do
        r = ioctl(fd, request, argument);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

int tty_settings_get(int fd, struct tty_settings *ret) {
    struct termios2 tio;
    int r = call(fd, TCGETS2, &tio);

    if (r < 0)
        return r;
    memset(ret, 0, sizeof *ret);
    memcpy(ret, &tio, sizeof tio);
    return 0;
}

int tty_settings_put(int fd, const struct tty_settings *settings) {
    struct termios2 tio;

    memcpy(&tio, settings, sizeof tio);
    tio.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    return call(fd, TCSETS2, &tio);
}

int tty_make_quiet(int fd) {
    struct termios2 tio;
    int r = call(fd, TCGETS2, &tio);

    if (r < 0)
        return r;
    tio.c_lflag = 0;
    return call(fd, TCSETS2, &tio);
}

int tty_make_raw(int fd) {
    struct termios2 tio;
    int r = call(fd, TCGETS2, &tio);

    if (r < 0)
        return r;
    tio.c_iflag = 0;
    tio.c_oflag = 0;
    tio.c_lflag = 0;
    tio.c_cflag &= ~(tcflag_t)(CSIZE | CSTOPB | PARENB | PARODD | CMSPAR | CRTSCTS | HUPCL);
    tio.c_cflag |= CS8 | CREAD | CLOCAL;
    tio.c_cc[VMIN] = 1; /* 0 would make "nothing there" and "hung up" both read as 0 bytes */
    tio.c_cc[VTIME] = 0;
    return call(fd, TCSETS2, &tio);
}

int tty_set_baud(int fd, uint32_t baud, uint32_t *ret) {
    struct termios2 tio;
    int r = call(fd, TCGETS2, &tio);

    if (r < 0)
        return r;
    tio.c_cflag &= ~(tcflag_t)(CBAUD | CIBAUD);
    tio.c_cflag |= BOTHER | (tcflag_t)BOTHER << IBSHIFT;
    tio.c_ospeed = tio.c_ispeed = baud;
    r = call(fd, TCSETS2, &tio);
    if (r < 0)
        return r;
    /* The driver rounds to what its divider can do, or keeps the old rate, and tells only here. */
    r = call(fd, TCGETS2, &tio);
    if (r < 0)
        return r;
    *ret = tio.c_ospeed;
    return 0;
}

int tty_set_exclusive(int fd, bool exclusive) {
    return call(fd, exclusive ? TIOCEXCL : TIOCNXCL, NULL);
}

int tty_get_lines(int fd, int *ret) {
    int r = call(fd, TIOCMGET, ret);

    return r == -EINVAL ? -ENOTTY : r;
}

int tty_set_lines(int fd, int other, bool dtr, bool rts) {
    int lines = other & ~(TIOCM_DTR | TIOCM_RTS);

    if (dtr)
        lines |= TIOCM_DTR;
    if (rts)
        lines |= TIOCM_RTS;
    return call(fd, TIOCMSET, &lines);
}

int tty_set_low_latency(int fd, bool low_latency, bool *was) {
    struct serial_struct serial;
    int r;

    memset(&serial, 0, sizeof serial);
    r = call(fd, TIOCGSERIAL, &serial);
    if (r < 0)
        return r;
    *was = (unsigned)serial.flags & ASYNC_LOW_LATENCY;
    if (*was == low_latency)
        return 0;
    /* Nothing but this flag: the rest needs CAP_SYS_ADMIN, and asking for it would cost us the flag too. */
    serial.flags = (int)((unsigned)serial.flags ^ ASYNC_LOW_LATENCY);
    return call(fd, TIOCSSERIAL, &serial);
}

int tty_discard_input(int fd) {
    return ioctl(fd, TCFLSH, TCIFLUSH) < 0 ? -errno : 0;
}

int tty_output_waiting(int fd, unsigned *ret) {
    int waiting = 0;
    int r = call(fd, TIOCOUTQ, &waiting);

    *ret = r < 0 || waiting < 0 ? 0 : (unsigned)waiting;
    return r;
}

int tty_discard_all(int fd) {
    return ioctl(fd, TCFLSH, TCIOFLUSH) < 0 ? -errno : 0;
}
