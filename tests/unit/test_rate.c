/* Which rate a job begins with, and who is told to change the cable. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/board/rate.h"

#define DAY_US UINT64_C(86400000000)
#define NOW    (20000 * DAY_US)

enum { R115, R230, R460, R921, R1500, R2000, R3000 };

static uint32_t choose(const struct rate_memory *slot, const struct rate_memory *board, uint64_t now_us) {
    return rate_choose(slot, board, 3000000, now_us);
}

/* A job that ends at rung `end`, done, having given up all from `top` on down. */
static void learn(struct rate_memory *slot, struct rate_memory *board, int top, int end, uint64_t now_us) {
    struct ladder ladder = { .baud = ladder_rates[end] };

    for (int i = top; i > end; i--)
        ladder.counts[i] = (struct ladder_count) { .errors = 3, .is_given_up = true };
    ladder.counts[end].blocks = 100;
    rate_learn(slot, board, &ladder, ladder.baud, true, now_us);
}

static void unknown_slot_begins_with_what_its_adapter_does(void **state) {
    static const struct {
        uint32_t ceiling, begins;
    } CASES[] = {
        { 3000000, 3000000 }, { 2500000, 2000000 }, { 921600, 921600 }, { 115200, 115200 }, { 9600, 115200 }
    };
    struct rate_memory nothing = { 0 };

    (void)state;
    for (unsigned i = 0; i < sizeof CASES / sizeof *CASES; i++)
        assert_int_equal(rate_choose(&nothing, &nothing, CASES[i].ceiling, NOW), CASES[i].begins);
}

static void second_board_begins_with_what_the_slot_can_do(void **state) {
    (void)state;
    for (int end = R115; end < R3000; end++) {
        struct rate_memory slot = { 0 }, board = { 0 }, other = { 0 };

        learn(&slot, &board, R3000, end, NOW);
        assert_int_equal(choose(&slot, &other, NOW), ladder_rates[end]);
    }
}

static void barred_rate_is_tried_again_one_at_a_time_and_ever_less_often(void **state) {
    struct rate_memory slot = { 0 };
    unsigned tries[4] = { 0 }, n = 0;

    (void)state;
    for (unsigned job = 0; job < 200; job++) {
        struct rate_memory board = { 0 };
        uint32_t baud = choose(&slot, &board, NOW);

        if (job && baud != 230400) {
            assert_int_equal(baud, 460800);
            assert_true(n < 4);
            tries[n++] = job;
        }
        learn(&slot, &board, ladder_rung(baud), R230, NOW);
    }
    assert_int_equal(n, 4);
    /* 8, 16, 32 and 64 good jobs lie between; the job that tries is good at 230400 too. */
    assert_in_range(tries[0], 8, 9);
    assert_in_range(tries[1] - tries[0], 15, 17);
    assert_in_range(tries[2] - tries[1], 31, 33);
    assert_in_range(tries[3] - tries[2], 63, 65);
}

static void mended_slot_climbs_back_a_rate_a_job(void **state) {
    struct rate_memory slot = { 0 }, board = { 0 };
    int rung = R115;

    (void)state;
    learn(&slot, &board, R3000, R115, NOW);
    for (unsigned job = 0; job < RATE_WAIT_JOBS - 1; job++) {
        assert_int_equal(choose(&slot, &board, NOW), 115200);
        learn(&slot, &board, R115, R115, NOW);
    }
    while (rung < R3000) {
        assert_int_equal(choose(&slot, &board, NOW), ladder_rates[++rung]);
        learn(&slot, &board, rung, rung, NOW);
    }
    assert_int_equal(choose(&slot, &board, NOW), 3000000);
}

static void week_is_long_enough(void **state) {
    struct rate_memory slot = { 0 }, board = { 0 };

    (void)state;
    learn(&slot, &board, R921, R460, NOW);
    assert_int_equal(rate_choose(&slot, &board, 921600, NOW + 7 * DAY_US - 1), 460800);
    assert_int_equal(rate_choose(&slot, &board, 921600, NOW + 7 * DAY_US), 921600);
    learn(&slot, &board, R921, R460, NOW + 7 * DAY_US);
    assert_int_equal(rate_choose(&slot, &board, 921600, NOW + 20 * DAY_US), 460800);
    assert_int_equal(rate_choose(&slot, &board, 921600, NOW + 21 * DAY_US), 921600);
}

static void clock_that_was_set_back_lets_nothing_through(void **state) {
    struct rate_memory slot = { 0 }, board = { 0 };

    (void)state;
    learn(&slot, &board, R921, R460, NOW);
    assert_int_equal(rate_choose(&slot, &board, 921600, 1), 460800);
}

static void one_bad_board_is_to_blame_where_others_were_good(void **state) {
    struct rate_memory slot = { 0 }, bad = { 0 }, elsewhere = { 0 };

    (void)state;
    for (unsigned i = 0; i < RATE_PROVEN_JOBS; i++) {
        struct rate_memory board = { 0 };

        learn(&slot, &board, R921, R921, NOW);
    }
    learn(&slot, &bad, R921, R460, NOW);
    for (unsigned i = 0; i < 1; i++) {
        struct rate_memory next = { 0 };

        assert_int_equal(rate_choose(&slot, &next, 921600, NOW), 921600);
        assert_int_equal(rate_choose(&slot, &bad, 921600, NOW), 460800);
        assert_int_equal(rate_choose(&elsewhere, &bad, 921600, NOW), 460800);
        learn(&slot, &next, R921, R460, NOW); /* two in a row: the slot */
    }
    struct rate_memory next = { 0 };
    assert_int_equal(rate_choose(&slot, &next, 921600, NOW), 460800);
}

static void job_that_sent_nothing_proves_nothing(void **state) {
    struct rate_memory slot = { 0 }, board = { 0 };
    struct ladder ladder = { 0 };

    (void)state;
    rate_learn(&slot, &board, &ladder, 921600, true, NOW);
    assert_int_equal(rate_good(&slot), 0);
    ladder.counts[R921].blocks = 5;
    rate_learn(&slot, &board, &ladder, 921600, false, NOW);
    assert_int_equal(rate_good(&slot), 0);
    assert_int_equal(slot.rungs[R921].blocks, 5);
    rate_learn(&slot, &board, &ladder, 250000, true, NOW); /* no rung */
    assert_int_equal(rate_good(&slot), 0);
    rate_learn(&slot, &board, &ladder, 921600, true, NOW);
    assert_int_equal(rate_good(&slot), 921600);
}

static void counts_fade(void **state) {
    struct rate_memory slot = { 0 }, board = { 0 };
    struct ladder ladder = { 0 };

    (void)state;
    ladder.counts[R921] = (struct ladder_count) { .blocks = 0, .errors = 1000 };
    rate_learn(&slot, &board, &ladder, 921600, false, NOW);
    ladder.counts[R921] = (struct ladder_count) { .blocks = 1000, .errors = 0 };
    for (unsigned i = 0; i < 60; i++)
        rate_learn(&slot, &board, &ladder, 921600, true, NOW);
    assert_true(slot.rungs[R921].blocks > 1000 && slot.rungs[R921].blocks <= 4096);
    assert_int_equal(slot.rungs[R921].errors, 0);
}

/* ---- health ---------------------------------------------------------------------------------- */

static const char *advice_of(const struct rate_memory *slots, size_t n, size_t which,
                             struct rate_health *health) {
    static char advice[200];

    rate_health(slots, n, which, health);
    rate_advice(health, "7", advice, sizeof advice);
    return advice;
}

static void set(struct rate_memory *slot, int rung, uint32_t blocks, uint32_t errors) {
    slot->rungs[rung].blocks = blocks;
    slot->rungs[rung].errors = errors;
}

static void slot_that_is_worse_than_its_neighbours_is_told_of(void **state) {
    struct rate_memory slots[5] = { 0 };
    struct rate_health health;

    (void)state;
    for (unsigned i = 0; i < 5; i++)
        set(&slots[i], R921, 999, 1);
    set(&slots[2], R921, 88, 12);
    set(&slots[2], R460, 1000, 0);
    assert_string_equal(advice_of(slots, 5, 2, &health),
                        "Slot 7 fails 12 % of its blocks at 921600 baud, its neighbours 0.1 %: change the "
                        "cable.");
    assert_int_equal(health.baud, 921600);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(*advice_of(slots, 5, i, &health) != 0, i == 2);
}

static void nobody_is_blamed_without_cause(void **state) {
    static const struct {
        uint32_t blocks, errors;                    /* of the slot */
        uint32_t others_blocks, others_errors, bad; /* of each of three neighbours */
    } CASES[] = {
        { 0, 3, 1000, 0, 1 },      /* not one block came through */
        { 0, 2, 1000, 0, 0 },      /* too few */
        { 97, 3, 1000, 0, 0 },     /* may be chance */
        { 900, 100, 1000, 0, 1 },  /* is none */
        { 900, 100, 900, 100, 0 }, /* the others aren't better */
        { 900, 100, 990, 10, 1 },  /* but here they are */
        { 900, 100, 49, 0, 0 },    /* nobody knows what is usual */
        { 1000, 0, 900, 100, 0 },  /* better than the others */
    };

    (void)state;
    for (unsigned i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct rate_memory slots[4] = { 0 };
        struct rate_health health;

        set(&slots[0], R921, CASES[i].blocks, CASES[i].errors);
        for (unsigned j = 1; j < 4; j++)
            set(&slots[j], R921, CASES[i].others_blocks, CASES[i].others_errors);
        rate_health(slots, 4, 0, &health);
        if (health.is_bad != CASES[i].bad)
            fail_msg("case %u: bad: %d", i, health.is_bad);
    }
}

static void alone_there_is_no_comparing(void **state) {
    struct rate_memory slot = { 0 };
    struct rate_health health;

    (void)state;
    rate_health(&slot, 1, 0, &health);
    assert_int_equal(health.baud, 0);
    set(&slot, R460, 50, 50);
    assert_string_equal(advice_of(&slot, 1, 0, &health), "");
    assert_int_equal(health.baud, 460800);
    assert_true(health.share > 0.49 && health.share < 0.51);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_slot_begins_with_what_its_adapter_does),
        cmocka_unit_test(second_board_begins_with_what_the_slot_can_do),
        cmocka_unit_test(barred_rate_is_tried_again_one_at_a_time_and_ever_less_often),
        cmocka_unit_test(mended_slot_climbs_back_a_rate_a_job),
        cmocka_unit_test(week_is_long_enough),
        cmocka_unit_test(clock_that_was_set_back_lets_nothing_through),
        cmocka_unit_test(one_bad_board_is_to_blame_where_others_were_good),
        cmocka_unit_test(job_that_sent_nothing_proves_nothing),
        cmocka_unit_test(counts_fade),
        cmocka_unit_test(slot_that_is_worse_than_its_neighbours_is_told_of),
        cmocka_unit_test(nobody_is_blamed_without_cause),
        cmocka_unit_test(alone_there_is_no_comparing),
    };

    alarm(60);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
