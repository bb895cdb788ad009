/* What each rule says: one sentence, with the state's own words in it. */

#include "daemon/board/decision_rules.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A sentence that needs nothing of the state. */
#define SAYS(function, text)                                                                                 \
    void decision_tell_##function(const struct decision_state *s, char *ret, size_t size) {                  \
        (void)s;                                                                                             \
        snprintf(ret, size, "%s", text);                                                                     \
    }

/* ---- parts of sentences ------------------------------------------------------------------------- */

struct name {
    char text[112];
};

struct phrase {
    char text[160];
};

/* "WiPy 1.20.1.r1" */
static struct name name_firmware(const char *board, const char *release) {
    struct name name;

    if (*board && *release)
        snprintf(name.text, sizeof name.text, "%s %s", board, release);
    else if (*board)
        snprintf(name.text, sizeof name.text, "%s firmware that names no release", board);
    else
        snprintf(name.text, sizeof name.text, "%s", *release ? release : "firmware that names no board");
    return name;
}

/* "It holds WiPy 1.18.1.r1": begins a sentence. */
static struct phrase has(const struct decision_state *s) {
    struct phrase phrase;
    const char *verb = s->is_presumed                   ? "The board last seen here has"
                       : s->seen == BOARD_SEEN_DOWNLOAD ? "It holds"
                                                        : "It runs";

    if (decision_is_bare(s))
        snprintf(phrase.text, sizeof phrase.text, "Its flash is blank");
    else
        snprintf(phrase.text, sizeof phrase.text, "%s %s", verb, name_firmware(s->board, s->release).text);
    return phrase;
}

static struct name candidate(const struct decision_state *s) {
    return name_firmware(s->candidate_board, s->candidate_release);
}

/* What was seen, within a sentence. */
static const char *seen_clause(enum board_seen seen) {
    switch (seen) {
    case BOARD_SEEN_NOTHING:
    case BOARD_SEEN_SILENT:
        return "nothing answers on the port";
    case BOARD_SEEN_NOISE:
        return "bytes arrive that make no sense";
    case BOARD_SEEN_FIRMWARE:
        return "the board runs its firmware";
    case BOARD_SEEN_NO_BOOT:
        return "the board finds no firmware";
    case BOARD_SEEN_PANIC:
        return "the board's firmware crashes";
    case BOARD_SEEN_BROWNOUT:
        return "the board's supply collapses";
    case BOARD_SEEN_DEAF:
        return "the board waits for a download but doesn't hear us";
    case BOARD_SEEN_STUB:
        return "the board runs another program's loader";
    case BOARD_SEEN_DOWNLOAD:
        return "the board is in download mode";
    case BOARD_SEEN_COUNT:
        break;
    }
    return "";
}

/* ---- the port ----------------------------------------------------------------------------------- */

void decision_tell_absent(const struct decision_state *s, char *ret, size_t size) {
    if (decision_is_pending(s))
        snprintf(ret, size, "It is not plugged in; job %" PRIu32 " goes on when it is.", s->pending_job);
    else
        snprintf(ret, size, "It is not plugged in.");
}

SAYS(adapter_unhandled, "This kind of adapter isn't served.")
SAYS(policy_off, "The policy is off: the port is never opened.")
SAYS(job_under_way, "A job is under way.")
SAYS(leased, "The port is leased to another program until that gives it back.")
SAYS(by_hand,
     "The port is named in the configuration and has no policy of its own: it is served on command only.")
SAYS(settling, "It was plugged in only just now.")
SAYS(held, "Another program has the port; it is tried again later.")
SAYS(port_failed, "The port can't be opened; it is tried again later.")

static void tell_resume(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size, "Job %" PRIu32 " was cut off and goes on (attempt %" PRIu32 " of %" PRIu32 ").",
             s->pending_job, s->pending_attempts + 1, s->attempts_max);
}

void decision_tell_by_hand_pending(const struct decision_state *s, char *ret, size_t size) {
    tell_resume(s, ret, size);
}

SAYS(not_looked_at, "Nobody has looked yet who is there.")

/* ---- what it is, and what is unfinished --------------------------------------------------------- */

SAYS(not_esp32, "The chip is not an ESP32.")
SAYS(flash_encrypted, "Flash encryption is on in this chip's eFuses: plain firmware would make it unusable.")
SAYS(secure_boot, "Secure boot is on in this chip's eFuses: unsigned firmware would make it unusable.")

void decision_tell_flash_size(const struct decision_state *s, char *ret, size_t size) {
    if (s->flash_mib)
        snprintf(ret, size, "It has %" PRIu32 " MB of flash; boards of Pycom's have 4 MB or 8 MB.",
                 s->flash_mib);
    else
        snprintf(ret, size, "The size of its flash can't be told.");
}

void decision_tell_resume(const struct decision_state *s, char *ret, size_t size) {
    tell_resume(s, ret, size);
}

SAYS(wire_left_on, "Its firmware is written and verified, and it is still in download mode.")
SAYS(wire_still_on,
     "Its firmware is written and verified; it stays in download mode, and the port is let go.")

void decision_tell_confirmed(const struct decision_state *s, char *ret, size_t size) {
    if (*s->release)
        snprintf(ret, size, "It was flashed, and runs %s now.", name_firmware(s->board, s->release).text);
    else
        snprintf(ret, size, "It was flashed, and runs its new firmware now.");
}

void decision_tell_new_firmware_fails(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size, "Its firmware was written and verified, but %s.", seen_clause(s->seen));
}

SAYS(awaiting_start, "Its firmware is written and verified; it starts with the next reset.")

void decision_tell_pending_reset(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size, "Job %" PRIu32 " was cut off; a reset into download mode lets it go on.",
             s->pending_job);
}

void decision_tell_pending(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size, "Job %" PRIu32 " was cut off and goes on in download mode, but %s.", s->pending_job,
             seen_clause(s->seen));
}

/* ---- what it has -------------------------------------------------------------------------------- */

void decision_tell_pinned_there(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size, "%s, and %s is what it is pinned to.", has(s).text, s->pin);
}

void decision_tell_no_firmware(const struct decision_state *s, char *ret, size_t size) {
    if (*s->pin)
        snprintf(ret, size, "It is pinned to %s, which isn't at hand.", s->pin);
    else
        snprintf(ret, size, "No firmware is at hand for this board.");
}

void decision_tell_other_board(const struct decision_state *s, char *ret, size_t size) {
    const char *for_board = *s->candidate_board ? s->candidate_board : "a board that it doesn't name";

    if (*s->board)
        snprintf(ret, size, "It is a %s, and the firmware at hand is for %s.", s->board, for_board);
    else
        snprintf(ret, size, "The firmware at hand is for %s, and nothing says that this is one.", for_board);
}

void decision_tell_up_to_date(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size, "%s, the newest at hand, as it was flashed and verified.", has(s).text);
}

void decision_tell_running_up_to_date(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size, "%s, the newest at hand.", has(s).text);
}

void decision_tell_chosen(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size, "%s, which a person chose when %s was at hand already.", has(s).text,
             *s->candidate_release ? s->candidate_release : "other firmware");
}

void decision_tell_already_flashed(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size,
             "%s now; %s was flashed to it before, and never is a second time without being asked.",
             has(s).text, candidate(s).text);
}

void decision_tell_newer(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size, "%s, and %s%s is older.", has(s).text, candidate(s).text,
             *s->pin ? ", which it is pinned to," : "");
}

void decision_tell_running_newer(const struct decision_state *s, char *ret, size_t size) {
    decision_tell_newer(s, ret, size);
}

void decision_tell_custom(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size, "%s, and %s is at hand: which is newer can't be told.", has(s).text,
             candidate(s).text);
}

void decision_tell_not_a_wipy(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size, "%s, and isn't known as a WiPy: the policy wipy flashes no other board.",
             has(s).text);
}

void decision_tell_failed_before(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size, "The package at hand, %s, failed on it %" PRIu32 " times in a row.",
             candidate(s).text, s->failures);
}

SAYS(ended,
     "A job on it was stopped or failed: no other is begun until it is plugged in again, or on command.")

/* ---- now, or on command ------------------------------------------------------------------------- */

static void tell_at_hand(const struct decision_state *s, const char *end, char *ret, size_t size) {
    snprintf(ret, size, "%s, and %s is at hand%s.", has(s).text, candidate(s).text, end);
}

void decision_tell_ask(const struct decision_state *s, char *ret, size_t size) {
    tell_at_hand(s, ": it is flashed on command only", ret, size);
}

void decision_tell_flash_blank(const struct decision_state *s, char *ret, size_t size) {
    tell_at_hand(s, "", ret, size);
}

void decision_tell_flash_older(const struct decision_state *s, char *ret, size_t size) {
    tell_at_hand(s, "", ret, size);
}

void decision_tell_flash_same(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size, "%s by its name: its bytes are compared with the package at hand.", has(s).text);
}

void decision_tell_flash_unknown(const struct decision_state *s, char *ret, size_t size) {
    tell_at_hand(s, s->policy == BOARD_POLICY_ANY ? ": the policy any flashes every ESP32" : "", ret, size);
}

/* ---- what brings it into download mode ---------------------------------------------------------- */

/* ": nothing answers on the port" behind a beginning of the caller's. */
static void tell_seen(const struct decision_state *s, const char *begin, char *ret, size_t size) {
    snprintf(ret, size, "%s: %s.", begin, seen_clause(s->seen));
}

void decision_tell_ask_report(const struct decision_state *s, char *ret, size_t size) {
    tell_seen(s, "It is looked at, and flashed on command only", ret, size);
}

void decision_tell_reset(const struct decision_state *s, char *ret, size_t size) {
    tell_seen(s, "The slot is armed, so the board is reset into download mode", ret, size);
}

void decision_tell_coached_out(const struct decision_state *s, char *ret, size_t size) {
    tell_seen(s, "It was listened to for long enough and is let go", ret, size);
}

SAYS(brownout, "The board's supply collapses.")
SAYS(deaf, "The board waits for a download but doesn't hear us.")
SAYS(panic, "The board's firmware crashes.")
SAYS(no_boot, "The board finds no firmware on its flash.")
SAYS(stub, "The board is in download mode, but runs another program's loader.")

void decision_tell_running_older(const struct decision_state *s, char *ret, size_t size) {
    tell_at_hand(s, "", ret, size);
}

void decision_tell_running_other(const struct decision_state *s, char *ret, size_t size) {
    if (*s->board)
        snprintf(ret, size, "%s, and isn't in download mode.", has(s).text);
    else
        snprintf(ret, size, "It runs firmware that doesn't say what it is, and isn't in download mode.");
}

SAYS(noise, "Bytes arrive, but they make no sense.")

void decision_tell_silent(const struct decision_state *s, char *ret, size_t size) {
    snprintf(ret, size,
             s->was_reset ? "Nothing answers on the port, also after a reset."
                          : "Nothing answers on the port.");
}
