#include "daemon/flash/visit.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/flash/visit_steps.h"
#include "daemon/serial/port.h"

/* Fewer come of plugging in alone. */
#define GLITCH_BYTES 4

/* ---- the report ------------------------------------------------------------------------------ */

static enum board_seen judge(const struct flash_visit *visit) {
    const struct boot_log *log = esp_link_boot_log(visit->link);
    bool has_words = *visit->report.board.board;

    if (visit->is_stub)
        return BOARD_SEEN_STUB;
    if (visit->is_unreadable)
        return BOARD_SEEN_NOISE;
    switch (log->verdict) {
    case BOOT_LOG_DOWNLOAD:
        return BOARD_SEEN_DEAF;
    case BOOT_LOG_FIRMWARE:
        return BOARD_SEEN_FIRMWARE;
    case BOOT_LOG_NO_BOOT:
        return BOARD_SEEN_NO_BOOT;
    case BOOT_LOG_PANIC:
        return BOARD_SEEN_PANIC;
    case BOOT_LOG_BROWNOUT:
        return BOARD_SEEN_BROWNOUT;
    case BOOT_LOG_NOTHING:
    case BOOT_LOG_GARBAGE:
        break;
    }
    if (has_words || visit->is_echoing)
        return BOARD_SEEN_FIRMWARE;
    if (log->n_text + log->n_garbage < GLITCH_BYTES)
        return BOARD_SEEN_SILENT;
    /* An unfinished line is somebody's, too: that of a prompt at which our SYNC shows as "$ UUUU", for
     * example. A whole SYNC come back is no text: nobody but a wire, or the ROM's BASIC, does that. */
    return log->verdict == BOOT_LOG_NOTHING ? BOARD_SEEN_FIRMWARE : BOARD_SEEN_NOISE;
}

void visit_forget_board(struct flash_visit *visit) {
    struct flash_visit_report *report = &visit->report;

    report->seen = BOARD_SEEN_NOTHING;
    report->board = (struct flash_board) { 0 };
    report->is_confirmed = report->is_esp32 = report->is_encrypted = report->is_secure_boot = false;
    visit->is_stub = visit->is_unreadable = visit->is_echoing = false;
}

void visit_take_words(struct flash_visit *visit) {
    struct flash_board *board = &visit->report.board;
    const struct esp_repl_words *words = &visit->text.words;

    if (!visit->text.has_banner && !visit->text.has_uname)
        return;
    visit->text.has_banner = visit->text.has_uname = false;
    if (visit->report.seen == BOARD_SEEN_DOWNLOAD) /* left without a word */
        visit_forget_board(visit);
    /* An old banner, without a release, takes nothing back of what uname said. */
    if (*words->release || strcmp(board->board, words->board) != 0)
        snprintf(board->release, sizeof board->release, "%s", words->release);
    snprintf(board->board, sizeof board->board, "%s", words->board);
    visit->report.is_confirmed = *board->board && *board->release;
}

static void tell(struct flash_visit *visit, bool is_new) {
    const struct log_fields fields = { .device = visit->device, .board = visit->report.board.mac };

    visit->report.is_new = is_new && visit->is_listening_on;
    visit->is_listening_on = false;
    visit->is_resting = true;
    if (visit->report.fault.code != WIPYD_ERROR_NONE)
        log_with(LOG_DEBUG, &fields, "%s", visit->report.fault.story);
    else
        log_with(LOG_DEBUG, &fields, "seen: %s", board_seen_word(visit->report.seen));
    visit->events->on_report(visit->userdata, visit, &visit->report);
}

void visit_report(struct flash_visit *visit, bool is_new) {
    const struct boot_log *log = esp_link_boot_log(visit->link);
    struct flash_visit_report *report = &visit->report;

    visit_take_words(visit);
    /* A ROM that was read goes on being one until something else is heard. */
    if (report->seen != BOARD_SEEN_DOWNLOAD)
        report->seen = judge(visit);
    report->resets = log->resets;
    report->downloads = log->downloads;
    snprintf(report->quote, sizeof report->quote, "%s",
             visit->is_unreadable             ? "a boot ROM answered, but could not be read"
             : strstr(log->quote, "UUUUUUUU") ? "" /* our own words */
                                              : log->quote);
    tell(visit, is_new);
}

static void report_fault(struct flash_visit *visit, int r) {
    visit->report = (struct flash_visit_report) { .syncs = visit->report.syncs };
    flash_board_port_fault(&visit->report.fault, visit->node, r, visit->holder);
    if (visit->report.fault.code == WIPYD_ERROR_PORT_BUSY)
        snprintf(visit->report.holder, sizeof visit->report.holder, "%s", visit->holder);
    tell(visit, true);
}

static void on_port_gone(void *userdata) {
    struct flash_visit *visit = userdata;

    if (visit->is_closing) {
        visit_close_link(visit);
        return;
    }
    if (visit->is_gone)
        return;
    visit->is_gone = true;
    report_fault(visit, -ENODEV);
}

bool visit_is_gone(struct flash_visit *visit, enum esp_outcome outcome) {
    if (outcome != ESP_GONE)
        return false;
    on_port_gone(visit);
    return true;
}

/* ---- where no ROM answers ------------------------------------------------------------------------ */

/* Only where somebody may be at a prompt: a ROM takes nothing but SYNC, and noise is no prompt. */
static bool may_say(const struct flash_visit *visit, bool is_allowed) {
    enum board_seen seen = judge(visit);

    return is_allowed && !visit->request.is_quiet && !visit->report.is_confirmed &&
           (seen == BOARD_SEEN_SILENT || seen == BOARD_SEEN_FIRMWARE);
}

/* A firmware that has said who it is is left alone: the caller decides whether to reset it. */
bool visit_may_reset(const struct flash_visit *visit) {
    return visit->request.may_reset && !visit->request.is_quiet && visit->report.has_lines &&
           !(visit->request.may_speak && visit->report.is_confirmed);
}

void visit_without_rom(struct flash_visit *visit) {
    visit_take_words(visit);
    while (visit->stage != STAGE_REPORT) {
        switch (visit->stage++) {
        case STAGE_SPEAK:
            if (!may_say(visit, visit->request.may_speak))
                break;
            visit_speak(visit);
            return;
        case STAGE_STOP:
            if (!may_say(visit, visit->request.may_stop_program))
                break;
            visit_stop_program(visit);
            return;
        case STAGE_RESET:
            if (!visit_may_reset(visit))
                break;
            visit_reset(visit);
            return;
        case STAGE_REPORT:
            break;
        }
    }
    visit_report(visit, true);
}

/* ---- start and close ------------------------------------------------------------------------- */

static void on_part_closed(struct flash_visit *visit) {
    if (--visit->n_pending)
        return;
    visit->on_closed(visit->closed_userdata);
    free(visit->node);
    free(visit->device);
    free(visit);
}

static void on_timer_closed(uv_handle_t *handle) {
    on_part_closed(handle->data);
}

static void on_link_closed(void *userdata) {
    on_part_closed(userdata);
}

void visit_close_link(struct flash_visit *visit) {
    esp_link_close(visit->link, on_link_closed, visit);
}

static void find_holder(uv_work_t *work) {
    struct flash_visit *visit = work->data;

    visit->is_due_again = false;
    if (serial_holder_find(visit->node, visit->holder, sizeof visit->holder))
        return;
    *visit->holder = 0;
    visit->is_due_again = visit->is_locked && serial_holder_wait(&visit->open_turns);
}

static void look_for_holder(struct flash_visit *visit);

static void on_holder(uv_work_t *work, int status) {
    struct flash_visit *visit = work->data;
    int r;

    (void)status; /* cancelled only where it is closing */
    visit->is_working = false;
    if (visit->is_closing) {
        on_part_closed(visit);
        return;
    }
    r = *visit->holder ? -EBUSY : esp_link_open(&visit->link, visit->loop, visit->node, on_port_gone, visit);
    if (r == -EBUSY && !*visit->holder && (!visit->is_locked || visit->is_due_again)) {
        visit->is_locked = true;
        look_for_holder(visit);
        return;
    }
    if (r < 0) {
        report_fault(visit, r);
        return;
    }
    esp_link_on_text(visit->link, visit_on_text);
    visit->report.has_lines = esp_link_has_lines(visit->link);
    visit_listen_first(visit);
}

static void look_for_holder(struct flash_visit *visit) {
    uv_queue_work(visit->loop, &visit->work, find_holder, on_holder); /* fails without a function only */
    visit->is_working = true;
}

int flash_visit_start(struct flash_visit **ret, uv_loop_t *loop, const struct flash_visit_request *request,
                      const struct flash_visit_events *events, void *userdata) {
    struct flash_visit *visit = calloc(1, sizeof *visit);

    if (!visit)
        return -ENOMEM;
    visit->loop = loop;
    visit->request = *request;
    visit->events = events;
    visit->userdata = userdata;
    visit->node = strdup(request->node);
    visit->device = strdup(request->device);
    if (!visit->node || !visit->device) {
        free(visit->node);
        free(visit->device);
        free(visit);
        return -ENOMEM;
    }
    visit->request.node = visit->node;
    visit->request.device = visit->device;
    visit->work.data = visit->timer.data = visit;
    uv_timer_init(loop, &visit->timer);
    look_for_holder(visit);
    *ret = visit;
    return 0;
}

unsigned flash_visit_syncs(const struct flash_visit *visit) {
    return visit->report.syncs;
}

static void on_given_back(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    (void)outcome;
    (void)reply;
    visit_close_link(userdata);
}

void flash_visit_close(struct flash_visit *visit, bool give_back, void (*on_closed)(void *userdata),
                       void *userdata) {
    assert(!visit->is_closing);
    visit->is_closing = true;
    visit->on_closed = on_closed;
    visit->closed_userdata = userdata;
    visit->n_pending = 1u + (visit->link ? 1 : 0) + (visit->is_working ? 1 : 0);
    uv_close((uv_handle_t *)&visit->timer, on_timer_closed);
    if (visit->is_working)
        (void)!uv_cancel((uv_req_t *)&visit->work); /* one that runs already comes to its end */
    if (!visit->link)
        return;
    if (visit->is_gone) {
        visit_close_link(visit);
    } else if (give_back && visit->report.was_reset) {
        esp_link_stop(visit->link);
        esp_link_reset(visit->link, &esp_reset_to_application, on_given_back);
    } else if (visit->is_stopped) {
        visit_restart_program(visit);
    } else {
        visit_close_link(visit);
    }
}
