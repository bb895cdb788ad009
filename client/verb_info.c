#include <stdio.h>

#include "client/bus.h"
#include "client/follow.h"
#include "client/job_call.h"
#include "client/object.h"
#include "client/outcome.h"
#include "client/table.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

static void print_device(const struct client *client, const struct device *device) {
    char flash[TEXT_SIZE] = "";
    const struct {
        const char *what, *value;
    } rows[] = {
        { "Device", device->name },
        { "Node", device->node },
        { "Chip", device->chip },
        { "MAC", device->mac },
        { "Flash", flash },
        { "Board", *device->board ? device->board : "not told by what is on the flash" },
        { "Release", device->release },
    };
    struct table table;

    if (device->flash_bytes)
        text_bytes(flash, device->flash_bytes);
    table_open_facts(&table, client);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        table_row(&table, (const char *[]) { rows[i].what, rows[i].value });
    table_close(&table);
}

enum exit_code verb_info(struct client *client, char **arguments) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL;
    cleanup(device_clear_p) struct device device = { 0 };
    cleanup(job_clear_p) struct job job = { 0 };
    enum exit_code code;

    code = device_find(client, arguments[0], &device);
    if (code == EXIT_DONE)
        code = bus_message(client, &call, device.path, WIPYD_DEVICE_INTERFACE, "Identify", "");
    if (code == EXIT_DONE)
        code = job_call_options(client, call, NULL);
    if (code == EXIT_DONE)
        code = follow_call(client, &device, call, &job);
    if (code != EXIT_DONE)
        return code;
    if (client->options.no_block)
        return outcome_of_start(client, &device, &job);

    code = outcome_check(client, &device, &job);
    if (code == EXIT_DONE)
        code = object_load(client, &device_interface, job.device, &device);
    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return object_print_json(client, &device_interface, &device);
    print_device(client, &device);
    if (*job.user_action)
        text_line(stdout, TEXT_ACTION, "%s: %s", device.name, job.user_action);
    return EXIT_DONE;
}
