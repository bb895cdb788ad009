/* New jobs: by a person, or by the policy; and those that go on. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/bytes.h"
#include "daemon/base/log.h"
#include "daemon/base/log_events.h"
#include "daemon/board/inside.h"

/* ---- on the device -------------------------------------------------------------------------------- */

/* The device has the job; the attempt begins when the port is free. */
static void put_on_device(struct fleet_device *device, struct fleet_job *job) {
    job->device = device;
    device->job = job;
    if (!job->status.started_us)
        job->status.started_us = job->record.started_us;
    job->status.state = job->record.state = WIPYD_JOB_STATE_QUEUED;
    job->status.fault = (struct fault) { 0 };
    *job->record.error = *job->record.error_text = 0;
    fleet_job_line_up(device->attendance->fleet, job);
}

static void announce(struct fleet *fleet, struct fleet_job *job) {
    fleet_job_log(job, LOG_NOTICE, LOG_EVENT_JOB_BEGAN, "job %u began: %s%s%s, by %s", job->id,
                  wipyd_job_kind_word(job->record.kind), *job->record.package ? " " : "", job->record.package,
                  job->record.by);
    fleet_job_keep(fleet, job);
    fleet->events->on_job_added(fleet->userdata, job);
    fleet->events->on_device_changed(fleet->userdata, job->device);
    attendance_give_way(job->device);
}

void fleet_job_resume(struct fleet *fleet, struct fleet_device *device, struct fleet_job *job) {
    put_on_device(device, job);
    COPY(job->record.device, device->name);
    fleet_job_log(job, LOG_NOTICE, LOG_EVENT_JOB_RESUMED, "job %u goes on, attempt %u", job->id,
                  job->record.attempts + 1);
    *job->status.user_action = 0;
    fleet_job_tell(fleet, job);
    fleet->events->on_device_changed(fleet->userdata, device);
    attendance_give_way(device);
}

/* ---- new jobs -------------------------------------------------------------------------------- */

static enum wipyd_error may_begin(struct fleet *fleet, const struct fleet_device *device,
                                  struct fault *fault) {
    const char *from;

    if (fleet->is_closing)
        return fault_set(fault, WIPYD_ERROR_SHUTTING_DOWN, "no job is begun any more");
    if (device->unhandled)
        return fault_set(fault, WIPYD_ERROR_ADAPTER_UNHANDLED, "%s", device->unhandled);
    if (fleet_policy(fleet, device, &from) == BOARD_POLICY_OFF)
        return fault_set(fault, WIPYD_ERROR_POLICY_OFF, "by the %s's policy", from);
    if (device->job)
        return fault_set(fault, WIPYD_ERROR_DEVICE_BUSY, "job %u is under way on %s", device->job->id,
                         device->name);
    if (*device->lessee)
        return fault_set(fault, WIPYD_ERROR_DEVICE_BUSY, "%s is leased to %s", device->name, device->lessee);
    /* Only a job that has begun on a board waits until that is back. */
    if (access(device->node, F_OK) < 0 && errno == ENOENT)
        return fault_set(fault, WIPYD_ERROR_PORT_GONE, "%s: %s", device->node, strerror(ENOENT));
    return WIPYD_ERROR_NONE;
}

static enum wipyd_error new_job(struct fleet *fleet, struct fleet_device *device, enum wipyd_job_kind kind,
                                const struct fleet_options *options, struct fleet_job **ret,
                                struct fault *fault) {
    struct job_record record = { .id = fleet->last_job_id + 1, .kind = kind };
    enum wipyd_error error = may_begin(fleet, device, fault);

    if (error != WIPYD_ERROR_NONE)
        return error;
    record.started_us = fleet_now_us();
    record.is_dry_run = options->dry_run;
    record.wanted_baud = options->baud ? options->baud : fleet->config->baud;
    COPY(record.device, device->name);
    COPY(record.slot, device->slot);
    COPY(record.by, options->by ? options->by : "policy");
    *ret = fleet_job_add(fleet, &record);
    if (!*ret) {
        fault_set(fault, WIPYD_ERROR_NO_MEMORY, "beginning a job");
        return WIPYD_ERROR_NO_MEMORY;
    }
    fleet->last_job_id++;
    (*ret)->connect_timeout_ms =
        1000 * (options->connect_timeout_s ? options->connect_timeout_s : fleet->config->connect_timeout_s);
    put_on_device(device, *ret);
    return WIPYD_ERROR_NONE;
}

/* Why nothing could be chosen. */
static enum wipyd_error no_firmware(struct fleet *fleet, const char *board, const char *version,
                                    struct fault *fault) {
    const struct firmware_record *record;
    bool has_good = false;

    for (unsigned i = 0; (record = firmware_store_at(fleet->store, i)); i++) {
        if (strcmp(record->board, board) != 0)
            continue;
        has_good |= record->state == FIRMWARE_GOOD;
        if (version && record->state == FIRMWARE_QUARANTINED &&
            (!strcmp(record->release, version) || !strcmp(record->server_version, version)))
            return fault_set(fault, WIPYD_ERROR_QUARANTINED, "%s: %s", record->name, record->reason);
    }
    if (version)
        return fault_set(fault, WIPYD_ERROR_NO_SUCH_FIRMWARE, "no package for %s holds release %s", board,
                         version);
    return fault_set(
        fault, WIPYD_ERROR_NO_SUCH_FIRMWARE,
        has_good ? "no package for %s is the newest beyond doubt" : "there is no good package for %s", board);
}

/* mac: the board that it is for; empty: whichever is there. */
static enum wipyd_error flash_record(struct fleet *fleet, struct fleet_device *device, const char *mac,
                                     const struct firmware_record *record,
                                     const struct fleet_options *options, struct fleet_job **ret,
                                     struct fault *fault) {
    enum wipyd_error error = new_job(fleet, device, WIPYD_JOB_KIND_FLASH, options, ret, fault);

    if (error != WIPYD_ERROR_NONE)
        return error;
    COPY((*ret)->record.mac, mac);
    COPY((*ret)->record.package, record->name);
    trim_cut_text((*ret)->record.package);
    COPY((*ret)->record.sha256, record->sha256);
    (*ret)->record.is_chosen = options->version != NULL;
    announce(fleet, *ret);
    return WIPYD_ERROR_NONE;
}

/* Whom a package is chosen for where nobody knows better. */
static const char *board_of(const struct fleet_device *device) {
    return *device->board.board ? device->board.board : "WiPy";
}

const struct firmware_record *fleet_flash_choice(struct fleet *fleet, const struct fleet_device *device,
                                                 const struct fleet_options *options) {
    return firmware_store_choose(fleet->store, board_of(device), options->version);
}

enum wipyd_error fleet_flash(struct fleet *fleet, struct fleet_device *device,
                             const struct fleet_options *options, struct fleet_job **ret,
                             struct fault *fault) {
    const struct firmware_record *record = fleet_flash_choice(fleet, device, options);
    enum wipyd_error error;

    if (record)
        return flash_record(fleet, device, "", record, options, ret, fault);
    /* Where nothing may be begun, a package would be of no help. */
    error = may_begin(fleet, device, fault);
    return error != WIPYD_ERROR_NONE ? error : no_firmware(fleet, board_of(device), options->version, fault);
}

void fleet_job_by_policy(struct fleet *fleet, struct fleet_device *device,
                         const struct firmware_record *record) {
    const struct fleet_options options = { 0 };
    struct fleet_job *job;
    struct fault fault;

    /* It was decided on for this board: cut off early, it goes on with no other one. */
    if (flash_record(fleet, device, device->board.mac, record, &options, &job, &fault) != WIPYD_ERROR_NONE)
        log_warning("%s: %s", device->name, fault.story);
}

enum wipyd_error fleet_flash_file(struct fleet *fleet, struct fleet_device *device, int fd, uint64_t bytes,
                                  const char *name, const struct fleet_options *options,
                                  struct fleet_job **ret, struct fault *fault) {
    cleanup(close_fd_p) int own = fd;
    enum wipyd_error error = new_job(fleet, device, WIPYD_JOB_KIND_FLASH, options, ret, fault);

    if (error != WIPYD_ERROR_NONE)
        return error;
    (*ret)->package_fd = own;
    own = -1;
    (*ret)->package_bytes = bytes;
    COPY((*ret)->record.package, name);
    trim_cut_text((*ret)->record.package);
    (*ret)->record.is_chosen = true;
    if (!options->dry_run) {
        (*ret)->record.is_spooled = true;
        spool_put(fleet->spool, (*ret)->id, fd, bytes, NULL, NULL);
    }
    announce(fleet, *ret);
    return WIPYD_ERROR_NONE;
}

enum wipyd_error fleet_identify(struct fleet *fleet, struct fleet_device *device,
                                const struct fleet_options *options, struct fleet_job **ret,
                                struct fault *fault) {
    enum wipyd_error error = new_job(fleet, device, WIPYD_JOB_KIND_IDENTIFY, options, ret, fault);

    if (error == WIPYD_ERROR_NONE)
        announce(fleet, *ret);
    return error;
}

/* "config,nvs" to bits; 0: not such words. */
static unsigned parse_parts(const char *text) {
    unsigned parts = 0;

    while (*text) {
        size_t size = strcspn(text, ",");
        int part = 0;

        while (part < BACKUP_PARTS && (strlen(backup_part_word((enum backup_part)part)) != size ||
                                       memcmp(backup_part_word((enum backup_part)part), text, size) != 0))
            part++;
        if (part == BACKUP_PARTS)
            return 0;
        parts |= 1u << part;
        text += size + (text[size] == ',');
    }
    return parts;
}

enum wipyd_error fleet_restore(struct fleet *fleet, struct fleet_device *device, const char *mac,
                               const char *backup, const struct fleet_options *options,
                               struct fleet_job **ret, struct fault *fault) {
    unsigned parts = parse_parts(options->parts ? options->parts : "config,nvs");
    enum wipyd_error error;

    if (!parts)
        return fault_set(fault, WIPYD_ERROR_INVALID_ARGUMENT, "parts are config, nvs and otadata, not \"%s\"",
                         options->parts);
    if (strlen(mac) >= sizeof(*ret)->record.restore_mac ||
        strlen(backup) >= sizeof(*ret)->record.restore_backup)
        return fault_set(fault, WIPYD_ERROR_NO_SUCH_BACKUP, "no backup is called that");
    error = new_job(fleet, device, WIPYD_JOB_KIND_RESTORE, options, ret, fault);
    if (error != WIPYD_ERROR_NONE)
        return error;
    COPY((*ret)->record.restore_mac, mac);
    COPY((*ret)->record.restore_backup, backup);
    (*ret)->record.restore_parts = parts;
    announce(fleet, *ret);
    return WIPYD_ERROR_NONE;
}
