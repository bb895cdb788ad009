#include "daemon/firmware/store_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/bytes.h"
#include "daemon/base/folder.h"
#include "daemon/base/regular.h"
#include "proto/names.h"

#define ENDING      ".tar.gz"
#define QUARANTINED ".quarantined"
#define TEMPORARY   ".new-"

void store_bytes_free_p(struct store_bytes *bytes) {
    free(bytes->bytes);
    *bytes = (struct store_bytes) { 0 };
}

/* ---- the folder ------------------------------------------------------------------------------ */

int store_folder_init(struct store_folder *folder, const char *path) {
    int r;

    *folder = (struct store_folder) { .fd = -1 };
    r = folder_make(path);
    if (r < 0)
        return r;
    folder->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->fd < 0)
        return -errno;
    folder->path = strdup(path);
    if (!folder->path) {
        store_folder_deinit(folder);
        return -ENOMEM;
    }
    return 0;
}

void store_folder_deinit(struct store_folder *folder) {
    if (folder->fd >= 0)
        close(folder->fd);
    free(folder->path);
    *folder = (struct store_folder) { .fd = -1 };
}

static int sync_folder(const struct store_folder *folder) {
    return fsync(folder->fd) < 0 ? -errno : 0;
}

/* ---- names ----------------------------------------------------------------------------------- */

void store_file_name(const char *sha256, bool quarantined, char ret[static STORE_NAME_MAX]) {
    snprintf(ret, STORE_NAME_MAX, "%.64s" ENDING "%s", sha256, quarantined ? QUARANTINED : "");
}

bool store_file_name_parse(const char *name, char ret_sha256[static 65], bool *ret_quarantined) {
    if (strspn(name, "0123456789abcdef") != 64)
        return false;
    if (strcmp(name + 64, ENDING) == 0)
        *ret_quarantined = false;
    else if (strcmp(name + 64, ENDING QUARANTINED) == 0)
        *ret_quarantined = true;
    else
        return false;
    memcpy(ret_sha256, name, 64);
    ret_sha256[64] = 0;
    return true;
}

bool store_file_name_is_temporary(const char *name) {
    return strncmp(name, TEMPORARY, strlen(TEMPORARY)) == 0;
}

/* ---- files ----------------------------------------------------------------------------------- */

int store_file_stat(const struct store_folder *folder, const char *name, uint64_t bytes) {
    struct stat st;

    if (fstatat(folder->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return S_ISREG(st.st_mode) && (uint64_t)st.st_size == bytes ? 0 : -EUCLEAN;
}

int store_file_open(const struct store_folder *folder, const char *name, int *ret) {
    struct stat st;

    return regular_open(folder->fd, name, ret, &st);
}

static int write_all(int fd, const struct store_bytes *bytes) {
    for (size_t done = 0; done < bytes->size;) {
        ssize_t n = write(fd, bytes->bytes + done, bytes->size - done);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    return fsync(fd) < 0 ? -errno : 0;
}

/* Whatever stands under a temporary name now is left over from somebody who was killed. */
static int write_temporary(struct store_folder *folder, char *name, size_t size,
                           const struct store_bytes *bytes) {
    cleanup(close_fd_p) int fd = -1;

    do {
        snprintf(name, size, TEMPORARY "%ld-%u", (long)getpid(), folder->n_temporary++);
        fd = openat(folder->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    } while (fd < 0 && errno == EEXIST);
    return fd < 0 ? -errno : write_all(fd, bytes);
}

int store_file_write(struct store_folder *folder, const char *name, const struct store_bytes *bytes) {
    char temporary[STORE_NAME_MAX];
    int r = write_temporary(folder, temporary, sizeof temporary, bytes);

    if (r == 0 && renameat(folder->fd, temporary, folder->fd, name) < 0)
        r = -errno;
    if (r < 0) {
        unlinkat(folder->fd, temporary, 0);
        return r;
    }
    r = sync_folder(folder);
    if (r < 0)
        unlinkat(folder->fd, name, 0);
    return r;
}

int store_file_rename(const struct store_folder *folder, const char *from, const char *to) {
    return renameat(folder->fd, from, folder->fd, to) < 0 ? -errno : sync_folder(folder);
}

int store_file_remove(const struct store_folder *folder, const char *name) {
    if (unlinkat(folder->fd, name, 0) < 0)
        return errno == ENOENT ? 0 : -errno;
    return sync_folder(folder);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Not mapped: a file that somebody cuts short meanwhile would be the end of us. */
int store_bytes_read(struct store_bytes *ret, int fd) {
    cleanup(free_p) uint8_t *bytes = NULL;
    struct stat st;
    size_t done = 0;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size > (off_t)WIPYD_PACKAGE_BYTES_MAX)
        return -EFBIG;
    bytes = malloc((size_t)st.st_size + 1);
    if (!bytes)
        return -ENOMEM;
    while (done < (size_t)st.st_size) {
        ssize_t n = pread(fd, bytes + done, (size_t)st.st_size - done, (off_t)done);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -EIO; /* it shrinks */
        if (n > 0)
            done += (size_t)n;
    }
    ret->size = done;
    ret->bytes = steal_pointer(&bytes);
    return 0;
}

int store_bytes_digest(const struct store_bytes *bytes, enum store_digest digest, char *ret) {
    uint8_t value[EVP_MAX_MD_SIZE];
    unsigned size;

    if (EVP_Digest(bytes->bytes, bytes->size, value, &size, digest == STORE_SHA1 ? EVP_sha1() : EVP_sha256(),
                   NULL) != 1)
        return -EIO;
    hex_encode(value, size, ret);
    return 0;
}

/* ---- the check ------------------------------------------------------------------------------- */

static enum wipyd_error find(struct store_check *check, enum store_finding finding, const char *what) {
    check->finding = finding;
    fault_set(&check->why, WIPYD_ERROR_NO_SUCH_FIRMWARE, "%s", what);
    return WIPYD_ERROR_NONE;
}

static int read_file(const struct store_folder *folder, const char *name, struct store_bytes *ret) {
    cleanup(close_fd_p) int fd = -1;
    int r = store_file_open(folder, name, &fd);

    return r < 0 ? r : store_bytes_read(ret, fd);
}

static enum wipyd_error read_package(struct store_check *check, const struct store_bytes *bytes,
                                     const char *package_name, struct fault *fault) {
    enum wipyd_error error =
        firmware_package_read(&check->package, bytes->bytes, bytes->size, package_name, &check->why);

    if (error == WIPYD_ERROR_SYSTEM || error == WIPYD_ERROR_NO_MEMORY)
        return fault_set(fault, error, "%s", check->why.story);
    check->finding = error ? STORE_NO_PACKAGE : STORE_SOUND;
    return WIPYD_ERROR_NONE;
}

enum wipyd_error store_file_check(struct store_check *ret, const struct store_folder *folder,
                                  const char *name, const char *sha256, const char *package_name,
                                  struct fault *fault) {
    cleanup(store_bytes_free_p) struct store_bytes bytes = { 0 };
    char found[65], story[160];
    int r;

    *ret = (struct store_check) { 0 };
    r = read_file(folder, name, &bytes);
    if (r == -ENOENT)
        return find(ret, STORE_ABSENT, "the file is not there");
    if (r == -EUCLEAN || r == -ELOOP)
        return find(ret, STORE_ALTERED, "it is not a regular file");
    if (r == -EFBIG)
        return find(ret, STORE_ALTERED, "the file is longer than a package may be");
    if (r == 0)
        r = store_bytes_digest(&bytes, STORE_SHA256, found);
    if (r == 0)
        r = store_bytes_digest(&bytes, STORE_SHA1, ret->sha1);
    if (r < 0)
        return fault_errno(fault, r, "%s/%s", folder->path, name);
    if (strcmp(found, sha256) != 0) {
        snprintf(story, sizeof story, "the file is damaged: its SHA-256 is %s", found);
        return find(ret, STORE_ALTERED, story);
    }
    return read_package(ret, &bytes, package_name, fault);
}
