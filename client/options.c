#include "client/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "client/failure.h"

enum option_id {
    ID_BAUD,
    ID_CONNECT_TIMEOUT,
    ID_NO_BLOCK,
    ID_DRY_RUN,
    ID_FORCE,
    ID_JSON,
    ID_BUS,
    ID_NO_LEGEND,
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
    [ID_FORCE] = { "force", NULL, no_argument, 0, OPTION_FOR_FORCE,
                   "export: replace a file; remove: even the last good one" },
    [ID_JSON] = { "json", "pretty|short|off", optional_argument, 0, 0,
                  "Print JSON, errors too; pretty when no value is given" },
    [ID_BUS] = { "bus", "system|session|ADDRESS", required_argument, 0, 0,
                 "Where wipyd is; else WIPYD_BUS, else system" },
    [ID_NO_LEGEND] = { "no-legend", NULL, no_argument, 0, 0, "No headings over tables" },
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

static void print_verbs(const struct verb_table *table) {
    for (size_t i = 0; i < table->n; i++) {
        const struct verb *verb = &table->rows[i];
        int n = printf("  %s %s", verb->name, verb->arguments);

        printf("%*s%s\n", 34 - n > 1 ? 34 - n : 1, "", verb->summary);
    }
}

static void help_of_program(void) {
    printf("Usage: wipyctl [OPTION...] [VERB] [ARGUMENT...]\n\n"
           "Flash Pycom WiPy boards through wipyd.\n\nVerbs:\n");
    print_verbs(&verbs);
    printf("\nOptions of flash and info:\n");
    print_options(OPTION_FOR_FLASH | OPTION_FOR_JOBS, false);
    printf("\nfirmware has verbs and options of its own: wipyctl firmware --help\n"
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
        parse->mistake = NULL;
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
        break;
    case ID_DRY_RUN:
        options->dry_run = true;
        break;
    case ID_FORCE:
        options->force = true;
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

static void read_options(struct parse *parse, int argc, char **argv) {
    struct option longs[ID_COUNT + 1] = { 0 };
    int c;

    for (int i = 0; i < ID_COUNT; i++)
        longs[i] = (struct option) { rows[i].name, rows[i].has_value, NULL, GETOPT_BASE + i };
    opterr = 0;
    while ((c = getopt_long(argc, argv, ":qh", longs, NULL)) >= 0) {
        if (c >= GETOPT_BASE)
            parse_option(parse, (enum option_id)(c - GETOPT_BASE));
        else if (c == 'q' || c == 'h')
            parse_option(parse, c == 'q' ? ID_QUIET : ID_HELP);
        else if (c == ':')
            mistake(parse, "%s needs a value.", argv[optind - 1]);
        else if (optopt >= GETOPT_BASE)
            mistake(parse, "--%s takes no value.", rows[optopt - GETOPT_BASE].name);
        else if (optopt)
            mistake(parse, "-%c is no option.", optopt);
        else
            mistake(parse, "%s is no option.", argv[optind - 1]);
    }
}

static void check_verb(struct parse *parse, const struct verb *verb, char **arguments) {
    int n = 0;

    while (arguments[n])
        n++;
    for (size_t i = 0; i < ID_COUNT; i++)
        if (parse->given[i] && rows[i].groups && !(rows[i].groups & verb->options))
            mistake(parse, "%s takes no --%s.", verb->name, rows[i].name);
    if (parse->client->options.help)
        return;
    if (n < verb->min_arguments)
        mistake(parse, "%s needs: %s", verb->name, verb->arguments);
    if (n > verb->max_arguments)
        mistake(parse, "%s doesn't take '%s'.", verb->name, arguments[verb->max_arguments]);
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
    const char *word;

    client->options = (struct options) { .bus = bus && *bus ? bus : "system" };
    read_options(&parse, argc, argv);

    word = argv[optind];
    *arguments = word ? argv + optind + 1 : argv + optind;
    *verb = NULL;
    if (word || (!client->options.help && !client->options.version)) {
        *verb = verb_find(&verbs, word ? word : "status");
        if (!*verb)
            mistake(&parse, "'%s' is no verb.", word);
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
