/* Espressif's flasher stub: into the chip's RAM, and started. It writes while the next block arrives, takes
 * blocks three times as big, and reads flash at the wire's speed. Where it can't be had, or doesn't start,
 * the ROM does all. */

#include <stdio.h>

#include "daemon/flash/phases.h"

/* Tries before the ROM has to do. */
enum { STUB_FAILURES_MOST = 2 };

static void note_loader(struct flash_job *job) {
    snprintf(job->status.loader, sizeof job->status.loader, "%s", esp_link_loader(job->link)->word);
}

/* What a stub is not needed for is not worth the second that it takes, nor leaving one on a board that only a
 * person can reset. */
static bool is_wanted(const struct flash_job *job) {
    return job->stub && job->kind != WIPYD_JOB_KIND_IDENTIFY && !esp_link_loader(job->link)->is_stub;
}

static void begin_anew(struct flash_job *job) {
    job->stub_step = STUB_SEGMENT;
    job->stub_segment = 0;
    job->stub_sent = 0;
}

static uint32_t next_block(const struct flash_job *job) {
    uint32_t left = job->stub->kind->segments[job->stub_segment].size - job->stub_sent;

    return left < ESP_MEM_BLOCK_BYTES ? left : ESP_MEM_BLOCK_BYTES;
}

enum step flash_enter_load_stub(struct flash_job *job) {
    const struct esp_stub_segment *segment;
    struct esp_request request;

    /* Our own runs already when its flash size is all that is missing. */
    if (job->stub_step == STUB_FLASH_SIZE) {
        esp_request_spi_set_params(&request, job->identify.chip.flash_bytes);
        flash_job_request_link(job, &request);
        return STEP_WAIT;
    }
    if (!is_wanted(job)) {
        note_loader(job);
        return STEP_NEXT;
    }
    segment = &job->stub->kind->segments[job->stub_segment];
    switch (job->stub_step) {
    case STUB_SEGMENT:
        esp_request_mem_begin(&request, segment->address, segment->size);
        break;
    case STUB_BLOCK:
        esp_request_mem_data(&request, job->stub_sent / ESP_MEM_BLOCK_BYTES,
                             job->stub->segments[job->stub_segment] + job->stub_sent, next_block(job));
        break;
    case STUB_RUN:
        flash_job_run_stub(job, job->stub->kind->entry, job->stub->kind->loader);
        return STEP_WAIT;
    case STUB_FLASH_SIZE:
        return STEP_FAIL; /* seen to above */
    }
    flash_job_request_link(job, &request);
    return STEP_WAIT;
}

static void give_up(struct flash_job *job, const char *story) {
    flash_job_log(job, LOG_WARNING, "%s: the boot ROM does it all, at half the speed", story);
    job->stub = NULL;
}

/* A line that loses bytes may spoil one try; a stub that says nothing when it was started does so each time.
 * A chip that may run half a stub is reset, where that can be done; a ROM that still answers goes on. */
static enum step failed(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    bool listens = outcome == ESP_REFUSED || outcome == ESP_NO_REPLY, was_run = job->stub_step >= STUB_RUN;
    char story[160];

    flash_describe(job, "starting the stub", outcome, reply, story, sizeof story);
    job->stub_failures++;
    if (job->stub_step == STUB_FLASH_SIZE && listens && job->stub_failures < STUB_FAILURES_MOST)
        return STEP_AGAIN;
    if (job->stub_failures >= STUB_FAILURES_MOST || (was_run && outcome != ESP_REBOOTED))
        give_up(job, story);
    else
        flash_job_log(job, LOG_INFO, "%s", story);
    begin_anew(job);
    if (listens && !(was_run && flash_job_has_lines(job)))
        return STEP_AGAIN;
    return flash_job_connect_again(job);
}

enum step flash_reply_load_stub(struct flash_job *job, enum esp_outcome outcome,
                                const struct esp_reply *reply) {
    if (outcome != ESP_OK)
        return failed(job, outcome, reply);
    switch (job->stub_step) {
    case STUB_SEGMENT:
        job->stub_sent = 0;
        job->stub_step = STUB_BLOCK;
        break;
    case STUB_BLOCK:
        job->stub_sent += next_block(job);
        if (job->stub_sent < job->stub->kind->segments[job->stub_segment].size)
            break;
        job->stub_step = ++job->stub_segment < ESP_STUB_SEGMENTS ? STUB_SEGMENT : STUB_RUN;
        break;
    case STUB_RUN:
        job->stub_step = STUB_FLASH_SIZE;
        break;
    case STUB_FLASH_SIZE:
        flash_job_log(job, LOG_INFO, "the %s runs", esp_link_loader(job->link)->word);
        begin_anew(job);
        break;
    }
    return STEP_AGAIN;
}
