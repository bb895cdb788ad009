// liblines.so, preloaded into a program that opens simulated boards: what a pseudo-terminal lacks.
//
// - WIPYD_LINES=FOLDER: DTR and RTS of every pty that FOLDER/NAME.tty leads to. open() raises both, as a real
//   driver does, close() drops them where HUPCL is set, and TIOCMGET, TIOCMSET, TIOCMBIS and TIOCMBIC work:
//   they go to the board over FOLDER/NAME.ctl as "lines DTR RTS". Each call is a line in FOLDER/NAME.lines:
//   "open 1 1", "get 0 0", "set 0 1", "close 0 0".
// - UMOCKDEV_DIR=FOLDER: /dev/X is what the link FOLDER/dev/X leads to. libumockdev-preload could do that
// too, but
//   it sends every ioctl of such a file through another process and takes no more than 50 of them.
#include <asm/termbits.h> // termios2; excludes <termios.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS_MAX      1024
#define ANSWER_MAX_S 10

struct lines {
    int control; // 0: this fd is none of ours
    int log;
    int state; // TIOCM_DTR | TIOCM_RTS
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct lines lines_of[FDS_MAX];

// The function that this one stands before. The pointer types differ, so the address is copied.
static void find_next(void *pointer, const char *name) {
    void *found = dlsym(RTLD_NEXT, name);

    if (!found) {
        fprintf(stderr, "liblines: no %s\n", name);
        abort();
    }
    memcpy(pointer, &found, sizeof(found));
}

static int next_close(int fd) {
    static int (*next)(int);

    if (!next)
        find_next(&next, "close");
    return next(fd);
}

static int next_ioctl(int fd, unsigned long request, void *argument) {
    static int (*next)(int, unsigned long, ...);

    if (!next)
        find_next(&next, "ioctl");
    return next(fd, request, argument);
}

static int next_open(const char *path, int flags, mode_t mode) {
    static int (*next)(const char *, int, ...);

    if (!next)
        find_next(&next, "open");
    return next(path, flags, mode);
}

// ---- the board
// --------------------------------------------------------------------------------------------------------

static int connect_control(const char *path) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const struct timeval limit = { .tv_sec = ANSWER_MAX_S };
    int fd;

    if (strlen(path) >= sizeof(address.sun_path))
        return -1;
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    next_close(fd);
    return -1;
}

// Whose tty this is: *ret is FOLDER/NAME.
static bool find_board(const char *folder, dev_t rdev, char *ret, size_t size) {
    DIR *directory = opendir(folder);
    bool found = false;
    struct dirent *entry;
    struct stat status;

    while (directory && !found && (entry = readdir(directory))) {
        size_t len = strlen(entry->d_name);
        if (len < 5 || strcmp(entry->d_name + len - 4, ".tty") != 0)
            continue;
        snprintf(ret, size, "%s/%s", folder, entry->d_name);
        found = stat(ret, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == rdev;
        if (found)
            ret[strlen(ret) - 4] = 0;
    }
    if (directory)
        closedir(directory);
    return found;
}

// Sets the lines and waits until the board has them. False: it is gone.
static bool tell(struct lines *l, int state) {
    char text[64];
    ssize_t n;

    l->state = state;
    snprintf(text, sizeof(text), "lines %d %d\n", (state & TIOCM_DTR) != 0, (state & TIOCM_RTS) != 0);
    if (send(l->control, text, strlen(text), MSG_NOSIGNAL) < 0)
        return false;
    n = recv(l->control, text, sizeof(text), 0); // "ok\n", in one piece
    return n > 0 && strncmp(text, "ok", 2) == 0;
}

static void note(const struct lines *l, const char *what) {
    char text[64];

    snprintf(text, sizeof(text), "%s %d %d\n", what, (l->state & TIOCM_DTR) != 0,
             (l->state & TIOCM_RTS) != 0);
    if (write(l->log, text, strlen(text)) < 0)
        perror("liblines");
}

// ---- open and close
// ---------------------------------------------------------------------------------------------------

static void adopt(int fd) {
    const char *folder = getenv("WIPYD_LINES");
    char board[PATH_MAX], path[PATH_MAX + 8];
    struct stat status;
    struct lines l;

    if (!folder || fd < 0 || fd >= FDS_MAX || fstat(fd, &status) < 0 || !S_ISCHR(status.st_mode) ||
        !find_board(folder, status.st_rdev, board, sizeof(board)))
        return;
    snprintf(path, sizeof(path), "%s.ctl", board);
    l.control = connect_control(path);
    if (l.control < 0)
        return;
    snprintf(path, sizeof(path), "%s.lines", board);
    l.log = next_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    tell(&l, TIOCM_DTR | TIOCM_RTS);
    note(&l, "open");
    pthread_mutex_lock(&mutex);
    lines_of[fd] = l;
    pthread_mutex_unlock(&mutex);
}

// Where /dev/X leads in the testbed, or the path as it is.
static const char *redirect(const char *path, char *buffer, size_t size) {
    const char *root = getenv("UMOCKDEV_DIR");
    char link[PATH_MAX];
    ssize_t n;

    if (!root || !path || strncmp(path, "/dev/", 5) != 0)
        return path;
    snprintf(link, sizeof(link), "%s%s", root, path);
    n = readlink(link, buffer, size - 1);
    if (n <= 0) {
        // Unplugged this moment. Left to libumockdev-preload, an adapter that is plugged in the next moment
        // would get its ioctls sent elsewhere, by a connection that nobody closes.
        if (strncmp(path, "/dev/ttyUSB", 11) != 0 && strncmp(path, "/dev/ttyACM", 11) != 0)
            return path;
        snprintf(buffer, size, "%s", link);
        return buffer;
    }
    buffer[n] = 0;
    return buffer;
}

static int open_any(const char *path, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    int error;
    int fd = next_open(redirect(path, buffer, sizeof(buffer)), flags, mode);

    error = errno;
    adopt(fd);
    errno = error;
    return fd;
}

#define OPEN(name)                                                                                           \
    int name(const char *path, int flags, ...);                                                              \
    int name(const char *path, int flags, ...) {                                                             \
        mode_t mode = 0;                                                                                     \
        va_list args;                                                                                        \
                                                                                                             \
        if (flags & (O_CREAT | O_TMPFILE)) {                                                                 \
            va_start(args, flags);                                                                           \
            mode = va_arg(args, mode_t);                                                                     \
            va_end(args);                                                                                    \
        }                                                                                                    \
        return open_any(path, flags, mode);                                                                  \
    }

OPEN(open)
OPEN(open64)
OPEN(__open_2)
OPEN(__open64_2)

int close(int fd) {
    struct lines l = { .control = 0 };
    struct termios2 settings;
    int error = errno;

    if (fd >= 0 && fd < FDS_MAX) {
        pthread_mutex_lock(&mutex);
        l = lines_of[fd];
        lines_of[fd] = (struct lines) { .control = 0 };
        pthread_mutex_unlock(&mutex);
    }
    if (l.control > 0) {
        if (next_ioctl(fd, TCGETS2, &settings) == 0 && (settings.c_cflag & HUPCL))
            tell(&l, 0);
        note(&l, "close");
        next_close(l.control);
        next_close(l.log);
    }
    errno = error;
    return next_close(fd);
}

// ---- ioctl
// ------------------------------------------------------------------------------------------------------------

static int on_lines(struct lines *l, unsigned long request, int *argument) {
    const int ours = TIOCM_DTR | TIOCM_RTS;
    int state = l->state;

    switch (request) {
    case TIOCMGET:
        *argument = state;
        note(l, "get");
        return 0;
    case TIOCMBIS:
        state |= *argument & ours;
        break;
    case TIOCMBIC:
        state &= ~(*argument & ours);
        break;
    default:
        state = *argument & ours;
        break;
    }
    if (!tell(l, state)) {
        errno = EIO;
        return -1;
    }
    note(l, "set");
    return 0;
}

int ioctl(int fd, unsigned long request, ...) {
    bool about_lines =
        request == TIOCMGET || request == TIOCMSET || request == TIOCMBIS || request == TIOCMBIC;
    struct termios2 settings;
    void *argument;
    va_list args;
    int r;

    va_start(args, request);
    argument = va_arg(args, void *);
    va_end(args);
    if (!about_lines || fd < 0 || fd >= FDS_MAX)
        return next_ioctl(fd, request, argument);
    pthread_mutex_lock(&mutex);
    if (lines_of[fd].control <= 0)
        r = next_ioctl(fd, request, argument);
    else if (next_ioctl(fd, TCGETS2, &settings) < 0) // unplugged
        r = -1;
    else
        r = on_lines(&lines_of[fd], request, argument);
    pthread_mutex_unlock(&mutex);
    return r;
}
