#include "daemon/firmware/source_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "daemon/base/regular.h"
#include "daemon/firmware/archive.h"

#define PACKAGE_SUFFIX ".tar.gz"

static bool is_package_name(const char *name) {
    size_t length = strlen(name), suffix = strlen(PACKAGE_SUFFIX);

    return name[0] != '.' && length > suffix && !strcmp(name + length - suffix, PACKAGE_SUFFIX) &&
           firmware_name_is_plain(name);
}

static int by_name(const void *a, const void *b) {
    const struct firmware_folder_file *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static int add_file(struct firmware_folder *folder, const char *name, const struct stat *status) {
    struct firmware_folder_file *file;

    if (folder->n == FIRMWARE_FOLDER_FILES_MAX)
        return -E2BIG;
    if (folder->n % 16 == 0) {
        void *more = reallocarray(folder->files, folder->n + 16, sizeof *folder->files);

        if (!more)
            return -ENOMEM;
        folder->files = more;
    }
    file = &folder->files[folder->n++];
    *file = (struct firmware_folder_file) {
        .bytes = (uint64_t)status->st_size,
        .mtime_ns = (int64_t)status->st_mtim.tv_sec * 1000000000 + status->st_mtim.tv_nsec,
        .is_new = true,
    };
    snprintf(file->name, sizeof file->name, "%.63s", name); /* plain, so it fits */
    return 0;
}

int firmware_folder_list(struct firmware_folder *ret, const char *path) {
    cleanup(close_dir_p) DIR *dir = opendir(path);
    struct dirent *entry;
    struct stat status;
    int r = 0;

    *ret = (struct firmware_folder) { 0 };
    if (!dir)
        return -errno;
    for (errno = 0; r >= 0 && (entry = readdir(dir)); errno = 0)
        if (is_package_name(entry->d_name) &&
            fstatat(dirfd(dir), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(status.st_mode))
            r = add_file(ret, entry->d_name, &status);
    if (r >= 0 && errno)
        r = -errno;
    if (ret->n > 1)
        qsort(ret->files, ret->n, sizeof *ret->files, by_name);
    return r;
}

void firmware_folder_deinit(struct firmware_folder *folder) {
    free(folder->files);
    *folder = (struct firmware_folder) { 0 };
}

/* ---- memory ---------------------------------------------------------------------------------- */

char *firmware_folder_format(const struct firmware_folder *folder) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return NULL;
    for (size_t i = 0; i < folder->n; i++) {
        const struct firmware_folder_file *file = &folder->files[i];

        if (!file->is_new)
            fprintf(stream, "%" PRIu64 " %" PRId64 " %s %s\n", file->bytes, file->mtime_ns,
                    file->sha256[0] ? file->sha256 : "-", file->name);
    }
    if (fclose(stream) == 0)
        return text;
    free(text);
    return NULL;
}

void firmware_folder_recall(struct firmware_folder *folder, const char *text) {
    struct firmware_folder_file line = { 0 }, *file;

    while (text && *text) {
        if (sscanf(text, "%" SCNu64 " %" SCNd64 " %64s %63[^\n]", &line.bytes, &line.mtime_ns, line.sha256,
                   line.name) == 4) {
            file = folder->n > 0 ? bsearch(&line, folder->files, folder->n, sizeof line, by_name) : NULL;
            if (file && file->bytes == line.bytes && file->mtime_ns == line.mtime_ns) {
                file->is_new = false;
                strcpy(file->sha256, strcmp(line.sha256, "-") != 0 ? line.sha256 : "");
            }
        }
        text += strcspn(text, "\n");
        text += *text == '\n';
    }
}

/* ---- a copy ---------------------------------------------------------------------------------- */

static int open_package(const char *path, const char *name) {
    cleanup(close_fd_p) int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat status;
    int fd, r;

    if (folder < 0)
        return -errno;
    r = regular_open(folder, name, &fd, &status);
    if (r < 0)
        return r == -EUCLEAN ? -EINVAL : r;
    return fd;
}

static int copy_bytes(int from, int to, uint64_t bytes_max, uint64_t *ret_bytes) {
    char buffer[65536];
    ssize_t n;

    *ret_bytes = 0;
    while ((n = read(from, buffer, sizeof buffer)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if ((uint64_t)n > bytes_max - *ret_bytes)
            return -EFBIG;
        for (ssize_t done = 0, written; done < n; done += written) {
            written = write(to, buffer + done, (size_t)(n - done));
            if (written < 0)
                return -errno;
        }
        *ret_bytes += (uint64_t)n;
    }
    return 0;
}

int firmware_folder_copy(const char *path, const char *name, uint64_t bytes_max, int *ret_fd,
                         uint64_t *ret_bytes) {
    cleanup(close_fd_p) int from = open_package(path, name);
    cleanup(close_fd_p) int copy = -1;
    int r;

    if (from < 0)
        return from;
    copy = memfd_create("package", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (copy < 0)
        return -errno;
    r = copy_bytes(from, copy, bytes_max, ret_bytes);
    if (r < 0)
        return r;
    if (fcntl(copy, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return -errno;
    *ret_fd = copy;
    copy = -1;
    return 0;
}
