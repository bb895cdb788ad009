#pragma once

/* What may be done to a board without being asked, and what was last seen on a port: the words on the bus. */

/* clang-format off */
/* symbol, word, what it means */
#define BOARD_POLICY_TABLE(X)                                                                            \
    X(UNSET, "",     "whatever holds further out: the board's policy goes before the slot's, that before the default") \
    X(OFF,   "off",  "never open the port")                                                              \
    X(ASK,   "ask",  "look and report; flash on command only")                                           \
    X(WIPY,  "wipy", "flash a board in download mode that is a WiPy, or blank")                          \
    X(ANY,   "any",  "flash every ESP32 that turns up in download mode")

/* What was last seen on a port: symbol, word, what people are told. */
#define BOARD_SEEN_TABLE(X)                                                                              \
    X(NOTHING,  "nothing",  "not looked at yet")                                                         \
    X(SILENT,   "silent",   "silent")                                                                    \
    X(NOISE,    "noise",    "sends noise")                                                               \
    X(FIRMWARE, "firmware", "runs its firmware")                                                         \
    X(NO_BOOT,  "no-boot",  "finds no firmware")                                                         \
    X(PANIC,    "panic",    "its firmware crashes")                                                      \
    X(BROWNOUT, "brownout", "its supply collapses")                                                      \
    X(DEAF,     "deaf",     "waits for a download, but doesn't hear us")                                 \
    X(STUB,     "stub",     "runs another program's loader")                                             \
    X(DOWNLOAD, "download", "in download mode")
/* clang-format on */

enum board_policy {
#define X(symbol, word, meaning) BOARD_POLICY_##symbol,
    BOARD_POLICY_TABLE(X)
#undef X
        BOARD_POLICY_COUNT
};

enum board_seen {
#define X(symbol, word, label) BOARD_SEEN_##symbol,
    BOARD_SEEN_TABLE(X)
#undef X
        BOARD_SEEN_COUNT
};

/* Words, meanings and labels have static storage. The from_ functions give _COUNT for an unknown word. */
const char *board_policy_word(enum board_policy policy);
const char *board_policy_meaning(enum board_policy policy);
enum board_policy board_policy_from_word(const char *word);
const char *board_seen_word(enum board_seen seen);
const char *board_seen_label(enum board_seen seen);
enum board_seen board_seen_from_word(const char *word);
