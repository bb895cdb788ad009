#pragma once

/*
 * One attempt at one board. Happy path: flash_job_start, on_change now and then, on_finished once,
 * flash_job_free. Failure modes: whatever goes wrong ends in on_finished with a fault in the status; cancel
 * and shutdown too. The port is closed and every handle gone when on_finished is called. A job never ends
 * from inside flash_job_start.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/base/clean.h"
#include "daemon/base/fault.h"
#include "daemon/firmware/package.h"
#include "daemon/firmware/stub_file.h"
#include "daemon/flash/ladder.h"
#include "proto/phase.h"

struct flash_job;

/* What was learned of the board; lasts as long as the job. */
struct flash_board {
    char mac[18];  /* "30:ae:a4:01:02:03", empty while unknown */
    char chip[64]; /* "ESP32-D0WDQ6 revision 1.0, 40 MHz crystal" */
    uint64_t flash_bytes;
    char board[FIRMWARE_BOARD_MAX]; /* by the image on flash; empty: unknown or blank */
    char release[FIRMWARE_RELEASE_MAX];
    bool is_blank; /* no application on flash */
};

enum flash_piece_state { FLASH_PIECE_PENDING, FLASH_PIECE_EQUAL, FLASH_PIECE_DIFFERS, FLASH_PIECE_WRITTEN };

struct flash_piece {
    const struct firmware_region *region;
    const struct firmware_piece *piece;
    enum flash_piece_state state;
    bool is_blank;      /* the chip held nothing in its first sector when that was looked at */
    bool send_inflated; /* its zlib stream was refused once */
    unsigned hazards;   /* how many there had been when it was verified; see struct flash_job */
};

struct flash_status {
    enum wipyd_job_state state;
    enum wipyd_phase phase; /* of an ended job: the one it ended in */
    double progress;        /* 0 to 1, only rises */
    uint64_t bytes_done, bytes_total;
    uint32_t rate; /* bytes of image a second */
    uint32_t baud;
    char loader[24]; /* who writes: "rom", "stub v1.2.2"; empty: not known yet */
    struct fault fault;
    char user_action[160];            /* empty: nothing is wanted of a person */
    uint64_t started_us, finished_us; /* since 1970 */
    uint64_t phase_us[WIPYD_PHASE_COUNT];
    uint64_t wire_sent, wire_received; /* bytes, in the phases begin and write */
    bool has_started;                  /* in boot-check the firmware was heard to start */
    uint32_t retries;                  /* pieces begun again */
    struct ladder ladder;              /* what came of each rate */
    struct flash_board board;
    char
        confirmed_release[FIRMWARE_RELEASE_MAX]; /* the firmware's own word in boot-check; empty: not heard */
    /* What lay between the regions before the job's first write: " OFFSET+SIZE:MD5", in hex, of each. Empty:
     * not looked at yet, or too much for it. */
    char gaps[1024];
    char warning[512]; /* what is not as it was then; empty: nothing is known to differ */
};

struct flash_job_request {
    uint32_t id;
    const char *node;   /* the port's path; copied */
    const char *device; /* its name, for the log; copied */
    /* FLASH. IDENTIFY: read, write nothing, and search the flash thoroughly for board and release. RESTORE:
     * write what backup_read gives for restore_mac and restore_backup, to that board alone. */
    enum wipyd_job_kind kind;
    bool dry_run;   /* stop after comparing */
    bool may_reset; /* DTR and RTS may be used, where the port has them */
    bool any_esp32; /* flash a board whose image names no board type of Pycom's, too */
    const char *restore_mac, *restore_backup; /* copied; NULL unless RESTORE */
    unsigned restore_parts;                   /* 1 << enum backup_part, or-ed */
    uint32_t baud;                            /* to climb to */
    bool is_auto_baud;                        /* nobody named it: the loader's own limit holds */
    uint32_t connect_timeout_ms;
    /* The board of a job that goes on, "30:ae:a4:01:02:03", copied: any other is WRONG_CHIP; and where its
     * image was half written, so that it names no type, its type has been checked before. NULL: any board. */
    const char *resumed_mac;
    const char *kept_gaps; /* flash_status.gaps of an attempt before; copied; NULL or empty: none */
    /* What to flash: a package (a reference is taken), or package_fd to read one from: a file that can't
     * change, of package_bytes; its ownership is taken even when the start fails. -1 and NULL to identify. */
    struct firmware_package *package;
    int package_fd;
    uint64_t package_bytes;
    const char *package_sha256;   /* 64 hex digits that package_fd must have, or NULL; copied */
    const char *package_name;     /* copied */
    const char *backup_folder;    /* copied */
    struct firmware_stubs *stubs; /* borrowed until on_finished; NULL: without a stub */
};

struct flash_job_events {
    void (*on_change)(void *userdata, struct flash_job *job); /* may come often: the listener slows it down */
    void (*on_finished)(void *userdata, struct flash_job *job);
};

/* events: borrowed until on_finished. Negative errno. */
must_check int flash_job_start(struct flash_job **ret, uv_loop_t *loop,
                               const struct flash_job_request *request, const struct flash_job_events *events,
                               void *userdata);
/* Ends it at the next safe moment with reason (CANCELLED or SHUTTING_DOWN); again, or when finished: nothing.
 */
void flash_job_stop(struct flash_job *job, enum wipyd_error reason);
/* Only after on_finished, not from inside it. Takes NULL. */
struct flash_job *flash_job_free(struct flash_job *job);

const struct flash_status *flash_job_status(const struct flash_job *job);
/* What the listener needs to tell people; borrowed from the job. The package is NULL before it is read. */
struct firmware_package *flash_job_package(const struct flash_job *job);
const struct flash_piece *flash_job_pieces(const struct flash_job *job, unsigned *n);
uint32_t flash_job_id(const struct flash_job *job);
enum wipyd_job_kind flash_job_kind(const struct flash_job *job);
