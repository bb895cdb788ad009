/* Generations that there are, and what is in them. Names come from whoever asks, so they are not paths until
 * they have been seen to be a MAC and a generation's name; nor is any link followed. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/base/bytes.h"
#include "daemon/base/regular.h"
#include "daemon/flash/backup_sums.h"

/* No area of a Pycom layout has more, nor can the config block have another size (facts/pycom.md 2.7). */
enum { CONFIG_BYTES = 0x1000, SECTOR_BYTES = 0x1000, PART_BYTES_MAX = 0x10000 };

#define MAC_HEX 12

/* ---- names ----------------------------------------------------------------------------------- */

/* "30:AE:a4:01:02:03" -> the folder "30aea4010203". */
static bool mac_to_folder(const char *mac, char ret[static MAC_HEX + 1]) {
    size_t n = 0;

    for (size_t i = 0; i < 17; i++) {
        if (i % 3 == 2) {
            if (mac[i] != ':')
                return false;
            continue;
        }
        if (hex_value(mac[i]) < 0)
            return false;
        ret[n++] = "0123456789abcdef"[hex_value(mac[i])];
    }
    ret[n] = 0;
    return !mac[17];
}

static bool folder_to_mac(const char *folder, char ret[static 18]) {
    char again[MAC_HEX + 1];

    if (strlen(folder) != MAC_HEX)
        return false;
    snprintf(ret, 18, "%.2s:%.2s:%.2s:%.2s:%.2s:%.2s", folder, folder + 2, folder + 4, folder + 6, folder + 8,
             folder + 10);
    return mac_to_folder(ret, again) && !strcmp(again, folder);
}

/* n digits; -1 where there is something else. */
static int take_digits(const char **text, unsigned n) {
    int value = 0;

    for (; n; n--, (*text)++) {
        if (**text < '0' || **text > '9')
            return -1;
        value = value * 10 + (**text - '0');
    }
    return value;
}

static bool take_char(const char **text, char c) {
    return *(*text)++ == c;
}

/* "20261122T101500.123Z-7", as backup_save makes it, and nothing else. */
static bool parse_name(const char *name, uint64_t *ret_us) {
    struct tm tm = { 0 }, normal;
    const char *p = name;
    size_t job_digits;
    time_t seconds;
    int ms;

    if ((tm.tm_year = take_digits(&p, 4)) < 1970 || (tm.tm_mon = take_digits(&p, 2)) < 1 ||
        (tm.tm_mday = take_digits(&p, 2)) < 1 || !take_char(&p, 'T') ||
        (tm.tm_hour = take_digits(&p, 2)) < 0 || (tm.tm_min = take_digits(&p, 2)) < 0 ||
        (tm.tm_sec = take_digits(&p, 2)) < 0 || !take_char(&p, '.') || (ms = take_digits(&p, 3)) < 0 ||
        !take_char(&p, 'Z') || !take_char(&p, '-'))
        return false;
    job_digits = strspn(p, "0123456789");
    if (!job_digits || job_digits > 10 || p[job_digits])
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    normal = tm;
    seconds = timegm(&normal);
    /* A 31st of February would be made a day of March. */
    if (normal.tm_mon != tm.tm_mon || normal.tm_mday != tm.tm_mday || normal.tm_hour != tm.tm_hour ||
        normal.tm_min != tm.tm_min)
        return false;
    *ret_us = (uint64_t)seconds * 1000000 + (uint64_t)ms * 1000;
    return true;
}

static int open_folder(int parent, const char *name) {
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

/* No folder of that name: nothing, a file, or a link that might lead anywhere. */
static bool is_none(int r) {
    return r == -ENOENT || r == -ENOTDIR || r == -ELOOP;
}

/* ---- list ------------------------------------------------------------------------------------ */

struct list {
    struct backup_entry *entries;
    size_t n, room;
};

static int add_entry(struct list *list, const char *mac, const char *name, uint64_t saved_us,
                     int generation) {
    struct backup_entry *entry;

    if (list->n == list->room) {
        size_t room = list->room ? 2 * list->room : 16;
        struct backup_entry *entries = reallocarray(list->entries, room, sizeof *entries);

        if (!entries)
            return -ENOMEM;
        list->entries = entries;
        list->room = room;
    }
    entry = &list->entries[list->n++];
    *entry = (struct backup_entry) { .saved_us = saved_us };
    snprintf(entry->mac, sizeof entry->mac, "%s", mac);
    snprintf(entry->name, sizeof entry->name, "%.63s", name);
    for (enum backup_part i = 0; i < BACKUP_PARTS; i++) {
        struct stat st;

        if (!fstatat(generation, backup_part_file(i), &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) &&
            st.st_size <= UINT32_MAX)
            entry->sizes[i] = (uint32_t)st.st_size;
    }
    return 0;
}

/* The entries of a folder; parent is -1 for one that is given by its path. *ret NULL: there is none. */
static int open_entries(int parent, const char *name, DIR **ret) {
    int fd = parent < 0 ? open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : open_folder(parent, name);

    *ret = NULL;
    if (parent < 0 && fd < 0)
        fd = -errno;
    if (fd < 0)
        return is_none(fd) ? 0 : fd;
    *ret = fdopendir(fd);
    if (!*ret) {
        close(fd);
        return -ENOMEM;
    }
    return 0;
}

static int list_board(struct list *list, int folder, const char *hex) {
    cleanup(close_dir_p) DIR *dir = NULL;
    const struct dirent *entry;
    char mac[18];
    int r;

    if (!folder_to_mac(hex, mac))
        return 0;
    r = open_entries(folder, hex, &dir);
    while (dir && r >= 0 && (entry = readdir(dir))) {
        cleanup(close_fd_p) int generation = -1;
        uint64_t saved_us;

        if (!parse_name(entry->d_name, &saved_us))
            continue;
        generation = open_folder(dirfd(dir), entry->d_name);
        if (generation >= 0)
            r = add_entry(list, mac, entry->d_name, saved_us, generation);
        else if (!is_none(generation))
            r = generation;
    }
    return r;
}

static int by_board_newest_first(const void *a, const void *b) {
    const struct backup_entry *one = a, *other = b;
    int order = strcmp(one->mac, other->mac);

    if (order)
        return order;
    if (one->saved_us != other->saved_us)
        return one->saved_us > other->saved_us ? -1 : 1;
    return strcmp(other->name, one->name);
}

int backup_list(const char *folder, const char *mac, struct backup_entry **ret, size_t *ret_n) {
    cleanup(close_dir_p) DIR *dir = NULL;
    char hex[MAC_HEX + 1];
    struct list list = { 0 };
    const struct dirent *entry;
    int r;

    *ret = NULL;
    *ret_n = 0;
    if (mac && !mac_to_folder(mac, hex))
        return -EINVAL;
    r = open_entries(-1, folder, &dir);
    if (dir && mac)
        r = list_board(&list, dirfd(dir), hex);
    while (dir && !mac && r >= 0 && (entry = readdir(dir)))
        r = list_board(&list, dirfd(dir), entry->d_name);
    if (r < 0) {
        free(list.entries);
        return r;
    }
    if (list.n)
        qsort(list.entries, list.n, sizeof *list.entries, by_board_newest_first);
    *ret = list.entries;
    *ret_n = list.n;
    return 0;
}

/* ---- read ------------------------------------------------------------------------------------ */

static enum wipyd_error open_generation(const char *folder, const char *mac, const char *name, int *ret,
                                        struct fault *fault) {
    cleanup(close_fd_p) int top = -1, board = -1;
    char hex[MAC_HEX + 1];
    uint64_t saved_us;

    if (!mac_to_folder(mac, hex))
        return fault_set(fault, WIPYD_ERROR_NO_SUCH_BACKUP, "what is given as its MAC is none");
    if (!parse_name(name, &saved_us))
        return fault_set(fault, WIPYD_ERROR_NO_SUCH_BACKUP, "what is given as its name is none");
    top = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *ret = top < 0 ? -errno : 0;
    if (top >= 0)
        *ret = board = open_folder(top, hex);
    if (board >= 0)
        *ret = open_folder(board, name);
    if (*ret >= 0)
        return WIPYD_ERROR_NONE;
    if (is_none(*ret))
        return fault_set(fault, WIPYD_ERROR_NO_SUCH_BACKUP, "%s has none by the name of %s", mac, name);
    return fault_errno(fault, *ret, "opening the backup %s of %s", name, mac);
}

static bool is_size_right(enum backup_part part, off_t size) {
    if (part == BACKUP_CONFIG)
        return size == CONFIG_BYTES;
    return size > 0 && size <= PART_BYTES_MAX && size % SECTOR_BYTES == 0;
}

/* name is for the story. */
static enum wipyd_error open_part(int generation, const char *name, enum backup_part part, int *ret,
                                  uint32_t *ret_size, struct fault *fault) {
    cleanup(close_fd_p) int fd = -1;
    struct stat st;
    int r = regular_open(generation, backup_part_file(part), &fd, &st);

    if (is_none(r))
        return fault_set(fault, WIPYD_ERROR_BACKUP_INVALID, "%s has no %s", name, backup_part_word(part));
    if (r == -EUCLEAN)
        return fault_set(fault, WIPYD_ERROR_BACKUP_INVALID, "%s of %s is no file", backup_part_file(part),
                         name);
    if (r < 0)
        return fault_errno(fault, r, "opening %s of %s", backup_part_file(part), name);
    if (!is_size_right(part, st.st_size))
        return fault_set(fault, WIPYD_ERROR_BACKUP_INVALID, "%s of %s has %lld bytes", backup_part_file(part),
                         name, (long long)st.st_size);
    *ret_size = (uint32_t)st.st_size;
    *ret = fd;
    fd = -1;
    return WIPYD_ERROR_NONE;
}

static enum wipyd_error read_part(int generation, const char *name, enum backup_part part,
                                  struct backup *backup, struct fault *fault) {
    cleanup(close_fd_p) int fd = -1;
    struct backup_area *ret = &backup->parts[part];
    enum wipyd_error error = open_part(generation, name, part, &fd, &ret->size, fault);
    ssize_t n;
    int r;

    if (error)
        return error;
    ret->bytes = malloc(ret->size);
    if (!ret->bytes)
        return fault_set(fault, WIPYD_ERROR_NO_MEMORY, "reading a backup");
    n = pread(fd, ret->bytes, ret->size, 0);
    if (n < 0)
        return fault_errno(fault, -errno, "reading %s of %s", backup_part_file(part), name);
    if ((uint32_t)n != ret->size)
        return fault_set(fault, WIPYD_ERROR_BACKUP_INVALID, "%s of %s is cut off", backup_part_file(part),
                         name);
    r = backup_sums_check(generation, part, ret->bytes, ret->size);
    if (r == -EBADMSG)
        return fault_set(fault, WIPYD_ERROR_BACKUP_INVALID,
                         "%s of %s is damaged: it isn't what its " BACKUP_SUMS_FILE " says",
                         backup_part_file(part), name);
    if (r < 0)
        return fault_errno(fault, r, "reading " BACKUP_SUMS_FILE " of %s", name);
    backup->is_unproven |= r == 0;
    return WIPYD_ERROR_NONE;
}

enum wipyd_error backup_read(const char *folder, const char *mac, const char *name, unsigned parts,
                             struct backup *ret, struct fault *fault) {
    cleanup(close_fd_p) int generation = -1;
    enum wipyd_error error;

    *ret = (struct backup) { 0 };
    if (!parts || parts >> BACKUP_PARTS)
        return fault_set(fault, WIPYD_ERROR_BACKUP_INVALID, "none of its parts is wanted");
    error = open_generation(folder, mac, name, &generation, fault);
    for (enum backup_part i = 0; !error && i < BACKUP_PARTS; i++)
        if (parts & 1u << i)
            error = read_part(generation, name, i, ret, fault);
    if (error)
        backup_deinit(ret);
    return error;
}

enum wipyd_error backup_open(const char *folder, const char *mac, const char *name, enum backup_part part,
                             int *ret, struct fault *fault) {
    cleanup(close_fd_p) int generation = -1;
    struct backup backup = { 0 };
    enum wipyd_error error = open_generation(folder, mac, name, &generation, fault);
    uint32_t size;

    *ret = -1;
    if (!error)
        error = read_part(generation, name, part, &backup, fault);
    backup_deinit(&backup);
    return error ? error : open_part(generation, name, part, ret, &size, fault);
}
