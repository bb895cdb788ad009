/* Boards, slots, jobs, attempts, decisions: every field comes back, an older database goes on, and what
 * somebody edited by hand is survived. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/test_records_bench.h"

#define owned cleanup(free_p)

/* ---- whole ----------------------------------------------------------------------------------- */

static void board_comes_back_whole(void **state) {
    struct bench *bench = *state;
    owned struct board_record *board = make_board(MAC);

    for (enum board_policy policy = 0; policy < BOARD_POLICY_COUNT; policy++) {
        owned struct board_record *boards = NULL;
        size_t n = 0;

        board->policy = policy;
        assert_int_equal(records_put_board(bench->records, board), 0);
        reopen(bench);
        assert_int_equal(records_list_boards(bench->records, &boards, &n), 0);
        assert_int_equal(n, 1);
        assert_memory_equal(boards, board, sizeof *board);
    }
}

static void slot_comes_back_whole(void **state) {
    struct bench *bench = *state;
    owned struct slot_record *slot = make_slot(SLOT);

    for (enum board_policy policy = 0; policy < BOARD_POLICY_COUNT; policy++) {
        owned struct slot_record *slots = NULL;
        size_t n = 0;

        slot->policy = policy;
        slot->is_armed = !slot->is_armed;
        assert_int_equal(records_put_slot(bench->records, slot), 0);
        reopen(bench);
        assert_int_equal(records_list_slots(bench->records, &slots, &n), 0);
        assert_int_equal(n, 1);
        assert_memory_equal(slots, slot, sizeof *slot);
    }
    assert_int_equal(records_delete_slot(bench->records, SLOT), 0);
    assert_int_equal(records_delete_slot(bench->records, SLOT), 0);
    assert_int_equal(number_by_sql(bench->path, "SELECT count(*) FROM slot"), 0);
}

static void job_comes_back_whole(void **state) {
    struct bench *bench = *state;
    const struct records_query any = { 0 };

    for (enum wipyd_job_state job_state = 0; job_state < WIPYD_JOB_STATE_COUNT; job_state++)
        for (enum wipyd_job_kind kind = 0; kind < WIPYD_JOB_KIND_COUNT; kind++) {
            owned struct job_record *job = make_job(UINT32_MAX, job_state), *jobs = NULL, *open_jobs = NULL;
            size_t n = 0, n_open = 0;

            job->kind = kind;
            assert_int_equal(records_put_job(bench->records, job), 0);
            reopen(bench);
            assert_int_equal(records_list_jobs(bench->records, &any, &jobs, &n), 0);
            assert_int_equal(n, 1);
            assert_memory_equal(jobs, job, sizeof *job);
            assert_int_equal(records_list_open_jobs(bench->records, &open_jobs, &n_open), 0);
            assert_int_equal(n_open, !wipyd_job_state_is_final(job_state));
        }
}

static void attempt_comes_back_whole(void **state) {
    struct bench *bench = *state;
    const struct attempt_record attempts[] = {
        { .job = 7, .number = 2, .ended_us = 22, .reason = "The port has gone away" },
        { .job = 7, .number = 1, .ended_us = 21, .reason = "The daemon ended" },
        { .job = 8, .number = 1, .ended_us = 23, .reason = "" },
    };
    owned struct attempt_record *found = NULL, *none = NULL;
    size_t n = 0;

    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(records_put_attempt(bench->records, &attempts[i]), 0);
    reopen(bench);
    assert_int_equal(records_list_attempts(bench->records, 7, &found, &n), 0);
    assert_int_equal(n, 2);
    assert_memory_equal(&found[0], &attempts[1], sizeof *found);
    assert_memory_equal(&found[1], &attempts[0], sizeof *found);
    assert_int_equal(records_list_attempts(bench->records, 9, &none, &n), 0);
    assert_int_equal(n, 0);
    assert_null(none);
}

static void decision_comes_back_whole(void **state) {
    struct bench *bench = *state;
    const struct records_query any = { 0 };
    owned struct decision_record *decision = make_decision(5, MAC, SLOT), *decisions = NULL;
    size_t n = 0;

    assert_int_equal(records_put_decision(bench->records, decision), 0);
    reopen(bench);
    assert_int_equal(records_list_decisions(bench->records, &any, &decisions, &n), 0);
    assert_int_equal(n, 1);
    assert_memory_equal(decisions, decision, sizeof *decision);
}

static void board_goes_with_what_it_was_flashed_with(void **state) {
    struct bench *bench = *state;
    const struct flashed_record flashed[] = { { MAC, DIGEST, 1 },
                                              { MAC, OTHER, 2 },
                                              { OTHER_MAC, DIGEST, 3 } };
    owned struct board_record *board = make_board(MAC), *boards = NULL;
    owned struct flashed_record *found = NULL, *left = NULL;
    size_t n = 0;

    assert_int_equal(records_put_board(bench->records, board), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(records_put_flashed(bench->records, &flashed[i]), 0);
        assert_int_equal(records_put_flashed(bench->records, &flashed[i]), 0);
    }
    reopen(bench);
    assert_int_equal(records_list_flashed(bench->records, &found, &n), 0);
    assert_int_equal(n, 3);
    assert_memory_equal(found, flashed, sizeof flashed);
    assert_int_equal(records_delete_board(bench->records, MAC), 0);
    assert_int_equal(records_list_flashed(bench->records, &left, &n), 0);
    assert_int_equal(n, 1);
    assert_memory_equal(left, &flashed[2], sizeof *left);
    assert_int_equal(records_list_boards(bench->records, &boards, &n), 0);
    assert_int_equal(n, 0);
}

static void what_is_no_record_is_refused(void **state) {
    struct bench *bench = *state;
    owned struct board_record *board = make_board(MAC);
    owned struct job_record *job = make_job(1, WIPYD_JOB_STATE_DONE);

    set_text(board->mac, "30:ae:a4");
    assert_int_equal(records_put_board(bench->records, board), -EINVAL);
    set_text(board->mac, "30:AE:A4:01:02:03");
    assert_int_equal(records_put_board(bench->records, board), -EINVAL);
    set_text(board->mac, MAC);
    board->policy = BOARD_POLICY_COUNT;
    assert_int_equal(records_put_board(bench->records, board), -EINVAL);
    board->policy = BOARD_POLICY_OFF;
    memset(board->label, 'x', sizeof board->label);
    assert_int_equal(records_put_board(bench->records, board), -EINVAL);
    job->id = 0;
    assert_int_equal(records_put_job(bench->records, job), -EINVAL);
    assert_int_equal(records_put_slot(bench->records, &(struct slot_record) { 0 }), -EINVAL);
    assert_int_equal(number_by_sql(bench->path, "SELECT count(*) FROM board"), 0);
}

/* ---- history --------------------------------------------------------------------------------- */

static void history_is_asked_by_board_slot_and_time(void **state) {
    static const struct {
        struct records_query query;
        unsigned n;
        uint32_t ids[4];
    } CASES[] = {
        { { 0 }, 4, { 9, 7, 5, 3 } },
        { { .limit = 2 }, 2, { 9, 7 } },
        { { .mac = OTHER_MAC }, 1, { 5 } },
        { { .slot = "other" }, 2, { 9, 5 } },
        { { .mac = MAC, .slot = "other" }, 1, { 9 } },
        { { .since_us = 1700000000000007u }, 2, { 9, 7 } },
        { { .mac = MAC, .since_us = 1700000000000004u, .limit = 1 }, 1, { 9 } },
        { { .mac = "' OR 1 --" }, 0, { 0 } },
    };
    struct bench *bench = *state;

    for (uint32_t id = 3; id <= 9; id += 2) {
        owned struct job_record *job = make_job(id, WIPYD_JOB_STATE_DONE);

        if (id == 5)
            set_text(job->mac, OTHER_MAC);
        if (id == 5 || id == 9)
            set_text(job->slot, "other");
        assert_int_equal(records_put_job(bench->records, job), 0);
    }
    for (unsigned i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        owned struct job_record *jobs = NULL;
        size_t n = 99;

        assert_int_equal(records_list_jobs(bench->records, &CASES[i].query, &jobs, &n), 0);
        assert_int_equal(n, CASES[i].n);
        assert_int_equal(!jobs, !n);
        for (unsigned j = 0; j < n; j++)
            assert_int_equal(jobs[j].id, CASES[i].ids[j]);
    }
}

/* A clock that was set back: the last one is still the newest. */
static void decisions_are_asked_by_board_slot_and_time(void **state) {
    struct bench *bench = *state;
    static const struct {
        uint64_t at_us;
        const char *mac, *slot;
    } PUT[] = { { 10, MAC, "a" }, { 20, OTHER_MAC, "a" }, { 30, "", "b" }, { 15, MAC, "b" } };
    static const struct {
        struct records_query query;
        unsigned n;
        uint64_t at_us[4];
    } CASES[] = {
        { { 0 }, 4, { 15, 30, 20, 10 } },         { { .mac = MAC }, 2, { 15, 10 } },
        { { .slot = "a" }, 2, { 20, 10 } },       { { .since_us = 16 }, 2, { 30, 20 } },
        { { .mac = "", .limit = 1 }, 1, { 30 } },
    };

    for (unsigned i = 0; i < 4; i++) {
        owned struct decision_record *decision = make_decision(PUT[i].at_us, PUT[i].mac, PUT[i].slot);

        assert_int_equal(records_put_decision(bench->records, decision), 0);
    }
    for (unsigned i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        owned struct decision_record *decisions = NULL;
        size_t n = 99;

        assert_int_equal(records_list_decisions(bench->records, &CASES[i].query, &decisions, &n), 0);
        assert_int_equal(n, CASES[i].n);
        for (unsigned j = 0; j < n; j++)
            assert_int_equal(decisions[j].at_us, CASES[i].at_us[j]);
    }
}

static void last_20000_decisions_are_kept(void **state) {
    struct bench *bench = *state;
    const char *path = bench->path;

    run_sql(path, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)"
                  " INSERT INTO decision SELECT i, i, '', '', '', '', '', '', '' FROM n");
    for (unsigned i = 0; i < 300; i++) {
        owned struct decision_record *decision = make_decision(30000 + i, MAC, SLOT);

        assert_int_equal(records_put_decision(bench->records, decision), 0);
    }
    assert_in_range(number_by_sql(path, "SELECT count(*) FROM decision"), 20000, 20255);
    assert_int_equal(number_by_sql(path, "SELECT max(at_us) FROM decision"), 30299);
    assert_int_equal(number_by_sql(path, "SELECT count(*) FROM decision WHERE at_us >= 30000"), 300);
}

static void limit_is_1000_where_none_is_given(void **state) {
    struct bench *bench = *state;
    const struct records_query any = { 0 }, many = { .limit = 1200 };
    owned struct decision_record *decisions = NULL, *more = NULL;
    size_t n = 0;

    run_sql(bench->path, "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1300)"
                         " INSERT INTO decision SELECT i, i, '', '', '', '', '', '', '' FROM n");
    assert_int_equal(records_list_decisions(bench->records, &any, &decisions, &n), 0);
    assert_int_equal(n, 1000);
    assert_int_equal(decisions[999].at_us, 301);
    assert_int_equal(records_list_decisions(bench->records, &many, &more, &n), 0);
    assert_int_equal(n, 1200);
}

static void last_job_is_known_when_it_is_gone(void **state) {
    struct bench *bench = *state;
    uint32_t last = 99;

    assert_int_equal(records_last_job(bench->records, &last), 0);
    assert_int_equal(last, 0);
    for (uint32_t id = 41; id <= 42; id++) {
        owned struct job_record *job = make_job(id, WIPYD_JOB_STATE_QUEUED);

        assert_int_equal(records_put_job(bench->records, job), 0);
        job->state = WIPYD_JOB_STATE_DONE;
        assert_int_equal(records_put_job(bench->records, job), 0);
    }
    run_sql(bench->path, "DELETE FROM job");
    reopen(bench);
    assert_int_equal(records_last_job(bench->records, &last), 0);
    assert_int_equal(last, 42);
}

/* ---- an older database ----------------------------------------------------------------------- */

/* As wipyd 0.1.0 made it. */
static const char V1[] =
    "PRAGMA journal_mode = WAL;"
    "CREATE TABLE firmware (sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64 AND sha256 NOT GLOB"
    " '*[^0-9a-f]*'), bytes INTEGER NOT NULL, name TEXT NOT NULL, board TEXT NOT NULL, release TEXT NOT NULL,"
    " origin TEXT NOT NULL, server_version TEXT NOT NULL, server_int_version INTEGER NOT NULL,"
    " server_hash TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('good', 'quarantined', 'missing')),"
    " reason TEXT NOT NULL, is_pinned INTEGER NOT NULL CHECK (is_pinned IN (0, 1)), added_us INTEGER NOT"
    " NULL, used_us INTEGER NOT NULL) STRICT;"
    "CREATE TABLE value (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
    "PRAGMA user_version = 1;"
    "INSERT INTO firmware VALUES ('" DIGEST "', 42, 'n', 'WiPy', '1.20.2.r4', 'import', '', 0, '', 'good',"
    " '', 1, 7, 8);"
    "INSERT INTO value VALUES ('poll.next', '123');";

static void older_database_keeps_its_rows(void **state) {
    struct bench *bench = *state;
    owned struct board_record *board = make_board(MAC), *boards = NULL;
    struct firmware_record *firmware = NULL;
    owned char *value = NULL;
    size_t n = 0;

    bench->records = records_close(bench->records);
    assert_int_equal(unlink(bench->path), 0);
    run_sql(bench->path, V1);
    open_records(bench);
    assert_int_equal(records_generation(bench->records), 0);
    assert_int_equal(records_list_firmware(bench->records, &firmware, &n), 0);
    assert_int_equal(n, 1);
    assert_string_equal(firmware->sha256, DIGEST);
    assert_string_equal(firmware->release, "1.20.2.r4");
    assert_true(firmware->is_pinned);
    firmware_record_deinit(firmware);
    free(firmware);
    assert_int_equal(records_get_value(bench->records, "poll.next", &value), 0);
    assert_string_equal(value, "123");
    assert_int_equal(records_put_board(bench->records, board), 0);
    reopen(bench);
    assert_int_equal(records_list_boards(bench->records, &boards, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(number_by_sql(bench->path, "PRAGMA user_version"), 5);
}

/* ---- edited by hand -------------------------------------------------------------------------- */

#define EDIT "PRAGMA ignore_check_constraints = ON; "

static void unknown_word_leaves_the_row_out(void **state) {
    struct bench *bench = *state;
    owned struct board_record *board = make_board(MAC), *other = make_board(OTHER_MAC);
    owned struct job_record *job = make_job(7, WIPYD_JOB_STATE_RUNNING);

    assert_int_equal(records_put_board(bench->records, board), 0);
    assert_int_equal(records_put_board(bench->records, other), 0);
    assert_int_equal(records_put_job(bench->records, job), 0);
    run_sql(bench->path, EDIT "UPDATE board SET policy = 'whatever' WHERE mac = '" MAC "';"
                              "UPDATE job SET kind = ''");
    for (unsigned i = 0; i < 2; i++) {
        owned struct board_record *boards = NULL;
        owned struct job_record *jobs = NULL;
        size_t n = 0;

        assert_int_equal(records_list_boards(bench->records, &boards, &n), 0);
        assert_int_equal(n, 1);
        assert_memory_equal(boards, other, sizeof *other);
        assert_int_equal(records_list_open_jobs(bench->records, &jobs, &n), 0);
        assert_int_equal(n, 0);
        assert_null(jobs);
        reopen(bench); /* nor is the database taken for a damaged one */
        assert_int_equal(records_generation(bench->records), 0);
    }
    /* the next put mends it */
    assert_int_equal(records_put_board(bench->records, board), 0);
    assert_int_equal(number_by_sql(bench->path, "SELECT count(*) FROM board WHERE policy = 'ask'"), 2);
}

static void long_text_is_cut_at_a_character(void **state) {
    struct bench *bench = *state;
    owned struct board_record *board = make_board(MAC), *boards = NULL;
    owned struct slot_record *slot = make_slot(SLOT), *slots = NULL;
    char sql[2000], label[RECORD_LABEL_MAX];
    size_t n = 0;

    assert_int_equal(records_put_board(bench->records, board), 0);
    assert_int_equal(records_put_slot(bench->records, slot), 0);
    /* 62 bytes, then two bytes for one letter, of which the field has room for one */
    memset(label, 'x', 62);
    label[62] = 0;
    snprintf(sql, sizeof sql,
             EDIT "UPDATE board SET label = '%s\xc3\xa9tail', failures = -1;"
                  "UPDATE slot SET name = printf('%%.300c', 'y')",
             label);
    run_sql(bench->path, sql);
    reopen(bench);
    assert_int_equal(records_list_boards(bench->records, &boards, &n), 0);
    assert_int_equal(n, 1);
    assert_string_equal(boards->label, label);
    assert_int_equal(boards->failures, 0);
    assert_string_equal(boards->slot, board->slot);
    /* a key is never cut: it would be another's */
    assert_int_equal(records_list_slots(bench->records, &slots, &n), 0);
    assert_int_equal(n, 0);
}

static void damage_while_open_begins_anew(void **state) {
    struct bench *bench = *state;
    owned struct board_record *board = make_board(MAC), *boards = NULL;
    size_t n = 0;

    assert_int_equal(records_put_board(bench->records, board), 0);
    damage_open_database(bench->path);
    set_text(board->mac, OTHER_MAC);
    assert_int_equal(records_put_board(bench->records, board), 0);
    assert_int_equal(records_generation(bench->records), 1);
    assert_int_equal(records_list_boards(bench->records, &boards, &n), 0);
    assert_int_equal(n, 1);
    assert_string_equal(boards->mac, OTHER_MAC);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(board_comes_back_whole),
        moment(slot_comes_back_whole),
        moment(job_comes_back_whole),
        moment(attempt_comes_back_whole),
        moment(decision_comes_back_whole),
        moment(board_goes_with_what_it_was_flashed_with),
        moment(what_is_no_record_is_refused),
        moment(history_is_asked_by_board_slot_and_time),
        moment(decisions_are_asked_by_board_slot_and_time),
        moment(last_20000_decisions_are_kept),
        moment(limit_is_1000_where_none_is_given),
        moment(last_job_is_known_when_it_is_gone),
        moment(older_database_keeps_its_rows),
        moment(unknown_word_leaves_the_row_out),
        moment(long_text_is_cut_at_a_character),
        moment(damage_while_open_begins_anew),
    };

    alarm(120);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
