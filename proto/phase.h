#pragma once

/*
 * The phases of a job, in the order in which a person would tell it. They are the words on the bus,
 * in the log and in the test matrix. Per row: symbol, word, what wipyctl shows beside the bar.
 */

/* clang-format off */
#define WIPYD_PHASE_TABLE(X)                                       \
    X(QUEUED,      "queued",      "waiting for its turn")          \
    X(PREPARE,     "prepare",     "unpacking and checking")        \
    X(OPEN,        "open",        "opening the port")              \
    X(RESET,       "reset",       "resetting the board")           \
    X(SYNC,        "sync",        "looking for the boot ROM")      \
    X(IDENTIFY,    "identify",    "reading the chip")              \
    X(PROTECT,     "protect",     "checking the security eFuses")  \
    X(LOAD_STUB,   "load-stub",   "starting the stub")             \
    X(PLAN,        "plan",        "planning")                      \
    X(RAISE_BAUD,  "raise-baud",  "changing the baud rate")        \
    X(COMPARE,     "compare",     "comparing")                     \
    X(SAVE,        "save",        "saving the board's own data")   \
    X(BEGIN,       "begin",       "erasing")                       \
    X(WRITE,       "write",       "writing")                       \
    X(VERIFY,      "verify",      "verifying")                     \
    X(GUARD_CHECK, "guard-check", "checking the config block")     \
    X(FINISH,      "finish",      "leaving the boot ROM")          \
    X(BOOT_CHECK,  "boot-check",  "waiting for the firmware")      \
    X(DONE,        "done",        "done")
/* clang-format on */

enum wipyd_phase {
#define X(symbol, word, label) WIPYD_PHASE_##symbol,
    WIPYD_PHASE_TABLE(X)
#undef X
        WIPYD_PHASE_COUNT
};

/* What became of a job. A job that waits for a person (UserAction is set) is "waiting"; one that was cut off
 * by an unplug, or by the end of the daemon, is "interrupted": it goes on by itself when its board is back.
 */
/* clang-format off */
#define WIPYD_JOB_STATE_TABLE(X)   \
    X(QUEUED,      "queued")       \
    X(RUNNING,     "running")      \
    X(WAITING,     "waiting")      \
    X(INTERRUPTED, "interrupted")  \
    X(DONE,        "done")         \
    X(FAILED,      "failed")       \
    X(CANCELLED,   "cancelled")
/* clang-format on */

enum wipyd_job_state {
#define X(symbol, word) WIPYD_JOB_STATE_##symbol,
    WIPYD_JOB_STATE_TABLE(X)
#undef X
        WIPYD_JOB_STATE_COUNT
};

/* clang-format off */
#define WIPYD_JOB_KIND_TABLE(X) \
    X(FLASH,    "flash")        \
    X(IDENTIFY, "identify")     \
    X(RESTORE,  "restore")
/* clang-format on */

enum wipyd_job_kind {
#define X(symbol, word) WIPYD_JOB_KIND_##symbol,
    WIPYD_JOB_KIND_TABLE(X)
#undef X
        WIPYD_JOB_KIND_COUNT
};

/* Words and labels have static storage. The from_ functions give _COUNT for an unknown word. */
const char *wipyd_phase_word(enum wipyd_phase phase);
const char *wipyd_phase_label(enum wipyd_phase phase);
enum wipyd_phase wipyd_phase_from_word(const char *word);
const char *wipyd_job_state_word(enum wipyd_job_state state);
enum wipyd_job_state wipyd_job_state_from_word(const char *word);
const char *wipyd_job_kind_word(enum wipyd_job_kind kind);
enum wipyd_job_kind wipyd_job_kind_from_word(const char *word);
/* Done, failed or cancelled: nothing more will happen. */
_Bool wipyd_job_state_is_final(enum wipyd_job_state state);
