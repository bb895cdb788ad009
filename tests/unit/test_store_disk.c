/* The store on a disk that is full, read-only or limited, at each of its writes. */

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/vfs.h>

#include "tests/unit/test_store_bench.h"

#define PAGE 4096u

static char mount_point[] = "/tmp/wipyd-disk-XXXXXX";
static bool can_mount;

/* ---- a disk of our own ----------------------------------------------------------------------- */

static bool write_text(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return written;
}

/* With no right to mount, in a user namespace of our own. */
static bool unshare_user(void) {
    char uid_map[32], gid_map[32];

    snprintf(uid_map, sizeof uid_map, "0 %u 1", getuid());
    snprintf(gid_map, sizeof gid_map, "0 %u 1", getgid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && write_text("/proc/self/uid_map", uid_map) &&
           write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/gid_map", gid_map);
}

/* Before any thread. */
static bool unshare_mounts(void) {
    char path[64];
    int fd;

    if (unshare(CLONE_NEWNS) < 0 && !unshare_user())
        return false;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", mount_point, "tmpfs", 0, "size=64k") < 0)
        return false;
    snprintf(path, sizeof path, "%s/probe", mount_point);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0)
        close(fd);
    return umount2(mount_point, MNT_DETACH) == 0 && fd >= 0;
}

static void mount_disk(const char *path, const char *options) {
    assert_int_equal(mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options), 0);
}

/* Fills it up, but for some pages; room, when it is there already, is made anew. */
static void fill(const char *disk, unsigned pages_left) {
    char path[128];
    struct statfs fs;
    int fd;

    snprintf(path, sizeof path, "%s/filler", disk);
    unlink(path);
    assert_int_equal(statfs(disk, &fs), 0);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    if (fs.f_bavail > pages_left)
        assert_int_equal(posix_fallocate(fd, 0, (off_t)(fs.f_bavail - pages_left) * PAGE), 0);
    close(fd);
}

static void make_room(const char *disk) {
    char path[128];

    snprintf(path, sizeof path, "%s/filler", disk);
    unlink(path);
}

static int set_up_disk(void **state) {
    struct bench *bench;

    if (!can_mount)
        return 0;
    mount_disk(mount_point, "size=2m");
    bench = bench_new(mount_point);
    bench_open(bench);
    *state = bench;
    return 0;
}

static int tear_down_disk(void **state) {
    if (!can_mount)
        return 0;
    bench_free(*state);
    umount2(mount_point, MNT_DETACH);
    return 0;
}

static struct bench *begin(void **state) {
    if (!can_mount)
        skip();
    return *state;
}

/* ---- full ------------------------------------------------------------------------------------ */

enum deed { ADD, ADD_QUARANTINED, PIN, RELEASE, VERIFY, REMOVE, N_DEEDS };

/* One good package that must outlive all, one in quarantine, one whose file goes, one to remove. */
struct shelf {
    char good[65], quarantined[65], gone[65], spare[65];
    struct blob fresh;
};

static struct shelf stock(struct bench *bench) {
    struct shelf shelf;
    struct answer answer;
    owned struct blob blob = make_package("WiPy", "1.18.9", 1);

    add_good(bench, "WiPy", "1.18.1", 2, shelf.good);
    add_good(bench, "WiPy", "1.18.0", 3, shelf.spare);
    add_good(bench, "WiPy", "1.17.0", 4, shelf.gone);
    answer = add_from(bench, &blob,
                      &(struct firmware_origin) { .url = "https://x", .name = "q", .server_hash = WRONG });
    memcpy(shelf.quarantined, answer.sha256, sizeof answer.sha256);
    run_until_idle(bench);
    shelf.fresh = make_package("WiPy", "1.20.2.r4", 5);
    return shelf;
}

static struct answer do_deed(struct bench *bench, const struct shelf *shelf, enum deed deed) {
    switch (deed) {
    case ADD:
        return add(bench, &shelf->fresh);
    case ADD_QUARANTINED:
        return add_from(bench, &shelf->fresh,
                        &(struct firmware_origin) { .name = "q", .server_hash = WRONG });
    case PIN:
        return ask_pin(bench, shelf->good, true);
    case RELEASE:
        return ask_release(bench, shelf->quarantined);
    case VERIFY:
        return ask_verify(bench, shelf->gone);
    case REMOVE:
    case N_DEEDS:
        break;
    }
    return ask_remove(bench, shelf->spare, false);
}

/* What the records in memory say, in one number that changes when they do. */
static uint64_t picture(struct bench *bench) {
    const struct firmware_record *record;
    uint64_t value = 14695981039346656037u;

    for (unsigned i = 0; (record = firmware_store_at(bench->store, i)); i++) {
        for (const char *c = record->sha256; *c; c++)
            value = (value ^ (uint64_t)*c) * 1099511628211u;
        value = (value ^ (uint64_t)record->state ^ (record->is_pinned ? 256u : 0u)) * 1099511628211u;
    }
    return value;
}

/* Refused: a clear fault, and everything as before. A removal may be half done, and says so. */
static void expect_refused(struct bench *bench, const struct shelf *shelf, const struct answer *answer,
                           enum deed deed, const char *text, uint64_t before) {
    assert_int_equal(answer->fault.code, WIPYD_ERROR_SYSTEM);
    if (!strstr(answer->fault.story, text))
        fail_msg("deed %d: %s", deed, answer->fault.story);
    if (deed != REMOVE || has_file(bench, shelf->spare, ""))
        assert_int_equal(picture(bench), before);
    else
        assert_int_equal(state_of(bench, shelf->spare), FIRMWARE_MISSING);
    assert_int_equal(count_files(bench->folder, ".new-"), 0);
}

static void full_disk_at_each_write(void **state) {
    struct bench *bench = begin(state);
    unsigned n_refused = 0;

    for (enum deed deed = ADD; deed < N_DEEDS; deed++) {
        unsigned pages = 0;
        bool done = false;

        for (; !done; pages++) {
            struct shelf shelf;
            struct answer answer;
            uint64_t before;

            assert_true(pages < 100);
            shelf = stock(bench);
            bench_reopen(bench);
            run_until_idle(bench);
            if (deed == VERIFY) {
                char path[300];

                path_of(bench, shelf.gone, "", path);
                assert_int_equal(unlink(path), 0);
            }
            before = picture(bench);
            fill(bench->base, pages);
            answer = do_deed(bench, &shelf, deed);
            done = !answer.fault.code;
            if (!done) {
                expect_refused(bench, &shelf, &answer, deed, "No space left on device", before);
                n_refused++;
            }
            run_until_idle(bench);
            /* with room again it goes on, without a restart and with one */
            make_room(bench->base);
            if (!done && deed != REMOVE) {
                answer = do_deed(bench, &shelf, deed);
                if (answer.fault.code)
                    fail_msg("deed %d: %s", deed, answer.fault.story);
            }
            bench_reopen(bench);
            run_until_idle(bench);
            assert_int_equal(state_of(bench, shelf.good), FIRMWARE_GOOD);
            expect_sound(bench);
            blob_free_p(&shelf.fresh);
            while (firmware_store_at(bench->store, 0)) {
                char sha256[65];

                memcpy(sha256, firmware_store_at(bench->store, 0)->sha256, sizeof sha256);
                if (firmware_store_at(bench->store, 0)->is_pinned)
                    assert_int_equal(ask_pin(bench, sha256, false).fault.code, WIPYD_ERROR_NONE);
                assert_int_equal(ask_remove(bench, sha256, true).fault.code, WIPYD_ERROR_NONE);
            }
        }
    }
    print_message("full disk: %u refusals\n", n_refused);
    assert_true(n_refused > 3);
}

static void full_disk_at_start(void **state) {
    struct bench *bench = begin(state);
    struct shelf shelf = stock(bench);
    char sha256[65];

    blob_free_p(&shelf.fresh);
    for (unsigned pages = 0; pages < 16; pages++) {
        struct fault fault = { 0 };
        char path[128];

        bench_close(bench);
        unlink(bench->database); /* the packages are to be adopted, or the start says why not */
        snprintf(path, sizeof path, "%s-wal", bench->database);
        unlink(path);
        fill(bench->base, pages);
        if (bench_try_open(bench, &fault)) {
            assert_int_equal(fault.code, WIPYD_ERROR_SYSTEM);
            assert_non_null(strstr(fault.story, "No space left on device"));
            make_room(bench->base);
            bench_open(bench);
        }
        /* known, even where it can't be written */
        assert_int_equal(state_of(bench, shelf.good), FIRMWARE_GOOD);
        assert_int_equal(state_of(bench, shelf.quarantined), FIRMWARE_QUARANTINED);
        make_room(bench->base);
    }
    bench_reopen(bench);
    assert_int_equal(state_of(bench, shelf.good), FIRMWARE_GOOD);
    add_good(bench, "WiPy", "1.20.2.r4", 6, sha256);
    expect_sound(bench);
}

static void no_inode_left(void **state) {
    struct bench *bench = begin(state);
    owned struct blob blob = make_package("WiPy", "1.20.2.r4", 5);
    struct answer answer;
    struct statfs fs;
    char options[48];

    run_until_idle(bench);
    assert_int_equal(statfs(mount_point, &fs), 0);
    snprintf(options, sizeof options, "nr_inodes=%lu", (unsigned long)(fs.f_files - fs.f_ffree));
    assert_int_equal(mount(NULL, mount_point, NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV, options), 0);
    answer = add(bench, &blob);
    assert_int_equal(answer.fault.code, WIPYD_ERROR_SYSTEM);
    assert_non_null(strstr(answer.fault.story, "No space left on device"));
    assert_int_equal(count_records(bench), 0);
    assert_int_equal(mount(NULL, mount_point, NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV, "nr_inodes=100"), 0);
    assert_int_equal(add(bench, &blob).fault.code, WIPYD_ERROR_NONE);
}

/* ---- read-only ------------------------------------------------------------------------------- */

static void read_only_folder_refuses_each_deed(void **state) {
    struct bench *bench = begin(state);
    static const enum deed DEEDS[] = { ADD, ADD_QUARANTINED, RELEASE, REMOVE };
    struct shelf shelf;
    uint64_t before;

    bench_close(bench);
    mount_disk(bench->folder, "size=1m");
    bench_open(bench);
    shelf = stock(bench);
    bench_reopen(bench);
    run_until_idle(bench);
    before = picture(bench);
    assert_int_equal(mount(NULL, bench->folder, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    for (unsigned i = 0; i < 4; i++) {
        struct answer answer = do_deed(bench, &shelf, DEEDS[i]);

        expect_refused(bench, &shelf, &answer, DEEDS[i], "Read-only file system", before);
        assert_int_equal(picture(bench), before);
    }
    bench_reopen(bench); /* what is there can be used */
    assert_int_equal(picture(bench), before);
    assert_string_equal(firmware_store_choose(bench->store, "WiPy", NULL)->sha256, shelf.good);
    expect_sound(bench);
    assert_int_equal(mount(NULL, bench->folder, NULL, MS_REMOUNT, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(do_deed(bench, &shelf, DEEDS[i]).fault.code, WIPYD_ERROR_NONE);
    blob_free_p(&shelf.fresh);
    bench_close(bench);
    assert_int_equal(umount2(bench->folder, MNT_DETACH), 0);
}

static void read_only_disk_at_start_is_a_clear_fault(void **state) {
    struct bench *bench = begin(state);
    struct fault fault = { 0 };
    char sha256[65];

    add_good(bench, "WiPy", "1.18.1", 1, sha256);
    bench_close(bench);
    assert_int_equal(mount(NULL, mount_point, NULL, MS_REMOUNT | MS_RDONLY, "size=2m"), 0);
    assert_int_equal(bench_try_open(bench, &fault), WIPYD_ERROR_SYSTEM);
    assert_non_null(strstr(fault.story, "Read-only file system"));
    assert_int_equal(count_files(bench->base, "wipyd.db.damaged-"), 0);
    assert_int_equal(mount(NULL, mount_point, NULL, MS_REMOUNT, "size=2m"), 0);
    bench_open(bench);
    assert_int_equal(state_of(bench, sha256), FIRMWARE_GOOD);
}

/* ---- limited files: needs no rights ---------------------------------------------------------- */

static void file_size_limit_at_each_write(void **state) {
    struct bench *bench = *state;
    owned struct blob blob = make_package("WiPy", "1.20.2.r4", 5);
    struct rlimit unlimited, limited;
    unsigned n_refused = 0;
    char good[65];

    add_good(bench, "WiPy", "1.18.1", 2, good);
    run_until_idle(bench);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    for (rlim_t bytes = 0;; bytes += 1024) {
        struct answer answer;

        assert_true(bytes < 1024 * 1024);
        limited = (struct rlimit) { bytes, unlimited.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
        answer = (struct answer) { 0 };
        {
            int fd;

            assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
            fd = sealed(&blob); /* it has its own size */
            assert_int_equal(setrlimit(RLIMIT_FSIZE, &limited), 0);
            firmware_store_add(bench->store, fd, blob.size, &(struct firmware_origin) { .name = "p" },
                               on_answer, &answer);
            run_until(bench, &answer.n, 1);
        }
        run_until_idle(bench);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
        if (!answer.fault.code)
            break;
        assert_int_equal(answer.fault.code, WIPYD_ERROR_SYSTEM);
        /* the folder's word, or the database's, which doesn't always pass on the errno */
        if (!strstr(answer.fault.story, "File too large") &&
            !strstr(answer.fault.story, "Input/output error"))
            fail_msg("%s", answer.fault.story);
        assert_int_equal(count_records(bench), 1);
        assert_int_equal(count_files(bench->folder, ""), 1);
        n_refused++;
    }
    print_message("limited files: %u refusals\n", n_refused);
    assert_true(n_refused > 2);
    bench_reopen(bench);
    assert_int_equal(count_records(bench), 2);
    assert_int_equal(state_of(bench, good), FIRMWARE_GOOD);
    expect_sound(bench);
}

static int prepare_group(void **state) {
    (void)state;
    if (!can_mount)
        print_message("SKIP: this process may not mount: the full and the read-only disk\n");
    return 0;
}

static int finish_group(void **state) {
    (void)state;
    return rmdir(mount_point);
}

#define on_disk(name) cmocka_unit_test_setup_teardown(name, set_up_disk, tear_down_disk)

int main(void) {
    static const struct CMUnitTest tests[] = {
        on_disk(full_disk_at_each_write),
        on_disk(full_disk_at_start),
        on_disk(no_inode_left),
        on_disk(read_only_folder_refuses_each_deed),
        on_disk(read_only_disk_at_start_is_a_clear_fault),
        cmocka_unit_test_setup_teardown(file_size_limit_at_each_write, set_up, tear_down),
    };

    alarm(200);
    signal(SIGXFSZ, SIG_IGN);
    if (!mkdtemp(mount_point))
        return 1;
    can_mount = unshare_mounts();
    return cmocka_run_group_tests(tests, prepare_group, finish_group);
}
