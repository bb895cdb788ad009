/* The database: what is put is there after a restart, what is damaged is set aside, what is newer left alone.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <sys/wait.h>

#include "tests/unit/test_records_bench.h"

static unsigned count_files(const struct bench *bench, const char *prefix) {
    DIR *dir = opendir(bench->base);
    const struct dirent *entry;
    unsigned n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)))
        n += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(dir);
    return n;
}

/* Every field is something else. */
static struct firmware_record sample(char digit) {
    struct firmware_record record = { .bytes = 123456789012345u,
                                      .name = "WiPy \"it's\"; DROP TABLE firmware",
                                      .board = "WiPy",
                                      .release = "1.20.2.r4",
                                      .origin = "https://server.example/?a=1&b=\xc3\xa9",
                                      .server_version = "1.20.2.r6",
                                      .server_int_version = 4294967295u,
                                      .server_hash = "f6c30bf8",
                                      .state = FIRMWARE_QUARANTINED,
                                      .reason = "why",
                                      .is_pinned = true,
                                      .added_us = 1700000000000000u + (unsigned char)digit,
                                      .used_us = 1800000000000000u };

    memset(record.sha256, digit, 64);
    return record;
}

static void put(struct bench *bench, const struct firmware_record *record) {
    assert_int_equal(records_put_firmware(bench->records, record), 0);
}

static size_t list(struct bench *bench, struct firmware_record **ret) {
    size_t n = 0;

    *ret = NULL;
    assert_int_equal(records_list_firmware(bench->records, ret, &n), 0);
    return n;
}

static void free_list(struct firmware_record *records, size_t n) {
    for (size_t i = 0; i < n; i++)
        firmware_record_deinit(&records[i]);
    free(records);
}

static size_t count(struct bench *bench) {
    struct firmware_record *records;
    size_t n = list(bench, &records);

    free_list(records, n);
    return n;
}

static void expect_same(const struct firmware_record *a, const struct firmware_record *b) {
    assert_string_equal(a->sha256, b->sha256);
    assert_int_equal(a->bytes, b->bytes);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->board, b->board);
    assert_string_equal(a->release, b->release);
    assert_string_equal(a->origin, b->origin);
    assert_string_equal(a->server_version, b->server_version);
    assert_int_equal(a->server_int_version, b->server_int_version);
    assert_string_equal(a->server_hash, b->server_hash);
    assert_int_equal(a->state, b->state);
    assert_string_equal(a->reason, b->reason);
    assert_int_equal(a->is_pinned, b->is_pinned);
    assert_int_equal(a->added_us, b->added_us);
    assert_int_equal(a->used_us, b->used_us);
}

/* ---- packages -------------------------------------------------------------------------------- */

static void record_comes_back_whole(void **state) {
    struct bench *bench = *state;
    struct firmware_record record = sample('a'), *records;

    for (int i = FIRMWARE_GOOD; i <= FIRMWARE_MISSING; i++) {
        record.state = (enum firmware_state)i;
        put(bench, &record);
        reopen(bench);
        assert_int_equal(list(bench, &records), 1);
        expect_same(&records[0], &record);
        free_list(records, 1);
    }
}

static void put_again_replaces(void **state) {
    struct bench *bench = *state;
    struct firmware_record record = sample('a'), *records;

    put(bench, &record);
    record.name = "other";
    record.is_pinned = false;
    record.server_int_version = 0;
    put(bench, &record);
    assert_int_equal(list(bench, &records), 1);
    expect_same(&records[0], &record);
    free_list(records, 1);
}

static void oldest_is_listed_first(void **state) {
    struct bench *bench = *state;
    struct firmware_record *records;
    size_t n;

    for (const char *digit = "9cab30f1d2e4756800"; *digit; digit++) {
        struct firmware_record record = sample(*digit);

        put(bench, &record);
    }
    n = list(bench, &records);
    assert_int_equal(n, 16);
    for (size_t i = 1; i < n; i++)
        assert_true(records[i - 1].added_us < records[i].added_us);
    free_list(records, n);
}

static void deleted_is_gone(void **state) {
    struct bench *bench = *state;
    struct firmware_record first = sample('a'), second = sample('b');

    put(bench, &first);
    put(bench, &second);
    assert_int_equal(records_delete_firmware(bench->records, first.sha256), 0);
    assert_int_equal(records_delete_firmware(bench->records, first.sha256), 0);
    assert_int_equal(records_delete_firmware(bench->records, "nonsense"), 0);
    reopen(bench);
    assert_int_equal(count(bench), 1);
}

static void digest_that_is_none_is_refused(void **state) {
    struct bench *bench = *state;
    struct firmware_record record = sample('g');

    assert_int_equal(records_put_firmware(bench->records, &record), -EINVAL);
    assert_int_equal(count(bench), 0);
}

static void copy_is_deep(void **state) {
    struct firmware_record record = sample('a'), copy;

    (void)state;
    assert_int_equal(firmware_record_copy(&copy, &record), 0);
    expect_same(&copy, &record);
    assert_ptr_not_equal(copy.name, record.name);
    firmware_record_deinit(&copy);
    assert_null(copy.name);
    firmware_record_deinit(&copy);
}

/* ---- values ---------------------------------------------------------------------------------- */

static void value_comes_back(void **state) {
    struct bench *bench = *state;
    char *value = NULL;

    assert_int_equal(records_get_value(bench->records, "poll.next", &value), -ENOENT);
    assert_null(value);
    assert_int_equal(records_put_value(bench->records, "poll.next", "1"), 0);
    assert_int_equal(records_put_value(bench->records, "poll.next", "it's 2"), 0);
    assert_int_equal(records_put_value(bench->records, "poll.etag", ""), 0);
    reopen(bench);
    assert_int_equal(records_get_value(bench->records, "poll.next", &value), 0);
    assert_string_equal(value, "it's 2");
    free(value);
    assert_int_equal(records_get_value(bench->records, "poll.etag", &value), 0);
    assert_string_equal(value, "");
    free(value);
}

/* ---- the file -------------------------------------------------------------------------------- */

static void file_is_for_us_alone(void **state) {
    struct bench *bench = *state;
    struct stat st;

    assert_int_equal(stat(bench->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void log_is_there_while_open_and_gone_after(void **state) {
    struct bench *bench = *state;
    struct firmware_record record = sample('a');

    put(bench, &record);
    assert_int_equal(count_files(bench, "wipyd.db-wal"), 1);
    bench->records = records_close(bench->records);
    assert_int_equal(count_files(bench, "wipyd.db"), 1);
    open_records(bench);
    assert_int_equal(count(bench), 1);
}

/* A child puts and is killed without closing anything. */
static void killed_after_put_loses_nothing(void **state) {
    struct bench *bench = *state;
    struct firmware_record record = sample('a');
    int status;
    pid_t child;

    bench->records = records_close(bench->records);
    child = fork();
    if (child == 0) {
        struct fault fault;

        if (records_open(&bench->records, bench->path, &fault) ||
            records_put_firmware(bench->records, &record) < 0)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    open_records(bench);
    assert_int_equal(count(bench), 1);
    assert_int_equal(records_generation(bench->records), 0);
}

static void folder_that_is_not_there_is_a_fault(void **state) {
    struct bench *bench = *state;
    struct records *records;
    struct fault fault;
    char path[128];

    snprintf(path, sizeof path, "%s/none/wipyd.db", bench->base);
    assert_int_equal(records_open(&records, path, &fault), WIPYD_ERROR_SYSTEM);
    assert_non_null(strstr(fault.story, "No such file or directory"));
    assert_int_equal(records_open(&records, bench->base, &fault), WIPYD_ERROR_SYSTEM);
    assert_non_null(strstr(fault.story, "Is a directory"));
    assert_int_equal(mkdir(bench->base, 0700), -1);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static void write_garbage(const char *path, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(write(fd, &(char) { (char)(i * 37 + 11) }, 1), 1);
    close(fd);
}

static void damaged_is_set_aside_with_its_log(void **state) {
    struct bench *bench = *state;
    struct firmware_record record = sample('a');
    char wal[128];

    put(bench, &record);
    bench->records = records_close(bench->records);
    snprintf(wal, sizeof wal, "%s-wal", bench->path);
    write_garbage(bench->path, 9000);
    write_garbage(wal, 5000);
    open_records(bench);
    assert_int_equal(records_generation(bench->records), 1);
    assert_int_equal(count(bench), 0);
    assert_int_equal(count_files(bench, "wipyd.db.damaged-"), 3); /* with -wal and -shm */
    put(bench, &record);
    /* a second one within the second has another name */
    bench->records = records_close(bench->records);
    write_garbage(bench->path, 9000);
    open_records(bench);
    assert_true(count_files(bench, "wipyd.db.damaged-") > 3);
    put(bench, &record);
    assert_int_equal(count(bench), 1);
}

static void garbage_log_alone_loses_nothing(void **state) {
    struct bench *bench = *state;
    struct firmware_record record = sample('a');
    char wal[128];

    put(bench, &record);
    bench->records = records_close(bench->records);
    snprintf(wal, sizeof wal, "%s-wal", bench->path);
    write_garbage(wal, 5000);
    open_records(bench);
    assert_int_equal(records_generation(bench->records), 0);
    assert_int_equal(count(bench), 1);
}

static void every_truncation_is_survived(void **state) {
    struct bench *bench = *state;
    struct firmware_record record = sample('a');
    struct stat st;

    put(bench, &record);
    bench->records = records_close(bench->records);
    assert_int_equal(stat(bench->path, &st), 0);
    for (off_t size = 0; size < st.st_size; size += 512) {
        assert_int_equal(truncate(bench->path, size), 0);
        open_records(bench);
        put(bench, &record);
        assert_int_equal(count(bench), 1);
        bench->records = records_close(bench->records);
        assert_int_equal(stat(bench->path, &st), 0);
    }
    open_records(bench);
}

/* A schema of ours with a table of somebody else's under the name of one of ours: an error, not a crash. */
static void foreign_database_is_an_error(void **state) {
    struct bench *bench = *state;
    struct firmware_record record = sample('a');
    struct fault fault;
    sqlite3 *db;

    bench->records = records_close(bench->records);
    assert_int_equal(unlink(bench->path), 0);
    assert_int_equal(sqlite3_open(bench->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE firmware (x)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(records_open(&bench->records, bench->path, &fault), WIPYD_ERROR_SYSTEM);
    bench->records = NULL;
    assert_int_equal(unlink(bench->path), 0);
    open_records(bench);
    put(bench, &record);
}

static void newer_schema_is_left_alone(void **state) {
    struct bench *bench = *state;
    struct fault fault;
    sqlite3 *db;

    bench->records = records_close(bench->records);
    assert_int_equal(sqlite3_open(bench->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 1000", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(records_open(&bench->records, bench->path, &fault), WIPYD_ERROR_SYSTEM);
    bench->records = NULL;
    assert_non_null(strstr(fault.story, "newer"));
    assert_non_null(strstr(fault.story, "1000"));
    assert_int_equal(count_files(bench, "wipyd.db"), 1);
}

/* Another connection that holds the write lock longer than we wait would be -EBUSY; a short one is waited
 * for. */
static void short_lock_of_another_is_waited_for(void **state) {
    struct bench *bench = *state;
    struct firmware_record record = sample('a');
    int ready[2], status;
    pid_t child;
    char byte;

    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        sqlite3 *db;

        if (sqlite3_open(bench->path, &db) || sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL))
            _exit(1);
        if (write(ready[1], "x", 1) != 1)
            _exit(1);
        usleep(300000);
        _exit(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    put(bench, &record);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(ready[0]);
    close(ready[1]);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(record_comes_back_whole),
        moment(put_again_replaces),
        moment(oldest_is_listed_first),
        moment(deleted_is_gone),
        moment(digest_that_is_none_is_refused),
        moment(copy_is_deep),
        moment(value_comes_back),
        moment(file_is_for_us_alone),
        moment(log_is_there_while_open_and_gone_after),
        moment(killed_after_put_loses_nothing),
        moment(folder_that_is_not_there_is_a_fault),
        moment(damaged_is_set_aside_with_its_log),
        moment(garbage_log_alone_loses_nothing),
        moment(every_truncation_is_survived),
        moment(foreign_database_is_an_error),
        moment(newer_schema_is_left_alone),
        moment(short_lock_of_another_is_waited_for),
    };

    alarm(120);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
