#pragma once

/*
 * Records of a fixed size and the tables that they are kept in: one row a column says how a field is called,
 * where it is and what it holds; writing and reading follow from that. Included by daemon/records only.
 */

#include "daemon/records/database.h"

enum column_kind {
    COLUMN_TEXT, /* char[] */
    COLUMN_FLAG, /* bool */
    COLUMN_U32,
    COLUMN_U64,
    COLUMN_WORD, /* an enum, kept as its word */
};

struct column {
    const char *name;
    enum column_kind kind;
    bool is_key; /* part of the primary key: a put with the same key replaces */
    size_t offset, size;
    const char *const *words; /* of COLUMN_WORD, by value */
    unsigned n_words;
};

struct table {
    const char *name;
    size_t row_bytes; /* of the record */
    const struct column *columns;
    unsigned n_columns;
};

#define COLUMN_FIELD(record, field) (((struct record *)0)->field)
#define COLUMN_PLACE(record, field)                                                                          \
    .name = #field, .offset = offsetof(struct record, field), .size = sizeof COLUMN_FIELD(record, field)
#define COLUMN_KIND(record, field)                                                                           \
    .kind = _Generic(COLUMN_FIELD(record, field),                                                            \
        char *: COLUMN_TEXT,                                                                                 \
        bool: COLUMN_FLAG,                                                                                   \
        uint32_t: COLUMN_U32,                                                                                \
        uint64_t: COLUMN_U64)

/* Of a struct's field with the column's name. words_: an array by value. */
#define COLUMN(record, field)                                                                                \
    { COLUMN_PLACE(record, field), COLUMN_KIND(record, field) }
#define COLUMN_KEY(record, field)                                                                            \
    { COLUMN_PLACE(record, field), COLUMN_KIND(record, field), .is_key = true }
#define COLUMN_ENUM(record, field, words_)                                                                   \
    {                                                                                                        \
        COLUMN_PLACE(record, field), .kind = COLUMN_WORD, .words = (words_),                                 \
                                     .n_words = sizeof(words_) / sizeof *(words_)                            \
    }
#define TABLE(name_, record, columns_)                                                                       \
    {                                                                                                        \
        .name = (name_), .row_bytes = sizeof(struct record), .columns = (columns_),                          \
        .n_columns = sizeof(columns_) / sizeof *(columns_)                                                   \
    }

extern const char *const policy_words[BOARD_POLICY_COUNT]; /* by enum board_policy */

/* A value for :name in a statement; text NULL: the number. */
struct parameter {
    const char *name, *text;
    uint64_t number;
};

/* Within a transaction; an SQLite result code. SQLITE_TOOBIG: a text without its NUL, SQLITE_MISMATCH: an
 * enum's value that has no word. */
must_check int table_put(sqlite3 *db, const struct table *table, const void *row);
/* A transaction of its own; negative errno. */
must_check int table_put_one(struct records *records, const struct table *table, const void *row);

/* The rows that tail ("WHERE ... ORDER BY ...") gives. Those of parameters that it doesn't name are left out.
 * *ret is an array of table->row_bytes each, to be freed, NULL when empty. What can't be a record (a key that
 * is too long, an unknown word) is logged and skipped, longer text is cut. Negative errno. */
must_check int table_list(struct records *records, const struct table *table, const char *tail,
                          const struct parameter *parameters, unsigned n_parameters, void **ret,
                          size_t *ret_n);
/* The newest first, by id: a clock may jump. time_column: what since_us is held against. */
must_check int table_list_history(struct records *records, const struct table *table, const char *time_column,
                                  const struct records_query *query, void **ret, size_t *ret_n);

/* Runs sql, which gives no rows, with text as ?1; an SQLite result code. */
must_check int table_run(sqlite3 *db, const char *sql, const char *text);
