#include <stdio.h>

#include "client/objects.h"
#include "client/table.h"
#include "client/verb.h"

static void print_table(const struct client *client, const struct objects *objects) {
    static const struct table_column columns[] = {
        { "DEVICE", TABLE_LEFT }, { "SLOT", TABLE_LEFT },  { "ADAPTER", TABLE_LEFT }, { "LABEL", TABLE_LEFT },
        { "POLICY", TABLE_LEFT }, { "ARMED", TABLE_LEFT }, { "BOARD", TABLE_LEFT },   { "MAC", TABLE_LEFT },
    };
    const struct device *devices = objects->devices.items;
    struct table table;

    table_open(&table, client, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < objects->devices.n; i++) {
        const struct device *device = &devices[i];

        table_row(&table, (const char *[]) { device->name, device->slot, device->adapter, device->label,
                                             device->policy, device->armed ? "yes" : "no", device->board,
                                             device->mac });
    }
    table_close(&table);
}

enum exit_code verb_list(struct client *client, char **arguments) {
    struct objects objects = { 0 };
    enum exit_code code = objects_load(client, &objects);

    (void)arguments;
    if (code == EXIT_DONE && client->options.json)
        code = objects_print_json(client, &objects.devices, &device_interface);
    else if (code == EXIT_DONE && objects.devices.n)
        print_table(client, &objects);
    else if (code == EXIT_DONE && !client->options.quiet)
        puts("No devices. Plug in a board's USB adapter.");
    objects_clear(&objects);
    return code;
}
