/*
 * The database as an older wipyd, a broken disk or somebody with an editor has left it. The first byte says
 * which: 's', what follows is SQL that is run on a database of today's schema; else it is the file itself.
 */

#include <sqlite3.h>

#include "daemon/records/records.h"
#include "tests/fuzz/folder.h"

#define MAC    "30:ae:a4:01:02:03"
#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

enum { FILE_BYTES_MAX = 256 * 1024, STEPS_MAX = 20000 };

/* Rows may be put, changed and dropped; neither the schema nor other files are touched. */
static int may(void *userdata, int action, const char *a, const char *b, const char *c, const char *d) {
    (void)userdata, (void)c, (void)d;
    switch (action) {
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
        return strncmp(a, "sqlite_", 7) || !strcmp(a, "sqlite_sequence") ? SQLITE_OK : SQLITE_DENY;
    case SQLITE_SELECT:
    case SQLITE_READ:
    case SQLITE_FUNCTION:
    case SQLITE_TRANSACTION:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_PRAGMA:
        return b && (!strcmp(a, "user_version") || !strcmp(a, "ignore_check_constraints")) ? SQLITE_OK
                                                                                           : SQLITE_DENY;
    default:
        return SQLITE_DENY;
    }
}

static int too_long(void *userdata) {
    return ++*(unsigned *)userdata > STEPS_MAX;
}

static void run_sql(const char *path, const struct input *sql) {
    char *text = strndup((const char *)sql->bytes, sql->size);
    unsigned steps = 0;
    sqlite3 *db;

    must(text && sqlite3_open(path, &db) == SQLITE_OK);
    sqlite3_set_authorizer(db, may, NULL);
    sqlite3_progress_handler(db, 100, too_long, &steps);
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 1 << 20);
    sqlite3_exec(db, text, NULL, NULL, NULL); /* what can't be done isn't */
    must(sqlite3_close(db) == SQLITE_OK);
    free(text);
}

/* ---- reading --------------------------------------------------------------------------------- */

#define must_be_text(field) must(memchr(field, 0, sizeof(field)))

static void read_firmware(struct records *records) {
    struct firmware_record *list = NULL;
    size_t n = 0;

    if (records_list_firmware(records, &list, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        must(strlen(list[i].sha256) <= 64 && list[i].name && list[i].board && list[i].release);
        must(list[i].origin && list[i].server_version && list[i].server_hash && list[i].reason);
        must(list[i].state <= FIRMWARE_MISSING);
        firmware_record_deinit(&list[i]);
    }
    free(list);
}

static void read_boards(struct records *records) {
    struct board_record *list = NULL;
    size_t n = 0;

    if (records_list_boards(records, &list, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        must_be_text(list[i].mac);
        must_be_text(list[i].label);
        must_be_text(list[i].slot);
        must(list[i].policy < BOARD_POLICY_COUNT);
    }
    free(list);
}

static void read_slots(struct records *records) {
    struct slot_record *list = NULL;
    size_t n = 0;

    if (records_list_slots(records, &list, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        must_be_text(list[i].name);
        must_be_text(list[i].mac);
        must(list[i].policy < BOARD_POLICY_COUNT);
    }
    free(list);
}

static void read_rates(struct records *records) {
    struct rate_record *list = NULL;
    size_t n = 0;

    if (records_list_rates(records, &list, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        must_be_text(list[i].owner);
        must_be_text(list[i].name);
    }
    free(list);
}

static void check_job(const struct job_record *job) {
    must_be_text(job->device);
    must_be_text(job->error_text);
    must_be_text(job->restore_backup);
    must(*wipyd_job_state_word(job->state) && *wipyd_job_kind_word(job->kind));
}

static void read_jobs(struct records *records, const struct records_query *query) {
    struct attempt_record *attempts = NULL;
    struct job_record *list = NULL;
    size_t n = 0, n_attempts = 0;
    uint32_t last;

    if (records_list_jobs(records, query, &list, &n) == 0) {
        must(!query->limit || n <= query->limit);
        for (size_t i = 0; i < n; i++) {
            check_job(&list[i]);
            must(i == 0 || list[i].id < list[i - 1].id);
            must(!query->mac || !strcmp(query->mac, list[i].mac));
        }
        if (n && records_list_attempts(records, list[0].id, &attempts, &n_attempts) == 0)
            for (size_t i = 0; i < n_attempts; i++)
                must_be_text(attempts[i].reason);
        free(attempts);
    }
    free(list);
    list = NULL;
    if (records_list_open_jobs(records, &list, &n) == 0)
        for (size_t i = 0; i < n; i++)
            check_job(&list[i]);
    free(list);
    (void)!records_last_job(records, &last);
}

static void read_decisions(struct records *records, const struct records_query *query) {
    struct flashed_record *flashed = NULL;
    struct decision_record *list = NULL;
    size_t n = 0;

    if (records_list_decisions(records, query, &list, &n) == 0)
        for (size_t i = 0; i < n; i++)
            must_be_text(list[i].state);
    free(list);
    if (records_list_flashed(records, &flashed, &n) == 0)
        for (size_t i = 0; i < n; i++)
            must_be_text(flashed[i].sha256);
    free(flashed);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* What is put into whatever that was is there again. */
static void write_and_read(struct records *records) {
    struct board_record board = { .mac = MAC, .label = "bench 3", .seen_us = 7 }, *boards = NULL;
    struct job_record job = { .id = 4000000000u, .device = "ttyUSB0" };
    char *value = NULL;
    size_t n = 0, hits = 0;

    if (records_put_value(records, "poll.next", "12345") == 0) {
        must(records_get_value(records, "poll.next", &value) == 0 && !strcmp(value, "12345"));
        free(value);
    }
    if (records_put_board(records, &board) == 0) {
        must(records_list_boards(records, &boards, &n) == 0);
        for (size_t i = 0; i < n; i++)
            hits += !strcmp(boards[i].mac, MAC) && !strcmp(boards[i].label, "bench 3");
        must(hits == 1);
        free(boards);
    }
    (void)!records_put_job(records, &job);
    (void)!records_delete_board(records, MAC);
    (void)!records_delete_slot(records, "1-1");
    (void)!records_delete_firmware(records, DIGEST);
}

static void use(const char *path) {
    static const struct records_query queries[] = { { 0 },
                                                    { .mac = MAC, .limit = 3 },
                                                    { .slot = "1-1", .since_us = 5 } };
    struct records *records = NULL;
    struct fault fault;

    fault.code = WIPYD_ERROR_NONE;
    if (records_open(&records, path, &fault)) {
        must(!records);
        must_be_story(fault.story, sizeof fault.story);
        return;
    }
    read_firmware(records);
    read_boards(records);
    read_slots(records);
    read_rates(records);
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        read_jobs(records, &queries[i]);
        read_decisions(records, &queries[i]);
    }
    write_and_read(records);
    must(!records_close(records));
}

/* A database of today's schema, in as few bytes as it can have; made once, for all inputs that are SQL. */
static struct {
    uint8_t *bytes;
    size_t size;
} fresh;

static void read_fresh(const char *path) {
    struct stat st;
    sqlite3 *db;
    int fd;

    must(sqlite3_open(path, &db) == SQLITE_OK);
    must(sqlite3_exec(db, "PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM", NULL, NULL, NULL) ==
         SQLITE_OK);
    must(sqlite3_close(db) == SQLITE_OK);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    must(fd >= 0 && fstat(fd, &st) == 0);
    fresh.size = (size_t)st.st_size;
    fresh.bytes = malloc(fresh.size);
    must(fresh.bytes && read(fd, fresh.bytes, fresh.size) == st.st_size);
    close(fd);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    struct records *records = NULL;
    char path[300];

    (void)argc, (void)argv;
    log_setup(-1);
    /* Quicker: no locks, and not each word of a schema that is read costs a malloc(). */
    must(sqlite3_config(SQLITE_CONFIG_SINGLETHREAD) == SQLITE_OK);
    must(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 1024, 1024) == SQLITE_OK);
    sqlite3_hard_heap_limit64(64 << 20);
    snprintf(path, sizeof path, "%s/wipyd.db", own_folder());
    must(records_open(&records, path, NULL) == WIPYD_ERROR_NONE);
    must(!records_close(records));
    read_fresh(path);
    empty_folder(own_folder());
    return atexit(remove_folder_at_exit);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct input input = { bytes, size };
    char path[300];

    if (size > FILE_BYTES_MAX)
        return 0;
    snprintf(path, sizeof path, "%s/wipyd.db", own_folder());
    if (take_byte(&input) == 's') {
        write_file(path, fresh.bytes, fresh.size);
        run_sql(path, &input);
    } else {
        write_file(path, input.bytes, input.size);
        use(path); /* and once more, as the first time has left it */
    }
    use(path);
    empty_folder(own_folder());
    return 0;
}
