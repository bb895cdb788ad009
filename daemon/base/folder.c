#include "daemon/base/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int folder_make(const char *path) {
    cleanup(close_fd_p) int fd = -1;
    char parent[4096];
    char *slash;

    if (snprintf(parent, sizeof parent, "%s", path) >= (int)sizeof parent)
        return -ENAMETOOLONG;
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return -errno;
    slash = strrchr(parent, '/');
    if (slash)
        slash[1] = 0; /* "/" stays what it is */
    fd = open(slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}
