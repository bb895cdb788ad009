/* Every way in which a source may misbehave ends in a clear word, an idle poll, and a store in which nothing
 * good has changed. */

#include "tests/unit/test_poll_bench.h"

static const struct bad_case {
    const char *name, *wanted;
    unsigned n_parts; /* left for the next time */
} bad_cases[] = {
    { "404", "the server answered 404", 0 },
    { "412", "412: it takes this client for too old", 0 },
    { "500", "the server answered 500", 0 },
    { "503", "the server answered 503", 0 },
    { "html", "answered with HTML, not with JSON", 0 },
    { "html-as-json", "answered with HTML, not with JSON", 0 },
    { "nothing", "the answer is empty", 0 },
    { "not-json", "the answer is not JSON", 0 },
    { "text", "the answer is a string", 0 },
    { "empty-array", "no firmware is offered", 0 },
    { "version-list", "names no file", 0 },
    { "other-board", "not for a WiPy", 0 },
    { "no-key", "no field \"key\"", 0 },
    { "no-file", "no field \"file\"", 0 },
    { "no-version", "no field \"version\"", 0 },
    { "no-int-version", "no field \"intVersion\"", 0 },
    { "file-number", "field \"file\" is a number", 0 },
    { "file-ftp", "field \"file\" is no http or https URL", 0 },
    { "file-file", "field \"file\" is no http or https URL", 0 },
    { "version-number", "field \"version\" is a number", 0 },
    { "int-version-string", "field \"intVersion\" is a string", 0 },
    { "int-version-negative", "field \"intVersion\" is out of range", 0 },
    { "hash-short", "field \"hash\" is not 40 hex digits", 0 },
    { "hash-list", "field \"hash\" is a list", 0 },
    { "huge", "larger than the 65536 bytes allowed", 0 },
    { "huge-unannounced", "larger than the 65536 bytes allowed", 0 },
    { "slow", "too slow", 0 },
    { "silent", "too slow", 0 },
    { "endless-headers", "headers", 0 },
    { "cut-answer", "transfer closed with", 0 },
    { "closed", "Empty reply from server", 0 },
    { "redirect-loop", "more than 5 redirects", 0 },
    { "redirect-file", "redirected to file: only https", 0 },
    { "redirect-http", "redirected to http: plain HTTP is not allowed", 0 },
    { "package-404", PACKAGE ": the server answered 404", 0 },
    { "package-500", PACKAGE ": the server answered 500", 0 },
    { "cut-always", PACKAGE ": transfer closed with", 1 },
    { "longer", PACKAGE ": transfer closed with 10 bytes", 0 },
    { "shorter", PACKAGE, 0 },
    { "unannounced-end", PACKAGE, 0 },
    { "huge-package", PACKAGE ": larger than the 8388608 bytes allowed", 0 },
    { "huge-package-unannounced", PACKAGE ": larger than the 8388608 bytes allowed", 0 },
    { "slow-package", PACKAGE ": Operation too slow", 1 },
    { "package-to-file", PACKAGE ": redirected to file: only https", 0 },
    { "package-to-http", PACKAGE ": redirected to http: plain HTTP", 0 },
    { "package-loop", PACKAGE ": more than 5 redirects", 0 },
    { "wrong-range", PACKAGE, 0 },
};

/* Run with a store that has a good package from elsewhere already. */
static void misbehaves(void **state) {
    const struct bad_case *bad = *state;
    struct bench *bench = bench_new();
    const struct firmware_poll_status *status;

    add_source(bench, CONFIG_SOURCE_FOLDER, server.older);
    poll_once(bench);
    assert_result(bench, "1 packages, 1 new");
    close_poll(bench);
    drop_sources(bench);

    forget_requests(bench);
    add_case(bench, bad->name);
    status = poll_once(bench);
    if (!strcmp(bad->name, "wrong-range")) {
        /* Noticed, and fetched in one piece. */
        assert_result(bench, "fetched: 1.20.2.r4");
        assert_int_equal(n_stored(bench), 2);
    } else {
        assert_result(bench, bad->wanted);
        assert_int_equal(status->failures, 1);
        /* Backed off: a quarter of an hour, give or take a tenth. */
        assert_in_range(status->next_us - status->last_us, 13ull * 60 * 1000000, 17ull * 60 * 1000000);
        for (unsigned i = 0; i < n_stored(bench); i++)
            assert_true(firmware_store_at(bench->store, i)->state == FIRMWARE_GOOD ||
                        !strcmp(firmware_store_at(bench->store, i)->name, PACKAGE));
    }
    assert_int_equal(status->bytes_total, 0);
    assert_non_null(firmware_store_choose(bench->store, "WiPy", "1.18.2.r7"));
    close_poll(bench); /* after what it still has to delete */
    assert_int_equal(n_parts(bench), bad->n_parts);
    bench_free(bench);
}

/* ---- what isn't a case of the server --------------------------------------------------------- */

static void refused(void **state) {
    struct bench *bench = *state;
    char url[128];

    url_of(url, "https", server.refused, "good", "findupgrade");
    add_source(bench, CONFIG_SOURCE_FINDUPGRADE, url);
    poll_once(bench);
    assert_result(bench, "Connection refused");
}

static void no_such_host(void **state) {
    struct bench *bench = *state;

    add_source(bench, CONFIG_SOURCE_FINDUPGRADE, "https://no-such-host.invalid/findupgrade");
    poll_once(bench);
    assert_result(bench, "no-such-host.invalid: Could not resolve host");
}

static void wrong_host_in_certificate(void **state) {
    struct bench *bench = *state;
    char url[128];

    url_of(url, "https", server.wrong_host, "good", "findupgrade");
    add_source(bench, CONFIG_SOURCE_FINDUPGRADE, url);
    forget_requests(bench);
    poll_once(bench);
    assert_result(bench, "no alternative certificate subject name matches");
    assert_int_equal(count_requests(bench, "/good/"), 0);
}

static void expired_certificate(void **state) {
    struct bench *bench = *state;
    char url[128];

    url_of(url, "https", server.expired, "good", "findupgrade");
    add_source(bench, CONFIG_SOURCE_FINDUPGRADE, url);
    poll_once(bench);
    assert_result(bench, "certificate has expired");
}

static void unknown_authority(void **state) {
    struct bench *bench = *state;

    free(bench->config.ca_file);
    bench->config.ca_file = NULL;
    add_case(bench, "good");
    poll_once(bench);
    assert_result(bench, "certificate");
    assert_int_equal(n_stored(bench), 0);
}

static void unreadable_ca_file(void **state) {
    struct bench *bench = *state;

    free(bench->config.ca_file);
    bench->config.ca_file = strdup("/nonexistent.pem");
    add_case(bench, "good");
    poll_once(bench);
    assert_result(bench, "certificate");
    assert_int_equal(n_stored(bench), 0);
}

static void plain_http_only_where_allowed(void **state) {
    struct bench *bench = *state;
    char url[128];

    url_of(url, "http", server.http, "good", "findupgrade");
    add_source(bench, CONFIG_SOURCE_FINDUPGRADE, url);
    forget_requests(bench);
    poll_once(bench);
    assert_result(bench, "plain HTTP is not allowed here (see allow-http)");
    assert_int_equal(count_requests(bench, "/good/"), 0);
    bench->config.allow_http = true;
    poll_once(bench);
    assert_result(bench, "fetched: 1.20.2.r4");
}

static void wrong_hash_is_kept_in_quarantine(void **state) {
    struct bench *bench = *state;

    add_case(bench, "wrong-hash");
    poll_once(bench);
    assert_result(bench, PACKAGE " is in quarantine");
    assert_int_equal(n_stored(bench), 1);
    assert_int_equal(firmware_store_at(bench->store, 0)->state, FIRMWARE_QUARANTINED);
    assert_null(firmware_store_choose(bench->store, "WiPy", NULL));
    /* It isn't fetched again each time. */
    forget_requests(bench);
    poll_once(bench);
    assert_result(bench, PACKAGE " is in quarantine");
    assert_int_equal(count_requests(bench, "/wrong-hash/packages/"), 0);
    assert_int_equal(firmware_poll_status(bench->poll)->failures, 2);
    /* The next source may have a good one. */
    close_poll(bench);
    add_case(bench, "good");
    poll_once(bench);
    assert_result(bench, "1.20.2.r4");
    assert_int_equal(firmware_poll_status(bench->poll)->failures, 0);
}

static void retry_after_is_obeyed(void **state) {
    struct bench *bench = *state;
    const struct firmware_poll_status *status;

    bench->config.poll_interval_s = 2;
    add_case(bench, "503");
    status = poll_once(bench);
    assert_result(bench, "answered 503");
    assert_in_range(status->next_us - status->last_us, 7000000, 7100000);
    close_poll(bench);
    drop_sources(bench);
    add_case(bench, "503-long");
    status = poll_once(bench);
    assert_in_range(status->next_us - status->last_us, 86400ull * 1000000, 86401ull * 1000000);
}

static void failures_add_up(void **state) {
    struct bench *bench = *state;
    const struct firmware_poll_status *status;

    add_case(bench, "500");
    for (unsigned i = 1; i <= 9; i++) {
        uint64_t wait_us = (900ull << (i - 1)) * 1000000;

        if (wait_us > 86400ull * 1000000)
            wait_us = 86400ull * 1000000;
        status = poll_once(bench);
        assert_int_equal(status->failures, i);
        assert_in_range(status->next_us - status->last_us, wait_us / 10 * 9, wait_us / 10 * 11 + 1000000);
    }
    assert_int_equal(status->last_success_us, 0);
}

/* No room for the file: RLIMIT_FSIZE is the disk that is full. */
static void disk_full(void **state) {
    struct rlimit before, small = { .rlim_cur = 65536 };
    struct bench *bench = *state;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    add_case(bench, "good");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    poll_once(bench);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_result(bench, PACKAGE ": can't be written to the state directory: File too large");
    assert_int_equal(n_stored(bench), 0);
    poll_once(bench);
    assert_result(bench, "fetched: 1.20.2.r4");
    close_poll(bench);
    assert_int_equal(n_parts(bench), 0);
}

#define N_BAD (sizeof bad_cases / sizeof *bad_cases)

int main(void) {
    static const struct CMUnitTest others[] = {
        moment(refused),
        moment(no_such_host),
        moment(wrong_host_in_certificate),
        moment(expired_certificate),
        moment(unknown_authority),
        moment(unreadable_ca_file),
        moment(plain_http_only_where_allowed),
        moment(wrong_hash_is_kept_in_quarantine),
        moment(retry_after_is_obeyed),
        moment(failures_add_up),
        moment(disk_full),
    };
    static struct CMUnitTest tests[N_BAD + sizeof others / sizeof *others];

    for (size_t i = 0; i < N_BAD; i++) {
        static char names[N_BAD][64];

        snprintf(names[i], sizeof names[i], "case_%s", bad_cases[i].name);
        tests[i] = (struct CMUnitTest) { .name = names[i],
                                         .test_func = misbehaves,
                                         .initial_state = (void *)(uintptr_t)&bad_cases[i] };
    }
    memcpy(tests + N_BAD, others, sizeof others);
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
