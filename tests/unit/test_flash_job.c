/* Whole jobs against a boot ROM with a flash chip: restores, whole ones and those that are cut off. See
 * test_flash_job_board.c for the check of the board's type, and for lines that must not move. */

#include "tests/unit/test_flash_job_bench.h"

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

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_job, tear_down_job)
    static const struct CMUnitTest tests[] = {
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
