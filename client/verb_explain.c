#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "client/failure.h"
#include "client/object.h"
#include "client/table.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

/* The beginning of Explain's answer, whose strings are the message's, and the rest, read while it is printed.
 */
struct explanation {
    const char *verdict, *rule, *text;
    sd_bus_message *m; /* stands at the rules */
};

static enum exit_code ask(const struct client *client, const struct device *device, sd_bus_message **reply,
                          struct explanation *explanation) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL;
    enum exit_code code = bus_message(client, &call, device->path, WIPYD_DEVICE_INTERFACE, "Explain", "");
    int r;

    if (code == EXIT_DONE)
        code = bus_call(client, call, reply);
    if (code != EXIT_DONE)
        return code;
    explanation->m = *reply;
    r = sd_bus_message_read(*reply, "sss", &explanation->verdict, &explanation->rule, &explanation->text);
    return r < 0 ? bus_bad_message(client, r) : EXIT_DONE;
}

/* ---- for people ------------------------------------------------------------------------------ */

static int print_rules(const struct client *client, struct explanation *explanation) {
    static const struct table_column columns[] = {
        { "", TABLE_LEFT },
        { "RULE", TABLE_LEFT },
        { "ASKS", TABLE_LEFT },
        { "ANSWER", TABLE_LEFT },
    };
    const char *word, *question;
    struct table table;
    int applied, r;

    table_open(&table, client, columns, sizeof(columns) / sizeof(columns[0]));
    r = sd_bus_message_enter_container(explanation->m, 'a', "(ssb)");
    while (r >= 0 && (r = sd_bus_message_read(explanation->m, "(ssb)", &word, &question, &applied)) > 0)
        table_row(&table, (const char *[]) { strcmp(word, explanation->rule) ? " " : "*", word, question,
                                             applied ? "yes" : "no" });
    table_close(&table);
    return r < 0 ? r : sd_bus_message_exit_container(explanation->m);
}

/* What is no, none or nothing says little, and there is much of it. */
static bool says_nothing(const char *value) {
    static const char *const nothings[] = { "", "0", "no", "false", "none" };

    for (size_t i = 0; i < sizeof(nothings) / sizeof(nothings[0]); i++)
        if (!strcmp(value, nothings[i]))
            return true;
    return false;
}

/* "is_present 1" is for programs: people read "is present  yes". */
static const char *fact_of(const char *key, const char *value, char *words, size_t n) {
    static const char *const questions[] = { "is_", "was_", "has_" };
    const char *answer = value;

    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++)
        if (!strncmp(key, questions[i], strlen(questions[i])) && !strcmp(value, "1"))
            answer = "yes";
    snprintf(words, n, "%s", key);
    for (char *c = words; *c; c++)
        *c = *c == '_' ? ' ' : *c;
    return answer;
}

static int print_facts(const struct client *client, sd_bus_message *m) {
    const char *key, *value;
    struct table table;
    char words[64];
    int r;

    table_open_facts(&table, client);
    r = sd_bus_message_enter_container(m, 'a', "(ss)");
    while (r >= 0 && (r = sd_bus_message_read(m, "(ss)", &key, &value)) > 0)
        if (!says_nothing(value)) {
            const char *answer = fact_of(key, value, words, sizeof(words));

            table_row(&table, (const char *[]) { words, answer });
        }
    table_close(&table);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int print(const struct client *client, const struct device *device, const struct slot *slot,
                 struct explanation *explanation) {
    char when[TEXT_SIZE];
    uint64_t decided_at_us;
    int r;

    text_line(stdout, TEXT_STRONG, "%s: %s: %s", device->name, explanation->verdict, explanation->text);
    if (*device->advice)
        text_line(stdout, TEXT_ACTION, "%s: %s", device->name, device->advice);
    if (*slot->advice)
        text_line(stdout, TEXT_ACTION, "%s: %s", device->name, slot->advice);
    if (client->options.quiet)
        return 0;
    putchar('\n');
    r = print_rules(client, explanation);
    if (r < 0)
        return r;
    putchar('\n');
    r = print_facts(client, explanation->m);
    if (r >= 0)
        r = sd_bus_message_read(explanation->m, "t", &decided_at_us);
    if (r >= 0 && decided_at_us)
        text_line(stdout, TEXT_FAINT, "decided %s", text_time(when, decided_at_us));
    return r;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static int rules_to_json(sd_bus_message *m, struct json *json) {
    const char *word, *question;
    int applied, r;

    json_string(json, "rules");
    json_array_begin(json);
    r = sd_bus_message_enter_container(m, 'a', "(ssb)");
    while (r >= 0 && (r = sd_bus_message_read(m, "(ssb)", &word, &question, &applied)) > 0) {
        json_map_begin(json);
        json_string(json, "rule");
        json_string(json, word);
        json_string(json, "question");
        json_string(json, question);
        json_string(json, "applied");
        json_bool(json, applied);
        json_map_end(json);
    }
    json_array_end(json);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int facts_to_json(sd_bus_message *m, struct json *json) {
    const char *key, *value;
    int r;

    json_string(json, "facts");
    json_map_begin(json);
    r = sd_bus_message_enter_container(m, 'a', "(ss)");
    while (r >= 0 && (r = sd_bus_message_read(m, "(ss)", &key, &value)) > 0) {
        json_string(json, key);
        json_string(json, value);
    }
    json_map_end(json);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int to_json(const struct device *device, const struct explanation *explanation, struct json *json) {
    const struct {
        const char *key, *value;
    } rows[] = {
        { "device", device->name },    { "verdict", explanation->verdict }, { "rule", explanation->rule },
        { "text", explanation->text }, { "advice", device->advice },
    };
    uint64_t decided_at_us;
    int r;

    json_map_begin(json);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        json_string(json, rows[i].key);
        json_string(json, rows[i].value);
    }
    r = rules_to_json(explanation->m, json);
    if (r >= 0)
        r = facts_to_json(explanation->m, json);
    if (r >= 0)
        r = sd_bus_message_read(explanation->m, "t", &decided_at_us);
    if (r < 0)
        return r;
    json_string(json, "decided_at");
    json_time(json, decided_at_us);
    json_map_end(json);
    return 0;
}

static enum exit_code print_json(const struct client *client, const struct device *device,
                                 const struct explanation *explanation) {
    struct json json;
    int r;

    json_begin(&json, client->options.json);
    r = to_json(device, explanation, &json);
    if (r < 0) {
        json_drop(&json);
        return bus_bad_message(client, r);
    }
    return json_print(&json) < 0 ? failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL) : EXIT_DONE;
}

enum exit_code verb_explain(struct client *client, char **arguments) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    cleanup(device_clear_p) struct device device = { 0 };
    cleanup(slot_clear_p) struct slot slot = { 0 };
    bool has_slot = false;
    struct explanation explanation = { 0 };
    enum exit_code code = device_find(client, arguments[0], &device);
    int r;

    if (code == EXIT_DONE)
        code = ask(client, &device, &reply, &explanation);
    if (code == EXIT_DONE && !client->options.json)
        code = slot_seek(client, device.slot, &slot, &has_slot);
    if (code == EXIT_DONE && object_fill(&slot_interface, &slot) < 0)
        code = failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return print_json(client, &device, &explanation);
    r = print(client, &device, &slot, &explanation);
    return r < 0 ? bus_bad_message(client, r) : EXIT_DONE;
}
