#include "daemon/board/rate.h"

#include <stdio.h>
#include <stdlib.h>

#define DAY_US UINT64_C(86400000000)

enum {
    STRIKES_MAX = 8,
    COUNTS_MAX = 4096, /* older ones fade */
    BAD_ERRORS_MIN = 3,
    NEIGHBOUR_BLOCKS_MIN = 50,
};

#define BAD_SHARE 0.02
#define BAD_TIMES 4.0
#define SIGMAS    3.0

/* ---- choosing -------------------------------------------------------------------------------- */

static bool is_barred(const struct rate_rung *rung, uint64_t now_us) {
    uint64_t days = (uint64_t)RATE_WAIT_DAYS << (rung->strikes ? rung->strikes - 1 : 0);

    if (!rung->strikes || !rung->wait)
        return false;
    return now_us < rung->failed_us || now_us - rung->failed_us < days * DAY_US;
}

static bool is_on_trial(const struct rate_rung *rung) {
    return rung->strikes && !rung->good;
}

static int climb(const struct rate_memory *memory, uint32_t ceiling, uint64_t now_us) {
    int rung = 0;

    while (rung + 1 < LADDER_RATES && ladder_rates[rung + 1] <= ceiling &&
           !is_barred(&memory->rungs[rung + 1], now_us)) {
        rung++;
        if (is_on_trial(&memory->rungs[rung]))
            break;
    }
    return rung;
}

uint32_t rate_choose(const struct rate_memory *slot, const struct rate_memory *board, uint32_t ceiling,
                     uint64_t now_us) {
    int by_slot = climb(slot, ceiling, now_us), by_board = climb(board, ceiling, now_us);

    return ladder_rates[by_slot < by_board ? by_slot : by_board];
}

/* ---- learning -------------------------------------------------------------------------------- */

static void count(struct rate_rung *rung, const struct ladder_count *counted, uint64_t now_us) {
    if (!counted->blocks && !counted->errors)
        return;
    rung->blocks += counted->blocks;
    rung->errors += counted->errors;
    while ((uint64_t)rung->blocks + rung->errors > COUNTS_MAX) {
        rung->blocks /= 2;
        rung->errors /= 2;
    }
    rung->used_us = now_us;
}

static uint32_t wait_jobs(uint32_t strikes) {
    return (uint32_t)RATE_WAIT_JOBS << (strikes - 1);
}

static void strike(struct rate_rung *rung, uint64_t now_us) {
    if (rung->strikes < STRIKES_MAX)
        rung->strikes++;
    rung->wait = wait_jobs(rung->strikes);
    rung->good = 0;
    rung->failed_us = now_us;
}

static void praise(struct rate_memory *memory, int reached) {
    struct rate_rung *rung = &memory->rungs[reached];

    rung->good++;
    rung->wait = 0;
    if (rung->strikes && rung->good >= RATE_FORGIVE_TIMES * wait_jobs(rung->strikes)) {
        rung->strikes--;
        rung->good = 1;
    }
    for (int i = reached + 1; i < LADDER_RATES; i++)
        if (memory->rungs[i].wait)
            memory->rungs[i].wait--;
}

void rate_learn(struct rate_memory *slot, struct rate_memory *board, const struct ladder *ladder,
                uint32_t reached, bool is_done, uint64_t now_us) {
    int rung = ladder_rung(reached);

    for (int i = 0; i < LADDER_RATES; i++) {
        bool is_boards = slot->rungs[i].good >= RATE_PROVEN_JOBS && !board->rungs[i].good;

        count(&slot->rungs[i], &ladder->counts[i], now_us);
        count(&board->rungs[i], &ladder->counts[i], now_us);
        if (!ladder->counts[i].is_given_up)
            continue;
        slot->rungs[i].good = 0;
        strike(is_boards ? &board->rungs[i] : &slot->rungs[i], now_us);
    }
    /* Where nothing was sent, nothing is proven. */
    if (!is_done || rung < 0 || !ladder->counts[rung].blocks)
        return;
    praise(slot, rung);
    praise(board, rung);
}

/* ---- health ---------------------------------------------------------------------------------- */

static double share_of(const struct rate_rung *rung) {
    uint64_t all = (uint64_t)rung->blocks + rung->errors;

    return all ? rung->errors / (double)all : 0;
}

/* Even the lower end of Wilson's interval is beyond share: solved for it, there is no root to draw. */
static bool is_beyond(const struct rate_rung *rung, double share) {
    double n = (double)rung->blocks + rung->errors, p = share_of(rung);

    return p > share && (p - share) * (p - share) * n > SIGMAS * SIGMAS * share * (1 - share);
}

static int compare_shares(const void *a, const void *b) {
    double one = *(const double *)a, two = *(const double *)b;

    return (one > two) - (one < two);
}

/* False: nobody has sent enough at that rate. */
static bool median(const struct rate_memory *slots, size_t n, size_t which, int rung, double *ret) {
    double shares[RATE_SLOTS_MAX];
    size_t found = 0;

    for (size_t i = 0; i < n && i < RATE_SLOTS_MAX; i++)
        if (i != which &&
            (uint64_t)slots[i].rungs[rung].blocks + slots[i].rungs[rung].errors >= NEIGHBOUR_BLOCKS_MIN)
            shares[found++] = share_of(&slots[i].rungs[rung]);
    if (!found)
        return false;
    qsort(shares, found, sizeof *shares, compare_shares);
    *ret = (shares[(found - 1) / 2] + shares[found / 2]) / 2;
    return true;
}

void rate_health(const struct rate_memory *slots, size_t n, size_t which, struct rate_health *ret) {
    *ret = (struct rate_health) { 0 };
    for (int i = LADDER_RATES; i-- > 0;) {
        const struct rate_rung *rung = &slots[which].rungs[i];
        double usual = 0;

        if (!rung->blocks && !rung->errors)
            continue;
        if (!ret->baud)
            *ret = (struct rate_health) { .baud = ladder_rates[i], .share = share_of(rung) };
        if (rung->errors < BAD_ERRORS_MIN || !median(slots, n, which, i, &usual))
            continue;
        if (!is_beyond(rung, BAD_SHARE) || !is_beyond(rung, BAD_TIMES * usual))
            continue;
        *ret = (struct rate_health) { ladder_rates[i], share_of(rung), usual, true };
        return;
    }
}

uint32_t rate_good(const struct rate_memory *memory) {
    for (int i = LADDER_RATES; i-- > 0;)
        if (memory->rungs[i].good)
            return ladder_rates[i];
    return 0;
}

void rate_advice(const struct rate_health *health, const char *name, char *ret, size_t size) {
    if (health->is_bad)
        snprintf(ret, size,
                 "Slot %s fails %.3g %% of its blocks at %u baud, its neighbours %.3g %%: change the cable.",
                 name, health->share * 100, health->baud, health->usual * 100);
    else
        *ret = 0;
}
