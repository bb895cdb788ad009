// The pseudo-terminal that stands for the USB adapter's tty. The process holds the master; the host opens the
// slave.
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct pty {
    int master;  // non-blocking, -1 when unplugged
    int inotify; // readable when someone opens the slave; -1 when unplugged
    char slave[64];
    char link[PATH_MAX]; // the symlink that we made
};

// Makes a pty and the symlink `link` to its slave (replacing an older symlink). The slave starts as a
// driver's tty does: 9600 8N1, with lines, signals and echo. Returns 0 or a negative errno.
int pty_open(struct pty *p, const char *link);

// Closes the master (the host sees a hang-up and EIO) and removes the symlink. Harmless when unplugged.
void pty_close(struct pty *p);

// The speed that the host has set, bits per second; BOTHER is understood.
uint32_t pty_host_baud(const struct pty *p);

// Whether what the board sends comes back to it.
bool pty_echoes(const struct pty *p);

// For a slave that nobody has open: forget what was queued for the host, as a closed serial port does.
// Swallows the open notices so far. Returns true when a host has the slave open after all.
bool pty_discard(struct pty *p);

void pty_swallow_notices(struct pty *p);
