/* The store: what it trusts. Quarantine, verification, and the packages that are kept ready. */

#include "tests/unit/test_store_bench.h"

/* ---- quarantine ------------------------------------------------------------------------------ */

static void wrong_hash_is_quarantine(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer answer = add_promised(bench, &blob, WRONG);
    char sha1[41], reason[200];

    digest_of(&blob, EVP_sha1(), sha1);
    snprintf(reason, sizeof reason, "the server promised SHA-1 %s, the file has %s", WRONG, sha1);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(answer.state, FIRMWARE_QUARANTINED);
    assert_string_equal(answer.reason, reason);
    assert_int_equal(bench->n_added, 1);
    assert_null(firmware_store_choose(bench->store, "WiPy", NULL));
    assert_null(firmware_store_choose(bench->store, "WiPy", "1.20.1.r1"));
    assert_false(has_file(bench, answer.sha256, ""));
    assert_true(has_file(bench, answer.sha256, ".quarantined"));
    assert_null(firmware_store_ready(bench->store, firmware_store_at(bench->store, 0)));
    expect_sound(bench);
}

static void quarantine_ends_with_the_right_hash(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer answer = add_promised(bench, &blob, WRONG);
    char sha1[41];

    digest_of(&blob, EVP_sha1(), sha1);
    answer = add(bench, &blob); /* no word on the hash: stays */
    assert_int_equal(answer.state, FIRMWARE_QUARANTINED);
    answer = add_promised(bench, &blob, sha1);
    assert_int_equal(answer.state, FIRMWARE_GOOD);
    assert_string_equal(answer.reason, "");
    assert_true(has_file(bench, answer.sha256, ""));
    assert_int_equal(count_files(bench->folder, ""), 1);
    assert_non_null(firmware_store_choose(bench->store, "WiPy", NULL));
    expect_sound(bench);
}

static void release_is_a_persons_word(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer answer = add_promised(bench, &blob, WRONG);

    answer = ask_release(bench, answer.sha256);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(answer.state, FIRMWARE_GOOD);
    assert_true(has_file(bench, answer.sha256, ""));
    assert_non_null(firmware_store_choose(bench->store, "WiPy", NULL));
    /* the server says the same again, somebody verifies, the daemon restarts: it stays released */
    answer = add_promised(bench, &blob, WRONG);
    assert_int_equal(answer.state, FIRMWARE_GOOD);
    answer = ask_verify(bench, answer.sha256);
    assert_int_equal(answer.state, FIRMWARE_GOOD);
    answer = ask_release(bench, answer.sha256); /* twice is fine */
    assert_int_equal(answer.state, FIRMWARE_GOOD);
    bench_reopen(bench);
    assert_int_equal(state_of(bench, answer.sha256), FIRMWARE_GOOD);
    expect_sound(bench);
}

static void wrong_hash_of_good_bytes_changes_nothing(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer answer = add(bench, &blob);

    answer = add_promised(bench, &blob, WRONG);
    assert_int_equal(answer.state, FIRMWARE_GOOD);
    assert_string_equal(firmware_store_at(bench->store, 0)->origin, "import");
    assert_string_equal(firmware_store_at(bench->store, 0)->server_hash, "");
}

static void release_of_a_damaged_file_is_refused(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer answer = add_promised(bench, &blob, WRONG);
    char path[300], sha256[65];

    memcpy(sha256, answer.sha256, sizeof sha256);
    path_of(bench, sha256, ".quarantined", path);
    spoil(path, 100, 10);
    answer = ask_release(bench, sha256);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NO_SUCH_FIRMWARE);
    assert_int_equal(state_of(bench, sha256), FIRMWARE_MISSING);
    assert_null(firmware_store_choose(bench->store, "WiPy", NULL));
}

/* ---- verify ---------------------------------------------------------------------------------- */

static void verify_finds_a_missing_file(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer answer = add(bench, &blob);
    char path[300], sha256[65];
    int fd;

    memcpy(sha256, answer.sha256, sizeof sha256);
    assert_int_equal(ask_verify(bench, sha256).state, FIRMWARE_GOOD);
    assert_int_equal(bench->n_changed, 0);
    path_of(bench, sha256, "", path);
    assert_int_equal(unlink(path), 0);
    answer = ask_verify(bench, sha256);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(answer.state, FIRMWARE_MISSING);
    assert_string_equal(answer.reason, "the file is not there");
    assert_null(firmware_store_choose(bench->store, "WiPy", NULL));
    assert_int_equal(firmware_store_open_file(bench->store, firmware_store_at(bench->store, 0), &fd),
                     -ENOENT);
    assert_null(firmware_store_ready(bench->store, firmware_store_at(bench->store, 0)));
    /* the same file again makes it good */
    answer = add(bench, &blob);
    assert_int_equal(answer.state, FIRMWARE_GOOD);
    assert_int_equal(count_records(bench), 1);
    expect_sound(bench);
}

static void verify_finds_damage(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer answer = add(bench, &blob);
    char path[300], sha256[65];

    memcpy(sha256, answer.sha256, sizeof sha256);
    path_of(bench, sha256, "", path);
    spoil(path, 1000, 4);
    answer = ask_verify(bench, sha256);
    assert_int_equal(answer.state, FIRMWARE_MISSING);
    assert_non_null(strstr(answer.reason, "damaged"));
    bench_reopen(bench); /* still, after a start */
    assert_int_equal(state_of(bench, sha256), FIRMWARE_MISSING);
    spoil(path, 1000, 4);
    answer = ask_verify(bench, sha256);
    assert_int_equal(answer.state, FIRMWARE_GOOD);
    spoil(path, 1000, 4);
    assert_int_equal(ask_verify(bench, sha256).state, FIRMWARE_MISSING);
    answer = add(bench, &blob);
    assert_int_equal(answer.state, FIRMWARE_GOOD);
    assert_int_equal(ask_verify(bench, sha256).state, FIRMWARE_GOOD);
}

static void verify_keeps_quarantine(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer answer = add_promised(bench, &blob, WRONG);
    char sha256[65], path[300];

    memcpy(sha256, answer.sha256, sizeof sha256);
    assert_int_equal(ask_verify(bench, sha256).state, FIRMWARE_QUARANTINED);
    path_of(bench, sha256, ".quarantined", path);
    spoil(path, 0, 1);
    assert_int_equal(ask_verify(bench, sha256).state, FIRMWARE_MISSING);
    spoil(path, 0, 1);
    assert_int_equal(ask_verify(bench, sha256).state, FIRMWARE_QUARANTINED);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(ask_verify(bench, sha256).state, FIRMWARE_MISSING);
    answer = add(bench, &blob); /* the promise is not forgotten */
    assert_int_equal(answer.state, FIRMWARE_QUARANTINED);
    assert_non_null(strstr(answer.reason, WRONG));
    expect_sound(bench);
}

static void something_else_in_its_place_is_not_opened(void **state) {
    struct bench *bench = *state;
    char sha256[65], path[300];
    int fd;

    add_good(bench, "WiPy", "1.20.1.r1", 1, sha256);
    path_of(bench, sha256, "", path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_true(firmware_store_open_file(bench->store, firmware_store_at(bench->store, 0), &fd) < 0);
    assert_int_equal(ask_verify(bench, sha256).state, FIRMWARE_MISSING);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(ask_verify(bench, sha256).state, FIRMWARE_MISSING);
}

/* ---- kept ready ------------------------------------------------------------------------------ */

static bool is_ready(struct bench *bench, const char *sha256) {
    struct firmware_package *package =
        firmware_store_ready(bench->store, firmware_store_find(bench->store, sha256));
    bool ready = package;

    if (package) {
        char hex[65];

        hex_encode(package->sha256, 32, hex);
        assert_string_equal(hex, sha256);
    }
    firmware_package_unref(package);
    return ready;
}

static void newest_are_kept_ready(void **state) {
    struct bench *bench = *state;
    char gpy[65], lopy[65], wipy[65], older[65];

    add_good(bench, "GPy", "1.18.1", 1, gpy);
    add_good(bench, "LoPy", "1.20.0", 2, lopy);
    run_until_idle(bench);
    assert_true(is_ready(bench, gpy));
    assert_true(is_ready(bench, lopy));
    add_good(bench, "WiPy", "1.18.1", 3, wipy);
    add_good(bench, "WiPy", "1.18.0", 4, older);
    run_until_idle(bench);
    assert_true(is_ready(bench, wipy));
    assert_true(is_ready(bench, lopy));
    assert_false(is_ready(bench, gpy));
    assert_false(is_ready(bench, older));
    bench_reopen(bench);
    run_until_idle(bench);
    assert_true(is_ready(bench, wipy));
    assert_true(is_ready(bench, lopy));
    assert_int_equal(ask_remove(bench, wipy, false).fault.code, WIPYD_ERROR_NONE);
    run_until_idle(bench);
    assert_true(is_ready(bench, older));
}

static void ready_outlives_the_store(void **state) {
    struct bench *bench = *state;
    struct firmware_package *package;
    char sha256[65];

    add_good(bench, "WiPy", "1.18.1", 1, sha256);
    run_until_idle(bench);
    package = firmware_store_ready(bench->store, firmware_store_at(bench->store, 0));
    assert_non_null(package);
    bench_close(bench);
    assert_string_equal(package->version.board, "WiPy");
    firmware_package_unref(package);
}

static void preparing_finds_damage(void **state) {
    struct bench *bench = *state;
    char sha256[65], older[65], path[300];

    add_good(bench, "WiPy", "1.18.0", 1, older);
    add_good(bench, "WiPy", "1.18.1", 2, sha256);
    bench_close(bench);
    path_of(bench, sha256, "", path);
    spoil(path, 500, 1);
    bench_open(bench);
    run_until_idle(bench);
    assert_int_equal(state_of(bench, sha256), FIRMWARE_MISSING);
    assert_true(is_ready(bench, older));
    assert_string_equal(firmware_store_choose(bench->store, "WiPy", NULL)->sha256, older);
}

static void use_is_noted_once_a_minute(void **state) {
    struct bench *bench = *state;
    uint64_t added_us, used_us;
    char sha256[65];

    add_good(bench, "WiPy", "1.18.1", 1, sha256);
    run_until_idle(bench);
    added_us = firmware_store_at(bench->store, 0)->used_us;
    assert_true(is_ready(bench, sha256));
    run_until_idle(bench);
    used_us = firmware_store_at(bench->store, 0)->used_us;
    assert_true(used_us > added_us);
    assert_true(is_ready(bench, sha256));
    run_until_idle(bench);
    assert_int_equal(firmware_store_at(bench->store, 0)->used_us, used_us);
    assert_int_equal(bench->n_changed, 0);
    bench_reopen(bench);
    assert_int_equal(firmware_store_at(bench->store, 0)->used_us, used_us);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(wrong_hash_is_quarantine),
        moment(quarantine_ends_with_the_right_hash),
        moment(release_is_a_persons_word),
        moment(wrong_hash_of_good_bytes_changes_nothing),
        moment(release_of_a_damaged_file_is_refused),
        moment(verify_finds_a_missing_file),
        moment(verify_finds_damage),
        moment(verify_keeps_quarantine),
        moment(something_else_in_its_place_is_not_opened),
        moment(newest_are_kept_ready),
        moment(ready_outlives_the_store),
        moment(preparing_finds_damage),
        moment(use_is_noted_once_a_minute),
    };

    alarm(200);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
