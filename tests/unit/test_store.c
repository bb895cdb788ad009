/* The store: what it keeps, in which order, what it chooses and what it refuses to remove. */

#include "tests/unit/test_store_bench.h"

/* ---- adding ---------------------------------------------------------------------------------- */

static void added_is_listed_and_opened(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer answer = add(bench, &blob);
    const struct firmware_record *record = firmware_store_at(bench->store, 0);
    uint8_t bytes[1];
    char sha256[65];
    int fd = -1;

    digest_of(&blob, EVP_sha256(), sha256);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    assert_string_equal(answer.sha256, sha256);
    assert_int_equal(count_records(bench), 1);
    assert_int_equal(bench->n_added, 1);
    assert_string_equal(record->sha256, sha256);
    assert_int_equal(record->bytes, blob.size);
    assert_string_equal(record->name, "p.tar.gz");
    assert_string_equal(record->board, "WiPy");
    assert_string_equal(record->release, "1.20.1.r1");
    assert_string_equal(record->origin, "import");
    assert_string_equal(record->server_version, "");
    assert_string_equal(record->server_hash, "");
    assert_string_equal(record->reason, "");
    assert_int_equal(record->state, FIRMWARE_GOOD);
    assert_false(record->is_pinned);
    assert_true(record->added_us > 0);
    assert_int_equal(firmware_store_open_file(bench->store, record, &fd), 0);
    assert_int_equal(read(fd, bytes, 1), 1);
    assert_int_equal(bytes[0], 0x1f);
    close(fd);
    expect_sound(bench);
}

static void server_word_is_kept(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.2.r4", 1);
    const struct firmware_record *record;
    char sha1[41];
    struct answer answer;

    digest_of(&blob, EVP_sha1(), sha1);
    sha1[0] = (char)(sha1[0] >= 'a' ? sha1[0] - 32 : sha1[0]); /* as a server may write it */
    answer = add_from(bench, &blob,
                      &(struct firmware_origin) { .url = SERVER,
                                                  .name = "WiPy-1.20.2.r6.tar.gz",
                                                  .server_version = "1.20.2.r6",
                                                  .server_int_version = 77596038,
                                                  .server_hash = sha1 });
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    record = firmware_store_at(bench->store, 0);
    digest_of(&blob, EVP_sha1(), sha1);
    assert_int_equal(record->state, FIRMWARE_GOOD);
    assert_string_equal(record->origin, SERVER);
    assert_string_equal(record->server_version, "1.20.2.r6");
    assert_string_equal(record->server_hash, sha1);
    assert_int_equal(firmware_record_order(record), 77596038);
    /* by the server's word and by the image's */
    assert_ptr_equal(firmware_store_choose(bench->store, "WiPy", "1.20.2.r6"), record);
    assert_ptr_equal(firmware_store_choose(bench->store, "WiPy", "1.20.2.r4"), record);
}

static void refused_leaves_nothing(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1), none = blob_new(0),
                      huge = blob_new(8 * 1024 * 1024 + 1);
    struct answer answer;

    blob.bytes[blob.size / 2] ^= 1;
    answer = add(bench, &blob);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_PACKAGE_INVALID);
    answer = add(bench, &none);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_PACKAGE_INVALID);
    answer = add(bench, &huge);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_PACKAGE_TOO_LARGE);
    assert_int_equal(count_records(bench), 0);
    assert_int_equal(count_files(bench->folder, ""), 0);
    assert_int_equal(bench->n_added, 0);
}

static void other_size_than_said_is_refused(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct firmware_origin origin = { .name = "p.tar.gz" };
    struct answer answer = { 0 };

    firmware_store_add(bench->store, sealed(&blob), blob.size - 1, &origin, on_answer, &answer);
    run_until(bench, &answer.n, 1);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_PACKAGE_INVALID);
    assert_int_equal(count_files(bench->folder, ""), 0);
}

static void unreadable_descriptor_is_a_fault(void **state) {
    struct bench *bench = *state;
    struct firmware_origin origin = { .name = "p.tar.gz" };
    struct answer answer = { 0 };
    int fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    firmware_store_add(bench->store, fd, 4096, &origin, on_answer, &answer);
    run_until(bench, &answer.n, 1);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_SYSTEM);
    assert_int_equal(count_records(bench), 0);
}

static void name_that_is_not_plain_is_replaced(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer answer = add_from(bench, &blob, &(struct firmware_origin) { .name = "../\n\"x\"" });

    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    assert_string_equal(firmware_store_at(bench->store, 0)->name, "WiPy-1.20.1.r1.tar.gz");
}

static void same_file_twice_is_one(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer first = add(bench, &blob), second = add(bench, &blob);

    assert_int_equal(second.fault.code, WIPYD_ERROR_NONE);
    assert_string_equal(first.sha256, second.sha256);
    assert_int_equal(count_records(bench), 1);
    assert_int_equal(count_files(bench->folder, ""), 1);
    assert_int_equal(bench->n_added, 1);
    assert_int_equal(bench->n_changed, 0);
}

static void two_additions_at_once_are_one(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct firmware_origin origin = { .name = "p.tar.gz" };
    struct answer answer = { 0 };

    for (unsigned i = 0; i < 3; i++)
        firmware_store_add(bench->store, sealed(&blob), blob.size, &origin, on_answer, &answer);
    run_until(bench, &answer.n, 3);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(count_records(bench), 1);
    assert_int_equal(bench->n_added, 1);
}

static void import_learns_what_the_server_says(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    const struct firmware_record *record;
    char sha1[41];
    struct answer answer = add(bench, &blob);

    digest_of(&blob, EVP_sha1(), sha1);
    answer = add_from(bench, &blob,
                      &(struct firmware_origin) { .url = SERVER,
                                                  .name = "WiPy.tar.gz",
                                                  .server_version = "1.20.1.r1",
                                                  .server_int_version = 77595009,
                                                  .server_hash = sha1 });
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(bench->n_changed, 1);
    record = firmware_store_at(bench->store, 0);
    assert_string_equal(record->origin, SERVER);
    assert_string_equal(record->server_hash, sha1);
    /* a person's import afterwards takes nothing away */
    answer = add(bench, &blob);
    record = firmware_store_at(bench->store, 0);
    assert_string_equal(record->origin, SERVER);
    assert_string_equal(record->name, "WiPy.tar.gz");
    assert_int_equal(record->server_int_version, 77595009);
    assert_int_equal(bench->n_changed, 1);
}

/* ---- order and choice ------------------------------------------------------------------------ */

static void newest_release_stands_first(void **state) {
    struct bench *bench = *state;
    static const char *const RELEASES[] = { "1.18.1.r1", "vanilla-dragonfly", "1.20.2.r4", "1.20.0.rc13",
                                            "1.20.2.r10" };
    static const char *const SORTED[] = { "1.20.2.r10", "1.20.2.r4", "1.20.0.rc13", "1.18.1.r1",
                                          "vanilla-dragonfly" };
    char sha256[65];

    for (uint32_t i = 0; i < 5; i++)
        add_good(bench, "WiPy", RELEASES[i], i, sha256);
    for (unsigned i = 0; i < 5; i++)
        assert_string_equal(firmware_store_at(bench->store, i)->release, SORTED[i]);
    assert_null(firmware_store_at(bench->store, 5));
    assert_string_equal(firmware_store_choose(bench->store, "WiPy", NULL)->release, "1.20.2.r10");
    assert_string_equal(firmware_store_choose(bench->store, "WiPy", "1.18.1.r1")->release, "1.18.1.r1");
    assert_string_equal(firmware_store_choose(bench->store, "WiPy", "vanilla-dragonfly")->release,
                        "vanilla-dragonfly");
    assert_null(firmware_store_choose(bench->store, "WiPy", "1.18.1"));
    assert_null(firmware_store_choose(bench->store, "WiPy", ""));
    assert_null(firmware_store_choose(bench->store, "LoPy", NULL));
    assert_null(firmware_store_choose(bench->store, "LoPy", "1.18.1.r1"));
}

static void no_guess_between_unordered(void **state) {
    struct bench *bench = *state;
    char first[65], second[65];

    add_good(bench, "WiPy", "custom-a", 1, first);
    assert_string_equal(firmware_store_choose(bench->store, "WiPy", NULL)->sha256, first);
    add_good(bench, "WiPy", "custom-b", 2, second);
    assert_null(firmware_store_choose(bench->store, "WiPy", NULL));
    assert_string_equal(firmware_store_choose(bench->store, "WiPy", "custom-a")->sha256, first);
}

static void server_version_goes_before_the_images(void **state) {
    struct bench *bench = *state;
    owned struct blob newer = make_package("WiPy", "1.20.2.r4", 6); /* says r4, is r6: facts/pycom.md 1.2 */
    char older[65];
    struct answer answer;

    add_good(bench, "WiPy", "1.20.2.r4", 4, older);
    answer = add_from(bench, &newer,
                      &(struct firmware_origin) { .url = SERVER,
                                                  .name = "r6.tar.gz",
                                                  .server_version = "1.20.2.r6",
                                                  .server_int_version = 77596038 });
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    assert_string_equal(firmware_store_choose(bench->store, "WiPy", NULL)->sha256, answer.sha256);
    assert_string_equal(firmware_store_choose(bench->store, "WiPy", "1.20.2.r6")->sha256, answer.sha256);
}

static void of_equals_the_last_added(void **state) {
    struct bench *bench = *state;
    char first[65], second[65];

    add_good(bench, "WiPy", "1.20.2.r4", 1, first);
    add_good(bench, "WiPy", "1.20.2.r4", 2, second);
    assert_string_equal(firmware_store_choose(bench->store, "WiPy", NULL)->sha256, second);
    assert_string_equal(firmware_store_choose(bench->store, "WiPy", "1.20.2.r4")->sha256, second);
}

static void prefix_finds_one(void **state) {
    struct bench *bench = *state;
    char sha256[65], prefix[65];

    add_good(bench, "WiPy", "1.20.2.r4", 1, sha256);
    snprintf(prefix, sizeof prefix, "%.16s", sha256);
    assert_string_equal(firmware_store_find(bench->store, prefix)->sha256, sha256);
    assert_string_equal(firmware_store_find(bench->store, sha256)->sha256, sha256);
    assert_null(firmware_store_find(bench->store, ""));
    assert_null(firmware_store_find(bench->store, "zz"));
    for (uint32_t i = 2; i < 20; i++) /* 17 packages have 16 first digits */
        add_good(bench, "WiPy", "1.20.2.r4", i, sha256);
    for (unsigned digit = 0, n = 0; digit < 16; digit++) {
        unsigned with = 0;

        snprintf(prefix, sizeof prefix, "%x", digit);
        for (unsigned i = 0; i < count_records(bench); i++)
            with += firmware_store_at(bench->store, i)->sha256[0] == prefix[0];
        assert_int_equal(firmware_store_find(bench->store, prefix) != NULL, with == 1);
        n += with > 1;
        assert_true(digit < 15 || n > 0);
    }
}

/* ---- pin and remove -------------------------------------------------------------------------- */

static void pinned_is_not_removed(void **state) {
    struct bench *bench = *state;
    char older[65], newer[65];
    struct answer answer;

    add_good(bench, "WiPy", "1.18.1.r1", 1, older);
    add_good(bench, "WiPy", "1.20.2.r4", 2, newer);
    answer = ask_pin(bench, older, true);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(bench->n_changed, 1);
    answer = ask_remove(bench, older, false);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_PINNED);
    answer = ask_remove(bench, older, true);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_PINNED);
    bench_reopen(bench);
    assert_true(firmware_store_find(bench->store, older)->is_pinned);
    answer = ask_pin(bench, older, false);
    answer = ask_remove(bench, older, false);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    assert_string_equal(answer.sha256, older);
    assert_int_equal(bench->n_removed, 1);
    assert_int_equal(count_records(bench), 1);
    assert_int_equal(count_files(bench->folder, ""), 1);
}

static void pinned_twice_is_one_change(void **state) {
    struct bench *bench = *state;
    char sha256[65];

    add_good(bench, "WiPy", "1.18.1.r1", 1, sha256);
    assert_int_equal(ask_pin(bench, sha256, true).fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(ask_pin(bench, sha256, true).fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(bench->n_changed, 1);
}

static void last_good_stays(void **state) {
    struct bench *bench = *state;
    char wipy[65], lopy[65];
    struct answer answer;

    add_good(bench, "WiPy", "1.18.1.r1", 1, wipy);
    add_good(bench, "LoPy", "1.18.1.r1", 2, lopy);
    answer = ask_remove(bench, wipy, false);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_LAST_GOOD);
    assert_non_null(strstr(answer.fault.story, "WiPy"));
    assert_int_equal(count_files(bench->folder, ""), 2);
    answer = ask_remove(bench, wipy, true);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(count_files(bench->folder, ""), 1);
    bench_reopen(bench);
    assert_int_equal(count_records(bench), 1);
}

/* Asked in one breath: the second is judged after the first was done. */
static void two_removals_at_once_leave_one(void **state) {
    struct bench *bench = *state;
    struct answer first = { 0 }, second = { 0 };
    char older[65], newer[65];

    add_good(bench, "WiPy", "1.18.1.r1", 1, older);
    add_good(bench, "WiPy", "1.20.2.r4", 2, newer);
    firmware_store_remove(bench->store, newer, false, on_answer, &first);
    firmware_store_remove(bench->store, older, false, on_answer, &second);
    run_until(bench, &second.n, 1);
    assert_int_equal(first.fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(second.fault.code, WIPYD_ERROR_LAST_GOOD);
    assert_int_equal(count_records(bench), 1);
}

static void removed_in_quarantine_leaves_no_file(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 1);
    struct answer answer = add_promised(bench, &blob, WRONG);

    answer = ask_remove(bench, answer.sha256, false);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(count_files(bench->folder, ""), 0);
    bench_reopen(bench);
    assert_int_equal(count_records(bench), 0);
}

static void unknown_is_no_such_firmware(void **state) {
    struct bench *bench = *state;
    static const char UNKNOWN[] = "0000000000000000000000000000000000000000000000000000000000000000";

    assert_int_equal(ask_pin(bench, UNKNOWN, true).fault.code, WIPYD_ERROR_NO_SUCH_FIRMWARE);
    assert_int_equal(ask_remove(bench, UNKNOWN, true).fault.code, WIPYD_ERROR_NO_SUCH_FIRMWARE);
    assert_int_equal(ask_release(bench, UNKNOWN).fault.code, WIPYD_ERROR_NO_SUCH_FIRMWARE);
    assert_int_equal(ask_verify(bench, UNKNOWN).fault.code, WIPYD_ERROR_NO_SUCH_FIRMWARE);
}

/* ---- collection ------------------------------------------------------------------------------ */

static void collects_above_the_count(void **state) {
    struct bench *bench = *state;
    char sha256[6][65];

    bench->config.keep_packages = 3;
    add_good(bench, "WiPy", "1.20.2.r4", 0, sha256[0]); /* the newest, used least */
    for (uint32_t i = 1; i < 6; i++) {
        char release[16];

        snprintf(release, sizeof release, "1.18.%u", i);
        add_good(bench, "WiPy", release, i, sha256[i]);
    }
    run_until_idle(bench);
    assert_int_equal(count_records(bench), 3);
    assert_int_equal(count_files(bench->folder, ""), 3);
    assert_int_equal(bench->n_removed, 3);
    assert_non_null(firmware_store_find(bench->store, sha256[0]));
    assert_non_null(firmware_store_find(bench->store, sha256[4]));
    assert_non_null(firmware_store_find(bench->store, sha256[5]));
    assert_string_equal(bench->removed[0], sha256[1]); /* oldest use first */
    assert_string_equal(bench->removed[2], sha256[3]);
}

static void collects_above_the_bytes(void **state) {
    struct bench *bench = *state;
    char sha256[65];
    uint64_t bytes = 0;

    bench->config.keep_mib = 1;
    for (uint32_t i = 0; bytes < 1024 * 1024 + 60000; i++) {
        char release[16];

        snprintf(release, sizeof release, "1.18.%u", i);
        add_good(bench, "WiPy", release, i, sha256);
        bytes += firmware_store_find(bench->store, sha256)->bytes;
        bench->config.keep_packages = 10000;
    }
    run_until_idle(bench);
    bytes = 0;
    for (unsigned i = 0; i < count_records(bench); i++)
        bytes += firmware_store_at(bench->store, i)->bytes;
    assert_true(bytes <= 1024 * 1024);
    assert_true(bench->n_removed >= 1);
    assert_string_equal(firmware_store_at(bench->store, 0)->sha256, sha256); /* the newest */
}

static void collection_spares_pinned_newest_and_last(void **state) {
    struct bench *bench = *state;
    char pinned[65], newest[65], lopy[65], sipy[65], older[65];

    add_good(bench, "WiPy", "1.18.1", 1, pinned);
    add_good(bench, "WiPy", "1.20.2.r4", 2, newest);
    add_good(bench, "LoPy", "1.18.1", 3, lopy);
    add_good(bench, "SiPy", "custom", 4, sipy);
    assert_int_equal(ask_pin(bench, pinned, true).fault.code, WIPYD_ERROR_NONE);
    bench->config.keep_packages = 1;
    firmware_store_collect(bench->store);
    run_until_idle(bench);
    assert_int_equal(count_records(bench), 4);
    add_good(bench, "WiPy", "1.19.0", 5, older); /* just added: not at once */
    run_until_idle(bench);
    assert_int_equal(count_records(bench), 5);
    firmware_store_collect(bench->store);
    run_until_idle(bench);
    assert_int_equal(count_records(bench), 4);
    assert_null(firmware_store_find(bench->store, older));
}

static void quarantined_go_before_good_ones(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.1.r1", 9);
    char old[65], newer[65];
    struct answer bad;

    add_good(bench, "WiPy", "1.18.1", 1, old);
    bad = add_promised(bench, &blob, WRONG);
    bench->config.keep_packages = 2;
    add_good(bench, "WiPy", "1.18.2", 2, newer);
    run_until_idle(bench);
    assert_int_equal(count_records(bench), 2);
    assert_null(firmware_store_find(bench->store, bad.sha256));
    assert_non_null(firmware_store_find(bench->store, old));
}

/* ---- closing --------------------------------------------------------------------------------- */

static void close_lets_everything_finish(void **state) {
    struct bench *bench = *state;
    owned struct blob first = make_package("WiPy", "1.18.1", 1), second = make_package("WiPy", "1.18.2", 2);
    struct firmware_origin origin = { .name = "p.tar.gz" };
    struct answer answer = { 0 };

    firmware_store_add(bench->store, sealed(&first), first.size, &origin, on_answer, &answer);
    firmware_store_add(bench->store, sealed(&second), second.size, &origin, on_answer, &answer);
    bench_close(bench);
    assert_int_equal(answer.n, 2);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_NONE);
    bench_open(bench);
    assert_int_equal(count_records(bench), 2);
    expect_sound(bench);
}

static void close_at_once(void **state) {
    struct bench *bench = *state;

    bench_reopen(bench);
    bench_reopen(bench);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(added_is_listed_and_opened),
        moment(server_word_is_kept),
        moment(refused_leaves_nothing),
        moment(other_size_than_said_is_refused),
        moment(unreadable_descriptor_is_a_fault),
        moment(name_that_is_not_plain_is_replaced),
        moment(same_file_twice_is_one),
        moment(two_additions_at_once_are_one),
        moment(import_learns_what_the_server_says),
        moment(newest_release_stands_first),
        moment(no_guess_between_unordered),
        moment(server_version_goes_before_the_images),
        moment(of_equals_the_last_added),
        moment(prefix_finds_one),
        moment(pinned_is_not_removed),
        moment(pinned_twice_is_one_change),
        moment(last_good_stays),
        moment(two_removals_at_once_leave_one),
        moment(removed_in_quarantine_leaves_no_file),
        moment(unknown_is_no_such_firmware),
        moment(collects_above_the_count),
        moment(collects_above_the_bytes),
        moment(collection_spares_pinned_newest_and_last),
        moment(quarantined_go_before_good_ones),
        moment(close_lets_everything_finish),
        moment(close_at_once),
    };

    alarm(200);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
