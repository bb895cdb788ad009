#pragma once

/*
 * One look at a port: who is there? In this order, and not further than the request allows: listen; SYNC;
 * listen for a late answer; where a ROM answers, read chip, MAC, eFuses, flash size, partition table, and
 * board and release out of the image on flash; where none does, Ctrl-B for the firmware's banner; uname;
 * reset, with up to 5 SYNCs after each of 4 sequences. Then the port stays open, and silent, until it is
 * closed or told to listen on.
 *
 * A boot that is heard goes before all that: what it leads to is waited for (banner, a failure, nothing for 3
 * s, at most 10 s, at most a second boot), and a firmware that has spoken gets no SYNC. "waiting for
 * download" is answered with SYNCs, up to three times. Where may_speak is set, a banner that gives board and
 * release ends the visit before a reset: the caller decides.
 *
 * A ROM that answered but can't be read, tried five times, or that is lost then, is no fault: seen is NOISE,
 * and quote says so; when it has booted meanwhile, seen is what it booted into. The flash of an encrypted
 * chip, and one of unknown size, is not read: is_blank is false there, and board and release are empty.
 *
 * Happy path: flash_visit_start, on_report, perhaps flash_visit_listen and on_report again,
 * flash_visit_close. Failure modes: a port that is held, can't be opened or goes away is a report like any
 * other, with its fault; after one only flash_visit_close may follow. Until a ROM has answered nothing is
 * sent but what the request allows, and no line is moved but at open (serial_port_open drops both) unless
 * may_reset.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/base/clean.h"
#include "daemon/base/fault.h"
#include "daemon/esp/boot_log.h"
#include "daemon/flash/job.h"
#include "proto/policy.h"

struct flash_visit;

struct flash_visit_request {
    const char *node, *device; /* copied */
    uint32_t listen_ms;        /* before the first SYNC, and after the last */
    unsigned syncs;            /* SYNC frames at most; more after "waiting for download" and after a reset */
    bool may_reset; /* DTR and RTS may bring the chip into download mode, and back into its firmware */
    bool may_speak; /* Ctrl-B to an idle prompt, where no ROM answers; what a prompt took of our SYNCs for
                       typed in is wiped with DEL first, because on a line with text it does nothing */
    bool may_stop_program; /* with consent: Ctrl-C, raw REPL, uname; the program is started again after it */
    uint32_t version_at;   /* where the version is in an image that may be on the flash; 0: none known */
    bool syncs_stand; /* at a prompt, from earlier visits, as if typed in: they are erased before Ctrl-B */
    bool is_quiet;    /* send nothing at all: only listen (syncs counts for nothing) */
};

struct flash_visit_report {
    struct fault fault;   /* PORT_BUSY, PORT_GONE, PORT_FAILED, NO_MEMORY: nothing below counts; else NONE */
    char holder[64];      /* of PORT_BUSY: "screen (pid 4711)", may be empty */
    enum board_seen seen; /* DOWNLOAD: a ROM answered and was asked. Of a quiet visit, DEAF: it waits for a
                             download, and was not asked */
    bool is_new;          /* of a report after flash_visit_listen: something was heard; false: time is up */
    unsigned resets;      /* boots heard since the visit began */
    unsigned downloads;   /* "waiting for download" heard since the visit began */
    unsigned syncs;       /* SYNC frames sent to find a ROM since the visit began */
    bool has_lines;       /* the port has DTR and RTS */
    bool was_reset;       /* we reset the chip */
    /* of DOWNLOAD, and of STUB where it could be read (mac is set) */
    bool is_esp32, is_encrypted, is_secure_boot;
    struct flash_board
        board;         /* board and release: of FIRMWARE by its banner or uname too, where it has said them */
    bool is_confirmed; /* board and release are the running firmware's own words */
    char quote[BOOT_LOG_LINE_MAX]; /* the line that decided; may be empty */
};

struct flash_visit_events {
    /* Once after start, once after each flash_visit_listen; and, between, when the port goes away. Never from
     * inside a call. report: borrowed. flash_visit_close and flash_visit_listen may be called from inside. */
    void (*on_report)(void *userdata, struct flash_visit *visit, const struct flash_visit_report *report);
};

/* Finding out who holds a port takes the pool (serial_holder_find): a port that another program has open is
 * reported as PORT_BUSY even where it isn't locked, and is not opened then. Negative errno. */
must_check int flash_visit_start(struct flash_visit **ret, uv_loop_t *loop,
                                 const struct flash_visit_request *request,
                                 const struct flash_visit_events *events, void *userdata);
/* Listens on for at most ms, sending nothing until the board says "waiting for download", which is answered
 * by SYNCs (as many as the request had, at least one, unless it was quiet: then the report says downloads has
 * risen and none is sent). Reports when something was learned: a ROM answered (and was read), be it the SYNCs
 * of before the report, as one does that was erasing meanwhile; a boot was heard and what followed has come
 * to rest (see above), a banner came, a deaf board; or, with is_new false, when time is up. Only after a
 * report. */
void flash_visit_listen(struct flash_visit *visit, uint64_t ms);
/* SYNC frames sent since the visit began; of one that never comes to a report, too. */
unsigned flash_visit_syncs(const struct flash_visit *visit);
/* A chip that was reset by us is reset into its firmware again first where give_back is set (a few 100 ms),
 * and a program that was stopped is started again (up to 1 s); what was under way never reports. on_closed
 * comes from the loop, the port is free and the object gone then.
 */
void flash_visit_close(struct flash_visit *visit, bool give_back, void (*on_closed)(void *userdata),
                       void *userdata);
