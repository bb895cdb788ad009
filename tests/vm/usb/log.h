// The USB log that tests read: a line per event, CLOCK_MONOTONIC in ms and words. README.md lists them.
#pragma once

#include <stdint.h>

struct usb_log {
    int fd; // -1: nowhere
    // Bytes through the bulk endpoints, all and as last told.
    uint64_t out, in, told_out, told_in;
    int64_t told_at; // ns
};

int64_t now_ns(void);

// Opens for appending. Returns 0 or a negative errno; `path` may be NULL.
int usb_log_open(struct usb_log *log, const char *path);
void usb_log_close(struct usb_log *log);

__attribute__((format(printf, 2, 3))) void usb_log(struct usb_log *log, const char *format, ...);

// Bytes went through an endpoint. They are told with the next event, or after a second.
void usb_log_bulk(struct usb_log *log, int64_t now, uint64_t out, uint64_t in);
