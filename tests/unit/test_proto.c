/* The tables that daemon, client and tests share: one row each, and nothing twice. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "proto/error.h"
#include "proto/names.h"
#include "proto/phase.h"

/* One line, from the first character to the last. */
static bool is_tidy(const char *text) {
    size_t size = strlen(text);

    if (!size || text[0] == ' ' || text[size - 1] == ' ' || strstr(text, "  "))
        return false;
    for (size_t i = 0; i < size; i++)
        if (text[i] < 0x20 || text[i] > 0x7e)
            return false;
    return true;
}

/* The daemon's own name has no capital anywhere. */
static bool is_sentence(const char *text) {
    return is_tidy(text) && (!islower((unsigned char)text[0]) || !strncmp(text, "wipyd ", 6)) &&
           strchr(".?", text[strlen(text) - 1]);
}

/* A hint may end in a command to be typed, where a full stop would be typed too. */
static bool ends_in_a_command(const char *text) {
    const char *command = strstr(text, ": wipyctl ");

    if (!command)
        command = strstr(text, ": journalctl ");
    return is_tidy(text) && command && !strstr(command, ". ") && text[strlen(text) - 1] != '.';
}

/* Words on the bus: lower case, digits, single dashes inside. */
static bool is_word(const char *word) {
    size_t size = strlen(word);

    for (size_t i = 0; i < size; i++)
        if (!islower((unsigned char)word[i]) && (word[i] != '-' || !i || i + 1 == size || word[i + 1] == '-'))
            return false;
    return size > 0;
}

/* ---- errors ------------------------------------------------------------------------------------- */

static void no_error_is_zero(void **state) {
    (void)state;
    assert_int_equal(WIPYD_ERROR_NONE, 0);
    assert_string_equal(wipyd_error_hint(WIPYD_ERROR_NONE), "");
}

static void error_names_are_valid_on_the_bus(void **state) {
    (void)state;
    for (int i = 0; i < WIPYD_ERROR_COUNT; i++) {
        const char *name = wipyd_error_bus_name((enum wipyd_error)i);
        size_t prefix = strlen(WIPYD_ERROR_PREFIX);

        assert_non_null(name);
        assert_true(strlen(name) < 256);
        assert_int_equal(strncmp(name, WIPYD_ERROR_PREFIX, prefix), 0);
        assert_true(isupper((unsigned char)name[prefix]));
        for (const char *c = name + prefix; *c; c++)
            assert_true(isalnum((unsigned char)*c));
    }
}

static void error_names_and_sentences_are_unique(void **state) {
    (void)state;
    for (int i = 0; i < WIPYD_ERROR_COUNT; i++)
        for (int k = 0; k < i; k++) {
            assert_string_not_equal(wipyd_error_bus_name((enum wipyd_error)i),
                                    wipyd_error_bus_name((enum wipyd_error)k));
            assert_string_not_equal(wipyd_error_sentence((enum wipyd_error)i),
                                    wipyd_error_sentence((enum wipyd_error)k));
        }
}

static void error_names_come_back(void **state) {
    (void)state;
    for (int i = 0; i < WIPYD_ERROR_COUNT; i++)
        assert_int_equal(wipyd_error_from_bus_name(wipyd_error_bus_name((enum wipyd_error)i)), i);
}

static void foreign_error_names_are_none_of_ours(void **state) {
    static const char *const names[] = {
        "",
        "PortBusy", /* without the prefix */
        WIPYD_ERROR_PREFIX,
        WIPYD_ERROR_PREFIX "PortBus",
        WIPYD_ERROR_PREFIX "PortBusyX",
        WIPYD_ERROR_PREFIX "portbusy",
        "org.freedesktop.DBus.Error.NoReply",
    };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(wipyd_error_from_bus_name(names[i]), WIPYD_ERROR_COUNT);
}

static void errors_speak_in_sentences(void **state) {
    (void)state;
    for (int i = 0; i < WIPYD_ERROR_COUNT; i++) {
        const char *sentence = wipyd_error_sentence((enum wipyd_error)i);
        const char *hint = wipyd_error_hint((enum wipyd_error)i);

        if (!is_sentence(sentence))
            fail_msg("no sentence: \"%s\"", sentence);
        if (*hint && !is_sentence(hint) && !ends_in_a_command(hint))
            fail_msg("no hint: \"%s\"", hint);
    }
}

/* Everything that can be cured has a hint; the three others need none. */
static void errors_have_hints(void **state) {
    (void)state;
    for (int i = 0; i < WIPYD_ERROR_COUNT; i++)
        if (i != WIPYD_ERROR_NONE && i != WIPYD_ERROR_JOB_FINISHED)
            assert_true(*wipyd_error_hint((enum wipyd_error)i));
}

/* ---- phases and states -------------------------------------------------------------------------- */

static void phase_words_come_back_and_are_unique(void **state) {
    (void)state;
    for (int i = 0; i < WIPYD_PHASE_COUNT; i++) {
        enum wipyd_phase phase = (enum wipyd_phase)i;

        assert_true(is_word(wipyd_phase_word(phase)));
        assert_int_equal(wipyd_phase_from_word(wipyd_phase_word(phase)), phase);
    }
    assert_int_equal(wipyd_phase_from_word(""), WIPYD_PHASE_COUNT);
    assert_int_equal(wipyd_phase_from_word("writ"), WIPYD_PHASE_COUNT);
    assert_int_equal(wipyd_phase_from_word("Write"), WIPYD_PHASE_COUNT);
}

/* They stand after "while": no capital, no full stop. */
static void phase_labels_fit_into_a_sentence(void **state) {
    (void)state;
    for (int i = 0; i < WIPYD_PHASE_COUNT; i++) {
        const char *label = wipyd_phase_label((enum wipyd_phase)i);

        assert_true(is_tidy(label));
        assert_true(islower((unsigned char)label[0]));
        assert_int_not_equal(label[strlen(label) - 1], '.');
        for (int k = 0; k < i; k++)
            assert_string_not_equal(label, wipyd_phase_label((enum wipyd_phase)k));
    }
}

static void phases_begin_queued_and_end_done(void **state) {
    (void)state;
    assert_int_equal(WIPYD_PHASE_QUEUED, 0);
    assert_int_equal(WIPYD_PHASE_DONE, WIPYD_PHASE_COUNT - 1);
    assert_true(WIPYD_PHASE_SAVE < WIPYD_PHASE_BEGIN); /* nothing is written before the board's own is safe */
    assert_true(WIPYD_PHASE_PROTECT < WIPYD_PHASE_BEGIN);
}

static void job_state_words_come_back(void **state) {
    (void)state;
    for (int i = 0; i < WIPYD_JOB_STATE_COUNT; i++) {
        enum wipyd_job_state job_state = (enum wipyd_job_state)i;

        assert_true(is_word(wipyd_job_state_word(job_state)));
        assert_int_equal(wipyd_job_state_from_word(wipyd_job_state_word(job_state)), job_state);
    }
    assert_int_equal(wipyd_job_state_from_word("finished"), WIPYD_JOB_STATE_COUNT);
}

static void three_job_states_are_final(void **state) {
    (void)state;
    assert_false(wipyd_job_state_is_final(WIPYD_JOB_STATE_QUEUED));
    assert_false(wipyd_job_state_is_final(WIPYD_JOB_STATE_RUNNING));
    assert_false(wipyd_job_state_is_final(WIPYD_JOB_STATE_WAITING));
    assert_true(wipyd_job_state_is_final(WIPYD_JOB_STATE_DONE));
    assert_true(wipyd_job_state_is_final(WIPYD_JOB_STATE_FAILED));
    assert_true(wipyd_job_state_is_final(WIPYD_JOB_STATE_CANCELLED));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_error_is_zero),
        cmocka_unit_test(error_names_are_valid_on_the_bus),
        cmocka_unit_test(error_names_and_sentences_are_unique),
        cmocka_unit_test(error_names_come_back),
        cmocka_unit_test(foreign_error_names_are_none_of_ours),
        cmocka_unit_test(errors_speak_in_sentences),
        cmocka_unit_test(errors_have_hints),
        cmocka_unit_test(phase_words_come_back_and_are_unique),
        cmocka_unit_test(phase_labels_fit_into_a_sentence),
        cmocka_unit_test(phases_begin_queued_and_end_done),
        cmocka_unit_test(job_state_words_come_back),
        cmocka_unit_test(three_job_states_are_final),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
