#pragma once

/*
 * The devices and the jobs on them. At most one job a device.
 * Happy path: fleet_new, fleet_flash or fleet_identify, events, fleet_close.
 * Failure modes: each call that can be refused says so by a wipyd_error and a fault; a job's own failure is
 * in its status. Pointers to devices stay good until close, to jobs until their removed event.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/base/clean.h"
#include "daemon/base/config.h"
#include "daemon/base/fault.h"
#include "daemon/firmware/store.h"
#include "daemon/flash/job.h"

struct fleet;

struct fleet_device {
    char *name; /* "ttyUSB0": the last part of node */
    char *node;
    bool is_present;
    struct fleet_job *job;    /* under way, or NULL */
    struct flash_board board; /* by the last job that reached the chip */
    uint64_t seen_us;         /* since 1970; 0 never */
};

struct fleet_job {
    uint32_t id;
    struct fleet_device *device;
    struct flash_job *flash;
    uint64_t expires_ms; /* on the loop's clock; 0: not finished */
};

struct fleet_events {
    void (*on_device_changed)(void *userdata, struct fleet_device *device);
    void (*on_job_added)(void *userdata, struct fleet_job *job);
    void (*on_job_changed)(void *userdata, struct fleet_job *job); /* often; also when it finished */
    void (*on_job_removed)(void *userdata, struct fleet_job *job); /* about to go */
};

struct fleet_options {
    const char *version; /* NULL: the newest for the board */
    uint32_t baud;       /* 0: as configured */
    uint32_t connect_timeout_s;
    bool dry_run;
};

/* config, store and events: borrowed until on_closed. Negative errno. */
must_check int fleet_new(struct fleet **ret, uv_loop_t *loop, const struct config *config,
                         struct firmware_store *store, const struct fleet_events *events, void *userdata);
/* Ends all jobs with SHUTTING_DOWN and calls on_closed from the loop when they are over; the object is gone
 * then. */
void fleet_close(struct fleet *fleet, void (*on_closed)(void *userdata), void *userdata);

/* By name, node or MAC; NULL: none, or more than one board with that MAC. */
struct fleet_device *fleet_find_device(struct fleet *fleet, const char *name);
struct fleet_job *fleet_find_job(struct fleet *fleet, uint32_t id);
/* The ones there are, in order; NULL past the last. */
struct fleet_device *fleet_device_at(struct fleet *fleet, unsigned index);
struct fleet_job *fleet_job_at(struct fleet *fleet, unsigned index);

/* Flashes a package of the store. DEVICE_BUSY, NO_SUCH_FIRMWARE, QUARANTINED, NO_MEMORY, SYSTEM. */
must_check enum wipyd_error fleet_flash(struct fleet *fleet, struct fleet_device *device,
                                        const struct fleet_options *options, struct fleet_job **ret,
                                        struct fault *fault);
/* Flashes the package in fd, a file that can't change; takes ownership of fd in any case. DEVICE_BUSY,
 * NO_MEMORY. */
must_check enum wipyd_error fleet_flash_file(struct fleet *fleet, struct fleet_device *device, int fd,
                                             uint64_t bytes, const char *name,
                                             const struct fleet_options *options, struct fleet_job **ret,
                                             struct fault *fault);
must_check enum wipyd_error fleet_identify(struct fleet *fleet, struct fleet_device *device,
                                           const struct fleet_options *options, struct fleet_job **ret,
                                           struct fault *fault);
/* JOB_FINISHED. */
must_check enum wipyd_error fleet_cancel(struct fleet *fleet, struct fleet_job *job, struct fault *fault);
