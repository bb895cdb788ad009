/* Whole jobs against a boot ROM with a flash chip, on a port that has DTR and RTS: restores, the check of the
 * board's type, and lines that must not move. */

#include "tests/unit/test_esp_link_bench.h"
#include "tests/unit/test_esp_link_lines.h"
#include "tests/unit/test_flash_rom.h"

#include <ftw.h>
#include <libdeflate.h>

#define CONFIG_AT  0x3ff000u
#define NVS_AT     0x9000u
#define OTADATA_AT 0x1be000u
#define FACTORY_AT 0x10000u
#define CLUSTER_AT (FACTORY_AT + 0x2b40)
#define GENERATION "20240101T000000.000Z-9"

static const uint32_t sizes[BACKUP_PARTS] = { 0x1000, 0x7000, 0x1000 };
static const uint32_t offsets[BACKUP_PARTS] = { CONFIG_AT, NVS_AT, OTADATA_AT };

#define CONFIG_AND_NVS (1u << BACKUP_CONFIG | 1u << BACKUP_NVS)
#define ALL_PARTS      (CONFIG_AND_NVS | 1u << BACKUP_OTADATA)

static struct {
    char root[64], folder[128];
    struct backup backup; /* the generation that there is */
    uint8_t *before;      /* the flash when the job began */
} home;

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at) {
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

static void fill(uint8_t *bytes, uint32_t size, uint32_t seed) {
    for (uint32_t i = 0; i < size; i++) {
        seed = seed * 1103515245 + 12345;
        bytes[i] = i / 512 % 2 ? (uint8_t)(seed >> 16) : 0;
    }
}

static void write_file(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void make_generation(void) {
    char path[300];

    assert_int_equal(mkdir(home.folder, 0700), 0);
    snprintf(path, sizeof path, "%s/" ROM_MAC_FOLDER, home.folder);
    assert_int_equal(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/" ROM_MAC_FOLDER "/" GENERATION, home.folder);
    assert_int_equal(mkdir(path, 0700), 0);
    for (enum backup_part i = 0; i < BACKUP_PARTS; i++) {
        home.backup.parts[i] = (struct backup_area) { .size = sizes[i], .bytes = malloc(sizes[i]) };
        fill(home.backup.parts[i].bytes, sizes[i], 77 + i);
        snprintf(path, sizeof path, "%s/" ROM_MAC_FOLDER "/" GENERATION "/%s", home.folder,
                 backup_part_file(i));
        write_file(path, home.backup.parts[i].bytes, sizes[i]);
    }
}

static void set_table(void) {
    rom_set_partition(0, 1, 2, NVS_AT, 0x7000, "nvs");
    rom_set_partition(1, 0, 0, FACTORY_AT, 0x1ae000, "factory");
    rom_set_partition(2, 1, 0, OTADATA_AT, 0x1000, "otadata");
    rom_set_partition(3, 1, 6, CONFIG_AT, 0x1000, "config");
}

static int set_up_job(void **state) {
    set_up_lines(state);
    rom_set_up(*state);
    memset(&home, 0, sizeof home);
    memset(&run, 0, sizeof run);
    strcpy(home.root, "/tmp/wipyd-job-XXXXXX");
    assert_non_null(mkdtemp(home.root));
    snprintf(home.folder, sizeof home.folder, "%s/backup", home.root);
    make_generation();
    set_table();
    for (int i = 0; i < BACKUP_PARTS; i++)
        fill(rom.flash + offsets[i], sizes[i], 5 + (uint32_t)i);
    home.before = malloc(ROM_FLASH_BYTES);
    memcpy(home.before, rom.flash, ROM_FLASH_BYTES);
    return 0;
}

static int tear_down_job(void **state) {
    int r;

    free_job();
    r = tear_down_lines(state);
    rom_tear_down();
    backup_deinit(&home.backup);
    free(home.before);
    assert_int_equal(nftw(home.root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
    return r;
}

static const struct flash_status *restore_as(const char *mac, const char *name, unsigned parts,
                                             bool dry_run) {
    struct flash_job_request request = { .id = 12,
                                         .kind = WIPYD_JOB_KIND_RESTORE,
                                         .dry_run = dry_run,
                                         .restore_mac = mac,
                                         .restore_backup = name,
                                         .restore_parts = parts,
                                         .backup_folder = home.folder };

    free_job();
    return run_job(&request);
}

static const struct flash_status *restore(unsigned parts) {
    return restore_as(ROM_MAC, GENERATION, parts, false);
}

static void assert_done(const struct flash_status *status) {
    if (status->fault.code)
        print_message("# %s: %s\n", wipyd_error_sentence(status->fault.code), status->fault.story);
    assert_int_equal(status->fault.code, WIPYD_ERROR_NONE);
    assert_int_equal(status->state, WIPYD_JOB_STATE_DONE);
    assert_true(status->progress >= 1);
}

static void assert_fault(const struct flash_status *status, enum wipyd_error code) {
    assert_int_equal(status->fault.code, code);
    assert_int_equal(status->state, WIPYD_JOB_STATE_FAILED);
    assert_true(*status->fault.story);
}

/* The flash holds the backup's parts, and nothing else has changed. */
static void assert_restored(unsigned parts) {
    for (int i = 0; i < BACKUP_PARTS; i++)
        if (parts & 1u << i)
            memcpy(home.before + offsets[i], home.backup.parts[i].bytes, sizes[i]);
    assert_memory_equal(rom.flash, home.before, ROM_FLASH_BYTES);
}

static void assert_untouched(void) {
    assert_int_equal(rom.n_begins, 0);
    assert_memory_equal(rom.flash, home.before, ROM_FLASH_BYTES);
}

static size_t count_generations(struct backup_entry *newest) {
    struct backup_entry *entries;
    size_t n;

    assert_int_equal(backup_list(home.folder, NULL, &entries, &n), 0);
    if (n && newest)
        *newest = entries[0];
    free(entries);
    return n;
}

/* ---- restore ------------------------------------------------------------------------------------ */

static void config_and_nvs_come_back(void **state) {
    const struct flash_status *status = restore(CONFIG_AND_NVS);
    const struct flash_piece *pieces;
    unsigned n;

    (void)state;
    assert_done(status);
    assert_restored(CONFIG_AND_NVS);
    assert_int_equal(flash_job_kind(run.job), WIPYD_JOB_KIND_RESTORE);
    assert_string_equal(status->board.mac, ROM_MAC);
    assert_int_equal(status->bytes_total, 0x8000);
    assert_int_equal(status->bytes_done, 0x8000);
    assert_int_equal(status->retries, 0);
    assert_string_equal(status->confirmed_release, "");
    assert_non_null(strstr(status->user_action, "what was put back"));
    pieces = flash_job_pieces(run.job, &n);
    assert_int_equal(n, 2);
    assert_string_equal(pieces[0].region->name, "config");
    assert_string_equal(pieces[1].region->name, "nvs");
    assert_int_equal(pieces[1].state, FLASH_PIECE_WRITTEN);
    assert_null(flash_job_package(run.job));
}

static void all_parts_come_back(void **state) {
    (void)state;
    assert_done(restore(ALL_PARTS));
    assert_restored(ALL_PARTS);
}

/* What was there is saved, all parts of it; so the restore can be undone with that. */
static void restore_can_be_undone(void **state) {
    struct backup_entry newest;
    uint8_t *first = malloc(ROM_FLASH_BYTES);

    (void)state;
    memcpy(first, rom.flash, ROM_FLASH_BYTES);
    assert_done(restore(CONFIG_AND_NVS));
    assert_int_equal(count_generations(&newest), 2);
    assert_string_not_equal(newest.name, GENERATION);
    assert_memory_equal(newest.sizes, sizes, sizeof sizes);
    assert_done(restore_as(ROM_MAC, newest.name, CONFIG_AND_NVS, false));
    assert_memory_equal(rom.flash, first, ROM_FLASH_BYTES);
    assert_int_equal(count_generations(NULL), 3);
    free(first);
}

static void what_is_equal_is_not_written(void **state) {
    const struct flash_status *status;

    (void)state;
    memcpy(rom.flash + NVS_AT, home.backup.parts[BACKUP_NVS].bytes, sizes[BACKUP_NVS]);
    status = restore(CONFIG_AND_NVS);
    assert_done(status);
    assert_int_equal(status->bytes_total, 0x1000);
    assert_int_equal(rom.n_begins, 1);
    status = restore(CONFIG_AND_NVS);
    assert_done(status);
    assert_int_equal(status->bytes_total, 0);
    assert_int_equal(rom.n_begins, 1);
}

static void dry_run_writes_and_saves_nothing(void **state) {
    const struct flash_status *status = restore_as(ROM_MAC, GENERATION, CONFIG_AND_NVS, true);

    (void)state;
    assert_done(status);
    assert_int_equal(status->bytes_total, 0x8000);
    assert_int_equal(status->bytes_done, 0);
    assert_untouched();
    assert_int_equal(count_generations(NULL), 1);
}

static void another_boards_backup_is_refused(void **state) {
    char from[300], to[300];
    const struct flash_status *status;

    (void)state;
    snprintf(from, sizeof from, "%s/" ROM_MAC_FOLDER, home.folder);
    snprintf(to, sizeof to, "%s/30aea4010204", home.folder);
    assert_int_equal(rename(from, to), 0);
    status = restore_as("30:ae:a4:01:02:04", GENERATION, CONFIG_AND_NVS, false);
    assert_fault(status, WIPYD_ERROR_OTHER_BOARDS_BACKUP);
    assert_non_null(strstr(status->fault.story, ROM_MAC));
    assert_untouched();
}

static void backup_that_is_not_there(void **state) {
    unsigned asked = rom.bench->n_requests;

    (void)state;
    assert_fault(restore_as(ROM_MAC, "20230101T000000.000Z-9", CONFIG_AND_NVS, false),
                 WIPYD_ERROR_NO_SUCH_BACKUP);
    assert_int_equal(rom.bench->n_requests, asked); /* the port was not even opened */
}

static void board_without_a_table(void **state) {
    const struct flash_status *status;

    (void)state;
    memset(rom.flash + PARTITION_TABLE_OFFSET, 0xff, 0x1000);
    memcpy(home.before, rom.flash, ROM_FLASH_BYTES);
    status = restore(ALL_PARTS);
    assert_fault(status, WIPYD_ERROR_BACKUP_INVALID);
    assert_non_null(strstr(status->fault.story, "otadata"));
    assert_untouched();
    assert_done(restore(CONFIG_AND_NVS));
    assert_restored(CONFIG_AND_NVS);
}

/* Its first entries are readable, and say that NVS lies elsewhere. */
static void damaged_table_counts_for_nothing(void **state) {
    struct backup_entry newest;

    (void)state;
    rom_set_partition(0, 1, 2, 0x200000, 0x7000, "nvs");
    memset(rom.flash + PARTITION_TABLE_OFFSET + 64, 0x5a, 32);
    memcpy(home.before, rom.flash, ROM_FLASH_BYTES);
    assert_done(restore(1u << BACKUP_NVS));
    assert_restored(1u << BACKUP_NVS);
    /* What was overwritten is what was saved. */
    assert_int_equal(count_generations(&newest), 2);
    memset(rom.flash + NVS_AT, 0, 0x7000);
    assert_done(restore_as(ROM_MAC, newest.name, 1u << BACKUP_NVS, false));
    fill(home.before + NVS_AT, sizes[BACKUP_NVS], 5 + BACKUP_NVS);
    assert_memory_equal(rom.flash, home.before, ROM_FLASH_BYTES);
}

static void another_layout_is_refused(void **state) {
    const struct flash_status *status;

    (void)state;
    rom_set_partition(0, 1, 2, NVS_AT, 0x6000, "nvs");
    memcpy(home.before, rom.flash, ROM_FLASH_BYTES);
    status = restore(CONFIG_AND_NVS);
    assert_fault(status, WIPYD_ERROR_BACKUP_INVALID);
    assert_non_null(strstr(status->fault.story, "0x6000"));
    assert_untouched();
}

static void spoil_config(uint32_t offset) {
    (void)offset;
    rom.flash[CONFIG_AT + 40] ^= 4;
}

static void spoil_config_after_nvs(uint32_t offset) {
    if (offset == NVS_AT)
        spoil_config(offset);
}

static void config_that_changes_is_noticed(void **state) {
    const struct flash_status *status;

    (void)state;
    rom.on_written = spoil_config;
    assert_fault(restore(1u << BACKUP_NVS), WIPYD_ERROR_GUARD_FAILED);
    /* Also where the config block itself is restored, and changes after it was verified. */
    memcpy(rom.flash, home.before, ROM_FLASH_BYTES);
    rom.on_written = spoil_config_after_nvs;
    status = restore(CONFIG_AND_NVS);
    assert_fault(status, WIPYD_ERROR_GUARD_FAILED);
    assert_non_null(strstr(status->fault.story, GENERATION));
}

static void piece_that_is_refused_once(void **state) {
    const struct flash_status *status;

    (void)state;
    rom.n_refusals = 1;
    status = restore(CONFIG_AND_NVS);
    assert_done(status);
    assert_restored(CONFIG_AND_NVS);
    assert_int_equal(status->retries, 1);
}

/* ---- cut off ------------------------------------------------------------------------------------ */

static void stop_when_config_is_written(struct flash_job *job) {
    if (flash_job_status(job)->phase == WIPYD_PHASE_VERIFY)
        flash_job_stop(job, WIPYD_ERROR_SHUTTING_DOWN);
}

static void second_attempt_counts_only_what_is_left(void **state) {
    const struct flash_status *status;

    (void)state;
    run.on_change = stop_when_config_is_written;
    status = restore(CONFIG_AND_NVS);
    assert_int_equal(status->fault.code, WIPYD_ERROR_SHUTTING_DOWN);
    assert_int_equal(rom.n_begins, 1);
    run.on_change = NULL;
    status = restore(CONFIG_AND_NVS);
    assert_done(status);
    assert_restored(CONFIG_AND_NVS);
    assert_int_equal(status->bytes_total, 0x7000);
    assert_int_equal(status->bytes_done, 0x7000);
    assert_int_equal(status->retries, 0);
}

/* All phases of a restore in which something is waited for. */
static const enum wipyd_phase moments[] = {
    WIPYD_PHASE_PREPARE, WIPYD_PHASE_SYNC,  WIPYD_PHASE_IDENTIFY, WIPYD_PHASE_PLAN,   WIPYD_PHASE_COMPARE,
    WIPYD_PHASE_SAVE,    WIPYD_PHASE_BEGIN, WIPYD_PHASE_WRITE,    WIPYD_PHASE_VERIFY, WIPYD_PHASE_GUARD_CHECK,
};

#define N_MOMENTS (sizeof moments / sizeof *moments)

static enum wipyd_phase moment;
static bool was_reached;

static void stop_at_the_moment(struct flash_job *job) {
    if (flash_job_status(job)->phase != moment)
        return;
    was_reached = true;
    flash_job_stop(job, WIPYD_ERROR_CANCELLED);
}

static void cancel_at_every_phase_then_again(void **state) {
    (void)state;
    for (size_t i = 0; i < N_MOMENTS; i++) {
        const struct flash_status *status;

        for (int k = 0; k < BACKUP_PARTS; k++)
            fill(rom.flash + offsets[k], sizes[k], 100 * (uint32_t)i + (uint32_t)k);
        memcpy(home.before, rom.flash, ROM_FLASH_BYTES);
        moment = moments[i];
        was_reached = false;
        run.on_change = stop_at_the_moment;
        status = restore(ALL_PARTS);
        assert_true(was_reached);
        assert_int_equal(status->fault.code, WIPYD_ERROR_CANCELLED);
        assert_int_equal(status->state, WIPYD_JOB_STATE_CANCELLED);
        if (moment < WIPYD_PHASE_BEGIN)
            assert_memory_equal(rom.flash, home.before, ROM_FLASH_BYTES);
        run.on_change = NULL;
        assert_done(restore(ALL_PARTS));
        assert_restored(ALL_PARTS);
    }
}

/* In the middle of the pool's work too: the next request finds the port gone. */
static void unplug_at_the_moment(struct flash_job *job) {
    if (flash_job_status(job)->phase != moment || was_reached)
        return;
    was_reached = true;
    chip_goes(rom.bench);
}

static void unplug_at_every_phase(void **state) {
    (void)state;
    for (size_t i = 1; i < N_MOMENTS; i++) {
        void *bench;

        set_up_job(&bench);
        moment = moments[i];
        was_reached = false;
        run.on_change = unplug_at_the_moment;
        assert_fault(restore(ALL_PARTS), WIPYD_ERROR_PORT_GONE);
        assert_true(was_reached);
        if (moment <= WIPYD_PHASE_SAVE)
            assert_untouched();
        tear_down_job(&bench);
    }
}

static void job_that_goes_on_needs_its_board(void **state) {
    struct flash_job_request request = { .kind = WIPYD_JOB_KIND_IDENTIFY,
                                         .resumed_mac = "30:AE:A4:01:02:03",
                                         .backup_folder = home.folder };

    (void)state;
    assert_done(run_job(&request));
    free_job();
    request.resumed_mac = "30:ae:a4:01:02:04";
    assert_fault(run_job(&request), WIPYD_ERROR_WRONG_CHIP);
    assert_untouched();
}

/* ---- the board's type --------------------------------------------------------------------------- */

/* A package for a board, with 4 KiB to write. */
static struct {
    struct firmware_package package;
    struct firmware_pieces pieces;
    struct firmware_region region;
} made;

static void make_package(const char *board) {
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(1);
    uint8_t image[0x1000];

    memset(&made, 0, sizeof made);
    fill(image, sizeof image, 3);
    assert_int_equal(firmware_pieces_write(&made.pieces, FACTORY_AT, image, sizeof image, compressor), 0);
    libdeflate_free_compressor(compressor);
    made.region = (struct firmware_region) { .kind = FIRMWARE_WRITE,
                                             .name = "wipy.bin",
                                             .offset = FACTORY_AT,
                                             .size = sizeof image,
                                             .pieces = made.pieces.pieces,
                                             .n_pieces = made.pieces.n };
    made.package.n_refs = 1; /* the test's own */
    snprintf(made.package.version.board, sizeof made.package.version.board, "%s", board);
    snprintf(made.package.version.release, sizeof made.package.version.release, "1.20.1.r1");
    made.package.layouts[0] = (struct firmware_layout) {
        .flash_bytes = ROM_FLASH_BYTES, .script = "script_4MB", .regions = &made.region, .n_regions = 1
    };
    made.package.layouts[1].flash_bytes = 2 * ROM_FLASH_BYTES;
}

/* What is on the flash; NULL: an image that names nothing. */
static void set_app(const char *board) {
    char cluster[128];
    int n = snprintf(cluster, sizeof cluster, "%s with ESP32%cv1.8.6-849-b0520f1 on 2018-08-29%c1.18.1.r1%c",
                     board ? board : "", 0, 0, 0);

    memset(rom.flash + FACTORY_AT, 0xff, 0x4000);
    rom.flash[FACTORY_AT] = 0xe9;
    rom.flash[CLUSTER_AT - 1] = 0;
    if (board)
        memcpy(rom.flash + CLUSTER_AT, cluster, (size_t)n);
}

static enum wipyd_error flash_with(const char *package, const char *found, bool any_esp32, const char *mac) {
    struct flash_job_request request = { .kind = WIPYD_JOB_KIND_FLASH,
                                         .dry_run = true,
                                         .any_esp32 = any_esp32,
                                         .resumed_mac = mac,
                                         .package = &made.package,
                                         .backup_folder = home.folder };
    enum wipyd_error code;

    make_package(package);
    set_app(found);
    code = run_job(&request)->fault.code;
    assert_string_equal(flash_job_status(run.job)->board.board, found ? found : "");
    free_job();
    assert_int_equal(made.package.n_refs, 1);
    firmware_pieces_deinit(&made.pieces);
    return code;
}

static void type_of_the_board_is_checked(void **state) {
    static const struct {
        const char *package, *found;
        bool any_esp32;
        const char *resumed_mac;
        enum wipyd_error wanted;
    } cases[] = {
        { "WiPy", "WiPy", false, NULL, WIPYD_ERROR_NONE },
        { "LoPy4", "LoPy4", false, NULL, WIPYD_ERROR_NONE },
        { "WiPy", "LoPy", false, NULL, WIPYD_ERROR_WRONG_BOARD },
        { "WiPy", "LoPy", true, NULL, WIPYD_ERROR_WRONG_BOARD },
        { "WiPy", "Huzzah", false, NULL, WIPYD_ERROR_WRONG_BOARD },
        { "WiPy", "Huzzah", true, NULL, WIPYD_ERROR_NONE },
        { "WiPy", NULL, false, NULL, WIPYD_ERROR_NONE },
        { "LoPy", NULL, false, NULL, WIPYD_ERROR_WRONG_BOARD },
        { "LoPy", NULL, true, NULL, WIPYD_ERROR_NONE },
        { "LoPy", NULL, false, ROM_MAC, WIPYD_ERROR_NONE },
        { "LoPy", "WiPy", false, ROM_MAC, WIPYD_ERROR_WRONG_BOARD },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum wipyd_error code =
            flash_with(cases[i].package, cases[i].found, cases[i].any_esp32, cases[i].resumed_mac);

        if (code != cases[i].wanted)
            fail_msg("a package for %s, a board with %s, any %d: %s", cases[i].package,
                     cases[i].found ? cases[i].found : "nothing", cases[i].any_esp32,
                     wipyd_error_sentence(code));
    }
}

/* ---- DTR and RTS -------------------------------------------------------------------------------- */

static bool has_moved(void) {
    for (unsigned i = 0; i < driver.n; i++)
        if (driver.dtr[i] || driver.rts[i])
            return true;
    return false;
}

static void lines_stay_where_they_may_not_be_used(void **state) {
    (void)state;
    driver.n = 0;
    assert_done(restore(CONFIG_AND_NVS));
    assert_false(has_moved());
}

/* Nobody answers, so a person is asked: not even then. */
static void lines_stay_while_nobody_answers(void **state) {
    struct flash_job_request request = { .kind = WIPYD_JOB_KIND_IDENTIFY, .backup_folder = home.folder };

    (void)state;
    driver.n = 0;
    rom.is_deaf = true;
    assert_fault(run_job(&request), WIPYD_ERROR_SILENCE);
    assert_false(has_moved());
}

static void lines_move_where_they_may(void **state) {
    struct flash_job_request request = { .kind = WIPYD_JOB_KIND_IDENTIFY,
                                         .may_reset = true,
                                         .backup_folder = home.folder };

    (void)state;
    driver.n = 0;
    assert_done(run_job(&request));
    assert_true(has_moved());
    assert_false(driver.dtr[driver.n - 1] || driver.rts[driver.n - 1]);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_job, tear_down_job)
    const struct CMUnitTest tests[] = {
        TEST(config_and_nvs_come_back),
        TEST(all_parts_come_back),
        TEST(restore_can_be_undone),
        TEST(what_is_equal_is_not_written),
        TEST(dry_run_writes_and_saves_nothing),
        TEST(another_boards_backup_is_refused),
        TEST(backup_that_is_not_there),
        TEST(board_without_a_table),
        TEST(damaged_table_counts_for_nothing),
        TEST(another_layout_is_refused),
        TEST(config_that_changes_is_noticed),
        TEST(piece_that_is_refused_once),
        TEST(second_attempt_counts_only_what_is_left),
        TEST(cancel_at_every_phase_then_again),
        cmocka_unit_test(unplug_at_every_phase),
        TEST(job_that_goes_on_needs_its_board),
        TEST(type_of_the_board_is_checked),
        TEST(lines_stay_where_they_may_not_be_used),
        TEST(lines_stay_while_nobody_answers),
        TEST(lines_move_where_they_may),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
