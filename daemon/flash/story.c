/* What a job says: to the log, to a person, and of its end. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/flash/phases.h"

void flash_job_log(const struct flash_job *job, int level, const char *format, ...) {
    struct log_fields fields = { .device = job->device,
                                 .board = job->status.board.mac,
                                 .job = job->id_text,
                                 .phase = wipyd_phase_word(job->status.phase) };
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_with(level, &fields, "%s", text);
}

enum step flash_job_fail(struct flash_job *job, enum wipyd_error code, const char *format, ...) {
    char story[sizeof job->status.fault.story];
    va_list args;

    va_start(args, format);
    vsnprintf(story, sizeof story, format, args);
    va_end(args);
    fault_set(&job->status.fault, code, "%s", story);
    return STEP_FAIL;
}

enum step flash_job_retry(struct flash_job *job, enum wipyd_error code, const char *format, ...) {
    char story[sizeof job->status.fault.story];
    va_list args;

    va_start(args, format);
    vsnprintf(story, sizeof story, format, args);
    va_end(args);
    fault_set(&job->status.fault, code, "%s", story);
    flash_job_log(job, LOG_INFO, "again, because: %s", story);
    return STEP_RETRY;
}

enum step flash_job_goto(struct flash_job *job, enum wipyd_phase phase) {
    job->target = phase;
    return STEP_GOTO;
}

void flash_job_ask_user(struct flash_job *job, const char *sentence) {
    if (!strcmp(job->status.user_action, sentence))
        return;
    snprintf(job->status.user_action, sizeof job->status.user_action, "%s", sentence);
    job->status.state = *sentence ? WIPYD_JOB_STATE_WAITING : WIPYD_JOB_STATE_RUNNING;
    if (*sentence)
        flash_job_log(job, LOG_NOTICE, "%s", sentence);
    job->events->on_change(job->userdata, job);
}

void flash_job_tell_user(struct flash_job *job, const char *sentence) {
    snprintf(job->status.user_action, sizeof job->status.user_action, "%s", sentence);
    flash_job_log(job, LOG_NOTICE, "%s", sentence);
}

void flash_describe(const struct flash_job *job, const char *what, enum esp_outcome outcome,
                    const struct esp_reply *reply, char *ret, size_t size) {
    switch (outcome) {
    case ESP_OK:
        snprintf(ret, size, "%s: done", what);
        return;
    case ESP_REFUSED:
        snprintf(ret, size, "%s: %s refused: %s (error %02x)", what, esp_link_loader(job->link)->name,
                 esp_error_text(esp_link_loader(job->link), reply->error), reply->error);
        return;
    case ESP_NO_REPLY:
        snprintf(ret, size, "%s: no reply in time", what);
        return;
    case ESP_LOST:
        snprintf(ret, size, "%s: the chip stopped answering", what);
        return;
    case ESP_REBOOTED:
        snprintf(ret, size, "%s: the chip was reset: %s", what, esp_link_boot_log(job->link)->quote);
        return;
    case ESP_GONE:
        snprintf(ret, size, "%s: the port is gone", what);
        return;
    }
}
