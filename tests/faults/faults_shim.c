// libfaults.so, preloaded into wipyd or wipyctl: one call of memory or of the system fails once.
//
// A site is a function of the C library and the innermost return address inside the program itself, so that
// what a library does counts for the line of ours that called it.
// - WIPYD_FAULTS_LOG=FILE: each site once, when it is first met, as "site malloc 1a2b3"; "struck" when the
// fault was
//   dealt; "abort LIBRARY" when a library gives up.
// - WIPYD_FAULT="malloc 1a2b3 12": this function fails at this site with this errno, once.
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define SITES_MAX  4096
#define FRAMES_MAX 48

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

static uintptr_t first, last, base;
static int log_fd = -1;
static char wanted_name[32];
static uintptr_t wanted_site;
static int wanted_errno;
static atomic_bool is_ready, is_struck;
static __thread bool is_inside __attribute__((tls_model("initial-exec")));

static struct {
    _Atomic(const char *) name;
    uintptr_t site;
} sites[SITES_MAX];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void say(const char *text) {
    if (log_fd >= 0)
        (void)!syscall(SYS_write, log_fd, text, strlen(text));
}

static int on_object(struct dl_phdr_info *info, size_t size, void *userdata) {
    (void)size, (void)userdata;
    base = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X)) {
            first = base + info->dlpi_phdr[i].p_vaddr;
            last = first + info->dlpi_phdr[i].p_memsz;
        }
    return 1; // the program comes first
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("WIPYD_FAULTS_LOG"), *fault = getenv("WIPYD_FAULT");
    void *frames[FRAMES_MAX];
    unsigned long site;

    dl_iterate_phdr(on_object, NULL);
    if (path) {
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        log_fd = fcntl(log_fd, F_DUPFD_CLOEXEC, 400);
    }
    if (fault && sscanf(fault, "%31s %lx %d", wanted_name, &site, &wanted_errno) == 3)
        wanted_site = site;
    is_inside = true;
    backtrace(frames, FRAMES_MAX); // loads what it needs
    is_inside = false;
    atomic_store(&is_ready, true);
}

static void note(const char *name, uintptr_t site) {
    char line[80];
    size_t at = (site * 31 + (uintptr_t)name) % SITES_MAX;
    bool is_new = false;

    pthread_mutex_lock(&mutex);
    while (sites[at].name && (sites[at].name != name || sites[at].site != site))
        at = (at + 1) % SITES_MAX;
    if (!sites[at].name) {
        sites[at].site = site;
        sites[at].name = name;
        is_new = true;
    }
    pthread_mutex_unlock(&mutex);
    if (is_new) {
        snprintf(line, sizeof line, "site %s %lx\n", name, (unsigned long)site);
        say(line);
    }
}

// Whether this call is to fail; errno is set then.
static bool fails(const char *name) {
    void *frames[FRAMES_MAX];
    bool strikes = false;
    int n, old = errno;

    if (!atomic_load(&is_ready) || is_inside || log_fd < 0 ||
        (*wanted_name && strcmp(name, wanted_name) != 0) || (*wanted_name && atomic_load(&is_struck)))
        return false;
    is_inside = true;
    n = backtrace(frames, FRAMES_MAX);
    for (int i = 1; i < n; i++)
        if ((uintptr_t)frames[i] >= first && (uintptr_t)frames[i] < last) {
            uintptr_t site = (uintptr_t)frames[i] - base;

            if (!*wanted_name)
                note(name, site);
            else if (site == wanted_site && !atomic_exchange(&is_struck, true))
                strikes = true;
            break;
        }
    if (strikes)
        say("struck\n");
    is_inside = false;
    errno = strikes ? wanted_errno : old;
    return strikes;
}

void *malloc(size_t size) {
    return fails("malloc") ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    return fails("calloc") ? NULL : __libc_calloc(n, size);
}

void *realloc(void *old, size_t size) {
    return fails("realloc") ? NULL : __libc_realloc(old, size);
}

void abort(void) {
    void *frames[FRAMES_MAX];
    Dl_info info;
    char line[300];
    int n;

    is_inside = true;
    n = backtrace(frames, FRAMES_MAX);
    for (int i = 1; i < n; i++)
        if (dladdr(frames[i], &info) && !strstr(info.dli_fname, "libc.so") &&
            !strstr(info.dli_fname, "libfaults")) {
            snprintf(line, sizeof line, "abort %s\n", info.dli_fname);
            say(line);
            break;
        }
    signal(SIGABRT, SIG_DFL);
    raise(SIGABRT);
    _exit(134);
}

#define NEXT(name)                                                                                           \
    static __typeof__(&name) next;                                                                           \
    if (!next) {                                                                                             \
        void *symbol = dlsym(RTLD_NEXT, #name);                                                              \
        memcpy(&next, &symbol, sizeof next);                                                                 \
    }
#define WRAP(type, name, parameters, arguments)                                                              \
    type name parameters {                                                                                   \
        NEXT(name)                                                                                           \
        return fails(#name) ? (type)-1 : next arguments;                                                     \
    }

WRAP(ssize_t, read, (int fd, void *to, size_t size), (fd, to, size))
WRAP(ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))
WRAP(ssize_t, pread64, (int fd, void *to, size_t size, off64_t at), (fd, to, size, at))
WRAP(ssize_t, pwrite64, (int fd, const void *from, size_t size, off64_t at), (fd, from, size, at))
WRAP(ssize_t, pread, (int fd, void *to, size_t size, off_t at), (fd, to, size, at))
WRAP(ssize_t, pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, ftruncate, (int fd, off_t size), (fd, size))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(int, unlink, (const char *path), (path))
WRAP(int, unlinkat, (int dir, const char *path, int flags), (dir, path, flags))
WRAP(int, fstat, (int fd, struct stat *st), (fd, st))
WRAP(int, socket, (int family, int type, int protocol), (family, type, protocol))
WRAP(int, connect, (int fd, const struct sockaddr *to, socklen_t size), (fd, to, size))
WRAP(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags))
WRAP(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags))
WRAP(int, epoll_create1, (int flags), (flags))
WRAP(int, epoll_ctl, (int fd, int op, int other, struct epoll_event *event), (fd, op, other, event))
WRAP(int, timerfd_create, (int clock, int flags), (clock, flags))
WRAP(int, memfd_create, (const char *name, unsigned flags), (name, flags))
WRAP(int, pipe2, (int fds[2], int flags), (fds, flags))
WRAP(ssize_t, getrandom, (void *to, size_t size, unsigned flags), (to, size, flags))
WRAP(void *, mmap, (void *at, size_t size, int how, int flags, int fd, off_t from),
     (at, size, how, flags, fd, from))
struct termios;
int tcsetattr(int fd, int when, const struct termios *attributes);
WRAP(int, tcsetattr, (int fd, int when, const struct termios *attributes), (fd, when, attributes))
int ioctl(int fd, unsigned long request, ...);

#define OPENED(flags) ((flags) & (O_CREAT | __O_TMPFILE))

int ioctl(int fd, unsigned long request, ...) {
    NEXT(ioctl)
    va_list arguments;
    void *argument;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    return fails("ioctl") ? -1 : next(fd, request, argument);
}

int fcntl(int fd, int command, ...) {
    NEXT(fcntl)
    va_list arguments;
    void *argument;

    va_start(arguments, command);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    return fails("fcntl") ? -1 : next(fd, command, argument);
}

static mode_t mode_of(int flags, va_list arguments) {
    return OPENED(flags) ? (mode_t)va_arg(arguments, unsigned) : 0;
}

int open(const char *path, int flags, ...) {
    NEXT(open)
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = mode_of(flags, arguments);
    va_end(arguments);
    return fails("open") ? -1 : next(path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...) {
    NEXT(openat)
    va_list arguments;
    mode_t mode;

    va_start(arguments, flags);
    mode = mode_of(flags, arguments);
    va_end(arguments);
    return fails("openat") ? -1 : next(dir, path, flags, mode);
}
