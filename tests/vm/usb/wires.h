// The wires between the chip and the board: the simulated board's tty (RX, TX and their rate) and its control
// socket (DTR, RTS, the USB cable). The board process is the same as everywhere else.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct wires {
    int tty;     // the slave, non-blocking; -1 while not plugged
    int control; // connected; blocking, bounded
};

// Plugs the board in anew (power-on reset) and opens its tty. Returns 0, or -1 after having said why on
// stderr.
int wires_open(struct wires *w, const char *tty_path, const char *control_path);

// Pulls the cable. Harmless when that has happened already.
void wires_close(struct wires *w);

// The rate as the host's end of the tty has it, bits per second. Returns 0 or a negative errno.
int wires_set_baud(struct wires *w, uint32_t baud);

// Waits until the board has them. Returns 0 or a negative errno.
int wires_set_lines(struct wires *w, bool dtr, bool rts);

// As read(2) and write(2), with a negative errno; -EAGAIN when there is nothing, -EIO when the board is gone.
ssize_t wires_read(struct wires *w, void *bytes, size_t size);
ssize_t wires_write(struct wires *w, const void *bytes, size_t len);

// Takes back what the board hasn't fetched yet.
void wires_discard(struct wires *w);
