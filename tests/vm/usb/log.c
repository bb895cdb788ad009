#include "tests/vm/usb/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS     INT64_C(1000000)
#define BULK_EVERY_NS (1000 * NS_PER_MS)

int64_t now_ns(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int usb_log_open(struct usb_log *log, const char *path) {
    *log = (struct usb_log) { .fd = -1 };
    if (!path)
        return 0;
    log->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    return log->fd < 0 ? -errno : 0;
}

void usb_log_close(struct usb_log *log) {
    if (log->fd >= 0)
        close(log->fd);
    log->fd = -1;
}

__attribute__((format(printf, 2, 0))) static void put(struct usb_log *log, const char *format, va_list args) {
    char line[512];
    int at, n;

    if (log->fd < 0)
        return;
    at = snprintf(line, sizeof(line), "%" PRId64 " ", now_ns() / NS_PER_MS);
    n = vsnprintf(line + at, sizeof(line) - 1 - (size_t)at, format, args);
    if (n < 0)
        return;
    at += n < (int)sizeof(line) - 2 - at ? n : (int)sizeof(line) - 2 - at;
    line[at++] = '\n';
    if (write(log->fd, line, (size_t)at) < 0) // one call per line: two boards may share a file
        perror("usbboard: log");
}

__attribute__((format(printf, 2, 3))) static void put_one(struct usb_log *log, const char *format, ...) {
    va_list args;

    va_start(args, format);
    put(log, format, args);
    va_end(args);
}

static void tell_bulk(struct usb_log *log) {
    if (log->out == log->told_out && log->in == log->told_in)
        return;
    put_one(log, "bulk out=+%" PRIu64 " in=+%" PRIu64 " total_out=%" PRIu64 " total_in=%" PRIu64,
            log->out - log->told_out, log->in - log->told_in, log->out, log->in);
    log->told_out = log->out;
    log->told_in = log->in;
}

void usb_log(struct usb_log *log, const char *format, ...) {
    va_list args;

    tell_bulk(log);
    va_start(args, format);
    put(log, format, args);
    va_end(args);
}

void usb_log_bulk(struct usb_log *log, int64_t now, uint64_t out, uint64_t in) {
    if (log->out == log->told_out && log->in == log->told_in)
        log->told_at = now;
    log->out += out;
    log->in += in;
    if (now - log->told_at < BULK_EVERY_NS)
        return;
    tell_bulk(log);
    log->told_at = now;
}
