/* The rate of a job: from the first one up to the one wanted, and down again when that does not work. */

#include "daemon/flash/phases.h"

enum { RATE_PROBES = 3 };

void flash_ask_chip_baud(struct flash_job *job, uint32_t baud) {
    struct esp_request request;

    job->asked_baud = baud;
    if (esp_link_loader(job->link)->baud_from_crystal)
        esp_request_change_baud(&request, esp_rom_baud(&job->identify.chip, baud));
    else
        esp_request_change_baud_from(
            &request, baud, esp_link_loader(job->link)->baud_wants_old ? esp_link_baud(job->link) : 0);
    flash_job_request_link(job, &request);
}

static enum step rate_reached(struct flash_job *job, bool was_changed) {
    enum wipyd_phase phase;

    job->rate_step = RATE_ASK;
    job->baud_change_failed = false;
    if (job->status.ladder.baud != esp_link_baud(job->link) || was_changed)
        flash_job_log(job, LOG_INFO, "goes on at %u baud", esp_link_baud(job->link));
    job->status.ladder.baud = esp_link_baud(job->link);
    if (!job->phase_to_repeat)
        return STEP_NEXT;
    phase = job->phase_to_repeat;
    job->phase_to_repeat = WIPYD_PHASE_QUEUED;
    return flash_job_goto(job, phase);
}

/* Beyond the most that the loader is good for nothing is tried, unless a person has named the rate. */
static void heed_loader(struct flash_job *job) {
    uint32_t most = esp_link_loader(job->link)->baud_max;

    if (job->is_auto_baud && most && job->target_baud > most)
        job->target_baud = most;
}

enum step flash_lower_rate(struct flash_job *job, enum wipyd_phase phase) {
    uint32_t baud = esp_link_baud(job->link);

    if (!ladder_below(baud))
        return STEP_FAIL;
    job->target_baud = ladder_give_up(&job->status.ladder, baud);
    job->phase_to_repeat = phase;
    return flash_job_goto(job, WIPYD_PHASE_RAISE_BAUD);
}

enum step flash_enter_raise_baud(struct flash_job *job) {
    struct esp_request request;

    switch (job->rate_step) {
    case RATE_ASK:
        heed_loader(job);
        if (esp_link_baud(job->link) == job->target_baud)
            return rate_reached(job, false);
        if (!esp_link_can_baud(job->link, job->target_baud)) {
            flash_job_log(job, LOG_WARNING, "the adapter can't do %u baud", job->target_baud);
            if (!ladder_below(job->target_baud))
                return flash_job_fail(job, WIPYD_ERROR_BAUD_UNSUPPORTED, "the adapter can't do %u baud",
                                      job->target_baud);
            job->target_baud = ladder_give_up(&job->status.ladder, job->target_baud);
            return STEP_AGAIN;
        }
        flash_ask_chip_baud(job, job->target_baud);
        return STEP_WAIT;
    case RATE_SET:
        return flash_job_set_link_baud(job, job->target_baud);
    case RATE_PROBE:
        esp_request_read_reg(&request, ESP_MAGIC_ADDRESS);
        request.timeout_ms = 500;
        flash_job_request_link(job, &request);
        return STEP_WAIT;
    }
    return STEP_FAIL;
}

/* Nobody knows at which rate the chip is now: find it anew, and be content with less. Where that takes a
 * person's finger, with two rates less, so that it is seldom asked for twice. */
static enum step rate_failed(struct flash_job *job, enum esp_outcome outcome) {
    char story[160];

    flash_describe(job, "changing the rate", outcome, NULL, story, sizeof story);
    flash_job_log(job, LOG_WARNING, "%u baud does not work here: %s", job->target_baud, story);
    job->rate_step = RATE_ASK;
    job->is_talking = false;
    /* It has answered neither the probe nor a SYNC: as many as a chip that answers wrongly is given. */
    for (unsigned i = job->attempts; i < RATE_PROBES && outcome != ESP_REBOOTED; i++)
        ladder_note_error(&job->status.ladder, job->target_baud);
    if (!ladder_below(job->target_baud))
        return flash_job_fail(job, WIPYD_ERROR_BAUD_FAILED, "%s", story);
    job->target_baud = ladder_give_up(&job->status.ladder, job->target_baud);
    if (!flash_job_has_lines(job) && ladder_below(job->target_baud))
        job->target_baud = ladder_give_up(&job->status.ladder, job->target_baud);
    job->baud_change_failed = true;
    job->identify.loader = NULL;
    job->sync_deadline = 0;
    job->reset_attempt = 0;
    return flash_job_goto(job, WIPYD_PHASE_RESET);
}

enum step flash_reply_raise_baud(struct flash_job *job, enum esp_outcome outcome,
                                 const struct esp_reply *reply) {
    switch (job->rate_step) {
    case RATE_ASK:
        if (outcome == ESP_OK) {
            job->rate_step = RATE_SET;
            return STEP_AGAIN;
        }
        if (outcome == ESP_LOST || outcome == ESP_REBOOTED)
            return rate_failed(job, outcome);
        return flash_job_retry(job, WIPYD_ERROR_BAUD_FAILED, "the ROM did not take %u baud",
                               job->target_baud);
    case RATE_SET:
        job->rate_step = RATE_PROBE;
        return STEP_AGAIN;
    case RATE_PROBE:
        if (outcome == ESP_OK && reply->value == ESP_MAGIC_ESP32)
            return rate_reached(job, true);
        if (outcome == ESP_LOST || outcome == ESP_REBOOTED || job->attempts + 1 == RATE_PROBES)
            return rate_failed(job, outcome);
        ladder_note_error(&job->status.ladder, job->target_baud);
        return flash_job_retry(job, WIPYD_ERROR_BAUD_FAILED, "%u baud garbles what comes back",
                               job->target_baud);
    }
    return STEP_FAIL;
}
