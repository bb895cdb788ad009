/*
 * One port from plug to unplug: every event leads to one decision, which is recorded and acted on. What may
 * be under way is one thing at a time: a visit, its closing, or the device's job.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/board/coach.h"
#include "daemon/board/inside.h"

enum {
    TRY_AGAIN_FIRST_MS = 1000, /* a port that is held, or can't be opened: doubled each time */
    TRY_AGAIN_MOST_MS = 60 * 1000,
};

static void act(struct attendance *attendance, enum decision_verdict verdict);

bool attendance_is_idle(const struct fleet_device *device) {
    return !device->attendance->visit && !device->job;
}

/* ---- deciding -------------------------------------------------------------------------------- */

static void record(const struct attendance *attendance) {
    const struct fleet_device *device = attendance->device;
    const struct decision_rule *rule = decision_rule_at(device->rule);
    struct decision_record decision = { .at_us = device->decided_us };

    COPY(decision.device, device->name);
    COPY(decision.slot, device->slot);
    COPY(decision.mac, device->decided.mac);
    COPY(decision.event, device->event);
    COPY(decision.verdict, decision_verdict_word(rule->verdict));
    COPY(decision.rule, rule->word);
    decision_state_print(&device->decided, decision.state);
    ledger_put_decision(attendance->fleet->ledger, &decision);
}

static void tell(const struct attendance *attendance) {
    const struct fleet_device *device = attendance->device;
    struct log_fields fields = { .device = device->name, .board = device->decided.mac };

    log_with(LOG_INFO, &fields, "%s: %s: %s", device->event,
             decision_verdict_word(decision_rule_at(device->rule)->verdict), device->reason);
    if (*device->advice)
        log_with(LOG_NOTICE, &fields, "%s", device->advice);
}

/* A board in a boot loop tells the same again and again: that is one decision. */
static bool is_old_news(const struct fleet_device *device, const struct decision_state *state, unsigned rule,
                        const char *event) {
    char was[DECISION_TEXT_MAX], is[DECISION_TEXT_MAX];

    if (device->rule != rule || strcmp(device->event, event) != 0)
        return false;
    decision_state_print(&device->decided, was);
    decision_state_print(state, is);
    return !strcmp(was, is);
}

static const char heard_event[] = "heard from the board";

void attend(struct fleet_device *device, const char *event) {
    struct attendance *attendance = device->attendance;
    struct fleet *fleet = attendance->fleet;
    struct decision_state state;
    const struct decision_rule *rule;
    unsigned index;
    bool is_news;

    if (fleet->is_closing)
        return;
    fleet_facts(fleet, device, &state);
    index = decision_make(&state);
    rule = decision_rule_at(index);
    is_news = !device->decided_us || !is_old_news(device, &state, index, event);
    if (is_news) {
        device->decided = state;
        device->rule = index;
        device->decided_us = fleet_now_us();
        COPY(device->event, event);
        rule->tell(&state, device->reason, sizeof device->reason);
        if (state.is_held && *device->holder)
            snprintf(device->reason, sizeof device->reason, "It is held by %s; tried again later.",
                     device->holder);
        COPY(device->advice, coach_advice(&state, index));
        record(attendance);
        tell(attendance);
    }
    if (attendance->was_flashed_now)
        fleet_job_advise(fleet, attendance->flashed_job, device->advice);
    else if (state.pending_job && !device->job && *device->advice)
        fleet_job_advise(fleet, state.pending_job, device->is_present ? device->advice : PLUG_IN_AGAIN);
    /* A board without firmware says so several times a second, for as long as it is listened to. */
    if (!attendance->is_removed &&
        (is_news || strcmp(event, heard_event) != 0 || attendance->told_seen_us != device->seen_us)) {
        attendance->told_seen_us = device->seen_us;
        fleet->events->on_device_changed(fleet->userdata, device);
    }
    act(attendance, rule->verdict);
}

/* Where the prompt may be asked, that goes before a reset. */
static void look_armed(struct attendance *attendance) {
    bool is_unknown = attendance->seen == BOARD_SEEN_NOTHING || attendance->seen == BOARD_SEEN_SILENT ||
                      (attendance->seen == BOARD_SEEN_FIRMWARE && !*attendance->device->board.release);

    if (!is_unknown || attendance->was_flashed_now || attendance->look_done || attendance->device->job)
        return;
    attendance->was_looked_at = false;
    attendance->is_report_due = false; /* what is under way may not ask */
}

void attendance_reconsider(struct fleet_device *device, const char *event) {
    struct attendance *attendance = device->attendance;
    const struct decision_state *was = &device->decided;
    struct decision_state is;

    if (!device->decided_us || attendance->fleet->is_closing)
        return;
    fleet_facts(attendance->fleet, device, &is);
    if (is.policy == was->policy && is.has_own_policy == was->has_own_policy &&
        is.is_armed == was->is_armed && !strcmp(is.pin, was->pin) && is.has_candidate == was->has_candidate &&
        !strcmp(is.candidate_sha256, was->candidate_sha256))
        return;
    attendance->is_coached_out = false;
    attendance->coach_until = 0;
    if (is.is_armed && !was->is_armed) {
        attendance->was_reset = false;
        look_armed(attendance);
    }
    attend(device, event);
}

/* ---- the visit ------------------------------------------------------------------------------- */

static void on_report(void *userdata, struct flash_visit *visit, const struct flash_visit_report *report);

static const struct flash_visit_events visit_events = { .on_report = on_report };

static void answer_look(struct attendance *attendance, const struct fault *fault) {
    fleet_look_fn done = attendance->look_done;

    attendance->look_done = NULL;
    if (done)
        done(attendance->look_userdata, fault && fault->code != WIPYD_ERROR_NONE ? fault : NULL);
}

static void start_visit(struct attendance *attendance) {
    struct fault fault;
    int r;

    attendance->wants_visit = false;
    attendance->is_fresh = false;
    attendance->syncs_counted = 0;
    r = flash_visit_start(&attendance->visit, attendance->fleet->loop, &attendance->wanted, &visit_events,
                          attendance);
    if (r < 0) {
        attendance->visit = NULL;
        fault_errno(&fault, r, "looking at %s", attendance->device->node);
        log_error("%s", fault.story);
        answer_look(attendance, &fault);
        return;
    }
    attendance->is_report_due = true;
}

static void go_on(struct attendance *attendance) {
    struct fleet_device *device = attendance->device;

    if (attendance->visit)
        return;
    if (attendance->is_removed && !device->job) {
        fleet_free_device(device);
        return;
    }
    if (device->job) {
        attendance->wants_visit = false;
        if (!device->job->is_begun)
            fleet_job_begin(device->job);
    } else if (attendance->wants_visit && device->is_present && !attendance->fleet->is_closing) {
        start_visit(attendance);
    }
    fleet_close_when_idle(attendance->fleet);
}

static void on_visit_closed(void *userdata) {
    struct attendance *attendance = userdata;

    attendance->visit = NULL;
    attendance->is_visit_closing = false;
    attendance->is_report_due = false;
    attendance->is_fresh = false;
    go_on(attendance);
}

/* A visit that is broken off has sent some as well. */
static void count_syncs(struct attendance *attendance) {
    unsigned all = flash_visit_syncs(attendance->visit), sent = all - attendance->syncs_counted;

    attendance->syncs_counted = all;
    attendance->syncs_left -= sent < attendance->syncs_left ? sent : attendance->syncs_left;
}

/* Then go_on(). */
static void close_visit(struct attendance *attendance, bool give_back) {
    if (!attendance->visit) {
        go_on(attendance);
        return;
    }
    if (attendance->is_visit_closing)
        return;
    attendance->is_visit_closing = true;
    count_syncs(attendance);
    flash_visit_close(attendance->visit, give_back, on_visit_closed, attendance);
}

/* A board that we brought into download mode is given back as it was found. */
static bool has_reset(const struct attendance *attendance) {
    return attendance->wanted.may_reset && attendance->seen == BOARD_SEEN_DOWNLOAD;
}

/* Takes the place of a visit that is under way. */
static void visit(struct attendance *attendance, const struct flash_visit_request *request) {
    uv_timer_stop(&attendance->timer);
    attendance->wanted = *request;
    attendance->wants_visit = true;
    close_visit(attendance, false);
}

/* Where the version stands in the firmware that this daemon has written last, or would write: unpacked, it is
 * at hand. */
static uint32_t version_at(struct fleet *fleet) {
    const struct firmware_record *candidate = fleet_candidate(fleet, "", "");
    struct firmware_package *package = candidate ? firmware_store_ready(fleet->store, candidate) : NULL;
    uint32_t offset = package ? package->version.image_offset : 0;

    firmware_package_unref(package);
    return offset;
}

static struct flash_visit_request new_request(const struct attendance *attendance) {
    return (struct flash_visit_request) { .node = attendance->device->node,
                                          .device = attendance->device->name,
                                          .listen_ms = attendance->fleet->config->listen_ms,
                                          .version_at = version_at(attendance->fleet),
                                          .syncs = attendance->syncs_left,
                                          .syncs_stand = attendance->syncs_stand };
}

static void look(struct attendance *attendance) {
    struct flash_visit_request request = new_request(attendance);

    if (attendance->is_report_due)
        return; /* one is under way */
    request.may_speak = fleet_is_armed(attendance->fleet, attendance->device);
    visit(attendance, &request);
}

static void reset(struct attendance *attendance) {
    struct flash_visit_request request = new_request(attendance);

    if (attendance->is_report_due && attendance->wanted.may_reset)
        return;
    request.may_reset = true;
    request.syncs = attendance->fleet->config->syncs;
    visit(attendance, &request);
}

static void on_timer(uv_timer_t *timer);

static void try_again_later(struct attendance *attendance) {
    uint64_t ms = TRY_AGAIN_FIRST_MS;

    for (unsigned i = 0; i < attendance->tries && ms < TRY_AGAIN_MOST_MS; i++)
        ms *= 2;
    if (ms > TRY_AGAIN_MOST_MS)
        ms = TRY_AGAIN_MOST_MS;
    attendance->tries++;
    uv_timer_start(&attendance->timer, on_timer, ms, 0);
}

static void coach(struct attendance *attendance) {
    struct flash_visit_request request = new_request(attendance);
    uint64_t now = uv_now(attendance->fleet->loop);

    if (!attendance->coach_until)
        attendance->coach_until = now + 1000ull * attendance->fleet->config->coach_s;
    if (attendance->visit && !attendance->is_visit_closing) {
        if (attendance->is_report_due)
            return;
        attendance->is_report_due = true;
        flash_visit_listen(attendance->visit,
                           attendance->coach_until > now ? attendance->coach_until - now : 0);
        return;
    }
    /* The port is opened only to listen: what the first report says, that nothing was heard, is no news. */
    request.is_quiet = attendance->was_flashed_now;
    request.listen_ms = 0;
    request.syncs = 0;
    visit(attendance, &request);
}

/* ---- what comes back ------------------------------------------------------------------------- */

static void take_report(struct attendance *attendance, const struct flash_visit_report *report) {
    struct fleet_device *device = attendance->device;
    bool is_mere_listening = attendance->wanted.listen_ms == 0 && !report->is_new;

    count_syncs(attendance);
    attendance->has_lines = report->has_lines;
    if (report->seen == BOARD_SEEN_FIRMWARE && !report->is_confirmed)
        attendance->syncs_stand |= report->syncs > 0;
    else if (!is_mere_listening)
        attendance->syncs_stand = false;
    if (is_mere_listening && report->seen == BOARD_SEEN_SILENT)
        return;
    attendance->seen = report->seen;
    /* After a flash the ROM isn't asked, only heard: the wire was left on. */
    if (attendance->wanted.is_quiet && report->seen == BOARD_SEEN_DEAF)
        attendance->seen = BOARD_SEEN_DOWNLOAD;
    if (attendance->wanted.may_reset)
        attendance->was_reset = true;
    if (report->seen == BOARD_SEEN_DOWNLOAD) {
        attendance->is_esp32 = report->is_esp32;
        attendance->is_encrypted = report->is_encrypted;
        attendance->is_secure_boot = report->is_secure_boot;
        attendance->is_fresh = true;
        device->board = report->board;
        if (*report->board.mac) {
            device->seen_us = fleet_now_us();
            fleet_learn(attendance->fleet, device);
        }
    } else if (*report->board.release) {
        COPY(device->board.board, report->board.board);
        COPY(device->board.release, report->board.release);
        device->board.is_blank = false;
    }
    if (attendance->was_flashed_now && report->seen == BOARD_SEEN_FIRMWARE) {
        attendance->is_confirmed_now = true;
        fleet_job_confirm(attendance->fleet, attendance->flashed_job,
                          report->is_confirmed ? report->board.release : "");
    }
}

static void port_failed(struct attendance *attendance, const struct flash_visit_report *report) {
    COPY(attendance->device->holder, report->holder);
    if (report->fault.code == WIPYD_ERROR_PORT_BUSY)
        attendance->is_held = true;
    else
        attendance->is_failed = true;
    close_visit(attendance, false);
}

static void on_report(void *userdata, struct flash_visit *visit_, const struct flash_visit_report *report) {
    struct attendance *attendance = userdata;
    struct fleet_device *device = attendance->device;
    struct fault fault = report->fault;
    bool was_listening = attendance->coach_until != 0 && !report->is_new &&
                         uv_now(attendance->fleet->loop) >= attendance->coach_until;

    (void)visit_;
    attendance->is_report_due = false;
    if (attendance->is_removed)
        return;
    if (report->fault.code != WIPYD_ERROR_NONE) {
        port_failed(attendance, report);
        /* Most often it was unplugged, and udev says so next; else it is tried again. */
        if (report->fault.code == WIPYD_ERROR_PORT_GONE)
            try_again_later(attendance);
        else
            attend(device, "the port can't be used");
        answer_look(attendance, &fault);
        return;
    }
    attendance->tries = 0;
    attendance->was_looked_at = true;
    *device->holder = 0;
    take_report(attendance, report);
    if (was_listening)
        attendance->is_coached_out = true;
    attend(device, attendance->look_done ? "asked to look"
                   : was_listening       ? "time is up"
                   : report->is_new      ? heard_event
                                         : "looked at");
    answer_look(attendance, NULL);
}

static void on_timer(uv_timer_t *timer) {
    struct attendance *attendance = timer->data;

    if (!attendance->is_settled) {
        attendance->is_settled = true;
        attend(attendance->device, "settled");
        return;
    }
    attendance->is_held = attendance->is_failed = false;
    attend(attendance->device, "trying again");
}

/* ---- acting ---------------------------------------------------------------------------------- */

/* A job on what was learned a while ago might find nobody: look again first. */
static bool is_stale(const struct attendance *attendance) {
    return !attendance->device->is_by_hand && !attendance->is_fresh;
}

static void look_again(struct attendance *attendance) {
    attendance->was_looked_at = false;
    attendance->syncs_left = attendance->fleet->config->syncs;
    attendance->seen = BOARD_SEEN_NOTHING;
    attend(attendance->device, "looking again before a job");
}

static void flash(struct attendance *attendance) {
    struct fleet *fleet = attendance->fleet;
    struct fleet_device *device = attendance->device;
    const struct firmware_record *candidate =
        fleet_candidate(fleet, device->decided.board, device->decided.pin);

    if (!candidate)
        return; /* it was there a moment ago, in this very turn of the loop */
    fleet_job_by_policy(fleet, device, candidate);
}

static void resume(struct attendance *attendance) {
    struct fleet_job *job = fleet_find_job(attendance->fleet, attendance->device->decided.pending_job);

    if (job)
        fleet_job_resume(attendance->fleet, attendance->device, job);
}

/* For the end of the job, or for the timer, which is started where it isn't yet. */
static void wait(struct attendance *attendance) {
    if (attendance->device->job || uv_is_active((uv_handle_t *)&attendance->timer))
        return;
    if (!attendance->is_settled)
        uv_timer_start(&attendance->timer, on_timer, attendance->fleet->config->settle_ms, 0);
    else if (attendance->is_held || attendance->is_failed)
        try_again_later(attendance);
}

static void act(struct attendance *attendance, enum decision_verdict verdict) {
    if (attendance->fleet->is_closing)
        return;
    /* A person's look is under way, or about to begin: it ends with a decision. */
    if (attendance->look_done && (attendance->is_report_due || attendance->wants_visit))
        return;
    switch (verdict) {
    case DECISION_LEAVE:
        attendance->wants_visit = false;
        uv_timer_stop(&attendance->timer);
        if (attendance->visit)
            close_visit(attendance, has_reset(attendance));
        return;
    case DECISION_WAIT:
        wait(attendance);
        return;
    case DECISION_LOOK:
        look(attendance);
        return;
    case DECISION_RESET:
        reset(attendance);
        return;
    case DECISION_COACH:
        coach(attendance);
        return;
    case DECISION_FLASH:
        if (is_stale(attendance))
            look_again(attendance);
        else
            flash(attendance);
        return;
    case DECISION_RESUME:
        if (is_stale(attendance))
            look_again(attendance);
        else
            resume(attendance);
        return;
    case DECISION_VERDICT_COUNT:
        return;
    }
}

void attendance_give_way(struct fleet_device *device) {
    struct attendance *attendance = device->attendance;
    struct fault fault;

    uv_timer_stop(&attendance->timer);
    attendance->is_held = attendance->is_failed = false;
    attendance->is_settled = true;
    fault_set(&fault, WIPYD_ERROR_DEVICE_BUSY, "job %u has begun on %s", device->job->id, device->name);
    answer_look(attendance, &fault);
    attendance->is_report_due = false;
    close_visit(attendance, false);
}

static bool has_written(const struct fleet_job *job) {
    return job->record.state == WIPYD_JOB_STATE_DONE && job->record.kind == WIPYD_JOB_KIND_FLASH &&
           !job->record.is_dry_run;
}

void attendance_job_ended(struct fleet_device *device, const struct fleet_job *job) {
    struct attendance *attendance = device->attendance;
    bool is_cut_off = job->record.state == WIPYD_JOB_STATE_INTERRUPTED;

    attendance->coach_until = 0;
    attendance->is_coached_out = false;
    attendance->is_fresh = false;
    attendance->was_looked_at = !is_cut_off;
    if (is_cut_off) {
        attendance->syncs_left = attendance->fleet->config->syncs;
        /* Where nobody tells of an unplug, the port is tried again, but not at once. */
        attendance->is_failed = device->is_by_hand && !attendance->fleet->is_closing;
    }
    attendance->was_reset = false;
    /* A job may have been quicker than the first look: only an ESP32 tells it a MAC. */
    if (*job->status.board.mac) {
        attendance->seen = BOARD_SEEN_DOWNLOAD;
        attendance->is_esp32 = true;
        attendance->is_encrypted |= job->status.fault.code == WIPYD_ERROR_FLASH_ENCRYPTED;
        attendance->is_secure_boot |= job->status.fault.code == WIPYD_ERROR_SECURE_BOOT;
    }
    /* One that never reached a board says nothing about it. */
    if (job->record.state == WIPYD_JOB_STATE_CANCELLED ||
        (job->record.state == WIPYD_JOB_STATE_FAILED && *job->status.board.mac))
        attendance->has_ended_now = true;
    if (has_written(job)) {
        attendance->was_flashed_now = true;
        attendance->is_confirmed_now = job->status.has_started;
        attendance->flashed_job = job->id;
        attendance->has_ended_now = false;
        attendance->seen = job->status.has_started ? BOARD_SEEN_FIRMWARE : BOARD_SEEN_NOTHING;
    }
    if (!attendance->fleet->is_closing)
        attend(device, "a job has ended");
    go_on(attendance);
}

void attendance_job_given_up(struct fleet_device *device, uint32_t job) {
    struct attendance *attendance = device->attendance;

    if (device->job || device->decided.pending_job != job || attendance->fleet->is_closing)
        return;
    attendance->has_ended_now = device->is_present;
    attendance->coach_until = 0;
    attendance->is_coached_out = false;
    attend(device, "a job was cancelled");
}

void fleet_look(struct fleet *fleet, struct fleet_device *device, const struct fleet_options *options,
                fleet_look_fn done, void *userdata) {
    struct attendance *attendance = device->attendance;
    struct flash_visit_request request = new_request(attendance);
    struct fault fault = { 0 };
    const char *from;

    if (fleet->is_closing)
        fault_set(&fault, WIPYD_ERROR_SHUTTING_DOWN, "no look is begun any more");
    else if (device->unhandled)
        fault_set(&fault, WIPYD_ERROR_ADAPTER_UNHANDLED, "%s", device->unhandled);
    else if (fleet_policy(fleet, device, &from) == BOARD_POLICY_OFF)
        fault_set(&fault, WIPYD_ERROR_POLICY_OFF, "by the %s's policy", from);
    else if (device->job)
        fault_set(&fault, WIPYD_ERROR_DEVICE_BUSY, "job %u is under way on %s", device->job->id,
                  device->name);
    else if (attendance->look_done)
        fault_set(&fault, WIPYD_ERROR_DEVICE_BUSY, "somebody else's look is under way on %s", device->name);
    else if (!device->is_present)
        fault_set(&fault, WIPYD_ERROR_PORT_GONE, "%s is not plugged in", device->name);
    if (fault.code != WIPYD_ERROR_NONE) {
        done(userdata, &fault);
        return;
    }
    attendance->look_done = done;
    attendance->look_userdata = userdata;
    attendance->is_settled = true;
    attendance->is_held = attendance->is_failed = false;
    attendance->tries = 0;
    request.syncs = fleet->config->syncs;
    request.may_speak = true;
    request.may_stop_program = options->repl;
    visit(attendance, &request);
}

/* ---- plug and unplug ------------------------------------------------------------------------- */

static void forget_this_time(struct attendance *attendance) {
    struct fleet_device *device = attendance->device;

    memset(&device->board, 0, sizeof device->board);
    *device->holder = 0;
    attendance->is_settled = attendance->is_held = attendance->is_failed = false;
    attendance->was_looked_at = attendance->was_reset = attendance->is_coached_out = false;
    attendance->was_flashed_now = attendance->is_confirmed_now = attendance->has_ended_now = false;
    attendance->is_fresh = false;
    attendance->has_lines = true;
    attendance->seen = BOARD_SEEN_NOTHING;
    attendance->is_esp32 = attendance->is_encrypted = attendance->is_secure_boot = false;
    attendance->syncs_left = attendance->fleet->config->syncs;
    attendance->syncs_stand = false;
    attendance->tries = 0;
    attendance->coach_until = 0;
}

int attendance_new(struct fleet *fleet, struct fleet_device *device) {
    struct attendance *attendance = calloc(1, sizeof *attendance);

    if (!attendance)
        return -ENOMEM;
    attendance->fleet = fleet;
    attendance->device = device;
    device->attendance = attendance;
    uv_timer_init(fleet->loop, &attendance->timer);
    attendance->timer.data = attendance;
    forget_this_time(attendance);
    return 0;
}

void attendance_begin(struct fleet_device *device, const char *event) {
    struct attendance *attendance = device->attendance;
    struct fleet *fleet = attendance->fleet;

    if (fleet->is_closing)
        return;
    forget_this_time(attendance);
    device->is_present = true;
    fleet_learn(fleet, device);
    attendance->is_settled = fleet->config->settle_ms == 0;
    attend(device, event);
}

void attendance_end(struct fleet_device *device) {
    struct attendance *attendance = device->attendance;
    struct fault fault;

    device->is_present = false;
    uv_timer_stop(&attendance->timer);
    attendance->wants_visit = false;
    fault_set(&fault, WIPYD_ERROR_PORT_GONE, "%s was unplugged", device->name);
    answer_look(attendance, &fault);
    /* A job finds out by itself, and keeps what it knows until then. */
    if (!device->job)
        forget_this_time(attendance);
    attend(device, "unplugged");
    close_visit(attendance, false);
}

void attendance_stop(struct fleet_device *device) {
    struct attendance *attendance = device->attendance;
    struct fault fault;

    uv_timer_stop(&attendance->timer);
    attendance->wants_visit = false;
    fault_set(&fault, WIPYD_ERROR_SHUTTING_DOWN, "while looking at %s", device->name);
    answer_look(attendance, &fault);
    if (attendance->visit)
        close_visit(attendance, has_reset(attendance));
}
