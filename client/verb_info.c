#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "client/device.h"
#include "client/follow.h"
#include "client/job_call.h"
#include "client/object.h"
#include "client/outcome.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

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
        code = object_load(client, &device_interface, strcmp(job.device, "/") ? job.device : device.path,
                           &device);
    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return object_print_json(client, &device_interface, &device);
    device_print(client, &device);
    if (*job.user_action)
        text_line(stdout, TEXT_ACTION, "%s: %s", device.name, job.user_action);
    return EXIT_DONE;
}
