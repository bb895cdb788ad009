#include "client/package.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "client/copy.h"
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

static enum exit_code cant_read(const struct client *client, int error) {
    cleanup(sd_bus_error_free) sd_bus_error named = SD_BUS_ERROR_NULL;

    sd_bus_error_set_errno(&named, error);
    return failure_report(
        client, &(struct failure) {
                    .exit_code = error == -ENOENT || error == -ENOTDIR ? EXIT_NOT_FOUND : EXIT_FAILED,
                    .name = named.name,
                    .message = "The file can't be read.",
                    .story = named.message,
                    .hint = "Give a package file that exists and that you may read.",
                });
}

/* The file at path in a sealed memfd. */
static enum exit_code seal(const struct client *client, const char *path, int *fd) {
    cleanup(close_fd_p) int file = -1, memory = -1;
    char limit[64], size[TEXT_SIZE];
    struct stat status;
    int64_t n;

    /* O_NONBLOCK: a FIFO is to be refused, not waited for. */
    file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (file < 0 || fstat(file, &status) < 0)
        return cant_read(client, -errno);
    if (!S_ISREG(status.st_mode))
        return failure_known(client, WIPYD_ERROR_PACKAGE_INVALID,
                             S_ISDIR(status.st_mode) ? "this is a directory" : "this is no regular file");

    memory = memfd_create("wipyctl-package", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memory < 0)
        return failure_system(client, "No memory file for the package.", -errno);
    n = copy_fd(file, memory, WIPYD_PACKAGE_BYTES_MAX);
    if (n < 0)
        return cant_read(client, (int)n);
    if (n == 0)
        return failure_known(client, WIPYD_ERROR_PACKAGE_INVALID, "the file is empty");
    if (n > (int64_t)WIPYD_PACKAGE_BYTES_MAX) {
        snprintf(limit, sizeof(limit), "more than %s", text_bytes(size, WIPYD_PACKAGE_BYTES_MAX));
        return failure_known(client, WIPYD_ERROR_PACKAGE_TOO_LARGE, limit);
    }
    if (lseek(memory, 0, SEEK_SET) < 0 ||
        fcntl(memory, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        return failure_system(client, "The package can't be sealed.", -errno);
    *fd = steal_fd(&memory);
    return EXIT_DONE;
}

enum exit_code package_open(struct client *client, const char *path, int *fd, char **name) {
    const char *slash = strrchr(path, '/'), *subject = client->subject;
    enum exit_code code;

    *name = strdup(slash ? slash + 1 : path);
    if (!*name)
        return failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    text_clean(*name); /* D-Bus takes UTF-8 alone */
    client->subject = path;
    code = seal(client, path, fd);
    client->subject = subject;
    return code;
}
