#include "daemon/records/table.h"

#define KEPT        20000
#define PRUNE_EVERY 256 /* so many more may be there for a while */

static const struct column columns[] = {
    COLUMN(decision_record, at_us), COLUMN(decision_record, device), COLUMN(decision_record, slot),
    COLUMN(decision_record, mac),   COLUMN(decision_record, event),  COLUMN(decision_record, verdict),
    COLUMN(decision_record, rule),  COLUMN(decision_record, state),
};

static const struct table table = TABLE("decision", decision_record, columns);

static int prune(sqlite3 *db, sqlite3_int64 newest) {
    cleanup(statement_finalize_p) sqlite3_stmt *statement = NULL;
    int rc;

    if (newest % PRUNE_EVERY)
        return SQLITE_OK;
    rc = statement_prepare(db, "DELETE FROM decision WHERE id <= ?1", &statement);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(statement, 1, newest - KEPT);
    return rc == SQLITE_OK ? statement_run(statement) : rc;
}

static int put(sqlite3 *db, void *argument) {
    const struct decision_record *const *decision = argument;
    int rc = table_put(db, &table, *decision);

    return rc == SQLITE_OK ? prune(db, sqlite3_last_insert_rowid(db)) : rc;
}

int records_put_decision(struct records *records, const struct decision_record *decision) {
    return records_write(records, put, &decision);
}

int records_list_decisions(struct records *records, const struct records_query *query,
                           struct decision_record **ret, size_t *ret_n) {
    return table_list_history(records, &table, "at_us", query, (void **)ret, ret_n);
}
