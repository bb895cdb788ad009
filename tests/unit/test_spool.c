/* The spool: a file is there whole or not at all, leftovers go, a failing disk is told of. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "daemon/board/spool.h"
#include "tests/unit/test_folder.h"

#define WAIT_MS 20000
#define BIG     (3u * 1024u * 1024u + 17u)

struct answer {
    unsigned n;
    int r;
};

struct bench {
    char base[64], path[80];
    uv_loop_t loop;
    uv_timer_t guard;
    bool late;
    struct work_queue *queue;
    struct spool *spool;
    unsigned n_closed;
};

static void on_guard(uv_timer_t *timer) {
    struct bench *bench = timer->data;

    bench->late = true;
}

static void run_until(struct bench *bench, const unsigned *counter, unsigned value) {
    uv_timer_start(&bench->guard, on_guard, WAIT_MS, 0);
    while (*counter < value && !bench->late)
        uv_run(&bench->loop, UV_RUN_ONCE);
    uv_timer_stop(&bench->guard);
    assert_false(bench->late);
}

static void run_until_idle(struct bench *bench) {
    while (uv_run(&bench->loop, UV_RUN_ONCE))
        ;
}

static void on_closed(void *userdata) {
    struct bench *bench = userdata;

    bench->n_closed++;
}

static void open_spool(struct bench *bench, const uint32_t *jobs, unsigned n) {
    assert_int_equal(spool_open(&bench->spool, bench->path, bench->queue, jobs, n), 0);
}

static void reopen(struct bench *bench, const uint32_t *jobs, unsigned n) {
    run_until_idle(bench);
    assert_null(spool_close(bench->spool));
    open_spool(bench, jobs, n);
}

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    folder_make(bench->base, sizeof bench->base);
    snprintf(bench->path, sizeof bench->path, "%s/spool", bench->base);
    assert_int_equal(uv_loop_init(&bench->loop), 0);
    uv_timer_init(&bench->loop, &bench->guard);
    bench->guard.data = bench;
    assert_int_equal(work_queue_new(&bench->queue, &bench->loop), 0);
    open_spool(bench, NULL, 0);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;

    run_until_idle(bench);
    assert_null(spool_close(bench->spool));
    work_queue_close(bench->queue, on_closed, bench);
    run_until(bench, &bench->n_closed, 1);
    uv_close((uv_handle_t *)&bench->guard, NULL);
    assert_int_equal(uv_run(&bench->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    folder_remove(bench->base);
    free(bench);
    return 0;
}

/* ---- packages -------------------------------------------------------------------------------- */

static uint8_t byte_at(size_t i, unsigned seed) {
    return (uint8_t)(i * 31 + i / 4096 + seed);
}

static int make_package(size_t bytes, unsigned seed) {
    int fd = memfd_create("package", MFD_CLOEXEC);
    uint8_t *content = malloc(bytes + 1);

    assert_true(fd >= 0);
    assert_non_null(content);
    for (size_t i = 0; i < bytes; i++)
        content[i] = byte_at(i, seed);
    assert_int_equal(write(fd, content, bytes), bytes);
    free(content);
    return fd;
}

static void on_put(void *userdata, int r) {
    struct answer *answer = userdata;

    answer->n++;
    answer->r = r;
}

static int put(struct bench *bench, uint32_t job, int fd, uint64_t bytes) {
    struct answer answer = { 0 };

    spool_put(bench->spool, job, fd, bytes, on_put, &answer);
    assert_int_equal(answer.n, 0);
    run_until(bench, &answer.n, 1);
    return answer.r;
}

static void put_good(struct bench *bench, uint32_t job, size_t bytes, unsigned seed) {
    int fd = make_package(bytes, seed);

    assert_int_equal(put(bench, job, fd, bytes), 0);
    close(fd);
}

static void expect_package(struct bench *bench, uint32_t job, size_t bytes, unsigned seed) {
    uint8_t *content = malloc(bytes + 1);
    uint64_t size = 0;
    int fd = -1;

    assert_int_equal(spool_open_file(bench->spool, job, &fd, &size), 0);
    assert_int_equal(size, bytes);
    assert_int_equal(read(fd, content, bytes + 1), bytes);
    for (size_t i = 0; i < bytes; i++)
        if (content[i] != byte_at(i, seed))
            fail_msg("byte %zu", i);
    free(content);
    close(fd);
}

static void expect_none(struct bench *bench, uint32_t job) {
    uint64_t size;
    int fd = -1;

    assert_int_equal(spool_open_file(bench->spool, job, &fd, &size), -ENOENT);
    assert_int_equal(fd, -1);
}

static unsigned count_files(const struct bench *bench) {
    DIR *dir = opendir(bench->path);
    const struct dirent *entry;
    unsigned n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)))
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return n;
}

static void make_file(const struct bench *bench, const char *name) {
    char path[160];
    int fd;

    snprintf(path, sizeof path, "%s/%s", bench->path, name);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "half", 4), 4);
    close(fd);
}

/* ---- moments --------------------------------------------------------------------------------- */

static void package_comes_back_whole(void **state) {
    static const size_t SIZES[] = { 0, 1, 65536, BIG };
    struct bench *bench = *state;
    struct stat st;

    for (unsigned i = 0; i < 4; i++) {
        put_good(bench, i + 1, SIZES[i], i);
        expect_package(bench, i + 1, SIZES[i], i);
    }
    assert_int_equal(count_files(bench), 4);
    assert_int_equal(stat(bench->path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    reopen(bench, (const uint32_t[]) { 1, 2, 3, 4 }, 4);
    expect_package(bench, 4, BIG, 3);
}

static void put_again_replaces(void **state) {
    struct bench *bench = *state;

    put_good(bench, 7, 1000, 1);
    put_good(bench, 7, 900, 2);
    expect_package(bench, 7, 900, 2);
    assert_int_equal(count_files(bench), 1);
}

/* The caller's descriptor is read by offset, and left where it stands; nobody waits for the outcome. */
static void put_without_an_answer_has_its_own_descriptor(void **state) {
    struct bench *bench = *state;
    int fd = make_package(BIG, 5);

    assert_int_equal(lseek(fd, 3, SEEK_SET), 3);
    spool_put(bench->spool, 7, fd, BIG, NULL, NULL);
    close(fd);
    run_until_idle(bench);
    expect_package(bench, 7, BIG, 5);
    spool_put(bench->spool, 8, fd, BIG, NULL, NULL); /* closed: logged */
    run_until_idle(bench);
    expect_none(bench, 8);
    fd = make_package(1, 0);
    assert_true(fd > 0 && fd < 16); /* none was left open */
    close(fd);
}

static void removed_is_gone(void **state) {
    struct bench *bench = *state;
    int fd = make_package(1000, 1);

    put_good(bench, 7, 1000, 1);
    put_good(bench, 8, 1000, 1);
    spool_remove(bench->spool, 7);
    spool_remove(bench->spool, 7);
    spool_remove(bench->spool, 9);
    /* in order: the second put is removed as well */
    spool_put(bench->spool, 8, fd, 1000, NULL, NULL);
    spool_remove(bench->spool, 8);
    close(fd);
    run_until_idle(bench);
    expect_none(bench, 7);
    expect_none(bench, 8);
    assert_int_equal(count_files(bench), 0);
}

/* Killed between write and rename; jobs that are over; and what is nobody's business. */
static void leftovers_go_at_the_start(void **state) {
    struct bench *bench = *state;

    put_good(bench, 7, 1000, 1);
    put_good(bench, 8, 1000, 2);
    put_good(bench, 4294967295u, 1000, 3);
    make_file(bench, ".new-9.tar.gz");
    make_file(bench, ".new-7.tar.gz");
    make_file(bench, "07.tar.gz");
    make_file(bench, "x.tar.gz");
    make_file(bench, "4294967296.tar.gz");
    make_file(bench, "8.tar.gz.txt");
    reopen(bench, (const uint32_t[]) { 7, 4294967295u, 12 }, 3);
    expect_package(bench, 7, 1000, 1);
    expect_package(bench, 4294967295u, 1000, 3);
    expect_none(bench, 8);
    expect_none(bench, 9);
    expect_none(bench, 12);
    assert_int_equal(count_files(bench), 6);
}

/* One that was left while the daemon ran is written over. */
static void leftover_of_the_same_job_is_no_hindrance(void **state) {
    struct bench *bench = *state;

    make_file(bench, ".new-7.tar.gz");
    put_good(bench, 7, 1000, 1);
    expect_package(bench, 7, 1000, 1);
    assert_int_equal(count_files(bench), 1);
}

static void leftover_that_stays_is_no_reason_to_fail(void **state) {
    struct bench *bench = *state;
    char path[160];
    uint64_t size;
    int fd = -1;

    snprintf(path, sizeof path, "%s/7.tar.gz", bench->path);
    assert_int_equal(mkdir(path, 0700), 0);
    reopen(bench, NULL, 0);
    assert_int_equal(spool_open_file(bench->spool, 7, &fd, &size), -EUCLEAN);
    assert_int_equal(put(bench, 7, -1, 5), -EBADF);
    fd = make_package(10, 1);
    assert_int_equal(put(bench, 7, fd, 10), -EISDIR);
    close(fd);
    assert_int_equal(count_files(bench), 1);
    snprintf(path, sizeof path, "%s/8.tar.gz", bench->path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_int_equal(spool_open_file(bench->spool, 8, &fd, &size), -ELOOP);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* nor does it wait for a writer */
    assert_int_equal(spool_open_file(bench->spool, 8, &fd, &size), -EUCLEAN);
}

static void shorter_than_promised_is_refused(void **state) {
    struct bench *bench = *state;
    int fd = make_package(1000, 1);

    assert_int_equal(put(bench, 7, fd, 1001), -EIO);
    expect_none(bench, 7);
    assert_int_equal(count_files(bench), 0);
    close(fd);
}

static void failing_disk_leaves_what_was_there(void **state) {
    struct bench *bench = *state;
    struct rlimit unlimited, limited;
    int fd = make_package(BIG, 2);

    put_good(bench, 7, 1000, 1);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    for (rlim_t bytes = 0; bytes < BIG; bytes += BIG / 3) {
        limited = (struct rlimit) { bytes, unlimited.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
        assert_int_equal(put(bench, 7, fd, BIG), -EFBIG);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
        expect_package(bench, 7, 1000, 1);
        assert_int_equal(count_files(bench), 1);
    }
    assert_int_equal(put(bench, 7, fd, BIG), 0);
    expect_package(bench, 7, BIG, 2);
    close(fd);
}

static void folder_that_cant_be_is_an_error(void **state) {
    struct bench *bench = *state;
    struct spool *spool = NULL;
    char path[120];

    snprintf(path, sizeof path, "%s/none/spool", bench->base);
    assert_int_equal(spool_open(&spool, path, bench->queue, NULL, 0), -ENOENT);
    make_file(bench, "file");
    snprintf(path, sizeof path, "%s/file", bench->path);
    assert_int_equal(spool_open(&spool, path, bench->queue, NULL, 0), -ENOTDIR);
    assert_null(spool);
    assert_null(spool_close(NULL));
}

/* The folder itself is taken away. */
static void folder_that_is_gone_is_told(void **state) {
    struct bench *bench = *state;
    int fd = make_package(10, 1);

    assert_int_equal(rmdir(bench->path), 0);
    assert_int_equal(put(bench, 7, fd, 10), -ENOENT);
    expect_none(bench, 7);
    spool_remove(bench->spool, 7);
    close(fd);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(package_comes_back_whole),
        moment(put_again_replaces),
        moment(put_without_an_answer_has_its_own_descriptor),
        moment(removed_is_gone),
        moment(leftovers_go_at_the_start),
        moment(leftover_of_the_same_job_is_no_hindrance),
        moment(leftover_that_stays_is_no_reason_to_fail),
        moment(shorter_than_promised_is_refused),
        moment(failing_disk_leaves_what_was_there),
        moment(folder_that_cant_be_is_an_error),
        moment(folder_that_is_gone_is_told),
    };

    alarm(120);
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
