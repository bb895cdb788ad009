/* Generations of a board's own data, in a folder of the test's own. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/flash/backup.h"
#include "tests/unit/test_folder.h"

#define MAC       "30aea4010203"
#define OTHER_MAC "30aea4010204"
#define NAME_MAX_ 256

static const char *const files[BACKUP_PARTS] = { "config.bin", "nvs.bin", "otadata.bin" };
static const uint32_t sizes[BACKUP_PARTS] = { 0x1000, 0x7000, 0x1000 };

struct bench {
    char root[64], folder[128], board[256];
    struct backup backup;
    struct fault fault;
};

static void fill(struct backup *backup, uint8_t seed) {
    for (int i = 0; i < BACKUP_PARTS; i++)
        for (uint32_t k = 0; k < backup->parts[i].size; k++)
            backup->parts[i].bytes[k] = (uint8_t)(seed + i + (int)(k * 7 + k / 251));
}

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    folder_make(bench->root, sizeof bench->root);
    snprintf(bench->folder, sizeof bench->folder, "%s/backup", bench->root);
    snprintf(bench->board, sizeof bench->board, "%s/" MAC, bench->folder);
    for (int i = 0; i < BACKUP_PARTS; i++)
        bench->backup.parts[i] = (struct backup_area) { .size = sizes[i], .bytes = malloc(sizes[i]) };
    fill(&bench->backup, 1);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;

    backup_deinit(&bench->backup);
    folder_remove(bench->root);
    free(bench);
    return 0;
}

/* ---- what stands in a folder -------------------------------------------------------------------- */

/* How many names there are, but for . and ..; the last in their order goes to newest. */
static unsigned count_names(const char *path, char newest[static NAME_MAX_]) {
    DIR *dir = opendir(path);
    const struct dirent *entry;
    unsigned n = 0;

    *newest = 0;
    if (!dir)
        return 0;
    while ((entry = readdir(dir)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            n++;
            if (strcmp(entry->d_name, newest) > 0)
                snprintf(newest, NAME_MAX_, "%s", entry->d_name);
        }
    closedir(dir);
    return n;
}

static unsigned count_generations(const struct bench *bench) {
    char newest[NAME_MAX_];

    return count_names(bench->board, newest);
}

static void save(struct bench *bench, uint32_t job_id) {
    assert_int_equal(backup_save(bench->folder, MAC, job_id, &bench->backup, &bench->fault),
                     WIPYD_ERROR_NONE);
}

static void assert_newest(const struct bench *bench, const char *mac) {
    struct backup newest;

    backup_load_newest(bench->folder, mac, &bench->backup, &newest);
    for (int i = 0; i < BACKUP_PARTS; i++) {
        if (!bench->backup.parts[i].size) {
            assert_null(newest.parts[i].bytes);
            continue;
        }
        assert_non_null(newest.parts[i].bytes);
        assert_int_equal(newest.parts[i].size, bench->backup.parts[i].size);
        assert_memory_equal(newest.parts[i].bytes, bench->backup.parts[i].bytes, newest.parts[i].size);
    }
    backup_deinit(&newest);
}

static void assert_nothing_to_load(const struct bench *bench, const char *mac) {
    struct backup newest;

    backup_load_newest(bench->folder, mac, &bench->backup, &newest);
    for (int i = 0; i < BACKUP_PARTS; i++)
        assert_null(newest.parts[i].bytes);
    backup_deinit(&newest);
}

static void make_generation(const struct bench *bench, const char *name, const struct backup *backup) {
    char path[600];

    mkdir(bench->folder, 0700);
    mkdir(bench->board, 0700);
    snprintf(path, sizeof path, "%s/%s", bench->board, name);
    assert_int_equal(mkdir(path, 0700), 0);
    for (int i = 0; i < BACKUP_PARTS; i++) {
        FILE *file;

        snprintf(path, sizeof path, "%s/%s/%s", bench->board, name, files[i]);
        file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(backup->parts[i].bytes, 1, backup->parts[i].size, file),
                         backup->parts[i].size);
        assert_int_equal(fclose(file), 0);
    }
}

static void assert_failed(struct bench *bench, const char *folder, const char *why) {
    assert_int_equal(backup_save(folder, MAC, 7, &bench->backup, &bench->fault), WIPYD_ERROR_BACKUP_FAILED);
    assert_int_equal(bench->fault.code, WIPYD_ERROR_BACKUP_FAILED);
    assert_non_null(strstr(bench->fault.story, folder));
    assert_non_null(strstr(bench->fault.story, why));
}

/* ---- generations -------------------------------------------------------------------------------- */

static void first_save_makes_the_folders(void **state) {
    struct bench *bench = *state;

    assert_nothing_to_load(bench, MAC);
    save(bench, 1);
    assert_int_equal(count_generations(bench), 1);
    assert_newest(bench, MAC);
    assert_nothing_to_load(bench, OTHER_MAC);
}

static void equal_data_is_not_saved_twice(void **state) {
    struct bench *bench = *state;

    save(bench, 1);
    save(bench, 2);
    assert_int_equal(count_generations(bench), 1);
}

static void different_data_is_another_generation(void **state) {
    struct bench *bench = *state;

    save(bench, 1);
    for (int i = 0; i < BACKUP_PARTS; i++) {
        bench->backup.parts[i].bytes[sizes[i] - 1] ^= 1;
        save(bench, 2 + (uint32_t)i);
        assert_int_equal(count_generations(bench), 2 + i);
        assert_newest(bench, MAC);
    }
}

/* Only the newest counts: data that went back to what they were are news again. */
static void back_to_older_data_is_another_generation(void **state) {
    struct bench *bench = *state;

    save(bench, 1);
    fill(&bench->backup, 2);
    save(bench, 2);
    fill(&bench->backup, 1);
    save(bench, 3);
    assert_int_equal(count_generations(bench), 3);
    assert_newest(bench, MAC);
}

static void newest_by_name_is_chosen(void **state) {
    struct bench *bench = *state;

    make_generation(bench, "20240101T000000.000Z-9", &bench->backup);
    fill(&bench->backup, 2);
    make_generation(bench, "20230101T000000.000Z-10", &bench->backup);
    fill(&bench->backup, 1);
    assert_newest(bench, MAC);
    save(bench, 1);
    assert_int_equal(count_generations(bench), 2);
}

static void a_new_generation_is_the_newest(void **state) {
    struct bench *bench = *state;
    char newest[NAME_MAX_];

    make_generation(bench, "20240101T000000.000Z-9", &bench->backup);
    fill(&bench->backup, 3);
    save(bench, 4);
    assert_newest(bench, MAC);
    assert_int_equal(count_names(bench->board, newest), 2);
    assert_string_equal(newest + strlen(newest) - 3, "Z-4");
}

static void layout_without_an_area(void **state) {
    struct bench *bench = *state;
    char newest[NAME_MAX_], path[800];

    bench->backup.parts[BACKUP_NVS].size = 0;
    save(bench, 1);
    save(bench, 2);
    assert_int_equal(count_names(bench->board, newest), 1);
    snprintf(path, sizeof path, "%s/%s/nvs.bin", bench->board, newest);
    assert_int_equal(access(path, F_OK), -1);
    assert_newest(bench, MAC);
}

/* ---- what does not count ------------------------------------------------------------------------ */

static void wrong_sizes_are_ignored(void **state) {
    struct bench *bench = *state;
    char newest[NAME_MAX_], path[800];
    struct backup loaded;

    save(bench, 1);
    count_names(bench->board, newest);
    snprintf(path, sizeof path, "%s/%s/nvs.bin", bench->board, newest);
    for (int off = -1; off <= 1; off += 2) {
        assert_int_equal(truncate(path, (off_t)sizes[BACKUP_NVS] + off), 0);
        backup_load_newest(bench->folder, MAC, &bench->backup, &loaded);
        assert_non_null(loaded.parts[BACKUP_CONFIG].bytes);
        assert_null(loaded.parts[BACKUP_NVS].bytes);
        assert_non_null(loaded.parts[BACKUP_OTADATA].bytes);
        backup_deinit(&loaded);
    }
    /* A generation that can't be read back is none. */
    save(bench, 2);
    assert_int_equal(count_generations(bench), 2);
    assert_newest(bench, MAC);
}

static enum wipyd_error read_all(struct bench *bench, const char *name, bool *ret_is_unproven) {
    struct backup backup;
    enum wipyd_error error = backup_read(bench->folder, "30:ae:a4:01:02:03", name, (1u << BACKUP_PARTS) - 1,
                                         &backup, &bench->fault);

    if (ret_is_unproven)
        *ret_is_unproven = backup.is_unproven;
    backup_deinit(&backup);
    return error;
}

static void flip(const char *path, long bit) {
    FILE *file = fopen(path, "r+");
    int byte;

    assert_non_null(file);
    assert_int_equal(fseek(file, bit / 8, SEEK_SET), 0);
    byte = fgetc(file);
    assert_int_not_equal(byte, EOF);
    assert_int_equal(fseek(file, bit / 8, SEEK_SET), 0);
    fputc(byte ^ 1 << bit % 8, file);
    assert_int_equal(fclose(file), 0);
}

/* In any file, each time another one: of the sums all, of the others some. */
static void flipped_bit_is_noticed(void **state) {
    static const char *const all[] = { "config.bin", "nvs.bin", "otadata.bin", "SHA256SUMS" };
    struct bench *bench = *state;
    char name[NAME_MAX_], path[800];

    save(bench, 1);
    count_names(bench->board, name);
    assert_int_equal(read_all(bench, name, NULL), WIPYD_ERROR_NONE);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct stat st;
        long step;

        snprintf(path, sizeof path, "%s/%s/%s", bench->board, name, all[i]);
        assert_int_equal(stat(path, &st), 0);
        step = i < BACKUP_PARTS ? (long)st.st_size / 20 + 1 : 1;
        for (long bit = 0; bit < 8 * (long)st.st_size; bit += step) {
            flip(path, bit);
            assert_int_equal(read_all(bench, name, NULL), WIPYD_ERROR_BACKUP_INVALID);
            assert_non_null(strstr(bench->fault.story, "damaged"));
            flip(path, bit);
        }
    }
    assert_int_equal(read_all(bench, name, NULL), WIPYD_ERROR_NONE);
    /* What is damaged is none: the same is saved again. */
    save(bench, 2);
    assert_int_equal(count_generations(bench), 1);
    flip(path, 8);
    save(bench, 3);
    assert_int_equal(count_generations(bench), 2);
    assert_newest(bench, MAC);
}

static void sums_are_as_sha256sum_has_them(void **state) {
    struct bench *bench = *state;
    char name[NAME_MAX_], command[800];

    save(bench, 1);
    count_names(bench->board, name);
    snprintf(command, sizeof command, "cd %s/%s && sha256sum --strict --status -c SHA256SUMS", bench->board,
             name);
    assert_int_equal(system(command), 0);
}

static void without_sums_it_is_taken_as_it_is(void **state) {
    struct bench *bench = *state;
    bool is_unproven = true;
    char name[NAME_MAX_], path[800];

    save(bench, 1);
    count_names(bench->board, name);
    assert_int_equal(read_all(bench, name, &is_unproven), WIPYD_ERROR_NONE);
    assert_false(is_unproven);
    snprintf(path, sizeof path, "%s/%s/SHA256SUMS", bench->board, name);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(read_all(bench, name, &is_unproven), WIPYD_ERROR_NONE);
    assert_true(is_unproven);
    /* Nor is it a way in for something else of that name. */
    assert_int_equal(symlink("nvs.bin", path), 0);
    assert_int_equal(read_all(bench, name, NULL), WIPYD_ERROR_BACKUP_INVALID);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(read_all(bench, name, NULL), WIPYD_ERROR_BACKUP_INVALID);
}

static void links_are_not_followed(void **state) {
    struct bench *bench = *state;
    char newest[NAME_MAX_], path[800], moved[800];
    struct backup loaded;

    save(bench, 1);
    count_names(bench->board, newest);
    snprintf(path, sizeof path, "%s/%s/config.bin", bench->board, newest);
    snprintf(moved, sizeof moved, "%s/elsewhere", bench->root);
    assert_int_equal(rename(path, moved), 0);
    assert_int_equal(symlink(moved, path), 0);
    backup_load_newest(bench->folder, MAC, &bench->backup, &loaded);
    assert_null(loaded.parts[BACKUP_CONFIG].bytes);
    backup_deinit(&loaded);
}

/* It would be waited for until somebody writes to it: a pool thread, held for ever. */
static void fifo_is_no_backup(void **state) {
    struct bench *bench = *state;
    struct backup newest;
    char path[700], name[NAME_MAX_];

    save(bench, 1);
    assert_int_equal(count_names(bench->board, name), 1);
    snprintf(path, sizeof path, "%s/%s/%s", bench->board, name, files[BACKUP_NVS]);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    alarm(20);
    backup_load_newest(bench->folder, MAC, &bench->backup, &newest);
    assert_null(newest.parts[BACKUP_NVS].bytes);
    assert_non_null(newest.parts[BACKUP_CONFIG].bytes);
    backup_deinit(&newest);
    save(bench, 2); /* what can't be read again is saved again */
    alarm(0);
    assert_int_equal(count_generations(bench), 2);
}

static void leftovers_of_an_interrupted_save(void **state) {
    struct bench *bench = *state;
    char newest[NAME_MAX_], own[64];

    /* A daemon that was killed before the rename, one with our number among them. */
    make_generation(bench, ".new-1-1", &bench->backup);
    make_generation(bench, ".new-4194304-33", &bench->backup);
    snprintf(own, sizeof own, ".new-%ld-5", (long)getpid());
    make_generation(bench, own, &bench->backup);
    assert_nothing_to_load(bench, MAC); /* never whole, never loaded */
    save(bench, 5);
    assert_int_equal(count_names(bench->board, newest), 1);
    assert_int_not_equal(newest[0], '.');
    assert_newest(bench, MAC);
}

/* Another job of this daemon may be saving for a chip without a MAC of its own, the same zeros. */
static void save_under_way_in_another_job_is_left_alone(void **state) {
    struct bench *bench = *state;
    char own[64], newest[NAME_MAX_];

    snprintf(own, sizeof own, ".new-%ld-6", (long)getpid());
    make_generation(bench, own, &bench->backup);
    save(bench, 5);
    assert_int_equal(count_names(bench->board, newest), 2);
}

/* ---- modes -------------------------------------------------------------------------------------- */

static mode_t mode_of(const char *path) {
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void nobody_else_may_look(void **state) {
    struct bench *bench = *state;
    char newest[NAME_MAX_], path[800];
    mode_t before = umask(0);

    save(bench, 1);
    umask(before);
    assert_int_equal(mode_of(bench->folder), 0700);
    assert_int_equal(mode_of(bench->board), 0700);
    assert_int_equal(count_names(bench->board, newest), 1);
    snprintf(path, sizeof path, "%s/%s", bench->board, newest);
    assert_int_equal(mode_of(path), 0700);
    for (int i = 0; i < BACKUP_PARTS; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", bench->board, newest, files[i]);
        assert_int_equal(mode_of(path), 0600);
    }
}

/* ---- where it can't be saved -------------------------------------------------------------------- */

static void folder_that_cannot_be_made(void **state) {
    struct bench *bench = *state;
    char path[256];

    snprintf(path, sizeof path, "%s/no/such/folder", bench->root);
    assert_failed(bench, path, strerror(ENOENT));
}

static void file_in_the_folders_place(void **state) {
    struct bench *bench = *state;
    int fd = open(bench->folder, O_WRONLY | O_CREAT, 0600);

    assert_true(fd >= 0);
    close(fd);
    assert_failed(bench, bench->folder, strerror(ENOTDIR));
}

static void folder_without_permission(void **state) {
    struct bench *bench = *state;
    bool was_root = geteuid() == 0;

    assert_int_equal(mkdir(bench->folder, 0500), 0);
    if (was_root) { /* to whom everything is permitted */
        assert_int_equal(chown(bench->root, 65534, (gid_t)-1), 0);
        assert_int_equal(chown(bench->folder, 65534, (gid_t)-1), 0);
        assert_int_equal(seteuid(65534), 0);
    }
    assert_failed(bench, bench->folder, strerror(EACCES));
    if (was_root)
        assert_int_equal(seteuid(0), 0);
}

/* A disk that is full in the middle of a file, as the limit on a file's size plays it. */
static void full_disk_leaves_nothing_half(void **state) {
    struct bench *bench = *state;
    static const rlim_t room[] = { 0, 100, 0x1000, 0x6fff };
    struct rlimit before, small;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    for (size_t i = 0; i < sizeof room / sizeof *room; i++) {
        enum wipyd_error error;

        small = before;
        small.rlim_cur = room[i];
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        error = backup_save(bench->folder, MAC, 7, &bench->backup, &bench->fault);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(error, WIPYD_ERROR_BACKUP_FAILED);
        assert_non_null(strstr(bench->fault.story, MAC));
        assert_int_equal(count_generations(bench), 0);
        assert_nothing_to_load(bench, MAC);
    }
    save(bench, 7);
    assert_newest(bench, MAC);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(first_save_makes_the_folders),
        TEST(equal_data_is_not_saved_twice),
        TEST(different_data_is_another_generation),
        TEST(back_to_older_data_is_another_generation),
        TEST(newest_by_name_is_chosen),
        TEST(a_new_generation_is_the_newest),
        TEST(layout_without_an_area),
        TEST(wrong_sizes_are_ignored),
        TEST(flipped_bit_is_noticed),
        TEST(sums_are_as_sha256sum_has_them),
        TEST(without_sums_it_is_taken_as_it_is),
        TEST(links_are_not_followed),
        TEST(fifo_is_no_backup),
        TEST(leftovers_of_an_interrupted_save),
        TEST(save_under_way_in_another_job_is_left_alone),
        TEST(nobody_else_may_look),
        TEST(folder_that_cannot_be_made),
        TEST(file_in_the_folders_place),
        TEST(folder_without_permission),
        TEST(full_disk_leaves_nothing_half),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
