#include <errno.h>

#include "daemon/records/database.h"

struct pair {
    const char *name, *value;
};

static int put(sqlite3 *db, void *argument) {
    cleanup(statement_finalize_p) sqlite3_stmt *statement = NULL;
    const struct pair *pair = argument;
    int rc = statement_prepare(db,
                               "INSERT INTO value (name, value) VALUES (?1, ?2)"
                               " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                               &statement);

    if (rc == SQLITE_OK)
        rc = statement_bind_text(statement, 1, pair->name);
    if (rc == SQLITE_OK)
        rc = statement_bind_text(statement, 2, pair->value);
    return rc == SQLITE_OK ? statement_run(statement) : rc;
}

int records_put_value(struct records *records, const char *name, const char *value) {
    struct pair pair = { name, value };

    return records_write(records, put, &pair);
}

struct reading {
    const char *name;
    char *value; /* NULL: there is none */
};

static int get(sqlite3 *db, void *argument) {
    cleanup(statement_finalize_p) sqlite3_stmt *statement = NULL;
    struct reading *reading = argument;
    int rc = statement_prepare(db, "SELECT value FROM value WHERE name = ?1", &statement);

    if (rc == SQLITE_OK)
        rc = statement_bind_text(statement, 1, reading->name);
    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(statement);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    reading->value = statement_text(statement, 0);
    return reading->value ? SQLITE_OK : SQLITE_NOMEM;
}

int records_get_value(struct records *records, const char *name, char **ret) {
    struct reading reading = { .name = name };
    int r = records_read(records, get, &reading);

    if (r < 0)
        return r;
    if (!reading.value)
        return -ENOENT;
    *ret = reading.value;
    return 0;
}
