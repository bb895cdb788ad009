/*
 * The one visit that a port may have at a time: begun, listened on with, closed; what it reports. When the
 * port is free again, whatever waits for that goes on: another visit, or the device's job.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/board/inside.h"

enum {
    TRY_AGAIN_FIRST_MS = 1000, /* a port that is held, or can't be opened: doubled each time */
    TRY_AGAIN_MOST_MS = 60 * 1000,
};

/* ---- the visit ------------------------------------------------------------------------------- */

static void on_report(void *userdata, struct flash_visit *visit, const struct flash_visit_report *report);

static const struct flash_visit_events visit_events = { .on_report = on_report };

void attendance_answer_look(struct attendance *attendance, const struct fault *fault) {
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
        attendance_answer_look(attendance, &fault);
        return;
    }
    attendance->is_report_due = true;
}

void attendance_go_on(struct attendance *attendance) {
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
            fleet_job_enter(device->job);
    } else if (attendance->wants_visit && device->is_present && !attendance->fleet->is_closing) {
        start_visit(attendance);
    }
    if (*device->lessee && !attendance->is_removed)
        attendance->fleet->events->on_device_changed(attendance->fleet->userdata, device);
    fleet_close_when_idle(attendance->fleet);
}

static void on_visit_closed(void *userdata) {
    struct attendance *attendance = userdata;

    attendance->visit = NULL;
    attendance->is_visit_closing = false;
    attendance->is_report_due = false;
    attendance->is_fresh = false;
    attendance_go_on(attendance);
}

/* A visit that is broken off has sent some as well. */
static void count_syncs(struct attendance *attendance) {
    unsigned all = flash_visit_syncs(attendance->visit), sent = all - attendance->syncs_counted;

    attendance->syncs_counted = all;
    attendance->syncs_left -= sent < attendance->syncs_left ? sent : attendance->syncs_left;
}

void attendance_close_visit(struct attendance *attendance, bool give_back) {
    if (!attendance->visit) {
        attendance_go_on(attendance);
        return;
    }
    if (attendance->is_visit_closing)
        return;
    attendance->is_visit_closing = true;
    attendance->is_report_due = false; /* whoever wants to look meanwhile needs another visit */
    count_syncs(attendance);
    flash_visit_close(attendance->visit, give_back, on_visit_closed, attendance);
}

bool attendance_has_reset(const struct attendance *attendance) {
    return attendance->wanted.may_reset && attendance->seen == BOARD_SEEN_DOWNLOAD;
}

/* Takes the place of a visit that is under way. */
void attendance_visit(struct attendance *attendance, const struct flash_visit_request *request) {
    uv_timer_stop(&attendance->timer);
    attendance->wanted = *request;
    attendance->wants_visit = true;
    attendance_close_visit(attendance, false);
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

struct flash_visit_request attendance_new_request(const struct attendance *attendance) {
    return (struct flash_visit_request) { .node = attendance->device->node,
                                          .device = attendance->device->name,
                                          .listen_ms = attendance->fleet->config->listen_ms,
                                          .version_at = version_at(attendance->fleet),
                                          .syncs = attendance->syncs_left,
                                          .syncs_stand = attendance->syncs_stand };
}

void attendance_look(struct attendance *attendance) {
    struct flash_visit_request request = attendance_new_request(attendance);

    if (attendance->is_report_due)
        return; /* one is under way */
    request.may_speak = fleet_is_armed(attendance->fleet, attendance->device);
    attendance_visit(attendance, &request);
}

void attendance_reset(struct attendance *attendance) {
    struct flash_visit_request request = attendance_new_request(attendance);

    if (attendance->is_report_due && attendance->wanted.may_reset)
        return;
    request.may_reset = true;
    request.syncs = attendance->fleet->config->syncs;
    attendance_visit(attendance, &request);
}

void attendance_try_again_later(struct attendance *attendance) {
    uint64_t ms = TRY_AGAIN_FIRST_MS;

    for (unsigned i = 0; i < attendance->tries && ms < TRY_AGAIN_MOST_MS; i++)
        ms *= 2;
    if (ms > TRY_AGAIN_MOST_MS)
        ms = TRY_AGAIN_MOST_MS;
    attendance->tries++;
    uv_timer_start(&attendance->timer, attendance_on_timer, ms, 0);
}

void attendance_coach(struct attendance *attendance) {
    struct flash_visit_request request = attendance_new_request(attendance);
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
    attendance_visit(attendance, &request);
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
    if (report->seen == BOARD_SEEN_DOWNLOAD || *report->board.mac) {
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
    attendance_close_visit(attendance, false);
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
            attendance_try_again_later(attendance);
        else
            attend(device, "the port can't be used");
        attendance_answer_look(attendance, &fault);
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
                   : report->is_new      ? HEARD_EVENT
                                         : "looked at");
    attendance_answer_look(attendance, NULL);
}
