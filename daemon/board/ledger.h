#pragma once

/*
 * What is remembered of boards and slots, and wanted for them: in memory as the database has it, which
 * follows behind on the work queue. Also the way of all other facts (jobs, attempts, decisions) to the
 * database and back.
 *
 * Happy path: ledger_open (blocking, before the loop runs), looks and puts, ledger_close.
 * Failure modes: a change that was asked for (done is given) shows in memory, and in an event, only when it
 * is on disk; done gets a fault when it can't be (SYSTEM, NO_MEMORY, INVALID_ARGUMENT). A fact that was
 * learned (done NULL) shows at once; that it can't be written is logged, and tried again with the next fact
 * of the same key, after the next thing that could be written, and at ledger_close. Attempts and decisions
 * are not tried again. A database that was found damaged and replaced gets all boards, slots, flashed
 * packages, the default policy, the jobs that aren't over and the last job again.
 *
 * Of a board label, policy and pin are wanted, of a slot label, policy and is_armed; all else is learned. A
 * put that was asked for changes what is wanted alone, one that was learned only the rest; either creates the
 * record where there is none, the learned one with nothing wanted. So callers put a copy of what ledger_board
 * gave them with some fields changed, and a fact that comes between brings no old label back. Of a put that
 * was asked for only those wanted fields count that differ from memory when it is put: two that are under way
 * for one record don't undo one another. If none differs, all of them count, so that what is under way can be
 * taken back. What is learned of a record while it is being forgotten goes with it.
 */

#include <uv.h>

#include "daemon/loop/work_queue.h"
#include "daemon/records/records.h"

struct ledger;

struct ledger_events {
    /* Memory has changed. Not for what was there at ledger_open. is_new: it wasn't there before. Of what was
     * learned: from inside the put. */
    void (*on_board)(void *userdata, const struct board_record *board, bool is_new);
    void (*on_board_forgotten)(void *userdata, const struct board_record *board); /* about to go */
    void (*on_slot)(void *userdata, const struct slot_record *slot, bool is_new);
    void (*on_slot_forgotten)(void *userdata, const struct slot_record *slot);
    void (*on_default_policy)(void *userdata);
    /* It is on disk that the job is over (is_kept), or that can't be written for now and is tried again.
     * Perhaps more than once. From inside the put only where there is no memory. */
    void (*on_job_over)(void *userdata, const struct job_record *job, bool is_kept);
};

/* fault: NULL when it was done. From the loop, never from inside the call that asked, unless there is no
 * memory to begin. */
typedef void (*ledger_fn)(void *userdata, const struct fault *fault);

/* records, queue, events: borrowed until on_closed. configured_policy: the default where nobody set one. */
must_check enum wipyd_error ledger_open(struct ledger **ret, struct records *records,
                                        struct work_queue *queue, enum board_policy configured_policy,
                                        const struct ledger_events *events, void *userdata,
                                        struct fault *fault);
/* Lets all that was put be written and answered, then calls on_closed from the loop; the object is gone then.
 * What is put until then, from a callback, is written and answered as well. */
void ledger_close(struct ledger *ledger, void (*on_closed)(void *userdata), void *userdata);

/* NULL: none, past the end. Borrowed until the next turn of the loop. In order of mac and of name. */
const struct board_record *ledger_board_at(const struct ledger *ledger, unsigned index);
const struct board_record *ledger_board(const struct ledger *ledger, const char *mac);
const struct slot_record *ledger_slot_at(const struct ledger *ledger, unsigned index);
const struct slot_record *ledger_slot(const struct ledger *ledger, const char *name);
enum board_policy ledger_default_policy(const struct ledger *ledger);
/* The configuration has another default now. on_default_policy, from inside, where that holds. */
void ledger_configure(struct ledger *ledger, enum board_policy configured_policy);

/* The record is copied. done may be NULL: see above. To forget what isn't there is fine. */
void ledger_put_board(struct ledger *ledger, const struct board_record *board, ledger_fn done,
                      void *userdata);
void ledger_forget_board(struct ledger *ledger, const char *mac, ledger_fn done, void *userdata);
void ledger_put_slot(struct ledger *ledger, const struct slot_record *slot, ledger_fn done, void *userdata);
void ledger_forget_slot(struct ledger *ledger, const char *name, ledger_fn done, void *userdata);
/* UNSET: the configured one again. */
void ledger_set_default_policy(struct ledger *ledger, enum board_policy policy, ledger_fn done,
                               void *userdata);

/* Whether that package was ever flashed to that board and verified. */
bool ledger_was_flashed(const struct ledger *ledger, const char *mac, const char *sha256);
void ledger_note_flashed(struct ledger *ledger, const char *mac, const char *sha256, uint64_t at_us);

/* What a rate has shown with that owner (RATE_OF_SLOT, RATE_OF_BOARD); NULL: nothing yet. Of a slot or a
 * board that is forgotten it goes as well. */
const struct rate_record *ledger_rate(const struct ledger *ledger, const char *owner, const char *name,
                                      uint32_t baud);
void ledger_put_rate(struct ledger *ledger, const struct rate_record *rate);

/* Facts; copied, behind. */
void ledger_put_job(struct ledger *ledger, const struct job_record *job);
void ledger_put_attempt(struct ledger *ledger, const struct attempt_record *attempt);
void ledger_put_decision(struct ledger *ledger, const struct decision_record *decision);

/* What ledger_open found that wasn't over, in order of id, and the highest id ever given. */
const struct job_record *ledger_open_job_at(const struct ledger *ledger, unsigned index);
uint32_t ledger_last_job(const struct ledger *ledger);
/* Of one of the open jobs; in order of number. Only good until the loop runs. */
const struct attempt_record *ledger_open_attempt_at(const struct ledger *ledger, uint32_t job,
                                                    unsigned index);

/* Asks the database; query's strings are copied. jobs or decisions: n of them, newest first, borrowed until
 * it returns; on a fault n is 0. */
typedef void (*ledger_jobs_fn)(void *userdata, const struct fault *fault, const struct job_record *jobs,
                               size_t n);
typedef void (*ledger_decisions_fn)(void *userdata, const struct fault *fault,
                                    const struct decision_record *decisions, size_t n);
void ledger_list_jobs(struct ledger *ledger, const struct records_query *query, ledger_jobs_fn done,
                      void *userdata);
void ledger_list_decisions(struct ledger *ledger, const struct records_query *query, ledger_decisions_fn done,
                           void *userdata);
