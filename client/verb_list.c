#include <stdio.h>

#include "client/objects.h"
#include "client/table.h"
#include "client/text.h"
#include "client/verb.h"

static void print_table(const struct client *client, const struct objects *objects) {
    static const struct table_column columns[] = {
        { "DEVICE", TABLE_LEFT },  { "NODE", TABLE_LEFT },    { "PLUGGED", TABLE_LEFT },
        { "SLOT", TABLE_LEFT },    { "ADAPTER", TABLE_LEFT }, { "LABEL", TABLE_LEFT },
        { "POLICY", TABLE_LEFT },  { "ARMED", TABLE_LEFT },   { "BOARD", TABLE_LEFT },
        { "RELEASE", TABLE_LEFT }, { "MAC", TABLE_LEFT },     { "FLASH", TABLE_RIGHT },
        { "CHIP", TABLE_ELASTIC },
    };
    const struct device *devices = objects->devices.items;
    struct table table;

    table_open(&table, client, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < objects->devices.n; i++) {
        const struct device *device = &devices[i];
        char flash[TEXT_SIZE] = "";

        if (device->flash_bytes)
            text_bytes(flash, device->flash_bytes);
        table_row(&table, (const char *[]) { device->name, device->node, device->present ? "yes" : "no",
                                             device->slot, device->adapter, device->label, device->policy,
                                             device->armed ? "yes" : "no", device->board, device->release,
                                             device->mac, flash, device->chip });
    }
    table_close(&table);
}

enum exit_code verb_list(struct client *client, char **arguments) {
    struct objects objects = { 0 };
    enum exit_code code = objects_load(client, &objects);

    (void)arguments;
    if (code == EXIT_DONE && client->options.json)
        code = objects_print_json(client, &objects.devices, &device_interface);
    else if (code == EXIT_DONE)
        print_table(client, &objects);
    objects_clear(&objects);
    return code;
}
