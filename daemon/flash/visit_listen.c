/* What the board says by itself, and whether a ROM answers: listening, SYNC, reset. */

#include <assert.h>

#include "daemon/flash/visit_steps.h"

enum {
    BOOT_QUIET_MS = 3000,     /* visit.h's */
    BOOT_MOST_MS = 10000,     /* a board that never stops talking */
    BOOTS_MOST = 2,           /* a board in a boot loop never comes to rest */
    LAST_BOOT_MS = 300,       /* the ROM's log takes 25 ms, the bootloader's verdict a little more */
    DOWNLOAD_SETTLE_MS = 30,  /* from the ROM's last word to its first listening */
    DOWNLOAD_ROUNDS_MOST = 3, /* a board that says "waiting for download" for ever */
    RESET_ATTEMPTS = 4,       /* one of each sequence */
    SYNCS_AFTER_RESET = 5,    /* as a job does */
    GPIO0 = 0x10,             /* of "boot:0x13": set means the application */
};

static void linger(struct flash_visit *visit);
static void follow_boot(struct flash_visit *visit);
static void listen_first(struct flash_visit *visit);
static void listen_on(struct flash_visit *visit);
static void send_sync(struct flash_visit *visit);
static bool take_answer(struct flash_visit *visit, enum esp_outcome outcome, const struct esp_reply *reply);

/* ---- a boot ------------------------------------------------------------------------------- */

uint32_t visit_left(const struct flash_visit *visit, uint64_t deadline) {
    uint64_t now = uv_now(visit->loop);

    if (deadline <= now)
        return 0;
    return deadline - now > UINT32_MAX ? UINT32_MAX : (uint32_t)(deadline - now);
}

void visit_on_text(void *userdata, const uint8_t *bytes, size_t size) {
    struct flash_visit *visit = userdata;
    unsigned resets = esp_link_boot_log(visit->link)->resets;

    /* What was said before a boot were perhaps another firmware's words. */
    if (resets != visit->text_resets) {
        visit->text_resets = resets;
        esp_repl_text_reset(&visit->text);
    }
    esp_repl_text_feed(&visit->text, bytes, size);
}

static bool has_news(const struct flash_visit *visit) {
    const struct boot_log *log = esp_link_boot_log(visit->link);

    return log->resets != visit->resets_taken || log->downloads != visit->downloads_taken;
}

static void forget_news(struct flash_visit *visit) {
    const struct boot_log *log = esp_link_boot_log(visit->link);

    visit->resets_taken = log->resets;
    visit->downloads_taken = log->downloads;
}

static void on_settled(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_visit *visit = userdata;

    (void)reply;
    if (!visit_is_gone(visit, outcome))
        visit_sync(visit);
}

/* The board has said "waiting for download". */
static void answer_download(struct flash_visit *visit) {
    if (visit->request.is_quiet || visit->rounds == DOWNLOAD_ROUNDS_MOST) {
        visit->stage = STAGE_REPORT;
        visit_without_rom(visit);
        return;
    }
    visit->rounds++;
    esp_link_listen(visit->link, DOWNLOAD_SETTLE_MS, on_settled);
}

bool visit_take_news(struct flash_visit *visit) {
    const struct boot_log *log = esp_link_boot_log(visit->link);
    /* A supply that has given way twice keeps the last word. */
    bool is_download = log->downloads != visit->downloads_taken &&
                       (log->verdict == BOOT_LOG_DOWNLOAD || log->verdict == BOOT_LOG_BROWNOUT);
    unsigned boots = log->resets - visit->resets_taken;

    if (!has_news(visit))
        return false;
    if (boots)
        visit->is_stopped = false; /* the program that was has ended with the boot */
    forget_news(visit);
    visit_forget_board(visit);
    if (is_download) {
        answer_download(visit);
        return true;
    }
    if (!visit->boots)
        visit->boot_end = uv_now(visit->loop) + BOOT_MOST_MS;
    visit->boots += boots;
    if (visit->boots >= BOOTS_MOST &&
        visit->boots - boots < BOOTS_MOST) /* enough of it, but for the end of this log */
        visit->boot_end = uv_now(visit->loop) + LAST_BOOT_MS;
    visit->until = uv_now(visit->loop) + BOOT_QUIET_MS;
    follow_boot(visit);
    return true;
}

/* Where a boot leads to. */
static void on_boot_text(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_visit *visit = userdata;

    (void)reply;
    if (visit_is_gone(visit, outcome))
        return;
    if (visit_take_news(visit))
        return;
    if (visit_left(visit, visit->until)) /* it was woken by text */
        visit->until = uv_now(visit->loop) + BOOT_QUIET_MS;
    follow_boot(visit);
}

static bool is_at_rest(const struct flash_visit *visit) {
    const struct boot_log *log = esp_link_boot_log(visit->link);
    bool has_failed = log->verdict == BOOT_LOG_PANIC || log->verdict == BOOT_LOG_BROWNOUT ||
                      log->verdict == BOOT_LOG_NO_BOOT;
    /* Where the straps say download, that is still to come: the verdict is older. */
    bool is_application = log->boot_value < 0 || log->boot_value & GPIO0;

    return (has_failed && is_application) || visit->text.has_banner || !visit_left(visit, visit->until) ||
           !visit_left(visit, visit->boot_end);
}

static void follow_boot(struct flash_visit *visit) {
    uint64_t until = visit->until < visit->boot_end ? visit->until : visit->boot_end;

    if (is_at_rest(visit))
        visit_without_rom(visit);
    else
        esp_link_hear(visit->link, visit_left(visit, until), on_boot_text);
}

/* ---- listening ------------------------------------------------------------------------------ */

static void on_first_text(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_visit *visit = userdata;

    (void)reply;
    if (!visit_is_gone(visit, outcome) && !visit_take_news(visit))
        listen_first(visit);
}

static void listen_first(struct flash_visit *visit) {
    uint32_t left = visit_left(visit, visit->until);

    if (visit->text.has_banner) { /* a firmware is there for certain: it need not be bothered */
        visit_without_rom(visit);
    } else if (left) {
        esp_link_hear(visit->link, left, on_first_text);
    } else if (!visit->request.is_quiet && visit->request.syncs) {
        visit->syncs_left = visit->request.syncs;
        send_sync(visit);
    } else {
        visit_without_rom(visit);
    }
}

void visit_listen_first(struct flash_visit *visit) {
    visit->until = uv_now(visit->loop) + visit->request.listen_ms;
    listen_first(visit);
}

static void on_more_text(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_visit *visit = userdata;

    if (visit_is_gone(visit, outcome) || take_answer(visit, outcome, reply) || visit_take_news(visit))
        return;
    if (visit->text.has_banner)
        visit_report(visit, true);
    else
        listen_on(visit);
}

/* A chip that a daemon before us has left erasing answers our SYNCs when it is done, seconds later. */
static void hear_more(struct flash_visit *visit, uint32_t ms) {
    if (visit->report.syncs &&
        (visit->report.seen == BOARD_SEEN_SILENT || visit->report.seen == BOARD_SEEN_NOISE))
        esp_link_hear_sync(visit->link, ms, on_more_text);
    else
        esp_link_hear(visit->link, ms, on_more_text);
}

static void listen_on(struct flash_visit *visit) {
    uint32_t left = visit_left(visit, visit->listen_end);

    if (left)
        hear_more(visit, left);
    else
        visit_report(visit, false);
}

void flash_visit_listen(struct flash_visit *visit, uint64_t ms) {
    uint64_t now = uv_now(visit->loop);

    assert(visit->is_resting && visit->link && !visit->is_gone && !visit->is_closing);
    visit->is_resting = false;
    visit->is_listening_on = true;
    visit->listen_end = ms > UINT64_MAX - now ? UINT64_MAX : now + ms;
    visit->stage = STAGE_REPORT;
    visit->rounds = visit->boots = visit->failures = 0;
    /* What came since the report is not waited for. */
    hear_more(visit, has_news(visit) || visit->text.has_banner ? 0 : visit_left(visit, visit->listen_end));
}

/* ---- SYNC and reset -------------------------------------------------------------------------- */

/* True: somebody's loader answered, and is dealt with. */
static bool take_answer(struct flash_visit *visit, enum esp_outcome outcome, const struct esp_reply *reply) {
    if (outcome != ESP_OK || !reply)
        return false;
    visit->is_resetting = visit->is_unreadable = false;
    forget_news(visit);
    visit->is_stub = reply->value != ESP_SYNC_ROM;
    if (visit->is_stub && visit_may_reset(visit)) /* the ROM says more, and has no past */
        visit_without_rom(visit);
    else
        visit_read(visit);
    return true;
}

static void on_synced(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_visit *visit = userdata;

    if (visit_is_gone(visit, outcome) || take_answer(visit, outcome, reply))
        return;
    if (!visit->is_resetting && visit_take_news(visit))
        return;
    send_sync(visit);
}

static void send_sync(struct flash_visit *visit) {
    if (visit->syncs_left) {
        visit->syncs_left--;
        visit->report.syncs++;
        esp_link_sync(visit->link, 1, 0, on_synced); /* one attempt is one frame */
    } else if (visit->is_resetting) {
        visit_reset(visit);
    } else {
        visit->until = uv_now(visit->loop) + visit->request.listen_ms;
        linger(visit);
    }
}

void visit_sync(struct flash_visit *visit) {
    visit->syncs_left = visit->request.syncs ? visit->request.syncs : 1;
    send_sync(visit);
}

static void on_late_text(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_visit *visit = userdata;

    if (visit_is_gone(visit, outcome) || take_answer(visit, outcome, reply) || visit_take_news(visit))
        return;
    linger(visit);
}

/* After the last SYNC, whose answer may come late. */
static void linger(struct flash_visit *visit) {
    uint32_t left = visit_left(visit, visit->until);

    if (left)
        esp_link_hear_sync(visit->link, left, on_late_text);
    else
        visit_without_rom(visit);
}

static bool has_booted_application(const struct flash_visit *visit) {
    const struct boot_log *log = esp_link_boot_log(visit->link);

    return log->resets != visit->resets_taken && log->verdict != BOOT_LOG_DOWNLOAD && log->boot_value > 0 &&
           log->boot_value & GPIO0;
}

static void on_reset(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_visit *visit = userdata;

    (void)reply;
    if (visit_is_gone(visit, outcome))
        return;
    visit->syncs_left = has_booted_application(visit) ? 0 : SYNCS_AFTER_RESET;
    send_sync(visit);
}

void visit_reset(struct flash_visit *visit) {
    if (visit->reset_attempt < RESET_ATTEMPTS) {
        forget_news(visit);
        visit_forget_board(visit);
        visit->is_resetting = visit->report.was_reset = true;
        esp_link_reset(visit->link, esp_reset_to_download(visit->reset_attempt++), on_reset);
        return;
    }
    visit->is_resetting = false;
    visit->boots = 0;
    visit->rounds = DOWNLOAD_ROUNDS_MOST; /* what was said after a reset has been answered */
    if (!visit_take_news(visit))
        visit_without_rom(visit);
}
