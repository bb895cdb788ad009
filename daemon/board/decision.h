#pragma once

/*
 * What is to be done with a port: one pure function of what is known, which gives one rule and by it one
 * verdict. The rules are one table, tried from the top; the first that applies wins; the last one always
 * does.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/policy.h"

/* clang-format off */
/* symbol, word, meaning */
#define DECISION_VERDICT_TABLE(X)                                                       \
    X(LEAVE,  "leave",  "the port is left alone")                                       \
    X(WAIT,   "wait",   "something else has to end first")                              \
    X(LOOK,   "look",   "the port is opened to see who is there")                       \
    X(RESET,  "reset",  "the board is reset into download mode by DTR and RTS")         \
    X(COACH,  "coach",  "the port is listened to while a person does something")        \
    X(FLASH,  "flash",  "a job begins")                                                 \
    X(RESUME, "resume", "a job that was cut off goes on")
/* clang-format on */

enum decision_verdict {
#define X(symbol, word, meaning) DECISION_##symbol,
    DECISION_VERDICT_TABLE(X)
#undef X
        DECISION_VERDICT_COUNT
};

/* Everything that counts. Flat, so that it can be kept as text and replayed. */
struct decision_state {
    /* the port */
    bool is_present;
    bool is_handled; /* wipyd serves this kind of adapter */
    bool is_by_hand; /* named in the configuration: nobody sees it come or go. Served on command only, unless
                        its slot has a policy of its own */
    bool has_own_policy; /* the policy is the board's or the slot's, not the default */
    bool is_job_under_way;
    bool is_leased;  /* somebody else has the port, by our leave */
    bool is_settled; /* left alone long enough since it was plugged in */
    bool is_held;    /* another program has the port */
    bool is_failed;  /* the port can't be opened, for another reason */
    bool is_armed;
    bool has_lines; /* DTR and RTS; true while unknown */
    /* this time that it is plugged in */
    bool was_looked_at;
    bool was_reset;       /* into download mode, by us, and nothing came of it */
    bool is_coached_out;  /* listened to for as long as that is done */
    bool was_flashed_now; /* a job has verified its firmware, and the board hasn't started it yet that we know
                           */
    bool is_confirmed_now; /* and it has */
    bool has_ended_now;    /* a job ended without success: nothing more is done unasked until it is plugged in
                              again */
    /* the policy that holds */
    enum board_policy policy;
    /* who is there */
    enum board_seen seen;
    char mac[18];                                /* empty: not known */
    bool is_esp32, is_encrypted, is_secure_boot; /* of DOWNLOAD */
    uint32_t flash_mib;                          /* of DOWNLOAD; 0: can't be told */
    bool is_blank; /* no application on flash; counts for nothing once a job has verified firmware on it */
    char board[32], release[64]; /* by the flash, or by the firmware's own words; empty: not known. Of a blank
                                    flash: board is what the records have for this MAC */
    uint32_t order;              /* of release: Pycom's intVersion; 0: can't be ordered */
    bool is_known_wipy;          /* the records say that this MAC is a WiPy */
    bool is_presumed; /* nothing was heard that says who it is: mac, board, release are those of the board
                         last seen in this slot */
    /* firmware at hand for it */
    bool has_candidate;
    char candidate_board[32], candidate_release[64]; /* by its image */
    char candidate_sha256[65];
    uint32_t candidate_order; /* by its image's release; 0: can't be ordered */
    char pin[64];             /* the board's; the candidate is that release then */
    /* what was */
    bool was_flashed; /* this very package, to this board, at any time, verified */
    bool is_chosen;   /* what it has was a person's own choice, made when the candidate was at hand already */
    uint32_t failures;    /* jobs in a row with this package that failed on this board */
    uint32_t pending_job; /* one that was cut off, of this board, or where no board was reached, of this slot,
                             or, where a reset tells, of one that would run what this one runs; 0: none */
    uint32_t pending_attempts, attempts_max;
};

/* The rules, in order. ret: index into the table of decision_rule_at. */
unsigned decision_make(const struct decision_state *state);

struct decision_rule {
    const char *word; /* "up-to-date", stable */
    enum decision_verdict verdict;
    bool (*applies)(const struct decision_state *state);
    /* One sentence with the state's own words put in; ret is cut to size. */
    void (*tell)(const struct decision_state *state, char *ret, size_t size);
    const char *question; /* what the rule asks, for wipyctl explain: "Is the board up to date?" */
};

/* NULL past the end. Static storage. */
const struct decision_rule *decision_rule_at(unsigned index);

const char *decision_verdict_word(enum decision_verdict verdict);

/* All fields as "key=value" lines: flags 0 or 1, policy and seen as their words, of text all but printable
 * ASCII, and '%', as "%0a"; cut never: ret has DECISION_TEXT_MAX bytes. */
#define DECISION_TEXT_MAX 2048
void decision_state_print(const struct decision_state *state, char *ret);
/* The reverse; false: not such a text (empty, a line without a key, a key twice, a value that its field can't
 * hold), and ret is as it was. A key that isn't known is skipped, one that is missing has its zero: a record
 * of an older or newer wipyd can be read. */
bool decision_state_parse(const char *text, struct decision_state *ret);
/* One field as text, for explain: key and value (escaped as above) by index; false past the end. */
bool decision_state_field(const struct decision_state *state, unsigned index, const char **key, char *value,
                          size_t size);
