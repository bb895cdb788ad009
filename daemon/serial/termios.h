#pragma once

/*
 * The ioctls of a Linux tty. The only place that knows termios2 (BOTHER, any baud rate): its header
 * <asm/termbits.h> clashes with <termios.h>, so neither appears outside termios.c. Every function returns a
 * negative errno when the tty refuses or is gone. None waits for output to drain.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/clean.h"

/* What was found at open and is put back at close. Opaque: the bytes of a struct termios2. */
struct tty_settings {
    uint32_t words[16];
};

/* -ENOTTY when fd is no tty. */
must_check int tty_settings_get(int fd, struct tty_settings *ret);
/* At once, without waiting for output. All but the echo: the last close of a USB adapter takes milliseconds,
 * in which what the board says would come back to it as input; so it would at the next open, until the line
 * is set again. */
must_check int tty_settings_put(int fd, const struct tty_settings *settings);

/* No echo, no lines, no signals; nothing else changes, so that a USB adapter is asked next to nothing. */
must_check int tty_make_quiet(int fd);
/* Raw 8N1, CLOCAL and CREAD, no flow control, HUPCL cleared; the rate stays. */
must_check int tty_make_raw(int fd);
/* Sets both directions; *ret is the rate that the driver settled on, 0 when it hung up. */
must_check int tty_set_baud(int fd, uint32_t baud, uint32_t *ret);

/* Keeps other programs out (-EBUSY for their open) and lets them in again. Root is never kept out. */
must_check int tty_set_exclusive(int fd, bool exclusive);

/* The modem lines that a program may set: a word to hand to tty_set_lines unseen.
 * -ENOTTY when the tty has none (some drivers say EINVAL). */
must_check int tty_get_lines(int fd, int *ret);
/* DTR and RTS in one ioctl, so that no third state is seen in between; other is the word from tty_get_lines.
 */
must_check int tty_set_lines(int fd, int other, bool dtr, bool rts);

/* ASYNC_LOW_LATENCY; *was is what it was before. -ENOTTY where the driver has no such thing. */
must_check int tty_set_low_latency(int fd, bool low_latency, bool *was);

/* How many bytes the driver holds still; what the adapter itself holds isn't among them. */
must_check int tty_output_waiting(int fd, unsigned *ret);
/* What came in and was not read. */
must_check int tty_discard_input(int fd);
/* The same, and what was written and has not left. */
must_check int tty_discard_all(int fd);
