#pragma once

/* A store in a temporary folder, with its loop, queue and database; and packages for it. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "daemon/base/bytes.h"
#include "daemon/firmware/store.h"
#include "tests/unit/test_firmware_make.h"
#include "tests/unit/test_folder.h"

#define WAIT_MS 20000

#define SERVER "https://server.example/WiPy.tar.gz"
#define WRONG  "f6c30bf8b08c50d188f727822be320061ed7847b" /* a SHA-1 of something else */

/* ---- packages -------------------------------------------------------------------------------- */

#define STORE_SCRIPT(mb)                                                                                     \
    "{\"version\": \"2.1\", \"script\": [[\"w\", \"partitions\", \"partitions_" mb                           \
    ".bin\"], [\"w\", \"factory\", \"wipy.bin\"]]}"

/* Small, and other bytes for each seed. */
static inline struct blob make_package(const char *board, const char *release, uint32_t seed) {
    char text[256];
    int n = snprintf(text, sizeof text, "%s with ESP32%cv1.8.6-849-b0520f1 on 2018-08-29%c%s", board, 0, 0,
                     release);
    owned struct blob image = make_image(0x3000, true, text, (size_t)n + 1, 0x240);
    owned struct blob table_4mb = make_table(TABLE_4MB, sizeof TABLE_4MB / sizeof *TABLE_4MB, true);
    owned struct blob table_8mb = make_table(TABLE_8MB, sizeof TABLE_8MB / sizeof *TABLE_8MB, true);
    struct packer packer;

    packer_begin(&packer);
    packer_add(&packer, "script_4MB", STORE_SCRIPT("4MB"), strlen(STORE_SCRIPT("4MB")));
    packer_add(&packer, "script_8MB", STORE_SCRIPT("8MB"), strlen(STORE_SCRIPT("8MB")));
    packer_add(&packer, "wipy.bin", image.bytes, image.size);
    packer_add(&packer, "partitions_4MB.bin", table_4mb.bytes, table_4mb.size);
    packer_add(&packer, "partitions_8MB.bin", table_8mb.bytes, table_8mb.size);
    packer_add(&packer, "seed", &seed, sizeof seed);
    return packer_end(&packer);
}

static inline void digest_of(const struct blob *blob, const EVP_MD *kind, char *ret) {
    uint8_t value[EVP_MAX_MD_SIZE];
    unsigned n;

    assert_int_equal(EVP_Digest(blob->bytes, blob->size, value, &n, kind, NULL), 1);
    hex_encode(value, n, ret);
}

/* ---- the bench ------------------------------------------------------------------------------- */

struct answer {
    unsigned n;
    struct fault fault; /* code NONE: done */
    char sha256[65];
    enum firmware_state state;
    char reason[320];
};

struct bench {
    char base[64], folder[96], database[96];
    uv_loop_t loop;
    uv_timer_t guard;
    bool late;
    struct records *records;
    struct work_queue *queue;
    struct config config;
    struct firmware_store *store;
    unsigned n_added, n_changed, n_removed, n_closed;
    char removed[4][65]; /* the last ones */
};

static inline void on_guard(uv_timer_t *timer) {
    struct bench *bench = timer->data;

    bench->late = true;
}

static inline void run_until(struct bench *bench, const unsigned *counter, unsigned value) {
    uv_timer_start(&bench->guard, on_guard, WAIT_MS, 0);
    while (*counter < value && !bench->late)
        uv_run(&bench->loop, UV_RUN_ONCE);
    uv_timer_stop(&bench->guard);
    assert_false(bench->late);
}

static inline void run_until_idle(struct bench *bench) {
    uv_timer_stop(&bench->guard);
    while (uv_run(&bench->loop, UV_RUN_ONCE))
        ;
}

static inline void bench_on_added(void *userdata, const struct firmware_record *record) {
    struct bench *bench = userdata;

    assert_int_equal(strlen(record->sha256), 64);
    bench->n_added++;
}

static inline void bench_on_changed(void *userdata, const struct firmware_record *record) {
    struct bench *bench = userdata;

    assert_int_equal(strlen(record->sha256), 64);
    bench->n_changed++;
}

static inline void bench_on_removed(void *userdata, const struct firmware_record *record) {
    struct bench *bench = userdata;

    memcpy(bench->removed[bench->n_removed % 4], record->sha256, sizeof record->sha256);
    bench->n_removed++;
}

static inline void bench_on_closed(void *userdata) {
    struct bench *bench = userdata;

    bench->n_closed++;
}

static inline enum wipyd_error bench_try_open(struct bench *bench, struct fault *fault) {
    static const struct firmware_store_events EVENTS = { bench_on_added, bench_on_changed, bench_on_removed };
    enum wipyd_error error = records_open(&bench->records, bench->database, fault);

    if (error)
        return error;
    assert_int_equal(work_queue_new(&bench->queue, &bench->loop), 0);
    error = firmware_store_open(&bench->store, bench->folder, bench->records, bench->queue, &bench->config,
                                &EVENTS, bench, fault);
    assert_int_equal(error, WIPYD_ERROR_NONE);
    return error;
}

static inline void bench_open(struct bench *bench) {
    struct fault fault = { 0 };

    if (bench_try_open(bench, &fault))
        fail_msg("%s", fault.story);
}

static inline void bench_close(struct bench *bench) {
    if (!bench->store)
        return;
    bench->n_closed = 0;
    firmware_store_close(bench->store, bench_on_closed, bench);
    run_until(bench, &bench->n_closed, 1);
    work_queue_close(bench->queue, bench_on_closed, bench);
    run_until(bench, &bench->n_closed, 2);
    bench->records = records_close(bench->records);
    bench->queue = NULL;
    bench->store = NULL;
}

static inline void bench_reopen(struct bench *bench) {
    bench_close(bench);
    bench_open(bench);
}

/* base: an empty folder, or NULL for a temporary one. */
static inline struct bench *bench_new(const char *base) {
    struct bench *bench = calloc(1, sizeof *bench);

    assert_non_null(bench);
    if (base)
        snprintf(bench->base, sizeof bench->base, "%s", base);
    else
        folder_make(bench->base, sizeof bench->base);
    snprintf(bench->folder, sizeof bench->folder, "%s/firmware", bench->base);
    snprintf(bench->database, sizeof bench->database, "%s/wipyd.db", bench->base);
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    uv_timer_init(&bench->loop, &bench->guard);
    bench->guard.data = bench;
    bench->config.keep_packages = 20;
    bench->config.keep_mib = 200;
    return bench;
}

/* Nothing is left on the loop. */
static inline void bench_free(struct bench *bench) {
    bench_close(bench);
    uv_close((uv_handle_t *)&bench->guard, NULL);
    assert_int_equal(uv_run(&bench->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    nftw(bench->base, folder_remove_one, 8, FTW_DEPTH | FTW_PHYS); /* a mount point stays */
    free(bench);
}

static inline int set_up(void **state) {
    struct bench *bench = bench_new(NULL);

    bench_open(bench);
    *state = bench;
    return 0;
}

static inline int tear_down(void **state) {
    bench_free(*state);
    return 0;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static inline void on_answer(void *userdata, const struct fault *fault,
                             const struct firmware_record *record) {
    struct answer *answer = userdata;

    assert_true(!fault != !record);
    answer->n++;
    answer->fault = fault ? *fault : (struct fault) { 0 };
    if (record) {
        memcpy(answer->sha256, record->sha256, sizeof answer->sha256);
        answer->state = record->state;
        snprintf(answer->reason, sizeof answer->reason, "%s", record->reason);
    }
}

/* A descriptor of a sealed file in memory. */
static inline int sealed(const struct blob *blob) {
    int fd = memfd_create("package", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, blob->bytes, blob->size), blob->size);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL), 0);
    return fd;
}

static inline struct answer add_from(struct bench *bench, const struct blob *blob,
                                     const struct firmware_origin *origin) {
    struct answer answer = { 0 };

    firmware_store_add(bench->store, sealed(blob), blob->size, origin, on_answer, &answer);
    assert_int_equal(answer.n, 0);
    run_until(bench, &answer.n, 1);
    return answer;
}

static inline struct answer add(struct bench *bench, const struct blob *blob) {
    return add_from(bench, blob, &(struct firmware_origin) { .name = "p.tar.gz" });
}

/* As from a server that promises that SHA-1. */
static inline struct answer add_promised(struct bench *bench, const struct blob *blob, const char *hash) {
    return add_from(bench, blob,
                    &(struct firmware_origin) { .url = SERVER,
                                                .name = "WiPy.tar.gz",
                                                .server_version = "1.20.1.r6",
                                                .server_int_version = 77595014,
                                                .server_hash = hash });
}

/* Adds a sound one, gives its SHA-256. */
static inline void add_good(struct bench *bench, const char *board, const char *release, uint32_t seed,
                            char ret[static 65]) {
    owned struct blob blob = make_package(board, release, seed);
    struct answer answer = add(bench, &blob);

    if (answer.fault.code)
        fail_msg("%s", answer.fault.story);
    assert_int_equal(answer.state, FIRMWARE_GOOD);
    memcpy(ret, answer.sha256, 65);
}

static inline struct answer ask_pin(struct bench *bench, const char *sha256, bool pinned) {
    struct answer answer = { 0 };

    firmware_store_pin(bench->store, sha256, pinned, on_answer, &answer);
    assert_int_equal(answer.n, 0);
    run_until(bench, &answer.n, 1);
    return answer;
}

static inline struct answer ask_remove(struct bench *bench, const char *sha256, bool force) {
    struct answer answer = { 0 };

    firmware_store_remove(bench->store, sha256, force, on_answer, &answer);
    assert_int_equal(answer.n, 0);
    run_until(bench, &answer.n, 1);
    return answer;
}

static inline struct answer ask_release(struct bench *bench, const char *sha256) {
    struct answer answer = { 0 };

    firmware_store_release(bench->store, sha256, on_answer, &answer);
    assert_int_equal(answer.n, 0);
    run_until(bench, &answer.n, 1);
    return answer;
}

static inline struct answer ask_verify(struct bench *bench, const char *sha256) {
    struct answer answer = { 0 };

    firmware_store_verify(bench->store, sha256, on_answer, &answer);
    assert_int_equal(answer.n, 0);
    run_until(bench, &answer.n, 1);
    return answer;
}

/* ---- looking --------------------------------------------------------------------------------- */

static inline unsigned count_records(struct bench *bench) {
    unsigned n = 0;

    while (firmware_store_at(bench->store, n))
        n++;
    return n;
}

static inline enum firmware_state state_of(struct bench *bench, const char *sha256) {
    const struct firmware_record *record = firmware_store_find(bench->store, sha256);

    assert_non_null(record);
    return record->state;
}

/* Files whose names begin with prefix. */
static inline unsigned count_files(const char *folder, const char *prefix) {
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    unsigned n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)))
        n += entry->d_name[0] != 0 && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
             strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(dir);
    return n;
}

static inline void path_of(const struct bench *bench, const char *sha256, const char *ending,
                           char ret[static 300]) {
    snprintf(ret, 300, "%s/%s.tar.gz%s", bench->folder, sha256, ending);
}

static inline bool has_file(const struct bench *bench, const char *sha256, const char *ending) {
    char path[300];

    path_of(bench, sha256, ending, path);
    return access(path, F_OK) == 0;
}

static inline void write_file(const char *path, const void *bytes, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
}

/* Other bytes, the same size. */
static inline void spoil(const char *path, off_t offset, size_t size) {
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    for (size_t i = 0; i < size; i++) {
        uint8_t byte;

        assert_int_equal(pread(fd, &byte, 1, offset + (off_t)i), 1);
        byte ^= 0xff;
        assert_int_equal(pwrite(fd, &byte, 1, offset + (off_t)i), 1);
    }
    close(fd);
}

/* Every good one can be opened and has its bytes; nothing temporary is left. */
static inline void expect_sound(struct bench *bench) {
    const struct firmware_record *record;

    for (unsigned i = 0; (record = firmware_store_at(bench->store, i)); i++) {
        struct stat st;
        int fd = -1;

        if (record->state == FIRMWARE_MISSING)
            continue;
        assert_int_equal(firmware_store_open_file(bench->store, record, &fd), 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, record->bytes);
        close(fd);
    }
    assert_int_equal(count_files(bench->folder, ".new-"), 0);
}
