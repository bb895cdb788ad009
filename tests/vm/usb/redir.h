// The USB cable to QEMU: usbredir over a unix socket, one device at its end. Carries control requests to the
// chip at once; bulk transfers wait in here, in order, until the chip takes or has bytes (a real chip says
// NAK meanwhile), or until the host gives them up.
#pragma once

#include "tests/vm/usb/chip.h"
#include "tests/vm/usb/log.h"

struct redir;

struct redir_ops {
    // A request, or a reset, has changed the chip: its lines and its rate must be brought to the board before
    // the answer leaves.
    void (*on_change)(void *userdata);
};

// `fd`: the connected socket, non-blocking, borrowed; `chip` and `log` are borrowed too. NULL: no memory.
struct redir *redir_new(int fd, struct chip *chip, struct usb_log *log, const struct redir_ops *ops,
                        void *userdata);
struct redir *redir_free(struct redir *r); // NULL

// The socket is readable. Returns 0, or -EPIPE when QEMU is gone.
int redir_on_input(struct redir *r);
// Moves bulk bytes between the transfers and the chip as far as both can. Returns as above.
int redir_pump(struct redir *r, int64_t now);
// Whether the socket is to be watched for room.
bool redir_wants_output(const struct redir *r);
// When redir_pump() has something to do again, CHIP_NEVER where the chip or the host must do something first.
int64_t redir_due(const struct redir *r);
// Whether the host takes bytes, or did a moment ago. An emulated host needs tens of ms for what a real one
// does in one, and the chip's buffer is no longer than that: bytes are lost only once nobody has asked for
// 250 ms.
bool redir_host_reads(const struct redir *r, int64_t now);
// From now on the log tells how long the oldest byte of each short packet has waited in the chip.
void redir_log_waits(struct redir *r);
