/* One table by the rule that won; a row may look at what was seen. */

#include "daemon/board/coach.h"

#include "daemon/board/decision_rules.h"

#define JUMPER       "Join G23 to GND, then press reset on the board."
#define JUMPER_PLUG  "Join G23 to GND, then plug the board in again."
#define WIRE_OFF     "Take the wire off G23 and press reset."
#define WIRE_IS_ON   "The wire is still on G23: take it off and press reset."
#define PRESS_RESET  "Press reset on the board."
#define CHECK_TX     "Check the wire or jumper from the adapter's TX to the board's RX."
#define CHECK_SILENT "Check power and the TX and RX jumpers, join G23 to GND, then plug the board in again."
#define CHECK_NOISE  "Check the cable and the ground wire, then plug the board in again."
#define CHECK_SUPPLY "Use a better USB cable or a powered hub."
#define ON_COMMAND   "Flash it with wipyctl flash."

/* Where somebody listens: in trouble the trouble comes first, else the board needs its jumper. */
static const char *listened_to(const struct decision_state *state) {
    switch (state->seen) {
    case BOARD_SEEN_BROWNOUT:
        return CHECK_SUPPLY;
    case BOARD_SEEN_DEAF:
        return CHECK_TX;
    case BOARD_SEEN_STUB:
        return PRESS_RESET;
    case BOARD_SEEN_NOTHING:
    case BOARD_SEEN_SILENT:
    case BOARD_SEEN_NOISE:
    case BOARD_SEEN_FIRMWARE:
    case BOARD_SEEN_NO_BOOT:
    case BOARD_SEEN_PANIC:
    case BOARD_SEEN_DOWNLOAD:
    case BOARD_SEEN_COUNT:
        break;
    }
    return JUMPER;
}

/* Lines that reset the board have started it already; a wire is nothing that such a board needs. */
static const char *awaiting_start(const struct decision_state *state) {
    return state->is_armed && state->has_lines ? PRESS_RESET : WIRE_OFF;
}

/* A board that is left in download mode doesn't run what it has. Where there are lines, whoever looked has
 * started it again. */
static const char *left_in_download(const struct decision_state *state) {
    if (state->seen != BOARD_SEEN_DOWNLOAD || decision_is_bare(state) ||
        (state->is_armed && state->has_lines))
        return "";
    return WIRE_OFF;
}

/* Nobody listens any more: a new plug-in is what makes wipyd look again. */
static const char *let_go(const struct decision_state *state) {
    if (decision_is_awaiting(state))
        return awaiting_start(state);
    switch (state->seen) {
    case BOARD_SEEN_BROWNOUT:
        return CHECK_SUPPLY;
    case BOARD_SEEN_DEAF:
        return CHECK_TX;
    case BOARD_SEEN_NOISE:
        return CHECK_NOISE;
    case BOARD_SEEN_NOTHING:
    case BOARD_SEEN_SILENT:
        /* A slot where a board has answered before has its wires. */
        return state->is_presumed && !state->was_reset ? JUMPER_PLUG : CHECK_SILENT;
    case BOARD_SEEN_FIRMWARE:
    case BOARD_SEEN_NO_BOOT:
    case BOARD_SEEN_PANIC:
    case BOARD_SEEN_STUB:
    case BOARD_SEEN_DOWNLOAD:
    case BOARD_SEEN_COUNT:
        break;
    }
    return JUMPER_PLUG;
}

/* Only what is wrong: nothing is wanted of a board that runs. */
static const char *reported(const struct decision_state *state) {
    if (decision_is_awaiting(state))
        return awaiting_start(state);
    switch (state->seen) {
    case BOARD_SEEN_BROWNOUT:
    case BOARD_SEEN_DEAF:
    case BOARD_SEEN_NOISE:
        return let_go(state);
    case BOARD_SEEN_NO_BOOT:
    case BOARD_SEEN_PANIC:
        return state->has_candidate ? "Join G23 to GND, press reset, and flash it with wipyctl flash." : "";
    case BOARD_SEEN_NOTHING:
    case BOARD_SEEN_SILENT:
    case BOARD_SEEN_FIRMWARE:
    case BOARD_SEEN_STUB:
    case BOARD_SEEN_DOWNLOAD:
    case BOARD_SEEN_COUNT:
        break;
    }
    return "";
}

/* Some firmware runs that hasn't said what it is: perhaps the very one that should be brought up to date. */
static const char *running_other(const struct decision_state *state) {
    return *state->board || !state->has_candidate
               ? ""
               : "To have it flashed if it is a WiPy that needs it, join G23 to GND and plug it in again.";
}

static const char *absent(const struct decision_state *state) {
    return decision_is_pending(state) ? "Plug the board in again." : "";
}

static const char *by_hand(const struct decision_state *state) {
    return decision_is_awaiting(state) ? awaiting_start(state) : "";
}

static const char *flash_size(const struct decision_state *state) {
    return state->flash_mib ? "" : PRESS_RESET;
}

/* The rule's own words, or what a function makes of the state; a rule that isn't here wants nothing of
 * anybody. */
static const struct {
    const char *text;
    const char *(*of)(const struct decision_state *state);
} advice[DECISION_RULE_COUNT] = {
    [DECISION_RULE_ABSENT] = { .of = absent },
    [DECISION_RULE_ADAPTER_UNHANDLED] = { .text = "Plug the board into an adapter that wipyd serves." },
    [DECISION_RULE_BY_HAND] = { .of = by_hand },
    [DECISION_RULE_HELD] = { .text = "Close the program that has the port." },
    [DECISION_RULE_PORT_FAILED] = { .text = "Check that wipyd may open the port (group dialout)." },
    [DECISION_RULE_FLASH_SIZE] = { .of = flash_size },
    [DECISION_RULE_WIRE_LEFT_ON] = { .text = WIRE_IS_ON },
    [DECISION_RULE_WIRE_STILL_ON] = { .text = WIRE_IS_ON },
    [DECISION_RULE_NEW_FIRMWARE_FAILS] = { .text =
                                               "Join G23 to GND, press reset, and flash another release with "
                                               "wipyctl flash." },
    [DECISION_RULE_AWAITING_START] = { .of = awaiting_start },
    [DECISION_RULE_PENDING] = { .of = listened_to },
    [DECISION_RULE_PINNED_THERE] = { .of = left_in_download },
    [DECISION_RULE_NO_FIRMWARE] = { .text = "Bring firmware in with wipyctl firmware import, or refresh." },
    [DECISION_RULE_OTHER_BOARD] = { .of = left_in_download },
    [DECISION_RULE_UP_TO_DATE] = { .of = left_in_download },
    [DECISION_RULE_CHOSEN] = { .of = left_in_download },
    [DECISION_RULE_ALREADY_FLASHED] = { .of = left_in_download },
    [DECISION_RULE_NEWER] = { .of = left_in_download },
    [DECISION_RULE_CUSTOM] = { .of = left_in_download },
    [DECISION_RULE_NOT_A_WIPY] = { .of = left_in_download },
    [DECISION_RULE_FAILED_BEFORE] = { .text = "Check cable and supply, then flash it with wipyctl flash." },
    [DECISION_RULE_ENDED] = { .text = "Plug the board in again, or flash it with wipyctl flash." },
    [DECISION_RULE_ASK] = { .text = ON_COMMAND },
    [DECISION_RULE_ASK_REPORT] = { .of = reported },
    [DECISION_RULE_COACHED_OUT] = { .of = let_go },
    [DECISION_RULE_BROWNOUT] = { .of = listened_to },
    [DECISION_RULE_DEAF] = { .of = listened_to },
    [DECISION_RULE_PANIC] = { .of = listened_to },
    [DECISION_RULE_NO_BOOT] = { .of = listened_to },
    [DECISION_RULE_STUB] = { .of = listened_to },
    [DECISION_RULE_RUNNING_OLDER] = { .of = listened_to },
    [DECISION_RULE_RUNNING_OTHER] = { .of = running_other },
    [DECISION_RULE_NOISE] = { .of = let_go },
    [DECISION_RULE_SILENT] = { .of = let_go },
};

const char *coach_advice(const struct decision_state *state, unsigned rule) {
    if (rule >= DECISION_RULE_COUNT)
        return "";
    if (advice[rule].of)
        return advice[rule].of(state);
    return advice[rule].text ? advice[rule].text : "";
}
