/* A disk that fails, a database that is replaced and an end in the middle: the ledger loses nothing that is
 * known. */

#include "tests/unit/test_ledger_bench.h"

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
        run_until(&bench->guard, &answers[i].n, 1);
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
    assert_int_equal(bench->n_jobs_over, 2); /* that they are over is no secret */
    assert_int_equal(bench->n_jobs_lost, 2);
    let_disk_fail(bench, false);
    assert_int_equal(count(bench, "SELECT seen_us FROM board"), 5);
    ledger_put_slot(bench->ledger, &slot, NULL, NULL); /* something else that can be written */
    run_until_idle(bench);
    assert_int_equal(count(bench, "SELECT count(*) FROM board WHERE seen_us = 6"), 2);
    assert_int_equal(count(bench, "SELECT count(*) FROM flashed"), 1);
    assert_int_equal(count(bench, "SELECT count(*) FROM job"), 2);
    assert_int_equal(bench->n_jobs_over, 4);
    assert_int_equal(bench->n_jobs_lost, 2);
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
    damage_open_database(bench->path);
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
    damage_open_database(bench->path);
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
    fd = open(bench->path, O_WRONLY | O_TRUNC | O_CLOEXEC);
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
    run_until(&bench->guard, &bench->n_closed, 1);
    work_queue_close(bench->queue, on_closed, bench);
    run_until(&bench->guard, &bench->n_closed, 2);
    bench->records = records_close(bench->records);
    open_ledger(bench);
    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_OFF);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
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
