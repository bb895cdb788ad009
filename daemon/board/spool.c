#include "daemon/board/spool.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/folder.h"
#include "daemon/base/log.h"
#include "daemon/base/regular.h"

#define ENDING         ".tar.gz"
#define TEMPORARY      ".new-" /* the name of the file that is to be follows */
#define SPOOL_NAME_MAX 32
#define CHUNK_BYTES    (64u * 1024u)

struct spool {
    int folder;
    struct work_queue *queue;
    unsigned n_under_way;
};

/* ---- names ----------------------------------------------------------------------------------- */

static void name_file(uint32_t job, char ret[static SPOOL_NAME_MAX]) {
    snprintf(ret, SPOOL_NAME_MAX, "%u" ENDING, job);
}

static bool parse_name(const char *name, uint32_t *ret_job) {
    char again[SPOOL_NAME_MAX];
    unsigned long job = strtoul(name, NULL, 10);

    if (!job || job > UINT32_MAX)
        return false;
    *ret_job = (uint32_t)job;
    name_file(*ret_job, again);
    return strcmp(name, again) == 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

static bool is_leftover(const char *name, const uint32_t *jobs, unsigned n) {
    uint32_t job;

    if (strncmp(name, TEMPORARY, strlen(TEMPORARY)) == 0)
        return true;
    if (!parse_name(name, &job))
        return false;
    for (unsigned i = 0; i < n; i++)
        if (jobs[i] == job)
            return false;
    return true;
}

static int remove_leftovers(const struct spool *spool, const char *folder, const uint32_t *jobs, unsigned n) {
    cleanup(close_dir_p) DIR *dir = opendir(folder);
    const struct dirent *entry;

    if (!dir)
        return -errno;
    while ((entry = readdir(dir)))
        if (is_leftover(entry->d_name, jobs, n) && unlinkat(spool->folder, entry->d_name, 0) < 0)
            log_warning("%s/%s: removing it: %s", folder, entry->d_name, strerror(errno));
    return 0;
}

static void spool_close_p(struct spool **spool) {
    spool_close(*spool);
}

int spool_open(struct spool **ret, const char *folder, struct work_queue *queue, const uint32_t *jobs,
               unsigned n) {
    cleanup(spool_close_p) struct spool *spool = calloc(1, sizeof *spool);
    int r;

    if (!spool)
        return -ENOMEM;
    spool->folder = -1;
    spool->queue = queue;
    r = folder_make(folder);
    if (r < 0)
        return r;
    spool->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->folder < 0)
        return -errno;
    r = remove_leftovers(spool, folder, jobs, n);
    if (r < 0)
        return r;
    *ret = steal_pointer(&spool);
    return 0;
}

struct spool *spool_close(struct spool *spool) {
    if (!spool)
        return NULL;
    assert(!spool->n_under_way);
    if (spool->folder >= 0)
        close(spool->folder);
    free(spool);
    return NULL;
}

/* ---- errands for the queue ------------------------------------------------------------------- */

struct spool_errand {
    struct spool *spool;
    uint32_t job;
    int fd;       /* of a put */
    bool is_ours; /* the fd: to be closed */
    uint64_t bytes;
    int r;
    void (*done)(void *userdata, int r); /* or NULL */
    void *userdata;
    const char *what;
};

static void answer(struct spool_errand *errand) {
    if (errand->is_ours)
        close(errand->fd);
    if (errand->done)
        errand->done(errand->userdata, errand->r);
    else if (errand->r < 0)
        log_error("the package of job %u: %s it: %s", errand->job, errand->what, strerror(-errand->r));
}

static void on_ran(void *userdata) {
    struct spool_errand *errand = userdata;

    errand->spool->n_under_way--;
    answer(errand);
    free(errand);
}

/* errand: copied. */
static void start(const struct spool_errand *errand, work_fn run) {
    struct spool_errand *copy = malloc(sizeof *copy);
    struct spool_errand failed = *errand;

    failed.r = copy ? 0 : -ENOMEM;
    if (copy) {
        *copy = *errand;
        failed.r = work_queue_add(errand->spool->queue, run, on_ran, copy);
    }
    if (failed.r == 0) {
        errand->spool->n_under_way++;
        return;
    }
    free(copy);
    answer(&failed);
}

/* ---- put ------------------------------------------------------------------------------------- */

static int write_chunk(int fd, const uint8_t *chunk, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, chunk + done, size - done);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

static int copy_bytes(int to, int from, uint64_t bytes) {
    cleanup(free_p) uint8_t *chunk = malloc(CHUNK_BYTES);
    uint64_t done = 0;

    if (!chunk)
        return -ENOMEM;
    while (done < bytes) {
        size_t wanted = bytes - done < CHUNK_BYTES ? (size_t)(bytes - done) : CHUNK_BYTES;
        ssize_t n = pread(from, chunk, wanted, (off_t)done);
        int r;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        r = write_chunk(to, chunk, (size_t)n);
        if (r < 0)
            return r;
        done += (uint64_t)n;
    }
    return fsync(to) < 0 ? -errno : 0;
}

/* What stands under the temporary name is left over from a put that failed, or from somebody else. */
static int write_temporary(const struct spool_errand *errand, const char *name) {
    cleanup(close_fd_p) int fd = -1;

    if (unlinkat(errand->spool->folder, name, 0) < 0 && errno != ENOENT)
        return -errno;
    fd = openat(errand->spool->folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : copy_bytes(fd, errand->fd, errand->bytes);
}

static void run_put(void *userdata) {
    struct spool_errand *errand = userdata;
    int folder = errand->spool->folder;
    char name[SPOOL_NAME_MAX], temporary[2 * SPOOL_NAME_MAX];

    name_file(errand->job, name);
    snprintf(temporary, sizeof temporary, TEMPORARY "%s", name);
    errand->r = write_temporary(errand, temporary);
    if (errand->r == 0 && renameat(folder, temporary, folder, name) < 0)
        errand->r = -errno;
    if (errand->r < 0) {
        unlinkat(folder, temporary, 0);
        return;
    }
    if (fsync(folder) < 0) {
        errand->r = -errno;
        unlinkat(folder, name, 0);
    }
}

void spool_put(struct spool *spool, uint32_t job, int fd, uint64_t bytes, void (*done)(void *userdata, int r),
               void *userdata) {
    struct spool_errand errand = { .spool = spool,
                                   .job = job,
                                   .fd = fd,
                                   .is_ours = !done,
                                   .bytes = bytes,
                                   .done = done,
                                   .userdata = userdata,
                                   .what = "keeping" };

    if (!done)
        errand.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (!done && errand.fd < 0) {
        log_error("the package of job %u: keeping it: %s", job, strerror(errno));
        return;
    }
    start(&errand, run_put);
}

/* ---- open and remove ------------------------------------------------------------------------- */

int spool_open_file(struct spool *spool, uint32_t job, int *ret, uint64_t *ret_bytes) {
    char name[SPOOL_NAME_MAX];
    struct stat st;
    int r;

    name_file(job, name);
    r = regular_open(spool->folder, name, ret, &st);
    if (r == 0)
        *ret_bytes = (uint64_t)st.st_size;
    return r;
}

/* Not synced: one that comes back is removed as a leftover. */
static void run_remove(void *userdata) {
    struct spool_errand *errand = userdata;
    char name[SPOOL_NAME_MAX];

    name_file(errand->job, name);
    if (unlinkat(errand->spool->folder, name, 0) < 0 && errno != ENOENT)
        errand->r = -errno;
}

void spool_remove(struct spool *spool, uint32_t job) {
    const struct spool_errand errand = { .spool = spool, .job = job, .fd = -1, .what = "removing" };

    start(&errand, run_remove);
}
