/* The verbs of `wipyctl slot`. */

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

static void print_table(const struct client *client, const struct objects *objects) {
    static const struct table_column columns[] = {
        { "SLOT", TABLE_LEFT },      { "LABEL", TABLE_LEFT },  { "POLICY", TABLE_LEFT },
        { "ARMED", TABLE_LEFT },     { "DEVICE", TABLE_LEFT }, { "BOARD", TABLE_LEFT },
        { "LAST SEEN", TABLE_LEFT }, { "BAUD", TABLE_RIGHT },  { "ERRORS", TABLE_RIGHT },
    };
    const struct slot *slots = objects->slots.items;
    struct table table;

    table_open(&table, client, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < objects->slots.n; i++) {
        const struct slot *slot = &slots[i];
        const struct device *device = objects_device(objects, slot->device);
        char seen[TEXT_SIZE] = "", rate[16] = "", errors[16] = "";

        if (slot->seen_at_us)
            text_time(seen, slot->seen_at_us);
        if (slot->rate)
            snprintf(rate, sizeof(rate), "%u", slot->rate);
        if (slot->rate || slot->error_rate > 0)
            snprintf(errors, sizeof(errors), "%.3g %%", slot->error_rate * 100);
        table_row(&table,
                  (const char *[]) { slot->name, slot->label, slot->policy, slot->armed ? "yes" : "no",
                                     device ? device->name : "", slot->mac, seen, rate, errors });
    }
    table_close(&table);
    for (size_t i = 0; i < objects->slots.n; i++)
        if (*slots[i].advice)
            text_line(stdout, TEXT_ACTION, "%s", slots[i].advice);
}

static enum exit_code slot_list(struct client *client, char **arguments) {
    struct objects objects = { 0 };
    enum exit_code code = objects_load(client, &objects);

    (void)arguments;
    if (code == EXIT_DONE && client->options.json)
        code = objects_print_json(client, &objects.slots, &slot_interface);
    else if (code == EXIT_DONE && objects.slots.n)
        print_table(client, &objects);
    else if (code == EXIT_DONE && !client->options.quiet)
        puts("No slots yet. A slot is known once an adapter was plugged in there.");
    objects_clear(&objects);
    return code;
}

static enum exit_code slot_forget(struct client *client, char **arguments) {
    cleanup(slot_clear_p) struct slot slot = { 0 };
    enum exit_code code = target_slot(client, arguments[0], &slot);
    char title[384];

    if (code == EXIT_DONE)
        code = bus_tell(client, slot.path, WIPYD_SLOT_INTERFACE, "Forget", "");
    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return object_print_json(client, &slot_interface, &slot);
    if (!client->options.quiet)
        text_line(stdout, TEXT_GOOD, "%s: forgotten", slot_title(&slot, title, sizeof(title)));
    return EXIT_DONE;
}

static const struct verb rows[] = {
    {
        .name = "slot list",
        .arguments = "",
        .summary = "List the places where adapters were plugged in (the default)",
        .details =
            "POLICY is the slot's own; where it is '-', the board's or the default holds. BAUD is the\n"
            "rate at which the last job was good, ERRORS the share of blocks that the line spoilt.\n",
        .is_long = true,
        .run = slot_list,
    },
    {
        .name = "slot forget",
        .arguments = "SLOT",
        .summary = "Drop what is known of a slot: label, policy, whether it is armed, rates",
        .details = "SLOT is its name or its label. It must be empty.\n",
        .min_arguments = 1,
        .max_arguments = 1,
        .run = slot_forget,
    },
};

const struct verb_table slot_verbs = { rows, sizeof(rows) / sizeof(rows[0]) };
