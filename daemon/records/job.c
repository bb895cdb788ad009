#include "daemon/records/table.h"

static const char *const kinds[] = {
#define X(symbol, word) [WIPYD_JOB_KIND_##symbol] = word,
    WIPYD_JOB_KIND_TABLE(X)
#undef X
};

static const char *const states[] = {
#define X(symbol, word) [WIPYD_JOB_STATE_##symbol] = word,
    WIPYD_JOB_STATE_TABLE(X)
#undef X
};

static const struct column columns[] = {
    COLUMN_KEY(job_record, id),
    COLUMN_ENUM(job_record, kind, kinds),
    COLUMN_ENUM(job_record, state, states),
    COLUMN(job_record, device),
    COLUMN(job_record, slot),
    COLUMN(job_record, mac),
    COLUMN(job_record, by),
    COLUMN(job_record, sha256),
    COLUMN(job_record, package),
    COLUMN(job_record, is_chosen),
    COLUMN(job_record, is_dry_run),
    COLUMN(job_record, is_spooled),
    COLUMN(job_record, board),
    COLUMN(job_record, from_release),
    COLUMN(job_record, to_release),
    COLUMN(job_record, bytes_total),
    COLUMN(job_record, bytes_done),
    COLUMN(job_record, baud),
    COLUMN(job_record, wanted_baud),
    COLUMN(job_record, loader),
    COLUMN(job_record, retries),
    COLUMN(job_record, attempts),
    COLUMN(job_record, phase),
    COLUMN(job_record, error),
    COLUMN(job_record, error_text),
    COLUMN(job_record, restore_mac),
    COLUMN(job_record, restore_backup),
    COLUMN(job_record, restore_parts),
    COLUMN(job_record, confirmed_release),
    COLUMN(job_record, gaps),
    COLUMN(job_record, warning),
    COLUMN(job_record, started_us),
    COLUMN(job_record, finished_us),
};

static const struct table table = TABLE("job", job_record, columns);

int records_put_job(struct records *records, const struct job_record *job) {
    return table_put_one(records, &table, job);
}

int records_list_jobs(struct records *records, const struct records_query *query, struct job_record **ret,
                      size_t *ret_n) {
    return table_list_history(records, &table, "started_us", query, (void **)ret, ret_n);
}

int records_list_open_jobs(struct records *records, struct job_record **ret, size_t *ret_n) {
    return table_list(records, &table,
                      "WHERE state IN ('queued', 'running', 'waiting', 'interrupted') ORDER BY id", NULL, 0,
                      (void **)ret, ret_n);
}

static int read_last(sqlite3 *db, void *argument) {
    cleanup(statement_finalize_p) sqlite3_stmt *statement = NULL;
    uint32_t *last = argument;
    int rc = statement_prepare(db, "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'job'",
                               &statement);

    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(statement);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_ERROR : rc;
    *last = (uint32_t)sqlite3_column_int64(statement, 0);
    return SQLITE_OK;
}

int records_last_job(struct records *records, uint32_t *ret) {
    return records_read(records, read_last, ret);
}

/* ---- attempts -------------------------------------------------------------------------------- */

static const struct column attempt_columns[] = {
    COLUMN_KEY(attempt_record, job),
    COLUMN_KEY(attempt_record, number),
    COLUMN(attempt_record, ended_us),
    COLUMN(attempt_record, reason),
};

static const struct table attempt_table = TABLE("attempt", attempt_record, attempt_columns);

int records_put_attempt(struct records *records, const struct attempt_record *attempt) {
    return table_put_one(records, &attempt_table, attempt);
}

int records_list_attempts(struct records *records, uint32_t job, struct attempt_record **ret, size_t *ret_n) {
    const struct parameter parameter = { ":job", NULL, job };

    return table_list(records, &attempt_table, "WHERE job = :job ORDER BY number", &parameter, 1,
                      (void **)ret, ret_n);
}
