/* Between the jobs and what is remembered of rates; and what that says of the slots. */

#include <string.h>

#include "daemon/base/log.h"
#include "daemon/board/inside.h"

static void recall(const struct ledger *ledger, const char *owner, const char *name,
                   struct rate_memory *ret) {
    *ret = (struct rate_memory) { 0 };
    for (int i = 0; *name && i < LADDER_RATES; i++) {
        const struct rate_record *known = ledger_rate(ledger, owner, name, ladder_rates[i]);

        if (known)
            ret->rungs[i] =
                (struct rate_rung) { known->blocks, known->errors,    known->good,   known->strikes,
                                     known->wait,   known->failed_us, known->used_us };
    }
}

/* Those that have changed. */
static void keep(struct ledger *ledger, const char *owner, const char *name, const struct rate_memory *before,
                 const struct rate_memory *now) {
    for (int i = 0; *name && i < LADDER_RATES; i++) {
        const struct rate_rung *was = &before->rungs[i], *is = &now->rungs[i];
        struct rate_record record = { .baud = ladder_rates[i],
                                      .blocks = is->blocks,
                                      .errors = is->errors,
                                      .good = is->good,
                                      .strikes = is->strikes,
                                      .wait = is->wait,
                                      .failed_us = is->failed_us,
                                      .used_us = is->used_us };

        if (was->blocks == is->blocks && was->errors == is->errors && was->good == is->good &&
            was->strikes == is->strikes && was->wait == is->wait && was->failed_us == is->failed_us &&
            was->used_us == is->used_us)
            continue;
        COPY(record.owner, owner);
        COPY(record.name, name);
        ledger_put_rate(ledger, &record);
    }
}

uint32_t fleet_rate_choose(struct fleet *fleet, const struct fleet_job *job) {
    const struct fleet_device *device = job->device;
    struct rate_memory slot, board;

    recall(fleet->ledger, RATE_OF_SLOT, device->slot, &slot);
    recall(fleet->ledger, RATE_OF_BOARD, *device->board.mac ? device->board.mac : job->record.mac, &board);
    return rate_choose(&slot, &board, device->baud_max, fleet_now_us());
}

/* ---- health ---------------------------------------------------------------------------------- */

static const struct slot_rate *find(const struct fleet *fleet, const char *slot) {
    for (size_t i = 0; i < fleet->n_slot_rates; i++)
        if (!strcmp(fleet->slot_rates[i].slot, slot))
            return &fleet->slot_rates[i];
    return NULL;
}

static void log_change(const struct slot_record *slot, const struct slot_rate *before,
                       const struct slot_rate *now) {
    char advice[FLEET_ADVICE_MAX];

    if (!now->health.is_bad || (before && before->health.is_bad))
        return;
    rate_advice(&now->health, *slot->label ? slot->label : slot->name, advice, sizeof advice);
    log_warning("%s", advice);
}

void fleet_rates_review(struct fleet *fleet) {
    cleanup(free_p) struct rate_memory *memories = NULL;
    cleanup(free_p) struct slot_rate *before = fleet->slot_rates;
    struct fleet old = { .slot_rates = before, .n_slot_rates = fleet->n_slot_rates };
    size_t n = 0;

    while (ledger_slot_at(fleet->ledger, (unsigned)n))
        n++;
    memories = calloc(n + 1, sizeof *memories);
    fleet->slot_rates = calloc(n + 1, sizeof *fleet->slot_rates);
    fleet->n_slot_rates = memories && fleet->slot_rates ? n : 0;
    for (size_t i = 0; i < fleet->n_slot_rates; i++) {
        COPY(fleet->slot_rates[i].slot, ledger_slot_at(fleet->ledger, (unsigned)i)->name);
        recall(fleet->ledger, RATE_OF_SLOT, fleet->slot_rates[i].slot, &memories[i]);
    }
    for (size_t i = 0; i < fleet->n_slot_rates; i++) {
        const struct slot_record *slot = ledger_slot_at(fleet->ledger, (unsigned)i);
        struct slot_rate *now = &fleet->slot_rates[i];
        const struct slot_rate *was = find(&old, now->slot);

        now->good = rate_good(&memories[i]);
        rate_health(memories, n, i, &now->health);
        log_change(slot, was, now);
        if (fleet->is_started && !fleet->is_closing &&
            (was ? was->good != now->good || was->health.is_bad != now->health.is_bad ||
                       was->health.baud != now->health.baud || was->health.share != now->health.share
                 : now->health.baud != 0))
            fleet->events->on_slot(fleet->userdata, slot, false);
    }
}

void fleet_slot_rate(const struct fleet *fleet, const struct slot_record *slot, struct fleet_slot_rate *ret) {
    const struct slot_rate *known = find(fleet, slot->name);

    *ret = (struct fleet_slot_rate) { 0 };
    if (!known)
        return;
    ret->baud = known->good;
    ret->error_share = known->health.share;
    rate_advice(&known->health, *slot->label ? slot->label : slot->name, ret->advice, sizeof ret->advice);
}

void fleet_rate_learn(struct fleet *fleet, const struct fleet_job *job) {
    const char *mac = job->record.mac, *slot_name = job->record.slot;
    struct rate_memory slot, board, slot_before, board_before;

    recall(fleet->ledger, RATE_OF_SLOT, slot_name, &slot);
    recall(fleet->ledger, RATE_OF_BOARD, mac, &board);
    slot_before = slot;
    board_before = board;
    rate_learn(&slot, &board, &job->status.ladder, job->status.ladder.baud,
               job->status.state == WIPYD_JOB_STATE_DONE, fleet_now_us());
    keep(fleet->ledger, RATE_OF_SLOT, slot_name, &slot_before, &slot);
    keep(fleet->ledger, RATE_OF_BOARD, mac, &board_before, &board);
    fleet_rates_review(fleet);
}
