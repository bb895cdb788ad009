#include "client/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client/copy.h"
#include "client/failure.h"

static enum exit_code cant_write(struct client *client, const struct folder *folder, int error,
                                 const char *story) {
    cleanup(sd_bus_error_free) sd_bus_error named = SD_BUS_ERROR_NULL;
    const char *subject = client->subject;
    enum exit_code code;

    sd_bus_error_set_errno(&named, error);
    client->subject = folder->path;
    code = failure_report(client, &(struct failure) {
                                      .exit_code = EXIT_FAILED,
                                      .name = named.name,
                                      .message = "The folder can't be written.",
                                      .story = story ? story : named.message,
                                      .hint = "Name another folder with -o, or move what is there away.",
                                  });
    client->subject = subject;
    return code;
}

static void block_signals(struct folder *folder) {
    sigset_t ends;

    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &ends, &folder->before);
}

enum exit_code folder_open(struct client *client, struct folder *folder, const char *path) {
    const char *slash = strrchr(path, '/');
    struct stat status;

    *folder = (struct folder) { .fd = -1 };
    block_signals(folder);
    folder->path = strdup(path);
    if (!folder->path ||
        asprintf(&folder->temporary, "%.*s.wipyctl-XXXXXX", slash ? (int)(slash + 1 - path) : 0, path) < 0) {
        folder->temporary = NULL;
        return failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    }
    if (!lstat(path, &status))
        return cant_write(client, folder, -EEXIST, NULL);
    if (!mkdtemp(folder->temporary)) { /* mode 0700 */
        int error = -errno;

        free(folder->temporary);
        folder->temporary = NULL;
        return cant_write(client, folder, error, NULL);
    }
    folder->fd = open(folder->temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return folder->fd < 0 ? cant_write(client, folder, -errno, NULL) : EXIT_DONE;
}

enum exit_code folder_add(struct client *client, struct folder *folder, const char *name, int fd,
                          uint64_t bytes) {
    cleanup(close_fd_p) int file =
        openat(folder->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    int64_t n;

    if (file < 0)
        return cant_write(client, folder, -errno, NULL);
    n = copy_fd(fd, file, bytes);
    if (n < 0)
        return cant_write(client, folder, (int)n, NULL);
    if ((uint64_t)n != bytes)
        return failure_known(client, WIPYD_ERROR_BACKUP_INVALID, "a file hasn't the size that it had");
    /* Whatever the umask took away. */
    if (fchmod(file, 0600) < 0 || fsync(file) < 0)
        return cant_write(client, folder, -errno, NULL);
    return EXIT_DONE;
}

/* Not every file system knows how to rename without replacing; a folder replaces an empty one at most. */
static int put_in_place(const char *from, const char *to) {
    if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE))
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (!faccessat(AT_FDCWD, to, F_OK, AT_SYMLINK_NOFOLLOW))
        return -EEXIST;
    return rename(from, to) < 0 ? -errno : 0;
}

enum exit_code folder_finish(struct client *client, struct folder *folder) {
    int r = fsync(folder->fd) < 0 ? -errno : put_in_place(folder->temporary, folder->path);

    if (r < 0)
        return cant_write(client, folder, r, NULL);
    free(folder->temporary);
    folder->temporary = NULL;
    return EXIT_DONE;
}

static void remove_files(int fd) {
    DIR *dir = fdopendir(dup(fd));
    const struct dirent *entry;

    while (dir && (entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            unlinkat(fd, entry->d_name, 0);
    if (dir)
        closedir(dir);
}

void folder_close(struct folder *folder) {
    if (folder->temporary && folder->fd >= 0)
        remove_files(folder->fd);
    if (folder->temporary)
        rmdir(folder->temporary);
    close_fd_p(&folder->fd);
    free(folder->temporary);
    free(folder->path);
    pthread_sigmask(SIG_SETMASK, &folder->before, NULL);
}
