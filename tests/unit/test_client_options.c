/* wipyctl's command line: what each option means, where it stands, and what is said of a wrong one. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/options.h"

enum { WORDS_MAX = 12, OUTPUT_MAX = 16384 };

struct bench {
    struct client client;
    const struct verb *verb;
    char **arguments;
    char *argv[WORDS_MAX + 2];
    char output[OUTPUT_MAX];
};

static int set_up(void **state) {
    *state = calloc(1, sizeof(struct bench));
    unsetenv("WIPYD_BUS");
    return *state ? 0 : -1;
}

static int tear_down(void **state) {
    free(*state);
    return 0;
}

/* Everything that run prints, on both streams. */
static void capture(struct bench *bench, void (*run)(struct bench *bench)) {
    char path[] = "/tmp/wipyctl-test-XXXXXX";
    int file = mkstemp(path), out = dup(STDOUT_FILENO), error = dup(STDERR_FILENO);
    ssize_t n;

    assert_true(file >= 0 && out >= 0 && error >= 0);
    unlink(path);
    fflush(stdout);
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    run(bench);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    dup2(error, STDERR_FILENO);
    n = pread(file, bench->output, sizeof bench->output - 1, 0);
    assert_true(n >= 0);
    bench->output[n] = 0;
    close(file);
    close(out);
    close(error);
}

static enum exit_code code;

static void run_parse(struct bench *bench) {
    int argc = 0;

    while (bench->argv[argc])
        argc++;
    optind = 0; /* glibc: begin anew */
    code = options_parse(&bench->client, argc, bench->argv, &bench->verb, &bench->arguments);
}

/* The words of a command line, one blank between two. */
static enum exit_code parse(struct bench *bench, char *line) {
    int n = 0;

    bench->argv[n++] = "wipyctl";
    for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) {
        assert_true(n <= WORDS_MAX);
        bench->argv[n++] = word;
    }
    bench->argv[n] = NULL;
    capture(bench, run_parse);
    return code;
}

static enum exit_code parse_copy(struct bench *bench, const char *line) {
    static char copy[400];

    snprintf(copy, sizeof copy, "%s", line);
    return parse(bench, copy);
}

static void assert_good(struct bench *bench, const char *line, const char *verb) {
    if (parse_copy(bench, line) != EXIT_DONE)
        fail_msg("%s: %s", line, bench->output);
    assert_non_null(bench->verb);
    assert_string_equal(bench->verb->name, verb);
}

static void without_a_word_it_is_status(void **state) {
    struct bench *bench = *state;

    assert_good(bench, "", "status");
    assert_null(bench->arguments[0]);
    assert_string_equal(bench->client.options.bus, "system");
    setenv("WIPYD_BUS", "unix:path=/x", 1);
    assert_good(bench, "", "status");
    assert_string_equal(bench->client.options.bus, "unix:path=/x");
    setenv("WIPYD_BUS", "", 1);
    assert_good(bench, "--bus=session", "status");
    assert_string_equal(bench->client.options.bus, "session");
    unsetenv("WIPYD_BUS");
}

static void options_stand_anywhere(void **state) {
    struct bench *bench = *state;
    const struct options *options = &bench->client.options;

    assert_good(bench, "--baud 921600 flash --connect-timeout=5 ttyUSB0 -q x.tar.gz --dry-run --no-block",
                "flash");
    assert_int_equal(options->baud, 921600);
    assert_int_equal(options->connect_timeout_s, 5);
    assert_true(options->quiet && options->dry_run && options->no_block && !options->wait);
    assert_string_equal(bench->arguments[0], "ttyUSB0");
    assert_string_equal(bench->arguments[1], "x.tar.gz");
    assert_null(bench->arguments[2]);
    assert_good(bench, "flash --no-block a --wait", "flash"); /* the last one counts */
    assert_true(options->wait && !options->no_block);
    assert_good(bench, "flash -- --all", "flash");
    assert_string_equal(bench->arguments[0], "--all");
}

static void each_flag_is_kept(void **state) {
    struct bench *bench = *state;
    const struct options *options = &bench->client.options;

    assert_good(bench, "list --no-legend --no-pager --plain --no-ask-password --quiet -H me@there", "list");
    assert_true(options->no_legend && options->no_pager && options->plain && options->no_ask_password);
    assert_true(options->quiet);
    assert_string_equal(options->host, "me@there");
    assert_good(bench, "look ttyUSB0 --repl", "look");
    assert_true(options->repl);
    assert_good(bench, "flash --all", "flash");
    assert_true(options->all);
    assert_good(bench, "flash --slot 1-1 1.20.1.r1", "flash");
    assert_string_equal(options->slot, "1-1");
    assert_good(bench, "policy --default", "policy");
    assert_true(options->of_default);
    assert_good(bench, "policy x wipy --board", "policy");
    assert_true(options->of_board);
    assert_good(bench, "policy x wipy --slot", "policy");
    assert_true(options->of_slot);
    assert_good(bench, "firmware remove x --force", "firmware remove");
    assert_true(options->force);
    assert_good(bench, "backup restore ttyUSB0 --parts config,nvs --mac 30:ae:a4:01:02:03", "backup restore");
    assert_string_equal(options->parts, "config,nvs");
    assert_string_equal(options->mac, "30:ae:a4:01:02:03");
    assert_good(bench, "backup export x -o there", "backup export");
    assert_string_equal(options->output, "there");
}

/* --board takes a value there, and none with policy. */
static void history_has_its_own_board_and_slot(void **state) {
    struct bench *bench = *state;
    const struct options *options = &bench->client.options;

    assert_good(bench, "history --board 30:ae:a4:01:02:03 --slot 1-1 --since 2d --limit 7 --csv --decisions",
                "history");
    assert_string_equal(options->board, "30:ae:a4:01:02:03");
    assert_string_equal(options->slot, "1-1");
    assert_string_equal(options->since, "2d");
    assert_int_equal(options->limit, 7);
    assert_true(options->csv && options->decisions);
}

static void json_has_three_modes(void **state) {
    struct bench *bench = *state;

    assert_good(bench, "list --json", "list");
    assert_int_equal(bench->client.options.json, JSON_PRETTY);
    assert_good(bench, "list --json=short", "list");
    assert_int_equal(bench->client.options.json, JSON_SHORT);
    assert_good(bench, "list --json=pretty", "list");
    assert_int_equal(bench->client.options.json, JSON_PRETTY);
    assert_good(bench, "list --json=off", "list");
    assert_int_equal(bench->client.options.json, JSON_OFF);
}

static void a_command_stands_behind_two_hyphens(void **state) {
    struct bench *bench = *state;

    assert_good(bench, "lease ttyUSB0 why -- screen -q", "lease");
    assert_non_null(bench->client.options.command);
    assert_string_equal(bench->client.options.command[0], "screen");
    assert_string_equal(bench->client.options.command[1], "-q");
    assert_false(bench->client.options.quiet);
    assert_string_equal(bench->arguments[1], "why");
    assert_null(bench->arguments[2]);
}

static void a_verb_may_have_verbs(void **state) {
    struct bench *bench = *state;

    assert_good(bench, "firmware", "firmware list");
    assert_good(bench, "firmware show 1.20.1.r1", "firmware show");
    assert_string_equal(bench->arguments[0], "1.20.1.r1");
    assert_good(bench, "firmware --help", "firmware");
    assert_true(bench->client.options.help);
    assert_int_equal(parse_copy(bench, "--help"), EXIT_DONE);
    assert_null(bench->verb);
    assert_int_equal(parse_copy(bench, "--version"), EXIT_DONE);
    assert_null(bench->verb);
    assert_good(bench, "flash -h", "flash"); /* though it needs a DEVICE */
}

static void each_mistake_is_named(void **state) {
    struct bench *bench = *state;
    static const struct {
        const char *line, *said;
    } rows[] = {
        { "nonsense", "'nonsense' is no verb" },
        { "firmware nonsense", "'nonsense' is no verb of firmware" },
        { "list --nonsense", "--nonsense is no option" },
        { "list -x", "-x is no option" },
        { "list --plain=5", "--plain takes no value" },
        { "list --bus", "--bus needs a value" },
        { "list -H", "-H needs a value" },
        { "list --host a --bus b", "--host and --bus don't go together" },
        { "list --baud 9600", "list takes no --baud" },
        { "list extra", "list doesn't take 'extra'" },
        { "flash", "flash needs: DEVICE" },
        { "flash a b c", "flash doesn't take 'c'" },
        { "flash --all b c", "flash doesn't take 'c'" },
        { "flash --all --slot 1-1", "--all and --slot don't go together" },
        { "flash a --baud 9599", "--baud takes a number from 9600 to 4000000, not '9599'" },
        { "flash a --baud 4000001", "not '4000001'" },
        { "flash a --baud -9600", "not '-9600'" },
        { "flash a --baud 9600x", "not '9600x'" },
        { "flash a --baud 99999999999999999999", "not '99999999999999999999'" },
        { "flash a --baud=", "not ''" },
        { "flash a --connect-timeout 0", "from 1 to 3600" },
        { "history --limit 10001", "from 1 to 10000" },
        { "list --json=long", "--json takes pretty, short or off, not 'long'" },
        { "lease a why --", "lease needs a COMMAND behind the --" },
        { "list --baud 1 --json=x extra", "--baud takes a number" }, /* the first one is told */
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(parse_copy(bench, rows[i].line), EXIT_USAGE);
        if (!strstr(bench->output, rows[i].said))
            fail_msg("%s: said %s", rows[i].line, bench->output);
    }
    assert_int_equal(parse_copy(bench, "nonsense --json=short"), EXIT_USAGE);
    assert_int_equal(bench->output[0], '{');
}

/* ---- help and completions -------------------------------------------------------------------- */

static void run_help(struct bench *bench) {
    options_help(bench->verb);
}

static void run_complete(struct bench *bench) {
    options_complete(bench->verb);
}

static void help_shows_what_the_verb_takes(void **state) {
    struct bench *bench = *state;

    bench->verb = NULL;
    capture(bench, run_help);
    assert_non_null(strstr(bench->output, "Usage: wipyctl [OPTION...] [VERB]"));
    assert_non_null(strstr(bench->output, "--dry-run"));
    assert_null(strstr(bench->output, "--since"));
    bench->verb = verb_find(&verbs, "history");
    capture(bench, run_help);
    assert_non_null(strstr(bench->output, "--since=T"));
    assert_null(strstr(bench->output, "--dry-run"));
    bench->verb = verb_find(&verbs, "firmware");
    capture(bench, run_help);
    assert_non_null(strstr(bench->output, "Verbs:"));
}

static void completions_are_of_the_verb(void **state) {
    struct bench *bench = *state;

    bench->verb = NULL;
    capture(bench, run_complete);
    assert_non_null(strstr(bench->output, "--json\t"));
    assert_null(strstr(bench->output, "--baud"));
    bench->verb = verb_find(&verbs, "flash");
    capture(bench, run_complete);
    assert_non_null(strstr(bench->output, "--baud=\t"));
}

static void some_options_take_the_next_word(void **state) {
    const struct verb *flash = verb_find(&verbs, "flash");
    const char *name = NULL;

    (void)state;
    assert_true(options_take_next(flash, "--baud", &name));
    assert_string_equal(name, "baud");
    assert_true(options_take_next(NULL, "-H", &name));
    assert_string_equal(name, "host");
    assert_false(options_take_next(NULL, "--baud", &name));
    assert_false(options_take_next(flash, "--plain", &name));
    assert_false(options_take_next(flash, "-Hx", &name));
    assert_false(options_take_next(flash, "baud", &name));
}

static void devices_may_be_named_by_an_option(void **state) {
    struct bench *bench = *state;

    assert_good(bench, "flash --all", "flash");
    assert_good(bench, "flash a", "flash");
    assert_good(bench, "history --slot 1-1", "history");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(without_a_word_it_is_status),
        TEST(options_stand_anywhere),
        TEST(each_flag_is_kept),
        TEST(history_has_its_own_board_and_slot),
        TEST(json_has_three_modes),
        TEST(a_command_stands_behind_two_hyphens),
        TEST(a_verb_may_have_verbs),
        TEST(each_mistake_is_named),
        TEST(help_shows_what_the_verb_takes),
        TEST(completions_are_of_the_verb),
        TEST(some_options_take_the_next_word),
        TEST(devices_may_be_named_by_an_option),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
