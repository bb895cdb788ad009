/* firmware list, firmware show. */

#include <inttypes.h>
#include <stdio.h>

#include "client/firmware.h"
#include "client/objects.h"
#include "client/table.h"
#include "client/text.h"
#include "client/verb.h"

enum exit_code verb_firmware_list(struct client *client, char **arguments) {
    struct objects objects = { 0 };
    enum exit_code code = objects_load(client, &objects);

    (void)arguments;
    firmware_sort(&objects.firmware);
    if (code == EXIT_DONE && client->options.json)
        code = objects_print_json(client, &objects.firmware, &firmware_interface);
    else if (code == EXIT_DONE && objects.firmware.n)
        firmware_print(client, &objects.firmware);
    else if (code == EXIT_DONE && !client->options.quiet)
        puts("No firmware. Get some: wipyctl firmware refresh, or wipyctl firmware import FILE.tar.gz");
    objects_clear(&objects);
    return code;
}

static void print_facts(const struct client *client, const struct firmware *firmware) {
    char order[64] = "none: it can't be told which releases are newer", size[TEXT_SIZE];
    char added[TEXT_SIZE] = "", used[TEXT_SIZE] = "never";
    const struct {
        const char *what, *value;
    } rows[] = {
        { "Board", firmware->board },
        { "Release", firmware->release },
        { "Server says", firmware->server_version },
        { "Order", order },
        { "State", firmware->state },
        { "Reason", firmware->reason },
        { "Pinned", firmware->pinned ? "yes" : "no" },
        { "Size", size },
        { "Added", added },
        { "Used", used },
        { "Package", firmware->name },
        { "Origin", firmware->origin },
        { "SHA-256", firmware->sha256 },
        { "Server's SHA-1", firmware->server_hash },
    };
    struct table table;

    text_bytes(size, firmware->bytes);
    if (firmware->order)
        snprintf(order, sizeof(order), "%" PRIu32, firmware->order);
    if (firmware->added_at_us)
        text_time(added, firmware->added_at_us);
    if (firmware->used_at_us)
        text_time(used, firmware->used_at_us);
    table_open_facts(&table, client);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        table_row(&table, (const char *[]) { rows[i].what, rows[i].value });
    table_close(&table);
}

enum exit_code verb_firmware_show(struct client *client, char **arguments) {
    cleanup(firmware_clear_p) struct firmware firmware = { 0 };
    enum exit_code code = firmware_find(client, arguments[0], &firmware);

    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return object_print_json(client, &firmware_interface, &firmware);
    print_facts(client, &firmware);
    return EXIT_DONE;
}
