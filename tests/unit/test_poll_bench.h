#pragma once

/*
 * A bench for the poll: a real server on loopback (tests/integration/firmware_server.py) for all tests of a
 * program, and for each test a loop with records, store, http and poll in a folder of its own.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <yajl/yajl_tree.h>

#include "daemon/base/config.h"
#include "daemon/base/log.h"
#include "daemon/firmware/poll.h"
#include "tests/unit/test_folder.h"

#define PACKAGE "WiPy-1.20.2.r4.tar.gz"
#define LIMIT_S 60

/* ---- the server ------------------------------------------------------------------------------ */

static struct {
    char folder[64];
    char package[128]; /* 1.20.2.r4, also on the server */
    char older[128];   /* a folder with 1.18.2.r7 alone */
    char ca_file[256], proxy[64];
    long long http, https, wrong_host, expired, refused;
    pid_t pid;
    int in; /* it ends when this is closed */
} server;

__attribute__((format(printf, 1, 2))) static inline void run(const char *format, ...) {
    char command[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    assert_int_equal(system(command), 0);
}

static inline long long port_of(yajl_val root, const char *name) {
    const char *path[] = { "ports", name, NULL };
    yajl_val value = yajl_tree_get(root, path, yajl_t_number);

    assert_non_null(value);
    return YAJL_GET_INTEGER(value);
}

static inline void read_server_line(int fd) {
    const char *ca_path[] = { "ca_file", NULL }, *proxy_path[] = { "proxy", NULL };
    char line[1024] = "";
    yajl_val root;
    FILE *out = fdopen(fd, "r");

    assert_non_null(out);
    assert_non_null(fgets(line, sizeof line, out));
    fclose(out);
    root = yajl_tree_parse(line, NULL, 0);
    assert_non_null(root);
    server.http = port_of(root, "http");
    server.https = port_of(root, "https");
    server.wrong_host = port_of(root, "wrong-host");
    server.expired = port_of(root, "expired");
    server.refused = port_of(root, "refused");
    snprintf(server.ca_file, sizeof server.ca_file, "%s",
             YAJL_GET_STRING(yajl_tree_get(root, ca_path, yajl_t_string)));
    snprintf(server.proxy, sizeof server.proxy, "%s",
             YAJL_GET_STRING(yajl_tree_get(root, proxy_path, yajl_t_string)));
    yajl_tree_free(root);
}

static inline int start_server(void **state) {
    static const char *const variables[] = {
        "http_proxy", "https_proxy", "HTTPS_PROXY",   "all_proxy",    "ALL_PROXY",
        "no_proxy",   "NO_PROXY",    "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE",
    };
    int in[2], out[2];

    (void)state;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    log_setup(getenv("WIPYD_TEST_VERBOSE") ? LOG_DEBUG : LOG_ERR);
    folder_make(server.folder, sizeof server.folder);
    snprintf(server.package, sizeof server.package, "%s/" PACKAGE, server.folder);
    run("python3 tests/integration/packages.py make %s --release 1.20.2.r4 --app-bytes 200000",
        server.package);
    snprintf(server.older, sizeof server.older, "%s/older", server.folder);
    run("mkdir %s && python3 tests/integration/packages.py make %s/WiPy-1.18.2.r7.tar.gz --release 1.18.2.r7 "
        "--app-bytes 60000 --seed 7",
        server.older, server.older);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    server.pid = fork();
    assert_true(server.pid >= 0);
    if (server.pid == 0) {
        char certificates[128];

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(certificates, sizeof certificates, "%s/server", server.folder);
        dup2(in[0], 0);
        dup2(out[1], 1);
        execlp("python3", "python3", "tests/integration/firmware_server.py", certificates, server.package,
               "1.20.2.r4", "77596036", NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    server.in = in[1];
    read_server_line(out[0]);
    return 0;
}

static inline int stop_server(void **state) {
    int status;

    (void)state;
    close(server.in);
    waitpid(server.pid, &status, 0);
    folder_remove(server.folder);
    return 0;
}

/* ---- a bench --------------------------------------------------------------------------------- */

struct bench {
    uv_loop_t loop;
    uv_timer_t limit;
    char folder[64];
    struct config config;
    struct records *records;
    struct work_queue *queue;
    struct http_loop *http;
    struct firmware_store *store;
    struct firmware_poll *poll;
    unsigned n_polls;
    uint64_t most_done;
    bool was_busy, is_late;
};

static inline void on_changed(void *userdata) {
    struct bench *bench = userdata;
    const struct firmware_poll_status *status = firmware_poll_status(bench->poll);
    bool busy = status->state == FIRMWARE_POLL_ASKING || status->state == FIRMWARE_POLL_FETCHING;

    if (status->bytes_done > bench->most_done)
        bench->most_done = status->bytes_done;
    if (bench->was_busy && !busy)
        bench->n_polls++;
    bench->was_busy = busy;
}

static inline void on_limit(uv_timer_t *timer) {
    struct bench *bench = timer->data;

    bench->is_late = true;
}

static inline void on_closed(void *userdata) {
    *(bool *)userdata = true;
}

static inline void turn_until(struct bench *bench, const bool *condition) {
    while (!*condition)
        uv_run(&bench->loop, UV_RUN_ONCE);
}

static inline void on_store(void *userdata, const struct firmware_record *record) {
    (void)userdata;
    (void)record;
}

static const struct firmware_store_events store_events = { on_store, on_store, on_store };

static inline void open_all(struct bench *bench) {
    char path[128];
    struct fault fault;

    snprintf(path, sizeof path, "%s/records.db", bench->folder);
    assert_int_equal(records_open(&bench->records, path, &fault), WIPYD_ERROR_NONE);
    assert_int_equal(work_queue_new(&bench->queue, &bench->loop), 0);
    assert_int_equal(http_loop_new(&bench->http, &bench->loop), 0);
    snprintf(path, sizeof path, "%s/firmware", bench->folder);
    assert_int_equal(firmware_store_open(&bench->store, path, bench->records, bench->queue, &bench->config,
                                         &store_events, NULL, &fault),
                     WIPYD_ERROR_NONE);
}

static inline void open_poll(struct bench *bench) {
    bench->was_busy = false;
    bench->n_polls = 0;
    assert_int_equal(firmware_poll_new(&bench->poll, &bench->loop, bench->store, bench->http, bench->records,
                                       bench->queue, &bench->config, on_changed, bench),
                     0);
}

static inline void close_all(struct bench *bench) {
    bool closed = false;

    if (bench->poll) {
        firmware_poll_close(bench->poll, on_closed, &closed);
        turn_until(bench, &closed);
        bench->poll = NULL;
    }
    closed = false;
    firmware_store_close(bench->store, on_closed, &closed);
    turn_until(bench, &closed);
    closed = false;
    http_loop_close(bench->http, on_closed, &closed);
    turn_until(bench, &closed);
    closed = false;
    work_queue_close(bench->queue, on_closed, &closed);
    turn_until(bench, &closed);
    bench->records = records_close(bench->records);
}

static inline struct bench *bench_new(void) {
    struct bench *bench = calloc(1, sizeof *bench);

    assert_non_null(bench);
    folder_make(bench->folder, sizeof bench->folder);
    assert_int_equal(config_init(&bench->config), 0);
    free(bench->config.state_directory);
    bench->config.state_directory = strdup(bench->folder);
    free(bench->config.sources[0].url);
    bench->config.n_sources = 0;
    bench->config.ca_file = strdup(server.ca_file);
    bench->config.timeout_s = 2;
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    uv_timer_init(&bench->loop, &bench->limit);
    bench->limit.data = bench;
    open_all(bench);
    return bench;
}

static inline void bench_free(struct bench *bench) {
    close_all(bench);
    uv_close((uv_handle_t *)&bench->limit, NULL);
    uv_run(&bench->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    config_deinit(&bench->config);
    folder_remove(bench->folder);
    free(bench);
}

static inline int set_up(void **state) {
    *state = bench_new();
    return 0;
}

static inline int tear_down(void **state) {
    bench_free(*state);
    return 0;
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static inline void add_source(struct bench *bench, enum config_source_kind kind, const char *url) {
    bench->config.sources[bench->config.n_sources].kind = kind;
    bench->config.sources[bench->config.n_sources].url = strdup(url);
    bench->config.n_sources++;
}

static inline void url_of(char ret[static 128], const char *scheme, long long port, const char *case_name,
                          const char *rest) {
    snprintf(ret, 128, "%s://localhost:%lld/%s/%s", scheme, port, case_name, rest);
}

static inline void add_case(struct bench *bench, const char *name) {
    char url[128];

    url_of(url, "https", server.https, name, "findupgrade");
    add_source(bench, CONFIG_SOURCE_FINDUPGRADE, url);
}

static inline void drop_sources(struct bench *bench) {
    while (bench->config.n_sources > 0)
        free(bench->config.sources[--bench->config.n_sources].url);
}

/* Until the n-th poll of this object is over. */
static inline void await_polls(struct bench *bench, unsigned n) {
    bench->is_late = false;
    uv_timer_start(&bench->limit, on_limit, LIMIT_S * 1000, 0);
    while (bench->n_polls < n && !bench->is_late)
        uv_run(&bench->loop, UV_RUN_ONCE);
    uv_timer_stop(&bench->limit);
    if (bench->is_late)
        fail_msg("the poll isn't over after %d s", LIMIT_S);
}

static inline const struct firmware_poll_status *poll_once(struct bench *bench) {
    unsigned n = bench->n_polls;

    if (!bench->poll)
        open_poll(bench), n = 0;
    firmware_poll_now(bench->poll);
    await_polls(bench, n + 1);
    return firmware_poll_status(bench->poll);
}

static inline void close_poll(struct bench *bench) {
    bool closed = false;

    firmware_poll_close(bench->poll, on_closed, &closed);
    turn_until(bench, &closed);
    bench->poll = NULL;
}

static inline unsigned n_stored(struct bench *bench) {
    unsigned n = 0;

    while (firmware_store_at(bench->store, n))
        n++;
    return n;
}

static inline unsigned n_parts(struct bench *bench) {
    char path[128];
    struct dirent *entry;
    unsigned n = 0;
    DIR *dir;

    snprintf(path, sizeof path, "%s/firmware", bench->folder);
    dir = opendir(path);
    assert_non_null(dir);
    while ((entry = readdir(dir)))
        n += !strncmp(entry->d_name, ".download-", 10);
    closedir(dir);
    return n;
}

static inline void on_requests(void *userdata, const struct http_result *result) {
    char **body = userdata;

    assert_int_equal(result->outcome, HTTP_OK);
    *body = strndup((const char *)result->body, result->body_bytes);
}

/* What the server was asked for, as JSON; all is forgotten then. To be freed. */
static inline char *take_requests(struct bench *bench) {
    char url[128], *body = NULL, *nothing = NULL;
    struct http_transfer *transfer;
    struct http_request request = {
        .url = url,
        .bytes_max = 1 << 20,
        .connect_timeout_ms = 10000,
        .total_timeout_ms = 10000,
        .allow_http = true,
        .fd = -1,
    };

    url_of(url, "http", server.http, "_requests", "");
    assert_int_equal(http_get(&transfer, bench->http, &request, on_requests, &body), 0);
    while (!body)
        uv_run(&bench->loop, UV_RUN_ONCE);
    url_of(url, "http", server.http, "_reset", "");
    assert_int_equal(http_get(&transfer, bench->http, &request, on_requests, &nothing), 0);
    while (!nothing)
        uv_run(&bench->loop, UV_RUN_ONCE);
    free(nothing);
    return body;
}

static inline unsigned count(const char *requests, const char *needle) {
    unsigned n = 0;

    assert_true(*needle);
    for (const char *at = requests; (at = strstr(at, needle)); at++)
        n++;
    return n;
}

static inline void forget_requests(struct bench *bench) {
    free(take_requests(bench));
}

static inline unsigned count_requests(struct bench *bench, const char *needle) {
    char *requests = take_requests(bench);
    unsigned n = count(requests, needle);

    free(requests);
    return n;
}

/* The largest body that the server sent. */
static inline unsigned long largest_sent(const char *requests) {
    unsigned long most = 0;

    for (const char *at = requests; (at = strstr(at, "\"sent\": ")); at++) {
        unsigned long n = strtoul(at + 8, NULL, 10);

        most = n > most ? n : most;
    }
    return most;
}

/* A handle that is active and wakes the loop, other than poll's alarm and the loop's own. */
static inline void on_handle(uv_handle_t *handle, void *userdata) {
    if (uv_is_active(handle) && handle->type == UV_TIMER)
        ++*(unsigned *)userdata;
    if (uv_is_active(handle) && handle->type == UV_POLL)
        *(unsigned *)userdata += 100;
}

static inline void assert_idle(struct bench *bench) {
    unsigned n = 0;

    uv_walk(&bench->loop, on_handle, &n);
    assert_int_equal(n, bench->poll ? 100 : 0); /* the alarm */
}

static inline void assert_result(struct bench *bench, const char *wanted) {
    const struct firmware_poll_status *status = firmware_poll_status(bench->poll);

    assert_int_equal(status->state, FIRMWARE_POLL_IDLE);
    if (!strstr(status->result, wanted))
        fail_msg("\"%s\" is not in \"%s\"", wanted, status->result);
    assert_int_equal(status->bytes_done, 0);
    assert_true(status->next_us > status->last_us);
    for (const char *c = status->result; *c; c++)
        assert_true(*c >= ' ' && *c <= '~');
    assert_idle(bench);
}
