#include "client/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "client/failure.h"
#include "client/text.h"

enum option_id {
    ID_BAUD,
    ID_CONNECT_TIMEOUT,
    ID_NO_BLOCK,
    ID_WAIT,
    ID_DRY_RUN,
    ID_FORCE,
    ID_OF_BOARD,
    ID_OF_SLOT,
    ID_OF_DEFAULT,
    ID_ALL,
    ID_IN_SLOT,
    ID_REPL,
    ID_BOARD,
    ID_SLOT,
    ID_SINCE,
    ID_LIMIT,
    ID_DECISIONS,
    ID_CSV,
    ID_PARTS,
    ID_MAC,
    ID_OUTPUT,
    ID_JSON,
    ID_HOST,
    ID_BUS,
    ID_NO_LEGEND,
    ID_NO_PAGER,
    ID_PLAIN,
    ID_NO_ASK_PASSWORD,
    ID_QUIET,
    ID_HELP,
    ID_VERSION,
    ID_COUNT
};

struct option_row {
    const char *name;
    const char *value; /* as help shows it; NULL: takes none */
    int has_value;     /* getopt's no_argument, required_argument or optional_argument */
    char letter;       /* 0: long form alone */
    unsigned groups;   /* that take it; 0: every verb does */
    const char *help;
};

static const struct option_row rows[ID_COUNT] = {
    [ID_DRY_RUN] = { "dry-run", NULL, no_argument, 0, OPTION_FOR_FLASH,
                     "Compare only, and show what would be written" },
    [ID_BAUD] = { "baud", "N", required_argument, 0, OPTION_FOR_JOBS,
                  "Rate for the transfer, 9600 to 4000000" },
    [ID_CONNECT_TIMEOUT] = { "connect-timeout", "S", required_argument, 0, OPTION_FOR_JOBS,
                             "Wait S seconds for the board's boot ROM, 1 to 3600" },
    [ID_NO_BLOCK] = { "no-block", NULL, no_argument, 0, OPTION_FOR_JOBS | OPTION_FOR_REFRESH,
                      "Start it, say so and return" },
    [ID_WAIT] = { "wait", NULL, no_argument, 0, OPTION_FOR_JOBS | OPTION_FOR_REFRESH | OPTION_FOR_WAIT,
                  "Stay until it is over: the default, but for cancel" },
    [ID_ALL] = { "all", NULL, no_argument, 0, OPTION_FOR_FLASH, "Every device that has a board in it" },
    [ID_IN_SLOT] = { "slot", "SLOT", required_argument, 0, OPTION_FOR_FLASH,
                     "The board in that slot; instead of a DEVICE" },
    [ID_FORCE] = { "force", NULL, no_argument, 0, OPTION_FOR_FORCE,
                   "export: replace a file; remove: even the last good one" },
    [ID_OF_BOARD] = { "board", NULL, no_argument, 0, OPTION_FOR_TARGET,
                      "The board that is meant, not the slot" },
    [ID_OF_SLOT] = { "slot", NULL, no_argument, 0, OPTION_FOR_TARGET,
                     "The slot that is meant, not the board" },
    [ID_OF_DEFAULT] = { "default", NULL, no_argument, 0, OPTION_FOR_DEFAULT,
                        "What holds where neither board nor slot says" },
    [ID_REPL] = { "repl", NULL, no_argument, 0, OPTION_FOR_LOOK,
                  "Stop the running program for a moment, to ask it for more" },
    [ID_BOARD] = { "board", "MAC|LABEL", required_argument, 0, OPTION_FOR_HISTORY, "Of that board alone" },
    [ID_SLOT] = { "slot", "SLOT|DEVICE", required_argument, 0, OPTION_FOR_HISTORY, "Of that slot alone" },
    [ID_SINCE] = { "since", "T", required_argument, 0, OPTION_FOR_HISTORY,
                   "2026-11-22, 2026-11-22T10:00, today, yesterday, 2h, 3d, 1w" },
    [ID_LIMIT] = { "limit", "N", required_argument, 0, OPTION_FOR_HISTORY,
                   "The N newest, 1 to 10000; else 1000" },
    [ID_DECISIONS] = { "decisions", NULL, no_argument, 0, OPTION_FOR_HISTORY,
                       "What was decided, and why, instead of jobs" },
    [ID_CSV] = { "csv", NULL, no_argument, 0, OPTION_FOR_HISTORY, "Comma-separated values (RFC 4180)" },
    [ID_PARTS] = { "parts", "P,...", required_argument, 0, OPTION_FOR_RESTORE,
                   "Of config, nvs and otadata; else config,nvs" },
    [ID_MAC] = { "mac", "MAC", required_argument, 0, OPTION_FOR_RESTORE, "Whose backup it is" },
    [ID_OUTPUT] = { "output", "FOLDER", required_argument, 'o', OPTION_FOR_OUTPUT,
                    "Make the new folder in FOLDER" },
    [ID_JSON] = { "json", "pretty|short|off", optional_argument, 0, 0,
                  "Print JSON, errors too; pretty when no value is given" },
    [ID_HOST] = { "host", "[USER@]HOST", required_argument, 'H', 0, "Talk to the wipyd there, through ssh" },
    [ID_BUS] = { "bus", "system|session|ADDRESS", required_argument, 0, 0,
                 "Where wipyd is; else WIPYD_BUS, else system" },
    [ID_NO_LEGEND] = { "no-legend", NULL, no_argument, 0, 0, "No headings over tables" },
    [ID_NO_PAGER] = { "no-pager", NULL, no_argument, 0, 0, "Long output goes to no pager" },
    [ID_PLAIN] = { "plain", NULL, no_argument, 0, 0, "No colours, and no line is drawn twice" },
    [ID_NO_ASK_PASSWORD] = { "no-ask-password", NULL, no_argument, 0, 0, "Ask nobody for a password" },
    [ID_QUIET] = { "quiet", NULL, no_argument, 'q', 0, "Only failures, and what a person has to do" },
    [ID_HELP] = { "help", NULL, no_argument, 'h', 0, "Show this, or with a verb its help" },
    [ID_VERSION] = { "version", NULL, no_argument, 0, 0, "Show wipyctl's version" },
};

/* ---- help ------------------------------------------------------------------------------------ */

static void print_options(unsigned groups, bool common) {
    for (size_t i = 0; i < ID_COUNT; i++) {
        const struct option_row *row = &rows[i];
        char form[64];

        if (row->groups ? !(row->groups & groups) : !common)
            continue;
        snprintf(form, sizeof(form), "%s%s%s%s", row->name, row->has_value == optional_argument ? "[" : "",
                 row->value ? "=" : "", row->value ? row->value : "");
        if (row->letter)
            printf("  -%c, --%-27s %s\n", row->letter, form, row->help);
        else
            printf("      --%s%-*s %s\n", form, 27 - (int)strlen(form),
                   row->has_value == optional_argument ? "]" : "", row->help);
    }
}

#define SUMMARY_COLUMN 34

static void print_verbs(const struct verb_table *table) {
    for (size_t i = 0; i < table->n; i++) {
        const struct verb *verb = &table->rows[i];
        int n = printf("  %s %s", verb->name, verb->arguments);

        if (n >= SUMMARY_COLUMN) {
            putchar('\n');
            n = 0;
        }
        printf("%*s%s\n", SUMMARY_COLUMN - n, "", verb->summary);
    }
}

static void help_of_program(void) {
    printf("Usage: wipyctl [OPTION...] [VERB] [ARGUMENT...]\n\n"
           "Flash Pycom WiPy boards through wipyd.\n\nVerbs:\n");
    print_verbs(&verbs);
    printf("\nOptions of flash and info:\n");
    print_options(OPTION_FOR_FLASH | OPTION_FOR_JOBS, false);
    printf("\nThose with a VERB have verbs and options of their own: wipyctl firmware --help\n"
           "\nOptions of every verb:\n");
    print_options(0, true);
    printf("\nExit codes: 0 done or already so, 1 failed (or detached from a job that goes on),\n"
           "2 usage, 3 not found, 4 not authorised, 5 busy, 6 cancelled, 7 some of many failed,\n"
           "8 no daemon.\n");
}

void options_help(const struct verb *verb) {
    if (!verb) {
        help_of_program();
        return;
    }
    printf("Usage: wipyctl [OPTION...] %s%s%s\n\n%s.\n", verb->name, *verb->arguments ? " " : "",
           verb->arguments, verb->summary);
    if (verb->details)
        printf("\n%s", verb->details);
    if (verb->verbs) {
        printf("\nVerbs:\n");
        print_verbs(verb->verbs);
    }
    printf("\nOptions:\n");
    print_options(verb->options, true);
}

void options_complete(const struct verb *verb) {
    for (size_t i = 0; i < ID_COUNT; i++) {
        const struct option_row *row = &rows[i];

        if (row->groups && !(verb && row->groups & verb->options))
            continue;
        printf("--%s%s\t%s\n", row->name, row->has_value == required_argument ? "=" : "", row->help);
    }
}

bool options_take_next(const struct verb *verb, const char *word, const char **name) {
    for (size_t i = 0; i < ID_COUNT; i++) {
        const struct option_row *row = &rows[i];

        if (row->has_value != required_argument || (row->groups && !(verb && row->groups & verb->options)))
            continue;
        if ((!strncmp(word, "--", 2) && !strcmp(word + 2, row->name)) ||
            (row->letter && word[0] == '-' && word[1] == row->letter && !word[2])) {
            *name = row->name;
            return true;
        }
    }
    return false;
}

/* ---- parsing --------------------------------------------------------------------------------- */

/* The first mistake is told once the whole line is read: a --json may follow it. */
struct parse {
    struct client *client;
    char *mistake;
    bool given[ID_COUNT];
};

__attribute__((format(printf, 2, 3))) static void mistake(struct parse *parse, const char *format, ...) {
    va_list arguments;

    if (parse->mistake)
        return;
    va_start(arguments, format);
    if (vasprintf(&parse->mistake, format, arguments) < 0)
        text_no_memory();
    va_end(arguments);
}

static void parse_number(struct parse *parse, const char *name, unsigned long min, unsigned long max,
                         uint32_t *number) {
    unsigned long value;
    char *end;

    errno = 0;
    value = strtoul(optarg, &end, 10);
    if (errno || *end || *optarg < '0' || *optarg > '9' || value < min || value > max)
        mistake(parse, "--%s takes a number from %lu to %lu, not '%s'.", name, min, max, optarg);
    else
        *number = (uint32_t)value;
}

static void parse_json(struct parse *parse, enum json_mode *mode) {
    if (!optarg || !strcmp(optarg, "pretty"))
        *mode = JSON_PRETTY;
    else if (!strcmp(optarg, "short"))
        *mode = JSON_SHORT;
    else if (!strcmp(optarg, "off"))
        *mode = JSON_OFF;
    else
        mistake(parse, "--json takes pretty, short or off, not '%s'.", optarg);
}

static void parse_option(struct parse *parse, enum option_id id) {
    struct options *options = &parse->client->options;

    parse->given[id] = true;
    switch (id) {
    case ID_BAUD:
        parse_number(parse, rows[id].name, OPTION_BAUD_MIN, OPTION_BAUD_MAX, &options->baud);
        break;
    case ID_CONNECT_TIMEOUT:
        parse_number(parse, rows[id].name, 1, OPTION_CONNECT_TIMEOUT_MAX_S, &options->connect_timeout_s);
        break;
    case ID_JSON:
        parse_json(parse, &options->json);
        break;
    case ID_BUS:
        options->bus = optarg;
        break;
    case ID_NO_BLOCK:
        options->no_block = true;
        options->wait = false;
        break;
    case ID_WAIT:
        options->wait = true;
        options->no_block = false;
        break;
    case ID_ALL:
        options->all = true;
        break;
    case ID_HOST:
        options->host = optarg;
        break;
    case ID_NO_PAGER:
        options->no_pager = true;
        break;
    case ID_PLAIN:
        options->plain = true;
        break;
    case ID_NO_ASK_PASSWORD:
        options->no_ask_password = true;
        break;
    case ID_DRY_RUN:
        options->dry_run = true;
        break;
    case ID_FORCE:
        options->force = true;
        break;
    case ID_OF_BOARD:
        options->of_board = true;
        break;
    case ID_OF_SLOT:
        options->of_slot = true;
        break;
    case ID_OF_DEFAULT:
        options->of_default = true;
        break;
    case ID_REPL:
        options->repl = true;
        break;
    case ID_BOARD:
        options->board = optarg;
        break;
    case ID_IN_SLOT:
    case ID_SLOT:
        options->slot = optarg;
        break;
    case ID_SINCE:
        options->since = optarg;
        break;
    case ID_LIMIT:
        parse_number(parse, rows[id].name, 1, OPTION_LIMIT_MAX, &options->limit);
        break;
    case ID_DECISIONS:
        options->decisions = true;
        break;
    case ID_CSV:
        options->csv = true;
        break;
    case ID_PARTS:
        options->parts = optarg;
        break;
    case ID_MAC:
        options->mac = optarg;
        break;
    case ID_OUTPUT:
        options->output = optarg;
        break;
    case ID_NO_LEGEND:
        options->no_legend = true;
        break;
    case ID_QUIET:
        options->quiet = true;
        break;
    case ID_HELP:
        options->help = true;
        break;
    case ID_VERSION:
        options->version = true;
        break;
    case ID_COUNT:
        break;
    }
}

#define GETOPT_BASE 256 /* beyond every letter */
#define LETTERS     "qho:H:"

static enum option_id id_of_letter(int letter) {
    enum option_id id = ID_BAUD;

    while (id < ID_COUNT && rows[id].letter != letter)
        id++;
    return id;
}

/* For getopt, which takes the first of two that have the same name: those that the verb takes go first. */
static void list_longs(const struct verb *verb, struct option longs[ID_COUNT + 1]) {
    size_t n = 0;

    for (int is_taken = 1; is_taken >= 0; is_taken--)
        for (int i = 0; i < ID_COUNT; i++)
            if ((verb && rows[i].groups & verb->options) == (is_taken != 0))
                longs[n++] = (struct option) { rows[i].name, rows[i].has_value, NULL, GETOPT_BASE + i };
    longs[n] = (struct option) { 0 };
}

static void wrong_option(struct parse *parse, int c, const char *word) {
    if (c == ':')
        mistake(parse, "%s needs a value.", word);
    else if (optopt >= GETOPT_BASE)
        mistake(parse, "--%s takes no value.", rows[optopt - GETOPT_BASE].name);
    else if (optopt)
        mistake(parse, "-%c is no option.", optopt);
    else
        mistake(parse, "%s is no option.", word);
}

static bool takes_command(const char *word) {
    const struct verb *verb = verb_find(&verbs, word);

    return verb && verb->takes_command;
}

/* Leaves the words that are no options at argv's front, behind the program's name, and gives the first one's
 * place. getopt tells them in their order ('-' before the letters): what --board takes depends on the verb.
 */
static char **read_options(struct parse *parse, int argc, char **argv) {
    struct option longs[ID_COUNT + 1];
    int c, n_words = 0;

    opterr = 0;
    list_longs(NULL, longs);
    while ((c = getopt_long(argc, argv, "-:" LETTERS, longs, NULL)) >= 0) {
        if (c == 1) {
            argv[++n_words] = optarg;
            if (n_words == 1)
                list_longs(verb_find(&verbs, optarg), longs);
        } else if (c >= GETOPT_BASE) {
            parse_option(parse, (enum option_id)(c - GETOPT_BASE));
        } else if (c != ':' && c != '?') {
            parse_option(parse, id_of_letter(c));
        } else {
            wrong_option(parse, c, argv[optind - 1]);
        }
    }
    if (n_words && !strcmp(argv[optind - 1], "--") && takes_command(argv[1]))
        parse->client->options.command = argv + optind;
    else
        while (optind < argc) /* behind a "--" */
            argv[++n_words] = argv[optind++];
    argv[n_words + 1] = NULL;
    return argv + 1;
}

/* Whether the command line says with an option which devices are meant, so that the verb's first argument is
 * left out. */
static bool names_devices(const struct options *options, const struct verb *verb) {
    return verb->options & OPTION_FOR_FLASH && (options->all || options->slot);
}

static void check_verb(struct parse *parse, const struct verb *verb, char **arguments) {
    int n = 0, named = names_devices(&parse->client->options, verb) ? 1 : 0;

    while (arguments[n])
        n++;
    n += named;
    for (size_t i = 0; i < ID_COUNT; i++)
        if (parse->given[i] && rows[i].groups && !(rows[i].groups & verb->options))
            mistake(parse, "%s takes no --%s.", verb->name, rows[i].name);
    if (parse->client->options.help)
        return;
    if (n < verb->min_arguments)
        mistake(parse, "%s needs: %s", verb->name, verb->arguments);
    if (n > verb->max_arguments)
        mistake(parse, "%s doesn't take '%s'.", verb->name, arguments[verb->max_arguments - named]);
    if (parse->client->options.command && !*parse->client->options.command)
        mistake(parse, "%s needs a COMMAND behind the --.", verb->name);
}

/* "firmware show": the verb's own verb, which takes a word away from the arguments. */
static const struct verb *find_own_verb(struct parse *parse, const struct verb *verb, char ***arguments) {
    const char *word = **arguments;
    const struct verb *own;

    if (!word)
        return parse->client->options.help ? verb : &verb->verbs->rows[0];
    own = verb_find(verb->verbs, word);
    if (!own)
        mistake(parse, "'%s' is no verb of %s; see wipyctl %s --help.", word, verb->name, verb->name);
    ++*arguments;
    return own;
}

enum exit_code options_parse(struct client *client, int argc, char **argv, const struct verb **verb,
                             char ***arguments) {
    const char *bus = getenv("WIPYD_BUS");
    struct parse parse = { .client = client };
    enum exit_code code = EXIT_DONE;
    char **words;

    client->options = (struct options) { .bus = bus && *bus ? bus : "system" };
    words = read_options(&parse, argc, argv);
    if (parse.given[ID_HOST] && parse.given[ID_BUS])
        mistake(&parse, "--host and --bus don't go together.");
    if (client->options.all && parse.given[ID_IN_SLOT])
        mistake(&parse, "--all and --slot don't go together.");
    *arguments = *words ? words + 1 : words;
    *verb = NULL;
    if (*words || (!client->options.help && !client->options.version)) {
        *verb = verb_find(&verbs, *words ? *words : "status");
        if (!*verb)
            mistake(&parse, "'%s' is no verb.", *words);
        else if ((*verb)->verbs)
            *verb = find_own_verb(&parse, *verb, arguments);
        if (*verb)
            check_verb(&parse, *verb, *arguments);
    }
    if (parse.mistake)
        code = failure_usage(client, "%s", parse.mistake);
    free(parse.mistake);
    return code;
}
