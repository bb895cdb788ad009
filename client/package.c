#include "client/package.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "client/failure.h"
#include "client/text.h"
#include "proto/names.h"

static bool ends_with(const char *text, const char *end) {
    size_t length = strlen(text), end_length = strlen(end);

    return length > end_length && !strcmp(text + length - end_length, end);
}

bool package_is_file(const char *argument) {
    struct stat status;

    if (strchr(argument, '/') || ends_with(argument, ".tar.gz") || ends_with(argument, ".tgz"))
        return true;
    return !stat(argument, &status) && S_ISREG(status.st_mode);
}

static enum exit_code cant_read(const struct client *client, const char *path, int error) {
    cleanup(free_p) char *message = NULL;
    enum exit_code code = error == -ENOENT || error == -ENOTDIR ? EXIT_NOT_FOUND : EXIT_FAILED;
    cleanup(sd_bus_error_free) sd_bus_error named = SD_BUS_ERROR_NULL;

    sd_bus_error_set_errno(&named, error);
    if (asprintf(&message, "%s: can't be read.", path) < 0)
        message = NULL;
    return failure_report(client, &(struct failure) {
                                      .exit_code = code,
                                      .name = named.name,
                                      .message = message ? message : "The file can't be read.",
                                      .story = named.message,
                                      .hint = "Give a package file that exists and that you may read.",
                                  });
}

static enum exit_code refuse(const struct client *client, const char *path, enum wipyd_error error,
                             const char *what) {
    cleanup(free_p) char *story = NULL;

    if (asprintf(&story, "%s: %s", path, what) < 0)
        story = NULL;
    return failure_known(client, error, story);
}

/* Bytes copied, at most one more than max, which tells that there are more; or a negative errno. */
static ssize_t copy(int from, int to, size_t max) {
    char buffer[32 * 1024];
    size_t total = 0;

    while (total <= max) {
        ssize_t n = read(from, buffer, sizeof(buffer)), written;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : (ssize_t)total;
        written = write(to, buffer, (size_t)n);
        if (written != n)
            return written < 0 ? -errno : -ENOSPC;
        total += (size_t)n;
    }
    return (ssize_t)max + 1;
}

enum exit_code package_open(const struct client *client, const char *path, int *fd, char **name) {
    cleanup(close_fd_p) int file = -1, memory = -1;
    const char *slash = strrchr(path, '/');
    char limit[64], size[TEXT_SIZE];
    struct stat status;
    ssize_t n;

    /* O_NONBLOCK: a FIFO is to be refused, not waited for. */
    file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (file < 0 || fstat(file, &status) < 0)
        return cant_read(client, path, -errno);
    if (!S_ISREG(status.st_mode))
        return refuse(client, path, WIPYD_ERROR_PACKAGE_INVALID,
                      S_ISDIR(status.st_mode) ? "this is a directory" : "this is no regular file");

    memory = memfd_create("wipyctl-package", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0)
        return failure_system(client, "No memory file for the package.", -errno);
    n = copy(file, memory, WIPYD_PACKAGE_BYTES_MAX);
    if (n < 0)
        return cant_read(client, path, (int)n);
    if (n == 0)
        return refuse(client, path, WIPYD_ERROR_PACKAGE_INVALID, "the file is empty");
    if (n > (ssize_t)WIPYD_PACKAGE_BYTES_MAX) {
        snprintf(limit, sizeof(limit), "more than %s", text_bytes(size, WIPYD_PACKAGE_BYTES_MAX));
        return refuse(client, path, WIPYD_ERROR_PACKAGE_TOO_LARGE, limit);
    }
    if (lseek(memory, 0, SEEK_SET) < 0 ||
        fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return failure_system(client, "The package can't be sealed.", -errno);

    *name = strdup(slash ? slash + 1 : path);
    if (!*name)
        return failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    text_clean(*name); /* D-Bus takes UTF-8 alone */
    *fd = steal_fd(&memory);
    return EXIT_DONE;
}
