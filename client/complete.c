#include "client/complete.h"

#include <inttypes.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "client/firmware.h"
#include "client/objects.h"
#include "client/options.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"
#include "proto/phase.h"
#include "proto/policy.h"

/* A person waits with a finger on the key. */
#define PATIENCE_US (UINT64_C(2) * 1000000)

#define DEVICES  1u
#define JOBS     2u /* that are under way */
#define VERSIONS 4u
#define BOARDS   8u
#define SLOTS    16u
#define PACKAGES 32u /* by their SHA-256 */
#define POLICIES 64u
#define FILES    128u
#define OBJECTS  (DEVICES | JOBS | VERSIONS | BOARDS | SLOTS | PACKAGES)

/* What a verb's arguments are; the last column goes for all that follow. */
static const struct {
    const char *verb;
    unsigned first, others;
} arguments_of[] = {
    { "info", DEVICES, 0 },
    { "flash", DEVICES, VERSIONS | FILES },
    { "follow", JOBS | DEVICES, 0 },
    { "cancel", JOBS, 0 },
    { "look", DEVICES, 0 },
    { "lease", DEVICES, 0 },
    { "explain", DEVICES, 0 },
    { "policy", DEVICES | BOARDS | SLOTS, POLICIES },
    { "arm", DEVICES | SLOTS, DEVICES | SLOTS },
    { "disarm", DEVICES | SLOTS, DEVICES | SLOTS },
    { "label", DEVICES | BOARDS | SLOTS, 0 },
    { "board show", BOARDS | DEVICES, 0 },
    { "board pin", BOARDS | DEVICES, VERSIONS },
    { "board unpin", BOARDS | DEVICES, 0 },
    { "board forget", BOARDS, 0 },
    { "slot forget", SLOTS, 0 },
    { "backup list", BOARDS, 0 },
    { "backup export", BOARDS, 0 },
    { "backup restore", DEVICES, 0 },
    { "firmware show", VERSIONS | PACKAGES, 0 },
    { "firmware import", FILES, FILES },
    { "firmware export", VERSIONS | PACKAGES, FILES },
    { "firmware pin", VERSIONS | PACKAGES, 0 },
    { "firmware unpin", VERSIONS | PACKAGES, 0 },
    { "firmware remove", VERSIONS | PACKAGES, VERSIONS | PACKAGES },
    { "firmware verify", VERSIONS | PACKAGES, VERSIONS | PACKAGES },
    { "firmware unquarantine", VERSIONS | PACKAGES, 0 },
};

/* What an option's value is: things, or words. */
static const struct {
    const char *option;
    unsigned kinds;
    const char *words[8];
} values_of[] = {
    { "slot", SLOTS | DEVICES, { 0 } },
    { "board", BOARDS, { 0 } },
    { "mac", BOARDS, { 0 } },
    { "output", FILES, { 0 } },
    { "json", 0, { "pretty", "short", "off" } },
    { "bus", 0, { "system", "session" } },
    { "baud", 0, { "115200", "230400", "460800", "921600" } },
    { "since", 0, { "today", "yesterday", "2h", "3d", "1w" } },
    { "parts", 0, { "config", "nvs", "otadata", "config,nvs", "config,nvs,otadata" } },
};

/* What the line says so far. */
struct line {
    const struct verb *verb; /* NULL: none yet */
    size_t n_arguments;      /* before the word under the cursor */
    const char *option;      /* whose value that word is; NULL: it is none's */
    const char *bus;         /* NULL: as usual */
    bool is_remote, ended;   /* behind --host; behind a "--" */
    bool is_lost;            /* the verb is none */
    const char *word;
};

/* ---- candidates ------------------------------------------------------------------------------ */

/* prefix: of the word, up to a '='. A name with a tab or a line end in it could pass for two. */
static void offer(const char *prefix, const char *name, const char *what) {
    cleanup(free_p) char *clean = *name ? strdup(name) : NULL, *told = strdup(what);

    if (!clean || !told)
        return;
    text_clean(clean);
    text_clean(told);
    printf("%s%s\t%s\n", prefix, clean, told);
}

static void offer_devices(const char *prefix, const struct objects *objects) {
    const struct device *devices = objects->devices.items;

    for (size_t i = 0; i < objects->devices.n; i++)
        offer(prefix, devices[i].name, *devices[i].label ? devices[i].label : devices[i].mac);
}

static void offer_jobs(const char *prefix, const struct objects *objects) {
    const struct job *jobs = objects->jobs.items;

    for (size_t i = 0; i < objects->jobs.n; i++) {
        enum wipyd_job_state state = wipyd_job_state_from_word(jobs[i].state);
        char id[16];

        if (state != WIPYD_JOB_STATE_COUNT && wipyd_job_state_is_final(state))
            continue;
        snprintf(id, sizeof(id), "%" PRIu32, jobs[i].id);
        offer(prefix, id, jobs[i].state);
    }
}

static void offer_firmware(const char *prefix, const struct objects *objects, unsigned kinds) {
    const struct firmware *items = objects->firmware.items;
    char digits[FIRMWARE_DIGITS + 1];

    for (size_t i = 0; i < objects->firmware.n; i++) {
        snprintf(digits, sizeof(digits), "%s", items[i].sha256);
        if (kinds & VERSIONS)
            offer(prefix, items[i].release, items[i].board);
        if (kinds & PACKAGES)
            offer(prefix, digits, items[i].name);
    }
}

static void offer_boards(const char *prefix, const struct objects *objects) {
    const struct board *boards = objects->boards.items;

    for (size_t i = 0; i < objects->boards.n; i++) {
        offer(prefix, boards[i].mac, *boards[i].label ? boards[i].label : boards[i].release);
        offer(prefix, boards[i].label, boards[i].mac);
    }
}

static void offer_slots(const char *prefix, const struct objects *objects) {
    const struct slot *slots = objects->slots.items;

    for (size_t i = 0; i < objects->slots.n; i++) {
        offer(prefix, slots[i].name, slots[i].label);
        offer(prefix, slots[i].label, slots[i].name);
    }
}

/* Nobody's key press starts a daemon. */
static bool runs(const struct client *client) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int owned = 0;

    return sd_bus_call_method(client->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                              "org.freedesktop.DBus", "NameHasOwner", NULL, &reply, "s",
                              WIPYD_BUS_NAME) >= 0 &&
           sd_bus_message_read(reply, "b", &owned) >= 0 && owned;
}

static void offer_objects(const struct line *line, const char *prefix, unsigned kinds) {
    const char *bus = line->bus ? line->bus : getenv("WIPYD_BUS");
    struct client client = { .options = { .bus = bus && *bus ? bus : "system", .no_ask_password = true } };
    struct objects objects = { 0 };

    if (!line->is_remote && bus_open(&client) == EXIT_DONE &&
        sd_bus_set_method_call_timeout(client.bus, PATIENCE_US) >= 0 && runs(&client) &&
        objects_load(&client, &objects) == EXIT_DONE) {
        if (kinds & DEVICES)
            offer_devices(prefix, &objects);
        if (kinds & JOBS)
            offer_jobs(prefix, &objects);
        if (kinds & (VERSIONS | PACKAGES))
            offer_firmware(prefix, &objects, kinds);
        if (kinds & BOARDS)
            offer_boards(prefix, &objects);
        if (kinds & SLOTS)
            offer_slots(prefix, &objects);
    }
    objects_clear(&objects);
    sd_bus_flush_close_unref(client.bus);
}

static void offer_kinds(const struct line *line, const char *prefix, unsigned kinds) {
    if (kinds & OBJECTS)
        offer_objects(line, prefix, kinds);
    if (kinds & POLICIES) {
        for (int i = BOARD_POLICY_UNSET + 1; i < BOARD_POLICY_COUNT; i++)
            offer(prefix, board_policy_word((enum board_policy)i),
                  board_policy_meaning((enum board_policy)i));
        offer(prefix, "unset", board_policy_meaning(BOARD_POLICY_UNSET));
    }
    if (kinds & FILES)
        puts(":files");
}

static void offer_verbs(const struct verb_table *table) {
    for (size_t i = 0; i < table->n; i++) {
        const char *space = strrchr(table->rows[i].name, ' ');

        offer("", space ? space + 1 : table->rows[i].name, table->rows[i].summary);
    }
}

static void offer_values(const struct line *line, const char *prefix) {
    for (size_t i = 0; i < sizeof(values_of) / sizeof(values_of[0]); i++) {
        if (strcmp(values_of[i].option, line->option))
            continue;
        for (size_t j = 0; values_of[i].words[j]; j++)
            offer(prefix, values_of[i].words[j], "");
        offer_kinds(line, prefix, values_of[i].kinds);
    }
}

static void offer_arguments(const struct line *line) {
    if (line->ended && line->verb->takes_command) {
        puts(line->n_arguments ? ":files" : ":commands");
        return;
    }
    for (size_t i = 0; i < sizeof(arguments_of) / sizeof(arguments_of[0]); i++)
        if (!strcmp(arguments_of[i].verb, line->verb->name))
            offer_kinds(line, "", line->n_arguments ? arguments_of[i].others : arguments_of[i].first);
}

/* ---- the line -------------------------------------------------------------------------------- */

static void read_option(struct line *line, const char *word) {
    /* As far as flash's first argument is concerned, these stand for it. */
    bool names_devices = line->verb && !strcmp(line->verb->name, "flash") &&
                         (!strcmp(word, "--all") || !strncmp(word, "--slot", strlen("--slot")));

    if (!strncmp(word, "--bus=", strlen("--bus=")))
        line->bus = word + strlen("--bus=");
    line->is_remote |= !strncmp(word, "--host", strlen("--host")) || !strncmp(word, "-H", strlen("-H"));
    line->n_arguments += names_devices;
    line->ended |= !strcmp(word, "--");
    if (line->ended && line->verb && line->verb->takes_command)
        line->n_arguments = 0; /* from here on they are the command's */
    if (!options_take_next(line->verb, word, &line->option))
        line->option = NULL;
}

static void read_word(struct line *line, const char *word) {
    const struct verb *own;

    if (line->option) {
        if (!strcmp(line->option, "bus"))
            line->bus = word;
        line->option = NULL;
    } else if (*word == '-' && word[1] && !line->ended) {
        read_option(line, word);
    } else if (!line->verb) {
        line->verb = verb_find(&verbs, word);
        line->is_lost = !line->verb;
    } else if (line->verb->verbs && (own = verb_find(line->verb->verbs, word))) {
        line->verb = own;
    } else {
        line->n_arguments++;
    }
}

/* "--slot=": what stands before the value, and whose it is. */
static bool splits(struct line *line, char *prefix, size_t n) {
    size_t length = strcspn(line->word, "=");

    if (strncmp(line->word, "--", 2) || !line->word[length] || length + 2 > n)
        return false;
    snprintf(prefix, n, "%.*s=", (int)length, line->word);
    for (size_t i = 0; i < sizeof(values_of) / sizeof(values_of[0]); i++)
        if (strlen(values_of[i].option) == length - 2 &&
            !strncmp(values_of[i].option, line->word + 2, length - 2))
            line->option = values_of[i].option;
    return true;
}

int complete(char **words) {
    struct line line = { .word = "" };
    char prefix[64] = "";

    setlocale(LC_CTYPE, "");
    if (!freopen("/dev/null", "w", stderr))
        return 0;
    for (; *words && words[1]; words++)
        read_word(&line, *words);
    if (*words)
        line.word = *words;
    if (line.option || (!line.ended && splits(&line, prefix, sizeof(prefix)))) {
        if (line.option)
            offer_values(&line, prefix);
    } else if (*line.word == '-' && !line.ended) {
        options_complete(line.verb);
    } else if (line.is_lost) {
        ; /* behind a word that is no verb nothing means anything */
    } else if (!line.verb) {
        offer_verbs(&verbs);
    } else if (line.verb->verbs) {
        offer_verbs(line.verb->verbs);
    } else {
        offer_arguments(&line);
    }
    return fflush(stdout) || ferror(stdout);
}
