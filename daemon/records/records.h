#pragma once

/*
 * The database: what must survive a crash. The only place with SQL. SQLite in WAL mode with synchronous=FULL;
 * a fact is one transaction; a schema version with migrations forward. Every call blocks: at start from main,
 * afterwards from the work queue only. A database that is damaged is moved aside (PATH.damaged-TIME), never
 * deleted, and a new one begun: the files of the store are the truth that it is rebuilt from. One that a
 * newer wipyd wrote is left alone: an error.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/base/fault.h"
#include "proto/phase.h"
#include "proto/policy.h"

struct records;

must_check enum wipyd_error records_open(struct records **ret, const char *path, struct fault *fault);
/* NULL is fine. */
struct records *records_close(struct records *records);
/* Rises each time that the database was found damaged, at start or later, and replaced by an empty one: what
 * was in it must be put again. */
unsigned records_generation(const struct records *records);

enum firmware_state {
    FIRMWARE_GOOD,        /* may be flashed */
    FIRMWARE_QUARANTINED, /* kept and shown, never flashed until an administrator releases it; `reason` says
                             why */
    FIRMWARE_MISSING,     /* the record is there, the file is not, or not as it was */
};

/* A package in the store. All strings are owned by the record, never NULL. */
struct firmware_record {
    char sha256[65]; /* of the file, hex: its name in the store */
    uint64_t bytes;
    char *name;                  /* what it was called where it came from */
    char *board, *release;       /* what the application image says */
    char *origin;                /* URL it was fetched from, "import", or "adopted" */
    char *server_version;        /* what the server called it; empty: not from a server, or not said */
    uint32_t server_int_version; /* 0: not said */
    char *server_hash;           /* 40 hex digits or empty */
    enum firmware_state state;
    char *reason;               /* of a state that isn't good */
    bool is_pinned;             /* never dropped by garbage collection */
    uint64_t added_us, used_us; /* since 1970 */
};

/* A deep copy; record's strings may be borrowed ones. -ENOMEM. */
must_check int firmware_record_copy(struct firmware_record *ret, const struct firmware_record *record);
void firmware_record_deinit(struct firmware_record *record);

/* Inserts, or replaces the one with the same sha256. Negative errno (-ENOSPC, -EROFS, -EIO ...). */
must_check int records_put_firmware(struct records *records, const struct firmware_record *record);
must_check int records_delete_firmware(struct records *records, const char *sha256);
/* All of them, oldest first; *ret is an array to be freed after each was deinited. */
must_check int records_list_firmware(struct records *records, struct firmware_record **ret, size_t *ret_n);

/* Small facts by name ("poll.next"). get: -ENOENT when there is none; *ret is to be freed. */
must_check int records_put_value(struct records *records, const char *name, const char *value);
must_check int records_get_value(struct records *records, const char *name, char **ret);

/* Text of a fixed size, so that a record is copied by assignment; longer text is refused with -EINVAL. */
#define RECORD_LABEL_MAX 64
#define RECORD_SLOT_MAX  256

/* A board, by its MAC: what is known of it, and what is wanted for it. */
struct board_record {
    char mac[18];                /* "30:ae:a4:01:02:03" */
    char board[32], release[64]; /* by the image on flash when it was last seen; empty: unknown or blank */
    char chip[64];
    uint64_t flash_bytes;
    char label[RECORD_LABEL_MAX];
    enum board_policy policy;
    char pin[64];               /* the release that it is to have; empty: the newest */
    char slot[RECORD_SLOT_MAX]; /* where it was last seen */
    uint64_t first_seen_us, seen_us;
    char flashed_sha256[65], flashed_release[64]; /* the package last flashed and verified; empty: never, or
                                                     a later flash was begun and not finished */
    uint64_t flashed_us;
    uint64_t chosen_us; /* that package was a person's own choice, made then: a version or a file was named;
                           0: no */
    char failed_sha256[65]; /* the package of the last `failures` jobs, all of which failed */
    uint32_t failures;
    char confirmed_release[64]; /* the running firmware's own word after that flash; empty: not heard yet */
    uint64_t confirmed_us;
};

/* A place where adapters are plugged in. */
struct slot_record {
    char name[RECORD_SLOT_MAX]; /* ID_PATH */
    char label[RECORD_LABEL_MAX];
    enum board_policy policy;
    bool is_armed;
    char mac[18]; /* of the board last seen there; empty: none */
    uint64_t seen_us;
};

#define RATE_OF_SLOT  "slot"
#define RATE_OF_BOARD "board"

/* What one rate has shown at one slot, or with one board. */
struct rate_record {
    char owner[8];              /* RATE_OF_SLOT or RATE_OF_BOARD */
    char name[RECORD_SLOT_MAX]; /* of the slot, or the board's MAC */
    uint32_t baud;
    uint32_t blocks, errors; /* sent and taken, and spoilt by the line, of late: older ones fade */
    uint32_t good;           /* jobs done at it in a row */
    uint32_t strikes;        /* times that it was given up, less those forgiven */
    uint32_t wait;           /* jobs done at a lower one until it is tried again */
    uint64_t failed_us, used_us;
};

/* A job, from its beginning on. */
struct job_record {
    uint32_t id;
    enum wipyd_job_kind kind;
    enum wipyd_job_state state;
    char device[64], slot[RECORD_SLOT_MAX], mac[18]; /* where it was last; mac empty: not reached yet */
    char by[32];                                     /* "policy", or "uid 1000" */
    char sha256[65], package[256];                   /* of the package file, and its name; empty: none */
    bool is_chosen;                                  /* a version or a file was named */
    bool is_dry_run;
    bool is_spooled; /* the package was handed over: it lies in the spool, not in the store */
    char board[32], from_release[64], to_release[64];
    uint64_t bytes_total, bytes_done;         /* of image: to be written, and written */
    uint32_t baud, wanted_baud;               /* reached, and to climb to */
    char loader[24];                          /* who wrote: "rom", "stub v1.2.2"; empty: not known */
    uint32_t retries;                         /* pieces begun again */
    uint32_t attempts;                        /* connections begun: 1 for a job that was never cut off */
    char phase[16];                           /* in which it ended, or was cut off */
    char error[64], error_text[320];          /* bus name and story; empty: none */
    char restore_mac[18], restore_backup[64]; /* of a restore: which generation */
    uint32_t restore_parts;                   /* and which of its parts: 1 << enum backup_part, or-ed */
    char confirmed_release[64];
    char gaps[1024];   /* flash_status has it so */
    char warning[512]; /* of a job that went well, all the same; empty: none */
    uint64_t started_us, finished_us;
};

/* Why an attempt of a job ended, where that was not the job's end. */
struct attempt_record {
    uint32_t job, number; /* from 1 */
    uint64_t ended_us;
    char reason[320];
};

/* What was decided of a device, and everything it was decided by. */
struct decision_record {
    uint64_t at_us;
    char device[64], slot[RECORD_SLOT_MAX], mac[18];
    char event[32]; /* what led to it */
    char verdict[16], rule[32];
    char state[2048]; /* decision_state_print's text */
};

struct records_query {
    const char *mac, *slot; /* NULL: any */
    uint64_t since_us;
    uint32_t limit; /* 0: 1000 */
};

/* put: inserts, or replaces the one of the same key, in one transaction that is on disk on return. list: an
 * array to be freed, NULL when empty; in a database that somebody edited, text that is longer than its field
 * is cut at a whole character, and a row that can't be a record (an unknown word, a key that is too long) is
 * logged and left out. Negative errno; -EINVAL: a key or a value that no such record has. */
must_check int records_put_board(struct records *records, const struct board_record *board);
/* And what it was flashed with. */
must_check int records_delete_board(struct records *records, const char *mac);
must_check int records_list_boards(struct records *records, struct board_record **ret, size_t *ret_n);
must_check int records_put_slot(struct records *records, const struct slot_record *slot);
must_check int records_delete_slot(struct records *records, const char *name);
must_check int records_list_slots(struct records *records, struct slot_record **ret, size_t *ret_n);
must_check int records_put_job(struct records *records, const struct job_record *job);
must_check int records_put_attempt(struct records *records, const struct attempt_record *attempt);
/* Newest first, by id: a clock may jump. since_us is held against started_us. */
must_check int records_list_jobs(struct records *records, const struct records_query *query,
                                 struct job_record **ret, size_t *ret_n);
/* Those that aren't over, in order of id: what a daemon that was killed has left. */
must_check int records_list_open_jobs(struct records *records, struct job_record **ret, size_t *ret_n);
/* In order of number. */
must_check int records_list_attempts(struct records *records, uint32_t job, struct attempt_record **ret,
                                     size_t *ret_n);
/* The highest id that was ever put, also when its job is gone (the table's AUTOINCREMENT sequence); 0: none.
 */
must_check int records_last_job(struct records *records, uint32_t *ret);
/* The last 20,000 are kept, and up to 255 more until the next pruning. */
must_check int records_put_decision(struct records *records, const struct decision_record *decision);
must_check int records_list_decisions(struct records *records, const struct records_query *query,
                                      struct decision_record **ret, size_t *ret_n);
/* Those of a slot or a board go with it. */
must_check int records_put_rate(struct records *records, const struct rate_record *rate);
must_check int records_list_rates(struct records *records, struct rate_record **ret, size_t *ret_n);
/* Package sha256 was flashed to that board and verified. */
struct flashed_record {
    char mac[18], sha256[65];
    uint64_t at_us;
};
must_check int records_put_flashed(struct records *records, const struct flashed_record *flashed);
must_check int records_list_flashed(struct records *records, struct flashed_record **ret, size_t *ret_n);
