#include "daemon/flash/job.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/flash/phases.h"

#define RECONNECTS_MAX 4

struct row {
    double progress; /* when it is entered */
    enum step (*enter)(struct flash_job *job);
    enum step (*reply)(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply);
    unsigned attempts;     /* STEP_RETRY beyond these fails */
    bool is_outside;       /* no ROM is expected to answer: a lost chip is no surprise */
    bool can_be_cut_short; /* waiting for a person or for text: a stop need not wait for it */
    bool can_be_slower;    /* attempts that are used up may be the rate's fault */
    bool is_write;         /* belongs to the write phase of the wire's count */
    bool is_per_piece;
};

/* The job, in the order in which a person would tell it. */
static const struct row rows[WIPYD_PHASE_COUNT] = {
    [WIPYD_PHASE_PREPARE] = { .progress = 0,
                              .enter = flash_enter_prepare,
                              .reply = flash_reply_prepare,
                              .is_outside = true },
    [WIPYD_PHASE_OPEN] = { .progress = 0.02,
                           .enter = flash_enter_open,
                           .reply = flash_reply_open,
                           .is_outside = true },
    [WIPYD_PHASE_RESET] = { .progress = 0.02,
                            .enter = flash_enter_reset,
                            .reply = flash_reply_reset,
                            .is_outside = true,
                            .can_be_cut_short = true },
    [WIPYD_PHASE_SYNC] = { .progress = 0.02,
                           .enter = flash_enter_sync,
                           .reply = flash_reply_sync,
                           .is_outside = true,
                           .can_be_cut_short = true },
    [WIPYD_PHASE_IDENTIFY] = { .progress = 0.03,
                               .enter = flash_enter_identify,
                               .reply = flash_reply_identify,
                               .can_be_slower = true,
                               .attempts = 3 },
    [WIPYD_PHASE_PROTECT] = { .progress = 0.04, .enter = flash_enter_protect },
    [WIPYD_PHASE_LOAD_STUB] = { .progress = 0.04,
                                .enter = flash_enter_load_stub,
                                .reply = flash_reply_load_stub,
                                .is_outside = true },
    [WIPYD_PHASE_PLAN] = { .progress = 0.04,
                           .enter = flash_enter_plan,
                           .reply = flash_reply_plan,
                           .can_be_slower = true,
                           .attempts = 5 },
    [WIPYD_PHASE_RAISE_BAUD] = { .progress = 0.05,
                                 .enter = flash_enter_raise_baud,
                                 .reply = flash_reply_raise_baud,
                                 .attempts = 3,
                                 .is_outside = true },
    [WIPYD_PHASE_COMPARE] = { .progress = 0.06,
                              .enter = flash_enter_compare,
                              .reply = flash_reply_compare,
                              .can_be_slower = true,
                              .attempts = 5 },
    [WIPYD_PHASE_SAVE] = { .progress = 0.08,
                           .enter = flash_enter_save,
                           .reply = flash_reply_save,
                           .can_be_slower = true,
                           .attempts = 5 },
    [WIPYD_PHASE_BEGIN] = { .progress = 0.10,
                            .enter = flash_enter_begin,
                            .reply = flash_reply_begin,
                            .can_be_slower = true,
                            .is_write = true,
                            .is_per_piece = true },
    [WIPYD_PHASE_WRITE] = { .progress = 0.10,
                            .enter = flash_enter_write,
                            .reply = flash_reply_write,
                            .can_be_slower = true,
                            .is_write = true,
                            .is_per_piece = true },
    [WIPYD_PHASE_VERIFY] = { .progress = 0.10,
                             .enter = flash_enter_verify,
                             .reply = flash_reply_verify,
                             .can_be_slower = true,
                             .attempts = 3,
                             .is_per_piece = true },
    [WIPYD_PHASE_GUARD_CHECK] = { .progress = 0.96,
                                  .enter = flash_enter_guard_check,
                                  .reply = flash_reply_guard_check,
                                  .can_be_slower = true,
                                  .attempts = 3 },
    [WIPYD_PHASE_FINISH] = { .progress = 0.97,
                             .enter = flash_enter_finish,
                             .reply = flash_reply_finish,
                             .attempts = 1,
                             .is_outside = true },
    [WIPYD_PHASE_BOOT_CHECK] = { .progress = 0.98,
                                 .enter = flash_enter_boot_check,
                                 .reply = flash_reply_boot_check,
                                 .is_outside = true,
                                 .can_be_cut_short = true },
};

static uint64_t realtime_us(void) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

bool flash_job_has_lines(const struct flash_job *job) {
    return job->may_reset && esp_link_has_lines(job->link);
}

/* ---- phases ---------------------------------------------------------------------------------- */

static const struct row *row_of(const struct flash_job *job) {
    if (job->is_leaving)
        return &rows[WIPYD_PHASE_FINISH];
    return &rows[job->is_checking ? WIPYD_PHASE_IDENTIFY : job->status.phase];
}

static void count_wire(struct flash_job *job, bool was_write, bool is_write) {
    uint64_t sent, received;

    if (!job->link || was_write == is_write)
        return;
    esp_link_count(job->link, &sent, &received);
    if (was_write) {
        job->status.wire_sent += sent - job->wire_mark_sent;
        job->status.wire_received += received - job->wire_mark_received;
    }
    job->wire_mark_sent = sent;
    job->wire_mark_received = received;
}

static void count_time(struct flash_job *job) {
    uint64_t now = uv_hrtime();

    job->status.phase_us[job->status.phase] += (now - job->phase_since) / 1000;
    job->phase_since = now;
}

/* The one place where the phase changes. */
static void set_phase(struct flash_job *job, enum wipyd_phase phase) {
    enum wipyd_phase old = job->status.phase;
    double progress;

    count_time(job);
    count_wire(job, rows[old].is_write, rows[phase].is_write);
    /* Piece by piece: each of these rows comes again for every piece, which is too much to tell. */
    flash_job_log(job, rows[old].is_per_piece && rows[phase].is_per_piece ? LOG_DEBUG : LOG_INFO, "%s -> %s",
                  wipyd_phase_word(old), wipyd_phase_word(phase));
    job->status.phase = phase;
    job->attempts = 0;
    progress = phase == WIPYD_PHASE_DONE ? 1 : rows[phase].progress;
    if (progress > job->status.progress)
        job->status.progress = progress;
}

static void on_handle_closed(struct flash_job *job) {
    if (job->link || !job->timer_closed)
        return;
    job->is_finished = true;
    job->events->on_finished(job->userdata, job);
}

static void on_link_closed(void *userdata) {
    struct flash_job *job = userdata;

    job->link = NULL;
    on_handle_closed(job);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct flash_job *job = handle->data;

    job->timer_closed = true;
    on_handle_closed(job);
}

/* The outcome is settled: close everything, then tell. */
static void finish(struct flash_job *job) {
    enum wipyd_error code = job->status.fault.code;

    count_time(job);
    count_wire(job, rows[job->status.phase].is_write, false);
    if (code == WIPYD_ERROR_NONE) {
        job->status.state = WIPYD_JOB_STATE_DONE;
        flash_job_log(job, LOG_INFO, "done");
    } else if (code == WIPYD_ERROR_CANCELLED) {
        job->status.state = WIPYD_JOB_STATE_CANCELLED;
        flash_job_log(job, LOG_INFO, "cancelled");
    } else {
        job->status.state = WIPYD_JOB_STATE_FAILED;
        flash_job_log(job, LOG_INFO, "failed: %s %s", wipyd_error_sentence(code), job->status.fault.story);
    }
    if (code != WIPYD_ERROR_NONE)
        *job->status.user_action = 0;
    job->status.finished_us = realtime_us();
    if (job->link)
        esp_link_close(job->link, on_link_closed, job);
    uv_close((uv_handle_t *)&job->timer, on_timer_closed);
}

static void forget_retried_faults(struct flash_job *job) {
    job->status.fault = (struct fault) { 0 };
}

/* Written and verified: a job whose board is taken away now, or that is stopped, only because its firmware
 * was still waited for, is done. */
static bool end_if_settled(struct flash_job *job) {
    if (job->status.phase != WIPYD_PHASE_BOOT_CHECK || job->is_leaving)
        return false;
    flash_job_log(job, LOG_INFO, "done before the firmware has spoken");
    set_phase(job, WIPYD_PHASE_DONE);
    forget_retried_faults(job);
    finish(job);
    return true;
}

static void check_chip_if_doubtful(struct flash_job *job) {
    if (!job->is_doubtful || row_of(job)->is_outside)
        return;
    job->is_doubtful = false;
    job->identify.loader = NULL;
    if (job->status.phase == WIPYD_PHASE_IDENTIFY)
        return;
    job->is_checking = true;
    job->attempts_kept = job->attempts;
    job->attempts = 0;
}

static void end_check(struct flash_job *job) {
    job->is_checking = false;
    job->attempts = job->attempts_kept;
}

/* The attempts of a row are used up: perhaps the line is to blame. */
static enum step try_lower_rate(struct flash_job *job) {
    if (!rows[job->status.phase].can_be_slower)
        return STEP_FAIL;
    if (job->is_checking && ladder_below(esp_link_baud(job->link))) {
        end_check(job);
        job->is_doubtful = true;
    }
    return flash_lower_rate(job, job->status.phase);
}

static void run(struct flash_job *job, enum step step) {
    for (;;) {
        if (step == STEP_WAIT)
            return;
        if (job->is_leaving) {
            finish(job);
            return;
        }
        if (job->stop) {
            fault_set(&job->status.fault, job->stop, "while %s", wipyd_phase_label(job->status.phase));
            step = STEP_FAIL;
        }
        if (step == STEP_RETRY)
            step = ++job->attempts < row_of(job)->attempts ? STEP_AGAIN : try_lower_rate(job);
        switch (step) {
        case STEP_WAIT:
        case STEP_RETRY:
        case STEP_AGAIN:
            break;
        case STEP_NEXT:
            if (job->is_checking)
                end_check(job); /* and on with the phase at hand */
            else
                set_phase(job, job->status.phase + 1);
            break;
        case STEP_GOTO:
            set_phase(job, job->target);
            break;
        case STEP_FAIL:
            /* Give the board back in a state in which the next one finds it. */
            job->is_leaving = true;
            break;
        }
        if (job->status.phase == WIPYD_PHASE_DONE) {
            forget_retried_faults(job);
            finish(job);
            return;
        }
        check_chip_if_doubtful(job);
        step = row_of(job)->enter(job);
        if (step == STEP_WAIT)
            job->events->on_change(job->userdata, job);
    }
}

/* ---- what comes back ------------------------------------------------------------------------- */

static enum step reconnect(struct flash_job *job, enum esp_outcome outcome) {
    char story[160];

    job->is_talking = false;
    job->is_checking = false;
    flash_describe(job, wipyd_phase_label(job->status.phase), outcome, NULL, story, sizeof story);
    if (outcome == ESP_LOST)
        job->lost_baud = esp_link_baud(job->link);
    if (++job->reconnects > RECONNECTS_MAX)
        return flash_job_fail(job, outcome == ESP_REBOOTED ? WIPYD_ERROR_CHIP_RESET : WIPYD_ERROR_SILENCE,
                              "%s, for the %u. time", story, job->reconnects);
    flash_job_log(job, LOG_WARNING, "connecting again, because: %s", story);
    /* Losing the chip once may be the supply; twice, the rate; before the last time that is beyond doubt. */
    if (job->reconnects > 1 && ladder_below(job->target_baud)) {
        job->target_baud = outcome == ESP_LOST ? ladder_give_up(&job->status.ladder, job->target_baud)
                                               : ladder_below(job->target_baud);
        if (job->reconnects == RECONNECTS_MAX)
            job->target_baud = LADDER_FIRST_BAUD;
    }
    return flash_job_connect_again(job);
}

enum step flash_job_connect_again(struct flash_job *job) {
    job->is_talking = false;
    job->identify.loader = NULL;
    job->sync_deadline = 0;
    job->reset_attempt = 0;
    return flash_job_goto(job, WIPYD_PHASE_RESET);
}

/* What a good line never brings about. Refusals: of what came in damaged; esptool's words for the stub's are
 * "bad data length", "bad checksum", "bad block size", "invalid command" (c0 to c3). A BEGIN that is refused
 * as malformed may be one of blocks that are too big, which its row knows. */
static bool is_line_error(const struct flash_job *job, enum esp_outcome outcome,
                          const struct esp_reply *reply) {
    switch (outcome) {
    case ESP_NO_REPLY:
    case ESP_LOST:
        return true;
    case ESP_REFUSED:
        return (reply->error == 0x05 && job->status.phase != WIPYD_PHASE_BEGIN) || reply->error == 0x07 ||
               reply->error == 0x0b || reply->error == 0x0c || (reply->error >= 0xc0 && reply->error <= 0xc3);
    case ESP_OK:
    case ESP_REBOOTED:
    case ESP_GONE:
        break;
    }
    return false;
}

static void on_link(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_job *job = userdata;
    const struct row *row = row_of(job);
    enum step step;

    job->status.baud = esp_link_baud(job->link);
    job->is_doubtful |= outcome == ESP_NO_REPLY;
    job->hazards += outcome != ESP_OK;
    if (!row->is_outside && is_line_error(job, outcome, reply))
        ladder_note_error(&job->status.ladder, esp_link_baud(job->link));
    if (outcome == ESP_GONE) {
        job->is_talking = false;
        if (end_if_settled(job))
            return;
        /* A stop that came first is the reason that counts. */
        if (!job->is_leaving && job->stop)
            fault_set(&job->status.fault, job->stop, "while %s", wipyd_phase_label(job->status.phase));
        else if (!job->is_leaving)
            fault_set(&job->status.fault, WIPYD_ERROR_PORT_GONE, "%s vanished while %s", job->node,
                      wipyd_phase_label(job->status.phase));
        finish(job);
        return;
    }
    if (!row->is_outside && (outcome == ESP_LOST || outcome == ESP_REBOOTED)) {
        step = reconnect(job, outcome);
    } else {
        step = row->reply(job, outcome, reply);
    }
    run(job, step);
}

/* While nothing is asked of the link, the pool works for this job and has the last word: the next request
 * finds the port gone. */
void flash_job_on_port_gone(void *userdata) {
    struct flash_job *job = userdata;

    job->is_talking = false;
}

void flash_job_request_link(struct flash_job *job, const struct esp_request *request) {
    esp_link_request(job->link, request, on_link);
}

void flash_job_run_stub(struct flash_job *job, uint32_t entry, const struct esp_loader *loader) {
    esp_link_run_stub(job->link, entry, loader, on_link);
}

void flash_job_sync_link(struct flash_job *job, unsigned attempts, uint32_t listen_ms) {
    esp_link_sync(job->link, attempts, listen_ms, on_link);
}

enum step flash_job_set_link_baud(struct flash_job *job, uint32_t baud) {
    int r = esp_link_set_baud(job->link, baud, on_link);

    if (r == -EINVAL)
        return flash_job_fail(job, WIPYD_ERROR_BAUD_UNSUPPORTED, "the adapter can't do %u baud", baud);
    if (r < 0)
        return flash_job_fail(job, WIPYD_ERROR_PORT_GONE, "%s: setting %u baud: %s", job->node, baud,
                              strerror(-r));
    return STEP_WAIT;
}

void flash_job_reset_link(struct flash_job *job, const struct esp_reset_sequence *sequence) {
    esp_link_reset(job->link, sequence, on_link);
}

void flash_job_listen_link(struct flash_job *job, uint32_t ms) {
    esp_link_listen(job->link, ms, on_link);
}

struct work {
    uv_work_t request;
    struct flash_job *job;
    void (*run)(struct flash_job *job);
};

static void in_pool(uv_work_t *request) {
    struct work *work = request->data;

    work->run(work->job);
}

static void after_pool(uv_work_t *request, int status) {
    struct work *work = request->data;
    struct flash_job *job = work->job;

    (void)status; /* never cancelled */
    free(work);
    job->is_working = false;
    run(job, row_of(job)->reply(job, ESP_OK, NULL));
}

enum step flash_job_work(struct flash_job *job, void (*function)(struct flash_job *job)) {
    struct work *work = malloc(sizeof *work);

    if (!work)
        return flash_job_fail(job, WIPYD_ERROR_NO_MEMORY, "handing work to the pool");
    *work = (struct work) { .request.data = work, .job = job, .run = function };
    job->work_fault = (struct fault) { 0 };
    job->is_working = true;
    uv_queue_work(job->loop, &work->request, in_pool, after_pool);
    return STEP_WAIT;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_start(uv_timer_t *timer) {
    struct flash_job *job = timer->data;

    job->status.state = WIPYD_JOB_STATE_RUNNING;
    run(job, STEP_NEXT);
}

static char *copy_text(const char *text) {
    return strdup(text ? text : "");
}

int flash_job_start(struct flash_job **ret, uv_loop_t *loop, const struct flash_job_request *request,
                    const struct flash_job_events *events, void *userdata) {
    struct flash_job *job = calloc(1, sizeof *job);

    if (!job) {
        if (request->package_fd >= 0)
            close(request->package_fd);
        return -ENOMEM;
    }
    job->loop = loop;
    job->id = request->id;
    job->node = copy_text(request->node);
    job->device = copy_text(request->device);
    job->package_name = copy_text(request->package_name);
    job->backup_folder = copy_text(request->backup_folder);
    job->restore_mac = copy_text(request->restore_mac);
    job->restore_name = copy_text(request->restore_backup);
    job->resumed_mac = copy_text(request->resumed_mac);
    job->restore_parts = request->restore_parts;
    job->kind = request->kind;
    job->dry_run = request->dry_run;
    job->may_reset = request->may_reset;
    job->any_esp32 = request->any_esp32;
    job->target_baud = request->baud;
    job->is_auto_baud = request->is_auto_baud;
    job->connect_timeout_ms = request->connect_timeout_ms;
    job->package = request->package ? firmware_package_ref(request->package) : NULL;
    job->stubs = request->stubs;
    job->package_fd = request->package_fd;
    job->package_bytes = request->package_bytes;
    if (request->kept_gaps)
        snprintf(job->status.gaps, sizeof job->status.gaps, "%s", request->kept_gaps);
    if (request->package_sha256)
        snprintf(job->package_sha256, sizeof job->package_sha256, "%s", request->package_sha256);
    job->events = events;
    job->userdata = userdata;
    job->phase_since = uv_hrtime();
    job->save_part = -1;
    snprintf(job->id_text, sizeof job->id_text, "%u", job->id);
    job->status.state = WIPYD_JOB_STATE_QUEUED;
    job->status.started_us = realtime_us();
    if (!job->node || !job->device || !job->package_name || !job->backup_folder || !job->restore_mac ||
        !job->restore_name || !job->resumed_mac) {
        job->is_finished = true;
        flash_job_free(job);
        return -ENOMEM;
    }
    uv_timer_init(loop, &job->timer);
    job->timer.data = job;
    uv_timer_start(&job->timer, on_start, 0, 0);
    *ret = job;
    return 0;
}

void flash_job_stop(struct flash_job *job, enum wipyd_error reason) {
    if (job->stop || job->is_leaving || job->status.finished_us)
        return;
    job->stop = reason;
    flash_job_log(job, LOG_INFO, "asked to stop: %s", wipyd_error_sentence(reason));
    if (end_if_settled(job))
        return;
    if (job->status.phase == WIPYD_PHASE_QUEUED ||
        (rows[job->status.phase].can_be_cut_short && !job->is_working)) {
        fault_set(&job->status.fault, reason, "while %s", wipyd_phase_label(job->status.phase));
        job->is_leaving = true;
        finish(job);
    }
}

struct flash_job *flash_job_free(struct flash_job *job) {
    if (!job)
        return NULL;
    assert(job->is_finished && !job->link);
    firmware_package_unref(job->package);
    if (job->package_fd >= 0)
        close(job->package_fd);
    backup_deinit(&job->saved);
    backup_deinit(&job->previous);
    backup_deinit(&job->restored);
    flash_restore_deinit(&job->restore);
    free(job->inflated);
    free(job->pieces);
    free(job->guards);
    free(job->probe);
    free(job->node);
    free(job->device);
    free(job->package_name);
    free(job->backup_folder);
    free(job->restore_mac);
    free(job->restore_name);
    free(job->resumed_mac);
    free(job);
    return NULL;
}

const struct flash_status *flash_job_status(const struct flash_job *job) {
    return &job->status;
}

struct firmware_package *flash_job_package(const struct flash_job *job) {
    return job->package;
}

const struct flash_piece *flash_job_pieces(const struct flash_job *job, unsigned *n) {
    *n = job->n_pieces;
    return job->pieces;
}

uint32_t flash_job_id(const struct flash_job *job) {
    return job->id;
}

enum wipyd_job_kind flash_job_kind(const struct flash_job *job) {
    return job->kind;
}
