#include "daemon/board/ledger_errand.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"

/* ---- what is wanted, and what is learned ----------------------------------------------------- */

static unsigned all_wishes(const struct ledger_subject *subject) {
    return (1u << subject->n_wishes) - 1;
}

/* Which of them differ, 1 << index. */
static unsigned compare_wishes(const struct ledger_subject *subject, const char *a, const char *b) {
    unsigned differ = 0;

    for (unsigned i = 0; i < subject->n_wishes; i++) {
        const struct ledger_wish *wish = &subject->wishes[i];
        int order = wish->is_text ? strncmp(a + wish->offset, b + wish->offset, wish->size)
                                  : memcmp(a + wish->offset, b + wish->offset, wish->size);

        differ |= order ? 1u << i : 0;
    }
    return differ;
}

/* from NULL: they are cleared. */
static void copy_wishes(const struct ledger_subject *subject, unsigned which, char *to, const char *from) {
    for (unsigned i = 0; i < subject->n_wishes; i++) {
        const struct ledger_wish *wish = &subject->wishes[i];

        if (!(which & 1u << i))
            continue;
        if (from)
            memcpy(to + wish->offset, from + wish->offset, wish->size);
        else
            memset(to + wish->offset, 0, wish->size);
    }
}

/* ---- outcomes -------------------------------------------------------------------------------- */

static void mark_behind(struct ledger *ledger, struct book_entry *entry) {
    entry->is_behind = true;
    ledger->is_behind = true;
}

/* What the database will never take isn't tried again. */
static void mark_by_outcome(const struct errand *errand, struct book_entry *entry) {
    if (errand->r < 0 && errand->r != -EINVAL)
        mark_behind(errand->ledger, entry);
    else
        entry->is_behind = false;
}

static void log_failure(const struct errand *errand) {
    struct fault fault;

    errand_fault(errand, &fault);
    log_error("%s", fault.story);
}

static void answer(const struct errand *errand, const struct fault *fault) {
    if (errand->done)
        errand->done(errand->userdata, fault);
    else if (fault)
        log_error("%s", fault->story);
}

static struct book_entry *find(const struct errand *errand) {
    return book_find(&errand->ledger->books[errand->book], errand->record);
}

static int run_put(struct errand *errand) {
    return ledger_subjects[errand->book].put(errand->ledger->records, errand->record);
}

/* ---- learned --------------------------------------------------------------------------------- */

static void begin_learn(struct errand *errand) {
    const struct ledger_subject *subject = &ledger_subjects[errand->book];
    const struct book_entry *entry = find(errand);

    errand->is_needless = !entry; /* forgotten meanwhile */
    if (entry)
        copy_wishes(subject, all_wishes(subject), errand->record, entry->record);
}

static bool is_over(const struct ledger *ledger, const struct book_entry *entry) {
    const struct job_record *job = (const struct job_record *)entry->record;

    return wipyd_job_state_is_final(job->state) && job->id != ledger->last_job && !entry->is_behind;
}

static void tell_if_over(struct ledger *ledger, enum ledger_book book, const void *record, bool is_kept) {
    const struct job_record *job = record;

    if (book == BOOK_JOBS && wipyd_job_state_is_final(job->state))
        ledger->events.on_job_over(ledger->userdata, job, is_kept);
}

static void settle_learn(struct errand *errand) {
    struct book_entry *entry = find(errand);
    struct book *jobs = &errand->ledger->books[BOOK_JOBS];

    if (errand->r < 0)
        log_failure(errand);
    if (entry && !errand->is_needless)
        mark_by_outcome(errand, entry);
    if (!errand->is_needless)
        tell_if_over(errand->ledger, errand->book, errand->record, errand->r == 0);
    if (errand->next)
        return; /* one of these may be about a job that is over */
    for (unsigned i = jobs->n; i-- > 0;)
        if (is_over(errand->ledger, jobs->entries[i]))
            book_strike(jobs, jobs->entries[i]);
}

static const struct errand_kind kind_learn = { begin_learn, run_put, settle_learn };

/* The last one of all, still waiting, of the same record: it can write this as well. */
static struct errand *find_waiting(const struct ledger *ledger, enum ledger_book book, const void *record) {
    struct errand *last = ledger->last;

    if (!ledger->first || last == ledger->first || last->kind != &kind_learn || last->book != book ||
        ledger_subjects[book].compare(last->record, record) != 0)
        return NULL;
    return last;
}

/* false: no memory. */
static bool write_behind(struct ledger *ledger, enum ledger_book book, const void *record) {
    struct errand *errand = find_waiting(ledger, book, record);

    if (errand) {
        memcpy(errand->record, record, ledger_subjects[book].record_bytes);
        return true;
    }
    errand = errand_new(ledger, &kind_learn, record, ledger_subjects[book].record_bytes);
    if (!errand)
        return false;
    errand->book = book;
    errand_append(errand);
    return true;
}

void ledger_learn(struct ledger *ledger, enum ledger_book book, const void *record) {
    const struct ledger_subject *subject = &ledger_subjects[book];
    struct book_entry *entry = book_find(&ledger->books[book], record);
    union ledger_record learned;
    bool is_new = !entry;

    memcpy(&learned, record, subject->record_bytes);
    copy_wishes(subject, all_wishes(subject), (char *)&learned, entry ? entry->record : NULL);
    if (entry && !entry->is_behind && memcmp(entry->record, &learned, subject->record_bytes) == 0)
        return;
    if (!entry)
        entry = book_add(&ledger->books[book], &learned);
    if (!entry) {
        log_error("%s: no memory to remember it", subject->what);
        tell_if_over(ledger, book, &learned, false);
        return;
    }
    memcpy(entry->record, &learned, subject->record_bytes);
    if (!write_behind(ledger, book, &learned)) {
        log_error("%s: no memory to write it", subject->what);
        mark_behind(ledger, entry);
        tell_if_over(ledger, book, &learned, false);
    }
    if (subject->on_changed)
        subject->on_changed(ledger, entry->record, is_new);
}

/* ---- asked for ------------------------------------------------------------------------------- */

static void begin_ask(struct errand *errand) {
    const struct ledger_subject *subject = &ledger_subjects[errand->book];
    const struct book_entry *entry = find(errand);
    union ledger_record record;

    if (!entry)
        return; /* it is created as it was given */
    memcpy(&record, entry->record, subject->record_bytes);
    copy_wishes(subject, errand->wishes, (char *)&record, errand->record);
    memcpy(errand->record, &record, subject->record_bytes);
}

static void settle_ask(struct errand *errand) {
    const struct ledger_subject *subject = &ledger_subjects[errand->book];
    struct book_entry *entry = find(errand);
    bool is_new = !entry;
    unsigned changed = 0;
    struct fault fault;

    if (errand->r == 0 && is_new) {
        entry = book_add(&errand->ledger->books[errand->book], errand->record);
        errand->r = entry ? 0 : -ENOMEM;
    } else if (errand->r == 0) {
        changed = compare_wishes(subject, entry->record, errand->record);
        copy_wishes(subject, changed, entry->record, errand->record);
        entry->is_behind = false;
    }
    if (errand->r < 0) {
        errand_fault(errand, &fault);
        answer(errand, &fault);
        return;
    }
    if (is_new || changed)
        subject->on_changed(errand->ledger, entry->record, is_new);
    answer(errand, NULL);
}

static const struct errand_kind kind_ask = { begin_ask, run_put, settle_ask };

static void answer_no_memory(const struct ledger_subject *subject, ledger_fn done, void *userdata) {
    struct fault fault;

    fault_errno(&fault, -ENOMEM, "%s", subject->what);
    if (done)
        done(userdata, &fault);
    else
        log_error("%s", fault.story);
}

void ledger_ask(struct ledger *ledger, enum ledger_book book, const void *record, ledger_fn done,
                void *userdata) {
    const struct ledger_subject *subject = &ledger_subjects[book];
    const struct book_entry *entry = book_find(&ledger->books[book], record);
    struct errand *errand = errand_new(ledger, &kind_ask, record, subject->record_bytes);

    if (!errand) {
        answer_no_memory(subject, done, userdata);
        return;
    }
    errand->book = book;
    errand->done = done;
    errand->userdata = userdata;
    errand->wishes = entry ? compare_wishes(subject, entry->record, record) : 0;
    if (!errand->wishes) /* nothing differs: then what is meant is that it shall be so */
        errand->wishes = all_wishes(subject);
    errand_append(errand);
}

/* ---- forgotten ------------------------------------------------------------------------------- */

static void begin_nothing(struct errand *errand) {
    (void)errand;
}

static int run_forget(struct errand *errand) {
    return ledger_subjects[errand->book].erase(errand->ledger->records, errand->record);
}

static void settle_forget(struct errand *errand) {
    const struct ledger_subject *subject = &ledger_subjects[errand->book];
    struct book_entry *entry = find(errand);
    struct fault fault;

    if (errand->r < 0) {
        errand_fault(errand, &fault);
        answer(errand, &fault);
        return;
    }
    if (entry) {
        subject->on_forgotten(errand->ledger, entry->record);
        book_strike(&errand->ledger->books[errand->book], entry);
    }
    answer(errand, NULL);
}

static const struct errand_kind kind_forget = { begin_nothing, run_forget, settle_forget };

void ledger_forget(struct ledger *ledger, enum ledger_book book, const char *key, ledger_fn done,
                   void *userdata) {
    const struct ledger_subject *subject = &ledger_subjects[book];
    struct errand *errand;

    errand = errand_new(ledger, &kind_forget, key, strlen(key) + 1);
    if (!errand) {
        answer_no_memory(subject, done, userdata);
        return;
    }
    errand->book = book;
    errand->done = done;
    errand->userdata = userdata;
    errand_append(errand);
}

/* ---- behind ---------------------------------------------------------------------------------- */

static struct book_entry *find_behind(const struct ledger *ledger, enum ledger_book *ret_book) {
    for (enum ledger_book book = 0; book < BOOK_COUNT; book++)
        for (unsigned i = 0; i < ledger->books[book].n; i++)
            if (ledger->books[book].entries[i]->is_behind) {
                *ret_book = book;
                return ledger->books[book].entries[i];
            }
    return NULL;
}

static void begin_catch_up(struct errand *errand) {
    const struct book_entry *entry = find_behind(errand->ledger, &errand->book);

    errand->is_needless = !entry;
    if (!entry) {
        errand->ledger->is_behind = false;
        return;
    }
    free(errand->record);
    errand->record = malloc(ledger_subjects[errand->book].record_bytes);
    if (errand->record)
        memcpy(errand->record, entry->record, ledger_subjects[errand->book].record_bytes);
}

static int run_catch_up(struct errand *errand) {
    return errand->record ? run_put(errand) : -ENOMEM;
}

static void settle_catch_up(struct errand *errand) {
    struct book_entry *entry;

    if (errand->is_needless)
        return;
    if (errand->r < 0)
        log_failure(errand);
    if (!errand->record)
        return;
    entry = find(errand);
    if (entry)
        mark_by_outcome(errand, entry);
    if (errand->r == 0)
        tell_if_over(errand->ledger, errand->book, errand->record, true);
    errand->is_to_restart = errand->r == 0 || errand->r == -EINVAL;
}

const struct errand_kind errand_catch_up = { begin_catch_up, run_catch_up, settle_catch_up };
