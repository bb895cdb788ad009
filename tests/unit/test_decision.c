/* One verdict and one sentence for every state of a port: each rule with the change that makes it win. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>

#include "tests/unit/test_decision_states.h"

#define AWAITING "was_flashed_now=1"
#define PENDING  "pending_job=7 pending_attempts=1"
#define BLANK    "is_blank=1 board= release= order=0"
#define UNNAMED  "board= release= order=0"
#define SAME     "release=1.20.1.r1 order=77595521"
#define NEWER    "release=1.20.2.r6 order=77596038"
#define CUSTOM   "release=1.20.1.r1-dragonfly order=0"
#define WAITING  "policy=any is_armed=1"

/* clang-format off */
static const struct {
    const char *rule, *base, *changes, *sentence;
} cases[] = {
    /* the port */
    { "absent", STATE_PORT, "is_present=0 is_handled=0", "It is not plugged in." },
    { "absent", STATE_PORT, "is_present=0 " PENDING, "It is not plugged in; job 7 goes on when it is." },
    { "adapter-unhandled", STATE_PORT, "is_handled=0 policy=off", "This kind of adapter isn't served." },
    { "policy-off", STATE_DOWNLOAD, "policy=off is_job_under_way=1", "The policy is off: the port is never opened." },
    { "policy-off", STATE_DOWNLOAD, "policy=off " PENDING, "The policy is off: the port is never opened." },
    { "job-under-way", STATE_DOWNLOAD, "is_job_under_way=1 is_by_hand=1", "A job is under way." },
    { "job-under-way", STATE_DOWNLOAD, "is_job_under_way=1 is_leased=1", "A job is under way." },
    { "leased", STATE_DOWNLOAD, "is_leased=1 is_by_hand=1 is_settled=0", "The port is leased to another program until that gives it back." },
    { "leased", STATE_DOWNLOAD, "is_leased=1 " PENDING, "The port is leased to another program until that gives it back." },
    { "policy-off", STATE_DOWNLOAD, "is_leased=1 policy=off", "The policy is off: the port is never opened." },
    { "by-hand", STATE_PORT, "is_by_hand=1", "The port is named in the configuration and has no policy of its own: it is served on command only." },
    { "by-hand", STATE_DOWNLOAD, "is_by_hand=1 pending_job=7 pending_attempts=5", "The port is named in the configuration and has no policy of its own: it is served on command only." },
    { "not-looked-at", STATE_PORT, "is_by_hand=1 has_own_policy=1", "Nobody has looked yet who is there." },
    { "settling", STATE_PORT, "is_settled=0 is_held=1", "It was plugged in only just now." },
    { "held", STATE_PORT, "is_held=1 is_failed=1", "Another program has the port; it is tried again later." },
    { "held", STATE_PORT, "is_by_hand=1 is_held=1 " PENDING, "Another program has the port; it is tried again later." },
    { "port-failed", STATE_PORT, "is_failed=1", "The port can't be opened; it is tried again later." },
    { "by-hand-pending", STATE_PORT, "is_by_hand=1 " PENDING, "Job 7 was cut off and goes on (attempt 2 of 5)." },
    { "not-looked-at", STATE_PORT, PENDING, "Nobody has looked yet who is there." },
    /* a ROM answered */
    { "not-esp32", STATE_DOWNLOAD, "is_esp32=0 is_encrypted=1", "The chip is not an ESP32." },
    { "flash-encrypted", STATE_DOWNLOAD, "is_encrypted=1 is_secure_boot=1 " PENDING, "Flash encryption is on in this chip's eFuses: plain firmware would make it unusable." },
    { "secure-boot", STATE_DOWNLOAD, "is_secure_boot=1 flash_mib=16", "Secure boot is on in this chip's eFuses: unsigned firmware would make it unusable." },
    { "flash-size", STATE_DOWNLOAD, "flash_mib=16 " PENDING, "It has 16 MB of flash; boards of Pycom's have 4 MB or 8 MB." },
    { "flash-size", STATE_DOWNLOAD, "flash_mib=0", "The size of its flash can't be told." },
    { "resume", STATE_DOWNLOAD, PENDING, "Job 7 was cut off and goes on (attempt 2 of 5)." },
    { "resume", STATE_DOWNLOAD, "policy=ask has_candidate=0 " PENDING, "Job 7 was cut off and goes on (attempt 2 of 5)." },
    { "flash-older", STATE_DOWNLOAD, "pending_job=7 pending_attempts=5", "It holds WiPy 1.18.1.r1, and WiPy 1.20.1.r1 is at hand." },
    { "wire-left-on", STATE_DOWNLOAD, AWAITING " was_flashed=1 " SAME, "Its firmware is written and verified, and it is still in download mode." },
    { "wire-left-on", STATE_DOWNLOAD, AWAITING " policy=ask has_candidate=0", "Its firmware is written and verified, and it is still in download mode." },
    { "wire-still-on", STATE_DOWNLOAD, AWAITING " was_flashed=1 is_coached_out=1 is_blank=1", "Its firmware is written and verified; it stays in download mode, and the port is let go." },
    { "flash-older", STATE_DOWNLOAD, AWAITING " is_coached_out=1", "It holds WiPy 1.18.1.r1, and WiPy 1.20.1.r1 is at hand." },
    /* no ROM answered, and something is unfinished */
    { "confirmed", STATE_RUNNING, "is_confirmed_now=1 was_flashed=1 " SAME, "It was flashed, and runs WiPy 1.20.1.r1 now." },
    { "running-older", STATE_RUNNING, "is_confirmed_now=1", "It runs WiPy 1.18.1.r1, and WiPy 1.20.1.r1 is at hand." },
    { "new-firmware-fails", STATE_RUNNING, "seen=panic " AWAITING, "Its firmware was written and verified, but the board's firmware crashes." },
    { "new-firmware-fails", STATE_RUNNING, "seen=no-boot is_confirmed_now=1", "Its firmware was written and verified, but the board finds no firmware." },
    { "awaiting-start", STATE_SILENT, AWAITING " " WAITING, "Its firmware is written and verified; it starts with the next reset." },
    { "awaiting-start", STATE_SILENT, AWAITING " policy=ask seen=deaf", "Its firmware is written and verified; it starts with the next reset." },
    { "coached-out", STATE_SILENT, AWAITING " is_coached_out=1", "It was listened to for long enough and is let go: nothing answers on the port." },
    { "pending-reset", STATE_RUNNING, "is_armed=1 policy=ask " PENDING, "Job 7 was cut off; a reset into download mode lets it go on." },
    { "pending", STATE_RUNNING, "is_armed=1 was_reset=1 " PENDING, "Job 7 was cut off and goes on in download mode, but the board runs its firmware." },
    { "pending", STATE_SILENT, "is_armed=1 has_lines=0 policy=ask " PENDING, "Job 7 was cut off and goes on in download mode, but nothing answers on the port." },
    { "coached-out", STATE_SILENT, "is_coached_out=1 " PENDING, "It was listened to for long enough and is let go: nothing answers on the port." },
    /* what it has, in download mode */
    { "pinned-there", STATE_DOWNLOAD, "has_candidate=0 pin=1.18.1.r1", "It holds WiPy 1.18.1.r1, and 1.18.1.r1 is what it is pinned to." },
    { "pinned-there", STATE_DOWNLOAD, "pin=1.20.1.r9 " SAME, "It holds WiPy 1.20.1.r1, and 1.20.1.r9 is what it is pinned to." },
    { "flash-older", STATE_DOWNLOAD, "pin=1.20.1.r1", "It holds WiPy 1.18.1.r1, and WiPy 1.20.1.r1 is at hand." },
    { "flash-blank", STATE_DOWNLOAD, "pin=1.20.1.r1 " BLANK, "Its flash is blank, and WiPy 1.20.1.r1 is at hand." },
    { "no-firmware", STATE_DOWNLOAD, "has_candidate=0", "No firmware is at hand for this board." },
    { "no-firmware", STATE_DOWNLOAD, "has_candidate=0 pin=1.18.2.r7", "It is pinned to 1.18.2.r7, which isn't at hand." },
    { "other-board", STATE_DOWNLOAD, "policy=any board=LoPy4", "It is a LoPy4, and the firmware at hand is for WiPy." },
    { "other-board", STATE_DOWNLOAD, "board=LoPy is_known_wipy=1", "It is a LoPy, and the firmware at hand is for WiPy." },
    { "other-board", STATE_DOWNLOAD, BLANK " candidate_board=LoPy", "The firmware at hand is for LoPy, and nothing says that this is one." },
    { "other-board", STATE_DOWNLOAD, "is_blank=1 board=SiPy release= order=0", "It is a SiPy, and the firmware at hand is for WiPy." },
    { "up-to-date", STATE_DOWNLOAD, "was_flashed=1 is_chosen=1 " SAME, "It holds WiPy 1.20.1.r1, the newest at hand, as it was flashed and verified." },
    { "chosen", STATE_DOWNLOAD, "is_chosen=1", "It holds WiPy 1.18.1.r1, which a person chose when 1.20.1.r1 was at hand already." },
    { "flash-blank", STATE_DOWNLOAD, "is_chosen=1 " BLANK, "Its flash is blank, and WiPy 1.20.1.r1 is at hand." },
    { "already-flashed", STATE_DOWNLOAD, "was_flashed=1 policy=any", "It holds WiPy 1.18.1.r1 now; WiPy 1.20.1.r1 was flashed to it before, and never is a second time without being asked." },
    { "flash-blank", STATE_DOWNLOAD, "was_flashed=1 " BLANK, "Its flash is blank, and WiPy 1.20.1.r1 is at hand." },
    { "newer", STATE_DOWNLOAD, "policy=any " NEWER, "It holds WiPy 1.20.2.r6, and WiPy 1.20.1.r1 is older." },
    { "newer", STATE_DOWNLOAD, "pin=1.20.1.r1 " NEWER, "It holds WiPy 1.20.2.r6, and WiPy 1.20.1.r1, which it is pinned to, is older." },
    { "custom", STATE_DOWNLOAD, CUSTOM, "It holds WiPy 1.20.1.r1-dragonfly, and WiPy 1.20.1.r1 is at hand: which is newer can't be told." },
    { "custom", STATE_DOWNLOAD, "policy=any candidate_order=0 candidate_release=mine", "It holds WiPy 1.18.1.r1, and WiPy mine is at hand: which is newer can't be told." },
    { "custom", STATE_DOWNLOAD, "board=Sonoff is_known_wipy=1", "It holds Sonoff 1.18.1.r1, and WiPy 1.20.1.r1 is at hand: which is newer can't be told." },
    { "not-a-wipy", STATE_DOWNLOAD, UNNAMED, "It holds firmware that names no board, and isn't known as a WiPy: the policy wipy flashes no other board." },
    { "not-a-wipy", STATE_DOWNLOAD, "board=LoPy candidate_board=LoPy", "It holds LoPy 1.18.1.r1, and isn't known as a WiPy: the policy wipy flashes no other board." },
    { "not-a-wipy", STATE_DOWNLOAD, "is_presumed=1", "The board last seen here has WiPy 1.18.1.r1, and isn't known as a WiPy: the policy wipy flashes no other board." },
    { "failed-before", STATE_DOWNLOAD, "failures=3", "The package at hand, WiPy 1.20.1.r1, failed on it 3 times in a row." },
    { "flash-older", STATE_DOWNLOAD, "failures=2", "It holds WiPy 1.18.1.r1, and WiPy 1.20.1.r1 is at hand." },
    { "ended", STATE_DOWNLOAD, "has_ended_now=1", "A job on it was stopped or failed: no other is begun until it is plugged in again, or on command." },
    { "ended", STATE_DOWNLOAD, "has_ended_now=1 policy=ask " BLANK, "A job on it was stopped or failed: no other is begun until it is plugged in again, or on command." },
    { "resume", STATE_DOWNLOAD, "has_ended_now=1 " PENDING, "Job 7 was cut off and goes on (attempt 2 of 5)." },
    { "up-to-date", STATE_DOWNLOAD, "has_ended_now=1 was_flashed=1 " SAME, "It holds WiPy 1.20.1.r1, the newest at hand, as it was flashed and verified." },
    { "ask", STATE_DOWNLOAD, "policy=ask", "It holds WiPy 1.18.1.r1, and WiPy 1.20.1.r1 is at hand: it is flashed on command only." },
    { "ask", STATE_DOWNLOAD, "policy=", "It holds WiPy 1.18.1.r1, and WiPy 1.20.1.r1 is at hand: it is flashed on command only." },
    { "flash-blank", STATE_DOWNLOAD, BLANK, "Its flash is blank, and WiPy 1.20.1.r1 is at hand." },
    { "flash-older", STATE_DOWNLOAD, "", "It holds WiPy 1.18.1.r1, and WiPy 1.20.1.r1 is at hand." },
    { "flash-same-release", STATE_DOWNLOAD, SAME, "It holds WiPy 1.20.1.r1 by its name: its bytes are compared with the package at hand." },
    { "flash-same-release", STATE_DOWNLOAD, "release=1.20.1.r01 order=77595521", "It holds WiPy 1.20.1.r01 by its name: its bytes are compared with the package at hand." },
    { "flash-unknown", STATE_DOWNLOAD, "is_known_wipy=1 " UNNAMED, "It holds firmware that names no board, and WiPy 1.20.1.r1 is at hand." },
    { "flash-unknown", STATE_DOWNLOAD, "policy=any " CUSTOM, "It holds WiPy 1.20.1.r1-dragonfly, and WiPy 1.20.1.r1 is at hand: the policy any flashes every ESP32." },
    { "flash-unknown", STATE_DOWNLOAD, "policy=any board=Sonoff release=9.0.0 order=603979776", "It holds Sonoff 9.0.0, and WiPy 1.20.1.r1 is at hand: the policy any flashes every ESP32." },
    /* what it has, running */
    { "no-firmware", STATE_RUNNING, "has_candidate=0", "No firmware is at hand for this board." },
    { "pinned-there", STATE_RUNNING, "is_armed=1 pin=1.18.1.r1", "It runs WiPy 1.18.1.r1, and 1.18.1.r1 is what it is pinned to." },
    { "other-board", STATE_RUNNING, "board=LoPy " WAITING, "It is a LoPy, and the firmware at hand is for WiPy." },
    { "running-up-to-date", STATE_RUNNING, SAME " " WAITING, "It runs WiPy 1.20.1.r1, the newest at hand." },
    { "running-up-to-date", STATE_SILENT, "is_presumed=1 board=WiPy is_armed=1 " SAME, "The board last seen here has WiPy 1.20.1.r1, the newest at hand." },
    { "chosen", STATE_RUNNING, "is_chosen=1 is_armed=1", "It runs WiPy 1.18.1.r1, which a person chose when 1.20.1.r1 was at hand already." },
    { "already-flashed", STATE_RUNNING, "was_flashed=1 is_armed=1", "It runs WiPy 1.18.1.r1 now; WiPy 1.20.1.r1 was flashed to it before, and never is a second time without being asked." },
    { "running-newer", STATE_RUNNING, NEWER " " WAITING, "It runs WiPy 1.20.2.r6, and WiPy 1.20.1.r1 is older." },
    { "custom", STATE_RUNNING, "is_armed=1 " CUSTOM, "It runs WiPy 1.20.1.r1-dragonfly, and WiPy 1.20.1.r1 is at hand: which is newer can't be told." },
    { "not-a-wipy", STATE_RUNNING, "board=LoPy candidate_board=LoPy is_armed=1", "It runs LoPy 1.18.1.r1, and isn't known as a WiPy: the policy wipy flashes no other board." },
    { "failed-before", STATE_RUNNING, "failures=4 is_armed=1", "The package at hand, WiPy 1.20.1.r1, failed on it 4 times in a row." },
    { "ended", STATE_RUNNING, "has_ended_now=1 is_armed=1", "A job on it was stopped or failed: no other is begun until it is plugged in again, or on command." },
    { "ended", STATE_SILENT, "has_ended_now=1 seen=no-boot", "A job on it was stopped or failed: no other is begun until it is plugged in again, or on command." },
    /* towards download mode */
    { "ask-report", STATE_RUNNING, "policy=ask is_armed=1", "It is looked at, and flashed on command only: the board runs its firmware." },
    { "ask-report", STATE_SILENT, "policy=ask seen=brownout", "It is looked at, and flashed on command only: the board's supply collapses." },
    { "reset", STATE_RUNNING, "is_armed=1", "The slot is armed, so the board is reset into download mode: the board runs its firmware." },
    { "reset", STATE_SILENT, "is_armed=1 seen=no-boot", "The slot is armed, so the board is reset into download mode: the board finds no firmware." },
    { "silent", STATE_SILENT, "is_armed=1 has_candidate=0", "Nothing answers on the port." },
    { "coached-out", STATE_SILENT, "is_coached_out=1 seen=panic", "It was listened to for long enough and is let go: the board's firmware crashes." },
    { "coached-out", STATE_RUNNING, "is_coached_out=1", "It was listened to for long enough and is let go: the board runs its firmware." },
    { "brownout", STATE_SILENT, "seen=brownout has_candidate=0", "The board's supply collapses." },
    { "brownout", STATE_SILENT, "seen=brownout " AWAITING, "The board's supply collapses." },
    { "deaf", STATE_SILENT, "seen=deaf", "The board waits for a download but doesn't hear us." },
    { "panic", STATE_SILENT, "seen=panic is_presumed=1 board=WiPy was_flashed=1 " SAME, "The board's firmware crashes." },
    { "no-boot", STATE_SILENT, "seen=no-boot", "The board finds no firmware on its flash." },
    { "stub", STATE_SILENT, "seen=stub", "The board is in download mode, but runs another program's loader." },
    { "running-older", STATE_RUNNING, "", "It runs WiPy 1.18.1.r1, and WiPy 1.20.1.r1 is at hand." },
    { "running-older", STATE_RUNNING, "release= order=0", "It runs WiPy firmware that names no release, and WiPy 1.20.1.r1 is at hand." },
    { "running-older", STATE_SILENT, "is_presumed=1 board=WiPy release=1.18.1.r1 order=76546945", "The board last seen here has WiPy 1.18.1.r1, and WiPy 1.20.1.r1 is at hand." },
    { "running-other", STATE_RUNNING, UNNAMED, "It runs firmware that doesn't say what it is, and isn't in download mode." },
    { "running-other", STATE_RUNNING, "policy=any board=Sonoff", "It runs Sonoff 1.18.1.r1, and isn't in download mode." },
    { "noise", STATE_SILENT, "seen=noise is_coached_out=1", "Bytes arrive, but they make no sense." },
    { "silent", STATE_SILENT, "", "Nothing answers on the port." },
    { "silent", STATE_SILENT, "is_armed=1 was_reset=1", "Nothing answers on the port, also after a reset." },
};
/* clang-format on */

#define N_CASES (sizeof cases / sizeof *cases)

static void each_rule_wins_by_its_change(void **state) {
    unsigned n_failed = 0;

    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        struct decision_state s;
        char reason[320];

        if (!state_from(cases[i].base, cases[i].changes, &s))
            fail_msg("no state: %s", cases[i].changes);

        unsigned rule = decision_make(&s);

        decision_rule_at(rule)->tell(&s, reason, sizeof reason);
        if (strcmp(word_of(rule), cases[i].rule) != 0 || strcmp(reason, cases[i].sentence) != 0) {
            print_message("# %s, by %s: got %s: %s\n", cases[i].rule, cases[i].changes, word_of(rule),
                          reason);
            n_failed++;
        }
    }
    assert_int_equal(n_failed, 0);
}

static void each_rule_has_a_case(void **state) {
    (void)state;
    for (unsigned rule = 0; decision_rule_at(rule); rule++) {
        bool is_there = false;

        for (size_t i = 0; i < N_CASES; i++)
            is_there = is_there || !strcmp(cases[i].rule, word_of(rule));
        if (!is_there)
            fail_msg("no case for %s", word_of(rule));
    }
}

/* Scripts, records and the README know them: a word that is here may not go. */
static void words_are_stable_and_in_order(void **state) {
    static const char *const words[] = {
        "absent",
        "adapter-unhandled",
        "policy-off",
        "job-under-way",
        "leased",
        "by-hand",
        "settling",
        "held",
        "port-failed",
        "by-hand-pending",
        "not-looked-at",
        "not-esp32",
        "flash-encrypted",
        "secure-boot",
        "flash-size",
        "resume",
        "wire-left-on",
        "wire-still-on",
        "confirmed",
        "new-firmware-fails",
        "awaiting-start",
        "pending-reset",
        "pending",
        "pinned-there",
        "no-firmware",
        "other-board",
        "up-to-date",
        "running-up-to-date",
        "chosen",
        "already-flashed",
        "newer",
        "running-newer",
        "custom",
        "not-a-wipy",
        "failed-before",
        "ended",
        "ask",
        "flash-blank",
        "flash-older",
        "flash-same-release",
        "flash-unknown",
        "ask-report",
        "reset",
        "coached-out",
        "brownout",
        "deaf",
        "panic",
        "no-boot",
        "stub",
        "running-older",
        "running-other",
        "noise",
        "silent",
    };
    unsigned rule = 0;

    (void)state;
    for (; decision_rule_at(rule); rule++) {
        assert_true(rule < sizeof words / sizeof *words);
        assert_string_equal(word_of(rule), words[rule]);
        for (unsigned k = 0; k < rule; k++)
            assert_string_not_equal(word_of(rule), word_of(k));
        assert_true(strlen(word_of(rule)) < 32); /* decision_record's */
    }
    assert_int_equal(rule, sizeof words / sizeof *words);
    assert_null(decision_rule_at(rule));
    assert_null(decision_rule_at(UINT32_MAX));
}

static void questions_are_questions(void **state) {
    (void)state;
    for (unsigned rule = 0; decision_rule_at(rule); rule++) {
        const char *question = decision_rule_at(rule)->question;

        assert_true(isupper((unsigned char)question[0]));
        assert_int_equal(question[strlen(question) - 1], '?');
        for (unsigned k = 0; k < rule; k++)
            assert_string_not_equal(question, decision_rule_at(k)->question);
    }
}

static void verdict_words_are_short_and_unique(void **state) {
    (void)state;
    for (int i = 0; i < DECISION_VERDICT_COUNT; i++) {
        assert_in_range(strlen(decision_verdict_word((enum decision_verdict)i)), 1, 15);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(decision_verdict_word((enum decision_verdict)i),
                                    decision_verdict_word((enum decision_verdict)k));
    }
}

/* Whatever the size that the caller has. */
static void sentences_are_cut_to_size(void **state) {
    struct decision_state s;

    (void)state;
    memset(&s, 0, sizeof s);
    memset(s.board, 'b', sizeof s.board - 1);
    memset(s.release, 'r', sizeof s.release - 1);
    memset(s.candidate_board, 'B', sizeof s.candidate_board - 1);
    memset(s.candidate_release, 'R', sizeof s.candidate_release - 1);
    memset(s.pin, 'p', sizeof s.pin - 1);
    for (unsigned rule = 0; decision_rule_at(rule); rule++) {
        char whole[320] = "", cut[17];

        decision_rule_at(rule)->tell(&s, whole, sizeof whole);
        assert_int_equal(whole[strlen(whole) - 1], '.');
        memset(cut, '#', sizeof cut);
        decision_rule_at(rule)->tell(&s, cut, sizeof cut - 1);
        assert_int_equal(strlen(cut), 15);
        assert_int_equal(strncmp(whole, cut, 15), 0);
        assert_int_equal(cut[16], '#');
    }
}

/* ---- as text ------------------------------------------------------------------------------------ */

static void text_of_the_longest_and_oddest_state_fits_and_comes_back(void **state) {
    struct decision_state s, back;
    char text[DECISION_TEXT_MAX], again[DECISION_TEXT_MAX];

    (void)state;
    memset(&s, 0, sizeof s);
    s.is_present = s.is_presumed = true;
    s.policy = BOARD_POLICY_WIPY;
    s.seen = BOARD_SEEN_DOWNLOAD;
    s.flash_mib = s.order = s.candidate_order = s.failures = UINT32_MAX;
    s.pending_job = s.pending_attempts = s.attempts_max = UINT32_MAX;
    memset(s.mac, '%', sizeof s.mac - 1);
    memset(s.board, '\n', sizeof s.board - 1);
    memset(s.release, 0xff, sizeof s.release - 1);
    memset(s.candidate_board, 0x7f, sizeof s.candidate_board - 1);
    memset(s.candidate_release, 1, sizeof s.candidate_release - 1);
    memset(s.candidate_sha256, '\t', sizeof s.candidate_sha256 - 1);
    memset(s.pin, 0x80, sizeof s.pin - 1);
    memset(text, '#', sizeof text);
    decision_state_print(&s, text);
    assert_non_null(memchr(text, 0, sizeof text));
    for (const char *c = text; *c; c++)
        assert_true(*c == '\n' || (*c >= 0x20 && *c <= 0x7e));
    assert_true(decision_state_parse(text, &back));
    assert_string_equal(back.mac, s.mac);
    assert_string_equal(back.board, s.board);
    assert_string_equal(back.release, s.release);
    assert_string_equal(back.candidate_sha256, s.candidate_sha256);
    assert_string_equal(back.pin, s.pin);
    assert_int_equal(back.failures, UINT32_MAX);
    assert_int_equal(back.seen, BOARD_SEEN_DOWNLOAD);
    decision_state_print(&back, again);
    assert_string_equal(text, again);
}

static void fields_are_the_lines_of_the_text(void **state) {
    struct decision_state s;
    char text[DECISION_TEXT_MAX], value[256], joined[DECISION_TEXT_MAX] = "";
    const char *key;
    size_t n = 0;
    unsigned i = 0;

    (void)state;
    assert_true(state_from(STATE_DOWNLOAD, "pin=a%0ab", &s));
    assert_string_equal(s.pin, "a\nb");
    decision_state_print(&s, text);
    for (; decision_state_field(&s, i, &key, value, sizeof value); i++)
        n += (size_t)snprintf(joined + n, sizeof joined - n, "%s=%s\n", key, value);
    assert_string_equal(joined, text);
    assert_false(decision_state_field(&s, UINT32_MAX, &key, value, sizeof value));
    assert_true(decision_state_field(&s, 0, &key, NULL, 0));
}

/* An escape is whole or not there. */
static void field_values_are_cut_to_size(void **state) {
    struct decision_state s;
    char value[8];
    const char *key;

    (void)state;
    assert_true(state_from(STATE_PORT, "pin=ab%0a%0a%0a", &s));
    for (unsigned i = 0; decision_state_field(&s, i, &key, value, sizeof value); i++)
        if (!strcmp(key, "pin"))
            assert_string_equal(value, "ab%0a");
}

/* A record of another wipyd's. */
static void unknown_keys_are_skipped_and_missing_ones_are_zero(void **state) {
    struct decision_state s;

    (void)state;
    memset(&s, 0x55, sizeof s);
    assert_true(decision_state_parse("mood=good=very\nis_held=1\nempty=\nflash_mib=8", &s));
    assert_true(s.is_held);
    assert_int_equal(s.flash_mib, 8);
    assert_false(s.is_present);
    assert_int_equal(s.policy, BOARD_POLICY_UNSET);
    assert_int_equal(s.seen, BOARD_SEEN_NOTHING);
    assert_string_equal(s.board, "");
}

static void what_is_no_state_is_refused_and_changes_nothing(void **state) {
    static const char *const texts[] = {
        "",
        "\n",
        "is_held",
        "=1\n",
        "is_held=1\n\npolicy=off\n",
        "is_held=1\nis_held=1\n",
        "is_held=\n",
        "is_held=2\n",
        "is_held=10\n",
        "is_held=true\n",
        "flash_mib=\n",
        "flash_mib=-1\n",
        "flash_mib=+1\n",
        "flash_mib= 1\n",
        "flash_mib=4x\n",
        "flash_mib=4294967296\n",
        "flash_mib=00000000004\n",
        "flash_mib=99999999999999999999999999\n",
        "policy=wip\n",
        "policy=WIPY\n",
        "seen=\n",
        "seen=downloads\n",
        "pin=%\n",
        "pin=%0\n",
        "pin=%00\n",
        "pin=%0G\n",
        "pin=%0A\n",
        "pin=ab%4\nboard=1\n",
        "mac=30:ae:a4:01:02:034\n",                 /* one too many */
        "board=01234567890123456789012345678901\n", /* 32 */
    };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct decision_state s, before;

        memset(&s, 0x55, sizeof s);
        before = s;
        if (decision_state_parse(texts[i], &s))
            fail_msg("taken: %s", texts[i]);
        assert_memory_equal(&s, &before, sizeof s);
    }
}

static void a_value_that_just_fits_is_taken(void **state) {
    struct decision_state s;

    (void)state;
    assert_true(decision_state_parse("mac=30:ae:a4:01:02:03\nboard=0123456789012345678901234567890\n"
                                     "flash_mib=4294967295\npin=%ff%25 =",
                                     &s));
    assert_string_equal(s.mac, "30:ae:a4:01:02:03");
    assert_int_equal(strlen(s.board), 31);
    assert_string_equal(s.pin, "\xff% =");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_rule_wins_by_its_change),
        cmocka_unit_test(each_rule_has_a_case),
        cmocka_unit_test(words_are_stable_and_in_order),
        cmocka_unit_test(questions_are_questions),
        cmocka_unit_test(verdict_words_are_short_and_unique),
        cmocka_unit_test(sentences_are_cut_to_size),
        cmocka_unit_test(text_of_the_longest_and_oddest_state_fits_and_comes_back),
        cmocka_unit_test(fields_are_the_lines_of_the_text),
        cmocka_unit_test(field_values_are_cut_to_size),
        cmocka_unit_test(unknown_keys_are_skipped_and_missing_ones_are_zero),
        cmocka_unit_test(what_is_no_state_is_refused_and_changes_nothing),
        cmocka_unit_test(a_value_that_just_fits_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
