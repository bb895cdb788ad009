/*
 * What must never be decided, whatever the state: said again here, not by the rules' own words. Each state is
 * made from a seed; WIPYD_TEST_SEED repeats a run.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "daemon/board/coach.h"
#include "daemon/firmware/version.h"
#include "tests/unit/test_decision_states.h"

#define N_STATES  300000
#define RULES_MAX 128

/* ---- making states ------------------------------------------------------------------------------ */

static uint64_t seed, random_state;

/* splitmix64 */
static uint64_t next(void) {
    uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static unsigned below(unsigned n) {
    return (unsigned)(next() % n);
}

static bool percent(unsigned n) {
    return below(100) < n;
}

static void put(char *ret, size_t size, const char *text) {
    snprintf(ret, size, "%s", text);
}

static void pick_release(char *ret, size_t size, uint32_t *order) {
    static const char *const releases[] = {
        "",          "1.8.0.b1",  "1.18.1.r1", "1.18.2.r7", "1.20.1",    "1.20.1.r0",
        "1.20.1.r1", "1.20.1.r1", "1.20.1.r1", "1.20.2.r4", "1.20.2.r6", "1.20.1.r1-dragonfly",
    };

    put(ret, size, releases[below(sizeof releases / sizeof *releases)]);
    if (!firmware_release_parse(ret, order))
        *order = 0;
}

static const char *pick_board(void) {
    static const char *const boards[] = { "WiPy", "WiPy", "WiPy", "WiPy", "", "", "LoPy", "LoPy4", "Sonoff" };

    return boards[below(sizeof boards / sizeof *boards)];
}

static enum board_policy pick_policy(void) {
    static const enum board_policy policies[] = {
        BOARD_POLICY_WIPY, BOARD_POLICY_WIPY, BOARD_POLICY_WIPY, BOARD_POLICY_WIPY, BOARD_POLICY_ANY,
        BOARD_POLICY_ANY,  BOARD_POLICY_ANY,  BOARD_POLICY_ASK,  BOARD_POLICY_ASK,  BOARD_POLICY_OFF,
    };

    return percent(1) ? BOARD_POLICY_UNSET : policies[below(sizeof policies / sizeof *policies)];
}

static void make_plausible(struct decision_state *s) {
    memset(s, 0, sizeof *s);
    s->is_present = percent(98);
    s->is_handled = percent(98);
    s->is_by_hand = percent(8);
    s->has_own_policy = percent(40);
    s->is_job_under_way = percent(2);
    s->is_leased = percent(3);
    s->is_settled = percent(98);
    s->is_held = percent(2);
    s->is_failed = percent(2);
    s->is_armed = percent(40);
    s->has_lines = percent(70);
    s->was_looked_at = percent(97);
    s->was_reset = percent(20);
    s->is_coached_out = percent(30);
    s->was_flashed_now = percent(12);
    s->is_confirmed_now = percent(8);
    s->has_ended_now = percent(5);
    s->policy = pick_policy();
    s->seen = percent(50) ? BOARD_SEEN_DOWNLOAD : (enum board_seen)below(BOARD_SEEN_COUNT);
    if (percent(80))
        put(s->mac, sizeof s->mac, "30:ae:a4:01:02:03");
    s->is_esp32 = percent(97);
    s->is_encrypted = percent(3);
    s->is_secure_boot = percent(3);
    s->flash_mib = percent(96) ? (percent(50) ? 4 : 8) : below(32);
    s->is_blank = s->seen == BOARD_SEEN_DOWNLOAD && percent(15);
    if (!s->is_blank) {
        put(s->board, sizeof s->board, pick_board());
        if (*s->board)
            pick_release(s->release, sizeof s->release, &s->order);
    }
    s->is_known_wipy = percent(30);
    s->is_presumed = percent(s->seen == BOARD_SEEN_DOWNLOAD ? 2 : 50);
    s->has_candidate = percent(90);
    if (s->has_candidate) {
        put(s->candidate_board, sizeof s->candidate_board, percent(93) ? "WiPy" : pick_board());
        put(s->candidate_release, sizeof s->candidate_release, "1.20.1.r1");
        if (percent(30))
            pick_release(s->candidate_release, sizeof s->candidate_release, &s->candidate_order);
        if (!firmware_release_parse(s->candidate_release, &s->candidate_order))
            s->candidate_order = 0;
        memset(s->candidate_sha256, "0123456789abcdef"[below(16)], sizeof s->candidate_sha256 - 1);
    }
    if (percent(10)) {
        uint32_t order;

        pick_release(s->pin, sizeof s->pin, &order);
    }
    s->was_flashed = percent(20);
    s->is_chosen = percent(6);
    s->failures = percent(85) ? below(2) : below(6);
    s->attempts_max = 5;
    if (percent(12)) {
        s->pending_job = 1 + below(1000);
        s->pending_attempts = below(7);
    }
}

static uint32_t wild_number(void) {
    return percent(30) ? below(10) : (uint32_t)next();
}

static void make_wild_text(char *ret, size_t size) {
    size_t n = below((unsigned)size);

    memset(ret, 0, size);
    for (size_t i = 0; i < n; i++)
        ret[i] = (char)(percent(70) ? 0x20 + below(0x5f) : 1 + below(255));
}

/* No daemon would make it; the promises hold all the same. */
static void make_wild(struct decision_state *s) {
    bool *const flags[] = {
        &s->is_by_hand, &s->has_own_policy, &s->is_job_under_way, &s->is_held,          &s->is_failed,
        &s->is_armed,   &s->has_lines,      &s->was_looked_at,    &s->was_reset,        &s->is_coached_out,
        &s->is_esp32,   &s->is_encrypted,   &s->was_flashed_now,  &s->is_confirmed_now, &s->is_secure_boot,
        &s->is_blank,   &s->is_known_wipy,  &s->is_presumed,      &s->has_candidate,    &s->was_flashed,
        &s->is_chosen,  &s->is_present,     &s->is_handled,       &s->is_settled,       &s->has_ended_now,
        &s->is_leased,
    };
    uint32_t *const numbers[] = {
        &s->flash_mib,        &s->order,        &s->candidate_order, &s->failures, &s->pending_job,
        &s->pending_attempts, &s->attempts_max,
    };

    make_plausible(s);
    for (unsigned n = 1 + below(12); n; n--)
        switch (below(4)) {
        case 0:
            *flags[below(sizeof flags / sizeof *flags)] ^= true;
            break;
        case 1:
            *numbers[below(sizeof numbers / sizeof *numbers)] = wild_number();
            break;
        case 2:
            s->policy = (enum board_policy)below(BOARD_POLICY_COUNT);
            s->seen = (enum board_seen)below(BOARD_SEEN_COUNT);
            break;
        case 3:
            make_wild_text(s->mac, sizeof s->mac);
            make_wild_text(s->candidate_sha256, sizeof s->candidate_sha256);
            if (percent(50)) {
                make_wild_text(s->board, sizeof s->board);
                make_wild_text(s->release, sizeof s->release);
            } else {
                make_wild_text(s->candidate_board, sizeof s->candidate_board);
                make_wild_text(s->candidate_release, sizeof s->candidate_release);
            }
            if (percent(20))
                make_wild_text(s->pin, sizeof s->pin);
            break;
        }
}

static void make(struct decision_state *s) {
    if (percent(15))
        make_wild(s);
    else
        make_plausible(s);
}

/* ---- what must never be ------------------------------------------------------------------------- */

static bool is_pycom_name(const char *board) {
    return !strcmp(board, "WiPy") || !strcmp(board, "LoPy") || !strcmp(board, "LoPy4") ||
           !strcmp(board, "SiPy") || !strcmp(board, "GPy") || !strcmp(board, "FiPy");
}

/* Each gives what is wrong, or NULL. */

static const char *forbids_port(const struct decision_state *s, enum decision_verdict verdict) {
    bool is_opened = verdict != DECISION_LEAVE && verdict != DECISION_WAIT;

    if (is_opened && !s->is_present)
        return "opened, and not there";
    if (is_opened && !s->is_handled)
        return "opened, and not served";
    if (is_opened && s->policy == BOARD_POLICY_OFF)
        return "opened under off";
    if (is_opened && s->is_job_under_way)
        return "opened below a job";
    if (is_opened && s->is_leased)
        return "opened below a lease";
    if (is_opened && (s->is_held || s->is_failed || !s->is_settled))
        return "opened too early";
    if (is_opened && s->is_by_hand && !s->has_own_policy && verdict != DECISION_RESUME)
        return "opened a port that is for commands";
    if (verdict == DECISION_WAIT && !s->is_job_under_way && !s->is_leased && s->is_settled && !s->is_held &&
        !s->is_failed)
        return "waits for nothing";
    if (verdict == DECISION_LOOK && s->was_looked_at)
        return "looks for ever";
    if ((verdict == DECISION_FLASH || verdict == DECISION_RESET || verdict == DECISION_COACH) &&
        !s->was_looked_at)
        return "acts unseen";
    return NULL;
}

static const char *forbids_chip(const struct decision_state *s, enum decision_verdict verdict) {
    bool is_by_hand = s->is_by_hand && !s->has_own_policy;

    if (verdict != DECISION_FLASH && (verdict != DECISION_RESUME || is_by_hand))
        return NULL;
    if (s->seen != BOARD_SEEN_DOWNLOAD && (verdict != DECISION_RESUME || s->seen != BOARD_SEEN_STUB))
        return "writes without a boot ROM";
    if (s->seen == BOARD_SEEN_STUB && (!*s->mac || s->is_presumed))
        return "goes on with a board that nobody has asked who it is";
    if (!s->is_esp32)
        return "writes to no ESP32";
    if (s->is_encrypted || s->is_secure_boot)
        return "makes a secured board unusable";
    if (s->flash_mib != 4 && s->flash_mib != 8)
        return "writes to a flash of an unknown layout";
    return NULL;
}

static const char *forbids_resume(const struct decision_state *s, enum decision_verdict verdict) {
    if (verdict == DECISION_RESUME && (!s->pending_job || s->pending_attempts >= s->attempts_max))
        return "goes on with no job, or for ever";
    return NULL;
}

static const char *forbids_flash(const struct decision_state *s, enum decision_verdict verdict) {
    bool is_written = s->was_flashed_now || s->is_confirmed_now;
    bool is_empty = s->is_blank && !is_written;
    bool is_same_board = !*s->board || !strcmp(s->board, s->candidate_board);
    bool is_same = *s->release && !strcmp(s->release, s->candidate_release);

    if (verdict != DECISION_FLASH)
        return NULL;
    if (s->policy != BOARD_POLICY_WIPY && s->policy != BOARD_POLICY_ANY)
        return "flashes without being asked";
    if (!s->has_candidate)
        return "flashes nothing";
    if (s->was_flashed && !is_empty)
        return "flashes the same package twice";
    if (s->has_ended_now)
        return "begins again what was stopped or failed";
    if (s->is_chosen && !is_empty)
        return "flashes over a person's choice";
    if (s->failures >= 3)
        return "fails for ever";
    if (s->was_flashed_now && !s->is_confirmed_now && !s->is_coached_out)
        return "flashes what has not started yet";
    if (!is_empty && is_same_board && *s->release && !is_same && s->candidate_order &&
        s->order > s->candidate_order)
        return "flashes an older release";
    if (!is_empty && is_same_board && *s->release && !is_same && !s->candidate_order)
        return "flashes what may be an older release";
    if (!is_empty && *s->pin && !strcmp(s->pin, s->release))
        return "flashes a board that has what it is pinned to";
    if (is_pycom_name(s->board) && strcmp(s->board, s->candidate_board) != 0)
        return "flashes a board of another type";
    if (s->is_known_wipy && !*s->board && strcmp(s->candidate_board, "WiPy") != 0)
        return "flashes a WiPy as another board";
    if (s->policy != BOARD_POLICY_WIPY)
        return NULL;
    if (strcmp(s->candidate_board, "WiPy") != 0)
        return "flashes no WiPy firmware under wipy";
    if (*s->board && strcmp(s->board, "WiPy") != 0)
        return "flashes another board under wipy";
    if (!is_empty && (s->is_presumed || (!*s->board && !s->is_known_wipy)))
        return "flashes a board that nobody recognised";
    if (!is_empty && *s->release && !s->order && !is_same)
        return "flashes over somebody's own build";
    return NULL;
}

static const char *forbids_reset(const struct decision_state *s, enum decision_verdict verdict) {
    bool is_pending = s->pending_job && s->pending_attempts < s->attempts_max;

    if (verdict != DECISION_RESET)
        return NULL;
    if (!s->is_armed || !s->has_lines)
        return "resets what isn't armed";
    if (s->was_reset)
        return "resets a second time";
    if (s->seen == BOARD_SEEN_DOWNLOAD)
        return "resets a board that is there already";
    if (is_pending)
        return NULL;
    if (s->policy != BOARD_POLICY_WIPY && s->policy != BOARD_POLICY_ANY)
        return "resets without being asked";
    if (s->has_ended_now)
        return "resets a board on which a job was stopped or failed";
    if (!s->has_candidate)
        return "resets for nothing";
    if (s->seen == BOARD_SEEN_FIRMWARE && !strcmp(s->board, s->candidate_board) && *s->board &&
        (s->was_flashed || s->is_chosen || !strcmp(s->release, s->candidate_release)) && *s->release)
        return "stops a board that is up to date";
    return NULL;
}

static const char *forbids_coach(const struct decision_state *s, enum decision_verdict verdict) {
    bool is_pending = s->pending_job && s->pending_attempts < s->attempts_max;
    bool is_awaiting = s->was_flashed_now && !s->is_confirmed_now;

    if (verdict != DECISION_COACH)
        return NULL;
    if (s->is_coached_out)
        return "listens for ever";
    if (!is_awaiting && s->seen == BOARD_SEEN_DOWNLOAD)
        return "coaches into download mode what is in it";
    if (!is_awaiting && !is_pending && s->policy != BOARD_POLICY_WIPY && s->policy != BOARD_POLICY_ANY)
        return "coaches under ask";
    if (!is_awaiting && !is_pending && !*s->board &&
        (s->seen == BOARD_SEEN_SILENT || s->seen == BOARD_SEEN_NOISE || s->seen == BOARD_SEEN_FIRMWARE))
        return "keeps a port that says nothing";
    return NULL;
}

static const char *(*const forbids[])(const struct decision_state *, enum decision_verdict) = {
    forbids_port, forbids_chip, forbids_resume, forbids_flash, forbids_reset, forbids_coach,
};

/* ---- the tests ---------------------------------------------------------------------------------- */

static void fail_with(const struct decision_state *s, unsigned rule, const char *what) {
    char text[DECISION_TEXT_MAX];

    decision_state_print(s, text);
    fail_msg("seed %llu: %s: %s\n%s", (unsigned long long)seed, word_of(rule), what, text);
}

static void exactly_one_rule_wins(const struct decision_state *s, unsigned rule) {
    if (!decision_rule_at(rule))
        fail_with(s, 0, "out of the table");
    for (unsigned i = 0; i < rule; i++)
        if (decision_rule_at(i)->applies(s))
            fail_with(s, rule, "an earlier one applies");
    if (!decision_rule_at(rule)->applies(s))
        fail_with(s, rule, "doesn't apply");
}

static void nothing_forbidden_is_decided(const struct decision_state *s, unsigned rule) {
    for (size_t i = 0; i < sizeof forbids / sizeof *forbids; i++) {
        const char *what = forbids[i](s, decision_rule_at(rule)->verdict);

        if (what)
            fail_with(s, rule, what);
    }
    /* The last rule's words would be wrong of it: every board in download mode has a rule of its own. */
    if (s->seen == BOARD_SEEN_DOWNLOAD && !strcmp(word_of(rule), "silent"))
        fail_with(s, rule, "a board in download mode fell through");
}

static void it_is_told(const struct decision_state *s, unsigned rule) {
    char reason[320];
    const char *advice = coach_advice(s, rule);

    memset(reason, '#', sizeof reason);
    decision_rule_at(rule)->tell(s, reason, sizeof reason);
    if (!memchr(reason, 0, sizeof reason) || !isupper((unsigned char)reason[0]) ||
        reason[strlen(reason) - 1] != '.')
        fail_with(s, rule, "no sentence");
    if (decision_rule_at(rule)->verdict == DECISION_COACH && !*advice)
        fail_with(s, rule, "no advice");
}

static void its_text_decides_the_same(const struct decision_state *s, unsigned rule) {
    struct decision_state back;
    char text[DECISION_TEXT_MAX], again[DECISION_TEXT_MAX], reason[320], same[320];

    decision_state_print(s, text);
    if (!decision_state_parse(text, &back))
        fail_with(s, rule, "can't be read back");
    decision_state_print(&back, again);
    decision_rule_at(rule)->tell(s, reason, sizeof reason);
    decision_rule_at(rule)->tell(&back, same, sizeof same);
    if (strcmp(text, again) != 0 || strcmp(reason, same) != 0 || decision_make(&back) != rule ||
        strcmp(coach_advice(s, rule), coach_advice(&back, rule)) != 0)
        fail_with(s, rule, "another verdict when replayed");
}

static void promises_hold_in_every_state(void **state) {
    unsigned won[RULES_MAX] = { 0 }, n_unreached = 0;

    (void)state;
    random_state = seed;
    for (unsigned i = 0; i < N_STATES; i++) {
        struct decision_state s;
        unsigned rule;

        make(&s);
        rule = decision_make(&s);
        exactly_one_rule_wins(&s, rule);
        nothing_forbidden_is_decided(&s, rule);
        it_is_told(&s, rule);
        if (i % 4 == 0)
            its_text_decides_the_same(&s, rule);
        assert_true(rule < RULES_MAX);
        won[rule]++;
    }
    for (unsigned rule = 0; decision_rule_at(rule); rule++) {
        print_message("# %6u %-6s %s\n", won[rule], decision_verdict_word(decision_rule_at(rule)->verdict),
                      word_of(rule));
        n_unreached += !won[rule];
    }
    assert_int_equal(n_unreached, 0);
}

/* Less consent never means more done: without arms no reset, under ask no flash, under off nothing. */
static void less_consent_is_never_more_done(void **state) {
    (void)state;
    random_state = ~seed;
    for (unsigned i = 0; i < N_STATES / 4; i++) {
        struct decision_state s;
        enum decision_verdict verdict;

        make(&s);
        s.is_armed = false;
        if (decision_rule_at(decision_make(&s))->verdict == DECISION_RESET)
            fail_with(&s, decision_make(&s), "reset without arms");
        s.policy = BOARD_POLICY_ASK;
        verdict = decision_rule_at(decision_make(&s))->verdict;
        if (verdict == DECISION_FLASH || verdict == DECISION_RESET)
            fail_with(&s, decision_make(&s), "done under ask");
        s.policy = BOARD_POLICY_OFF;
        verdict = decision_rule_at(decision_make(&s))->verdict;
        if (verdict != DECISION_LEAVE)
            fail_with(&s, decision_make(&s), "done under off");
    }
}

/* After each step that the verdict asks for, and with nothing new from the board, the daemon comes to rest:
 * nothing is looked at, reset, coached or flashed for ever. */
static void every_port_comes_to_rest(void **state) {
    (void)state;
    random_state = seed ^ UINT64_C(0x5555555555555555);
    for (unsigned i = 0; i < N_STATES / 4; i++) {
        struct decision_state s;
        enum decision_verdict verdict = DECISION_LOOK;
        unsigned steps = 0;

        make_plausible(&s);
        while (verdict != DECISION_LEAVE) {
            unsigned rule = decision_make(&s);

            verdict = decision_rule_at(rule)->verdict;
            if (steps++ > 20)
                fail_with(&s, rule, "goes on for ever");
            switch (verdict) {
            case DECISION_LEAVE:
                break;
            case DECISION_WAIT:
                s.is_job_under_way = s.is_leased = s.is_held = s.is_failed = false;
                s.is_settled = true;
                break;
            case DECISION_LOOK:
                s.was_looked_at = true;
                break;
            case DECISION_RESET:
                s.was_reset = true;
                break;
            case DECISION_COACH:
                s.is_coached_out = true;
                break;
            case DECISION_FLASH: /* it works out, or not */
                if (percent(50))
                    s.was_flashed = s.was_flashed_now = true;
                else
                    s.failures++;
                break;
            case DECISION_RESUME:
                s.pending_attempts++;
                break;
            case DECISION_VERDICT_COUNT:
                fail();
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promises_hold_in_every_state),
        cmocka_unit_test(less_consent_is_never_more_done),
        cmocka_unit_test(every_port_comes_to_rest),
    };
    const char *wanted = getenv("WIPYD_TEST_SEED");

    seed = wanted ? (uint64_t)strtoull(wanted, NULL, 0) : (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
    print_message("# WIPYD_TEST_SEED=%llu, %u states\n", (unsigned long long)seed, N_STATES);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
