#include "daemon/records/database.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/base/log.h"

#define BUSY_TIMEOUT_MS 5000

struct records {
    char *path;
    sqlite3 *db; /* NULL: replacing it failed half-way; tried again at the next call */
    unsigned generation;
};

/* ---- schema: the one place. A row is never changed, only added ------------------------------- */

static const char *const migrations[] = {
    "CREATE TABLE firmware ("
    "  sha256 TEXT PRIMARY KEY CHECK (length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*'),"
    "  bytes INTEGER NOT NULL,"
    "  name TEXT NOT NULL,"
    "  board TEXT NOT NULL,"
    "  release TEXT NOT NULL,"
    "  origin TEXT NOT NULL,"
    "  server_version TEXT NOT NULL,"
    "  server_int_version INTEGER NOT NULL,"
    "  server_hash TEXT NOT NULL,"
    "  state TEXT NOT NULL CHECK (state IN ('good', 'quarantined', 'missing')),"
    "  reason TEXT NOT NULL,"
    "  is_pinned INTEGER NOT NULL CHECK (is_pinned IN (0, 1)),"
    "  added_us INTEGER NOT NULL,"
    "  used_us INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE value (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;"
    "PRAGMA user_version = 1;",

    "CREATE TABLE board ("
    "  mac TEXT PRIMARY KEY CHECK (length(mac) = 17 AND mac NOT GLOB '*[^0-9a-f:]*'),"
    "  board TEXT NOT NULL,"
    "  release TEXT NOT NULL,"
    "  chip TEXT NOT NULL,"
    "  flash_bytes INTEGER NOT NULL,"
    "  label TEXT NOT NULL,"
    "  policy TEXT NOT NULL CHECK (policy IN ('', 'off', 'ask', 'wipy', 'any')),"
    "  pin TEXT NOT NULL,"
    "  slot TEXT NOT NULL,"
    "  first_seen_us INTEGER NOT NULL,"
    "  seen_us INTEGER NOT NULL,"
    "  flashed_sha256 TEXT NOT NULL,"
    "  flashed_release TEXT NOT NULL,"
    "  flashed_us INTEGER NOT NULL,"
    "  chosen_us INTEGER NOT NULL,"
    "  failed_sha256 TEXT NOT NULL,"
    "  failures INTEGER NOT NULL,"
    "  confirmed_release TEXT NOT NULL,"
    "  confirmed_us INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE slot ("
    "  name TEXT PRIMARY KEY CHECK (name <> ''),"
    "  label TEXT NOT NULL,"
    "  policy TEXT NOT NULL CHECK (policy IN ('', 'off', 'ask', 'wipy', 'any')),"
    "  is_armed INTEGER NOT NULL CHECK (is_armed IN (0, 1)),"
    "  mac TEXT NOT NULL,"
    "  seen_us INTEGER NOT NULL"
    ") STRICT;"
    /* AUTOINCREMENT: sqlite_sequence keeps the highest id also when its job is deleted */
    "CREATE TABLE job ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1 AND 4294967295),"
    "  kind TEXT NOT NULL CHECK (kind IN ('flash', 'identify', 'restore')),"
    "  state TEXT NOT NULL CHECK (state IN"
    "    ('queued', 'running', 'waiting', 'interrupted', 'done', 'failed', 'cancelled')),"
    "  device TEXT NOT NULL,"
    "  slot TEXT NOT NULL,"
    "  mac TEXT NOT NULL,"
    "  \"by\" TEXT NOT NULL,"
    "  sha256 TEXT NOT NULL,"
    "  package TEXT NOT NULL,"
    "  is_chosen INTEGER NOT NULL CHECK (is_chosen IN (0, 1)),"
    "  is_dry_run INTEGER NOT NULL CHECK (is_dry_run IN (0, 1)),"
    "  is_spooled INTEGER NOT NULL CHECK (is_spooled IN (0, 1)),"
    "  board TEXT NOT NULL,"
    "  from_release TEXT NOT NULL,"
    "  to_release TEXT NOT NULL,"
    "  bytes_total INTEGER NOT NULL,"
    "  bytes_done INTEGER NOT NULL,"
    "  baud INTEGER NOT NULL,"
    "  wanted_baud INTEGER NOT NULL,"
    "  retries INTEGER NOT NULL,"
    "  attempts INTEGER NOT NULL,"
    "  phase TEXT NOT NULL,"
    "  error TEXT NOT NULL,"
    "  error_text TEXT NOT NULL,"
    "  restore_mac TEXT NOT NULL,"
    "  restore_backup TEXT NOT NULL,"
    "  restore_parts INTEGER NOT NULL,"
    "  confirmed_release TEXT NOT NULL,"
    "  started_us INTEGER NOT NULL,"
    "  finished_us INTEGER NOT NULL"
    ") STRICT;"
    "CREATE INDEX job_by_state ON job (state);"
    "CREATE INDEX job_by_start ON job (started_us);"
    "CREATE INDEX job_by_mac ON job (mac);"
    "CREATE INDEX job_by_slot ON job (slot);"
    "CREATE TABLE attempt ("
    "  job INTEGER NOT NULL CHECK (job BETWEEN 1 AND 4294967295),"
    "  number INTEGER NOT NULL CHECK (number BETWEEN 1 AND 4294967295),"
    "  ended_us INTEGER NOT NULL,"
    "  reason TEXT NOT NULL,"
    "  PRIMARY KEY (job, number)"
    ") STRICT;"
    "CREATE TABLE decision ("
    "  id INTEGER PRIMARY KEY,"
    "  at_us INTEGER NOT NULL,"
    "  device TEXT NOT NULL,"
    "  slot TEXT NOT NULL,"
    "  mac TEXT NOT NULL,"
    "  event TEXT NOT NULL,"
    "  verdict TEXT NOT NULL,"
    "  rule TEXT NOT NULL,"
    "  state TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX decision_by_time ON decision (at_us);"
    "CREATE INDEX decision_by_mac ON decision (mac);"
    "CREATE INDEX decision_by_slot ON decision (slot);"
    "CREATE TABLE flashed ("
    "  mac TEXT NOT NULL CHECK (length(mac) = 17 AND mac NOT GLOB '*[^0-9a-f:]*'),"
    "  sha256 TEXT NOT NULL CHECK (length(sha256) = 64 AND sha256 NOT GLOB '*[^0-9a-f]*'),"
    "  at_us INTEGER NOT NULL,"
    "  PRIMARY KEY (mac, sha256)"
    ") STRICT;"
    "PRAGMA user_version = 2;",

    "CREATE TABLE rate ("
    "  owner TEXT NOT NULL CHECK (owner IN ('slot', 'board')),"
    "  name TEXT NOT NULL CHECK (name <> ''),"
    "  baud INTEGER NOT NULL CHECK (baud BETWEEN 1 AND 4294967295),"
    "  blocks INTEGER NOT NULL,"
    "  errors INTEGER NOT NULL,"
    "  good INTEGER NOT NULL,"
    "  strikes INTEGER NOT NULL,"
    "  wait INTEGER NOT NULL,"
    "  failed_us INTEGER NOT NULL,"
    "  used_us INTEGER NOT NULL,"
    "  PRIMARY KEY (owner, name, baud)"
    ") STRICT;"
    "PRAGMA user_version = 3;",

    "ALTER TABLE job ADD COLUMN loader TEXT NOT NULL DEFAULT ''; PRAGMA user_version = 4;",

    ("ALTER TABLE job ADD COLUMN gaps TEXT NOT NULL DEFAULT '';"
     "ALTER TABLE job ADD COLUMN warning TEXT NOT NULL DEFAULT ''; PRAGMA user_version = 5;"),
};

#define SCHEMA ((int)(sizeof migrations / sizeof *migrations))

/* ---- statements ------------------------------------------------------------------------------ */

int statement_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **ret) {
    return sqlite3_prepare_v2(db, sql, -1, ret, NULL);
}

int statement_bind_text(sqlite3_stmt *statement, int parameter, const char *text) {
    return sqlite3_bind_text(statement, parameter, text, -1, SQLITE_STATIC);
}

int statement_run(sqlite3_stmt *statement) {
    int rc = sqlite3_step(statement);

    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

char *statement_text(sqlite3_stmt *statement, int column) {
    const unsigned char *text = sqlite3_column_text(statement, column);

    return text ? strdup((const char *)text) : NULL;
}

void statement_finalize_p(sqlite3_stmt **statement) {
    sqlite3_finalize(*statement);
}

/* The first column of the one row that a pragma gives; cut to ret's size. */
static int read_pragma(sqlite3 *db, const char *sql, char *ret, size_t size) {
    cleanup(statement_finalize_p) sqlite3_stmt *statement = NULL;
    int rc = statement_prepare(db, sql, &statement);

    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(statement);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_ERROR : rc;
    snprintf(ret, size, "%s", (const char *)sqlite3_column_text(statement, 0));
    return SQLITE_OK;
}

/* ---- outcomes -------------------------------------------------------------------------------- */

static bool is_damage(int rc) {
    return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

/* db may be NULL: it keeps the errno of its last system call. */
static int to_errno(sqlite3 *db, int rc) {
    int system = db ? sqlite3_system_errno(db) : 0;

    switch (rc & 0xff) {
    case SQLITE_OK:
        return 0;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return -EACCES;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return -EUCLEAN;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
        return -EINVAL;
    default: /* an int from outside, not an enum of ours: IOERR, CANTOPEN and the like */
        return system > 0 ? -system : -EIO;
    }
}

/* ---- opening --------------------------------------------------------------------------------- */

static void close_database(struct records *records) {
    int rc = sqlite3_close(records->db);

    if (rc != SQLITE_OK) /* a statement was left open: ours to mend, but no reason to stop */
        log_error("%s: closing: %s", records->path, sqlite3_errstr(rc));
    records->db = NULL;
}

static int read_schema(sqlite3 *db, int *ret) {
    char text[16];
    int rc = read_pragma(db, "PRAGMA user_version", text, sizeof text);

    if (rc == SQLITE_OK)
        *ret = atoi(text);
    return rc;
}

/* But for the words: a row that somebody gave another one by hand is skipped when it is read, the rest of the
 * database is sound. */
static int check_integrity(sqlite3 *db) {
    char text[256] = "";
    int rc = sqlite3_exec(db, "PRAGMA ignore_check_constraints = ON", NULL, NULL, NULL);

    if (rc == SQLITE_OK)
        rc = read_pragma(db, "PRAGMA integrity_check(1)", text, sizeof text);
    if (rc == SQLITE_OK && strcmp(text, "ok") != 0)
        return SQLITE_CORRUPT;
    return rc == SQLITE_OK ? sqlite3_exec(db, "PRAGMA ignore_check_constraints = OFF", NULL, NULL, NULL) : rc;
}

static int use_wal(sqlite3 *db) {
    char text[16];
    int rc = read_pragma(db, "PRAGMA journal_mode = WAL", text, sizeof text);

    if (rc == SQLITE_OK && strcmp(text, "wal") != 0)
        return SQLITE_IOERR;
    return rc;
}

static int end_transaction(sqlite3 *db, int rc) {
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    if (rc != SQLITE_OK && !sqlite3_get_autocommit(db)) {
        int rolled_back = sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);

        (void)rolled_back; /* the first failure is the one to tell */
    }
    return rc;
}

static int migrate(sqlite3 *db, int schema) {
    for (int rc; schema < SCHEMA; schema++) {
        rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
        if (rc != SQLITE_OK)
            return rc;
        rc = end_transaction(db, sqlite3_exec(db, migrations[schema], NULL, NULL, NULL));
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

static int set_up(sqlite3 *db, int schema) {
    int rc = use_wal(db);

    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db,
                          "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
                          "PRAGMA wal_autocheckpoint = 100; PRAGMA cache_size = -256",
                          NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        rc = migrate(db, schema);
    return rc;
}

/* Made by us, so that nobody else may read it and that the errno of a failure is known. */
static int make_file(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);

    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

/* 0; -EUCLEAN: damaged; -EPROTONOSUPPORT: of a newer wipyd, *ret_schema is its; another negative errno. */
static int open_database(struct records *records, int *ret_schema) {
    int schema = 0, rc, r;

    r = make_file(records->path);
    if (r < 0)
        return r;
    rc = sqlite3_open_v2(records->path, &records->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(records->db, BUSY_TIMEOUT_MS);
    if (rc == SQLITE_OK)
        rc = read_schema(records->db, &schema);
    if (rc == SQLITE_OK && schema > SCHEMA) {
        close_database(records);
        *ret_schema = schema;
        return -EPROTONOSUPPORT;
    }
    if (rc == SQLITE_OK)
        rc = check_integrity(records->db);
    if (rc == SQLITE_OK)
        rc = set_up(records->db, schema);
    if (rc != SQLITE_OK) {
        r = to_errno(records->db, rc);
        if (r == -EUCLEAN) /* to be kept as it is */
            sqlite3_db_config(records->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        close_database(records);
        return r;
    }
    return 0;
}

/* ---- damage ---------------------------------------------------------------------------------- */

static int sync_folder_of(const char *path) {
    cleanup(close_fd_p) int fd = -1;
    char folder[4096];
    char *slash;

    snprintf(folder, sizeof folder, "%s", path);
    slash = strrchr(folder, '/');
    if (slash)
        slash[1] = 0;
    fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* PATH.damaged-TIME, or with a number behind it when there is one of this second already. */
static void name_damaged(const char *path, char *ret, size_t size) {
    char stamp[32];
    time_t now = time(NULL);
    struct stat st;
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
    snprintf(ret, size, "%s.damaged-%s", path, stamp);
    for (unsigned i = 2; lstat(ret, &st) == 0 && i < 1000; i++)
        snprintf(ret, size, "%s.damaged-%s.%u", path, stamp, i);
}

/* The file first: should we be killed then, SQLite throws away a log that has no database, but would take a
 * database without its log for a sound one. */
static int move_aside(const char *path) {
    static const char *const ENDS[] = { "", "-wal", "-shm" };
    char damaged[4096], from[4200], to[4200];

    name_damaged(path, damaged, sizeof damaged);
    for (size_t i = 0; i < sizeof ENDS / sizeof *ENDS; i++) {
        snprintf(from, sizeof from, "%s%s", path, ENDS[i]);
        snprintf(to, sizeof to, "%s%s", damaged, ENDS[i]);
        if (rename(from, to) < 0 && errno != ENOENT)
            return -errno;
    }
    log_error("%s: the database is damaged: moved to %s, a new one is begun", path, damaged);
    return sync_folder_of(path);
}

/* Opens it; a damaged one is moved aside before. */
static int open_or_replace(struct records *records, int *ret_schema) {
    int r = open_database(records, ret_schema);

    if (r != -EUCLEAN)
        return r;
    r = move_aside(records->path);
    if (r < 0)
        return r;
    records->generation++;
    return open_database(records, ret_schema);
}

static int replace(struct records *records) {
    int schema, r;

    if (records->db) {
        sqlite3_db_config(records->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        close_database(records);
    }
    r = move_aside(records->path);
    if (r < 0)
        return r;
    records->generation++;
    return open_database(records, &schema);
}

enum wipyd_error records_open(struct records **ret, const char *path, struct fault *fault) {
    struct records *records = calloc(1, sizeof *records);
    enum wipyd_error error;
    int schema = 0, r = -ENOMEM;

    if (records)
        records->path = strdup(path);
    if (records && records->path)
        r = open_or_replace(records, &schema);
    if (r == 0) {
        *ret = records;
        return WIPYD_ERROR_NONE;
    }
    if (r == -EPROTONOSUPPORT)
        error = fault_set(fault, WIPYD_ERROR_SYSTEM,
                          "%s: written by a newer wipyd (schema %d, known here: %d): left alone", path,
                          schema, SCHEMA);
    else
        error = fault_errno(fault, r, "%s: opening the database", path);
    records_close(records);
    return error;
}

struct records *records_close(struct records *records) {
    if (!records)
        return NULL;
    if (records->db)
        close_database(records);
    free(records->path);
    free(records);
    return NULL;
}

unsigned records_generation(const struct records *records) {
    return records->generation;
}

/* ---- reading and writing --------------------------------------------------------------------- */

static int attempt(sqlite3 *db, bool writes, records_fn fn, void *argument) {
    int rc;

    if (!writes)
        return fn(db, argument);
    rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    return rc == SQLITE_OK ? end_transaction(db, fn(db, argument)) : rc;
}

static int run(struct records *records, bool writes, records_fn fn, void *argument) {
    int schema, rc, r;

    if (!records->db) {
        r = open_or_replace(records, &schema);
        if (r < 0)
            return r;
    }
    rc = attempt(records->db, writes, fn, argument);
    if (is_damage(rc)) {
        r = replace(records);
        if (r < 0)
            return r;
        rc = attempt(records->db, writes, fn, argument);
    }
    return to_errno(records->db, rc);
}

int records_write(struct records *records, records_fn fn, void *argument) {
    return run(records, true, fn, argument);
}

int records_read(struct records *records, records_fn fn, void *argument) {
    return run(records, false, fn, argument);
}
