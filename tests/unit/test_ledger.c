/* The ledger: what was asked for shows when it is on disk, what was learned at once; neither undoes the
 * other; a disk that fails, a database that is replaced and an end in the middle lose nothing that is known.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/resource.h>

#include "daemon/board/ledger.h"
#include "tests/unit/test_records_bench.h"

#define WAIT_MS 20000
#define owned   cleanup(free_p)

struct answer {
    unsigned n;
    struct fault fault; /* code NONE: done */
    /* As memory was then. */
    struct bench *bench;
    char label[RECORD_LABEL_MAX];
};

struct bench {
    struct folder folder;
    uv_loop_t loop;
    uv_timer_t guard;
    bool late;
    struct records *records;
    struct work_queue *queue;
    struct ledger *ledger;
    unsigned n_boards, n_new_boards, n_boards_gone, n_slots, n_new_slots, n_slots_gone, n_policies, n_closed;
    unsigned n_jobs_over, last_job_over;
    struct rlimit unlimited;
    struct answer late_answer; /* of what is put while it closes */
};

/* ---- the bench ------------------------------------------------------------------------------- */

static void on_guard(uv_timer_t *timer) {
    struct bench *bench = timer->data;

    bench->late = true;
}

static void run_until(struct bench *bench, const unsigned *counter, unsigned value) {
    uv_timer_start(&bench->guard, on_guard, WAIT_MS, 0);
    while (*counter < value && !bench->late)
        uv_run(&bench->loop, UV_RUN_ONCE);
    uv_timer_stop(&bench->guard);
    assert_false(bench->late);
}

static void run_until_idle(struct bench *bench) {
    while (uv_run(&bench->loop, UV_RUN_ONCE))
        ;
}

static void on_board(void *userdata, const struct board_record *board, bool is_new) {
    struct bench *bench = userdata;

    assert_int_equal(strlen(board->mac), 17);
    bench->n_boards++;
    bench->n_new_boards += is_new;
}

static void on_board_forgotten(void *userdata, const struct board_record *board) {
    struct bench *bench = userdata;

    assert_ptr_equal(ledger_board(bench->ledger, board->mac), board); /* still there */
    bench->n_boards_gone++;
}

static void on_slot(void *userdata, const struct slot_record *slot, bool is_new) {
    struct bench *bench = userdata;

    assert_ptr_equal(ledger_slot(bench->ledger, slot->name), slot);
    bench->n_slots++;
    bench->n_new_slots += is_new;
}

static void on_slot_forgotten(void *userdata, const struct slot_record *slot) {
    struct bench *bench = userdata;

    assert_ptr_equal(ledger_slot(bench->ledger, slot->name), slot);
    bench->n_slots_gone++;
}

static void on_default_policy(void *userdata) {
    struct bench *bench = userdata;

    bench->n_policies++;
}

static void on_job_over(void *userdata, const struct job_record *job) {
    struct bench *bench = userdata;

    assert_true(wipyd_job_state_is_final(job->state));
    bench->last_job_over = job->id;
    bench->n_jobs_over++;
}

static void on_closed(void *userdata) {
    struct bench *bench = userdata;

    bench->n_closed++;
}

static void open_ledger(struct bench *bench) {
    static const struct ledger_events EVENTS = { on_board,          on_board_forgotten, on_slot,
                                                 on_slot_forgotten, on_default_policy,  on_job_over };
    struct fault fault = { 0 };

    if (records_open(&bench->records, bench->folder.database, &fault))
        fail_msg("%s", fault.story);
    assert_int_equal(work_queue_new(&bench->queue, &bench->loop), 0);
    if (ledger_open(&bench->ledger, bench->records, bench->queue, BOARD_POLICY_WIPY, &EVENTS, bench, &fault))
        fail_msg("%s", fault.story);
}

static void close_ledger(struct bench *bench) {
    bench->n_closed = 0;
    ledger_close(bench->ledger, on_closed, bench);
    assert_int_equal(bench->n_closed, 0);
    run_until(bench, &bench->n_closed, 1);
    work_queue_close(bench->queue, on_closed, bench);
    run_until(bench, &bench->n_closed, 2);
    bench->records = records_close(bench->records);
    bench->ledger = NULL;
}

static void reopen(struct bench *bench) {
    close_ledger(bench);
    open_ledger(bench);
}

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    make_folder(&bench->folder);
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    uv_timer_init(&bench->loop, &bench->guard);
    bench->guard.data = bench;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &bench->unlimited), 0);
    open_ledger(bench);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;

    assert_int_equal(setrlimit(RLIMIT_FSIZE, &bench->unlimited), 0);
    if (bench->ledger)
        close_ledger(bench);
    uv_close((uv_handle_t *)&bench->guard, NULL);
    assert_int_equal(uv_run(&bench->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    remove_folder(&bench->folder);
    free(bench);
    return 0;
}

/* No file may grow, or be written beyond its first bytes. */
static void let_disk_fail(struct bench *bench, bool fails) {
    struct rlimit limited = { 0, bench->unlimited.rlim_max };

    assert_int_equal(setrlimit(RLIMIT_FSIZE, fails ? &limited : &bench->unlimited), 0);
}

static long count(struct bench *bench, const char *sql) {
    return number_by_sql(bench->folder.database, sql);
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void on_answer(void *userdata, const struct fault *fault) {
    struct answer *answer = userdata;

    answer->n++;
    answer->fault = fault ? *fault : (struct fault) { 0 };
    if (answer->bench && ledger_board(answer->bench->ledger, MAC))
        set_text(answer->label, ledger_board(answer->bench->ledger, MAC)->label);
}

static const struct board_record *board_there(struct bench *bench, const char *mac) {
    const struct board_record *board = ledger_board(bench->ledger, mac);

    assert_non_null(board);
    return board;
}

static void learn_board(struct bench *bench, const char *mac, uint64_t seen_us) {
    struct board_record board = { .seen_us = seen_us };

    set_text(board.mac, mac);
    ledger_put_board(bench->ledger, &board, NULL, NULL);
}

/* As the bus does it: a copy, one field changed. */
static void ask_label(struct bench *bench, const char *label, struct answer *answer) {
    struct board_record board = *board_there(bench, MAC);

    set_text(board.label, label);
    ledger_put_board(bench->ledger, &board, on_answer, answer);
}

static void ask_policy(struct bench *bench, enum board_policy policy, struct answer *answer) {
    struct board_record board = *board_there(bench, MAC);

    board.policy = policy;
    ledger_put_board(bench->ledger, &board, on_answer, answer);
}

static void expect_done(struct bench *bench, struct answer *answer) {
    run_until(bench, &answer->n, 1);
    if (answer->fault.code)
        fail_msg("%s", answer->fault.story);
    assert_int_equal(answer->n, 1);
}

/* ---- the rule -------------------------------------------------------------------------------- */

static void asked_for_shows_once_on_disk(void **state) {
    struct bench *bench = *state;
    struct answer answer = { .bench = bench };
    owned struct board_record *board = make_board(MAC);

    ledger_put_board(bench->ledger, board, on_answer, &answer);
    assert_int_equal(answer.n, 0);
    assert_null(ledger_board(bench->ledger, MAC));
    assert_int_equal(bench->n_boards, 0);
    expect_done(bench, &answer);
    assert_string_equal(answer.label, board->label); /* before the answer */
    assert_memory_equal(board_there(bench, MAC), board, sizeof *board);
    assert_int_equal(bench->n_new_boards, 1);
    answer = (struct answer) { .bench = bench };
    ask_label(bench, "other", &answer);
    assert_string_equal(board_there(bench, MAC)->label, board->label);
    expect_done(bench, &answer);
    assert_string_equal(answer.label, "other");
    assert_int_equal(bench->n_boards, 2);
    assert_int_equal(bench->n_new_boards, 1);
    reopen(bench);
    assert_string_equal(board_there(bench, MAC)->label, "other");
    assert_int_equal(bench->n_boards, 2); /* no event for what was there */
}

static void learned_shows_at_once(void **state) {
    struct bench *bench = *state;
    owned struct slot_record *slot = make_slot(SLOT);

    learn_board(bench, MAC, 5);
    assert_int_equal(board_there(bench, MAC)->seen_us, 5);
    assert_int_equal(bench->n_new_boards, 1);
    learn_board(bench, MAC, 6);
    learn_board(bench, MAC, 6); /* no news */
    assert_int_equal(bench->n_boards, 2);
    ledger_put_slot(bench->ledger, slot, NULL, NULL);
    assert_int_equal(bench->n_new_slots, 1);
    assert_string_equal(ledger_slot(bench->ledger, SLOT)->mac, MAC);
    assert_false(ledger_slot(bench->ledger, SLOT)->is_armed); /* nobody asked for that */
    assert_string_equal(ledger_slot(bench->ledger, SLOT)->label, "");
    run_until_idle(bench);
    assert_int_equal(count(bench, "SELECT seen_us FROM board"), 6);
    assert_int_equal(count(bench, "SELECT seen_us FROM slot"), (long)slot->seen_us);
    reopen(bench);
    assert_int_equal(board_there(bench, MAC)->seen_us, 6);
}

static void records_stand_in_order_and_stay_where_they_are(void **state) {
    struct bench *bench = *state;
    const struct board_record *first;

    learn_board(bench, "30:ae:a4:00:00:50", 1);
    first = board_there(bench, "30:ae:a4:00:00:50");
    for (unsigned i = 0; i < 100; i++) {
        char mac[18];

        snprintf(mac, sizeof mac, "30:ae:a4:00:%02x:%02x", i * 37 % 100, i);
        learn_board(bench, mac, 2);
    }
    assert_ptr_equal(board_there(bench, "30:ae:a4:00:00:50"), first);
    for (unsigned round = 0; round < 2; round++) {
        unsigned n = 0;

        for (; ledger_board_at(bench->ledger, n); n++)
            if (n)
                assert_true(strcmp(ledger_board_at(bench->ledger, n - 1)->mac,
                                   ledger_board_at(bench->ledger, n)->mac) < 0);
        assert_int_equal(n, 101);
        reopen(bench);
    }
}

/* ---- two at a time --------------------------------------------------------------------------- */

static void two_asked_for_changes_dont_undo_one_another(void **state) {
    struct bench *bench = *state;
    struct answer answers[3] = { 0 };

    learn_board(bench, MAC, 5);
    ask_label(bench, "mine", &answers[0]);
    ask_policy(bench, BOARD_POLICY_OFF, &answers[1]);
    learn_board(bench, MAC, 7);
    for (unsigned i = 0; i < 2; i++)
        expect_done(bench, &answers[i]);
    run_until_idle(bench);
    assert_string_equal(board_there(bench, MAC)->label, "mine");
    assert_int_equal(board_there(bench, MAC)->policy, BOARD_POLICY_OFF);
    assert_int_equal(board_there(bench, MAC)->seen_us, 7);
    reopen(bench);
    assert_string_equal(board_there(bench, MAC)->label, "mine");
    assert_int_equal(board_there(bench, MAC)->policy, BOARD_POLICY_OFF);
    assert_int_equal(board_there(bench, MAC)->seen_us, 7);
}

static void later_one_for_the_same_field_wins(void **state) {
    struct bench *bench = *state;
    struct answer answers[3] = { 0 };

    learn_board(bench, MAC, 5);
    ask_label(bench, "one", &answers[0]);
    ask_label(bench, "two", &answers[1]);
    ask_label(bench, "three", &answers[2]);
    expect_done(bench, &answers[2]);
    assert_string_equal(board_there(bench, MAC)->label, "three");
    /* taken back while it is under way */
    answers[0] = answers[1] = (struct answer) { 0 };
    ask_label(bench, "four", &answers[0]);
    ask_label(bench, "three", &answers[1]);
    expect_done(bench, &answers[0]);
    expect_done(bench, &answers[1]);
    reopen(bench);
    assert_string_equal(board_there(bench, MAC)->label, "three");
}

/* The copy was made before the label was changed. */
static void learned_brings_no_old_label_back(void **state) {
    struct bench *bench = *state;
    struct answer answer = { 0 };
    struct board_record old;

    learn_board(bench, MAC, 5);
    ask_label(bench, "old", &answer);
    expect_done(bench, &answer);
    old = *board_there(bench, MAC);
    answer = (struct answer) { 0 };
    ask_label(bench, "new", &answer);
    old.seen_us = 8;
    ledger_put_board(bench->ledger, &old, NULL, NULL); /* while it is under way */
    assert_int_equal(board_there(bench, MAC)->seen_us, 8);
    expect_done(bench, &answer);
    assert_string_equal(board_there(bench, MAC)->label, "new");
    assert_int_equal(board_there(bench, MAC)->seen_us, 8);
    old.seen_us = 9;
    ledger_put_board(bench->ledger, &old, NULL, NULL); /* and afterwards */
    reopen(bench);
    assert_string_equal(board_there(bench, MAC)->label, "new");
    assert_int_equal(board_there(bench, MAC)->seen_us, 9);
}

/* And the other way round. */
static void asked_for_brings_no_old_fact_back(void **state) {
    struct bench *bench = *state;
    struct answer answer = { 0 };
    struct slot_record slot = { .name = SLOT, .seen_us = 5 };

    ledger_put_slot(bench->ledger, &slot, NULL, NULL);
    slot.is_armed = true;
    slot.seen_us = 1;
    ledger_put_slot(bench->ledger, &slot, on_answer, &answer);
    expect_done(bench, &answer);
    reopen(bench);
    assert_int_equal(ledger_slot(bench->ledger, SLOT)->seen_us, 5);
    assert_true(ledger_slot(bench->ledger, SLOT)->is_armed);
}

static void created_twice_at_once_is_one(void **state) {
    struct bench *bench = *state;
    struct answer answer = { 0 };
    owned struct board_record *board = make_board(MAC);

    ledger_put_board(bench->ledger, board, on_answer, &answer);
    learn_board(bench, MAC, 77);
    expect_done(bench, &answer);
    run_until_idle(bench);
    assert_int_equal(bench->n_new_boards, 1);
    reopen(bench);
    assert_string_equal(board_there(bench, MAC)->label, board->label);
    assert_int_equal(board_there(bench, MAC)->seen_us, 77);
}

/* ---- forgetting ------------------------------------------------------------------------------ */

static void forgotten_is_gone_with_what_it_was_flashed_with(void **state) {
    struct bench *bench = *state;
    struct answer answers[3] = { 0 };
    struct slot_record slot = { .name = SLOT };

    learn_board(bench, MAC, 5);
    learn_board(bench, OTHER_MAC, 5);
    ledger_note_flashed(bench->ledger, MAC, DIGEST, 6);
    ledger_note_flashed(bench->ledger, MAC, OTHER, 6);
    ledger_note_flashed(bench->ledger, OTHER_MAC, DIGEST, 6);
    ledger_put_slot(bench->ledger, &slot, NULL, NULL);
    reopen(bench);
    assert_true(ledger_was_flashed(bench->ledger, MAC, DIGEST));
    assert_true(ledger_was_flashed(bench->ledger, MAC, OTHER));
    assert_false(ledger_was_flashed(bench->ledger, OTHER_MAC, OTHER));
    ledger_forget_board(bench->ledger, MAC, on_answer, &answers[0]);
    ledger_forget_slot(bench->ledger, SLOT, on_answer, &answers[1]);
    ledger_forget_slot(bench->ledger, SLOT "-and-more-than-anybody-has", on_answer, &answers[2]);
    assert_non_null(ledger_board(bench->ledger, MAC));
    for (unsigned i = 0; i < 3; i++)
        expect_done(bench, &answers[i]);
    for (unsigned round = 0; round < 2; round++) {
        assert_null(ledger_board(bench->ledger, MAC));
        assert_null(ledger_slot(bench->ledger, SLOT));
        assert_false(ledger_was_flashed(bench->ledger, MAC, DIGEST));
        assert_false(ledger_was_flashed(bench->ledger, MAC, OTHER));
        assert_true(ledger_was_flashed(bench->ledger, OTHER_MAC, DIGEST));
        reopen(bench);
    }
    assert_int_equal(bench->n_boards_gone, 1);
    assert_int_equal(bench->n_slots_gone, 1);
}

/* A copy from before must not bring the label back either. */
static void learned_after_forgetting_begins_anew(void **state) {
    struct bench *bench = *state;
    struct answer answer = { 0 };
    owned struct board_record *board = make_board(MAC);

    ledger_put_board(bench->ledger, board, on_answer, &answer);
    expect_done(bench, &answer);
    answer = (struct answer) { 0 };
    ledger_forget_board(bench->ledger, MAC, on_answer, &answer);
    board->seen_us++;
    ledger_put_board(bench->ledger, board, NULL, NULL); /* goes with it */
    assert_int_equal(board_there(bench, MAC)->seen_us, board->seen_us);
    expect_done(bench, &answer);
    run_until_idle(bench);
    assert_null(ledger_board(bench->ledger, MAC));
    assert_int_equal(count(bench, "SELECT count(*) FROM board"), 0);
    ledger_put_board(bench->ledger, board, NULL, NULL);
    reopen(bench);
    assert_string_equal(board_there(bench, MAC)->label, "");
    assert_int_equal(board_there(bench, MAC)->policy, BOARD_POLICY_UNSET);
    assert_int_equal(board_there(bench, MAC)->seen_us, board->seen_us);
}

/* ---- the default ----------------------------------------------------------------------------- */

static void default_policy_is_kept(void **state) {
    struct bench *bench = *state;
    struct answer answers[3] = { 0 };

    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_WIPY);
    ledger_set_default_policy(bench->ledger, BOARD_POLICY_OFF, on_answer, &answers[0]);
    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_WIPY);
    expect_done(bench, &answers[0]);
    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_OFF);
    assert_int_equal(bench->n_policies, 1);
    reopen(bench);
    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_OFF);
    ledger_set_default_policy(bench->ledger, BOARD_POLICY_COUNT, on_answer, &answers[1]);
    run_until(bench, &answers[1].n, 1);
    assert_int_equal(answers[1].fault.code, WIPYD_ERROR_INVALID_ARGUMENT);
    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_OFF);
    ledger_set_default_policy(bench->ledger, BOARD_POLICY_UNSET, on_answer, &answers[2]);
    expect_done(bench, &answers[2]);
    reopen(bench);
    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_WIPY);
    run_sql(bench->folder.database, "UPDATE value SET value = 'nonsense' WHERE name = 'policy.default'");
    reopen(bench);
    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_WIPY);
}

/* ---- facts and questions --------------------------------------------------------------------- */

static void put_job(struct bench *bench, uint32_t id, enum wipyd_job_state job_state) {
    owned struct job_record *job = make_job(id, job_state);

    ledger_put_job(bench->ledger, job);
}

static void open_jobs_are_found_after_a_restart(void **state) {
    struct bench *bench = *state;
    struct attempt_record attempt = { .job = 2, .number = 1, .reason = "unplugged" };

    assert_null(ledger_open_job_at(bench->ledger, 0));
    assert_int_equal(ledger_last_job(bench->ledger), 0);
    put_job(bench, 1, WIPYD_JOB_STATE_RUNNING);
    put_job(bench, 2, WIPYD_JOB_STATE_RUNNING);
    put_job(bench, 3, WIPYD_JOB_STATE_RUNNING);
    assert_int_equal(ledger_last_job(bench->ledger), 3);
    ledger_put_attempt(bench->ledger, &attempt);
    attempt.number = 2;
    set_text(attempt.reason, "killed");
    ledger_put_attempt(bench->ledger, &attempt);
    attempt.job = 3;
    ledger_put_attempt(bench->ledger, &attempt);
    put_job(bench, 3, WIPYD_JOB_STATE_DONE);
    put_job(bench, 2, WIPYD_JOB_STATE_INTERRUPTED);
    reopen(bench);
    assert_int_equal(ledger_open_job_at(bench->ledger, 0)->id, 1);
    assert_int_equal(ledger_open_job_at(bench->ledger, 1)->id, 2);
    assert_int_equal(ledger_open_job_at(bench->ledger, 1)->state, WIPYD_JOB_STATE_INTERRUPTED);
    assert_null(ledger_open_job_at(bench->ledger, 2));
    assert_int_equal(ledger_last_job(bench->ledger), 3);
    assert_null(ledger_open_attempt_at(bench->ledger, 1, 0));
    assert_string_equal(ledger_open_attempt_at(bench->ledger, 2, 0)->reason, "unplugged");
    assert_string_equal(ledger_open_attempt_at(bench->ledger, 2, 1)->reason, "killed");
    assert_null(ledger_open_attempt_at(bench->ledger, 2, 2));
    assert_null(ledger_open_attempt_at(bench->ledger, 3, 0));
}

/* A second record of a job that is over is not lost, nor is one of a job that is no longer remembered. */
static void job_may_be_put_again_when_it_is_over(void **state) {
    struct bench *bench = *state;
    owned struct job_record *job = make_job(1, WIPYD_JOB_STATE_DONE);

    put_job(bench, 1, WIPYD_JOB_STATE_RUNNING);
    put_job(bench, 2, WIPYD_JOB_STATE_RUNNING);
    ledger_put_job(bench->ledger, job);
    set_text(job->confirmed_release, "first");
    learn_board(bench, MAC, 1);
    ledger_put_job(bench->ledger, job);
    run_until_idle(bench);
    assert_int_equal(count(bench, "SELECT count(*) FROM job WHERE confirmed_release = 'first'"), 1);
    set_text(job->confirmed_release, "second");
    ledger_put_job(bench->ledger, job);
    run_until_idle(bench);
    assert_int_equal(count(bench, "SELECT count(*) FROM job WHERE confirmed_release = 'second'"), 1);
}

static void that_a_job_is_over_is_told_when_it_is_on_disk(void **state) {
    struct bench *bench = *state;

    put_job(bench, 1, WIPYD_JOB_STATE_RUNNING);
    put_job(bench, 2, WIPYD_JOB_STATE_RUNNING);
    run_until_idle(bench);
    assert_int_equal(bench->n_jobs_over, 0);
    learn_board(bench, MAC, 1); /* in front of it */
    put_job(bench, 1, WIPYD_JOB_STATE_CANCELLED);
    learn_board(bench, MAC, 2);
    assert_int_equal(bench->n_jobs_over, 0);
    run_until(bench, &bench->n_jobs_over, 1);
    assert_int_equal(bench->last_job_over, 1);
    assert_int_equal(count(bench, "SELECT count(*) FROM job WHERE id = 1 AND state = 'cancelled'"), 1);
    run_until_idle(bench);
    assert_int_equal(bench->n_jobs_over, 1);
}

struct listed {
    unsigned n_calls;
    size_t n;
    uint32_t ids[8];
    struct fault fault;
};

static void on_jobs(void *userdata, const struct fault *fault, const struct job_record *jobs, size_t n) {
    struct listed *listed = userdata;

    listed->n_calls++;
    listed->n = n;
    listed->fault = fault ? *fault : (struct fault) { 0 };
    for (size_t i = 0; i < n && i < 8; i++)
        listed->ids[i] = jobs[i].id;
}

static void on_decisions(void *userdata, const struct fault *fault, const struct decision_record *decisions,
                         size_t n) {
    struct listed *listed = userdata;

    listed->n_calls++;
    listed->n = n;
    listed->fault = fault ? *fault : (struct fault) { 0 };
    for (size_t i = 0; i < n && i < 8; i++)
        listed->ids[i] = (uint32_t)decisions[i].at_us;
}

/* Asked behind them, answered with them: all goes in order. */
static void lists_hold_what_was_put_before(void **state) {
    struct bench *bench = *state;
    struct listed jobs = { 0 }, decisions = { 0 }, none = { 0 };
    char mac[] = MAC;
    const struct records_query query = { .mac = mac, .limit = 2 }, other = { .slot = "nowhere" };

    for (uint32_t i = 1; i <= 3; i++) {
        owned struct decision_record *decision = make_decision(i, MAC, SLOT);

        put_job(bench, i, WIPYD_JOB_STATE_DONE);
        ledger_put_decision(bench->ledger, decision);
    }
    ledger_list_jobs(bench->ledger, &query, on_jobs, &jobs);
    ledger_list_decisions(bench->ledger, &query, on_decisions, &decisions);
    ledger_list_jobs(bench->ledger, &other, on_jobs, &none);
    memset(mac, 'x', sizeof mac - 1); /* it was copied */
    assert_int_equal(jobs.n_calls, 0);
    run_until(bench, &none.n_calls, 1);
    assert_int_equal(jobs.n, 2);
    assert_int_equal(jobs.ids[0], 3);
    assert_int_equal(jobs.ids[1], 2);
    assert_int_equal(decisions.n, 2);
    assert_int_equal(decisions.ids[0], 3);
    assert_int_equal(none.n, 0);
    assert_int_equal(none.fault.code, WIPYD_ERROR_NONE);
}

/* ---- a disk that fails ----------------------------------------------------------------------- */

static void asked_for_on_a_failing_disk_is_refused(void **state) {
    struct bench *bench = *state;
    struct answer answers[4] = { 0 };
    struct slot_record slot = { .name = SLOT, .label = "x" };

    learn_board(bench, MAC, 5);
    run_until_idle(bench);
    let_disk_fail(bench, true);
    bench->n_boards = 0;
    ask_label(bench, "never", &answers[0]);
    ledger_forget_board(bench->ledger, MAC, on_answer, &answers[1]);
    ledger_put_slot(bench->ledger, &slot, on_answer, &answers[2]);
    ledger_set_default_policy(bench->ledger, BOARD_POLICY_OFF, on_answer, &answers[3]);
    for (unsigned i = 0; i < 4; i++) {
        run_until(bench, &answers[i].n, 1);
        assert_int_equal(answers[i].fault.code, WIPYD_ERROR_SYSTEM);
        assert_true(strlen(answers[i].fault.story) > 10);
    }
    assert_int_equal(bench->n_boards + bench->n_boards_gone + bench->n_slots + bench->n_policies, 0);
    assert_string_equal(board_there(bench, MAC)->label, "");
    assert_null(ledger_slot(bench->ledger, SLOT));
    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_WIPY);
    let_disk_fail(bench, false);
    answers[0] = (struct answer) { 0 };
    ask_label(bench, "now", &answers[0]);
    expect_done(bench, &answers[0]);
    reopen(bench);
    assert_string_equal(board_there(bench, MAC)->label, "now");
}

static void learned_on_a_failing_disk_is_written_later(void **state) {
    struct bench *bench = *state;
    struct slot_record slot = { .name = SLOT, .seen_us = 3 };

    learn_board(bench, MAC, 5);
    run_until_idle(bench);
    let_disk_fail(bench, true);
    learn_board(bench, MAC, 6);
    learn_board(bench, OTHER_MAC, 6);
    ledger_note_flashed(bench->ledger, MAC, DIGEST, 6);
    put_job(bench, 1, WIPYD_JOB_STATE_DONE);
    put_job(bench, 2, WIPYD_JOB_STATE_DONE);
    run_until_idle(bench);
    assert_int_equal(board_there(bench, MAC)->seen_us, 6);
    assert_true(ledger_was_flashed(bench->ledger, MAC, DIGEST));
    let_disk_fail(bench, false);
    assert_int_equal(count(bench, "SELECT seen_us FROM board"), 5);
    ledger_put_slot(bench->ledger, &slot, NULL, NULL); /* something else that can be written */
    run_until_idle(bench);
    assert_int_equal(count(bench, "SELECT count(*) FROM board WHERE seen_us = 6"), 2);
    assert_int_equal(count(bench, "SELECT count(*) FROM flashed"), 1);
    assert_int_equal(count(bench, "SELECT count(*) FROM job"), 2);
    assert_int_equal(count(bench, "SELECT count(*) FROM slot"), 1);
}

static void end_tries_once_more(void **state) {
    struct bench *bench = *state;

    let_disk_fail(bench, true);
    learn_board(bench, MAC, 6);
    ledger_note_flashed(bench->ledger, MAC, DIGEST, 6);
    run_until_idle(bench);
    let_disk_fail(bench, false);
    reopen(bench);
    assert_int_equal(board_there(bench, MAC)->seen_us, 6);
    assert_true(ledger_was_flashed(bench->ledger, MAC, DIGEST));
}

static void end_on_a_failing_disk_comes_all_the_same(void **state) {
    struct bench *bench = *state;

    let_disk_fail(bench, true);
    learn_board(bench, MAC, 6);
    learn_board(bench, OTHER_MAC, 6);
    close_ledger(bench);
    let_disk_fail(bench, false);
    open_ledger(bench);
    assert_null(ledger_board_at(bench->ledger, 0));
}

/* What the database never takes stands in nobody's way. */
static void impossible_fact_is_not_tried_for_ever(void **state) {
    struct bench *bench = *state;

    learn_board(bench, "nonsense:12:34:56", 1); /* on_board wants 17 characters */
    learn_board(bench, MAC, 6);
    run_until_idle(bench);
    assert_int_equal(count(bench, "SELECT count(*) FROM board"), 1);
    reopen(bench);
    assert_int_equal(board_there(bench, MAC)->seen_us, 6);
    assert_null(ledger_board_at(bench->ledger, 1));
}

/* ---- a database that is replaced ------------------------------------------------------------- */

static void stock(struct bench *bench) {
    struct answer answers[2] = { 0 };
    struct slot_record slot = { .name = SLOT, .seen_us = 4 };

    learn_board(bench, MAC, 5);
    learn_board(bench, OTHER_MAC, 5);
    ask_label(bench, "mine", &answers[0]);
    ledger_set_default_policy(bench->ledger, BOARD_POLICY_ANY, on_answer, &answers[1]);
    ledger_put_slot(bench->ledger, &slot, NULL, NULL);
    ledger_note_flashed(bench->ledger, MAC, DIGEST, 6);
    put_job(bench, 6, WIPYD_JOB_STATE_INTERRUPTED);
    put_job(bench, 7, WIPYD_JOB_STATE_DONE);
    put_job(bench, 8, WIPYD_JOB_STATE_DONE);
    expect_done(bench, &answers[0]);
    expect_done(bench, &answers[1]);
    run_until_idle(bench);
}

static void expect_stock(struct bench *bench) {
    assert_string_equal(board_there(bench, MAC)->label, "mine");
    assert_non_null(ledger_board(bench->ledger, OTHER_MAC));
    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_ANY);
    assert_int_equal(ledger_slot(bench->ledger, SLOT)->seen_us, 4);
    assert_true(ledger_was_flashed(bench->ledger, MAC, DIGEST));
    assert_int_equal(ledger_last_job(bench->ledger), 8);
    assert_int_equal(ledger_open_job_at(bench->ledger, 0)->id, 6);
    assert_null(ledger_open_job_at(bench->ledger, 1));
}

static void replaced_database_gets_all_again(void **state) {
    struct bench *bench = *state;

    stock(bench);
    damage_open_database(bench->folder.database);
    learn_board(bench, MAC, 9);
    run_until_idle(bench);
    assert_int_equal(records_generation(bench->records), 1);
    reopen(bench);
    expect_stock(bench);
    assert_int_equal(board_there(bench, MAC)->seen_us, 9);
}

/* After a restart, too, when the last job is known from the database alone; and found out by the end. */
static void replaced_by_another_before_the_end(void **state) {
    struct bench *bench = *state;

    stock(bench);
    reopen(bench);
    damage_open_database(bench->folder.database);
    assert_int_equal(records_put_value(bench->records, "other", "1"), 0);
    assert_int_equal(records_generation(bench->records), 1);
    reopen(bench);
    expect_stock(bench);
}

static void damaged_at_the_start_begins_empty(void **state) {
    struct bench *bench = *state;
    int fd;

    stock(bench);
    close_ledger(bench);
    fd = open(bench->folder.database, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "this is no database at all, is it?", 34), 34);
    close(fd);
    open_ledger(bench);
    assert_null(ledger_board_at(bench->ledger, 0));
    learn_board(bench, MAC, 5);
    reopen(bench);
    assert_int_equal(board_there(bench, MAC)->seen_us, 5);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void end_waits_for_all_that_was_put(void **state) {
    struct bench *bench = *state;
    struct answer answers[20] = { 0 };
    struct listed listed = { 0 };
    const struct records_query any = { 0 };

    learn_board(bench, MAC, 5);
    for (unsigned i = 0; i < 20; i++) {
        char label[16];

        snprintf(label, sizeof label, "label %u", i);
        ask_label(bench, label, &answers[i]);
        put_job(bench, i + 1, WIPYD_JOB_STATE_RUNNING);
    }
    ledger_list_jobs(bench->ledger, &any, on_jobs, &listed);
    close_ledger(bench);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(answers[i].n, 1);
    assert_int_equal(listed.n_calls, 1);
    assert_int_equal(listed.n, 20);
    open_ledger(bench);
    assert_string_equal(board_there(bench, MAC)->label, "label 19");
}

/* An answer that comes while it closes leads to more. */
static void on_answer_put_more(void *userdata, const struct fault *fault) {
    struct bench *bench = userdata;

    assert_null(fault);
    learn_board(bench, OTHER_MAC, 99);
    put_job(bench, 5, WIPYD_JOB_STATE_FAILED);
    ask_policy(bench, BOARD_POLICY_ASK, &bench->late_answer);
}

static void put_during_the_end_is_written(void **state) {
    struct bench *bench = *state;
    struct board_record board = { .mac = MAC, .label = "x" };

    ledger_put_board(bench->ledger, &board, on_answer_put_more, bench);
    close_ledger(bench);
    assert_int_equal(bench->late_answer.n, 1);
    assert_int_equal(bench->late_answer.fault.code, WIPYD_ERROR_NONE);
    open_ledger(bench);
    assert_int_equal(board_there(bench, OTHER_MAC)->seen_us, 99);
    assert_int_equal(board_there(bench, MAC)->policy, BOARD_POLICY_ASK);
    assert_int_equal(ledger_last_job(bench->ledger), 5);
}

static void end_inside_an_answer(void *userdata, const struct fault *fault) {
    struct bench *bench = userdata;

    assert_null(fault);
    ledger_close(bench->ledger, on_closed, bench);
    bench->ledger = NULL;
}

static void end_may_be_asked_for_in_an_answer(void **state) {
    struct bench *bench = *state;

    learn_board(bench, MAC, 1);
    ledger_set_default_policy(bench->ledger, BOARD_POLICY_OFF, end_inside_an_answer, bench);
    run_until(bench, &bench->n_closed, 1);
    work_queue_close(bench->queue, on_closed, bench);
    run_until(bench, &bench->n_closed, 2);
    bench->records = records_close(bench->records);
    open_ledger(bench);
    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_OFF);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(asked_for_shows_once_on_disk),
        moment(learned_shows_at_once),
        moment(records_stand_in_order_and_stay_where_they_are),
        moment(two_asked_for_changes_dont_undo_one_another),
        moment(later_one_for_the_same_field_wins),
        moment(learned_brings_no_old_label_back),
        moment(asked_for_brings_no_old_fact_back),
        moment(created_twice_at_once_is_one),
        moment(forgotten_is_gone_with_what_it_was_flashed_with),
        moment(learned_after_forgetting_begins_anew),
        moment(default_policy_is_kept),
        moment(open_jobs_are_found_after_a_restart),
        moment(job_may_be_put_again_when_it_is_over),
        moment(that_a_job_is_over_is_told_when_it_is_on_disk),
        moment(lists_hold_what_was_put_before),
        moment(asked_for_on_a_failing_disk_is_refused),
        moment(learned_on_a_failing_disk_is_written_later),
        moment(end_tries_once_more),
        moment(end_on_a_failing_disk_comes_all_the_same),
        moment(impossible_fact_is_not_tried_for_ever),
        moment(replaced_database_gets_all_again),
        moment(replaced_by_another_before_the_end),
        moment(damaged_at_the_start_begins_empty),
        moment(end_waits_for_all_that_was_put),
        moment(put_during_the_end_is_written),
        moment(end_may_be_asked_for_in_an_answer),
    };

    alarm(120);
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
