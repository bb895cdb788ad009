#include "client/save.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client/copy.h"
#include "client/failure.h"

/* story: NULL for what the system says of error. */
static enum exit_code cant_write(struct client *client, const char *path, int error, const char *story) {
    cleanup(sd_bus_error_free) sd_bus_error named = SD_BUS_ERROR_NULL;
    const char *subject = client->subject;
    enum exit_code code;

    sd_bus_error_set_errno(&named, error);
    client->subject = path;
    code = failure_report(client, &(struct failure) {
                                      .exit_code = EXIT_FAILED,
                                      .name = named.name,
                                      .message = "The file can't be written.",
                                      .story = story ? story : named.message,
                                      .hint = error == -EEXIST ? "Name another, or replace it with --force."
                                                               : "Name another file or folder.",
                                  });
    client->subject = subject;
    return code;
}

enum exit_code save_wrong_size(const struct client *client) {
    return failure_report(client, &(struct failure) {
                                      .exit_code = EXIT_FAILED,
                                      .name = wipyd_error_bus_name(WIPYD_ERROR_SYSTEM),
                                      .message = "wipyd's file is damaged: it hasn't the size that it had.",
                                      .hint = "Have it checked with: wipyctl firmware verify",
                                  });
}

enum exit_code save_check(struct client *client, const char *path) {
    struct stat status;

    if (lstat(path, &status) < 0)
        return errno == ENOENT ? EXIT_DONE : cant_write(client, path, -errno, NULL);
    if (!client->options.force)
        return cant_write(client, path, -EEXIST, NULL);
    return S_ISREG(status.st_mode)
               ? EXIT_DONE
               : cant_write(client, path, -EINVAL, "something is there that is no regular file");
}

/* Not every file system knows how to rename without replacing. */
static int put_in_place(const char *from, const char *to, bool may_replace) {
    if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, may_replace ? 0 : RENAME_NOREPLACE))
        return 0;
    if (may_replace || (errno != EINVAL && errno != ENOSYS))
        return -errno;
    if (!faccessat(AT_FDCWD, to, F_OK, AT_SYMLINK_NOFOLLOW))
        return -EEXIST;
    return rename(from, to) < 0 ? -errno : 0;
}

/* As open(2) would have made it: mkostemp(3) is for secrets. */
static int set_usual_mode(int file) {
    mode_t mask = umask(0);

    umask(mask);
    return fchmod(file, 0666 & ~mask) < 0 ? -errno : 0;
}

/* 0, negative errno, or 1 where the size is wrong. */
static int fill(int file, int from, uint64_t bytes) {
    int64_t n = copy_fd(from, file, bytes);
    int r;

    if (n < 0)
        return (int)n;
    if ((uint64_t)n != bytes)
        return 1;
    r = set_usual_mode(file);
    if (r < 0)
        return r;
    return fsync(file) < 0 ? -errno : 0;
}

static void sync_folder(const char *folder) {
    cleanup(close_fd_p) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0)
        (void)fsync(fd);
}

static int save(int from, uint64_t bytes, const char *path, bool may_replace) {
    const char *slash = strrchr(path, '/');
    cleanup(free_p) char *folder = slash ? strndup(path, (size_t)(slash + 1 - path)) : strdup("./");
    cleanup(close_fd_p) int file = -1;
    cleanup(free_p) char *temporary = NULL;
    int r;

    if (!folder || asprintf(&temporary, "%s.wipyctl-XXXXXX", folder) < 0)
        return -ENOMEM;
    file = mkostemp(temporary, O_CLOEXEC);
    if (file < 0)
        return -errno;
    r = fill(file, from, bytes);
    if (!r)
        r = put_in_place(temporary, path, may_replace);
    if (r)
        unlink(temporary);
    else
        sync_folder(folder);
    return r;
}

/* Ctrl-C waits, so that no half file is left. */
enum exit_code save_fd(struct client *client, int fd, uint64_t bytes, const char *path) {
    sigset_t ends, before;
    int r;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &ends, &before);
    r = save(fd, bytes, path, client->options.force);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r < 0)
        return cant_write(client, path, r, NULL);
    return r > 0 ? save_wrong_size(client) : EXIT_DONE;
}
