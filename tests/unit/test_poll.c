/* The poll against a real server: what it fetches, when, and what it remembers. */

#include "tests/unit/test_poll_bench.h"

#define SECOND_US 1000000ull

static void restart(struct bench *bench) {
    close_all(bench);
    open_all(bench);
}

static uint64_t now_us(void) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* On a busy machine the timer is due before the first turn sleeps: the next time ends that sleep. */
static void turn_for(struct bench *bench, uint64_t ms) {
    bench->is_late = false;
    uv_timer_start(&bench->limit, on_limit, ms, ms);
    while (!bench->is_late)
        uv_run(&bench->loop, UV_RUN_ONCE);
    uv_timer_stop(&bench->limit);
}

/* ---- findupgrade ----------------------------------------------------------------------------- */

static void fetched_once(void **state) {
    struct bench *bench = *state;
    const struct firmware_poll_status *status;
    const struct firmware_record *record;

    add_case(bench, "good");
    forget_requests(bench);
    status = poll_once(bench);
    assert_result(bench, "fetched: 1.20.2.r4");
    assert_int_equal(n_stored(bench), 1);
    record = firmware_store_at(bench->store, 0);
    assert_string_equal(record->name, PACKAGE);
    assert_string_equal(record->server_version, "1.20.2.r4");
    assert_int_equal(record->server_int_version, 77596036);
    assert_int_equal(record->state, FIRMWARE_GOOD);
    assert_non_null(strstr(record->origin, "/good/packages/" PACKAGE));
    assert_int_equal(status->failures, 0);
    assert_int_equal(status->last_success_us, status->last_us);
    /* A day, give or take a tenth. */
    assert_in_range(status->next_us - status->last_us, 77759 * SECOND_US, 95041 * SECOND_US);
    assert_int_equal(count_requests(bench, "\"path\": \"/good/"), 2);
    poll_once(bench);
    assert_result(bench, "up to date: 1.20.2.r4");
    assert_int_equal(count_requests(bench, "\"path\": \"/good/"), 1);
    close_poll(bench);
    assert_int_equal(n_parts(bench), 0);
}

/* Nothing that tells boards or machines apart leaves the machine. */
static void what_is_sent(void **state) {
    struct bench *bench = *state;
    char *requests;

    add_case(bench, "good");
    forget_requests(bench);
    poll_once(bench);
    requests = take_requests(bench);
    assert_int_equal(count(requests, "\"User-Agent\": \"wipyd/" WIPYD_VERSION "\""), 3); /* ours too */
    assert_int_equal(count(requests, "Cookie"), 0);
    assert_int_equal(count(requests, "Accept-Encoding"), 0);
    assert_int_equal(count(requests, "Referer"), 0);
    free(requests);
}

/* One good package each, by a detour; n_gets: of the package. */
static const struct detour {
    const char *name;
    unsigned n_gets, n_ranges;
} detours[] = {
    { "array", 1, 0 },       { "relative-file", 1, 0 }, { "redirect", 1, 0 },         { "no-hash", 1, 0 },
    { "conditional", 1, 0 }, { "no-validators", 1, 0 }, { "cut-once", 2, 1 },         { "cut-by-date", 2, 1 },
    { "cut-unnamed", 2, 0 }, { "cut-weak", 2, 0 },      { "cut-changed", 2, 1 },      { "no-range", 2, 1 },
    { "cut-mixed", 3, 1 },   { "wrong-range", 3, 1 },   { "redirect-package", 2, 0 },
};

static void takes_detour(void **state) {
    const struct detour *detour = *state;
    struct bench *bench = bench_new();
    char *requests;

    add_case(bench, detour->name);
    forget_requests(bench);
    poll_once(bench);
    assert_result(bench, "fetched: 1.20.2.r4");
    assert_int_equal(n_stored(bench), 1);
    assert_int_equal(firmware_store_at(bench->store, 0)->state, FIRMWARE_GOOD);
    requests = take_requests(bench);
    assert_int_equal(count(requests, "/packages/" PACKAGE "\""), detour->n_gets);
    assert_int_equal(count(requests, "\"Range\":"), detour->n_ranges);
    assert_int_equal(count(requests, "\"If-Range\":"), detour->n_ranges);
    free(requests);
    /* Not again, not even after a restart. */
    restart(bench);
    poll_once(bench);
    assert_result(bench, "up to date: 1.20.2.r4");
    requests = take_requests(bench);
    assert_in_range(largest_sent(requests), 0, 5000);
    free(requests);
    close_poll(bench);
    assert_int_equal(n_parts(bench), 0);
    bench_free(bench);
}

static void unchanged_answer_is_304(void **state) {
    struct bench *bench = *state;

    add_case(bench, "conditional");
    poll_once(bench);
    restart(bench);
    forget_requests(bench);
    poll_once(bench);
    assert_result(bench, "up to date: 1.20.2.r4");
    assert_int_equal(count_requests(bench, "\"status\": 304"), 1);
    /* Not asked conditionally when what it led to is gone. */
    run("rm %s/firmware/*.tar.gz", bench->folder);
    restart(bench);
    poll_once(bench);
    assert_result(bench, "fetched: 1.20.2.r4");
    assert_int_equal(count_requests(bench, "\"status\": 304"), 0);
}

/* A server cut so often that it takes several polls, and restarts, to get all of it. */
static void put_together_over_polls_and_restarts(void **state) {
    struct bench *bench = *state;
    unsigned n = 0;

    add_case(bench, "cut-always");
    poll_once(bench);
    assert_result(bench, PACKAGE ": transfer closed with");
    assert_int_equal(n_stored(bench), 0);
    for (; n < 5 && !n_stored(bench); n++) {
        restart(bench);
        assert_int_equal(n_parts(bench), 1);
        poll_once(bench);
    }
    assert_result(bench, "fetched: 1.20.2.r4");
    assert_int_equal(n, 2); /* 3 eighths a poll */
    close_poll(bench);
    assert_int_equal(n_parts(bench), 0);
}

/* ---- stopped in the middle ------------------------------------------------------------------- */

static void stopped_while_fetching(void **state) {
    struct bench *bench = *state;
    char *requests;

    add_case(bench, "paced");
    open_poll(bench);
    firmware_poll_now(bench->poll);
    while (bench->most_done < 30000)
        uv_run(&bench->loop, UV_RUN_ONCE);
    assert_int_equal(firmware_poll_status(bench->poll)->state, FIRMWARE_POLL_FETCHING);
    assert_in_range(firmware_poll_status(bench->poll)->bytes_total, 100000, 1000000);
    restart(bench);
    assert_int_equal(n_stored(bench), 0);
    assert_int_equal(n_parts(bench), 1);
    forget_requests(bench);
    poll_once(bench);
    assert_result(bench, "fetched: 1.20.2.r4");
    requests = take_requests(bench);
    assert_int_equal(count(requests, "\"status\": 206"), 1);
    free(requests);
}

static void on_removed(void *userdata, const struct fault *fault, const struct firmware_record *record) {
    assert_null(fault);
    assert_non_null(record);
    *(bool *)userdata = true;
}

/* At every turn of the loop from start to end, closed there: what is open then is closed, and the store is
 * whole. */
static void closed_at_every_turn(void **state) {
    struct bench *bench = *state;
    unsigned turns = 0, n_turns;
    bool is_over = false;

    add_case(bench, "cut-once");
    while (!is_over) {
        bool removed = false;

        forget_requests(bench);
        open_poll(bench);
        firmware_poll_now(bench->poll);
        for (n_turns = 0; n_turns < turns && !bench->n_polls; n_turns++)
            uv_run(&bench->loop, UV_RUN_ONCE);
        is_over = bench->n_polls > 0;
        close_poll(bench);
        assert_in_range(n_stored(bench), 0, 1);
        if (n_stored(bench) > 0) {
            firmware_store_remove(bench->store, firmware_store_at(bench->store, 0)->sha256, true, on_removed,
                                  &removed);
            turn_until(bench, &removed);
        }
        turns++;
    }
    assert_true(turns > 5);
}

/* A crash leaves a file, and what the records say. */
static void leftovers_are_removed(void **state) {
    struct bench *bench = *state;

    run("touch %s/firmware/.download-0123456789012345678901234567890123456789 %s/firmware/.download-x",
        bench->folder, bench->folder);
    assert_int_equal(n_parts(bench), 2);
    add_case(bench, "500");
    poll_once(bench);
    assert_int_equal(n_parts(bench), 0);
}

/* ---- other sources --------------------------------------------------------------------------- */

static void next_source_after_a_bad_one(void **state) {
    struct bench *bench = *state;

    add_case(bench, "500");
    add_case(bench, "html");
    add_case(bench, "good");
    add_case(bench, "404");
    forget_requests(bench);
    poll_once(bench);
    assert_result(bench, "answered 500; ");
    assert_result(bench, "answered with HTML, not with JSON; fetched: 1.20.2.r4");
    assert_int_equal(firmware_poll_status(bench->poll)->failures, 0);
    assert_non_null(strstr(firmware_poll_status(bench->poll)->source, "/good/"));
    assert_int_equal(count_requests(bench, "/404/"), 0);
}

static void mirror(void **state) {
    struct bench *bench = *state;
    char url[128];
    char *requests;

    url_of(url, "https", server.https, "good", "packages/");
    add_source(bench, CONFIG_SOURCE_MIRROR, url);
    poll_once(bench);
    assert_result(bench, "fetched: 1.20.2.r4");
    assert_string_equal(firmware_store_at(bench->store, 0)->server_version, "");
    assert_int_equal(firmware_store_at(bench->store, 0)->server_int_version, 0);
    restart(bench);
    forget_requests(bench);
    poll_once(bench);
    assert_result(bench, "up to date: 1.20.2.r4");
    requests = take_requests(bench);
    assert_int_equal(count(requests, "\"path\": \"/good/"), 2);
    assert_int_equal(count(requests, "\"status\": 304"), 1);
    free(requests);
    close_poll(bench);
    drop_sources(bench);
    url_of(url, "https", server.https, "404", "packages/");
    add_source(bench, CONFIG_SOURCE_MIRROR, url);
    poll_once(bench);
    assert_result(bench, "the server answered 404");
    close_poll(bench);
    drop_sources(bench);
    url_of(url, "https", server.https, "nothing", "packages/");
    add_source(bench, CONFIG_SOURCE_MIRROR, url);
    poll_once(bench);
    assert_result(bench, "the listing is empty");
}

static void folder(void **state) {
    struct bench *bench = *state;
    char path[128];

    snprintf(path, sizeof path, "%s/packages", bench->folder);
    add_source(bench, CONFIG_SOURCE_FOLDER, path);
    poll_once(bench);
    assert_result(bench, "No such file or directory");
    run("mkdir %s && ln -s %s %s/WiPy-link.tar.gz && mkdir %s/WiPy-folder.tar.gz && mkfifo "
        "%s/WiPy-fifo.tar.gz && cp %s %s/.hidden.tar.gz && cp %s %s/readme.txt",
        path, server.package, path, path, path, server.package, path, server.package, path);
    poll_once(bench);
    assert_result(bench, "no packages");
    run("cp %s %s/ && head -c 1000 %s > %s/WiPy-broken.tar.gz && truncate -s 9M %s/WiPy-large.tar.gz",
        server.package, path, server.package, path, path);
    poll_once(bench);
    assert_result(bench, "3 packages, 1 new, WiPy-");
    assert_int_equal(n_stored(bench), 1);
    assert_string_equal(firmware_store_at(bench->store, 0)->release, "1.20.2.r4");
    assert_non_null(strstr(firmware_store_at(bench->store, 0)->origin, "file:///tmp/"));
    /* Remembered, also what was refused. */
    restart(bench);
    poll_once(bench);
    assert_result(bench, "3 packages, 0 new");
    assert_null(strstr(firmware_poll_status(bench->poll)->result, "broken"));
    run("rm %s/*.tar.gz 2>/dev/null; cp %s/*.tar.gz %s/", path, server.older, path);
    poll_once(bench);
    assert_result(bench, "1 packages, 1 new");
    assert_int_equal(n_stored(bench), 2);
}

/* ---- ways there ------------------------------------------------------------------------------ */

static void through_a_proxy(void **state) {
    struct bench *bench = *state;

    add_case(bench, "good");
    bench->config.proxy = strdup(server.proxy);
    forget_requests(bench);
    poll_once(bench);
    assert_result(bench, "fetched: 1.20.2.r4");
    assert_int_equal(count_requests(bench, "\"method\": \"CONNECT\""), 2);
}

static void proxy_of_the_environment(void **state) {
    struct bench *bench = *state;

    add_case(bench, "good");
    setenv("https_proxy", server.proxy, 1);
    forget_requests(bench);
    poll_once(bench);
    assert_result(bench, "fetched: 1.20.2.r4");
    assert_int_equal(count_requests(bench, "\"method\": \"CONNECT\""), 2);
    /* Empty: none, whatever the environment says. */
    bench->config.proxy = strdup("");
    poll_once(bench);
    assert_int_equal(count_requests(bench, "\"method\": \"CONNECT\""), 0);
    unsetenv("https_proxy");
}

static void proxy_that_is_dead(void **state) {
    struct bench *bench = *state;
    char proxy[64];

    add_case(bench, "good");
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%lld", server.refused);
    bench->config.proxy = strdup(proxy);
    poll_once(bench);
    assert_result(bench, "can't connect: Connection refused");
}

static void authorities_of_the_environment(void **state) {
    struct bench *bench = *state;

    free(bench->config.ca_file);
    bench->config.ca_file = NULL;
    add_case(bench, "good");
    setenv("SSL_CERT_FILE", server.ca_file, 1);
    poll_once(bench);
    unsetenv("SSL_CERT_FILE");
    assert_result(bench, "fetched: 1.20.2.r4");
}

/* ---- when ------------------------------------------------------------------------------------ */

static void polls_by_itself_at_first_start(void **state) {
    struct bench *bench = *state;

    add_case(bench, "good");
    open_poll(bench);
    await_polls(bench, 1);
    assert_result(bench, "fetched: 1.20.2.r4");
}

static void polls_again_and_again(void **state) {
    struct bench *bench = *state;
    uint64_t began = now_us();

    bench->config.poll_interval_s = 1;
    add_case(bench, "good");
    open_poll(bench);
    await_polls(bench, 4);
    assert_result(bench, "up to date: 1.20.2.r4");
    assert_in_range(now_us() - began, 2700000, 20000000);
}

static void next_poll_is_kept_across_a_restart(void **state) {
    struct bench *bench = *state;
    const struct firmware_poll_status *status;
    struct firmware_poll_status before;

    bench->config.poll_interval_s = 3600;
    add_case(bench, "good");
    before = *poll_once(bench);
    restart(bench);
    forget_requests(bench);
    open_poll(bench);
    turn_for(bench, 500);
    status = firmware_poll_status(bench->poll);
    assert_int_equal(status->state, FIRMWARE_POLL_IDLE);
    assert_int_equal(status->next_us, before.next_us);
    assert_int_equal(status->last_us, before.last_us);
    assert_int_equal(status->last_success_us, before.last_success_us);
    assert_string_equal(status->result, before.result);
    assert_int_equal(count_requests(bench, "/good/"), 0);
    /* A much shorter interval doesn't make it sooner by itself, other sources do. */
    close_poll(bench);
    add_case(bench, "404");
    open_poll(bench);
    await_polls(bench, 1);
    assert_result(bench, "up to date: 1.20.2.r4");
}

/* Killed during a poll that would kill it again: the next start waits. */
static void killed_while_polling(void **state) {
    struct bench *bench = *state;
    uint64_t began = now_us();

    add_case(bench, "silent");
    open_poll(bench);
    firmware_poll_now(bench->poll);
    turn_for(bench, 300);
    assert_int_equal(firmware_poll_status(bench->poll)->state, FIRMWARE_POLL_ASKING);
    restart(bench);
    forget_requests(bench);
    open_poll(bench);
    turn_for(bench, 300);
    assert_int_equal(firmware_poll_status(bench->poll)->state, FIRMWARE_POLL_IDLE);
    assert_in_range(firmware_poll_status(bench->poll)->next_us - began, 55 * SECOND_US, 62 * SECOND_US);
    assert_int_equal(count_requests(bench, "/silent/"), 0);
}

static void clock_set_back_while_off(void **state) {
    struct bench *bench = *state;
    char text[512], *value = NULL, *rest;
    unsigned long long next;

    add_case(bench, "good");
    poll_once(bench);
    close_poll(bench);
    /* As if the last poll had been a year ahead. */
    assert_int_equal(records_get_value(bench->records, "poll.next", &value), 0);
    next = strtoull(value, &rest, 10);
    snprintf(text, sizeof text, "%llu%s", next + 365 * 86400 * SECOND_US, rest);
    free(value);
    assert_int_equal(records_put_value(bench->records, "poll.next", text), 0);
    open_poll(bench);
    turn_for(bench, 200);
    assert_true(firmware_poll_status(bench->poll)->next_us < now_us() + 95041 * SECOND_US);
}

static void many_requests_to_poll_are_one(void **state) {
    struct bench *bench = *state;

    add_case(bench, "good");
    forget_requests(bench);
    open_poll(bench);
    for (unsigned i = 0; i < 10; i++)
        firmware_poll_now(bench->poll);
    while (firmware_poll_status(bench->poll)->state != FIRMWARE_POLL_FETCHING) {
        uv_run(&bench->loop, UV_RUN_ONCE);
        firmware_poll_now(bench->poll);
    }
    await_polls(bench, 1);
    turn_for(bench, 300);
    assert_int_equal(bench->n_polls, 1);
    assert_int_equal(count_requests(bench, "/good/findupgrade\""), 1);
}

static void off_without_sources(void **state) {
    struct bench *bench = *state;

    open_poll(bench);
    firmware_poll_now(bench->poll);
    turn_for(bench, 100);
    assert_int_equal(firmware_poll_status(bench->poll)->state, FIRMWARE_POLL_OFF);
    assert_int_equal(firmware_poll_status(bench->poll)->next_us, 0);
    assert_idle(bench);
}

/* Between polls the loop sleeps: one turn, the one of our own timer. */
static void no_wake_ups_between_polls(void **state) {
    struct bench *bench = *state;
    unsigned n = 0;

    add_case(bench, "good");
    poll_once(bench);
    turn_for(bench, 200);
    bench->is_late = false;
    uv_timer_start(&bench->limit, on_limit, 2000, 0);
    for (; !bench->is_late; n++)
        uv_run(&bench->loop, UV_RUN_ONCE);
    assert_int_equal(n, 1);
}

#define N_DETOURS (sizeof detours / sizeof *detours)

int main(void) {
    static const struct CMUnitTest others[] = {
        moment(fetched_once),
        moment(what_is_sent),
        moment(unchanged_answer_is_304),
        moment(put_together_over_polls_and_restarts),
        moment(stopped_while_fetching),
        moment(closed_at_every_turn),
        moment(leftovers_are_removed),
        moment(next_source_after_a_bad_one),
        moment(mirror),
        moment(folder),
        moment(through_a_proxy),
        moment(proxy_of_the_environment),
        moment(proxy_that_is_dead),
        moment(authorities_of_the_environment),
        moment(polls_by_itself_at_first_start),
        moment(polls_again_and_again),
        moment(next_poll_is_kept_across_a_restart),
        moment(killed_while_polling),
        moment(clock_set_back_while_off),
        moment(many_requests_to_poll_are_one),
        moment(off_without_sources),
        moment(no_wake_ups_between_polls),
    };
    static struct CMUnitTest tests[N_DETOURS + sizeof others / sizeof *others];

    for (size_t i = 0; i < N_DETOURS; i++) {
        static char names[N_DETOURS][64];

        snprintf(names[i], sizeof names[i], "detour_%s", detours[i].name);
        tests[i] = (struct CMUnitTest) { .name = names[i],
                                         .test_func = takes_detour,
                                         .initial_state = (void *)(uintptr_t)&detours[i] };
    }
    memcpy(tests + N_DETOURS, others, sizeof others);
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
