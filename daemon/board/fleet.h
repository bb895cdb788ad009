#pragma once

/*
 * The devices that there are, what is known and wanted of the boards on them, and the jobs; at most one job a
 * device. Every event leads to one decision (decision.h), which is recorded and acted on. Happy path:
 * fleet_new, fleet_start, events, fleet_close. Failure modes: each call that can be refused says so by a
 * wipyd_error and a fault; a job's own failure is in its status. A flash or a restore that is cut off stays,
 * interrupted, and goes on when its board is back. Pointers to devices and jobs stay good until their removed
 * event.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/base/clean.h"
#include "daemon/base/config.h"
#include "daemon/base/fault.h"
#include "daemon/board/decision.h"
#include "daemon/board/ledger.h"
#include "daemon/firmware/store.h"
#include "daemon/flash/backup.h"
#include "daemon/flash/job.h"

/* So many at once: ports beyond are logged and left out. */
#define FLEET_DEVICES_MAX 256

struct fleet;
struct attendance;

struct fleet_device {
    char *name; /* "ttyUSB0": the last part of node; made different from the others' where two are the same */
    char *node;
    bool is_present;
    bool is_by_hand;            /* from the configuration or --port, and udev doesn't know it */
    struct fleet_job *job;      /* under way, or NULL */
    struct flash_board board;   /* what was learned of the board there, this time that it is plugged in */
    uint64_t seen_us;           /* when a ROM last answered here, since 1970; 0 never */
    char slot[RECORD_SLOT_MAX]; /* by hand: the node */
    char adapter[32], serial[64];
    const char *unhandled; /* NULL, or why this adapter isn't served */
    uint32_t baud_max;     /* what is tried of the rates that nobody names */
    /* the decision that holds, what it was made of, and for people */
    struct decision_state decided;
    unsigned rule;
    uint64_t decided_us;
    char event[32];
    char reason[320]; /* one sentence */
    char advice[200]; /* one sentence, or empty: the next step of a person */
    char holder[64];  /* of a port that another program has */
    char lessee[160]; /* who has the port by our leave, and why; empty: nobody */
    struct attendance *attendance;
};

struct fleet_attempt {
    uint64_t ended_us;
    char reason[320]; /* why it was cut off */
};

/* A piece of the flash in a job that is over. */
struct fleet_region {
    uint32_t offset, size; /* bytes */
    bool is_erase;
    char name[32];
    enum flash_piece_state state;
};

struct fleet_job {
    uint32_t id;
    struct fleet_device *device;    /* NULL: cut off, and its board is not back */
    struct flash_job *flash;        /* the attempt under way or the last one; NULL: that was before the daemon
                                       started, or it is over */
    struct job_record record;       /* what is kept of it; state and kind are these */
    struct flash_status status;     /* of the attempt; kept up to date, and good also where flash is NULL */
    struct fleet_attempt *attempts; /* those that were cut off, in order */
    unsigned n_attempts;
    struct fleet_region *regions; /* once it is over; NULL where no attempt came so far */
    unsigned n_regions;
    bool is_over;          /* and on its way to the disk; nobody is told before it is there */
    uint64_t expires_ms;   /* on the loop's clock; 0: not over, or not told so yet */
    bool is_begun;         /* flash is under way */
    bool may_have_written; /* an attempt before this one */
    /* how to begin an attempt */
    struct firmware_package *package; /* unpacked, or NULL */
    int package_fd;                   /* handed over; -1: out of the store or the spool */
    uint64_t package_bytes;
    uint32_t connect_timeout_ms;
    enum wipyd_error stop; /* asked for, before the attempt could begin or since */
    /* where there is no room for it yet */
    uint64_t asked;      /* its place in the order of asking */
    bool is_waiting;     /* for room: its port is free */
    uint32_t needs_baud; /* as it was counted last */
    char waits_for[200]; /* one sentence, or empty: why it waits for room */
};

struct fleet_events {
    void (*on_device_added)(void *userdata, struct fleet_device *device);
    void (*on_device_changed)(void *userdata, struct fleet_device *device);
    void (*on_device_removed)(void *userdata, struct fleet_device *device); /* about to go */
    void (*on_job_added)(void *userdata, struct fleet_job *job);
    void (*on_job_changed)(void *userdata,
                           struct fleet_job *job); /* often; also when it is over or interrupted */
    void (*on_job_removed)(void *userdata, struct fleet_job *job); /* about to go */
    /* The ledger's; is_new: it wasn't there before. */
    void (*on_board)(void *userdata, const struct board_record *board, bool is_new);
    void (*on_board_forgotten)(void *userdata, const struct board_record *board);
    void (*on_slot)(void *userdata, const struct slot_record *slot, bool is_new);
    void (*on_slot_forgotten)(void *userdata, const struct slot_record *slot);
    void (*on_default_policy)(void *userdata);
};

struct fleet_options {
    const char *version; /* NULL: the newest for the board */
    uint32_t baud;       /* 0: as configured, which may be: the best that was shown to work */
    uint32_t connect_timeout_s;
    bool dry_run;
    bool repl;         /* of a look: the running program may be stopped to ask for uname */
    const char *parts; /* of a restore: "config,nvs" and the like; NULL: config,nvs */
    const char *by;    /* who asks; NULL: "policy" */
};

/* config, store, records, queue and events: borrowed until on_closed. Blocking: reads the records. */
must_check enum wipyd_error fleet_new(struct fleet **ret, uv_loop_t *loop, const struct config *config,
                                      struct firmware_store *store, struct records *records,
                                      struct work_queue *queue, const struct fleet_events *events,
                                      void *userdata, struct fault *fault);
/* From here on ports are watched and attended to; negative errno. */
must_check int fleet_start(struct fleet *fleet);
/* The configuration has other values now. */
void fleet_on_config(struct fleet *fleet);
/* The store has changed: firmware came or went. */
void fleet_on_firmware(struct fleet *fleet);
/* Ends all jobs with SHUTTING_DOWN (a flash or restore: interrupted) and calls on_closed from the loop when
 * they are over and everything is written; the object is gone then. */
void fleet_close(struct fleet *fleet, void (*on_closed)(void *userdata), void *userdata);

/* By name, node, slot, label of slot or board, or MAC; NULL: none, or more than one. */
struct fleet_device *fleet_find_device(struct fleet *fleet, const char *name);
struct fleet_job *fleet_find_job(struct fleet *fleet, uint32_t id);
/* The ones there are, in order; NULL past the last. */
struct fleet_device *fleet_device_at(struct fleet *fleet, unsigned index);
struct fleet_job *fleet_job_at(struct fleet *fleet, unsigned index);
/* For looking at and changing boards, slots and the default policy: every change is decided on again by
 * itself. NULL once fleet_close was called: nothing may be put then. */
struct ledger *fleet_ledger(struct fleet *fleet);
/* The policy that holds for a device. ret_from: "board", "slot" or "default", static storage. */
enum board_policy fleet_policy(struct fleet *fleet, const struct fleet_device *device, const char **ret_from);
bool fleet_is_armed(struct fleet *fleet, const struct fleet_device *device);
/* What its rates say of a slot. */
#define FLEET_ADVICE_MAX 400
struct fleet_slot_rate {
    uint32_t baud;      /* the highest at which the last job was good; 0: none yet */
    double error_share; /* 0 to 1: of its blocks of late, at the highest rate tried, or where it is worst */
    char advice[FLEET_ADVICE_MAX]; /* one sentence, or empty: it is worse than its neighbours */
};
void fleet_slot_rate(const struct fleet *fleet, const struct slot_record *slot, struct fleet_slot_rate *ret);
/* The board's label, else the slot's, else "". */
const char *fleet_label(struct fleet *fleet, const struct fleet_device *device);
/* The state as it is now, and the rule: what explain prints. */
void fleet_explain(struct fleet *fleet, struct fleet_device *device, struct decision_state *ret,
                   unsigned *ret_rule);
const char *fleet_backup_folder(const struct fleet *fleet);

/* Flashes a package of the store. DEVICE_BUSY, POLICY_OFF, ADAPTER_UNHANDLED, NO_SUCH_FIRMWARE, QUARANTINED,
 * NO_MEMORY, SYSTEM, SHUTTING_DOWN. A look that is under way gives way. A job that was cut off on the same
 * board or slot ends, superseded, once this one has reached that board. */
must_check enum wipyd_error fleet_flash(struct fleet *fleet, struct fleet_device *device,
                                        const struct fleet_options *options, struct fleet_job **ret,
                                        struct fault *fault);
/* The package that fleet_flash would take; NULL: none. Borrowed until the next turn of the loop. */
const struct firmware_record *fleet_flash_choice(struct fleet *fleet, const struct fleet_device *device,
                                                 const struct fleet_options *options);
/* Flashes the package in fd, a file that can't change; takes ownership of fd in any case. */
must_check enum wipyd_error fleet_flash_file(struct fleet *fleet, struct fleet_device *device, int fd,
                                             uint64_t bytes, const char *name,
                                             const struct fleet_options *options, struct fleet_job **ret,
                                             struct fault *fault);
must_check enum wipyd_error fleet_identify(struct fleet *fleet, struct fleet_device *device,
                                           const struct fleet_options *options, struct fleet_job **ret,
                                           struct fault *fault);
/* Puts a generation of a board's own data back, to that board alone: mac "30:ae:a4:01:02:03", backup: its
 * name. INVALID_ARGUMENT for parts; what is wrong with the backup is the job's error. */
must_check enum wipyd_error fleet_restore(struct fleet *fleet, struct fleet_device *device, const char *mac,
                                          const char *backup, const struct fleet_options *options,
                                          struct fleet_job **ret, struct fault *fault);
/* Looks at the port now, because a person asks: may speak to the REPL; writes nothing to the flash. done
 * comes later, from the loop, when the device's properties are up to date; fault NULL: done. DEVICE_BUSY,
 * POLICY_OFF, ADAPTER_UNHANDLED, PORT_BUSY, PORT_GONE, PORT_FAILED, SHUTTING_DOWN come to done too. */
typedef void (*fleet_look_fn)(void *userdata, const struct fault *fault);
void fleet_look(struct fleet *fleet, struct fleet_device *device, const struct fleet_options *options,
                fleet_look_fn done, void *userdata);
/* Leaves the port alone until fleet_lease_end, or until the device is removed: a visit is closed, no look, no
 * reset and no job begins. lessee: who has it and why, not empty; copied, cut to size. DEVICE_BUSY: a job is
 * under way, or somebody has it; SHUTTING_DOWN. The port may still be open for a moment: on_device_changed
 * tells when fleet_port_is_closed. */
must_check enum wipyd_error fleet_lease(struct fleet *fleet, struct fleet_device *device, const char *lessee,
                                        struct fault *fault);
bool fleet_port_is_closed(const struct fleet_device *device);
/* It is given back: looked at anew, as after a plug-in. */
void fleet_lease_end(struct fleet *fleet, struct fleet_device *device);
/* JOB_FINISHED. An interrupted job is over at once. */
must_check enum wipyd_error fleet_cancel(struct fleet *fleet, struct fleet_job *job, struct fault *fault);
