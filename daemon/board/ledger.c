#include "daemon/board/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/board/ledger_errand.h"

#define DAMAGED_MAX 3 /* times that a database may be replaced while we only wait to close */

/* ---- errands: one after the other ------------------------------------------------------------ */

static void errand_free(struct errand *errand) {
    struct ledger_question *question = errand->question;

    if (question) {
        free(question->mac);
        free(question->slot);
        free(question->jobs);
        free(question->decisions);
        free(question);
    }
    free(errand->record);
    free(errand);
}

struct errand *errand_new(struct ledger *ledger, const struct errand_kind *kind, const void *record,
                          size_t record_bytes) {
    struct errand *errand = calloc(1, sizeof *errand);

    if (!errand)
        return NULL;
    errand->kind = kind;
    errand->ledger = ledger;
    if (record) {
        errand->record = malloc(record_bytes);
        if (!errand->record) {
            free(errand);
            return NULL;
        }
        memcpy(errand->record, record, record_bytes);
    }
    return errand;
}

/* Of what is in a book: its kind and its name. */
static void errand_name(const struct errand *errand, char *ret, size_t size) {
    const struct ledger_subject *subject = &ledger_subjects[errand->book];
    char name[RECORD_SLOT_MAX] = "";

    if (errand->what) {
        snprintf(ret, size, "%s", errand->what);
        return;
    }
    if (errand->record)
        subject->name(errand->record, name, sizeof name);
    snprintf(ret, size, "%s %s", subject->what, name);
}

void errand_fault(const struct errand *errand, struct fault *ret) {
    char name[RECORD_SLOT_MAX + 40]; /* what it is, and its name */

    errand_name(errand, name, sizeof name);
    if (errand->r == -EINVAL)
        fault_set(ret, WIPYD_ERROR_INVALID_ARGUMENT, "%s can't be recorded: a name or a value is not allowed",
                  name);
    else
        fault_errno(ret, errand->r, "%s: the database", name);
}

static void start_first(struct ledger *ledger);

static void ledger_free_p(struct ledger **ledger) {
    if (!*ledger)
        return;
    for (unsigned i = 0; i < BOOK_COUNT; i++)
        book_deinit(&(*ledger)->books[i]);
    free((*ledger)->closing.record);
    free((*ledger)->open_jobs);
    free((*ledger)->open_attempts);
    free(*ledger);
}

static void close_now(struct ledger *ledger) {
    void (*on_closed)(void *) = ledger->on_closed;
    void *userdata = ledger->closed_userdata;

    ledger_free_p(&ledger);
    on_closed(userdata);
}

/* The database was replaced by an empty one, by us or by somebody else: what is known is to go there. Only
 * where nothing runs on the queue. */
static void check_generation(struct ledger *ledger) {
    unsigned generation = records_generation(ledger->records);

    if (generation == ledger->generation)
        return;
    ledger->generation = generation;
    if (ledger->first == &ledger->closing && ++ledger->n_damaged > DAMAGED_MAX)
        return;
    for (unsigned i = 0; i < BOOK_COUNT; i++)
        for (unsigned j = 0; j < ledger->books[i].n; j++)
            ledger->books[i].entries[j]->is_behind = ledger->is_behind = true;
    ledger->first->is_to_restart = ledger->first == &ledger->closing;
}

/* What has worked for the first one may work for those that it didn't work for. */
static void catch_up(struct ledger *ledger) {
    struct errand *errand;

    if (!ledger->is_behind || ledger->is_catching_up || ledger->first->r < 0 || ledger->first->is_needless)
        return;
    errand = errand_new(ledger, &errand_catch_up, NULL, 0);
    if (!errand)
        return;
    ledger->is_catching_up = true;
    errand_append(errand);
}

static void settle(struct errand *errand) {
    struct ledger *ledger = errand->ledger;

    errand->kind->settle(errand);
    catch_up(ledger);
    if (errand->is_to_restart) {
        start_first(ledger);
        return;
    }
    ledger->first = errand->next;
    if (errand != &ledger->closing) {
        if (errand->kind == &errand_catch_up)
            ledger->is_catching_up = false;
        errand_free(errand);
    } else if (ledger->first) { /* put from a callback meanwhile */
        errand->next = NULL;
        errand_append(errand);
    } else {
        close_now(ledger);
        return;
    }
    if (ledger->first)
        start_first(ledger);
}

static void on_run(void *userdata) {
    struct errand *errand = userdata;

    if (!errand->is_needless)
        errand->r = errand->kind->run(errand);
}

static void on_ran(void *userdata) {
    struct errand *errand = userdata;

    errand->is_to_restart = false;
    check_generation(errand->ledger);
    settle(errand);
}

static void start_first(struct ledger *ledger) {
    struct errand *errand = ledger->first;
    int r;

    errand->r = 0;
    errand->is_needless = false;
    errand->kind->begin(errand);
    r = work_queue_add(ledger->queue, on_run, on_ran, errand);
    if (r < 0) {
        errand->r = r;
        errand->is_to_restart = false;
        settle(errand);
    }
}

void errand_append(struct errand *errand) {
    struct ledger *ledger = errand->ledger;

    if (ledger->first) {
        ledger->last->next = errand;
        ledger->last = errand;
        return;
    }
    ledger->first = ledger->last = errand;
    start_first(ledger);
}

/* ---- opening and closing --------------------------------------------------------------------- */

static int load_book(struct ledger *ledger, enum ledger_book book) {
    const struct ledger_subject *subject = &ledger_subjects[book];
    cleanup(free_p) void *rows = NULL;
    size_t n = 0;
    int r = subject->list(ledger->records, &rows, &n);

    for (size_t i = 0; r == 0 && i < n; i++)
        if (!book_add(&ledger->books[book], (const char *)rows + i * subject->record_bytes))
            r = -ENOMEM;
    return r;
}

/* The attempts of one of the open jobs, behind those of the ones before it. */
static int load_attempts(struct ledger *ledger, uint32_t job) {
    cleanup(free_p) struct attempt_record *found = NULL;
    struct attempt_record *attempts;
    size_t n = 0;
    int r = records_list_attempts(ledger->records, job, &found, &n);

    if (r < 0 || !n)
        return r;
    attempts = realloc(ledger->open_attempts, (ledger->n_open_attempts + n) * sizeof *attempts);
    if (!attempts)
        return -ENOMEM;
    memcpy(&attempts[ledger->n_open_attempts], found, n * sizeof *attempts);
    ledger->open_attempts = attempts;
    ledger->n_open_attempts += n;
    return 0;
}

/* The last job's record is kept whatever became of it: where the database is replaced, it is what the next
 * daemon tells by which ids were given. */
static int load_last_job(struct ledger *ledger) {
    static const struct records_query NEWEST = { .limit = 1 };
    struct book *jobs = &ledger->books[BOOK_JOBS];
    cleanup(free_p) struct job_record *last = NULL;
    size_t n = 0;
    int r = records_last_job(ledger->records, &ledger->last_job);

    if (r == 0)
        r = records_list_jobs(ledger->records, &NEWEST, &last, &n);
    if (r < 0 || !n || book_find(jobs, last))
        return r;
    return book_add(jobs, last) ? 0 : -ENOMEM;
}

static int load(struct ledger *ledger) {
    int r;

    for (enum ledger_book book = 0; book < BOOK_COUNT; book++) {
        ledger->books[book].record_bytes = ledger_subjects[book].record_bytes;
        ledger->books[book].compare = ledger_subjects[book].compare;
        r = load_book(ledger, book);
        if (r < 0)
            return r;
    }
    r = records_list_open_jobs(ledger->records, &ledger->open_jobs, &ledger->n_open_jobs);
    for (size_t i = 0; r == 0 && i < ledger->n_open_jobs; i++)
        r = load_attempts(ledger, ledger->open_jobs[i].id);
    return r == 0 ? load_last_job(ledger) : r;
}

enum wipyd_error ledger_open(struct ledger **ret, struct records *records, struct work_queue *queue,
                             enum board_policy configured_policy, const struct ledger_events *events,
                             void *userdata, struct fault *fault) {
    cleanup(ledger_free_p) struct ledger *ledger = calloc(1, sizeof *ledger);
    int r;

    if (!ledger)
        return fault_errno(fault, -ENOMEM, "the records");
    ledger->records = records;
    ledger->queue = queue;
    ledger->configured_policy = configured_policy;
    ledger->events = *events;
    ledger->userdata = userdata;
    ledger->generation = records_generation(records); /* should it be replaced from here on, all goes again */
    r = load(ledger);
    if (r < 0)
        return fault_errno(fault, r, "reading the records");
    *ret = steal_pointer(&ledger);
    return WIPYD_ERROR_NONE;
}

void ledger_close(struct ledger *ledger, void (*on_closed)(void *userdata), void *userdata) {
    ledger->on_closed = on_closed;
    ledger->closed_userdata = userdata;
    ledger->closing = (struct errand) { .kind = &errand_catch_up, .ledger = ledger };
    errand_append(&ledger->closing);
}

/* ---- boards, slots, the default -------------------------------------------------------------- */

static const void *record_at(const struct ledger *ledger, enum ledger_book book, unsigned index) {
    return index < ledger->books[book].n ? ledger->books[book].entries[index]->record : NULL;
}

static const void *record_of(const struct ledger *ledger, enum ledger_book book, const void *key) {
    const struct book_entry *entry = book_find(&ledger->books[book], key);

    return entry ? entry->record : NULL;
}

const struct board_record *ledger_board_at(const struct ledger *ledger, unsigned index) {
    return record_at(ledger, BOOK_BOARDS, index);
}

const struct board_record *ledger_board(const struct ledger *ledger, const char *mac) {
    return record_of(ledger, BOOK_BOARDS, mac);
}

const struct slot_record *ledger_slot_at(const struct ledger *ledger, unsigned index) {
    return record_at(ledger, BOOK_SLOTS, index);
}

const struct slot_record *ledger_slot(const struct ledger *ledger, const char *name) {
    return record_of(ledger, BOOK_SLOTS, name);
}

enum board_policy ledger_default_policy(const struct ledger *ledger) {
    const struct setting_record *setting = record_of(ledger, BOOK_SETTINGS, SETTING_POLICY);

    return setting && setting->policy != BOARD_POLICY_UNSET ? setting->policy : ledger->configured_policy;
}

void ledger_configure(struct ledger *ledger, enum board_policy configured_policy) {
    enum board_policy before = ledger_default_policy(ledger);

    ledger->configured_policy = configured_policy;
    if (ledger_default_policy(ledger) != before)
        ledger->events.on_default_policy(ledger->userdata);
}

static void put(struct ledger *ledger, enum ledger_book book, const void *record, ledger_fn done,
                void *userdata) {
    if (done)
        ledger_ask(ledger, book, record, done, userdata);
    else
        ledger_learn(ledger, book, record);
}

void ledger_put_board(struct ledger *ledger, const struct board_record *board, ledger_fn done,
                      void *userdata) {
    put(ledger, BOOK_BOARDS, board, done, userdata);
}

void ledger_forget_board(struct ledger *ledger, const char *mac, ledger_fn done, void *userdata) {
    ledger_forget(ledger, BOOK_BOARDS, mac, done, userdata);
}

void ledger_put_slot(struct ledger *ledger, const struct slot_record *slot, ledger_fn done, void *userdata) {
    put(ledger, BOOK_SLOTS, slot, done, userdata);
}

void ledger_forget_slot(struct ledger *ledger, const char *name, ledger_fn done, void *userdata) {
    ledger_forget(ledger, BOOK_SLOTS, name, done, userdata);
}

void ledger_set_default_policy(struct ledger *ledger, enum board_policy policy, ledger_fn done,
                               void *userdata) {
    const struct setting_record setting = { .name = SETTING_POLICY, .policy = policy };

    ledger_ask(ledger, BOOK_SETTINGS, &setting, done, userdata);
}

/* ---- facts ----------------------------------------------------------------------------------- */

static void name_flashed(struct flashed_record *ret, const char *mac, const char *sha256) {
    *ret = (struct flashed_record) { 0 };
    snprintf(ret->mac, sizeof ret->mac, "%s", mac);
    snprintf(ret->sha256, sizeof ret->sha256, "%s", sha256);
}

bool ledger_was_flashed(const struct ledger *ledger, const char *mac, const char *sha256) {
    struct flashed_record flashed;

    name_flashed(&flashed, mac, sha256);
    return record_of(ledger, BOOK_FLASHED, &flashed);
}

void ledger_note_flashed(struct ledger *ledger, const char *mac, const char *sha256, uint64_t at_us) {
    struct flashed_record flashed;

    name_flashed(&flashed, mac, sha256);
    flashed.at_us = at_us;
    ledger_learn(ledger, BOOK_FLASHED, &flashed);
}

const struct rate_record *ledger_rate(const struct ledger *ledger, const char *owner, const char *name,
                                      uint32_t baud) {
    struct rate_record rate = { .baud = baud };

    snprintf(rate.owner, sizeof rate.owner, "%s", owner);
    snprintf(rate.name, sizeof rate.name, "%s", name);
    return record_of(ledger, BOOK_RATES, &rate);
}

void ledger_put_rate(struct ledger *ledger, const struct rate_record *rate) {
    ledger_learn(ledger, BOOK_RATES, rate);
}

void ledger_put_job(struct ledger *ledger, const struct job_record *job) {
    if (job->id > ledger->last_job)
        ledger->last_job = job->id;
    ledger_learn(ledger, BOOK_JOBS, job);
}

static void begin_nothing(struct errand *errand) {
    (void)errand;
}

static int run_attempt(struct errand *errand) {
    return records_put_attempt(errand->ledger->records, errand->record);
}

static int run_decision(struct errand *errand) {
    return records_put_decision(errand->ledger->records, errand->record);
}

static void settle_fact(struct errand *errand) {
    struct fault fault;

    if (errand->r == 0)
        return;
    errand_fault(errand, &fault);
    log_error("%s", fault.story);
}

static const struct errand_kind kind_attempt = { begin_nothing, run_attempt, settle_fact };
static const struct errand_kind kind_decision = { begin_nothing, run_decision, settle_fact };

static void put_fact(struct ledger *ledger, const struct errand_kind *kind, const char *what,
                     const void *record, size_t record_bytes) {
    struct errand *errand = errand_new(ledger, kind, record, record_bytes);

    if (!errand) {
        log_error("%s: no memory to write it", what);
        return;
    }
    errand->what = what;
    errand_append(errand);
}

void ledger_put_attempt(struct ledger *ledger, const struct attempt_record *attempt) {
    put_fact(ledger, &kind_attempt, "an attempt of a job", attempt, sizeof *attempt);
}

void ledger_put_decision(struct ledger *ledger, const struct decision_record *decision) {
    put_fact(ledger, &kind_decision, "a decision", decision, sizeof *decision);
}

const struct job_record *ledger_open_job_at(const struct ledger *ledger, unsigned index) {
    return index < ledger->n_open_jobs ? &ledger->open_jobs[index] : NULL;
}

uint32_t ledger_last_job(const struct ledger *ledger) {
    return ledger->last_job;
}

const struct attempt_record *ledger_open_attempt_at(const struct ledger *ledger, uint32_t job,
                                                    unsigned index) {
    for (size_t i = 0; i < ledger->n_open_attempts; i++)
        if (ledger->open_attempts[i].job == job && index-- == 0)
            return &ledger->open_attempts[i];
    return NULL;
}

/* ---- questions ------------------------------------------------------------------------------- */

static int run_list(struct errand *errand) {
    struct ledger_question *question = errand->question;

    return question->on_jobs
               ? records_list_jobs(errand->ledger->records, &question->query, &question->jobs, &question->n)
               : records_list_decisions(errand->ledger->records, &question->query, &question->decisions,
                                        &question->n);
}

static void answer_list(const struct ledger_question *question, void *userdata, const struct fault *fault) {
    if (question->on_jobs)
        question->on_jobs(userdata, fault, question->jobs, fault ? 0 : question->n);
    else if (question->on_decisions)
        question->on_decisions(userdata, fault, question->decisions, fault ? 0 : question->n);
}

static void settle_list(struct errand *errand) {
    struct fault fault;

    if (errand->r < 0)
        errand_fault(errand, &fault);
    answer_list(errand->question, errand->userdata, errand->r < 0 ? &fault : NULL);
}

static const struct errand_kind kind_list = { begin_nothing, run_list, settle_list };

/* NULL: no memory. */
static struct ledger_question *copy_question(const struct ledger_question *question) {
    struct ledger_question *copy = malloc(sizeof *copy);

    if (!copy)
        return NULL;
    *copy = *question;
    copy->mac = question->query.mac ? strdup(question->query.mac) : NULL;
    copy->slot = question->query.slot ? strdup(question->query.slot) : NULL;
    if (!copy->mac == !question->query.mac && !copy->slot == !question->query.slot) {
        copy->query.mac = copy->mac;
        copy->query.slot = copy->slot;
        return copy;
    }
    free(copy->mac);
    free(copy->slot);
    free(copy);
    return NULL;
}

static void ask(struct ledger *ledger, const struct ledger_question *question, const char *what,
                void *userdata) {
    struct errand *errand = errand_new(ledger, &kind_list, NULL, 0);
    struct fault fault;

    if (errand)
        errand->question = copy_question(question);
    if (!errand || !errand->question) {
        free(errand);
        fault_errno(&fault, -ENOMEM, "%s", what);
        answer_list(question, userdata, &fault);
        return;
    }
    errand->what = what;
    errand->userdata = userdata;
    errand_append(errand);
}

void ledger_list_jobs(struct ledger *ledger, const struct records_query *query, ledger_jobs_fn done,
                      void *userdata) {
    const struct ledger_question question = { .query = *query, .on_jobs = done };

    ask(ledger, &question, "the list of jobs", userdata);
}

void ledger_list_decisions(struct ledger *ledger, const struct records_query *query, ledger_decisions_fn done,
                           void *userdata) {
    const struct ledger_question question = { .query = *query, .on_decisions = done };

    ask(ledger, &question, "the list of decisions", userdata);
}
