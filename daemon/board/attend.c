/*
 * One port from plug to unplug: every event leads to one decision, which is recorded and acted on. What may
 * be under way is one thing at a time: a visit, its closing, or the device's job.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/base/log_events.h"
#include "daemon/board/coach.h"
#include "daemon/board/decision_rules.h"
#include "daemon/board/inside.h"

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

    if (device->rule == DECISION_RULE_HELD)
        fields.message_id = LOG_EVENT_PORT_HELD;
    log_with(LOG_INFO, &fields, "%s: %s: %s", device->event,
             decision_verdict_word(decision_rule_at(device->rule)->verdict), device->reason);
    fields.message_id = NULL;
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
        (is_news || strcmp(event, HEARD_EVENT) != 0 || attendance->told_seen_us != device->seen_us)) {
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
    if (is.policy != was->policy) /* somebody has thought about it */
        attendance->has_ended_now = false;
    if (is.is_armed && !was->is_armed) {
        attendance->was_reset = false;
        look_armed(attendance);
    }
    attend(device, event);
}

void attendance_on_timer(uv_timer_t *timer) {
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
        uv_timer_start(&attendance->timer, attendance_on_timer, attendance->fleet->config->settle_ms, 0);
    else if (attendance->is_held || attendance->is_failed)
        attendance_try_again_later(attendance);
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
            attendance_close_visit(attendance, attendance_has_reset(attendance));
        return;
    case DECISION_WAIT:
        wait(attendance);
        return;
    case DECISION_LOOK:
        attendance_look(attendance);
        return;
    case DECISION_RESET:
        attendance_reset(attendance);
        return;
    case DECISION_COACH:
        attendance_coach(attendance);
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
    if (device->job)
        fault_set(&fault, WIPYD_ERROR_DEVICE_BUSY, "job %u has begun on %s", device->job->id, device->name);
    else
        fault_set(&fault, WIPYD_ERROR_DEVICE_BUSY, "%s is leased to %s", device->name, device->lessee);
    attendance_answer_look(attendance, &fault);
    attendance->is_report_due = attendance->wants_visit = false;
    attendance_close_visit(attendance, !device->job && attendance_has_reset(attendance));
}

static bool has_written(const struct fleet_job *job) {
    return job->record.state == WIPYD_JOB_STATE_DONE && job->record.kind == WIPYD_JOB_KIND_FLASH &&
           !job->record.is_dry_run;
}

void attendance_job_ended(struct fleet_device *device, const struct fleet_job *job) {
    struct attendance *attendance = device->attendance;
    bool is_cut_off = job->record.state == WIPYD_JOB_STATE_INTERRUPTED;
    /* Who was there it hasn't found out. */
    bool is_early = job->record.state == WIPYD_JOB_STATE_CANCELLED && !*job->status.board.mac;

    attendance->coach_until = 0;
    attendance->is_coached_out = false;
    attendance->is_fresh = false;
    if (!is_early)
        attendance->was_looked_at = !is_cut_off;
    if (is_cut_off || is_early)
        attendance->syncs_left = attendance->fleet->config->syncs;
    /* Where nobody tells of an unplug, the port is tried again, but not at once. */
    if (is_cut_off)
        attendance->is_failed = device->is_by_hand && !attendance->fleet->is_closing;
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
        if (job->status.has_started)
            attendance->seen = BOARD_SEEN_FIRMWARE;
        else if (!device->is_by_hand) /* what is heard next tells whether the wire was taken off */
            attendance->seen = BOARD_SEEN_NOTHING;
    }
    if (!attendance->fleet->is_closing)
        attend(device, "a job has ended");
    attendance_go_on(attendance);
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
    struct flash_visit_request request = attendance_new_request(attendance);
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
    else if (*device->lessee)
        fault_set(&fault, WIPYD_ERROR_DEVICE_BUSY, "%s is leased to %s", device->name, device->lessee);
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
    attendance_visit(attendance, &request);
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
    attendance_answer_look(attendance, &fault);
    /* A job finds out by itself, and keeps what it knows until then. */
    if (!device->job)
        forget_this_time(attendance);
    attend(device, "unplugged");
    attendance_close_visit(attendance, false);
}

void attendance_stop(struct fleet_device *device) {
    struct attendance *attendance = device->attendance;
    struct fault fault;

    uv_timer_stop(&attendance->timer);
    attendance->wants_visit = false;
    fault_set(&fault, WIPYD_ERROR_SHUTTING_DOWN, "while looking at %s", device->name);
    attendance_answer_look(attendance, &fault);
    if (attendance->visit)
        attendance_close_visit(attendance, attendance_has_reset(attendance));
}
