#pragma once

/*
 * What the chip says outside of frames, and what that means: the boot ROM's log, the firmware's output.
 * Pure: bytes in, a verdict out. Source: facts/esp32-serial-protocol.md 3, "Reading the boot log".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BOOT_LOG_LINE_MAX 120

enum boot_log_verdict {
    BOOT_LOG_NOTHING,  /* no byte came */
    BOOT_LOG_GARBAGE,  /* bytes, but no text: wrong rate, noise */
    BOOT_LOG_DOWNLOAD, /* "waiting for download" */
    BOOT_LOG_FIRMWARE, /* booted into the application, or text of a running one */
    BOOT_LOG_NO_BOOT,  /* not in download mode, and nothing bootable on flash */
    BOOT_LOG_PANIC,    /* the application crashes */
    BOOT_LOG_BROWNOUT,
};

struct boot_log {
    enum boot_log_verdict verdict; /* after the newest line that says something */
    unsigned resets;               /* "rst:0x" lines seen */
    unsigned downloads;            /* "waiting for download" lines seen */
    unsigned brownouts;            /* "Brownout" lines seen */
    int boot_value;                /* of "boot:0x13": 0x13; -1 none seen */
    size_t n_text, n_garbage;      /* bytes */
    char quote[BOOT_LOG_LINE_MAX]; /* the line that decided, printable ASCII only */
    /* what the text alone says, and the line being collected */
    enum boot_log_verdict said;
    char line[BOOT_LOG_LINE_MAX];
    size_t line_size;
};

void boot_log_reset(struct boot_log *log);
void boot_log_feed(struct boot_log *log, const uint8_t *bytes, size_t size);
