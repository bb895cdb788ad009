#pragma once

/*
 * The connection below the tables: one statement, one transaction, and what happens when the file turns out
 * to be damaged. Included by daemon/records only.
 */

#include <sqlite3.h>

#include "daemon/records/records.h"

/* Both give an SQLite result code: SQLITE_OK, or why not. */
typedef int (*records_fn)(sqlite3 *db, void *argument);

/* Runs fn in a transaction of its own, which is committed when fn gives SQLITE_OK, else rolled back. Where
 * the database is found damaged it is replaced, and fn runs once more, on the empty one. Negative errno. */
must_check int records_write(struct records *records, records_fn fn, void *argument);
/* The same without a transaction. */
must_check int records_read(struct records *records, records_fn fn, void *argument);

must_check int statement_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret);
/* Parameters count from 1. The text is borrowed until the statement is finalised. */
must_check int statement_bind_text(sqlite3_stmt *statement, int parameter, const char *text);
/* Runs a statement that gives no rows: SQLITE_OK when it is done. */
must_check int statement_run(sqlite3_stmt *statement);
/* A copy of a text column; NULL: no memory. Columns count from 0. */
char *statement_text(sqlite3_stmt *statement, int column);
void statement_finalize_p(sqlite3_stmt **statement);
