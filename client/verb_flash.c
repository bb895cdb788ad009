#include "client/bus.h"
#include "client/flash_all.h"
#include "client/object.h"
#include "client/outcome.h"
#include "client/package.h"
#include "client/target.h"
#include "client/verb.h"

/* Which device is meant: the verb's first argument, or what is in --slot. */
static enum exit_code find(const struct client *client, const char *word, struct device *device) {
    cleanup(slot_clear_p) struct slot slot = { 0 };
    enum exit_code code;

    if (!client->options.slot)
        return device_find(client, word, device);
    code = target_slot(client, client->options.slot, &slot);
    return code == EXIT_DONE ? device_find(client, slot.name, device) : code;
}

static enum exit_code flash_one(const struct client *client, const char *word, int package, const char *name,
                                const char *version) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL;
    cleanup(device_clear_p) struct device device = { 0 };
    enum exit_code code = find(client, word, &device);

    if (code == EXIT_DONE)
        code = flash_call(client, device.path, package, name, version, &call);
    return code == EXIT_DONE ? outcome_of_call(client, &device, call) : code;
}

enum exit_code verb_flash(struct client *client, char **arguments) {
    bool is_named = client->options.all || client->options.slot;
    const char *what = arguments[is_named ? 0 : 1];
    bool is_file = what && package_is_file(what);
    cleanup(close_fd_p) int package = -1;
    cleanup(free_p) char *name = NULL;
    enum exit_code code = EXIT_DONE;

    if (is_file)
        code = package_open(client, what, &package, &name);
    if (code != EXIT_DONE)
        return code;
    if (client->options.all)
        return flash_all(client, package, name, is_file ? NULL : what);
    return flash_one(client, arguments[0], package, name, is_file ? NULL : what);
}
