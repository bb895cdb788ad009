/* The rate of a job: from the first one up to the one wanted, and down again when that does not work. */

#include "daemon/flash/phases.h"

enum { RATE_PROBES = 3 };

const uint32_t flash_rates[FLASH_RATES] = { FLASH_FIRST_BAUD, 230400, 460800, 921600 };

uint32_t flash_lower_baud(uint32_t baud) {
    for (size_t i = FLASH_RATES; i-- > 0;)
        if (flash_rates[i] < baud)
            return flash_rates[i];
    return 0;
}

void flash_ask_chip_baud(struct flash_job *job, uint32_t baud) {
    struct esp_request request;

    if (esp_link_loader(job->link)->baud_from_crystal)
        esp_request_change_baud(&request, esp_rom_baud(&job->identify.chip, baud));
    else
        esp_request_change_baud_from(
            &request, baud, esp_link_loader(job->link)->baud_wants_old ? esp_link_baud(job->link) : 0);
    flash_job_request_link(job, &request);
}

static enum step rate_reached(struct flash_job *job) {
    job->rate_step = RATE_ASK;
    job->baud_change_failed = false;
    if (!job->rate_is_lowered)
        return STEP_NEXT;
    job->rate_is_lowered = false;
    return flash_job_goto(job, WIPYD_PHASE_BEGIN);
}

enum step flash_enter_raise_baud(struct flash_job *job) {
    struct esp_request request;

    switch (job->rate_step) {
    case RATE_ASK:
        if (esp_link_baud(job->link) == job->target_baud)
            return rate_reached(job);
        if (!esp_link_can_baud(job->link, job->target_baud)) {
            flash_job_log(job, LOG_WARNING, "the adapter can't do %u baud", job->target_baud);
            if (!flash_lower_baud(job->target_baud))
                return flash_job_fail(job, WIPYD_ERROR_BAUD_UNSUPPORTED, "the adapter can't do %u baud",
                                      job->target_baud);
            job->target_baud = flash_lower_baud(job->target_baud);
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

/* Nobody knows at which rate the chip is now: find it anew, and be content with less. */
static enum step rate_failed(struct flash_job *job, enum esp_outcome outcome) {
    char story[160];

    flash_describe(job, "changing the rate", outcome, NULL, story, sizeof story);
    flash_job_log(job, LOG_WARNING, "%u baud does not work here: %s", job->target_baud, story);
    job->rate_step = RATE_ASK;
    job->is_talking = false;
    if (!flash_lower_baud(job->target_baud))
        return flash_job_fail(job, WIPYD_ERROR_BAUD_FAILED, "%s", story);
    job->target_baud = flash_lower_baud(job->target_baud);
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
            return rate_reached(job);
        if (outcome == ESP_LOST || outcome == ESP_REBOOTED || job->attempts + 1 == RATE_PROBES)
            return rate_failed(job, outcome);
        return flash_job_retry(job, WIPYD_ERROR_BAUD_FAILED, "%u baud garbles what comes back",
                               job->target_baud);
    }
    return STEP_FAIL;
}
