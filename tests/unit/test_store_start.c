/* The start of the store: what a restart, a kill, a lost or damaged database and strange files leave. */

#include <sqlite3.h>

#include "tests/unit/test_store_bench.h"

static void remove_database(const struct bench *bench) {
    static const char *const ENDS[] = { "", "-wal", "-shm" };
    char path[128];

    for (unsigned i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", bench->database, ENDS[i]);
        unlink(path);
    }
}

/* ---- with the database ----------------------------------------------------------------------- */

static void restart_knows_everything(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct firmware_record before;
    const struct firmware_record *after;
    char sha1[41];

    digest_of(&blob, EVP_sha1(), sha1);
    assert_int_equal(ask_pin(bench, add_promised(bench, &blob, sha1).sha256, true).fault.code,
                     WIPYD_ERROR_NONE);
    assert_int_equal(firmware_record_copy(&before, firmware_store_at(bench->store, 0)), 0);
    bench_reopen(bench);
    assert_int_equal(count_records(bench), 1);
    after = firmware_store_at(bench->store, 0);
    assert_string_equal(after->sha256, before.sha256);
    assert_int_equal(after->bytes, before.bytes);
    assert_string_equal(after->name, before.name);
    assert_string_equal(after->board, before.board);
    assert_string_equal(after->release, before.release);
    assert_string_equal(after->origin, SERVER);
    assert_string_equal(after->server_version, "1.20.1.r6");
    assert_int_equal(after->server_int_version, 77595014);
    assert_string_equal(after->server_hash, sha1);
    assert_int_equal(after->state, FIRMWARE_GOOD);
    assert_true(after->is_pinned);
    assert_int_equal(after->added_us, before.added_us);
    firmware_record_deinit(&before);
    expect_sound(bench);
}

static void leftovers_are_removed_and_strangers_left(void **state) {
    struct bench *bench = *state;
    char path[300];

    bench_close(bench);
    snprintf(path, sizeof path, "%s/.new-123-0", bench->folder);
    write_file(path, "half", 4);
    snprintf(path, sizeof path, "%s/README", bench->folder);
    write_file(path, "mine", 4);
    snprintf(path, sizeof path, "%s/WiPy-1.18.tar.gz", bench->folder);
    write_file(path, "mine", 4);
    bench_open(bench);
    assert_int_equal(count_records(bench), 0);
    assert_int_equal(count_files(bench->folder, ".new-"), 0);
    assert_int_equal(count_files(bench->folder, ""), 2);
}

static void file_gone_or_cut_is_missing(void **state) {
    struct bench *bench = *state;
    char gone[65], cut[65], path[300];

    add_good(bench, "WiPy", "1.18.0", 1, gone);
    add_good(bench, "WiPy", "1.18.1", 2, cut);
    bench_close(bench);
    path_of(bench, gone, "", path);
    assert_int_equal(unlink(path), 0);
    path_of(bench, cut, "", path);
    assert_int_equal(truncate(path, 100), 0);
    bench_open(bench);
    assert_int_equal(count_records(bench), 2);
    assert_int_equal(state_of(bench, gone), FIRMWARE_MISSING);
    assert_int_equal(state_of(bench, cut), FIRMWARE_MISSING);
    assert_null(firmware_store_choose(bench->store, "WiPy", NULL));
}

static void missing_file_that_is_back_is_good(void **state) {
    struct bench *bench = *state;
    char sha256[65], path[300], away[310];

    add_good(bench, "WiPy", "1.18.0", 1, sha256);
    assert_int_equal(ask_pin(bench, sha256, true).fault.code, WIPYD_ERROR_NONE);
    bench_close(bench);
    path_of(bench, sha256, "", path);
    snprintf(away, sizeof away, "%s.away", path);
    assert_int_equal(rename(path, away), 0);
    bench_open(bench);
    assert_int_equal(state_of(bench, sha256), FIRMWARE_MISSING);
    bench_close(bench);
    assert_int_equal(rename(away, path), 0);
    bench_open(bench);
    assert_int_equal(state_of(bench, sha256), FIRMWARE_GOOD);
    assert_true(firmware_store_at(bench->store, 0)->is_pinned);
    expect_sound(bench);
}

/* Killed between the renaming of a file and its record. */
static void broken_off_release_stays_in_quarantine(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer answer = add_promised(bench, &blob, WRONG);
    char plain[300], quarantined[300];

    bench_close(bench);
    path_of(bench, answer.sha256, "", plain);
    path_of(bench, answer.sha256, ".quarantined", quarantined);
    assert_int_equal(rename(quarantined, plain), 0);
    bench_open(bench);
    assert_int_equal(state_of(bench, answer.sha256), FIRMWARE_QUARANTINED);
    assert_string_equal(firmware_store_at(bench->store, 0)->reason, answer.reason);
    assert_true(has_file(bench, answer.sha256, ".quarantined"));
    expect_sound(bench);
}

/* ---- without a record ------------------------------------------------------------------------ */

static void lost_database_loses_no_package(void **state) {
    struct bench *bench = *state;
    owned struct blob bad = make_package("WiPy", "1.20.9.r1", 7);
    char first[65], second[65];
    struct answer answer;

    add_good(bench, "WiPy", "1.18.0", 1, first);
    add_good(bench, "LoPy", "1.18.1", 2, second);
    answer = add_promised(bench, &bad, WRONG);
    bench_close(bench);
    remove_database(bench);
    bench_open(bench);
    assert_int_equal(count_records(bench), 3);
    assert_int_equal(state_of(bench, first), FIRMWARE_GOOD);
    assert_int_equal(state_of(bench, second), FIRMWARE_GOOD);
    assert_string_equal(firmware_store_find(bench->store, second)->origin, "adopted");
    assert_string_equal(firmware_store_find(bench->store, second)->name, "LoPy-1.18.1.tar.gz");
    assert_string_equal(firmware_store_find(bench->store, second)->board, "LoPy");
    /* and lets nothing out of quarantine */
    assert_int_equal(state_of(bench, answer.sha256), FIRMWARE_QUARANTINED);
    assert_string_equal(firmware_store_choose(bench->store, "WiPy", NULL)->sha256, first);
    bench_reopen(bench);
    assert_int_equal(count_records(bench), 3);
    assert_int_equal(state_of(bench, answer.sha256), FIRMWARE_QUARANTINED);
    expect_sound(bench);
}

static void adopted_learns_its_name_from_an_import(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer answer = add(bench, &blob);

    bench_close(bench);
    remove_database(bench);
    bench_open(bench);
    answer = add_from(bench, &blob, &(struct firmware_origin) { .name = "mine.tar.gz" });
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    assert_string_equal(firmware_store_at(bench->store, 0)->name, "mine.tar.gz");
    assert_string_equal(firmware_store_at(bench->store, 0)->origin, "import");
}

static void adopted_order_of_addition_is_the_files(void **state) {
    struct bench *bench = *state;
    char first[65], second[65], path[300];
    struct timespec old[2] = { { .tv_sec = 1000000000 }, { .tv_sec = 1000000000 } };

    add_good(bench, "WiPy", "1.18.0", 1, first);
    add_good(bench, "WiPy", "1.18.0", 2, second);
    bench_close(bench);
    remove_database(bench);
    path_of(bench, second, "", path);
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    bench_open(bench);
    assert_string_equal(firmware_store_at(bench->store, 0)->sha256, first);
    assert_int_equal(firmware_store_at(bench->store, 1)->added_us, 1000000000ull * 1000000);
}

static void file_that_is_not_what_its_name_says_is_set_aside(void **state) {
    struct bench *bench = *state;
    char good[65], sha256[65], path[300], name[100];

    add_good(bench, "WiPy", "1.18.0", 1, good);
    add_good(bench, "WiPy", "1.18.1", 2, sha256);
    bench_close(bench);
    remove_database(bench);
    path_of(bench, sha256, "", path);
    spoil(path, 10, 3);
    bench_open(bench);
    assert_int_equal(count_records(bench), 1);
    assert_false(has_file(bench, sha256, ""));
    snprintf(name, sizeof name, "%s.tar.gz.damaged-", sha256);
    assert_int_equal(count_files(bench->folder, name), 1);
    bench_reopen(bench); /* not again and again */
    assert_int_equal(count_files(bench->folder, ""), 2);
}

static void adopted_that_is_no_package_is_in_quarantine(void **state) {
    struct bench *bench = *state;
    static const char TEXT[] = "this is no package";
    const struct blob blob = { (uint8_t *)(uintptr_t)TEXT, sizeof TEXT };
    char sha256[65], path[300];
    struct answer answer;

    digest_of(&blob, EVP_sha256(), sha256);
    bench_close(bench);
    path_of(bench, sha256, "", path);
    write_file(path, TEXT, sizeof TEXT);
    bench_open(bench);
    assert_int_equal(count_records(bench), 1);
    assert_int_equal(state_of(bench, sha256), FIRMWARE_QUARANTINED);
    assert_true(*firmware_store_at(bench->store, 0)->reason);
    assert_string_equal(firmware_store_at(bench->store, 0)->board, "");
    assert_true(has_file(bench, sha256, ".quarantined"));
    answer = ask_release(bench, sha256); /* nobody's word makes it a package */
    assert_int_equal(answer.fault.code, WIPYD_ERROR_PACKAGE_INVALID);
    assert_int_equal(state_of(bench, sha256), FIRMWARE_QUARANTINED);
    bench_reopen(bench);
    assert_int_equal(state_of(bench, sha256), FIRMWARE_QUARANTINED);
    assert_int_equal(ask_remove(bench, sha256, false).fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(count_files(bench->folder, ""), 0);
}

static void strange_files_are_kept(void **state) {
    struct bench *bench = *state;
    char sha256[65], path[300];

    bench_close(bench);
    for (unsigned i = 0; i < 4; i++) {
        memset(sha256, (int)('a' + i), 64);
        sha256[64] = 0;
        path_of(bench, sha256, "", path);
        if (i == 0)
            assert_int_equal(mkdir(path, 0700), 0);
        else if (i == 1)
            assert_int_equal(mkfifo(path, 0600), 0);
        else if (i == 2)
            assert_int_equal(symlink("/dev/zero", path), 0);
        else { /* too large */
            write_file(path, "x", 1);
            assert_int_equal(truncate(path, 1 << 30), 0);
        }
    }
    bench_open(bench);
    assert_int_equal(count_records(bench), 0);
    assert_int_equal(count_files(bench->folder, ""), 4);
}

/* ---- a damaged database ---------------------------------------------------------------------- */

static unsigned count_damaged(const struct bench *bench) {
    return count_files(bench->base, "wipyd.db.damaged-");
}

static void expect_rebuilt(struct bench *bench, const char *sha256) {
    assert_int_equal(count_damaged(bench) > 0, 1);
    assert_int_equal(count_records(bench), 1);
    assert_int_equal(state_of(bench, sha256), FIRMWARE_GOOD);
    expect_sound(bench);
    bench_reopen(bench);
    assert_int_equal(count_records(bench), 1);
    assert_int_equal(count_files(bench->base, "wipyd.db.damaged-") > 0, 1);
}

static void garbage_database_is_set_aside(void **state) {
    struct bench *bench = *state;
    char sha256[65];

    add_good(bench, "WiPy", "1.18.0", 1, sha256);
    bench_close(bench);
    write_file(bench->database, "garbage garbage garbage", 23);
    bench_open(bench);
    expect_rebuilt(bench, sha256);
}

static void truncated_database_is_set_aside(void **state) {
    struct bench *bench = *state;
    char sha256[65];

    add_good(bench, "WiPy", "1.18.0", 1, sha256);
    bench_close(bench);
    assert_int_equal(truncate(bench->database, 5000), 0);
    bench_open(bench);
    expect_rebuilt(bench, sha256);
}

static void every_spoiled_page_is_survived(void **state) {
    struct bench *bench = *state;
    struct stat st;
    char sha256[65], quarantined[65];
    owned struct blob bad = make_package("WiPy", "1.20.9.r1", 7);

    add_good(bench, "WiPy", "1.18.0", 1, sha256);
    memcpy(quarantined, add_promised(bench, &bad, WRONG).sha256, sizeof quarantined);
    bench_close(bench);
    assert_int_equal(stat(bench->database, &st), 0);
    for (off_t page = 0; page < st.st_size; page += 4096) {
        spoil(bench->database, page + 8, 200);
        bench_open(bench);
        assert_int_equal(count_records(bench), 2);
        assert_int_equal(state_of(bench, sha256), FIRMWARE_GOOD);
        assert_int_equal(state_of(bench, quarantined), FIRMWARE_QUARANTINED);
        expect_sound(bench);
        bench_close(bench);
    }
    assert_true(count_damaged(bench) > 1);
}

static void empty_database_file_is_a_new_one(void **state) {
    struct bench *bench = *state;
    char sha256[65];

    add_good(bench, "WiPy", "1.18.0", 1, sha256);
    bench_close(bench);
    assert_int_equal(truncate(bench->database, 0), 0);
    bench_open(bench);
    assert_int_equal(state_of(bench, sha256), FIRMWARE_GOOD);
    assert_int_equal(count_damaged(bench), 0);
}

/* Spoiled while it is in use. A write by somebody else comes before, so that no page is in our cache. */
static void spoil_in_use(const struct bench *bench) {
    struct stat st;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(bench->database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "INSERT INTO value VALUES ('somebody', 'else');"
                                  "PRAGMA wal_checkpoint(TRUNCATE)",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
    assert_int_equal(stat(bench->database, &st), 0);
    spoil(bench->database, 0, (size_t)st.st_size);
}

/* The next write notices, and what is in memory goes into the new one. */
static void damage_at_run_time_forgets_nothing(void **state) {
    struct bench *bench = *state;
    owned struct blob bad = make_package("WiPy", "1.20.9.r1", 7);
    char pinned[65], sha256[65], quarantined[65];

    add_good(bench, "WiPy", "1.18.0", 1, pinned);
    memcpy(quarantined, add_promised(bench, &bad, WRONG).sha256, sizeof quarantined);
    assert_int_equal(ask_pin(bench, pinned, true).fault.code, WIPYD_ERROR_NONE);
    run_until_idle(bench);
    spoil_in_use(bench);
    add_good(bench, "WiPy", "1.18.1", 2, sha256);
    run_until_idle(bench);
    assert_true(count_damaged(bench) > 0);
    assert_int_equal(count_records(bench), 3);
    bench_reopen(bench);
    assert_int_equal(count_records(bench), 3);
    assert_true(firmware_store_find(bench->store, pinned)->is_pinned);
    assert_string_equal(firmware_store_find(bench->store, pinned)->origin, "import");
    assert_int_equal(state_of(bench, quarantined), FIRMWARE_QUARANTINED);
    assert_string_equal(firmware_store_find(bench->store, quarantined)->origin, SERVER);
    assert_int_equal(state_of(bench, sha256), FIRMWARE_GOOD);
}

/* Somebody else's write noticed it; the store need not do anything but close. */
static void damage_seen_by_another_write_forgets_nothing(void **state) {
    struct bench *bench = *state;
    char pinned[65];

    add_good(bench, "WiPy", "1.18.0", 1, pinned);
    assert_int_equal(ask_pin(bench, pinned, true).fault.code, WIPYD_ERROR_NONE);
    run_until_idle(bench);
    spoil_in_use(bench);
    assert_int_equal(records_put_value(bench->records, "poll.next", "1"), 0);
    bench_reopen(bench);
    assert_true(firmware_store_find(bench->store, pinned)->is_pinned);
}

static void newer_schema_is_left_alone(void **state) {
    struct bench *bench = *state;
    struct fault fault = { 0 };
    uint8_t version[4] = { 0, 0, 0, 99 };
    struct stat before, after;
    int fd;

    bench_close(bench);
    fd = open(bench->database, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, version, 4, 60), 4); /* user_version: sqlite.org/fileformat.html 1.3 */
    close(fd);
    assert_int_equal(stat(bench->database, &before), 0);
    assert_int_equal(bench_try_open(bench, &fault), WIPYD_ERROR_SYSTEM);
    assert_non_null(strstr(fault.story, "newer"));
    assert_int_equal(stat(bench->database, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(before.st_size, after.st_size);
    assert_int_equal(count_damaged(bench), 0);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(restart_knows_everything),
        moment(leftovers_are_removed_and_strangers_left),
        moment(file_gone_or_cut_is_missing),
        moment(missing_file_that_is_back_is_good),
        moment(broken_off_release_stays_in_quarantine),
        moment(lost_database_loses_no_package),
        moment(adopted_learns_its_name_from_an_import),
        moment(adopted_order_of_addition_is_the_files),
        moment(file_that_is_not_what_its_name_says_is_set_aside),
        moment(adopted_that_is_no_package_is_in_quarantine),
        moment(strange_files_are_kept),
        moment(garbage_database_is_set_aside),
        moment(truncated_database_is_set_aside),
        moment(every_spoiled_page_is_survived),
        moment(empty_database_file_is_a_new_one),
        moment(damage_at_run_time_forgets_nothing),
        moment(damage_seen_by_another_write_forgets_nothing),
        moment(newer_schema_is_left_alone),
    };

    alarm(200);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
