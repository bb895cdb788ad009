/* The next step of a person, for each rule that wants one. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>

#include "daemon/board/coach.h"
#include "tests/unit/test_decision_states.h"

#define JUMPER  "Join G23 to GND, then press reset on the board."
#define REPLUG  "Join G23 to GND, then plug the board in again."
#define OFF     "Take the wire off G23 and press reset."
#define STILL   "The wire is still on G23: take it off and press reset."
#define RESET   "Press reset on the board."
#define TX      "Check the wire or jumper from the adapter's TX to the board's RX."
#define SILENCE "Check power and the TX and RX jumpers, join G23 to GND, then plug the board in again."
#define NOISE   "Check the cable and the ground wire, then plug the board in again."
#define SUPPLY  "Use a better USB cable or a powered hub."

#define SAME    "release=1.20.1.r1 order=77595521"
#define PENDING "pending_job=7 pending_attempts=1"

/* clang-format off */
static const struct {
    const char *rule, *base, *changes, *advice;
} cases[] = {
    { "absent", STATE_PORT, "is_present=0", "" },
    { "absent", STATE_PORT, "is_present=0 " PENDING, "Plug the board in again." },
    { "adapter-unhandled", STATE_PORT, "is_handled=0", "Plug the board into an adapter that wipyd serves." },
    { "policy-off", STATE_PORT, "policy=off", "" },
    { "by-hand", STATE_PORT, "is_by_hand=1", "" },
    { "by-hand", STATE_PORT, "is_by_hand=1 was_flashed_now=1", OFF },
    { "by-hand", STATE_PORT, "is_by_hand=1 was_flashed_now=1 is_confirmed_now=1", "" },
    { "held", STATE_PORT, "is_held=1", "Close the program that has the port." },
    { "port-failed", STATE_PORT, "is_failed=1", "Check that wipyd may open the port (group dialout)." },
    { "not-looked-at", STATE_PORT, "", "" },
    { "flash-size", STATE_DOWNLOAD, "flash_mib=0", RESET },
    { "flash-size", STATE_DOWNLOAD, "flash_mib=2", "" },
    { "resume", STATE_DOWNLOAD, PENDING, "" },
    { "wire-left-on", STATE_DOWNLOAD, "was_flashed_now=1", STILL },
    { "wire-still-on", STATE_DOWNLOAD, "was_flashed_now=1 was_flashed=1 is_coached_out=1", STILL },
    { "confirmed", STATE_RUNNING, "is_confirmed_now=1 was_flashed=1 " SAME, "" },
    { "new-firmware-fails", STATE_RUNNING, "was_flashed_now=1 seen=panic", "Join G23 to GND, press reset, and flash another release with wipyctl flash." },
    { "awaiting-start", STATE_SILENT, "was_flashed_now=1", OFF },
    { "awaiting-start", STATE_SILENT, "was_flashed_now=1 seen=deaf", OFF },
    { "awaiting-start", STATE_SILENT, "was_flashed_now=1 is_armed=1 has_lines=0", OFF },
    { "awaiting-start", STATE_SILENT, "was_flashed_now=1 is_armed=1", RESET },
    { "coached-out", STATE_SILENT, "was_flashed_now=1 is_coached_out=1", OFF },
    { "pending-reset", STATE_SILENT, "is_armed=1 " PENDING, "" },
    { "pending", STATE_SILENT, PENDING, JUMPER },
    { "pending", STATE_RUNNING, PENDING, JUMPER },
    { "pending", STATE_SILENT, "seen=deaf " PENDING, TX },
    { "pending", STATE_SILENT, "seen=brownout " PENDING, SUPPLY },
    { "pending", STATE_SILENT, "seen=stub " PENDING, RESET },
    { "no-firmware", STATE_DOWNLOAD, "has_candidate=0", "Bring firmware in with wipyctl firmware import, or refresh." },
    { "up-to-date", STATE_DOWNLOAD, "was_flashed=1 " SAME, OFF },
    { "up-to-date", STATE_DOWNLOAD, "was_flashed=1 is_armed=1 " SAME, "" },
    { "running-up-to-date", STATE_RUNNING, SAME, "" },
    { "chosen", STATE_DOWNLOAD, "is_chosen=1", OFF },
    { "chosen", STATE_RUNNING, "is_chosen=1", "" },
    { "failed-before", STATE_DOWNLOAD, "failures=3", "Check cable and supply, then flash it with wipyctl flash." },
    { "ended", STATE_DOWNLOAD, "has_ended_now=1", "Plug the board in again, or flash it with wipyctl flash." },
    { "ended", STATE_RUNNING, "has_ended_now=1 is_armed=1", "Plug the board in again, or flash it with wipyctl flash." },
    { "ask", STATE_DOWNLOAD, "policy=ask", "Flash it with wipyctl flash." },
    { "flash-older", STATE_DOWNLOAD, "", "" },
    { "ask-report", STATE_RUNNING, "policy=ask", "" },
    { "ask-report", STATE_SILENT, "policy=ask", "" },
    { "ask-report", STATE_SILENT, "policy=ask seen=deaf", TX },
    { "ask-report", STATE_SILENT, "policy=ask seen=brownout", SUPPLY },
    { "ask-report", STATE_SILENT, "policy=ask seen=noise", NOISE },
    { "ask-report", STATE_SILENT, "policy=ask seen=no-boot", "Join G23 to GND, press reset, and flash it with wipyctl flash." },
    { "ask-report", STATE_SILENT, "policy=ask was_flashed_now=1 is_coached_out=1", OFF },
    { "reset", STATE_SILENT, "is_armed=1", "" },
    { "coached-out", STATE_RUNNING, "is_coached_out=1", REPLUG },
    { "coached-out", STATE_SILENT, "seen=brownout is_coached_out=1", SUPPLY },
    { "coached-out", STATE_SILENT, "seen=deaf is_coached_out=1", TX },
    { "brownout", STATE_SILENT, "seen=brownout", SUPPLY },
    { "deaf", STATE_SILENT, "seen=deaf", TX },
    { "panic", STATE_SILENT, "seen=panic", JUMPER },
    { "no-boot", STATE_SILENT, "seen=no-boot", JUMPER },
    { "stub", STATE_SILENT, "seen=stub", RESET },
    { "running-older", STATE_RUNNING, "", JUMPER },
    { "running-other", STATE_RUNNING, "board= release= order=0",
      "To have it flashed if it is a WiPy that needs it, join G23 to GND and plug it in again." },
    { "noise", STATE_SILENT, "seen=noise", NOISE },
    { "silent", STATE_SILENT, "", SILENCE },
    { "silent", STATE_SILENT, "is_presumed=1 mac=30:ae:a4:01:02:03", REPLUG },
    { "silent", STATE_SILENT, "is_presumed=1 is_armed=1 was_reset=1", SILENCE },
};
/* clang-format on */

static void each_state_has_its_advice(void **state) {
    unsigned n_failed = 0;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct decision_state s;

        assert_true(state_from(cases[i].base, cases[i].changes, &s));

        unsigned rule = decision_make(&s);

        if (strcmp(word_of(rule), cases[i].rule) != 0 ||
            strcmp(coach_advice(&s, rule), cases[i].advice) != 0) {
            print_message("# %s, by %s: got %s: %s\n", cases[i].rule, cases[i].changes, word_of(rule),
                          coach_advice(&s, rule));
            n_failed++;
        }
    }
    assert_int_equal(n_failed, 0);
}

/* Whoever is listened to is told what for, whatever was seen. */
static void each_rule_that_coaches_has_advice(void **state) {
    (void)state;
    for (unsigned rule = 0; decision_rule_at(rule); rule++)
        for (int seen = 0; seen < BOARD_SEEN_COUNT; seen++) {
            struct decision_state s;

            assert_true(state_from(STATE_PORT, "", &s));
            s.seen = (enum board_seen)seen;

            const char *advice = coach_advice(&s, rule);
            size_t size = strlen(advice);

            if (decision_rule_at(rule)->verdict == DECISION_COACH && !size)
                fail_msg("nothing to do for %s, %s", word_of(rule), board_seen_word(s.seen));
            assert_true(size < 160); /* a job's UserAction */
            if (size) {
                assert_true(isupper((unsigned char)advice[0]));
                assert_int_equal(advice[size - 1], '.');
            }
        }
}

static void no_rule_no_advice(void **state) {
    struct decision_state s;
    unsigned n = 0;

    (void)state;
    assert_true(state_from(STATE_PORT, "", &s));
    while (decision_rule_at(n))
        n++;
    assert_string_equal(coach_advice(&s, n), "");
    assert_string_equal(coach_advice(&s, UINT32_MAX), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_state_has_its_advice),
        cmocka_unit_test(each_rule_that_coaches_has_advice),
        cmocka_unit_test(no_rule_no_advice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
