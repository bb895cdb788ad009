#include "client/bus.h"
#include "client/follow.h"
#include "client/job_call.h"
#include "client/object.h"
#include "client/outcome.h"
#include "client/package.h"
#include "client/verb.h"
#include "proto/names.h"

static enum exit_code make_call(const struct client *client, const struct device *device, int package,
                                const char *name, const char *version, sd_bus_message **call) {
    enum exit_code code;

    if (package >= 0)
        code =
            bus_message(client, call, device->path, WIPYD_DEVICE_INTERFACE, "FlashFile", "hs", package, name);
    else
        code = bus_message(client, call, device->path, WIPYD_DEVICE_INTERFACE, "Flash", "");
    return code == EXIT_DONE ? job_call_options(client, *call, version) : code;
}

enum exit_code verb_flash(struct client *client, char **arguments) {
    const char *what = arguments[1];
    bool is_file = what && package_is_file(what);
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL;
    cleanup(device_clear_p) struct device device = { 0 };
    cleanup(job_clear_p) struct job job = { 0 };
    cleanup(close_fd_p) int package = -1;
    cleanup(free_p) char *name = NULL;
    enum exit_code code = EXIT_DONE;

    if (is_file)
        code = package_open(client, what, &package, &name);
    if (code == EXIT_DONE)
        code = device_find(client, arguments[0], &device);
    if (code == EXIT_DONE)
        code = make_call(client, &device, package, name, is_file ? NULL : what, &call);
    if (code == EXIT_DONE)
        code = follow_call(client, &device, call, &job);
    if (code != EXIT_DONE)
        return code;
    if (client->options.no_block)
        return outcome_of_start(client, &device, &job);

    follow_device(client, &job, &device);
    return outcome_of_job(client, &device, &job);
}
