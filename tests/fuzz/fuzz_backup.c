/* Backups: names that a caller gives, and folders as they may be found. A secret lies beside the folder; no
 * name leads to it. */

#include "daemon/flash/backup.h"
#include "tests/fuzz/folder.h"

#define HEX    "30aea4010203"
#define MAC    "30:ae:a4:01:02:03"
#define NAME   "20261122T101500.123Z-7"
#define SECRET "not yours"

static char outside[300], folder[300];

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    log_setup(-1);
    snprintf(outside, sizeof outside, "%s/config.bin", own_folder());
    snprintf(folder, sizeof folder, "%s/backup", own_folder());
    return atexit(remove_folder_at_exit);
}

/* A file, a link out of the folder, a folder, or nothing. */
static void make_part(struct input *input, const char *generation, const char *file) {
    static const uint32_t sizes[] = { 0, 1, 0xfff, 0x1000, 0x2000, 0x7000, 0x10000, 0x11000 };
    static uint8_t bytes[0x11000];
    uint8_t how = take_byte(input);
    char path[500];

    snprintf(path, sizeof path, "%s/%s", generation, file);
    switch (how % 8) {
    case 0:
        break;
    case 1:
        must(symlink(outside, path) == 0);
        break;
    case 2:
        must(mkdir(path, 0700) == 0);
        break;
    case 3:
        must(mkfifo(path, 0600) == 0);
        break;
    default:
        memset(bytes, how, sizeof bytes);
        write_file(path, bytes, sizes[how >> 5]);
        break;
    }
}

/* A generation's name out of the input, which may hold anything but what no file's name can. */
static void make_generation(struct input *input, const char *board) {
    char name[80], path[420];
    uint8_t how = take_byte(input);

    take_text(input, name, sizeof name);
    if (how & 1 || !*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
        snprintf(name, sizeof name, "%s", NAME);
    snprintf(path, sizeof path, "%s/%s", board, name);
    if (how & 2) {
        (void)!symlink(own_folder(), path);
        return;
    }
    if (mkdir(path, 0700) < 0)
        return;
    for (enum backup_part i = 0; i < BACKUP_PARTS; i++)
        make_part(input, path, backup_part_file(i));
}

static void check_read(const char *mac, const char *name, unsigned parts) {
    struct backup backup;
    struct fault fault;
    int fd = -1;

    fault.code = WIPYD_ERROR_NONE;
    if (backup_read(folder, mac, name, parts, &backup, &fault)) {
        must_be_story(fault.story, sizeof fault.story);
        for (enum backup_part i = 0; i < BACKUP_PARTS; i++)
            must(!backup.parts[i].bytes);
    } else {
        for (enum backup_part i = 0; i < BACKUP_PARTS; i++) {
            const struct backup_area *part = &backup.parts[i];

            must((part->bytes != NULL) == (parts >> i & 1) && part->size <= 0x10000);
            must(!part->bytes || memcmp(part->bytes, SECRET, strlen(SECRET)) != 0);
        }
        must(parts && parts < 1u << BACKUP_PARTS);
        backup_deinit(&backup);
    }
    if (backup_open(folder, mac, name, BACKUP_CONFIG, &fd, &fault)) {
        must(fd == -1);
        must_be_story(fault.story, sizeof fault.story);
    } else {
        char begin[sizeof SECRET] = "";

        must(fd >= 0 && read(fd, begin, sizeof begin - 1) >= 0 && strcmp(begin, SECRET) != 0);
        close(fd);
    }
}

static void check_list(const char *mac) {
    struct backup_entry *entries;
    size_t n;

    if (backup_list(folder, mac, &entries, &n) < 0) {
        must(!entries && !n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        must(strlen(entries[i].mac) == 17 && memchr(entries[i].name, 0, sizeof entries[i].name));
        must(!strchr(entries[i].name, '/') && *entries[i].name != '.');
        must(i == 0 || strcmp(entries[i - 1].mac, entries[i].mac) ||
             entries[i - 1].saved_us >= entries[i].saved_us);
        check_read(entries[i].mac, entries[i].name, 7);
    }
    free(entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static uint8_t secret[0x1000] = SECRET;
    struct input input = { bytes, size };
    char mac[32], name[100], board[320];
    struct backup like = { 0 }, newest;
    uint8_t how = take_byte(&input), parts;

    write_file(outside, secret, sizeof secret);
    must(mkdir(folder, 0700) == 0);
    snprintf(board, sizeof board, "%s/%s", folder, HEX);
    if (how & 0x80)
        must(symlink(own_folder(), board) == 0);
    else
        must(mkdir(board, 0700) == 0);
    for (unsigned n = how & 0x80 ? 0 : how & 3; n; n--)
        make_generation(&input, board);
    parts = take_byte(&input);
    take_text(&input, mac, sizeof mac);
    take_text(&input, name, sizeof name);

    check_list(NULL);
    check_list(MAC);
    check_list(mac);
    check_read(MAC, NAME, parts);
    check_read(MAC, name, parts);
    check_read(mac, name, parts);
    like.parts[BACKUP_CONFIG].size = 0x1000;
    backup_load_newest(folder, HEX, &like, &newest);
    must(!newest.parts[BACKUP_NVS].bytes);
    backup_deinit(&newest);
    empty_folder(own_folder());
    return 0;
}
