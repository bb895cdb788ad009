/*
 * Which job may begin: places, budgets, order. And with random loads on random benches: no budget is ever
 * exceeded, nobody waits where there is room, nobody starves. WIPYD_TEST_SEED repeats a run.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/board/admission.h"

#define FAST 92160u /* 921600 baud */
#define HUB  "pci-0000:00:14.0-usb-0:2."

/* ---- places ---------------------------------------------------------------------------------- */

static void assert_place(const char *slot, const char *root, const char *hub) {
    struct admission_place place = admission_place_of(slot);

    assert_int_equal(place.root_bytes, strlen(root));
    assert_int_equal(place.hub_bytes, strlen(hub));
    assert_memory_equal(slot, root, strlen(root));
    assert_memory_equal(slot, hub, strlen(hub));
}

static void a_place_by_path_and_by_name(void **unused) {
    (void)unused;
    assert_place("pci-0000:00:14.0-usb-0:2.3:1.0", "pci-0000:00:14.0-usb-0", "pci-0000:00:14.0-usb-0:2");
    assert_place("pci-0000:00:14.0-usb-0:2.3.4:1.1", "pci-0000:00:14.0-usb-0", "pci-0000:00:14.0-usb-0:2.3");
    assert_place("pci-0000:00:14.0-usb-0:12:1.0", "pci-0000:00:14.0-usb-0", "pci-0000:00:14.0-usb-0");
    assert_place("pci-0000:00:14.0-usbv2-0:1.10:1.0", "pci-0000:00:14.0-usbv2-0",
                 "pci-0000:00:14.0-usbv2-0:1");
    assert_place("platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1.2:1.0",
                 "platform-fd500000.pcie-pci-0000:01:00.0-usb-0",
                 "platform-fd500000.pcie-pci-0000:01:00.0-usb-0:1");
    assert_place("usb-1-4.2:1.0", "usb-1", "usb-1-4");
    assert_place("usb-11-4:1.0", "usb-11", "usb-11");
}

static void a_place_without_topology(void **unused) {
    static const char *const slots[] = { "",
                                         "/dev/ttyS0",
                                         "/tmp/board0",
                                         "usb-",
                                         "usb-1",
                                         "usb-x-1:1.0",
                                         "pci-0000:00:14.0",
                                         "pci-0-usb-0",
                                         "pci-0-usb-0:",
                                         "pci-0-usb-0:2.3",
                                         "pci-0-usb-0:a:1.0" };

    (void)unused;
    for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
        assert_place(slots[i], "", "");
}

/* ---- who may begin --------------------------------------------------------------------------- */

#define DECIDE(limits, ...)                                                                                  \
    struct admission_job jobs[] = { __VA_ARGS__ };                                                           \
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)                                                  \
        jobs[i].place = admission_place_of(jobs[i].slot);                                                    \
    admission_decide(limits, jobs, sizeof jobs / sizeof *jobs)

#define JOB(where, needs, runs)                                                                              \
    { .slot = (where), .bytes_s = (needs), .is_under_way = (runs) }

static const struct admission_limits two_fast = { .hub_bytes_s = 2 * FAST };

static void a_hub_is_full_and_another_is_not(void **unused) {
    DECIDE(&two_fast, JOB(HUB "1:1.0", FAST, true), JOB(HUB "2:1.0", FAST, false),
           JOB(HUB "3:1.0", FAST, false), JOB(HUB "4:1.0", 1, false), JOB(HUB "4.1:1.0", FAST, false),
           JOB("/dev/ttyS0", FAST, false));

    (void)unused;
    assert_int_equal(jobs[1].verdict, ADMISSION_NOW);
    assert_int_equal(jobs[2].verdict, ADMISSION_BY_HUB);
    assert_int_equal(jobs[3].verdict, ADMISSION_BY_HUB); /* it would fit, but the one before it asked first */
    assert_int_equal(jobs[4].verdict, ADMISSION_NOW);
    assert_int_equal(jobs[5].verdict, ADMISSION_NOW);
}

static void one_that_needs_more_than_the_hub_has_goes_alone(void **unused) {
    DECIDE(&two_fast, JOB(HUB "1:1.0", 3 * FAST, false), JOB(HUB "2:1.0", 1, false));

    (void)unused;
    assert_int_equal(jobs[0].verdict, ADMISSION_NOW);
    assert_int_equal(jobs[1].verdict, ADMISSION_BY_HUB);
}

static void no_budget_no_bound(void **unused) {
    static const struct admission_limits none = { 0 };
    DECIDE(&none, JOB(HUB "1:1.0", UINT32_MAX, true), JOB(HUB "2:1.0", UINT32_MAX, false));

    (void)unused;
    assert_int_equal(jobs[1].verdict, ADMISSION_NOW);
}

static void so_many_at_once(void **unused) {
    static const struct admission_limits two = { .jobs = 2 };
    DECIDE(&two, JOB("/dev/ttyS0", FAST, true), JOB(HUB "1:1.0", FAST, false),
           JOB("/dev/ttyS1", FAST, false));

    (void)unused;
    assert_int_equal(jobs[1].verdict, ADMISSION_NOW);
    assert_int_equal(jobs[2].verdict, ADMISSION_BY_NUMBER);
}

static void a_root_is_full(void **unused) {
    static const struct admission_limits wide = { .hub_bytes_s = ADMISSION_ROOT_BYTES_S };
    DECIDE(&wide, JOB(HUB "1:1.0", ADMISSION_ROOT_BYTES_S, true),
           JOB("pci-0000:00:14.0-usb-0:3.1:1.0", 1, false), JOB("pci-0000:00:15.0-usb-0:3.1:1.0", 1, false));

    (void)unused;
    assert_int_equal(jobs[1].verdict, ADMISSION_BY_ROOT);
    assert_int_equal(jobs[2].verdict, ADMISSION_NOW);
}

/* ---- random loads ---------------------------------------------------------------------------- */

enum { N_BENCHES = 200, JOBS_MAX = 60, TICKS_MAX = 20000, LENGTH_MAX = 20 };

struct load {
    char slot[48];
    struct admission_job job;
    unsigned ticks_left, asked_at;
    /* How long it may wait: for all that asked before it, one after the other; and each time that a place
     * among limits.jobs is what is missing, one that passed it has to end first. */
    unsigned patience;
};

static uint64_t seed, random_state;

/* splitmix64 */
static unsigned below(unsigned n) {
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (unsigned)((z ^ z >> 31) % n);
}

static void make_load(struct load *load, unsigned now) {
    static const uint32_t rates[] = { 11520, 92160, 200000, 300000 };

    if (below(8) == 0)
        snprintf(load->slot, sizeof load->slot, "/dev/ttyS%u", below(4));
    else
        snprintf(load->slot, sizeof load->slot, "pci-%u-usb-0:%u.%u:1.0", below(2), below(3), below(9));
    load->job = (struct admission_job) { .slot = load->slot, .bytes_s = rates[below(4)] };
    load->job.place = admission_place_of(load->slot);
    load->ticks_left = 1 + below(LENGTH_MAX);
    load->asked_at = now;
}

/* "pci-0-usb-0:2.3:1.0" up to the last port: said again here, in another way. */
static bool is_same_hub(const struct load *a, const struct load *b) {
    return a->slot[0] == 'p' && !strncmp(a->slot, b->slot, strlen("pci-0-usb-0:2"));
}

static void check(const struct admission_limits *limits, const struct load *loads, size_t n) {
    size_t n_now = 0;

    for (size_t i = 0; i < n; i++)
        n_now += loads[i].job.is_under_way;
    assert_true(!limits->jobs || n_now <= limits->jobs);
    for (size_t i = 0; i < n; i++) {
        uint64_t used = 0, n_there = 0;
        bool is_first = true;

        for (size_t j = 0; j < n; j++) {
            if (!is_same_hub(&loads[i], &loads[j]))
                continue;
            used += loads[j].job.is_under_way ? loads[j].job.bytes_s : 0;
            n_there += loads[j].job.is_under_way;
            is_first &= j >= i || loads[j].job.is_under_way;
        }
        assert_true(!limits->hub_bytes_s || used <= limits->hub_bytes_s || n_there == 1);
        if (loads[i].job.is_under_way || (limits->jobs && n_now == limits->jobs))
            continue;
        /* It waits though the number would allow it: then for its hub, which has no room for the first there.
         */
        assert_int_equal(loads[i].job.verdict, ADMISSION_BY_HUB);
        assert_true(!is_first || used + loads[i].job.bytes_s > limits->hub_bytes_s);
    }
}

static size_t run_tick(const struct admission_limits *limits, struct load *loads, size_t n, unsigned now) {
    struct admission_job jobs[JOBS_MAX];
    size_t kept = 0;

    for (size_t i = 0; i < n; i++)
        jobs[i] = loads[i].job;
    admission_decide(limits, jobs, n);
    for (size_t i = 0; i < n; i++) {
        loads[i].job.verdict = jobs[i].verdict;
        loads[i].job.is_under_way |= jobs[i].verdict == ADMISSION_NOW;
        if (!loads[i].job.is_under_way)
            assert_true(now - loads[i].asked_at <= loads[i].patience);
    }
    check(limits, loads, n);
    for (size_t i = 0; i < n; i++)
        if (!loads[i].job.is_under_way || --loads[i].ticks_left > 0) {
            loads[kept] = loads[i];
            loads[kept].job.slot = loads[kept].slot;
            kept++;
        }
    for (size_t i = 0; i < kept; i++)
        loads[i].job.slot = loads[i].slot;
    return kept;
}

static void run_bench(void) {
    static struct load loads[JOBS_MAX];
    const struct admission_limits limits = { .jobs = below(3) ? 0 : 1 + below(12),
                                             .hub_bytes_s = below(6) ? 100000 + below(900000) : 0 };
    unsigned n_to_come = 200, now = 0;
    size_t n = 0;

    /* Jobs keep coming: whoever could be passed by forever would be. */
    for (; n_to_come || n; now++) {
        assert_true(now < TICKS_MAX);
        while (n_to_come && n < JOBS_MAX && below(3)) {
            struct load *load = &loads[n++];

            make_load(load, now);
            load->patience = (unsigned)n * LENGTH_MAX;
            for (size_t i = 0; i + 1 < n; i++)
                load->patience += loads[i].ticks_left;
            n_to_come--;
        }
        for (size_t i = 0; i < n; i++)
            loads[i].job.slot = loads[i].slot;
        n = run_tick(&limits, loads, n, now);
    }
}

static void random_loads(void **unused) {
    (void)unused;
    for (unsigned i = 0; i < N_BENCHES; i++) {
        random_state = seed + i;
        run_bench();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_by_path_and_by_name),
        cmocka_unit_test(a_place_without_topology),
        cmocka_unit_test(a_hub_is_full_and_another_is_not),
        cmocka_unit_test(one_that_needs_more_than_the_hub_has_goes_alone),
        cmocka_unit_test(no_budget_no_bound),
        cmocka_unit_test(so_many_at_once),
        cmocka_unit_test(a_root_is_full),
        cmocka_unit_test(random_loads),
    };
    const char *given = getenv("WIPYD_TEST_SEED");

    seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 1000003 + (unsigned)getpid();
    print_message("WIPYD_TEST_SEED=%llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
