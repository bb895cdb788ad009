#pragma once

/*
 * A tty, opened for us alone. Happy path: serial_port_open, writes and on_data, serial_port_close.
 * Failure modes: every way in which a port can vanish (EIO, ENXIO, ENODEV, POLLHUP, end of file) is one
 * outcome, on_gone, once, after which only serial_port_close may be called. No call blocks; no callback runs
 * before the call that registered it returns.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/base/clean.h"

struct serial_port;

struct serial_port_events {
    void (*on_data)(void *userdata, const uint8_t *bytes, size_t size); /* borrowed until it returns */
    void (*on_written)(void *userdata); /* all that was queued is in the driver */
    void (*on_gone)(void *userdata);
};

/*
 * Opens path: O_NOCTTY, O_NONBLOCK, O_CLOEXEC; TIOCEXCL and flock; raw 8N1 at 115200 baud, CLOCAL and CREAD,
 * no flow control, HUPCL cleared; DTR and RTS dropped where there are such lines; ASYNC_LOW_LATENCY where the
 * driver has it; what was in the input is thrown away. The termios found, but for the echo, are put back on
 * close; where output can't be discarded, in the driver or in an adapter, once that has left. events and
 * userdata are borrowed until on_closed. Negative errno: -EBUSY another program holds it (see
 * serial_holder_find), -ENOENT no such node, -ENOTTY no tty, -EACCES, -EIO or -ENXIO gone.
 */
must_check int serial_port_open(struct serial_port **ret, uv_loop_t *loop, const char *path,
                                const struct serial_port_events *events, void *userdata);

/* Sets both directions, any rate (termios2, BOTHER), and reads it back.
 * -EINVAL when the driver settles on a rate more than 3 % away; other negative errno when the port failed. */
must_check int serial_port_set_baud(struct serial_port *port, uint32_t baud);
uint32_t serial_port_baud(const struct serial_port *port);

/* Sets DTR and RTS in one TIOCMSET (true = asserted = pin low). -ENOTTY on a port without such lines, of
 * which serial_port_has_lines tells beforehand (found out at open). */
must_check int serial_port_set_lines(struct serial_port *port, bool dtr, bool rts);
bool serial_port_has_lines(const struct serial_port *port);

/* Queues bytes (borrowed until on_written or close); one write at a time: -EBUSY while one is under way. */
must_check int serial_port_write(struct serial_port *port, const uint8_t *bytes, size_t size);
/* Forgets what is queued and not yet in the driver, and what came in and was not yet read. */
void serial_port_discard(struct serial_port *port);

/* Bytes taken from and given to the driver since open. */
uint64_t serial_port_bytes_in(const struct serial_port *port);
uint64_t serial_port_bytes_out(const struct serial_port *port);

/* Puts the termios back, gives the port up at once, and calls on_closed from the loop when all handles are
 * closed; the object is gone after that. on_closed may be NULL. */
void serial_port_close(struct serial_port *port, void (*on_closed)(void *userdata), void *userdata);

/*
 * Who holds a tty: the name and pid of a process that has it locked (/proc/locks) or open (/proc/PID/fd, as
 * far as we may look). Walks /proc, so call it from the thread pool. ret: at least 64 bytes, "screen (pid
 * 4711)"; false when nobody can be named. This process is never named: what it has open is about to be
 * closed, and serial_port_open's -EBUSY tells whether it is still locked.
 */
bool serial_holder_find(const char *path, char *ret, size_t size);

/*
 * For -EBUSY where nobody else is found: a port that was given up is closed in the pool, and under the name
 * of a tty that was pulled out there may be another by the time of its event. In the pool: sleeps a moment,
 * and says whether opening is worth another try. turns counts them, from 0.
 */
bool serial_holder_wait(unsigned *turns);
