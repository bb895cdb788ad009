/* Generations as they are listed and read, and names that must lead nowhere. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/flash/backup.h"
#include "tests/unit/test_folder.h"

#define MAC       "30:ae:a4:01:02:03"
#define BOARD     "30aea4010203"
#define OTHER_MAC "30:ae:a4:01:02:04"
#define OTHER     "30aea4010204"
#define NAME      "20240102T030405.678Z-9"
#define ALL       ((1u << BACKUP_PARTS) - 1)

struct bench {
    char root[64], folder[128];
    struct fault fault;
};

/* A path below the folder. */
static const char *below(const struct bench *bench, const char *path) {
    static char text[600];

    snprintf(text, sizeof text, "%s/%s", bench->folder, path);
    return text;
}

static void make_folder(const struct bench *bench, const char *path) {
    assert_true(!mkdir(below(bench, path), 0700) || errno == EEXIST);
}

static void make_file(const struct bench *bench, const char *path, size_t size) {
    FILE *file = fopen(below(bench, path), "w");

    assert_non_null(file);
    for (size_t i = 0; i < size; i++)
        fputc((int)(i * 7 + i / 251) & 0xff, file);
    assert_int_equal(fclose(file), 0);
}

static void make_generation(const struct bench *bench, const char *board, const char *name) {
    char path[400];

    make_folder(bench, board);
    snprintf(path, sizeof path, "%s/%s", board, name);
    make_folder(bench, path);
    snprintf(path, sizeof path, "%s/%s/config.bin", board, name);
    make_file(bench, path, 0x1000);
    snprintf(path, sizeof path, "%s/%s/nvs.bin", board, name);
    make_file(bench, path, 0x7000);
}

static int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    folder_make(bench->root, sizeof bench->root);
    snprintf(bench->folder, sizeof bench->folder, "%s/backup", bench->root);
    make_folder(bench, "");
    make_generation(bench, BOARD, NAME);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;

    folder_remove(bench->root);
    free(bench);
    return 0;
}

/* ---- list --------------------------------------------------------------------------------------- */

static void assert_list(const struct bench *bench, const char *mac, const char *const *wanted,
                        size_t n_wanted) {
    struct backup_entry *entries;
    size_t n;

    assert_int_equal(backup_list(bench->folder, mac, &entries, &n), 0);
    assert_int_equal(n, n_wanted);
    for (size_t i = 0; i < n; i++) {
        char text[100];

        snprintf(text, sizeof text, "%s %s", entries[i].mac, entries[i].name);
        assert_string_equal(text, wanted[i]);
    }
    free(entries);
}

#define ASSERT_LIST(bench, mac, ...)                                                                         \
    do {                                                                                                     \
        const char *const wanted_[] = { __VA_ARGS__ };                                                       \
        assert_list(bench, mac, wanted_, sizeof wanted_ / sizeof *wanted_);                                  \
    } while (0)

static void by_board_newest_first(void **state) {
    struct bench *bench = *state;

    make_generation(bench, BOARD, "20240102T030405.679Z-8");
    make_generation(bench, BOARD, "20231231T235959.999Z-10");
    make_generation(bench, OTHER, "20250101T000000.000Z-1");
    make_generation(bench, "240ac4000001", "20220101T000000.000Z-1");
    ASSERT_LIST(bench, NULL, "24:0a:c4:00:00:01 20220101T000000.000Z-1", MAC " 20240102T030405.679Z-8",
                MAC " " NAME, MAC " 20231231T235959.999Z-10", OTHER_MAC " 20250101T000000.000Z-1");
    ASSERT_LIST(bench, OTHER_MAC, OTHER_MAC " 20250101T000000.000Z-1");
    ASSERT_LIST(bench, "30:AE:A4:01:02:04", OTHER_MAC " 20250101T000000.000Z-1");
    assert_list(bench, "30:ae:a4:01:02:05", NULL, 0);
}

static void time_and_sizes_are_told(void **state) {
    struct bench *bench = *state;
    struct backup_entry *entries;
    size_t n;

    assert_int_equal(backup_list(bench->folder, MAC, &entries, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(entries[0].saved_us, UINT64_C(1704164645678000));
    assert_int_equal(entries[0].sizes[BACKUP_CONFIG], 0x1000);
    assert_int_equal(entries[0].sizes[BACKUP_NVS], 0x7000);
    assert_int_equal(entries[0].sizes[BACKUP_OTADATA], 0);
    free(entries);
}

static void what_is_saved_is_listed_and_read(void **state) {
    struct bench *bench = *state;
    struct backup backup = { 0 }, again;
    struct backup_entry *entries;
    size_t n;

    for (int i = 0; i < BACKUP_PARTS; i++) {
        backup.parts[i] = (struct backup_area) { .size = 0x1000, .bytes = malloc(0x1000) };
        memset(backup.parts[i].bytes, 0x30 + i, 0x1000);
    }
    assert_int_equal(backup_save(bench->folder, BOARD, 4294967295u, &backup, &bench->fault), 0);
    assert_int_equal(backup_list(bench->folder, MAC, &entries, &n), 0);
    assert_int_equal(n, 2);
    assert_int_equal(backup_read(bench->folder, MAC, entries[0].name, ALL, &again, &bench->fault), 0);
    for (int i = 0; i < BACKUP_PARTS; i++) {
        assert_int_equal(again.parts[i].size, 0x1000);
        assert_int_equal(again.parts[i].offset, 0);
        assert_memory_equal(again.parts[i].bytes, backup.parts[i].bytes, 0x1000);
    }
    free(entries);
    backup_deinit(&backup);
    backup_deinit(&again);
}

static void other_things_are_not_listed(void **state) {
    struct bench *bench = *state;
    static const char *const strange[] = {
        ".new-1-1",
        "20240102T030405.678Z",
        "20240102T030405.678Z-",
        "20240102T030405.678Z-9x",
        "20240102T030405.678Z-12345678901",
        "20240102T030405Z-9",
        "20240102 030405.678Z-9",
        "20240231T030405.678Z-9",
        "20241302T030405.678Z-9",
        "20240102T250405.678Z-9",
        "2024010aT030405.678Z-9",
    };

    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
        make_generation(bench, BOARD, strange[i]);
    make_generation(bench, "30AEA4010203", NAME);
    make_generation(bench, "30aea401020", NAME);
    make_generation(bench, "30aea40102030", NAME);
    make_generation(bench, "lost+found", NAME);
    make_file(bench, BOARD "/20240103T000000.000Z-1", 10);
    make_file(bench, "30aea4010206", 10);
    assert_int_equal(symlink(BOARD, below(bench, "30aea4010205")), 0);
    assert_int_equal(symlink(NAME, below(bench, BOARD "/20240104T000000.000Z-1")), 0);
    ASSERT_LIST(bench, NULL, MAC " " NAME);
}

static void no_folder_is_no_backup(void **state) {
    struct bench *bench = *state;
    struct backup_entry *entries = (void *)1;
    char path[200];
    size_t n = 7;

    snprintf(path, sizeof path, "%s/none", bench->root);
    assert_int_equal(backup_list(path, NULL, &entries, &n), 0);
    assert_null(entries);
    assert_int_equal(n, 0);
}

static void what_is_no_mac_is_said_to_be_none(void **state) {
    static const char *const macs[] = {
        "", "..", BOARD, "30:ae:a4:01:02", "30:ae:a4:01:02:03:", "30-ae-a4-01-02-03", "30:ae:a4:01:02:0g"
    };
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof macs / sizeof *macs; i++) {
        struct backup_entry *entries;
        size_t n;

        assert_int_equal(backup_list(bench->folder, macs[i], &entries, &n), -EINVAL);
        assert_null(entries);
    }
}

/* ---- read --------------------------------------------------------------------------------------- */

static enum wipyd_error try_read(struct bench *bench, const char *mac, const char *name, unsigned parts) {
    struct backup backup;
    enum wipyd_error error;
    int fd;

    bench->fault = (struct fault) { 0 };
    error = backup_read(bench->folder, mac, name, parts, &backup, &bench->fault);
    assert_int_equal(bench->fault.code, error);
    for (int i = 0; i < BACKUP_PARTS; i++)
        assert_int_equal(backup.parts[i].bytes != NULL, !error && parts & 1u << i);
    backup_deinit(&backup);
    if (parts == 1u << BACKUP_NVS) { /* opening it ends alike */
        assert_int_equal(backup_open(bench->folder, mac, name, BACKUP_NVS, &fd, &bench->fault), error);
        assert_int_equal(fd >= 0, !error);
        if (fd >= 0)
            close(fd);
    }
    return error;
}

static void parts_wanted_are_read(void **state) {
    struct bench *bench = *state;
    struct backup backup;
    uint8_t bytes[0x7000];
    int fd;

    assert_int_equal(backup_read(bench->folder, MAC, NAME, 1u << BACKUP_NVS, &backup, &bench->fault),
                     WIPYD_ERROR_NONE);
    assert_null(backup.parts[BACKUP_CONFIG].bytes);
    assert_int_equal(backup.parts[BACKUP_NVS].size, 0x7000);
    assert_int_equal(backup_open(bench->folder, MAC, NAME, BACKUP_NVS, &fd, &bench->fault), WIPYD_ERROR_NONE);
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(read(fd, bytes, sizeof bytes), sizeof bytes);
    assert_memory_equal(bytes, backup.parts[BACKUP_NVS].bytes, sizeof bytes);
    close(fd);
    backup_deinit(&backup);
    assert_int_equal(try_read(bench, "30:AE:a4:01:02:03", NAME, 3), WIPYD_ERROR_NONE);
}

static void parts_that_are_not_there(void **state) {
    struct bench *bench = *state;

    assert_int_equal(try_read(bench, MAC, NAME, ALL), WIPYD_ERROR_BACKUP_INVALID);
    assert_non_null(strstr(bench->fault.story, "otadata"));
    assert_int_equal(try_read(bench, MAC, NAME, 0), WIPYD_ERROR_BACKUP_INVALID);
    assert_int_equal(try_read(bench, MAC, NAME, 1u << BACKUP_PARTS), WIPYD_ERROR_BACKUP_INVALID);
}

static void sizes_that_make_no_sense(void **state) {
    static const struct {
        enum backup_part part;
        off_t size;
        enum wipyd_error wanted;
    } cases[] = {
        { BACKUP_CONFIG, 0, WIPYD_ERROR_BACKUP_INVALID },
        { BACKUP_CONFIG, 4095, WIPYD_ERROR_BACKUP_INVALID },
        { BACKUP_CONFIG, 8192, WIPYD_ERROR_BACKUP_INVALID },
        { BACKUP_CONFIG, 4096, WIPYD_ERROR_NONE },
        { BACKUP_NVS, 0, WIPYD_ERROR_BACKUP_INVALID },
        { BACKUP_NVS, 0x7001, WIPYD_ERROR_BACKUP_INVALID },
        { BACKUP_NVS, 0x6fff, WIPYD_ERROR_BACKUP_INVALID },
        { BACKUP_NVS, 0x11000, WIPYD_ERROR_BACKUP_INVALID },
        { BACKUP_NVS, 0x10000, WIPYD_ERROR_NONE },
        { BACKUP_NVS, 0x1000, WIPYD_ERROR_NONE },
        { BACKUP_NVS, (off_t)1 << 32, WIPYD_ERROR_BACKUP_INVALID },
    };
    struct bench *bench = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[100];

        snprintf(path, sizeof path, BOARD "/" NAME "/%s", backup_part_file(cases[i].part));
        assert_int_equal(truncate(below(bench, path), cases[i].size), 0);
        assert_int_equal(try_read(bench, MAC, NAME, 1u << cases[i].part), cases[i].wanted);
    }
}

static void names_lead_nowhere_else(void **state) {
    struct bench *bench = *state;
    static const char *const names[] = {
        "",
        ".",
        "..",
        "../" BOARD "/" NAME,
        NAME "/",
        NAME "/.",
        "./" NAME,
        "/etc",
        NAME "\n",
        "20240102T030405.678Z-9/../" NAME,
        "..........",
        "20240102T030405.678Z-/",
        "20240102T030405.67/Z-9",
    };
    static const char *const macs[] = {
        "", ".", "..", "../../backup/" BOARD, BOARD, "/etc", "..:..:..:..:..:..", MAC "/", "30:ae:a4:01:02:/3"
    };

    /* Each of these would be found if the name were taken as a path. */
    make_generation(bench, "..", NAME);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(try_read(bench, MAC, names[i], 1u << BACKUP_NVS), WIPYD_ERROR_NO_SUCH_BACKUP);
    for (size_t i = 0; i < sizeof macs / sizeof *macs; i++)
        assert_int_equal(try_read(bench, macs[i], NAME, 1u << BACKUP_NVS), WIPYD_ERROR_NO_SUCH_BACKUP);
    assert_int_equal(try_read(bench, OTHER_MAC, NAME, 1u << BACKUP_NVS), WIPYD_ERROR_NO_SUCH_BACKUP);
    assert_int_equal(try_read(bench, MAC, "20240102T030405.678Z-8", 1u << BACKUP_NVS),
                     WIPYD_ERROR_NO_SUCH_BACKUP);
    assert_int_equal(try_read(bench, MAC, NAME, 1u << BACKUP_NVS), WIPYD_ERROR_NONE);
}

static void links_are_not_followed(void **state) {
    struct bench *bench = *state;

    assert_int_equal(symlink(BOARD, below(bench, OTHER)), 0);
    assert_int_equal(try_read(bench, OTHER_MAC, NAME, 1u << BACKUP_NVS), WIPYD_ERROR_NO_SUCH_BACKUP);
    assert_int_equal(symlink(NAME, below(bench, BOARD "/20240103T000000.000Z-1")), 0);
    assert_int_equal(try_read(bench, MAC, "20240103T000000.000Z-1", 1u << BACKUP_NVS),
                     WIPYD_ERROR_NO_SUCH_BACKUP);
    make_generation(bench, OTHER "x", NAME);
    assert_int_equal(unlink(below(bench, BOARD "/" NAME "/nvs.bin")), 0);
    assert_int_equal(symlink("../../" OTHER "x/" NAME "/nvs.bin", below(bench, BOARD "/" NAME "/nvs.bin")),
                     0);
    assert_int_equal(try_read(bench, MAC, NAME, 1u << BACKUP_NVS), WIPYD_ERROR_BACKUP_INVALID);
}

/* Nobody writes to it: reading must not wait for that. */
static void pipe_in_a_files_place(void **state) {
    struct bench *bench = *state;

    assert_int_equal(unlink(below(bench, BOARD "/" NAME "/nvs.bin")), 0);
    assert_int_equal(mkfifo(below(bench, BOARD "/" NAME "/nvs.bin"), 0600), 0);
    assert_int_equal(try_read(bench, MAC, NAME, 1u << BACKUP_NVS), WIPYD_ERROR_BACKUP_INVALID);
}

static void folder_without_permission(void **state) {
    struct bench *bench = *state;
    bool was_root = geteuid() == 0;
    enum wipyd_error error;

    assert_int_equal(chmod(below(bench, BOARD), 0), 0);
    if (was_root) { /* to whom everything is permitted */
        assert_int_equal(chmod(bench->root, 0755), 0);
        assert_int_equal(chmod(bench->folder, 0755), 0);
        assert_int_equal(seteuid(65534), 0);
    }
    error = try_read(bench, MAC, NAME, 1u << BACKUP_NVS);
    if (was_root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(below(bench, BOARD), 0700), 0);
    assert_int_equal(error, WIPYD_ERROR_SYSTEM);
    assert_non_null(strstr(bench->fault.story, strerror(EACCES)));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(by_board_newest_first),
        TEST(time_and_sizes_are_told),
        TEST(what_is_saved_is_listed_and_read),
        TEST(other_things_are_not_listed),
        TEST(no_folder_is_no_backup),
        TEST(what_is_no_mac_is_said_to_be_none),
        TEST(parts_wanted_are_read),
        TEST(parts_that_are_not_there),
        TEST(sizes_that_make_no_sense),
        TEST(names_lead_nowhere_else),
        TEST(links_are_not_followed),
        TEST(pipe_in_a_files_place),
        TEST(folder_without_permission),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
