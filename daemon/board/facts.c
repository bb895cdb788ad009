/* What a decision is made of: gathered from the port, the records, the policy and the store. */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/board/inside.h"
#include "daemon/firmware/version.h"

/* The board that this daemon is for: what a blank one is taken for. */
#define OWN_BOARD "WiPy"

uint64_t fleet_now_us(void) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

enum board_policy fleet_policy(struct fleet *fleet, const struct fleet_device *device,
                               const char **ret_from) {
    const struct board_record *board = ledger_board(fleet->ledger, device->board.mac);
    const struct slot_record *slot = ledger_slot(fleet->ledger, device->slot);

    *ret_from = "board";
    if (board && board->policy != BOARD_POLICY_UNSET)
        return board->policy;
    *ret_from = "slot";
    if (slot && slot->policy != BOARD_POLICY_UNSET)
        return slot->policy;
    *ret_from = "default";
    return ledger_default_policy(fleet->ledger);
}

bool fleet_is_armed(struct fleet *fleet, const struct fleet_device *device) {
    const struct slot_record *slot = ledger_slot(fleet->ledger, device->slot);

    return slot && slot->is_armed;
}

const char *fleet_label(struct fleet *fleet, const struct fleet_device *device) {
    const struct board_record *board = ledger_board(fleet->ledger, device->board.mac);
    const struct slot_record *slot = ledger_slot(fleet->ledger, device->slot);

    if (board && *board->label)
        return board->label;
    return slot ? slot->label : "";
}

const struct firmware_record *fleet_candidate(struct fleet *fleet, const char *board, const char *pin) {
    const char *version = pin && *pin ? pin : NULL;
    const struct firmware_record *record = NULL;

    if (*board)
        record = firmware_store_choose(fleet->store, board, version);
    return record ? record : firmware_store_choose(fleet->store, OWN_BOARD, version);
}

static uint32_t order_of(const char *release) {
    uint32_t order;

    return firmware_release_parse(release, &order) ? order : 0;
}

static void take_port(struct fleet *fleet, const struct fleet_device *device, struct decision_state *ret) {
    const struct attendance *attendance = device->attendance;
    const char *from;

    ret->is_present = device->is_present;
    ret->is_handled = !device->unhandled;
    ret->is_by_hand = device->is_by_hand;
    ret->policy = fleet_policy(fleet, device, &from);
    ret->has_own_policy = strcmp(from, "default") != 0;
    ret->is_job_under_way = device->job != NULL;
    ret->is_leased = *device->lessee != 0;
    ret->is_armed = fleet_is_armed(fleet, device);
    ret->has_lines = attendance->has_lines;
    ret->is_settled = attendance->is_settled;
    ret->is_held = attendance->is_held;
    ret->is_failed = attendance->is_failed;
    ret->was_looked_at = attendance->was_looked_at;
    ret->was_reset = attendance->was_reset;
    ret->is_coached_out = attendance->is_coached_out;
    ret->was_flashed_now = attendance->was_flashed_now;
    ret->is_confirmed_now = attendance->is_confirmed_now;
    ret->has_ended_now = attendance->has_ended_now;
    ret->seen = attendance->seen;
    ret->is_esp32 = attendance->is_esp32;
    ret->is_encrypted = attendance->is_encrypted;
    ret->is_secure_boot = attendance->is_secure_boot;
}

/* Where a reset tells who is there nothing is guessed: at a bench the next board in the slot is another one.
 */
static bool may_find_out(const struct decision_state *state) {
    return state->is_armed && state->has_lines && !state->was_reset;
}

static void take_board(struct fleet *fleet, const struct fleet_device *device, struct decision_state *ret) {
    const struct slot_record *slot = ledger_slot(fleet->ledger, device->slot);
    const struct board_record *known;

    COPY(ret->mac, device->board.mac);
    COPY(ret->board, device->board.board);
    COPY(ret->release, device->board.release);
    ret->flash_mib = (uint32_t)(device->board.flash_bytes >> 20);
    ret->is_blank = device->board.is_blank;
    /* Nothing says who it is: perhaps the board that was here last. Good for a guess whether to listen, never
     * for more. */
    if (!*ret->mac && !*ret->board && slot && *slot->mac && !may_find_out(ret)) {
        known = ledger_board(fleet->ledger, slot->mac);
        if (known) {
            ret->is_presumed = true;
            COPY(ret->mac, known->mac);
            COPY(ret->board, known->board);
            COPY(ret->release, known->release);
        }
    }
    /* An erased flash says nothing; the records still know the board. */
    known = ledger_board(fleet->ledger, ret->mac);
    if (ret->is_blank && known && !*ret->board)
        COPY(ret->board, known->board);
    ret->order = order_of(ret->release);
}

static void take_candidate(struct fleet *fleet, struct decision_state *ret) {
    const struct board_record *known = ledger_board(fleet->ledger, ret->mac);
    const struct firmware_record *candidate;

    if (known) {
        ret->is_known_wipy = !strcmp(known->board, OWN_BOARD);
        COPY(ret->pin, known->pin);
    }
    candidate = fleet_candidate(fleet, ret->board, ret->pin);
    if (!candidate)
        return;
    ret->has_candidate = true;
    COPY(ret->candidate_board, candidate->board);
    COPY(ret->candidate_release, candidate->release);
    COPY(ret->candidate_sha256, candidate->sha256);
    ret->candidate_order = order_of(candidate->release);
    if (!known)
        return;
    /* Of a board whose last flash was broken off nothing that was flashed is left for certain. */
    ret->was_flashed = known->flashed_us && ledger_was_flashed(fleet->ledger, known->mac, candidate->sha256);
    ret->is_chosen = known->chosen_us && known->chosen_us >= candidate->added_us &&
                     strcmp(known->flashed_sha256, candidate->sha256) != 0;
    ret->failures = !strcmp(known->failed_sha256, candidate->sha256) ? known->failures : 0;
}

void fleet_facts(struct fleet *fleet, const struct fleet_device *device, struct decision_state *ret) {
    const struct fleet_job *pending;

    memset(ret, 0, sizeof *ret);
    take_port(fleet, device, ret);
    take_board(fleet, device, ret);
    take_candidate(fleet, ret);
    if (device->is_present)
        ret->is_job_under_way |= fleet_job_is_leaving(fleet, ret->mac, device->slot);
    ret->attempts_max = fleet->config->attempts;
    pending = fleet_job_pending(fleet, ret->mac, device->slot);
    /* Cut off when all was written, it runs, and comes back anywhere: its firmware doesn't say which it is.
     */
    if (!pending && ret->seen == BOARD_SEEN_FIRMWARE && !*ret->mac && *ret->release && may_find_out(ret))
        pending = fleet_job_pending_release(fleet, ret->board, ret->release);
    if (pending) {
        ret->pending_job = pending->id;
        ret->pending_attempts = pending->record.attempts;
    }
}

/* ---- what is learned ------------------------------------------------------------------------- */

static void learn_board(struct fleet *fleet, const struct fleet_device *device) {
    const struct board_record *known = ledger_board(fleet->ledger, device->board.mac);
    struct board_record record = { 0 };
    uint64_t now = fleet_now_us();

    if (known)
        record = *known;
    else
        record.first_seen_us = now;
    COPY(record.mac, device->board.mac);
    COPY(record.chip, device->board.chip);
    record.flash_bytes = device->board.flash_bytes;
    COPY(record.slot, device->slot);
    record.seen_us = now;
    /* A board whose flash can't be read any more is still what it was. */
    if (*device->board.board) {
        COPY(record.board, device->board.board);
        COPY(record.release, device->board.release);
    } else {
        *record.release = 0;
    }
    ledger_put_board(fleet->ledger, &record, NULL, NULL);
}

static void learn_slot(struct fleet *fleet, const struct fleet_device *device) {
    const struct slot_record *known = ledger_slot(fleet->ledger, device->slot);
    struct slot_record record = { 0 };

    if (known)
        record = *known;
    COPY(record.name, device->slot);
    if (*device->board.mac)
        COPY(record.mac, device->board.mac);
    record.seen_us = fleet_now_us();
    ledger_put_slot(fleet->ledger, &record, NULL, NULL);
}

void fleet_learn(struct fleet *fleet, const struct fleet_device *device) {
    if (*device->board.mac)
        learn_board(fleet, device);
    learn_slot(fleet, device);
}
