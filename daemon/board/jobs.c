/*
 * The jobs: begun, kept in the records, cut off, gone on with, forgotten. An attempt is one flash_job; a job
 * lasts until one of them ends otherwise than by an unplug or the end of the daemon.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/base/log.h"
#include "daemon/base/log_events.h"
#include "daemon/board/inside.h"

enum {
    JOB_STAYS_MS = 10 * 60 * 1000, /* a finished job stays visible */
    JOBS_FINISHED_MAX = 128,
};

static void arm_expiry(struct fleet *fleet);

bool fleet_job_can_be_cut_off(const struct job_record *record) {
    return record->kind != WIPYD_JOB_KIND_IDENTIFY && !record->is_dry_run;
}

static bool is_cut_off(const struct fleet_job *job) {
    return job->record.state == WIPYD_JOB_STATE_INTERRUPTED;
}

/* ---- the list -------------------------------------------------------------------------------- */

struct fleet_job *fleet_find_job(struct fleet *fleet, uint32_t id) {
    for (unsigned i = 0; i < fleet->n_jobs; i++)
        if (fleet->jobs[i]->id == id)
            return fleet->jobs[i];
    return NULL;
}

struct fleet_job *fleet_job_at(struct fleet *fleet, unsigned index) {
    return index < fleet->n_jobs ? fleet->jobs[index] : NULL;
}

struct fleet_job *fleet_job_pending(struct fleet *fleet, const char *mac, const char *slot) {
    for (unsigned i = fleet->n_jobs; i-- > 0;) {
        struct fleet_job *job = fleet->jobs[i];

        if (!is_cut_off(job) || job->is_over)
            continue;
        /* A job that has reached its board belongs to that one. Where nobody answers, it may be the one. */
        if (*job->record.mac && *mac ? !strcmp(job->record.mac, mac) : !strcmp(job->record.slot, slot))
            return job;
    }
    return NULL;
}

struct fleet_job *fleet_job_pending_release(struct fleet *fleet, const char *board, const char *release) {
    for (unsigned i = fleet->n_jobs; i-- > 0;) {
        struct fleet_job *job = fleet->jobs[i];

        if (is_cut_off(job) && !job->is_over && *job->record.mac && !strcmp(job->record.board, board) &&
            !strcmp(job->record.to_release, release))
            return job;
    }
    return NULL;
}

bool fleet_job_is_leaving(struct fleet *fleet, const char *mac, const char *slot) {
    for (unsigned i = 0; i < fleet->n_jobs; i++) {
        const struct fleet_job *job = fleet->jobs[i];

        if (job->device && !job->is_over && job->device->attendance->is_removed &&
            (*job->record.mac ? !strcmp(job->record.mac, mac) : !strcmp(job->record.slot, slot)))
            return true;
    }
    return false;
}

static void free_job(struct fleet_job *job) {
    flash_job_free(job->flash);
    firmware_package_unref(job->package);
    if (job->package_fd >= 0)
        close(job->package_fd);
    free(job->attempts);
    free(job->regions);
    free(job);
}

static void remove_job(struct fleet *fleet, unsigned index) {
    struct fleet_job *job = fleet->jobs[index];

    if (fleet->is_started)
        fleet->events->on_job_removed(fleet->userdata, job);
    fleet->n_jobs--;
    memmove(&fleet->jobs[index], &fleet->jobs[index + 1],
            (fleet->n_jobs - index) * sizeof(struct fleet_job *));
    free_job(job);
}

static void on_expiry(uv_timer_t *timer) {
    struct fleet *fleet = timer->data;

    for (unsigned i = 0; i < fleet->n_jobs;)
        if (fleet->jobs[i]->expires_ms && fleet->jobs[i]->expires_ms <= uv_now(fleet->loop))
            remove_job(fleet, i);
        else
            i++;
    arm_expiry(fleet);
}

static void arm_expiry(struct fleet *fleet) {
    uint64_t first = 0, now = uv_now(fleet->loop);

    for (unsigned i = 0; i < fleet->n_jobs; i++)
        if (fleet->jobs[i]->expires_ms && (!first || fleet->jobs[i]->expires_ms < first))
            first = fleet->jobs[i]->expires_ms;
    if (first)
        uv_timer_start(&fleet->expiry, on_expiry, first > now ? first - now : 0, 0);
    else
        uv_timer_stop(&fleet->expiry);
}

static void forget_oldest_finished(struct fleet *fleet) {
    unsigned n_finished = 0;

    for (unsigned i = 0; i < fleet->n_jobs; i++)
        n_finished += fleet->jobs[i]->expires_ms != 0;
    for (unsigned i = 0; i < fleet->n_jobs && n_finished > JOBS_FINISHED_MAX;)
        if (fleet->jobs[i]->expires_ms) {
            remove_job(fleet, i);
            n_finished--;
        } else {
            i++;
        }
}

static bool make_room(struct fleet *fleet) {
    unsigned n = fleet->n_allocated ? 2 * fleet->n_allocated : 16;
    struct fleet_job **grown;

    if (fleet->n_jobs < fleet->n_allocated)
        return true;
    grown = realloc(fleet->jobs, n * sizeof(struct fleet_job *));
    if (!grown)
        return false;
    fleet->jobs = grown;
    fleet->n_allocated = n;
    return true;
}

struct fleet_job *fleet_job_add(struct fleet *fleet, const struct job_record *record) {
    struct fleet_job *job;

    forget_oldest_finished(fleet);
    job = calloc(1, sizeof *job);
    if (!job || !make_room(fleet)) {
        free(job);
        return NULL;
    }
    job->record = *record;
    job->id = record->id;
    job->package_fd = -1;
    fleet->jobs[fleet->n_jobs++] = job;
    return job;
}

/* ---- what is kept ---------------------------------------------------------------------------- */

void fleet_job_keep(struct fleet *fleet, const struct fleet_job *job) {
    ledger_put_job(fleet->ledger, &job->record);
}

void fleet_job_tell(struct fleet *fleet, struct fleet_job *job) {
    if (fleet->is_started)
        fleet->events->on_job_changed(fleet->userdata, job);
}

void fleet_job_log(const struct fleet_job *job, int level, const char *message_id, const char *format, ...) {
    char id[16], text[512];
    struct log_fields fields = { .device = job->record.device,
                                 .board = job->record.mac,
                                 .job = id,
                                 .phase = job->record.phase,
                                 .message_id = message_id };
    va_list args;

    snprintf(id, sizeof id, "%u", job->id);
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_with(level, &fields, "%s", text);
}

static void log_confirmed(const struct fleet_job *job) {
    fleet_job_log(job, LOG_NOTICE, LOG_EVENT_BOARD_CONFIRMED, "the board runs %s, as job %u has written it",
                  *job->record.confirmed_release ? job->record.confirmed_release : "its firmware", job->id);
}

static void log_end(const struct fleet_job *job) {
    const struct fault *fault = &job->status.fault;

    if (job->record.state == WIPYD_JOB_STATE_DONE) {
        fleet_job_log(job, LOG_NOTICE, LOG_EVENT_JOB_DONE, "job %u is done", job->id);
        if (job->status.has_started && job->record.kind == WIPYD_JOB_KIND_FLASH && !job->record.is_dry_run)
            log_confirmed(job);
    } else if (job->record.state == WIPYD_JOB_STATE_CANCELLED) {
        fleet_job_log(job, LOG_NOTICE, LOG_EVENT_JOB_CANCELLED, "job %u was cancelled", job->id);
    } else {
        fleet_job_log(job, LOG_WARNING, LOG_EVENT_JOB_FAILED, "job %u failed: %s %s", job->id,
                      wipyd_error_sentence(fault->code), fault->story);
    }
}

/* What people may still ask about a job that is over is little; its package, packed and unpacked, is a lot.
 */
static void let_go(struct fleet_job *job) {
    unsigned n = 0;
    const struct flash_piece *pieces = job->flash ? flash_job_pieces(job->flash, &n) : NULL;

    free(job->regions);
    job->regions = n ? calloc(n, sizeof *job->regions) : NULL;
    job->n_regions = job->regions ? n : 0; /* without memory only the copy for looking at is lost */
    for (unsigned i = 0; i < job->n_regions; i++) {
        job->regions[i] = (struct fleet_region) { .offset = pieces[i].piece->offset,
                                                  .size = pieces[i].piece->size,
                                                  .is_erase = pieces[i].region->kind == FIRMWARE_ERASE,
                                                  .state = pieces[i].state };
        COPY(job->regions[i].name, pieces[i].region->name);
    }
    job->flash = flash_job_free(job->flash);
    job->package = firmware_package_unref(job->package);
    if (job->package_fd >= 0)
        close(job->package_fd);
    job->package_fd = -1;
}

/* The end of a job, by its status. */
void fleet_job_end(struct fleet *fleet, struct fleet_job *job) {
    struct job_record *record = &job->record;
    bool has_fault = job->status.fault.code != WIPYD_ERROR_NONE;

    record->state = job->status.state;
    record->finished_us = job->status.finished_us = fleet_now_us();
    COPY(record->error, has_fault ? wipyd_error_bus_name(job->status.fault.code) : "");
    COPY(record->error_text, has_fault ? job->status.fault.story : "");
    job->is_over = true;
    let_go(job);
    fleet_job_keep(fleet, job);
}

void fleet_job_tell_end(struct fleet *fleet, struct fleet_job *job) {
    if (!job->is_over || job->expires_ms)
        return;
    job->expires_ms = uv_now(fleet->loop) + JOB_STAYS_MS;
    log_end(job);
    fleet_job_tell(fleet, job);
    arm_expiry(fleet);
}

void fleet_job_end_with(struct fleet *fleet, struct fleet_job *job, enum wipyd_error code,
                        const char *story) {
    fault_set(&job->status.fault, code, "%s", story);
    job->status.state = code == WIPYD_ERROR_CANCELLED ? WIPYD_JOB_STATE_CANCELLED : WIPYD_JOB_STATE_FAILED;
    *job->status.user_action = 0;
    fleet_job_end(fleet, job);
}

static void note_attempt(struct fleet *fleet, struct fleet_job *job, const char *reason) {
    struct fleet_attempt *grown =
        realloc(job->attempts, (job->n_attempts + 1) * sizeof(struct fleet_attempt));
    struct attempt_record record = { .job = job->id,
                                     .number = job->record.attempts,
                                     .ended_us = fleet_now_us() };

    COPY(record.reason, reason);
    ledger_put_attempt(fleet->ledger, &record);
    if (!grown) /* only the copy for looking at is lost */
        return;
    job->attempts = grown;
    grown[job->n_attempts].ended_us = record.ended_us;
    COPY(grown[job->n_attempts].reason, reason);
    job->n_attempts++;
}

/* One that has reached the same board while this one had yet to find out that its port was gone. */
static const struct fleet_job *taken_over_by(const struct fleet *fleet, const struct fleet_job *job) {
    for (unsigned i = fleet->n_jobs; i-- > 0 && fleet->jobs[i] != job;) {
        const struct fleet_job *other = fleet->jobs[i];

        if (fleet_job_can_be_cut_off(&other->record) && *other->status.board.mac &&
            !strcmp(other->record.mac, job->record.mac))
            return other;
    }
    return NULL;
}

static void supersede(struct fleet *fleet, struct fleet_job *job, const struct fleet_job *by) {
    char story[64];

    snprintf(story, sizeof story, "by job %u", by->id);
    fleet_job_end_with(fleet, job, WIPYD_ERROR_SUPERSEDED, story);
}

/* With all reasons, for the history: what doesn't fit is what is longest ago. */
static void fail_too_often(struct fleet_job *job) {
    char reasons[sizeof job->status.fault.story] = "";
    size_t n = 0;

    for (unsigned i = job->n_attempts; i-- > 0 && n < sizeof reasons;)
        n +=
            (size_t)snprintf(reasons + n, sizeof reasons - n, "%s%s", n ? "; " : "", job->attempts[i].reason);
    fault_set(&job->status.fault, WIPYD_ERROR_TOO_MANY_ATTEMPTS, "%u times, the last first: %s",
              job->record.attempts, reasons);
    job->status.state = WIPYD_JOB_STATE_FAILED;
}

void fleet_job_cut_off(struct fleet *fleet, struct fleet_job *job) {
    const struct fleet_job *newer = taken_over_by(fleet, job);
    const struct fault *fault = &job->status.fault;
    bool was_stopped = fault->code == WIPYD_ERROR_SHUTTING_DOWN && strncmp(fault->story, "wipyd ", 6) != 0;
    struct fault cause;

    fault_set(&cause, fault->code, "%s%s", was_stopped ? "wipyd was stopped " : "", fault->story);
    note_attempt(fleet, job, cause.story);
    job->may_have_written |= job->record.bytes_total > 0; /* all is compared */
    if (newer) {
        supersede(fleet, job, newer);
        return;
    }
    if (job->record.attempts >= fleet->config->attempts) {
        fail_too_often(job);
        fleet_job_note_outcome(fleet, job);
        fleet_job_end(fleet, job);
        return;
    }
    job->record.state = job->status.state = WIPYD_JOB_STATE_INTERRUPTED;
    COPY(job->record.error, wipyd_error_bus_name(job->status.fault.code));
    COPY(job->record.error_text, cause.story);
    job->status.finished_us = 0;
    fleet_job_log(job, LOG_WARNING, LOG_EVENT_JOB_CUT_OFF, "job %u was cut off: %s", job->id, cause.story);
    COPY(job->status.user_action, fleet->is_closing ? RUN_AGAIN : PLUG_IN_AGAIN);
    fleet_job_keep(fleet, job);
    fleet_job_tell(fleet, job);
}

/* A newer job has the board: what was cut off before is not gone on with. */
void fleet_job_supersede(struct fleet *fleet, const struct fleet_job *job) {
    for (unsigned i = 0; i < fleet->n_jobs; i++) {
        struct fleet_job *other = fleet->jobs[i];

        if (other != job && is_cut_off(other) && !other->is_over &&
            (*other->record.mac ? !strcmp(other->record.mac, job->record.mac)
                                : !strcmp(other->record.slot, job->record.slot)))
            supersede(fleet, other, job);
    }
}

/* ---- what is asked of a job, and told of it -------------------------------------------------- */

enum wipyd_error fleet_cancel(struct fleet *fleet, struct fleet_job *job, struct fault *fault) {
    if (job->is_over)
        return fault_set(fault, WIPYD_ERROR_JOB_FINISHED, "job %u is %s", job->id,
                         wipyd_job_state_word(job->record.state));
    if (!job->device) {
        fleet_job_end_with(fleet, job, WIPYD_ERROR_CANCELLED, "while its board was away");
        for (unsigned i = 0; i < fleet->n_devices; i++)
            attendance_job_given_up(fleet->devices[i], job->id);
        return WIPYD_ERROR_NONE;
    }
    /* Also for an attempt that has not begun, or is just ending in an unplug. */
    job->stop = WIPYD_ERROR_CANCELLED;
    if (job->is_begun)
        flash_job_stop(job->flash, WIPYD_ERROR_CANCELLED);
    else
        fleet_admit(fleet);
    return WIPYD_ERROR_NONE;
}

void fleet_job_advise(struct fleet *fleet, uint32_t id, const char *advice) {
    struct fleet_job *job = fleet_find_job(fleet, id);

    if (!job || !strcmp(job->status.user_action, advice))
        return;
    COPY(job->status.user_action, advice);
    fleet_job_tell(fleet, job);
}

void fleet_job_confirm(struct fleet *fleet, uint32_t id, const char *release) {
    struct fleet_job *job = fleet_find_job(fleet, id);
    const struct board_record *known;
    struct board_record board;

    if (!job)
        return;
    COPY(job->record.confirmed_release, release);
    log_confirmed(job);
    fleet_job_keep(fleet, job);
    fleet_job_tell(fleet, job);
    known = ledger_board(fleet->ledger, job->record.mac);
    if (!known)
        return;
    board = *known;
    COPY(board.confirmed_release, release);
    board.confirmed_us = fleet_now_us();
    ledger_put_board(fleet->ledger, &board, NULL, NULL);
}

/* ---- start and end --------------------------------------------------------------------------- */

static int load_attempts(struct fleet *fleet, struct fleet_job *job) {
    const struct attempt_record *record;
    unsigned n = 0;

    while (ledger_open_attempt_at(fleet->ledger, job->id, n))
        n++;
    if (!n)
        return 0;
    job->attempts = calloc(n, sizeof *job->attempts);
    if (!job->attempts)
        return -ENOMEM;
    for (; (record = ledger_open_attempt_at(fleet->ledger, job->id, job->n_attempts)); job->n_attempts++) {
        job->attempts[job->n_attempts].ended_us = record->ended_us;
        COPY(job->attempts[job->n_attempts].reason, record->reason);
    }
    return 0;
}

/* A status as the record has it, for a job whose attempts are all over. */
static void status_from_record(struct fleet_job *job) {
    struct flash_status *status = &job->status;

    status->state = job->record.state;
    status->phase = wipyd_phase_from_word(job->record.phase);
    if (status->phase == WIPYD_PHASE_COUNT)
        status->phase = WIPYD_PHASE_QUEUED;
    status->bytes_done = job->record.bytes_done;
    status->bytes_total = job->record.bytes_total;
    status->baud = job->record.baud;
    COPY(status->loader, job->record.loader);
    status->retries = job->record.retries;
    status->started_us = job->record.started_us;
    COPY(status->board.mac, job->record.mac);
}

static int load_job(struct fleet *fleet, const struct job_record *record) {
    struct fleet_job *job = fleet_job_add(fleet, record);
    bool was_killed = record->state != WIPYD_JOB_STATE_INTERRUPTED;

    if (!job || load_attempts(fleet, job) < 0)
        return -ENOMEM;
    job->connect_timeout_ms = 1000 * fleet->config->connect_timeout_s;
    status_from_record(job);
    job->may_have_written = was_killed || record->bytes_total > 0;
    if (!fleet_job_can_be_cut_off(record)) {
        fleet_job_end_with(fleet, job, WIPYD_ERROR_SHUTTING_DOWN, "wipyd ended without notice");
        return 0;
    }
    if (was_killed) {
        /* The phase that is on record is not the last one. */
        fault_set(&job->status.fault, WIPYD_ERROR_SHUTTING_DOWN, "wipyd ended without notice");
        if (!job->record.attempts)
            job->record.attempts = 1;
        fleet_job_cut_off(fleet, job);
    } else {
        COPY(job->status.user_action, PLUG_IN_AGAIN);
    }
    return 0;
}

enum wipyd_error fleet_jobs_load(struct fleet *fleet, struct fault *fault) {
    const struct job_record *record;
    cleanup(free_p) char *folder = NULL;
    cleanup(free_p) uint32_t *ids = NULL;
    unsigned n = 0;
    int r;

    while (ledger_open_job_at(fleet->ledger, n))
        n++;
    ids = calloc(n + 1, sizeof *ids);
    if (!ids || asprintf(&folder, "%s/spool", fleet->config->state_directory) < 0)
        return fault_set(fault, WIPYD_ERROR_NO_MEMORY, "reading the jobs");
    fleet->last_job_id = ledger_last_job(fleet->ledger);
    for (unsigned i = 0; i < n; i++)
        ids[i] = ledger_open_job_at(fleet->ledger, i)->id;
    r = spool_open(&fleet->spool, folder, fleet->queue, ids, n);
    for (unsigned i = 0; r >= 0 && (record = ledger_open_job_at(fleet->ledger, i)); i++)
        r = load_job(fleet, record);
    return r < 0 ? fault_errno(fault, r, "reading the jobs") : WIPYD_ERROR_NONE;
}

void fleet_jobs_stop(struct fleet *fleet) {
    for (unsigned i = 0; i < fleet->n_jobs; i++) {
        struct fleet_job *job = fleet->jobs[i];

        if (job->is_begun)
            flash_job_stop(job->flash, WIPYD_ERROR_SHUTTING_DOWN);
        else if (job->device && !job->is_over && !job->stop)
            job->stop = WIPYD_ERROR_SHUTTING_DOWN;
    }
    fleet_admit(fleet);
}

bool fleet_jobs_are_idle(const struct fleet *fleet) {
    for (unsigned i = 0; i < fleet->n_jobs; i++)
        if (fleet->jobs[i]->device && !fleet->jobs[i]->is_over)
            return false;
    return true;
}

void fleet_jobs_free(struct fleet *fleet) {
    while (fleet->n_jobs)
        remove_job(fleet, fleet->n_jobs - 1);
}
