#pragma once

/* A ledger on its loop, with its database in a folder of the test's own; what it tells is counted. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>

#include "daemon/board/ledger.h"
#include "tests/unit/test_folder.h"
#include "tests/unit/test_loop.h"
#include "tests/unit/test_records_make.h"

#define owned cleanup(free_p)

struct answer {
    unsigned n;
    struct fault fault; /* code NONE: done */
    /* As memory was then. */
    struct bench *bench;
    char label[RECORD_LABEL_MAX];
};

struct bench {
    char base[64], path[96];
    uv_loop_t loop;
    struct guard guard;
    struct records *records;
    struct work_queue *queue;
    struct ledger *ledger;
    unsigned n_boards, n_new_boards, n_boards_gone, n_slots, n_new_slots, n_slots_gone, n_policies, n_closed;
    unsigned n_jobs_over, n_jobs_lost, last_job_over;
    struct rlimit unlimited;
    struct answer late_answer; /* of what is put while it closes */
};

/* ---- the bench ------------------------------------------------------------------------------- */

static inline void run_until_idle(struct bench *bench) {
    while (uv_run(&bench->loop, UV_RUN_ONCE))
        ;
}

static inline void on_board(void *userdata, const struct board_record *board, bool is_new) {
    struct bench *bench = userdata;

    assert_int_equal(strlen(board->mac), 17);
    bench->n_boards++;
    bench->n_new_boards += is_new;
}

static inline void on_board_forgotten(void *userdata, const struct board_record *board) {
    struct bench *bench = userdata;

    assert_ptr_equal(ledger_board(bench->ledger, board->mac), board); /* still there */
    bench->n_boards_gone++;
}

static inline void on_slot(void *userdata, const struct slot_record *slot, bool is_new) {
    struct bench *bench = userdata;

    assert_ptr_equal(ledger_slot(bench->ledger, slot->name), slot);
    bench->n_slots++;
    bench->n_new_slots += is_new;
}

static inline void on_slot_forgotten(void *userdata, const struct slot_record *slot) {
    struct bench *bench = userdata;

    assert_ptr_equal(ledger_slot(bench->ledger, slot->name), slot);
    bench->n_slots_gone++;
}

static inline void on_default_policy(void *userdata) {
    struct bench *bench = userdata;

    bench->n_policies++;
}

static inline void on_job_over(void *userdata, const struct job_record *job, bool is_kept) {
    struct bench *bench = userdata;

    assert_true(wipyd_job_state_is_final(job->state));
    bench->last_job_over = job->id;
    bench->n_jobs_over++;
    bench->n_jobs_lost += !is_kept;
}

static inline void on_closed(void *userdata) {
    struct bench *bench = userdata;

    bench->n_closed++;
}

static inline void open_ledger(struct bench *bench) {
    static const struct ledger_events EVENTS = { on_board,          on_board_forgotten, on_slot,
                                                 on_slot_forgotten, on_default_policy,  on_job_over };
    struct fault fault = { 0 };

    if (records_open(&bench->records, bench->path, &fault))
        fail_msg("%s", fault.story);
    assert_int_equal(work_queue_new(&bench->queue, &bench->loop), 0);
    if (ledger_open(&bench->ledger, bench->records, bench->queue, BOARD_POLICY_WIPY, &EVENTS, bench, &fault))
        fail_msg("%s", fault.story);
}

static inline void close_ledger(struct bench *bench) {
    bench->n_closed = 0;
    ledger_close(bench->ledger, on_closed, bench);
    assert_int_equal(bench->n_closed, 0);
    run_until(&bench->guard, &bench->n_closed, 1);
    work_queue_close(bench->queue, on_closed, bench);
    run_until(&bench->guard, &bench->n_closed, 2);
    bench->records = records_close(bench->records);
    bench->ledger = NULL;
}

static inline void reopen(struct bench *bench) {
    close_ledger(bench);
    open_ledger(bench);
}

static inline int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    folder_make(bench->base, sizeof bench->base);
    snprintf(bench->path, sizeof bench->path, "%s/wipyd.db", bench->base);
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    guard_init(&bench->guard, &bench->loop);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &bench->unlimited), 0);
    open_ledger(bench);
    *state = bench;
    return 0;
}

static inline int tear_down(void **state) {
    struct bench *bench = *state;

    assert_int_equal(setrlimit(RLIMIT_FSIZE, &bench->unlimited), 0);
    if (bench->ledger)
        close_ledger(bench);
    guard_close(&bench->guard);
    assert_int_equal(uv_run(&bench->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    folder_remove(bench->base);
    free(bench);
    return 0;
}

/* No file may grow, or be written beyond its first bytes. */
static inline void let_disk_fail(struct bench *bench, bool fails) {
    struct rlimit limited = { 0, bench->unlimited.rlim_max };

    assert_int_equal(setrlimit(RLIMIT_FSIZE, fails ? &limited : &bench->unlimited), 0);
}

static inline long count(struct bench *bench, const char *sql) {
    return number_by_sql(bench->path, sql);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static inline void on_answer(void *userdata, const struct fault *fault) {
    struct answer *answer = userdata;

    answer->n++;
    answer->fault = fault ? *fault : (struct fault) { 0 };
    if (answer->bench && ledger_board(answer->bench->ledger, MAC))
        set_text(answer->label, ledger_board(answer->bench->ledger, MAC)->label);
}

static inline const struct board_record *board_there(struct bench *bench, const char *mac) {
    const struct board_record *board = ledger_board(bench->ledger, mac);

    assert_non_null(board);
    return board;
}

static inline void learn_board(struct bench *bench, const char *mac, uint64_t seen_us) {
    struct board_record board = { .seen_us = seen_us };

    set_text(board.mac, mac);
    ledger_put_board(bench->ledger, &board, NULL, NULL);
}

/* As the bus does it: a copy, one field changed. */
static inline void ask_label(struct bench *bench, const char *label, struct answer *answer) {
    struct board_record board = *board_there(bench, MAC);

    set_text(board.label, label);
    ledger_put_board(bench->ledger, &board, on_answer, answer);
}

static inline void ask_policy(struct bench *bench, enum board_policy policy, struct answer *answer) {
    struct board_record board = *board_there(bench, MAC);

    board.policy = policy;
    ledger_put_board(bench->ledger, &board, on_answer, answer);
}

static inline void expect_done(struct bench *bench, struct answer *answer) {
    run_until(&bench->guard, &answer->n, 1);
    if (answer->fault.code)
        fail_msg("%s", answer->fault.story);
    assert_int_equal(answer->n, 1);
}

static inline void put_job(struct bench *bench, uint32_t id, enum wipyd_job_state job_state) {
    owned struct job_record *job = make_job(id, job_state);

    ledger_put_job(bench->ledger, job);
}

struct listed {
    unsigned n_calls;
    size_t n;
    uint32_t ids[8];
    struct fault fault;
};

static inline void on_jobs(void *userdata, const struct fault *fault, const struct job_record *jobs,
                           size_t n) {
    struct listed *listed = userdata;

    listed->n_calls++;
    listed->n = n;
    listed->fault = fault ? *fault : (struct fault) { 0 };
    for (size_t i = 0; i < n && i < 8; i++)
        listed->ids[i] = jobs[i].id;
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
