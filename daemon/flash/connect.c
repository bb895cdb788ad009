/* From the port to a chip that listens at the rate wanted, and back again. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/base/bytes.h"
#include "daemon/esp/repl.h"
#include "daemon/flash/board.h"
#include "daemon/flash/phases.h"
#include "daemon/serial/port.h"

enum {
    RESET_ATTEMPTS = 4,    /* one of each sequence */
    SYNCS_AFTER_RESET = 5, /* some boards need more than a few (facts 3) */
    SYNCS_FIRST = 10,
    SYNCS_OTHER_RATE = 2,
    SYNCS_LISTENING = 2,
    ROM_RATES = 4,    /* of the ladder: those up to 921600; a stub may have been left at any */
    LISTEN_MS = 1000, /* between two tries while a person is at work */
    BOOT_LISTEN_MS = 500,
    BOOT_LISTEN_ROUNDS = 10,
    BOOT_QUIET_MS = 3000, /* boot.py and main.py come before the banner, and may never end */
};

/* ---- open ------------------------------------------------------------------------------------ */

static void find_holder(struct flash_job *job) {
    char holder[64];

    if (!serial_holder_find(job->node, holder, sizeof holder)) {
        *holder = 0;
        if (serial_holder_wait(&job->open_turns))
            return;
    }
    flash_board_port_fault(&job->work_fault, job->node, -EBUSY, holder);
}

enum step flash_enter_open(struct flash_job *job) {
    int r = esp_link_open(&job->link, job->loop, job->node, flash_job_on_port_gone, job);

    if (r == -EBUSY)
        return flash_job_work(job, find_holder);
    if (r < 0) {
        flash_board_port_fault(&job->status.fault, job->node, r, "");
        return STEP_FAIL;
    }
    job->status.baud = esp_link_baud(job->link);
    if (!esp_link_has_lines(job->link))
        flash_job_log(job, LOG_INFO, "the port has no DTR and RTS: a person has to reset the board");
    else if (!job->may_reset)
        flash_job_log(job, LOG_INFO, "DTR and RTS may not be used: a person has to reset the board");
    return STEP_NEXT;
}

enum step flash_reply_open(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    (void)outcome;
    (void)reply;
    if (job->work_fault.code == WIPYD_ERROR_NONE)
        return STEP_AGAIN;
    job->status.fault = job->work_fault;
    return STEP_FAIL;
}

/* ---- reset and sync -------------------------------------------------------------------------- */

static bool has_resets_left(const struct flash_job *job) {
    return flash_job_has_lines(job) && job->reset_attempt < RESET_ATTEMPTS;
}

enum step flash_enter_reset(struct flash_job *job) {
    if (!has_resets_left(job))
        return STEP_NEXT;
    /* A chip that is reset listens at the first rate again. */
    if (esp_link_baud(job->link) != LADDER_FIRST_BAUD)
        return flash_job_set_link_baud(job, LADDER_FIRST_BAUD);
    flash_job_reset_link(job, esp_reset_to_download(job->reset_attempt++));
    return STEP_WAIT;
}

enum step flash_reply_reset(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    (void)outcome;
    (void)reply;
    /* Only the rate was set if no sequence was begun yet. */
    return job->reset_attempt ? STEP_NEXT : STEP_AGAIN;
}

static unsigned n_rates(const struct flash_job *job) {
    return job->stub ? LADDER_RATES : ROM_RATES;
}

/* The rate of this round: first the usual one, then those at which a job that was cut off may have left the
 * loader, with the one that was asked of it last, then the usual one for as long as a person needs. */

static uint32_t round_baud(const struct flash_job *job) {
    if (job->sync_round >= 1 && job->sync_round < n_rates(job))
        return ladder_rates[n_rates(job) - job->sync_round];
    if (job->sync_round == n_rates(job))
        return job->asked_baud ? job->asked_baud : job->target_baud;
    return LADDER_FIRST_BAUD;
}

static bool is_waiting_for_person(const struct flash_job *job) {
    return job->sync_round > n_rates(job);
}

enum step flash_enter_sync(struct flash_job *job) {
    uint32_t baud;

    if (!job->sync_deadline) {
        job->sync_deadline = uv_now(job->loop) + job->connect_timeout_ms;
        job->sync_round = 0;
        memset(&job->heard, 0, sizeof job->heard);
    }
    baud = has_resets_left(job) ? LADDER_FIRST_BAUD : round_baud(job);
    if (baud != esp_link_baud(job->link)) {
        enum step step = flash_job_set_link_baud(job, baud);

        job->is_setting_rate = step == STEP_WAIT;
        if (step == STEP_WAIT || job->status.fault.code != WIPYD_ERROR_BAUD_UNSUPPORTED)
            return step;
        job->sync_round++; /* at this rate nothing can have left the ROM through this adapter */
        return STEP_AGAIN;
    }
    if (is_waiting_for_person(job)) {
        flash_job_ask_user(job, job->reconnects || job->stub_failures
                                    ? "Press reset on the board, with G23 still joined to GND."
                                    : "Join G23 to GND, then press reset on the board.");
        flash_job_sync_link(job, SYNCS_LISTENING, LISTEN_MS);
    } else if (job->sync_round) {
        flash_job_sync_link(job, SYNCS_OTHER_RATE, 0);
    } else {
        flash_job_sync_link(job, flash_job_has_lines(job) ? SYNCS_AFTER_RESET : SYNCS_FIRST, 0);
    }
    return STEP_WAIT;
}

/* Why no ROM answers, by what the board said. */
static enum step fail_sync(struct flash_job *job) {
    const struct boot_log *log = &job->heard;
    const char *quote = *log->quote ? log->quote : log->line;
    enum wipyd_error not_in_download_mode = job->baud_change_failed ? WIPYD_ERROR_BAUD_FAILED
                                            : job->reconnects       ? WIPYD_ERROR_CHIP_RESET
                                                                    : WIPYD_ERROR_NOT_IN_DOWNLOAD_MODE;
    enum boot_log_verdict verdict = log->verdict;

    /* Lost at a higher rate, and for good: the next job is not to begin there. */
    if (job->lost_baud > LADDER_FIRST_BAUD)
        ladder_give_up(&job->status.ladder, job->lost_baud);
    if (verdict == BOOT_LOG_NOTHING && log->n_text)
        verdict = BOOT_LOG_FIRMWARE;
    switch (verdict) {
    case BOOT_LOG_NOTHING:
        return flash_job_fail(job, job->baud_change_failed ? WIPYD_ERROR_BAUD_FAILED : WIPYD_ERROR_SILENCE,
                              "no byte came from %s in %u s", job->node, job->connect_timeout_ms / 1000);
    case BOOT_LOG_GARBAGE:
        return flash_job_fail(job, job->baud_change_failed ? WIPYD_ERROR_BAUD_FAILED : WIPYD_ERROR_NOISE,
                              "%zu bytes came that are no text, and no answer", log->n_garbage);
    case BOOT_LOG_DOWNLOAD:
        return flash_job_fail(job, WIPYD_ERROR_TX_DEAD, "the board says \"%s\", but answers no SYNC", quote);
    case BOOT_LOG_BROWNOUT:
        return flash_job_fail(job, WIPYD_ERROR_BROWNOUT, "the board says \"%s\"", quote);
    case BOOT_LOG_FIRMWARE:
        return flash_job_fail(job, not_in_download_mode, "the board runs its firmware; it says \"%s\"",
                              quote);
    case BOOT_LOG_NO_BOOT:
        return flash_job_fail(job, not_in_download_mode, "the board finds no firmware; it says \"%s\"",
                              quote);
    case BOOT_LOG_PANIC:
        return flash_job_fail(job, not_in_download_mode, "the board's firmware crashes; it says \"%s\"",
                              quote);
    }
    return STEP_FAIL;
}

/* Remembers what the board said; at the usual rate only, where it is text. */
static void hear(struct flash_job *job) {
    const struct boot_log *log = esp_link_boot_log(job->link);

    if (esp_link_baud(job->link) == LADDER_FIRST_BAUD && (log->n_text || log->n_garbage) &&
        (log->verdict != BOOT_LOG_GARBAGE || !job->heard.n_text))
        job->heard = *log;
    if (esp_link_baud(job->link) != LADDER_FIRST_BAUD)
        esp_link_forget_log(job->link);
}

/* A stub is our own last job's, on a board that only a person can reset. What the ROM's rate needs to know of
 * the chip it doesn't: so it is asked at the rate that is wanted anyway. Who only looks leaves that alone. */
static enum step take_loader(struct flash_job *job, bool is_stub) {
    if (job->phase_to_repeat == WIPYD_PHASE_IDENTIFY)
        job->phase_to_repeat = WIPYD_PHASE_QUEUED;
    if (!is_stub)
        return STEP_NEXT;
    flash_job_log(job, LOG_INFO, "the %s answers, and is used as it is", esp_link_loader(job->link)->word);
    if (job->kind == WIPYD_JOB_KIND_IDENTIFY || job->phase_to_repeat)
        return STEP_NEXT;
    job->phase_to_repeat = WIPYD_PHASE_IDENTIFY;
    return flash_job_goto(job, WIPYD_PHASE_RAISE_BAUD);
}

enum step flash_reply_sync(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    if (job->is_setting_rate) {
        job->is_setting_rate = false;
        return STEP_AGAIN;
    }
    if (outcome == ESP_OK && (reply->value == ESP_SYNC_ROM || !has_resets_left(job))) {
        flash_job_ask_user(job, "");
        job->is_talking = true;
        job->sync_deadline = 0;
        job->status.fault = (struct fault) { 0 };
        return take_loader(job, reply->value != ESP_SYNC_ROM);
    }
    hear(job);
    job->sync_round++;
    if (uv_now(job->loop) >= job->sync_deadline)
        return fail_sync(job);
    return has_resets_left(job) ? flash_job_goto(job, WIPYD_PHASE_RESET) : STEP_AGAIN;
}

/* ---- identify and protect -------------------------------------------------------------------- */

static enum step take_chip(struct flash_job *job) {
    const struct esp_chip *chip = &job->identify.chip;
    struct flash_board *board = &job->status.board;
    char mac_hex[13];
    uint8_t mac[6];

    /* An answer has no checksum: it is believed when it comes a second time. */
    if (chip->magic != ESP_MAGIC_ESP32 && job->attempts + 1 < 2) {
        job->identify.loader = NULL;
        return flash_job_retry(job, WIPYD_ERROR_NOT_ESP32, "the chip's magic is 0x%08x, an ESP32's 0x%08x",
                               chip->magic, ESP_MAGIC_ESP32);
    }
    if (chip->magic != ESP_MAGIC_ESP32)
        return flash_job_fail(job, WIPYD_ERROR_NOT_ESP32, "the chip's magic is 0x%08x, an ESP32's 0x%08x",
                              chip->magic, ESP_MAGIC_ESP32);
    esp_chip_mac(chip, mac);
    hex_encode(mac, sizeof mac, mac_hex);
    if (*job->mac_hex && strcmp(job->mac_hex, mac_hex) != 0)
        return flash_job_fail(job, WIPYD_ERROR_WRONG_CHIP, "the job began with %s, now %s answers",
                              job->mac_hex, mac_hex);
    memcpy(job->mac_hex, mac_hex, sizeof mac_hex);
    /* A stub has changed what the crystal is told by. */
    if (!*board->mac || !esp_link_loader(job->link)->is_stub)
        flash_board_take_chip(board, chip,
                              esp_link_loader(job->link)->is_stub ? 0 : esp_link_baud(job->link));
    if (*job->resumed_mac && strcasecmp(job->resumed_mac, board->mac) != 0)
        return flash_job_fail(job, WIPYD_ERROR_WRONG_CHIP, "the job began with %s, now %s answers",
                              job->resumed_mac, board->mac);
    if (job->kind == WIPYD_JOB_KIND_RESTORE && strcasecmp(job->restore_mac, board->mac) != 0)
        return flash_job_fail(job, WIPYD_ERROR_OTHER_BOARDS_BACKUP, "the backup is of %s, this board is %s",
                              job->restore_mac, board->mac);
    flash_job_log(job, LOG_INFO, "%s, %u MB flash (id %06x)", board->chip, chip->flash_bytes >> 20,
                  chip->jedec);
    if (!chip->flash_bytes)
        return flash_job_fail(job, WIPYD_ERROR_FLASH_SIZE_UNKNOWN, "the flash chip's id is %06x",
                              chip->jedec);
    return STEP_NEXT;
}

enum step flash_enter_identify(struct flash_job *job) {
    struct esp_request request;

    if (!job->identify.loader)
        esp_identify_init(&job->identify, esp_link_loader(job->link));
    if (!esp_identify_next(&job->identify, &request))
        return take_chip(job);
    flash_job_request_link(job, &request);
    return STEP_WAIT;
}

enum step flash_reply_identify(struct flash_job *job, enum esp_outcome outcome,
                               const struct esp_reply *reply) {
    char story[160];

    if (outcome == ESP_OK) {
        esp_identify_take(&job->identify, reply);
        return STEP_AGAIN;
    }
    flash_describe(job, "identifying the chip", outcome, reply, story, sizeof story);
    job->identify.loader = NULL;
    return flash_job_retry(job, outcome == ESP_REFUSED ? WIPYD_ERROR_CHIP_REFUSED : WIPYD_ERROR_NOISE, "%s",
                           story);
}

enum step flash_enter_protect(struct flash_job *job) {
    const struct esp_chip *chip = &job->identify.chip;

    if (job->kind == WIPYD_JOB_KIND_IDENTIFY)
        return STEP_NEXT;
    if (esp_chip_is_encrypted(chip))
        return flash_job_fail(job, WIPYD_ERROR_FLASH_ENCRYPTED, "eFuse word 0 is 0x%08x", chip->efuse[0]);
    if (esp_chip_is_secure_boot(chip))
        return flash_job_fail(job, WIPYD_ERROR_SECURE_BOOT, "eFuse word 6 is 0x%08x", chip->efuse[6]);
    return STEP_NEXT;
}

/* ---- leaving --------------------------------------------------------------------------------- */

/* A chip that nobody can reset for us is left at the rate at which everybody looks for it. */
enum step flash_enter_finish(struct flash_job *job) {
    if (!job->link || !job->is_talking || flash_job_has_lines(job) ||
        esp_link_baud(job->link) == LADDER_FIRST_BAUD)
        return STEP_NEXT;
    flash_ask_chip_baud(job, LADDER_FIRST_BAUD);
    return STEP_WAIT;
}

enum step flash_reply_finish(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    (void)reply;
    if (outcome != ESP_OK)
        flash_job_log(job, LOG_INFO, "the board may still be at %u baud; pressing reset cures that",
                      esp_link_baud(job->link));
    return STEP_NEXT;
}

static void say_goodbye(struct flash_job *job) {
    if (job->kind == WIPYD_JOB_KIND_IDENTIFY || job->dry_run)
        flash_job_tell_user(job, "To run the firmware again, take the wire off G23 and press reset.");
    else if (job->kind == WIPYD_JOB_KIND_RESTORE)
        flash_job_tell_user(
            job, "Take the wire off G23 and press reset: the board then runs with what was put back.");
    else
        flash_job_tell_user(job,
                            "Take the wire off G23 and press reset: the board then runs its new firmware.");
}

/* The firmware's banner, which comes when the programs on the board let it, says its release. */
static bool is_confirmed(struct flash_job *job, const struct boot_log *log) {
    const char *wanted = job->package ? job->package->version.release : NULL;
    struct esp_repl_words words;

    if (!esp_repl_banner_parse(log->quote, &words) || !*words.release)
        return false;
    snprintf(job->status.confirmed_release, sizeof job->status.confirmed_release, "%s", words.release);
    if (wanted && !job->dry_run && strcmp(words.release, wanted) != 0)
        flash_job_log(job, LOG_WARNING, "the board runs %s, and not %s", words.release, wanted);
    return true;
}

/* Waiting for the banner is over: nothing comes any more, or nobody needs it. */
static bool is_at_rest(struct flash_job *job, const struct boot_log *log) {
    uint64_t heard = log->n_text + log->n_garbage;

    if (job->kind == WIPYD_JOB_KIND_IDENTIFY || job->dry_run)
        return true;
    if (heard != job->boot_heard)
        job->boot_heard_ms = uv_now(job->loop);
    job->boot_heard = heard;
    return uv_now(job->loop) - job->boot_heard_ms >= BOOT_QUIET_MS;
}

enum step flash_enter_boot_check(struct flash_job *job) {
    if (!flash_job_has_lines(job) || job->reset_attempt == 0) {
        say_goodbye(job);
        return STEP_NEXT;
    }
    if (esp_link_baud(job->link) != LADDER_FIRST_BAUD)
        return flash_job_set_link_baud(job, LADDER_FIRST_BAUD);
    if (!job->boot_round) {
        esp_link_forget_log(job->link);
        flash_job_reset_link(job, &esp_reset_to_application);
    } else {
        flash_job_listen_link(job, BOOT_LISTEN_MS);
    }
    job->boot_round++;
    return STEP_WAIT;
}

enum step flash_reply_boot_check(struct flash_job *job, enum esp_outcome outcome,
                                 const struct esp_reply *reply) {
    const struct boot_log *log = esp_link_boot_log(job->link);

    (void)outcome;
    (void)reply;
    if (!job->boot_round) /* only the rate was set: the log is still that of the connection */
        return STEP_AGAIN;
    switch (log->verdict) {
    case BOOT_LOG_DOWNLOAD:
        say_goodbye(job);
        return STEP_NEXT;
    case BOOT_LOG_FIRMWARE:
        if (!is_confirmed(job, log) && job->boot_round < BOOT_LISTEN_ROUNDS && !is_at_rest(job, log))
            return STEP_AGAIN;
        job->status.has_started = true;
        flash_job_log(job, LOG_INFO, "the board says \"%s\"", log->quote);
        return STEP_NEXT;
    case BOOT_LOG_NOTHING:
    case BOOT_LOG_GARBAGE:
    case BOOT_LOG_NO_BOOT:
    case BOOT_LOG_PANIC:
    case BOOT_LOG_BROWNOUT:
        break;
    }
    if (job->boot_round < BOOT_LISTEN_ROUNDS)
        return STEP_AGAIN;
    flash_job_tell_user(
        job, job->status.bytes_done
                 ? "Written and verified, but the board did not say that it started: press reset and look."
                 : "The board did not say that it started: press reset and look.");
    return STEP_NEXT;
}
