#pragma once

/*
 * The table of rules, in order, for decision.c (what each asks), decision_tell.c (what each says) and coach.c
 * (what a person does then). decision.h is what others include.
 */

#include "daemon/board/decision.h"

/* clang-format off */
/* symbol, function, word, verdict, what it asks */
#define DECISION_RULE_TABLE(X)                                                                                    \
    /* the port */                                                                                                \
    X(ABSENT, absent, "absent", LEAVE, "Is it unplugged?")                                                        \
    X(ADAPTER_UNHANDLED, adapter_unhandled, "adapter-unhandled", LEAVE, "Is the adapter one that isn't served?")  \
    X(POLICY_OFF, policy_off, "policy-off", LEAVE, "Does the policy keep the port closed?")                       \
    X(JOB_UNDER_WAY, job_under_way, "job-under-way", WAIT, "Is a job under way?")                                 \
    X(LEASED, leased, "leased", WAIT, "Is the port leased to another program?")                                   \
    X(BY_HAND, by_hand, "by-hand", LEAVE, "Is the port named by hand, and served on command only?")               \
    X(SETTLING, settling, "settling", WAIT, "Was it plugged in only just now?")                                   \
    X(HELD, held, "held", WAIT, "Does another program have the port?")                                            \
    X(PORT_FAILED, port_failed, "port-failed", WAIT, "Did the port fail to open?")                                \
    X(BY_HAND_PENDING, by_hand_pending, "by-hand-pending", RESUME, "Was a job that was commanded here cut off?")  \
    X(NOT_LOOKED_AT, not_looked_at, "not-looked-at", LOOK, "Is it still unknown who is there?")                   \
    /* a boot ROM answered: what it is, and what is unfinished */                                                 \
    X(NOT_ESP32, not_esp32, "not-esp32", LEAVE, "Is the chip another one than an ESP32?")                         \
    X(FLASH_ENCRYPTED, flash_encrypted, "flash-encrypted", LEAVE, "Is flash encryption on?")                      \
    X(SECURE_BOOT, secure_boot, "secure-boot", LEAVE, "Is secure boot on?")                                       \
    X(FLASH_SIZE, flash_size, "flash-size", LEAVE, "Is the flash of a size that no Pycom board has?")             \
    X(RESUME, resume, "resume", RESUME, "Was a job on this board cut off?")                                       \
    X(WIRE_LEFT_ON, wire_left_on, "wire-left-on", COACH, "Was it just flashed, and is still in download mode?")   \
    X(WIRE_STILL_ON, wire_still_on, "wire-still-on", LEAVE, "Does it stay in download mode after its flash?")     \
    /* no ROM answered: what is unfinished */                                                                     \
    X(CONFIRMED, confirmed, "confirmed", LEAVE, "Does it run what was just flashed?")                             \
    X(NEW_FIRMWARE_FAILS, new_firmware_fails, "new-firmware-fails", LEAVE, "Does it fail to run what was just flashed?") \
    X(AWAITING_START, awaiting_start, "awaiting-start", COACH, "Was it just flashed, and has yet to start?")      \
    X(PENDING_RESET, pending_reset, "pending-reset", RESET, "Was a job cut off that a reset may bring back?")     \
    X(PENDING, pending, "pending", COACH, "Was a job cut off that needs download mode to go on?")                 \
    /* what it has, by its flash, by its own words or by what was last seen in the slot */                        \
    X(PINNED_THERE, pinned_there, "pinned-there", LEAVE, "Does it have the release that it is pinned to?")        \
    X(NO_FIRMWARE, no_firmware, "no-firmware", LEAVE, "Is there no firmware at hand for it?")                     \
    X(OTHER_BOARD, other_board, "other-board", LEAVE, "Is the firmware at hand for another type of board?")       \
    X(UP_TO_DATE, up_to_date, "up-to-date", LEAVE, "Does the flash hold the package at hand, as it was flashed?") \
    X(RUNNING_UP_TO_DATE, running_up_to_date, "running-up-to-date", LEAVE, "Does it run the release at hand?")    \
    X(CHOSEN, chosen, "chosen", LEAVE, "Was what it has a person's own choice?")                                  \
    X(ALREADY_FLASHED, already_flashed, "already-flashed", LEAVE, "Was the package at hand flashed to it before?") \
    X(NEWER, newer, "newer", LEAVE, "Does the flash hold a newer release?")                                       \
    X(RUNNING_NEWER, running_newer, "running-newer", LEAVE, "Does it run a newer release?")                       \
    X(CUSTOM, custom, "custom", LEAVE, "Does it have firmware that can't be compared with what is at hand?")      \
    X(NOT_A_WIPY, not_a_wipy, "not-a-wipy", LEAVE, "Is it, under the policy wipy, no known WiPy?")                \
    X(FAILED_BEFORE, failed_before, "failed-before", LEAVE, "Has the package failed on it three times?")          \
    X(ENDED, ended, "ended", LEAVE, "Did a job end without success since it was plugged in?")                     \
    /* a ROM answered: now or on command */                                                                       \
    X(ASK, ask, "ask", LEAVE, "May it be flashed on command only?")                                               \
    X(FLASH_BLANK, flash_blank, "flash-blank", FLASH, "Is the flash blank?")                                      \
    X(FLASH_OLDER, flash_older, "flash-older", FLASH, "Does the flash hold an older release?")                    \
    X(FLASH_SAME, flash_same, "flash-same-release", FLASH, "Does the flash hold the release at hand, unproven?")  \
    X(FLASH_UNKNOWN, flash_unknown, "flash-unknown", FLASH, "Is it in download mode, with firmware that can't be told?") \
    /* no ROM answered: what brings it into download mode */                                                      \
    X(ASK_REPORT, ask_report, "ask-report", LEAVE, "May it be looked at and reported only?")                      \
    X(RESET, reset, "reset", RESET, "May it be reset into download mode?")                                        \
    X(COACHED_OUT, coached_out, "coached-out", LEAVE, "Was it listened to for long enough?")                      \
    X(BROWNOUT, brownout, "brownout", COACH, "Does its supply collapse?")                                         \
    X(DEAF, deaf, "deaf", COACH, "Does it wait for a download, and not hear?")                                    \
    X(PANIC, panic, "panic", COACH, "Does its firmware crash?")                                                   \
    X(NO_BOOT, no_boot, "no-boot", COACH, "Does it find no firmware?")                                            \
    X(STUB, stub, "stub", COACH, "Does it run another program's loader?")                                         \
    X(RUNNING_OLDER, running_older, "running-older", COACH, "Does it run an older release?")                      \
    X(RUNNING_OTHER, running_other, "running-other", LEAVE, "Does it run something else?")                        \
    X(NOISE, noise, "noise", LEAVE, "Does it send what makes no sense?")                                          \
    X(SILENT, silent, "silent", LEAVE, "Is it silent?")
/* clang-format on */

enum decision_rule_index {
#define X(symbol, function, word, verdict, question) DECISION_RULE_##symbol,
    DECISION_RULE_TABLE(X)
#undef X
        DECISION_RULE_COUNT
};

#define X(symbol, function, word, verdict, question)                                                         \
    void decision_tell_##function(const struct decision_state *state, char *ret, size_t size);
DECISION_RULE_TABLE(X)
#undef X

/* A job has verified firmware on it this time, and it hasn't started it yet. */
bool decision_is_awaiting(const struct decision_state *state);
bool decision_is_pending(const struct decision_state *state);
/* Nothing on the flash; what was read before it was flashed doesn't count. */
bool decision_is_bare(const struct decision_state *state);
