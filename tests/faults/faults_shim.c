// libfaults.so, preloaded into wipyd, wipyctl or a unit program: one call of memory or of the system fails
// once.
//
// A site is a function of the C library and the innermost return address inside the program itself, so that
// what a library does counts for the line of ours that called it. WIPYD_FAULTS names a folder, and is not
// handed down:
// - control: struct control below, written by the tests while the program runs.
// - told: each site once an epoch, when it is first met, as "site EPOCH malloc 1a2b3"; "abort LIBRARY 1a2b3"
// when
//   somebody gives up. Of unit programs, once the fault was dealt: "assertion FILE:LINE" or "passed"; both
//   end them.
#include <assert.h>
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

#define SITES_MAX  16384
#define FRAMES_MAX 48

enum mode { OFF, RECORD, ARMED };

struct control { // faults.py has the same
    _Atomic uint32_t mode, epoch, n_struck;
    int32_t error;
    uint64_t site;
    char name[32];
};

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

static struct control *control;
static uintptr_t first, last, base;
static int told_fd = -1;
static __thread bool is_inside __attribute__((tls_model("initial-exec")));

static struct {
    const char *name;
    uintptr_t site;
    uint32_t epoch;
} sites[SITES_MAX];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...) {
    char line[400];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (told_fd >= 0)
        (void)!syscall(SYS_write, told_fd, line, n < (int)sizeof line ? n : (int)sizeof line - 1);
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

// Beyond what a program closes by number.
static int open_high(const char *folder, const char *name, int flags) {
    char path[300];
    int fd, high;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
    high = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 400);
    syscall(SYS_close, fd);
    return high;
}

__attribute__((constructor)) static void start(void) {
    const char *folder = getenv("WIPYD_FAULTS");
    void *frames[FRAMES_MAX], *page;
    int fd;

    if (!folder)
        return;
    dl_iterate_phdr(on_object, NULL);
    told_fd = open_high(folder, "told", O_WRONLY | O_CREAT | O_APPEND);
    fd = open_high(folder, "control", O_RDWR);
    page = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    unsetenv("WIPYD_FAULTS");
    is_inside = true;
    backtrace(frames, FRAMES_MAX); // loads what it needs
    is_inside = false;
    if (page != MAP_FAILED)
        control = page;
}

static void note(const char *name, uintptr_t site) {
    size_t at = (site * 31 + (uintptr_t)name) % SITES_MAX;
    uint32_t epoch = control->epoch;
    bool is_new;

    pthread_mutex_lock(&mutex);
    while (sites[at].name && (sites[at].name != name || sites[at].site != site))
        at = (at + 1) % SITES_MAX;
    is_new = !sites[at].name || sites[at].epoch != epoch;
    sites[at].site = site;
    sites[at].name = name;
    sites[at].epoch = epoch;
    pthread_mutex_unlock(&mutex);
    if (is_new)
        say("site %u %s %lx\n", epoch, name, (unsigned long)site);
}

// The innermost return address in the program, or 0.
static uintptr_t find_site(void) {
    void *frames[FRAMES_MAX];
    int n = backtrace(frames, FRAMES_MAX);

    for (int i = 1; i < n; i++)
        if ((uintptr_t)frames[i] >= first && (uintptr_t)frames[i] < last)
            return (uintptr_t)frames[i] - base;
    return 0;
}

// Whether this call is to fail; errno is set then.
static bool fails(const char *name) {
    bool strikes = false;
    int old = errno, error = 0;
    uint32_t armed = ARMED;
    uintptr_t site;

    if (!control || is_inside || control->mode == OFF ||
        (control->mode == ARMED && strcmp(name, control->name) != 0))
        return false;
    is_inside = true;
    site = find_site();
    if (site && control->mode == RECORD) {
        note(name, site);
    } else if (site && site == control->site) {
        error = control->error;
        strikes = atomic_compare_exchange_strong(&control->mode, &armed, OFF);
        control->n_struck += strikes;
    }
    is_inside = false;
    errno = strikes ? error : old;
    return strikes;
}

static _Noreturn void give_up(void) {
    void *frames[FRAMES_MAX];
    Dl_info info;
    int n;

    is_inside = true;
    n = backtrace(frames, FRAMES_MAX);
    for (int i = 1; i < n; i++)
        if (dladdr(frames[i], &info) && !strstr(info.dli_fname, "libc.so") &&
            !strstr(info.dli_fname, "libfaults")) {
            say("abort %s %lx\n", info.dli_fname, (unsigned long)find_site());
            break;
        }
    signal(SIGABRT, SIG_DFL);
    raise(SIGABRT);
    _exit(134);
}

void abort(void) {
    give_up();
}

// Where assert() goes.
void __assert_fail(const char *what, const char *file, unsigned line, const char *function) {
    fprintf(stderr, "%s:%u: %s: assertion %s fails\n", file, line, function, what);
    give_up();
}

#define NEXT(name)                                                                                           \
    static __typeof__(&name) next;                                                                           \
    if (!next) {                                                                                             \
        void *symbol = dlsym(RTLD_NEXT, #name);                                                              \
        memcpy(&next, &symbol, sizeof next);                                                                 \
    }
// Not __libc_malloc() itself: a sanitizer's comes after ours. That one only while dlsym() is at work.
#define MEMORY(type, name, parameters, arguments)                                                            \
    void *name parameters {                                                                                  \
        static type next;                                                                                    \
        static __thread bool is_sought __attribute__((tls_model("initial-exec")));                           \
        void *symbol;                                                                                        \
        if (!next) {                                                                                         \
            if (is_sought)                                                                                   \
                return __libc_##name arguments;                                                              \
            is_sought = true;                                                                                \
            symbol = dlsym(RTLD_NEXT, #name);                                                                \
            memcpy(&next, &symbol, sizeof next);                                                             \
            is_sought = false;                                                                               \
        }                                                                                                    \
        return fails(#name) ? NULL : next arguments;                                                         \
    }

typedef void *(*malloc_fn)(size_t);
typedef void *(*calloc_fn)(size_t, size_t);
typedef void *(*realloc_fn)(void *, size_t);
MEMORY(malloc_fn, malloc, (size_t size), (size))
MEMORY(calloc_fn, calloc, (size_t n, size_t size), (n, size))
MEMORY(realloc_fn, realloc, (void *old, size_t size), (old, size))

// ---- cmocka: the first word after the fault was dealt is the last ----

static bool is_dealt(void) {
    return control && control->n_struck > 0;
}

void _fail(const char *file, int line);
void _fail(const char *file, int line) {
    NEXT(_fail)
    if (is_dealt()) {
        say("assertion %s:%d\n", file, line);
        _exit(0);
    }
    next(file, line);
}

__attribute__((format(printf, 1, 2))) void print_message(const char *format, ...);
void print_message(const char *format, ...) {
    char text[1000];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (is_dealt() && !strncmp(text, "ok ", 3)) {
        say("passed\n");
        exit(0); // a sanitizer looks for leaks now
    }
    fputs(text, stdout);
    fflush(stdout);
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
