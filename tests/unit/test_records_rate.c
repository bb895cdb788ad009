/* What rates have shown, in the database; and a database of before. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/test_records_bench.h"

#define owned cleanup(free_p)

static struct rate_record make_rate(const char *owner, const char *name, uint32_t baud) {
    struct rate_record rate = { .baud = baud,
                                .blocks = 4000000000u,
                                .errors = 2,
                                .good = 3,
                                .strikes = 4,
                                .wait = 5,
                                .failed_us = 1700000000000006u,
                                .used_us = 1700000000000007u };

    set_text(rate.owner, owner);
    set_text(rate.name, name);
    return rate;
}

static void put(struct bench *bench, const char *owner, const char *name, uint32_t baud) {
    const struct rate_record rate = make_rate(owner, name, baud);

    assert_int_equal(records_put_rate(bench->records, &rate), 0);
}

static void rate_comes_back_whole(void **state) {
    struct bench *bench = *state;
    struct rate_record wanted = make_rate(RATE_OF_SLOT, SLOT, 921600);
    owned struct rate_record *rates = NULL;
    size_t n = 0;

    put(bench, RATE_OF_SLOT, SLOT, 921600);
    put(bench, RATE_OF_SLOT, SLOT, 115200);
    put(bench, RATE_OF_BOARD, MAC, 921600);
    wanted.errors = 77;
    assert_int_equal(records_put_rate(bench->records, &wanted), 0);
    reopen(bench);
    assert_int_equal(records_list_rates(bench->records, &rates, &n), 0);
    assert_int_equal(n, 3);
    assert_string_equal(rates[0].owner, RATE_OF_BOARD);
    assert_string_equal(rates[0].name, MAC);
    assert_int_equal(rates[1].baud, 115200);
    assert_memory_equal(&rates[2], &wanted, sizeof wanted);
}

static void rates_go_with_their_slot_or_board(void **state) {
    struct bench *bench = *state;
    owned struct rate_record *rates = NULL;
    size_t n = 0;

    put(bench, RATE_OF_SLOT, SLOT, 921600);
    put(bench, RATE_OF_SLOT, "other", 921600);
    put(bench, RATE_OF_BOARD, MAC, 921600);
    put(bench, RATE_OF_BOARD, OTHER_MAC, 921600);
    assert_int_equal(records_delete_slot(bench->records, SLOT), 0);
    assert_int_equal(records_delete_board(bench->records, MAC), 0);
    assert_int_equal(records_list_rates(bench->records, &rates, &n), 0);
    assert_int_equal(n, 2);
    assert_string_equal(rates[0].name, OTHER_MAC);
    assert_string_equal(rates[1].name, "other");
}

static void what_is_no_rate_is_refused(void **state) {
    struct bench *bench = *state;
    struct rate_record rate = make_rate("cable", SLOT, 921600);

    assert_int_equal(records_put_rate(bench->records, &rate), -EINVAL);
    rate = make_rate(RATE_OF_SLOT, "", 921600);
    assert_int_equal(records_put_rate(bench->records, &rate), -EINVAL);
    rate = make_rate(RATE_OF_SLOT, SLOT, 0);
    assert_int_equal(records_put_rate(bench->records, &rate), -EINVAL);
}

/* Nothing of what version 2 made is touched by the step to 3: without the one table it is a version 2. */
static void database_of_version_2_keeps_its_rows(void **state) {
    struct bench *bench = *state;
    owned struct board_record *board = make_board(MAC), *boards = NULL;
    owned struct slot_record *slot = make_slot(SLOT), *slots = NULL;
    owned struct rate_record *rates = NULL;
    size_t n = 0;

    assert_int_equal(records_put_board(bench->records, board), 0);
    assert_int_equal(records_put_slot(bench->records, slot), 0);
    bench->records = records_close(bench->records);
    run_sql(bench->path,
            "DROP TABLE rate; ALTER TABLE job DROP COLUMN loader; ALTER TABLE job DROP COLUMN gaps;"
            "ALTER TABLE job DROP COLUMN warning; PRAGMA user_version = 2");
    open_records(bench);
    assert_int_equal(records_generation(bench->records), 0);
    assert_int_equal(number_by_sql(bench->path, "PRAGMA user_version"), 5);
    assert_int_equal(records_list_boards(bench->records, &boards, &n), 0);
    assert_int_equal(n, 1);
    assert_memory_equal(boards, board, sizeof *board);
    assert_int_equal(records_list_slots(bench->records, &slots, &n), 0);
    assert_int_equal(n, 1);
    assert_memory_equal(slots, slot, sizeof *slot);
    assert_int_equal(records_list_rates(bench->records, &rates, &n), 0);
    assert_int_equal(n, 0);
    put(bench, RATE_OF_SLOT, SLOT, 460800);
}

#define moment(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        moment(rate_comes_back_whole),
        moment(rates_go_with_their_slot_or_board),
        moment(what_is_no_rate_is_refused),
        moment(database_of_version_2_keeps_its_rows),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
