#pragma once

/*
 * The folder in which packages lie, and what a file in it is worth. Everything here blocks: for the work
 * queue, or before the loop runs.
 *
 * A file is called by its SHA-256. One in quarantine has a name of its own, so that it stays there even when
 * the database is lost.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/firmware/package.h"

struct store_folder {
    char *path;
    int fd;
    unsigned n_temporary; /* names given out */
};

#define STORE_NAME_MAX 96

/* Bytes of a file. */
struct store_bytes {
    uint8_t *bytes;
    size_t size;
};

void store_bytes_free_p(struct store_bytes *bytes);

/* Made if absent (0700). Negative errno. */
must_check int store_folder_init(struct store_folder *folder, const char *path);
void store_folder_deinit(struct store_folder *folder);

/* "<sha256>.tar.gz", in quarantine "<sha256>.tar.gz.quarantined". */
void store_file_name(const char *sha256, bool quarantined, char ret[static STORE_NAME_MAX]);
/* The other way round; false: it is no such name. */
bool store_file_name_parse(const char *name, char ret_sha256[static 65], bool *ret_quarantined);
bool store_file_name_is_temporary(const char *name);

/* A regular file of that size is there. -ENOENT, -EUCLEAN: of another size or kind. */
must_check int store_file_stat(const struct store_folder *folder, const char *name, uint64_t bytes);
/* A regular file, to be read; *ret is the caller's. */
must_check int store_file_open(const struct store_folder *folder, const char *name, int *ret);
/* Appears whole or not at all: a temporary name, fsync, rename, fsync. */
must_check int store_file_write(struct store_folder *folder, const char *name,
                                const struct store_bytes *bytes);
must_check int store_file_rename(const struct store_folder *folder, const char *from, const char *to);
/* One that isn't there is fine. */
must_check int store_file_remove(const struct store_folder *folder, const char *name);

/* All of fd from its beginning; -EFBIG: more than a package may have. */
must_check int store_bytes_read(struct store_bytes *ret, int fd);
enum store_digest { STORE_SHA1, STORE_SHA256 };
/* Lower-case hex: 40 or 64 digits and a NUL. */
must_check int store_bytes_digest(const struct store_bytes *bytes, enum store_digest digest, char *ret);

enum store_finding {
    STORE_SOUND,      /* the very bytes, and a package */
    STORE_ABSENT,     /* no such file */
    STORE_ALTERED,    /* not the bytes that its name says */
    STORE_NO_PACKAGE, /* the very bytes, but not, or no longer, a package that can be used */
};

struct store_check {
    enum store_finding finding;
    struct fault why;                 /* for all but SOUND */
    struct firmware_package *package; /* when SOUND; the caller's */
    char sha1[41];                    /* when SOUND or NO_PACKAGE */
};

/* Reads and checks everything. An error (SYSTEM, NO_MEMORY) says nothing about the file. */
must_check enum wipyd_error store_file_check(struct store_check *ret, const struct store_folder *folder,
                                             const char *name, const char *sha256, const char *package_name,
                                             struct fault *fault);
