#include "client/copy.h"

#include <errno.h>

static int write_all(int to, const char *bytes, size_t n) {
    while (n) {
        ssize_t written = write(to, bytes, n);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return written < 0 ? -errno : -ENOSPC;
        bytes += written;
        n -= (size_t)written;
    }
    return 0;
}

int64_t copy_fd(int from, int to, size_t max) {
    char buffer[32 * 1024];
    size_t total = 0;

    for (;;) {
        ssize_t n = read(from, buffer, sizeof(buffer));
        int r;

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : (int64_t)total;
        if ((size_t)n > max - total)
            return (int64_t)max + 1;
        r = write_all(to, buffer, (size_t)n);
        if (r < 0)
            return r;
        total += (size_t)n;
    }
}
