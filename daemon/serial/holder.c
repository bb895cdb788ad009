#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/types.h>
#include <unistd.h>

#include "daemon/serial/port.h"

enum { TURNS_MAX = 20, TURN_MS = 50 };

static void close_file_p(FILE **file) {
    if (*file)
        fclose(*file);
}

/* The pid that has an flock on the node: "4: FLOCK  ADVISORY  WRITE 4711 00:18:5 0 EOF", device in hex, inode
 * decimal, -> before the type for those that wait. 0 when there is none. */
static pid_t find_locker(const struct stat *node) {
    cleanup(close_file_p) FILE *file = fopen("/proc/locks", "re");
    char line[256];

    while (file && fgets(line, sizeof line, file)) {
        unsigned dev_major, dev_minor;
        unsigned long long inode;
        int pid;

        if (sscanf(line, "%*d: FLOCK %*s %*s %d %x:%x:%llu", &pid, &dev_major, &dev_minor, &inode) == 4 &&
            pid > 0 && inode == node->st_ino && makedev(dev_major, dev_minor) == node->st_dev)
            return (pid_t)pid;
    }
    return 0;
}

/* Whether the process has the device open; false too where we may not look. */
static bool has_open(pid_t pid, dev_t device) {
    cleanup(close_dir_p) DIR *dir = NULL;
    const struct dirent *entry;
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        struct stat st;

        if (isdigit((unsigned char)entry->d_name[0]) && fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 &&
            S_ISCHR(st.st_mode) && st.st_rdev == device)
            return true;
    }
    return false;
}

static pid_t find_opener(dev_t device) {
    cleanup(close_dir_p) DIR *dir = opendir("/proc");
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? (pid_t)strtol(entry->d_name, NULL, 10) : 0;

        if (pid > 0 && pid != getpid() && has_open(pid, device))
            return pid;
    }
    return 0;
}

bool serial_holder_find(const char *path, char *ret, size_t size) {
    cleanup(close_file_p) FILE *file = NULL;
    char name[32] = "", comm[64];
    struct stat st;
    size_t n;
    pid_t pid;

    if (stat(path, &st) < 0 || !S_ISCHR(st.st_mode))
        return false;
    pid = find_locker(&st);
    if (pid == 0 || pid == getpid())
        pid = find_opener(st.st_rdev);
    if (pid == 0)
        return false;
    snprintf(comm, sizeof comm, "/proc/%d/comm", pid);
    file = fopen(comm, "re");
    if (!file || (n = fread(name, 1, sizeof name - 1, file)) == 0)
        return false; /* it ended meanwhile */
    if (name[n - 1] == '\n')
        name[n - 1] = 0;
    for (char *c = name; *c; c++)
        if (*c < 0x20 || *c > 0x7e) /* any program may name itself anything, and D-Bus takes UTF-8 only */
            *c = '?';
    snprintf(ret, size, "%s (pid %d)", name, pid);
    return true;
}

bool serial_holder_wait(unsigned *turns) {
    if (*turns == TURNS_MAX)
        return false;
    (*turns)++;
    uv_sleep(TURN_MS);
    return true;
}
