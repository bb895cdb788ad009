#pragma once

/*
 * A folder of packages on this machine: what is in it, and a copy of one that nobody can change. Everything
 * here blocks: for the work queue. Links are not followed, other kinds of file not opened.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/clean.h"

#define FIRMWARE_FOLDER_FILES_MAX 512u

struct firmware_folder_file {
    char name[64]; /* plain (firmware_name_is_plain), ends in ".tar.gz" */
    uint64_t bytes;
    int64_t mtime_ns;
    char sha256[65]; /* what the store made of it; empty: refused, or not yet known */
    bool is_new;     /* nothing remembered of it as it is now */
};

struct firmware_folder {
    struct firmware_folder_file *files; /* by name */
    size_t n;
};

/* ret: deinit afterwards. Negative errno; -E2BIG: more than FIRMWARE_FOLDER_FILES_MAX packages. */
must_check int firmware_folder_list(struct firmware_folder *ret, const char *path);
void firmware_folder_deinit(struct firmware_folder *folder);
/* What is remembered between polls, one line a file; and back: fills in sha256 and is_new of the files that
 * are as remembered. Text is to be freed, NULL: no memory. */
char *firmware_folder_format(const struct firmware_folder *folder);
void firmware_folder_recall(struct firmware_folder *folder, const char *text);
/* A sealed copy in memory. Negative errno: -EFBIG past bytes_max, -ELOOP for a link, -EINVAL for what is no
 * regular file. */
must_check int firmware_folder_copy(const char *path, const char *name, uint64_t bytes_max, int *ret_fd,
                                    uint64_t *ret_bytes);
