#include "daemon/records/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"

#define LIMIT_DEFAULT 1000

const char *const policy_words[BOARD_POLICY_COUNT] = {
#define X(symbol, word, meaning) [BOARD_POLICY_##symbol] = word,
    BOARD_POLICY_TABLE(X)
#undef X
};

_Static_assert(sizeof(enum board_policy) == sizeof(unsigned), "a word's field is read as unsigned");
_Static_assert(sizeof(enum wipyd_job_state) == sizeof(unsigned), "a word's field is read as unsigned");
_Static_assert(sizeof(enum wipyd_job_kind) == sizeof(unsigned), "a word's field is read as unsigned");

/* ---- statements ------------------------------------------------------------------------------ */

/* The longest is that of a job. */
struct sql {
    char text[4096];
    size_t n;
};

__attribute__((format(printf, 2, 3))) static void add(struct sql *sql, const char *format, ...) {
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(sql->text + sql->n, sizeof sql->text - sql->n, format, args);
    va_end(args);
    assert(n >= 0 && (size_t)n < sizeof sql->text - sql->n);
    sql->n += (size_t)n;
}

/* Each column's name by format, those of the key only, or all others, or all. */
enum which { ALL, KEY, OTHERS };

static unsigned add_columns(struct sql *sql, const struct table *table, enum which which, const char *between,
                            bool is_update) {
    unsigned n = 0;

    for (unsigned i = 0; i < table->n_columns; i++) {
        const struct column *column = &table->columns[i];

        if (which != ALL && column->is_key != (which == KEY))
            continue;
        add(sql, "%s\"%s\"", n++ ? between : "", column->name);
        if (is_update)
            add(sql, " = excluded.\"%s\"", column->name);
    }
    return n;
}

/* Not INSERT OR REPLACE: see firmware.c. */
static void write_put(struct sql *sql, const struct table *table) {
    struct sql key = { 0 };

    add(sql, "INSERT INTO %s (", table->name);
    add_columns(sql, table, ALL, ", ", false);
    add(sql, ") VALUES (");
    for (unsigned i = 0; i < table->n_columns; i++)
        add(sql, "%s?%u", i ? ", " : "", i + 1);
    add(sql, ")");
    if (!add_columns(&key, table, KEY, ", ", false))
        return;
    add(sql, " ON CONFLICT (%s) DO UPDATE SET ", key.text);
    add_columns(sql, table, OTHERS, ", ", true);
}

static void write_list(struct sql *sql, const struct table *table, const char *tail) {
    add(sql, "SELECT ");
    add_columns(sql, table, ALL, ", ", false);
    add(sql, " FROM %s %s", table->name, tail);
}

int table_run(sqlite3 *db, const char *sql, const char *text) {
    cleanup(statement_finalize_p) sqlite3_stmt *statement = NULL;
    int rc = statement_prepare(db, sql, &statement);

    if (rc == SQLITE_OK)
        rc = statement_bind_text(statement, 1, text);
    return rc == SQLITE_OK ? statement_run(statement) : rc;
}

/* ---- put ------------------------------------------------------------------------------------- */

static int bind_field(sqlite3_stmt *statement, int parameter, const struct column *column,
                      const void *field) {
    uint64_t u64;
    uint32_t u32;
    unsigned value;

    switch (column->kind) {
    case COLUMN_TEXT:
        if (!memchr(field, 0, column->size))
            return SQLITE_TOOBIG;
        return statement_bind_text(statement, parameter, field);
    case COLUMN_FLAG:
        return sqlite3_bind_int(statement, parameter, *(const bool *)field);
    case COLUMN_U32:
        memcpy(&u32, field, sizeof u32);
        return sqlite3_bind_int64(statement, parameter, u32);
    case COLUMN_U64:
        memcpy(&u64, field, sizeof u64);
        return sqlite3_bind_int64(statement, parameter, (sqlite3_int64)u64);
    case COLUMN_WORD:
        memcpy(&value, field, sizeof value);
        if (value >= column->n_words)
            return SQLITE_MISMATCH;
        return statement_bind_text(statement, parameter, column->words[value]);
    }
    return SQLITE_MISMATCH;
}

int table_put(sqlite3 *db, const struct table *table, const void *row) {
    cleanup(statement_finalize_p) sqlite3_stmt *statement = NULL;
    struct sql sql = { 0 };
    int rc;

    write_put(&sql, table);
    rc = statement_prepare(db, sql.text, &statement);
    for (unsigned i = 0; i < table->n_columns && rc == SQLITE_OK; i++)
        rc = bind_field(statement, (int)i + 1, &table->columns[i],
                        (const char *)row + table->columns[i].offset);
    return rc == SQLITE_OK ? statement_run(statement) : rc;
}

struct putting {
    const struct table *table;
    const void *row;
};

static int put(sqlite3 *db, void *argument) {
    const struct putting *putting = argument;

    return table_put(db, putting->table, putting->row);
}

int table_put_one(struct records *records, const struct table *table, const void *row) {
    struct putting putting = { table, row };

    return records_write(records, put, &putting);
}

/* ---- list ------------------------------------------------------------------------------------ */

struct listing {
    const struct table *table;
    const char *tail;
    const struct parameter *parameters;
    unsigned n_parameters;
    char *rows;
    size_t n, allocated;
};

static void free_rows(struct listing *listing) {
    free(listing->rows);
    listing->rows = NULL;
    listing->n = listing->allocated = 0;
}

static int grow(struct listing *listing) {
    size_t allocated = listing->allocated ? 2 * listing->allocated : 16;
    char *rows;

    if (listing->n < listing->allocated)
        return SQLITE_OK;
    rows = realloc(listing->rows, allocated * listing->table->row_bytes);
    if (!rows)
        return SQLITE_NOMEM;
    listing->rows = rows;
    listing->allocated = allocated;
    return SQLITE_OK;
}

/* Whole characters only: half of one would be refused by the bus. */
static void copy_cut(char *ret, size_t size, const char *text) {
    size_t n = strnlen(text, size);

    if (n == size) {
        n = size - 1;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
    }
    memcpy(ret, text, n);
    ret[n] = 0;
}

static const char *read_text(const struct column *column, const char *text, char *field) {
    if (column->is_key && strlen(text) >= column->size)
        return "is too long";
    copy_cut(field, column->size, text);
    return NULL;
}

static const char *read_u32(const struct column *column, sqlite3_int64 number, void *field) {
    uint32_t value = number < 0 ? 0 : number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;

    if (column->is_key && value != number)
        return "is out of range";
    memcpy(field, &value, sizeof value);
    return NULL;
}

static const char *read_word(const struct column *column, const char *word, void *field) {
    for (unsigned i = 0; i < column->n_words; i++)
        if (strcmp(column->words[i], word) == 0) {
            memcpy(field, &i, sizeof i);
            return NULL;
        }
    return "is an unknown word";
}

/* NULL, or what is wrong with it. */
static const char *read_field(sqlite3_stmt *statement, int i, const struct column *column, void *field) {
    const char *text;
    uint64_t u64;

    switch (column->kind) {
    case COLUMN_TEXT:
    case COLUMN_WORD:
        text = (const char *)sqlite3_column_text(statement, i);
        if (!text)
            return "is no text";
        return column->kind == COLUMN_TEXT ? read_text(column, text, field) : read_word(column, text, field);
    case COLUMN_FLAG:
        *(bool *)field = sqlite3_column_int(statement, i) != 0;
        return NULL;
    case COLUMN_U32:
        return read_u32(column, sqlite3_column_int64(statement, i), field);
    case COLUMN_U64:
        u64 = (uint64_t)sqlite3_column_int64(statement, i);
        memcpy(field, &u64, sizeof u64);
        return NULL;
    }
    return "is of no known kind";
}

static bool read_row(sqlite3_stmt *statement, const struct table *table, char *row) {
    memset(row, 0, table->row_bytes);
    for (unsigned i = 0; i < table->n_columns; i++) {
        const struct column *column = &table->columns[i];
        const char *wrong = read_field(statement, (int)i, column, row + column->offset);

        if (wrong) {
            const char *text = (const char *)sqlite3_column_text(statement, (int)i),
                       *first = (const char *)sqlite3_column_text(statement, 0);

            log_error("%s '%.64s' is skipped: its %s, '%.64s', %s", table->name, first ? first : "",
                      column->name, text ? text : "", wrong);
            return false;
        }
    }
    return true;
}

static int bind_parameters(sqlite3_stmt *statement, const struct listing *listing) {
    int rc = SQLITE_OK;

    for (unsigned i = 0; i < listing->n_parameters && rc == SQLITE_OK; i++) {
        const struct parameter *parameter = &listing->parameters[i];
        int index = sqlite3_bind_parameter_index(statement, parameter->name);

        if (index && parameter->text)
            rc = statement_bind_text(statement, index, parameter->text);
        else if (index)
            rc = sqlite3_bind_int64(statement, index, (sqlite3_int64)parameter->number);
    }
    return rc;
}

static int list(sqlite3 *db, void *argument) {
    cleanup(statement_finalize_p) sqlite3_stmt *statement = NULL;
    struct listing *listing = argument;
    struct sql sql = { 0 };
    int rc;

    free_rows(listing); /* of an attempt on a database that was then found damaged */
    write_list(&sql, listing->table, listing->tail);
    rc = statement_prepare(db, sql.text, &statement);
    if (rc == SQLITE_OK)
        rc = bind_parameters(statement, listing);
    if (rc != SQLITE_OK)
        return rc;
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        rc = grow(listing);
        if (rc != SQLITE_OK)
            return rc;
        if (read_row(statement, listing->table, listing->rows + listing->n * listing->table->row_bytes))
            listing->n++;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int table_list(struct records *records, const struct table *table, const char *tail,
               const struct parameter *parameters, unsigned n_parameters, void **ret, size_t *ret_n) {
    struct listing listing = {
        .table = table, .tail = tail, .parameters = parameters, .n_parameters = n_parameters
    };
    int r = records_read(records, list, &listing);

    if (r < 0 || !listing.n)
        free_rows(&listing);
    if (r < 0)
        return r;
    *ret = listing.rows;
    *ret_n = listing.n;
    return 0;
}

int table_list_history(struct records *records, const struct table *table, const char *time_column,
                       const struct records_query *query, void **ret, size_t *ret_n) {
    const struct parameter parameters[] = {
        { ":mac", query->mac, 0 },
        { ":slot", query->slot, 0 },
        { ":since", NULL, query->since_us },
        { ":limit", NULL, query->limit ? query->limit : LIMIT_DEFAULT },
    };
    struct sql tail = { 0 };

    add(&tail, "WHERE 1");
    if (query->mac)
        add(&tail, " AND mac = :mac");
    if (query->slot)
        add(&tail, " AND slot = :slot");
    if (query->since_us)
        add(&tail, " AND %s >= :since", time_column);
    add(&tail, " ORDER BY id DESC LIMIT :limit");
    return table_list(records, table, tail.text, parameters, sizeof parameters / sizeof *parameters, ret,
                      ret_n);
}
