#include "daemon/base/regular.h"

#include <errno.h>
#include <fcntl.h>

int regular_open(int dir, const char *name, int *ret, struct stat *ret_st) {
    cleanup(close_fd_p) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    if (fstat(fd, ret_st) < 0)
        return -errno;
    if (!S_ISREG(ret_st->st_mode))
        return -EUCLEAN;
    *ret = fd;
    fd = -1;
    return 0;
}
