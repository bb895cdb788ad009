#pragma once

/*
 * The ledger from inside. Whatever is to be written or asked is an errand; they run one after the other, each
 * in three steps: begin (on the loop: what is to be written, as memory is now), run (in the pool: the
 * database alone), settle (on the loop: memory follows, events, the answer).
 */

#include "daemon/board/book.h"
#include "daemon/board/ledger.h"

#define SETTING_POLICY "policy.default"

/* A value that is set while it runs. */
struct setting_record {
    char name[32];
    enum board_policy policy;
};

enum ledger_book { BOOK_BOARDS, BOOK_SLOTS, BOOK_SETTINGS, BOOK_JOBS, BOOK_FLASHED, BOOK_RATES, BOOK_COUNT };

/* The largest of what is in the books. */
union ledger_record {
    struct board_record board;
    struct slot_record slot;
    struct setting_record setting;
    struct job_record job;
    struct flashed_record flashed;
    struct rate_record rate;
};

/* A field that people set. All others are learned. */
struct ledger_wish {
    size_t offset, size;
    bool is_text;
};

#define LEDGER_WISHES_MAX 3

/* What is special about one book's records. */
struct ledger_subject {
    const char *what;
    size_t record_bytes;
    int (*compare)(const void *a, const void *b);
    struct ledger_wish wishes[LEDGER_WISHES_MAX];
    unsigned n_wishes;
    int (*put)(struct records *records, const void *record);
    int (*erase)(struct records *records, const char *key);
    int (*list)(struct records *records, void **ret, size_t *ret_n);
    void (*name)(const void *record, char *ret, size_t size);
    /* NULL: nobody is told. */
    void (*on_changed)(struct ledger *ledger, const void *record, bool is_new);
    void (*on_forgotten)(struct ledger *ledger, const void *record);
};

/* By enum ledger_book. */
extern const struct ledger_subject ledger_subjects[BOOK_COUNT];

struct errand;

struct errand_kind {
    void (*begin)(struct errand *errand);
    int (*run)(struct errand *errand); /* negative errno */
    void (*settle)(struct errand *errand);
};

struct errand {
    struct errand *next;
    const struct errand_kind *kind;
    struct ledger *ledger;
    enum ledger_book book;
    const char *what;   /* of what is in no book, for the log */
    void *record;       /* owned: what is written */
    unsigned wishes;    /* of a put that was asked for: which fields, 1 << index */
    bool is_needless;   /* begin found nothing to do: run is left out */
    bool is_to_restart; /* it begins once more before anything else */
    int r;              /* of run */
    ledger_fn done;     /* or NULL */
    void *userdata;
    struct ledger_question *question;
};

/* Of a list. */
struct ledger_question {
    struct records_query query;
    char *mac, *slot; /* owned */
    struct job_record *jobs;
    struct decision_record *decisions;
    size_t n;
    ledger_jobs_fn on_jobs; /* one of them */
    ledger_decisions_fn on_decisions;
};

struct ledger {
    struct records *records;
    struct work_queue *queue;
    enum board_policy configured_policy;
    struct ledger_events events;
    void *userdata;

    /* Of the jobs: those that aren't over, the last one, and what isn't written yet. */
    struct book books[BOOK_COUNT];
    bool is_behind;      /* an entry is: after the next errand that succeeds it is tried again */
    bool is_catching_up; /* such an errand is among them */
    unsigned generation; /* of the records, as far as they were told everything */

    struct job_record *open_jobs; /* as found at the start */
    size_t n_open_jobs;
    struct attempt_record *open_attempts;
    size_t n_open_attempts;
    uint32_t last_job;

    struct errand *first, *last; /* the first is under way */
    struct errand closing;       /* the last there ever is */
    unsigned n_damaged;          /* times that the database was replaced while closing */
    void (*on_closed)(void *userdata);
    void *closed_userdata;
};

/* A copy of record. NULL: no memory. */
struct errand *errand_new(struct ledger *ledger, const struct errand_kind *kind, const void *record,
                          size_t record_bytes);
/* Takes ownership. */
void errand_append(struct errand *errand);
/* For a run that failed. */
void errand_fault(const struct errand *errand, struct fault *ret);

/* Something that was learned shows at once and is written behind. record: of that book. */
void ledger_learn(struct ledger *ledger, enum ledger_book book, const void *record);
/* What is wanted shows when it is on disk. */
void ledger_ask(struct ledger *ledger, enum ledger_book book, const void *record, ledger_fn done,
                void *userdata);
void ledger_forget(struct ledger *ledger, enum ledger_book book, const char *key, ledger_fn done,
                   void *userdata);
/* Writes what is behind, one record after the other, until that fails. */
extern const struct errand_kind errand_catch_up;
