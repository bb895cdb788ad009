#include <stdio.h>

#include "client/bus.h"
#include "client/device.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

/* A person who is asked for a password, then listening, asking for a ROM, and asking the firmware take their
 * time one after the other. */
#define LOOK_SECONDS 250

static int append(sd_bus_message *call, const struct options *options) {
    int r = sd_bus_message_open_container(call, 'a', "{sv}");

    if (r >= 0 && options->repl)
        r = sd_bus_message_append(call, "{sv}", "repl", "b", 1);
    return r < 0 ? r : sd_bus_message_close_container(call);
}

static enum exit_code look(const struct client *client, const struct device *device) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    enum exit_code code = bus_message(client, &call, device->path, WIPYD_DEVICE_INTERFACE, "Look", "");
    int r;

    if (code != EXIT_DONE)
        return code;
    r = append(call, &client->options);
    return r < 0 ? bus_append_failure(client, r) : bus_call_within(client, LOOK_SECONDS, call, &reply);
}

enum exit_code verb_look(struct client *client, char **arguments) {
    cleanup(device_clear_p) struct device device = { 0 };
    enum exit_code code = device_find(client, arguments[0], &device);

    if (code == EXIT_DONE)
        code = look(client, &device);
    if (code == EXIT_DONE)
        code = object_load(client, &device_interface, device.path, &device);
    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return object_print_json(client, &device_interface, &device);
    if (!client->options.quiet)
        device_print(client, &device);
    if (*device.advice)
        text_line(stdout, TEXT_ACTION, "%s: %s", device.name, device.advice);
    return EXIT_DONE;
}
