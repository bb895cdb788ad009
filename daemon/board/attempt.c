/* One attempt of a job: what it takes to begin it, and what comes of it. */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/base/log.h"
#include "daemon/board/inside.h"

/* ---- what comes of it -------------------------------------------------------------------------------- */

static void take_status(struct fleet_job *job) {
    const struct flash_status *status = &job->status;
    const struct firmware_package *package = job->flash ? flash_job_package(job->flash) : NULL;
    struct job_record *record = &job->record;

    if (*status->board.mac)
        COPY(record->mac, status->board.mac);
    /* What an earlier attempt has begun to write is not what the board came with. */
    if (!*record->from_release && !job->may_have_written && status->state != WIPYD_JOB_STATE_DONE)
        COPY(record->from_release, status->board.release);
    if (package) {
        COPY(record->board, package->version.board);
        COPY(record->to_release, package->version.release);
        if (!*record->sha256)
            hex_encode(package->sha256, sizeof package->sha256, record->sha256);
    }
    record->bytes_total = status->bytes_total;
    record->bytes_done = status->bytes_done;
    record->baud = status->baud;
    if (*status->loader)
        COPY(record->loader, status->loader);
    if (*status->gaps)
        COPY(record->gaps, status->gaps);
    if (*status->warning)
        COPY(record->warning, status->warning);
    record->retries = status->retries;
    COPY(record->phase, wipyd_phase_word(status->phase));
}

void fleet_job_note_outcome(struct fleet *fleet, const struct fleet_job *job) {
    const struct board_record *known = ledger_board(fleet->ledger, job->record.mac);
    struct board_record board;

    if (!known || job->record.kind != WIPYD_JOB_KIND_FLASH || job->record.is_dry_run)
        return;
    board = *known;
    if (job->status.state == WIPYD_JOB_STATE_DONE) {
        COPY(board.board, job->record.board);
        COPY(board.release, job->record.to_release);
        COPY(board.flashed_sha256, job->record.sha256);
        COPY(board.flashed_release, job->record.to_release);
        board.flashed_us = fleet_now_us();
        board.chosen_us = job->record.is_chosen ? board.flashed_us : 0;
        board.failures = 0;
        *board.failed_sha256 = 0;
        COPY(board.confirmed_release, job->status.confirmed_release);
        board.confirmed_us = job->status.has_started ? board.flashed_us : 0;
        ledger_note_flashed(fleet->ledger, board.mac, job->record.sha256, board.flashed_us);
    } else if (job->status.state == WIPYD_JOB_STATE_FAILED) {
        board.failures = !strcmp(board.failed_sha256, job->record.sha256) ? board.failures + 1 : 1;
        COPY(board.failed_sha256, job->record.sha256);
    } else {
        return;
    }
    ledger_put_board(fleet->ledger, &board, NULL, NULL);
}

/* From the first erase until all is verified the board doesn't have what it was flashed with any more: who is
 * cancelled or fails there is flashed again, whatever the name on the flash says. Half written, a flash may
 * name no board at all: what it was begun as is what it is known by. */
static void note_begun(struct fleet *fleet, const struct fleet_job *job) {
    const struct board_record *known = ledger_board(fleet->ledger, job->record.mac);
    struct board_record board;

    if (!known || job->record.kind != WIPYD_JOB_KIND_FLASH || job->record.is_dry_run ||
        job->status.phase != WIPYD_PHASE_BEGIN ||
        (!strcmp(known->board, job->record.board) && !known->flashed_us && !known->chosen_us))
        return;
    board = *known;
    if (strcmp(known->board, job->record.board) != 0) {
        COPY(board.board, job->record.board);
        *board.release = 0;
    }
    *board.flashed_sha256 = *board.flashed_release = *board.confirmed_release = 0;
    board.flashed_us = board.chosen_us = board.confirmed_us = 0;
    ledger_put_board(fleet->ledger, &board, NULL, NULL);
}

/* What was just verified on the flash is what the flash holds. */
static void take_board(struct fleet *fleet, struct fleet_job *job) {
    struct fleet_device *device = job->device;

    if (!*job->status.board.mac)
        return;
    device->board = job->status.board;
    device->seen_us = fleet_now_us();
    if (job->status.state == WIPYD_JOB_STATE_DONE && job->record.kind == WIPYD_JOB_KIND_FLASH &&
        !job->record.is_dry_run) {
        COPY(device->board.board, job->record.board);
        COPY(device->board.release, job->record.to_release);
        device->board.is_blank = false;
    }
    fleet_learn(fleet, device);
}

/* ---- events of an attempt -------------------------------------------------------------------- */

static struct fleet_job *job_of(struct fleet *fleet, const struct flash_job *flash) {
    return fleet_find_job(fleet, flash_job_id(flash));
}

static void on_flash_change(void *userdata, struct flash_job *flash) {
    struct fleet *fleet = userdata;
    struct fleet_job *job = job_of(fleet, flash);
    bool had_reached, knew_package, had_gaps;

    if (!job)
        return;
    had_reached = *job->status.board.mac != 0;
    knew_package = *job->record.to_release != 0;
    had_gaps = *job->record.gaps != 0;
    job->status = *flash_job_status(flash);
    job->record.state = job->status.state;
    take_status(job);
    if (!had_reached && *job->status.board.mac) {
        take_board(fleet, job);
        if (fleet_job_can_be_cut_off(&job->record))
            fleet_job_supersede(fleet, job);
        fleet->events->on_device_changed(fleet->userdata, job->device);
    }
    note_begun(fleet, job);
    if ((!had_reached && *job->status.board.mac) || (!knew_package && *job->record.to_release) ||
        (!had_gaps && *job->record.gaps))
        fleet_job_keep(fleet, job);
    fleet_job_tell(fleet, job);
    fleet_job_count(fleet, job);
}

static bool was_cut_off(const struct fleet_job *job) {
    enum wipyd_error code = job->status.fault.code;

    return fleet_job_can_be_cut_off(&job->record) &&
           (code == WIPYD_ERROR_PORT_GONE || code == WIPYD_ERROR_SHUTTING_DOWN);
}

/* Its board was plugged in again before the attempt had found out that it was gone. */
static void wake_waiting(struct fleet *fleet) {
    for (unsigned i = 0; !fleet->is_closing && i < fleet->n_devices; i++) {
        struct fleet_device *device = fleet->devices[i];

        if (!device->job && device->decided.is_job_under_way)
            attend(device, "a job has ended");
    }
}

static void on_flash_finished(void *userdata, struct flash_job *flash) {
    struct fleet *fleet = userdata;
    struct fleet_job *job = job_of(fleet, flash);
    struct fleet_device *device;

    assert(job);
    device = job->device;
    job->status = *flash_job_status(flash);
    take_status(job);
    take_board(fleet, job);
    fleet_rate_learn(fleet, job);
    job->is_begun = false;
    device->job = NULL;
    if (was_cut_off(job) && job->stop == WIPYD_ERROR_CANCELLED) {
        job->status.state = WIPYD_JOB_STATE_CANCELLED;
        fault_set(&job->status.fault, WIPYD_ERROR_CANCELLED, "while %s",
                  wipyd_phase_label(job->status.phase));
        fleet_job_end(fleet, job);
    } else if (was_cut_off(job)) {
        job->device = NULL;
        fleet_job_cut_off(fleet, job);
    } else {
        fleet_job_note_outcome(fleet, job);
        COPY(job->record.confirmed_release, job->status.confirmed_release);
        fleet_job_end(fleet, job);
    }
    /* The device may go away in this. */
    attendance_job_ended(device, job);
    wake_waiting(fleet);
    fleet_admit(fleet);
    fleet_close_when_idle(fleet);
}

static const struct flash_job_events flash_events = {
    .on_change = on_flash_change,
    .on_finished = on_flash_finished,
};

/* ---- beginning an attempt -------------------------------------------------------------------- */

static int duplicate(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    return copy < 0 ? -errno : copy;
}

/* Where the package of this attempt comes from. The fd in ret is the caller's. */
static enum wipyd_error find_package(struct fleet *fleet, struct fleet_job *job,
                                     struct flash_job_request *ret, struct fault *fault) {
    const struct firmware_record *record;
    int r;

    if (job->record.kind != WIPYD_JOB_KIND_FLASH)
        return WIPYD_ERROR_NONE;
    if (!job->package && job->flash && flash_job_package(job->flash))
        job->package = firmware_package_ref(flash_job_package(job->flash));
    if (job->package) {
        ret->package = job->package;
        return WIPYD_ERROR_NONE;
    }
    if (job->package_fd >= 0) {
        r = duplicate(job->package_fd);
        ret->package_fd = r;
        ret->package_bytes = job->package_bytes;
        return r < 0 ? fault_errno(fault, r, "the package's file") : WIPYD_ERROR_NONE;
    }
    if (job->record.is_spooled) {
        r = spool_open_file(fleet->spool, job->id, &ret->package_fd, &ret->package_bytes);
        if (r < 0)
            return fault_errno(fault, r, "the package that was handed over for job %u", job->id);
        return WIPYD_ERROR_NONE;
    }
    record = firmware_store_find(fleet->store, job->record.sha256);
    if (!record)
        return fault_set(fault, WIPYD_ERROR_NO_SUCH_FIRMWARE, "%s is no longer in the store",
                         job->record.package);
    if (record->state == FIRMWARE_QUARANTINED)
        return fault_set(fault, WIPYD_ERROR_QUARANTINED, "%s: %s", record->name, record->reason);
    job->package = ret->package = firmware_store_ready(fleet->store, record);
    if (ret->package)
        return WIPYD_ERROR_NONE;
    ret->package_sha256 = record->sha256;
    ret->package_bytes = record->bytes;
    r = firmware_store_open_file(fleet->store, record, &ret->package_fd);
    return r < 0 ? fault_errno(fault, r, "opening %s", record->name) : WIPYD_ERROR_NONE;
}

/* Whoever asks for a job asks for the resets that it takes; the policy's own needs an armed slot. */
static bool may_reset(struct fleet *fleet, const struct fleet_job *job) {
    return strcmp(job->record.by, "policy") != 0 || fleet_is_armed(fleet, job->device);
}

static void fail_to_begin(struct fleet *fleet, struct fleet_job *job, const struct fault *fault) {
    struct fleet_device *device = job->device;

    device->job = NULL;
    fleet_job_end_with(fleet, job, fault->code, fault->story);
    attendance_job_ended(device, job);
    wake_waiting(fleet);
    fleet_admit(fleet);
}

void fleet_job_begin(struct fleet_job *job) {
    struct fleet_device *device = job->device;
    struct fleet *fleet = device->attendance->fleet;
    struct flash_job_request request = { .package_fd = -1 };
    struct flash_job *flash;
    struct fault fault = { 0 };
    const char *from;
    int r;

    if (job->stop) {
        fault_set(&fault, job->stop, "before it began");
        if (job->stop == WIPYD_ERROR_SHUTTING_DOWN && fleet_job_can_be_cut_off(&job->record)) {
            device->job = NULL;
            job->device = NULL;
            job->status.fault = fault;
            job->record.attempts++;
            fleet_job_cut_off(fleet, job);
            return;
        }
    } else {
        (void)!find_package(fleet, job, &request, &fault);
    }
    if (fault.code != WIPYD_ERROR_NONE) {
        fail_to_begin(fleet, job, &fault);
        return;
    }
    request.id = job->id;
    request.node = device->node;
    request.device = device->name;
    request.kind = job->record.kind;
    request.dry_run = job->record.is_dry_run;
    request.may_reset = may_reset(fleet, job);
    request.any_esp32 = fleet_policy(fleet, device, &from) == BOARD_POLICY_ANY;
    request.is_auto_baud = !job->record.wanted_baud;
    request.baud = job->record.wanted_baud ? job->record.wanted_baud : fleet_rate_choose(fleet, job);
    request.connect_timeout_ms = job->connect_timeout_ms;
    if (job->record.attempts) {
        request.resumed_mac = job->record.mac;
        request.kept_gaps = job->record.gaps;
    }
    request.package_name = job->record.package;
    request.backup_folder = fleet->backup_folder;
    request.stubs = fleet->stubs;
    if (job->record.kind == WIPYD_JOB_KIND_RESTORE) {
        request.restore_mac = job->record.restore_mac;
        request.restore_backup = job->record.restore_backup;
        request.restore_parts = job->record.restore_parts;
    }
    r = flash_job_start(&flash, fleet->loop, &request, &flash_events, fleet);
    if (r < 0) {
        fault_errno(&fault, r, "beginning a job");
        fail_to_begin(fleet, job, &fault);
        return;
    }
    flash_job_free(job->flash);
    job->flash = flash;
    job->is_begun = true;
    job->record.attempts++;
    job->record.state = WIPYD_JOB_STATE_RUNNING;
    COPY(job->record.device, device->name);
    COPY(job->record.slot, device->slot);
    *job->status.user_action = 0;
    fleet_job_keep(fleet, job);
}
