#include "client/job_call.h"

#include "client/bus.h"

static int append(sd_bus_message *call, const struct options *options, const char *version) {
    int r = sd_bus_message_open_container(call, 'a', "{sv}");

    if (r >= 0 && version)
        r = sd_bus_message_append(call, "{sv}", "version", "s", version);
    if (r >= 0 && options->baud)
        r = sd_bus_message_append(call, "{sv}", "baud", "u", options->baud);
    if (r >= 0 && options->connect_timeout_s)
        r = sd_bus_message_append(call, "{sv}", "connect-timeout", "u", options->connect_timeout_s);
    if (r >= 0 && options->parts)
        r = sd_bus_message_append(call, "{sv}", "parts", "s", options->parts);
    if (r >= 0 && options->dry_run)
        r = sd_bus_message_append(call, "{sv}", "dry-run", "b", 1);
    return r < 0 ? r : sd_bus_message_close_container(call);
}

enum exit_code job_call_options(const struct client *client, sd_bus_message *call, const char *version) {
    int r = append(call, &client->options, version);

    return r < 0 ? bus_append_failure(client, r) : EXIT_DONE;
}
