#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/board/ledger_errand.h"

/* ---- keys ------------------------------------------------------------------------------------ */

static int compare_text(const void *a, const void *b) {
    return strcmp(a, b);
}

static int compare_jobs(const void *a, const void *b) {
    const struct job_record *one = a, *two = b;

    return (one->id > two->id) - (one->id < two->id);
}

static int compare_flashed(const void *a, const void *b) {
    const struct flashed_record *one = a, *two = b;
    int order = strcmp(one->mac, two->mac);

    return order ? order : strcmp(one->sha256, two->sha256);
}

static int compare_rates(const void *a, const void *b) {
    const struct rate_record *one = a, *two = b;
    int order = strcmp(one->owner, two->owner);

    if (!order)
        order = strcmp(one->name, two->name);
    return order ? order : (one->baud > two->baud) - (one->baud < two->baud);
}

static void name_text(const void *record, char *ret, size_t size) {
    snprintf(ret, size, "%s", (const char *)record);
}

static void name_job(const void *record, char *ret, size_t size) {
    const struct job_record *job = record;

    snprintf(ret, size, "%u", job->id);
}

static void name_flashed(const void *record, char *ret, size_t size) {
    const struct flashed_record *flashed = record;

    snprintf(ret, size, "%.12s of %s", flashed->sha256, flashed->mac);
}

static void name_rate(const void *record, char *ret, size_t size) {
    const struct rate_record *rate = record;

    snprintf(ret, size, "%u baud of %s", rate->baud, rate->name);
}

/* ---- the database ---------------------------------------------------------------------------- */

static int put_board(struct records *records, const void *record) {
    return records_put_board(records, record);
}

static int put_slot(struct records *records, const void *record) {
    return records_put_slot(records, record);
}

static int put_job(struct records *records, const void *record) {
    return records_put_job(records, record);
}

static int put_flashed(struct records *records, const void *record) {
    return records_put_flashed(records, record);
}

static int put_rate(struct records *records, const void *record) {
    return records_put_rate(records, record);
}

static int put_setting(struct records *records, const void *record) {
    const struct setting_record *setting = record;

    if (setting->policy >= BOARD_POLICY_COUNT)
        return -EINVAL;
    return records_put_value(records, setting->name, board_policy_word(setting->policy));
}

static int list_boards(struct records *records, void **ret, size_t *ret_n) {
    return records_list_boards(records, (struct board_record **)ret, ret_n);
}

static int list_slots(struct records *records, void **ret, size_t *ret_n) {
    return records_list_slots(records, (struct slot_record **)ret, ret_n);
}

static int list_jobs(struct records *records, void **ret, size_t *ret_n) {
    return records_list_open_jobs(records, (struct job_record **)ret, ret_n);
}

static int list_flashed(struct records *records, void **ret, size_t *ret_n) {
    return records_list_flashed(records, (struct flashed_record **)ret, ret_n);
}

static int list_rates(struct records *records, void **ret, size_t *ret_n) {
    return records_list_rates(records, (struct rate_record **)ret, ret_n);
}

/* One that isn't there, or that nobody can read, leaves the configured policy. */
static int list_settings(struct records *records, void **ret, size_t *ret_n) {
    cleanup(free_p) struct setting_record *setting = calloc(1, sizeof *setting);
    cleanup(free_p) char *word = NULL;
    int r = setting ? records_get_value(records, SETTING_POLICY, &word) : -ENOMEM;

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    setting->policy = board_policy_from_word(word);
    if (setting->policy == BOARD_POLICY_COUNT) {
        log_error("the default policy in the database, '%.32s', is unknown: the configured one holds", word);
        return 0;
    }
    snprintf(setting->name, sizeof setting->name, "%s", SETTING_POLICY);
    *ret = steal_pointer(&setting);
    *ret_n = 1;
    return 0;
}

/* ---- events ---------------------------------------------------------------------------------- */

static void tell_board(struct ledger *ledger, const void *record, bool is_new) {
    ledger->events.on_board(ledger->userdata, record, is_new);
}

static void tell_slot(struct ledger *ledger, const void *record, bool is_new) {
    ledger->events.on_slot(ledger->userdata, record, is_new);
}

static void tell_setting(struct ledger *ledger, const void *record, bool is_new) {
    (void)record, (void)is_new;
    ledger->events.on_default_policy(ledger->userdata);
}

static void forget_rates(struct ledger *ledger, const char *owner, const char *name) {
    struct book *rates = &ledger->books[BOOK_RATES];

    for (unsigned i = rates->n; i-- > 0;) {
        const struct rate_record *rate = (const void *)rates->entries[i]->record;

        if (!strcmp(rate->owner, owner) && !strcmp(rate->name, name))
            book_strike(rates, rates->entries[i]);
    }
}

/* With it goes what it was flashed with. */
static void tell_board_forgotten(struct ledger *ledger, const void *record) {
    const struct board_record *board = record;
    struct book *flashed = &ledger->books[BOOK_FLASHED];

    ledger->events.on_board_forgotten(ledger->userdata, board);
    for (unsigned i = flashed->n; i-- > 0;)
        if (strcmp(((const struct flashed_record *)flashed->entries[i]->record)->mac, board->mac) == 0)
            book_strike(flashed, flashed->entries[i]);
    forget_rates(ledger, RATE_OF_BOARD, board->mac);
}

static void tell_slot_forgotten(struct ledger *ledger, const void *record) {
    const struct slot_record *slot = record;

    ledger->events.on_slot_forgotten(ledger->userdata, slot);
    forget_rates(ledger, RATE_OF_SLOT, slot->name);
}

/* ---- the table ------------------------------------------------------------------------------- */

#define WISH(record, field, text)                                                                            \
    { offsetof(struct record, field), sizeof((struct record *)0)->field, text }

const struct ledger_subject ledger_subjects[BOOK_COUNT] = {
    [BOOK_BOARDS] = { .what = "board",
                      .record_bytes = sizeof(struct board_record),
                      .compare = compare_text,
                      .wishes = { WISH(board_record, label, true), WISH(board_record, policy, false),
                                  WISH(board_record, pin, true) },
                      .n_wishes = 3,
                      .put = put_board,
                      .erase = records_delete_board,
                      .list = list_boards,
                      .name = name_text,
                      .on_changed = tell_board,
                      .on_forgotten = tell_board_forgotten },
    [BOOK_SLOTS] = { .what = "slot",
                     .record_bytes = sizeof(struct slot_record),
                     .compare = compare_text,
                     .wishes = { WISH(slot_record, label, true), WISH(slot_record, policy, false),
                                 WISH(slot_record, is_armed, false) },
                     .n_wishes = 3,
                     .put = put_slot,
                     .erase = records_delete_slot,
                     .list = list_slots,
                     .name = name_text,
                     .on_changed = tell_slot,
                     .on_forgotten = tell_slot_forgotten },
    [BOOK_SETTINGS] = { .what = "setting",
                        .record_bytes = sizeof(struct setting_record),
                        .compare = compare_text,
                        .wishes = { WISH(setting_record, policy, false) },
                        .n_wishes = 1,
                        .put = put_setting,
                        .list = list_settings,
                        .name = name_text,
                        .on_changed = tell_setting },
    [BOOK_JOBS] = { .what = "job",
                    .record_bytes = sizeof(struct job_record),
                    .compare = compare_jobs,
                    .put = put_job,
                    .list = list_jobs,
                    .name = name_job },
    [BOOK_FLASHED] = { .what = "flashed package",
                       .record_bytes = sizeof(struct flashed_record),
                       .compare = compare_flashed,
                       .put = put_flashed,
                       .list = list_flashed,
                       .name = name_flashed },
    [BOOK_RATES] = { .what = "rate",
                     .record_bytes = sizeof(struct rate_record),
                     .compare = compare_rates,
                     .put = put_rate,
                     .list = list_rates,
                     .name = name_rate },
};
