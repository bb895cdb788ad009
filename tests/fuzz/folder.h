#pragma once

/* A folder of a target's own, in memory where the machine has such: run.py says where (TMPDIR), and removes
 * what a crash leaves. */

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

static inline const char *own_folder(void) {
    static char path[256];
    const char *base = getenv("TMPDIR");

    if (!*path) {
        snprintf(path, sizeof path, "%s/wipyd-fuzz-XXXXXX", base ? base : "/tmp");
        must(mkdtemp(path));
    }
    return path;
}

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind;
    return ftw->level > 0 ? remove(path) : 0;
}

/* Removes all that is in it. */
static inline void empty_folder(const char *path) {
    must(nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
}

static inline void remove_folder_at_exit(void) {
    empty_folder(own_folder());
    rmdir(own_folder());
}

static inline void write_file(const char *path, const void *bytes, size_t size) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    must(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}
