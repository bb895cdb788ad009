#include <errno.h>
#include <string.h>

#include "daemon/records/database.h"

static const char *const states[] = {
    [FIRMWARE_GOOD] = "good",
    [FIRMWARE_QUARANTINED] = "quarantined",
    [FIRMWARE_MISSING] = "missing",
};

#define N_STATES (sizeof states / sizeof *states)

/* Its strings: which they are, and their columns in SELECT and INSERT, from 0. */
#define N_TEXTS 7

static char **text(struct firmware_record *record, unsigned i) {
    char **const texts[N_TEXTS] = { &record->name,   &record->board,          &record->release,
                                    &record->origin, &record->server_version, &record->server_hash,
                                    &record->reason };

    return texts[i];
}

static const int text_columns[N_TEXTS] = { 2, 3, 4, 5, 6, 8, 10 };

void firmware_record_deinit(struct firmware_record *record) {
    for (unsigned i = 0; i < N_TEXTS; i++)
        free(*text(record, i));
    *record = (struct firmware_record) { 0 };
}

int firmware_record_copy(struct firmware_record *ret, const struct firmware_record *record) {
    struct firmware_record copy = *record;
    bool complete = true;

    for (unsigned i = 0; i < N_TEXTS; i++) {
        char **field = text(&copy, i);

        *field = strdup(*field);
        if (!*field)
            complete = false;
    }
    if (!complete) {
        firmware_record_deinit(&copy);
        return -ENOMEM;
    }
    *ret = copy;
    return 0;
}

/* ---- put and delete -------------------------------------------------------------------------- */

static int bind_number(sqlite3_stmt *statement, int parameter, uint64_t value) {
    return sqlite3_bind_int64(statement, parameter, (sqlite3_int64)value);
}

static int bind_record(sqlite3_stmt *statement, struct firmware_record *record) {
    int rc = statement_bind_text(statement, 1, record->sha256);

    for (unsigned i = 0; i < N_TEXTS && rc == SQLITE_OK; i++)
        rc = statement_bind_text(statement, text_columns[i] + 1, *text(record, i));
    if (rc == SQLITE_OK)
        rc = bind_number(statement, 2, record->bytes);
    if (rc == SQLITE_OK)
        rc = bind_number(statement, 8, record->server_int_version);
    if (rc == SQLITE_OK)
        rc = statement_bind_text(statement, 10, states[record->state]);
    if (rc == SQLITE_OK)
        rc = bind_number(statement, 12, record->is_pinned);
    if (rc == SQLITE_OK)
        rc = bind_number(statement, 13, record->added_us);
    if (rc == SQLITE_OK)
        rc = bind_number(statement, 14, record->used_us);
    return rc;
}

/* Not INSERT OR REPLACE: that deletes the row first, and with it what will one day refer to it. */
static int put(sqlite3 *db, void *argument) {
    cleanup(statement_finalize_p) sqlite3_stmt *statement = NULL;
    int rc = statement_prepare(
        db,
        "INSERT INTO firmware (sha256, bytes, name, board, release, origin, server_version,"
        " server_int_version, server_hash, state, reason, is_pinned, added_us, used_us)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
        " ON CONFLICT (sha256) DO UPDATE SET bytes = excluded.bytes, name = excluded.name,"
        " board = excluded.board, release = excluded.release, origin = excluded.origin,"
        " server_version = excluded.server_version, server_int_version = excluded.server_int_version,"
        " server_hash = excluded.server_hash, state = excluded.state, reason = excluded.reason,"
        " is_pinned = excluded.is_pinned, added_us = excluded.added_us, used_us = excluded.used_us",
        &statement);

    if (rc == SQLITE_OK)
        rc = bind_record(statement, argument);
    return rc == SQLITE_OK ? statement_run(statement) : rc;
}

int records_put_firmware(struct records *records, const struct firmware_record *record) {
    struct firmware_record borrowed = *record;

    return records_write(records, put, &borrowed);
}

static int erase(sqlite3 *db, void *argument) {
    cleanup(statement_finalize_p) sqlite3_stmt *statement = NULL;
    const char *const *sha256 = argument;
    int rc = statement_prepare(db, "DELETE FROM firmware WHERE sha256 = ?1", &statement);

    if (rc == SQLITE_OK)
        rc = statement_bind_text(statement, 1, *sha256);
    return rc == SQLITE_OK ? statement_run(statement) : rc;
}

int records_delete_firmware(struct records *records, const char *sha256) {
    return records_write(records, erase, &sha256);
}

/* ---- list ------------------------------------------------------------------------------------ */

struct list {
    struct firmware_record *records;
    size_t n, allocated;
};

static void free_list(struct list *list) {
    for (size_t i = 0; i < list->n; i++)
        firmware_record_deinit(&list->records[i]);
    free(list->records);
    *list = (struct list) { 0 };
}

static int read_state(sqlite3_stmt *statement, enum firmware_state *ret) {
    const char *word = (const char *)sqlite3_column_text(statement, 9);

    for (unsigned i = 0; word && i < N_STATES; i++)
        if (strcmp(states[i], word) == 0) {
            *ret = (enum firmware_state)i;
            return SQLITE_OK;
        }
    return SQLITE_CORRUPT; /* the table has a check against it */
}

static int read_record(sqlite3_stmt *statement, struct firmware_record *ret) {
    const char *sha256 = (const char *)sqlite3_column_text(statement, 0);

    if (!sha256 || strlen(sha256) != sizeof ret->sha256 - 1)
        return SQLITE_CORRUPT;
    memcpy(ret->sha256, sha256, sizeof ret->sha256);
    ret->bytes = (uint64_t)sqlite3_column_int64(statement, 1);
    ret->server_int_version = (uint32_t)sqlite3_column_int64(statement, 7);
    ret->is_pinned = sqlite3_column_int(statement, 11);
    ret->added_us = (uint64_t)sqlite3_column_int64(statement, 12);
    ret->used_us = (uint64_t)sqlite3_column_int64(statement, 13);
    for (unsigned i = 0; i < N_TEXTS; i++) {
        *text(ret, i) = statement_text(statement, text_columns[i]);
        if (!*text(ret, i))
            return SQLITE_NOMEM;
    }
    return read_state(statement, &ret->state);
}

static int grow(struct list *list) {
    size_t allocated = list->allocated ? 2 * list->allocated : 16;
    struct firmware_record *records;

    if (list->n < list->allocated)
        return SQLITE_OK;
    records = realloc(list->records, allocated * sizeof *records);
    if (!records)
        return SQLITE_NOMEM;
    list->records = records;
    list->allocated = allocated;
    return SQLITE_OK;
}

static int read_list(sqlite3 *db, void *argument) {
    cleanup(statement_finalize_p) sqlite3_stmt *statement = NULL;
    struct list *list = argument;
    int rc;

    free_list(list); /* of an attempt on a database that was then found damaged */
    rc = statement_prepare(db,
                           "SELECT sha256, bytes, name, board, release, origin, server_version,"
                           " server_int_version, server_hash, state, reason, is_pinned, added_us, used_us"
                           " FROM firmware ORDER BY added_us, sha256",
                           &statement);
    if (rc != SQLITE_OK)
        return rc;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        rc = grow(list);
        if (rc != SQLITE_OK)
            return rc;
        list->records[list->n++] = (struct firmware_record) { 0 };
        rc = read_record(statement, &list->records[list->n - 1]);
        if (rc != SQLITE_OK)
            return rc;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int records_list_firmware(struct records *records, struct firmware_record **ret, size_t *ret_n) {
    struct list list = { 0 };
    int r = records_read(records, read_list, &list);

    if (r < 0) {
        free_list(&list);
        return r;
    }
    *ret = list.records;
    *ret_n = list.n;
    return 0;
}
