#include "proto/phase.h"

#include <stddef.h>
#include <string.h>

static const struct {
    const char *word, *label;
} phases[] = {
#define X(symbol, word, label) [WIPYD_PHASE_##symbol] = { word, label },
    WIPYD_PHASE_TABLE(X)
#undef X
};

static const char *const job_states[] = {
#define X(symbol, word) [WIPYD_JOB_STATE_##symbol] = word,
    WIPYD_JOB_STATE_TABLE(X)
#undef X
};

static const char *const job_kinds[] = {
#define X(symbol, word) [WIPYD_JOB_KIND_##symbol] = word,
    WIPYD_JOB_KIND_TABLE(X)
#undef X
};

const char *wipyd_phase_word(enum wipyd_phase phase) {
    return phases[phase].word;
}

const char *wipyd_phase_label(enum wipyd_phase phase) {
    return phases[phase].label;
}

enum wipyd_phase wipyd_phase_from_word(const char *word) {
    size_t i;

    for (i = 0; i < WIPYD_PHASE_COUNT; i++)
        if (!strcmp(phases[i].word, word))
            break;
    return (enum wipyd_phase)i;
}

const char *wipyd_job_state_word(enum wipyd_job_state state) {
    return job_states[state];
}

enum wipyd_job_state wipyd_job_state_from_word(const char *word) {
    size_t i;

    for (i = 0; i < WIPYD_JOB_STATE_COUNT; i++)
        if (!strcmp(job_states[i], word))
            break;
    return (enum wipyd_job_state)i;
}

const char *wipyd_job_kind_word(enum wipyd_job_kind kind) {
    return job_kinds[kind];
}

enum wipyd_job_kind wipyd_job_kind_from_word(const char *word) {
    size_t i;

    for (i = 0; i < WIPYD_JOB_KIND_COUNT; i++)
        if (!strcmp(job_kinds[i], word))
            break;
    return (enum wipyd_job_kind)i;
}

_Bool wipyd_job_state_is_final(enum wipyd_job_state state) {
    return state == WIPYD_JOB_STATE_DONE || state == WIPYD_JOB_STATE_FAILED ||
           state == WIPYD_JOB_STATE_CANCELLED;
}
