/* The jobs that may begin, and those that wait for room: the fleet's side of admission.h. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/board/admission.h"
#include "daemon/board/inside.h"

/* Bits on the wire for a byte: start, eight, stop. */
#define BITS_PER_BYTE 10u
/* What a board is spoken to with before the rate is raised: facts/esp32-serial-protocol.md. */
#define FIRST_BAUD 115200u
/* Where no rate is wanted by number: what all adapters that are served can do. */
#define USUAL_BAUD 921600u

/* ---- what a job needs ------------------------------------------------------------------------ */

/* While a person is waited for, next to nothing is sent, and others need not wait for that person. A board
 * that comes to life then goes on at once: what is left of USB is shared until another job has ended. */
static bool is_idle(const struct fleet_job *job) {
    return job->is_begun && job->status.state == WIPYD_JOB_STATE_WAITING;
}

/* The rate to climb to, and the rate that it has got once it has climbed. */
static uint32_t baud_of(const struct fleet_job *job) {
    uint32_t wanted = job->record.wanted_baud ? job->record.wanted_baud : USUAL_BAUD;

    if (job->is_begun && job->status.phase > WIPYD_PHASE_RAISE_BAUD && job->status.baud)
        return job->status.baud;
    return wanted > FIRST_BAUD ? wanted : FIRST_BAUD;
}

static bool is_counted(const struct fleet_job *job) {
    return job->device && (job->is_waiting || (job->is_begun && !is_idle(job)));
}

static struct admission_job need_of(const struct fleet_job *job) {
    return (struct admission_job) { .slot = job->device->slot,
                                    .place = admission_place_of(job->device->slot),
                                    .bytes_s = baud_of(job) / BITS_PER_BYTE,
                                    .is_under_way = !job->is_waiting };
}

/* ---- one round ------------------------------------------------------------------------------- */

static int by_asking(const void *a, const void *b) {
    const struct fleet_job *left = *(struct fleet_job *const *)a, *right = *(struct fleet_job *const *)b;

    return left->asked < right->asked ? -1 : left->asked > right->asked;
}

static void tell_wait(struct fleet *fleet, struct fleet_job *job, const char *reason) {
    if (!strcmp(job->waits_for, reason))
        return;
    COPY(job->waits_for, reason);
    if (*reason)
        fleet_job_log(job, LOG_INFO, NULL, "job %u waits: %s", job->id, reason);
    fleet_job_tell(fleet, job);
}

static void tell_verdict(struct fleet *fleet, struct fleet_job *job, enum admission_verdict verdict) {
    const struct config *config = fleet->config;
    struct admission_place place = admission_place_of(job->device->slot);
    char reason[sizeof job->waits_for] = "";

    switch (verdict) {
    case ADMISSION_NOW:
        break;
    case ADMISSION_BY_NUMBER:
        snprintf(reason, sizeof reason, "%u job%s under way, as many as there may be.", config->jobs,
                 config->jobs == 1 ? " is" : "s are");
        break;
    case ADMISSION_BY_ROOT:
        snprintf(reason, sizeof reason, "The USB controller %.*s carries as much as it can.",
                 (int)place.root_bytes, job->device->slot);
        break;
    case ADMISSION_BY_HUB:
        snprintf(reason, sizeof reason, "The USB hub %.*s carries as much as it may, %u KB/s.",
                 (int)place.hub_bytes, job->device->slot, config->usb_budget_k);
        break;
    }
    tell_wait(fleet, job, reason);
}

/* Those that were stopped, or whose port has gone, need no room to find out. */
static bool is_at_its_end(const struct fleet_job *job) {
    return job->stop || job->device->attendance->is_removed || !job->device->is_present;
}

static void begin(struct fleet *fleet, struct fleet_job *job) {
    job->is_waiting = false;
    fleet->n_waiting--;
    *job->waits_for = 0;
    fleet_job_begin(job);
}

/* Begins one job: whatever else was known may be no longer so after that. false: nobody is left who may. */
static bool admit_one(struct fleet *fleet) {
    const struct admission_limits limits = { .jobs = fleet->config->jobs,
                                             .hub_bytes_s = 1000 * fleet->config->usb_budget_k };
    cleanup(free_p) struct fleet_job **jobs = calloc(fleet->n_jobs + 1, sizeof(struct fleet_job *));
    cleanup(free_p) struct admission_job *needs = calloc(fleet->n_jobs + 1, sizeof *needs);
    struct fleet_job *first = NULL;
    size_t n = 0;

    for (unsigned i = 0; i < fleet->n_jobs; i++) {
        struct fleet_job *job = fleet->jobs[i];

        if (!job->is_waiting)
            continue;
        if (is_at_its_end(job) || !jobs || !needs) { /* better too many at once than none */
            begin(fleet, job);
            return true;
        }
    }
    if (!jobs || !needs)
        return false; /* nobody waits */
    for (unsigned i = 0; i < fleet->n_jobs; i++)
        if (is_counted(fleet->jobs[i]))
            jobs[n++] = fleet->jobs[i];
    qsort(jobs, n, sizeof(struct fleet_job *), by_asking);
    for (size_t i = 0; i < n; i++)
        needs[i] = need_of(jobs[i]);
    admission_decide(&limits, needs, n);
    for (size_t i = 0; i < n; i++) {
        if (!jobs[i]->is_waiting)
            continue;
        if (needs[i].verdict != ADMISSION_NOW)
            tell_verdict(fleet, jobs[i], needs[i].verdict);
        else if (!first)
            first = jobs[i];
    }
    if (first)
        begin(fleet, first);
    return first;
}

void fleet_admit(struct fleet *fleet) {
    fleet->admit_again = true;
    if (fleet->is_admitting)
        return;
    fleet->is_admitting = true;
    while (fleet->n_waiting && fleet->admit_again) {
        fleet->admit_again = false;
        while (fleet->n_waiting && admit_one(fleet))
            ;
    }
    fleet->is_admitting = false;
}

/* ---- a job's way ----------------------------------------------------------------------------- */

void fleet_job_line_up(struct fleet *fleet, struct fleet_job *job) {
    job->asked = ++fleet->last_asked;
    job->needs_baud = 0;
}

void fleet_job_enter(struct fleet_job *job) {
    struct fleet *fleet = job->device->attendance->fleet;

    if (!job->is_waiting) {
        job->is_waiting = true;
        fleet->n_waiting++;
    }
    fleet_admit(fleet);
}

void fleet_job_count(struct fleet *fleet, struct fleet_job *job) {
    uint32_t baud = is_idle(job) ? 0 : baud_of(job), before = job->needs_baud;

    job->needs_baud = baud;
    if (baud < before)
        fleet_admit(fleet);
}
