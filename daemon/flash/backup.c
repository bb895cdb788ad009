#include "daemon/flash/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/base/folder.h"
#include "daemon/flash/backup_sums.h"

/* A generation that is being saved: pid and job follow. Hidden, so that it is never taken for a whole one. */
#define NEW_PREFIX ".new-"

static const struct {
    const char *word, *file;
} names[BACKUP_PARTS] = {
    [BACKUP_CONFIG] = { "config", "config.bin" },
    [BACKUP_NVS] = { "nvs", "nvs.bin" },
    [BACKUP_OTADATA] = { "otadata", "otadata.bin" },
};

const char *backup_part_word(enum backup_part part) {
    return names[part].word;
}

const char *backup_part_file(enum backup_part part) {
    return names[part].file;
}

/* Reads exactly size bytes of a file in dir; NULL when it has another size or can't be read. */
static uint8_t *read_exactly(int dir, const char *name, uint32_t size) {
    /* A FIFO must not hold us up until somebody writes to it. */
    cleanup(close_fd_p) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    cleanup(free_p) uint8_t *bytes = NULL;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size != (off_t)size)
        return NULL;
    bytes = malloc(size);
    if (!bytes || pread(fd, bytes, size, 0) != (ssize_t)size)
        return NULL;
    return steal_pointer(&bytes);
}

/* The name of the newest generation: they sort by time. Empty when there is none. */
static void newest_generation(const char *board_folder, char *ret, size_t size) {
    cleanup(close_dir_p) DIR *dir = opendir(board_folder);
    const struct dirent *entry;

    *ret = 0;
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, ret) > 0)
            snprintf(ret, size, "%s", entry->d_name);
}

void backup_load_newest(const char *folder, const char *mac, const struct backup *like, struct backup *ret) {
    char path[4096], generation[256];
    cleanup(close_fd_p) int dir = -1;

    memset(ret, 0, sizeof *ret);
    snprintf(path, sizeof path, "%s/%s", folder, mac);
    newest_generation(path, generation, sizeof generation);
    if (!*generation)
        return;
    snprintf(path, sizeof path, "%s/%s/%s", folder, mac, generation);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; dir >= 0 && i < BACKUP_PARTS; i++) {
        ret->parts[i].offset = like->parts[i].offset;
        ret->parts[i].size = like->parts[i].size;
        if (like->parts[i].size)
            ret->parts[i].bytes = read_exactly(dir, names[i].file, like->parts[i].size);
        if (ret->parts[i].bytes &&
            backup_sums_check(dir, (enum backup_part)i, ret->parts[i].bytes, ret->parts[i].size) < 0) {
            free(ret->parts[i].bytes);
            ret->parts[i].bytes = NULL;
        }
    }
}

static bool equals_newest(const char *folder, const char *mac, const struct backup *backup) {
    struct backup newest;
    bool equal = true;

    backup_load_newest(folder, mac, backup, &newest);
    for (int i = 0; i < BACKUP_PARTS; i++) {
        const struct backup_area *part = &backup->parts[i];

        if (part->size &&
            (!newest.parts[i].bytes || memcmp(newest.parts[i].bytes, part->bytes, part->size) != 0))
            equal = false;
    }
    backup_deinit(&newest);
    return equal;
}

static int sync_folder(const char *path) {
    cleanup(close_fd_p) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int write_file(int dir, const char *name, const void *bytes, size_t size) {
    cleanup(close_fd_p) int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = write(fd, bytes, size);
    if (n < 0)
        return -errno;
    if ((size_t)n != size)
        return -ENOSPC;
    return fsync(fd) < 0 ? -errno : 0;
}

/* All parts into the new folder at path. */
static int write_parts(const char *path, const struct backup *backup) {
    cleanup(close_fd_p) int dir = -1;
    char sums[BACKUP_SUMS_MAX];
    int r = backup_sums_make(backup, sums);

    if (r < 0)
        return r;
    if (mkdir(path, 0700) < 0)
        return -errno;
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    for (int i = 0; i < BACKUP_PARTS; i++)
        if (backup->parts[i].size) {
            r = write_file(dir, names[i].file, backup->parts[i].bytes, backup->parts[i].size);
            if (r < 0)
                return r;
        }
    r = write_file(dir, BACKUP_SUMS_FILE, sums, strlen(sums));
    if (r < 0)
        return r;
    return fsync(dir) < 0 ? -errno : 0;
}

static void remove_parts(const char *path) {
    char file[4200];

    for (int i = 0; i < BACKUP_PARTS; i++) {
        snprintf(file, sizeof file, "%s/%s", path, names[i].file);
        unlink(file);
    }
    snprintf(file, sizeof file, "%s/" BACKUP_SUMS_FILE, path);
    unlink(file);
    rmdir(path);
}

/* What a daemon that was killed has left half saved. Our own may belong to a job that is under way. */
static void remove_leftovers(const char *board_folder) {
    cleanup(close_dir_p) DIR *dir = opendir(board_folder);
    const struct dirent *entry;
    char own[32], path[4000];

    snprintf(own, sizeof own, NEW_PREFIX "%ld-", (long)getpid());
    while (dir && (entry = readdir(dir)))
        if (!strncmp(entry->d_name, NEW_PREFIX, strlen(NEW_PREFIX)) &&
            strncmp(entry->d_name, own, strlen(own)) != 0) {
            snprintf(path, sizeof path, "%s/%s", board_folder, entry->d_name);
            remove_parts(path);
        }
}

enum wipyd_error backup_save(const char *folder, const char *mac, uint32_t job_id,
                             const struct backup *backup, struct fault *fault) {
    char board[3000], fresh[3100], final[3200], stamp[32];
    struct timespec now;
    struct tm tm;
    int r;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%S", &tm);
    snprintf(board, sizeof board, "%s/%s", folder, mac);
    snprintf(fresh, sizeof fresh, "%s/" NEW_PREFIX "%ld-%u", board, (long)getpid(), job_id);
    snprintf(final, sizeof final, "%s/%s.%03ldZ-%u", board, stamp, now.tv_nsec / 1000000, job_id);

    /* Whoever saved it may have been killed before it synced the name. */
    if (equals_newest(folder, mac, backup) && sync_folder(board) == 0)
        return WIPYD_ERROR_NONE;
    r = folder_make(folder);
    if (!r)
        r = folder_make(board);
    if (!r) {
        remove_leftovers(board);
        remove_parts(fresh);
        r = write_parts(fresh, backup);
    }
    if (!r && rename(fresh, final) < 0)
        r = -errno;
    if (!r)
        r = sync_folder(board);
    if (r < 0) {
        remove_parts(fresh);
        return fault_set(fault, WIPYD_ERROR_BACKUP_FAILED, "saving to %s: %s", board, strerror(-r));
    }
    return WIPYD_ERROR_NONE;
}

void backup_deinit(struct backup *backup) {
    for (int i = 0; i < BACKUP_PARTS; i++)
        free(backup->parts[i].bytes);
    memset(backup, 0, sizeof *backup);
}
