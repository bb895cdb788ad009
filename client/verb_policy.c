/* policy: what may be done to boards without being asked. */

#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "client/failure.h"
#include "client/objects.h"
#include "client/table.h"
#include "client/target.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"
#include "proto/policy.h"

#define UNSET "unset" /* the word for no policy of its own */

/* A daemon that is newer may have policies of its own. */
static const char *meaning_of(const char *word) {
    enum board_policy policy = board_policy_from_word(word);

    return policy == BOARD_POLICY_COUNT ? "" : board_policy_meaning(policy);
}

/* word: the argument. *policy: as the daemon wants it. */
static enum exit_code parse(const struct client *client, const char *word, const char **policy) {
    *policy = strcmp(word, UNSET) ? word : "";
    if (*word && board_policy_from_word(*policy) != BOARD_POLICY_COUNT)
        return EXIT_DONE;
    return failure_usage(client, "A policy is off, ask, wipy, any or unset, not '%s'.", word);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void print_boards(const struct objects *objects, struct table *table) {
    const struct board *boards = objects->boards.items;

    for (size_t i = 0; i < objects->boards.n; i++)
        if (*boards[i].policy)
            table_row(table, (const char *[]) { "board", boards[i].mac, boards[i].label, boards[i].policy,
                                                meaning_of(boards[i].policy) });
}

static void print_slots(const struct objects *objects, struct table *table) {
    const struct slot *slots = objects->slots.items;

    for (size_t i = 0; i < objects->slots.n; i++)
        if (*slots[i].policy)
            table_row(table, (const char *[]) { "slot", slots[i].name, slots[i].label, slots[i].policy,
                                                meaning_of(slots[i].policy) });
}

static void print_all(const struct client *client, const struct objects *objects,
                      const struct manager *manager) {
    static const struct table_column columns[] = {
        { "OF", TABLE_LEFT },     { "NAME", TABLE_LEFT },     { "LABEL", TABLE_LEFT },
        { "POLICY", TABLE_LEFT }, { "MEANS", TABLE_ELASTIC },
    };
    struct table table;

    table_open(&table, client, columns, sizeof(columns) / sizeof(columns[0]));
    table_row(&table, (const char *[]) { "default", "", "", manager->default_policy,
                                         meaning_of(manager->default_policy) });
    print_boards(objects, &table);
    print_slots(objects, &table);
    table_close(&table);
}

static enum exit_code print_all_json(const struct client *client, const struct objects *objects,
                                     const struct manager *manager) {
    const struct board *boards = objects->boards.items;
    const struct slot *slots = objects->slots.items;
    struct json json;

    json_begin(&json, client->options.json);
    json_map_begin(&json);
    json_string(&json, "default_policy");
    json_string(&json, manager->default_policy);
    json_string(&json, "boards");
    json_array_begin(&json);
    for (size_t i = 0; i < objects->boards.n; i++)
        if (*boards[i].policy)
            object_to_json(&board_interface, &boards[i], &json);
    json_array_end(&json);
    json_string(&json, "slots");
    json_array_begin(&json);
    for (size_t i = 0; i < objects->slots.n; i++)
        if (*slots[i].policy)
            object_to_json(&slot_interface, &slots[i], &json);
    json_array_end(&json);
    json_map_end(&json);
    return json_print(&json) < 0 ? failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL) : EXIT_DONE;
}

static enum exit_code show_all(const struct client *client) {
    cleanup(manager_clear_p) struct manager manager = { 0 };
    struct objects objects = { 0 };
    enum exit_code code = object_load(client, &manager_interface, WIPYD_ROOT_PATH, &manager);

    if (code == EXIT_DONE)
        code = objects_load(client, &objects);
    if (code == EXIT_DONE && client->options.json)
        code = print_all_json(client, &objects, &manager);
    else if (code == EXIT_DONE)
        print_all(client, &objects, &manager);
    objects_clear(&objects);
    return code;
}

/* ---- one ------------------------------------------------------------------------------------- */

static enum exit_code the_default(const struct client *client, const char *word) {
    cleanup(manager_clear_p) struct manager manager = { 0 };
    enum exit_code code = EXIT_DONE;
    const char *policy;
    struct json json;

    if (word)
        code = parse(client, word, &policy);
    if (code == EXIT_DONE && word)
        code = bus_tell(client, WIPYD_ROOT_PATH, WIPYD_MANAGER_INTERFACE, "SetDefaultPolicy", "s", policy);
    if (code == EXIT_DONE)
        code = object_load(client, &manager_interface, WIPYD_ROOT_PATH, &manager);
    if (code != EXIT_DONE)
        return code;
    if (!client->options.json) {
        if (!word || !client->options.quiet)
            text_line(stdout, word ? TEXT_GOOD : TEXT_PLAIN, "default: %s: %s", manager.default_policy,
                      meaning_of(manager.default_policy));
        return EXIT_DONE;
    }
    json_begin(&json, client->options.json);
    json_map_begin(&json);
    json_string(&json, "default_policy");
    json_string(&json, manager.default_policy);
    json_map_end(&json);
    return json_print(&json) < 0 ? failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL) : EXIT_DONE;
}

static void print_one(const struct target *target, enum text_style style) {
    bool is_board = target->interface == &board_interface;
    const char *policy = is_board ? target->board.policy : target->slot.policy;
    char title[384];

    target_title(target, title, sizeof(title));
    if (*policy)
        text_line(stdout, style, "%s: %s: %s", title, policy, meaning_of(policy));
    else
        text_line(stdout, style, "%s: none of its own; %s holds", title,
                  is_board ? "the policy of the slot it is in, or else the default" : "the default");
}

/* A board's own policy goes before its slot's. */
static void print_board_there(const struct client *client, const struct target *target) {
    cleanup(device_clear_p) struct device device = { 0 };

    if (target->interface != &slot_interface || !strcmp(target->slot.device, "/"))
        return;
    object_refresh(client, &device_interface, target->slot.device, &device);
    if (device.policy_from && !strcmp(device.policy_from, "board"))
        text_line(stdout, TEXT_ACTION, "%s there has one of its own: %s. See: wipyctl policy %s", device.mac,
                  device.policy, device.mac);
}

static enum exit_code one(const struct client *client, const char *name, const char *word) {
    cleanup(target_clear_p) struct target target = { 0 };
    enum exit_code code = EXIT_DONE;
    const char *policy;

    if (word)
        code = parse(client, word, &policy);
    if (code == EXIT_DONE)
        code = target_find(client, name, &target);
    if (code == EXIT_DONE && word)
        code = target_set(client, &target, "SetPolicy", policy);
    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return object_print_json(client, target.interface, target_object(&target));
    if (!word || !client->options.quiet)
        print_one(&target, word ? TEXT_GOOD : TEXT_PLAIN);
    print_board_there(client, &target);
    return EXIT_DONE;
}

enum exit_code verb_policy(struct client *client, char **arguments) {
    const struct options *options = &client->options;

    if (options->of_default && (options->of_board || options->of_slot))
        return failure_usage(client, "--default goes without --board and --slot.");
    if (options->of_default && arguments[0] && arguments[1])
        return failure_usage(client, "policy --default doesn't take '%s'.", arguments[1]);
    if (options->of_default)
        return the_default(client, arguments[0]);
    if (arguments[0])
        return one(client, arguments[0], arguments[1]);
    if (options->of_board || options->of_slot)
        return failure_usage(client, "policy --board and --slot need a name.");
    return show_all(client);
}
