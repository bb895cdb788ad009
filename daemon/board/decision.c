/* What each rule asks. Their order, words and verdicts: decision_rules.h. What they say: decision_tell.c. */

#include "daemon/board/decision_rules.h"

#include <string.h>

#include "daemon/firmware/version.h"

/* After so many jobs in a row that failed, a person has to look. */
#define FAILURES_MAX 3

#define WIPY "WiPy"

/* ---- what the rules share ----------------------------------------------------------------------- */

static bool is_rom(const struct decision_state *s) {
    return s->seen == BOARD_SEEN_DOWNLOAD;
}

/* A job that was cut off may have left it, on a board that only a person can reset. */
static bool is_readable_stub(const struct decision_state *s) {
    return s->seen == BOARD_SEEN_STUB && *s->mac && !s->is_presumed && s->is_esp32 && !s->is_encrypted &&
           !s->is_secure_boot && (s->flash_mib == 4 || s->flash_mib == 8);
}

/* Nothing is wrong that can be seen, so what the board has, or is thought to have, counts. A board in trouble
 * is helped whatever was in its slot before. */
static bool is_quiet(const struct decision_state *s) {
    return s->seen == BOARD_SEEN_NOTHING || s->seen == BOARD_SEEN_SILENT || s->seen == BOARD_SEEN_NOISE ||
           s->seen == BOARD_SEEN_FIRMWARE;
}

/* Without being asked. UNSET should not come this far, and permits nothing. */
static bool is_automatic(const struct decision_state *s) {
    return s->policy == BOARD_POLICY_WIPY || s->policy == BOARD_POLICY_ANY;
}

static bool can_reset(const struct decision_state *s) {
    return s->is_armed && s->has_lines && !s->was_reset;
}

bool decision_is_awaiting(const struct decision_state *s) {
    return s->was_flashed_now && !s->is_confirmed_now;
}

bool decision_is_pending(const struct decision_state *s) {
    return s->pending_job != 0 && s->pending_attempts < s->attempts_max;
}

bool decision_is_bare(const struct decision_state *s) {
    return is_rom(s) && s->is_blank && !s->was_flashed_now && !s->is_confirmed_now;
}

/* It is, or names itself, a board of another type than the candidate is for. */
static bool is_foreign(const struct decision_state *s) {
    return *s->board && strcmp(s->board, s->candidate_board) != 0;
}

/* There is firmware on it that may be held against the candidate. Releases of different boards, or of
 * somebody's own firmware for an ESP32, have no order among each other. */
static bool is_comparable(const struct decision_state *s) {
    return s->has_candidate && !decision_is_bare(s) && !is_foreign(s);
}

static bool has_same_release(const struct decision_state *s) {
    return is_comparable(s) && *s->release &&
           (strcmp(s->release, s->candidate_release) == 0 || (s->order && s->order == s->candidate_order));
}

static bool has_older(const struct decision_state *s) {
    return is_comparable(s) && !has_same_release(s) && s->order && s->order < s->candidate_order;
}

static bool has_newer(const struct decision_state *s) {
    return is_comparable(s) && !has_same_release(s) && s->candidate_order && s->order > s->candidate_order;
}

/* What was presumed of a slot never justifies a write: a ROM that answered has said who it is. */
static bool is_recognised(const struct decision_state *s) {
    return !s->is_presumed && (*s->board ? strcmp(s->board, WIPY) == 0 : s->is_known_wipy);
}

/* ---- the port ----------------------------------------------------------------------------------- */

static bool is_absent(const struct decision_state *s) {
    return !s->is_present;
}

static bool is_adapter_unhandled(const struct decision_state *s) {
    return !s->is_handled;
}

static bool is_policy_off(const struct decision_state *s) {
    return s->policy == BOARD_POLICY_OFF;
}

static bool is_job_under_way(const struct decision_state *s) {
    return s->is_job_under_way;
}

static bool is_leased(const struct decision_state *s) {
    return s->is_leased;
}

static bool is_on_command_only(const struct decision_state *s) {
    return s->is_by_hand && !s->has_own_policy;
}

static bool is_by_hand(const struct decision_state *s) {
    return is_on_command_only(s) && !decision_is_pending(s);
}

static bool is_settling(const struct decision_state *s) {
    return !s->is_settled;
}

static bool is_held(const struct decision_state *s) {
    return s->is_held;
}

static bool is_port_failed(const struct decision_state *s) {
    return s->is_failed;
}

/* It was commanded here and goes on here, without a look: the job itself waits for the board. */
static bool is_by_hand_pending(const struct decision_state *s) {
    return is_on_command_only(s);
}

static bool is_not_looked_at(const struct decision_state *s) {
    return !s->was_looked_at;
}

/* ---- what it is, and what is unfinished --------------------------------------------------------- */

static bool is_not_esp32(const struct decision_state *s) {
    return is_rom(s) && !s->is_esp32;
}

static bool is_flash_encrypted(const struct decision_state *s) {
    return is_rom(s) && s->is_encrypted;
}

static bool is_secure_boot(const struct decision_state *s) {
    return is_rom(s) && s->is_secure_boot;
}

/* No other size has a script (facts/pycom.md 2.3). */
static bool is_flash_size(const struct decision_state *s) {
    return is_rom(s) && s->flash_mib != 4 && s->flash_mib != 8;
}

static bool is_resume(const struct decision_state *s) {
    return (is_rom(s) || is_readable_stub(s)) && decision_is_pending(s);
}

static bool is_wire_left_on(const struct decision_state *s) {
    return is_rom(s) && decision_is_awaiting(s) && !s->is_coached_out;
}

/* Unless another package has come to hand meanwhile, which the rules below look at. */
static bool is_wire_still_on(const struct decision_state *s) {
    return is_rom(s) && decision_is_awaiting(s) && (s->was_flashed || s->is_chosen || !s->has_candidate);
}

/* A board that stays plugged in has a right to the next release, too. */
static bool is_confirmed(const struct decision_state *s) {
    return is_quiet(s) && s->is_confirmed_now && (s->was_flashed || s->is_chosen || !has_older(s));
}

/* Never told as a matter of the wire, and never coached: the same package would not be flashed again. */
static bool is_new_firmware_fails(const struct decision_state *s) {
    return (s->was_flashed_now || s->is_confirmed_now) &&
           (s->seen == BOARD_SEEN_PANIC || s->seen == BOARD_SEEN_NO_BOOT);
}

/* A supply that collapses has a sentence of its own. */
static bool is_awaiting_start(const struct decision_state *s) {
    return !is_rom(s) && s->seen != BOARD_SEEN_BROWNOUT && decision_is_awaiting(s) && !s->is_coached_out;
}

/* Also under ask: what was begun on command ends without another. */
static bool is_pending_reset(const struct decision_state *s) {
    return !is_rom(s) && decision_is_pending(s) && can_reset(s);
}

static bool is_pending(const struct decision_state *s) {
    return !is_rom(s) && decision_is_pending(s) && !s->is_coached_out;
}

/* ---- what it has -------------------------------------------------------------------------------- */

/* Also when the firmware that it is pinned to isn't at hand, or is called otherwise by its image than by the
 * server. */
static bool is_pinned_there(const struct decision_state *s) {
    return (is_rom(s) || is_quiet(s)) && *s->pin && !decision_is_bare(s) &&
           (strcmp(s->release, s->pin) == 0 || has_same_release(s));
}

/* Silence, noise, a dead wire and a weak supply are worth their own sentence even then. */
static bool is_no_firmware(const struct decision_state *s) {
    return !s->has_candidate && s->seen != BOARD_SEEN_NOTHING && s->seen != BOARD_SEEN_SILENT &&
           s->seen != BOARD_SEEN_NOISE && s->seen != BOARD_SEEN_DEAF && s->seen != BOARD_SEEN_BROWNOUT;
}

/* Under any policy: a LoPy flashed as a WiPy loses its radio. Where nothing names a board, only the policy
 * any lets it have firmware that isn't a WiPy's. */
static bool is_other_board(const struct decision_state *s) {
    if (!s->has_candidate || !(is_rom(s) || is_quiet(s)))
        return false;
    if (*s->board)
        return is_foreign(s) && firmware_board_is_pycom(s->board);
    return is_rom(s) && strcmp(s->candidate_board, WIPY) != 0 &&
           (s->is_known_wipy || s->policy != BOARD_POLICY_ANY);
}

static bool is_up_to_date(const struct decision_state *s) {
    return is_rom(s) && s->was_flashed && has_same_release(s);
}

static bool is_running_up_to_date(const struct decision_state *s) {
    return is_quiet(s) && *s->board && has_same_release(s);
}

/* What was chosen and has been erased since is gone. */
static bool is_chosen(const struct decision_state *s) {
    return (is_rom(s) || is_quiet(s)) && s->is_chosen && !decision_is_bare(s);
}

static bool is_already_flashed(const struct decision_state *s) {
    return (is_rom(s) || is_quiet(s)) && s->has_candidate && s->was_flashed && !decision_is_bare(s);
}

static bool is_newer(const struct decision_state *s) {
    return is_rom(s) && has_newer(s);
}

static bool is_running_newer(const struct decision_state *s) {
    return is_quiet(s) && has_newer(s);
}

/* A release without an order was built by somebody for a reason. The policy any takes such boards, as it
 * takes every ESP32, but not with a package whose own place is unknown: that might lead down. */
static bool is_custom(const struct decision_state *s) {
    if (!s->has_candidate || !(is_rom(s) || is_quiet(s)) || decision_is_bare(s) || has_same_release(s))
        return false;
    if (is_foreign(s))
        return s->policy != BOARD_POLICY_ANY;
    return *s->release && (!s->candidate_order || (!s->order && s->policy != BOARD_POLICY_ANY));
}

static bool is_not_a_wipy(const struct decision_state *s) {
    if (s->policy != BOARD_POLICY_WIPY)
        return false;
    if (decision_is_bare(s) || is_quiet(s))
        return *s->board && strcmp(s->board, WIPY) != 0;
    return is_rom(s) && !is_recognised(s);
}

static bool is_failed_before(const struct decision_state *s) {
    return (is_rom(s) || is_quiet(s)) && s->has_candidate && s->failures >= FAILURES_MAX;
}

/* What went wrong, or was stopped, isn't begun again while nobody has touched it. */
static bool is_ended(const struct decision_state *s) {
    return s->has_ended_now;
}

/* ---- now, or on command ------------------------------------------------------------------------- */

static bool is_ask(const struct decision_state *s) {
    return is_rom(s) && !is_automatic(s);
}

static bool is_flash_blank(const struct decision_state *s) {
    return is_rom(s) && decision_is_bare(s);
}

static bool is_flash_older(const struct decision_state *s) {
    return is_rom(s) && has_older(s);
}

/* Its bytes may differ. One job compares, writes only what does, and from then on was_flashed says so. */
static bool is_flash_same(const struct decision_state *s) {
    return is_rom(s) && has_same_release(s);
}

/* A known WiPy whose image says no release, or, under the policy any, whatever is there. All boards in
 * download mode end here or before; one that did not would be left alone. */
static bool is_flash_unknown(const struct decision_state *s) {
    return is_rom(s) && (s->policy == BOARD_POLICY_ANY || (is_recognised(s) && !*s->release));
}

/* ---- what brings it into download mode ---------------------------------------------------------- */

static bool is_ask_report(const struct decision_state *s) {
    return !is_automatic(s);
}

/* Only where it can lead to a flash. */
static bool is_reset(const struct decision_state *s) {
    return !is_rom(s) && can_reset(s) && s->has_candidate && !decision_is_awaiting(s);
}

static bool is_running_older(const struct decision_state *s) {
    return is_quiet(s) && s->has_candidate && *s->board && !is_foreign(s) && (!*s->release || has_older(s));
}

static bool would_coach(const struct decision_state *s) {
    return (!is_rom(s) && !is_quiet(s)) || decision_is_awaiting(s) || decision_is_pending(s) ||
           is_running_older(s);
}

static bool is_coached_out(const struct decision_state *s) {
    return s->is_coached_out && would_coach(s);
}

static bool is_brownout(const struct decision_state *s) {
    return s->seen == BOARD_SEEN_BROWNOUT;
}

static bool is_deaf(const struct decision_state *s) {
    return s->seen == BOARD_SEEN_DEAF;
}

static bool is_panic(const struct decision_state *s) {
    return s->seen == BOARD_SEEN_PANIC;
}

static bool is_no_boot(const struct decision_state *s) {
    return s->seen == BOARD_SEEN_NO_BOOT;
}

static bool is_stub(const struct decision_state *s) {
    return s->seen == BOARD_SEEN_STUB;
}

static bool is_running_other(const struct decision_state *s) {
    return s->seen == BOARD_SEEN_FIRMWARE;
}

static bool is_noise(const struct decision_state *s) {
    return s->seen == BOARD_SEEN_NOISE;
}

static bool is_silent(const struct decision_state *s) {
    (void)s;
    return true;
}

/* ---- the table ---------------------------------------------------------------------------------- */

static const struct decision_rule rules[] = {
#define X(symbol, function, word, verdict, question)                                                         \
    { word, DECISION_##verdict, is_##function, decision_tell_##function, question },
    DECISION_RULE_TABLE(X)
#undef X
};

static const char *const verdict_words[] = {
#define X(symbol, word, meaning) word,
    DECISION_VERDICT_TABLE(X)
#undef X
};

unsigned decision_make(const struct decision_state *state) {
    unsigned i = 0;

    while (!rules[i].applies(state))
        i++;
    return i;
}

const struct decision_rule *decision_rule_at(unsigned index) {
    return index < DECISION_RULE_COUNT ? &rules[index] : NULL;
}

const char *decision_verdict_word(enum decision_verdict verdict) {
    return verdict_words[verdict];
}
