/* The ledger: what was asked for shows when it is on disk, what was learned at once; neither undoes the
 * other. See test_ledger_failing.c for what goes wrong, and for the end. */

#include "tests/unit/test_ledger_bench.h"

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
    run_until(&bench->guard, &answers[1].n, 1);
    assert_int_equal(answers[1].fault.code, WIPYD_ERROR_INVALID_ARGUMENT);
    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_OFF);
    ledger_set_default_policy(bench->ledger, BOARD_POLICY_UNSET, on_answer, &answers[2]);
    expect_done(bench, &answers[2]);
    reopen(bench);
    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_WIPY);
    run_sql(bench->path, "UPDATE value SET value = 'nonsense' WHERE name = 'policy.default'");
    reopen(bench);
    assert_int_equal(ledger_default_policy(bench->ledger), BOARD_POLICY_WIPY);
}

/* ---- facts and questions --------------------------------------------------------------------- */

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
    run_until(&bench->guard, &bench->n_jobs_over, 1);
    assert_int_equal(bench->last_job_over, 1);
    assert_int_equal(count(bench, "SELECT count(*) FROM job WHERE id = 1 AND state = 'cancelled'"), 1);
    run_until_idle(bench);
    assert_int_equal(bench->n_jobs_over, 1);
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
    run_until(&bench->guard, &none.n_calls, 1);
    assert_int_equal(jobs.n, 2);
    assert_int_equal(jobs.ids[0], 3);
    assert_int_equal(jobs.ids[1], 2);
    assert_int_equal(decisions.n, 2);
    assert_int_equal(decisions.ids[0], 3);
    assert_int_equal(none.n, 0);
    assert_int_equal(none.fault.code, WIPYD_ERROR_NONE);
}

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
    };

    alarm(120);
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
