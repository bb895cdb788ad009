#include <stdio.h>

#include "client/bus.h"
#include "client/firmware.h"
#include "client/package.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

static enum exit_code hand_over(struct client *client, const char *file, struct firmware *firmware) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    cleanup(close_fd_p) int package = -1;
    cleanup(free_p) char *name = NULL;
    const char *path;
    enum exit_code code;
    int r;

    code = package_open(client, file, &package, &name);
    if (code == EXIT_DONE)
        code = bus_message(client, &call, WIPYD_ROOT_PATH, WIPYD_MANAGER_INTERFACE, "ImportFirmware", "hs",
                           package, name);
    if (code == EXIT_DONE)
        code = bus_call(client, call, &reply);
    if (code != EXIT_DONE)
        return code;
    r = sd_bus_message_read(reply, "o", &path);
    return r < 0 ? bus_bad_message(client, r) : object_load(client, &firmware_interface, path, firmware);
}

static enum exit_code import_one(struct client *client, const char *file, struct firmware *firmware,
                                 void *userdata) {
    enum exit_code code = hand_over(client, file, firmware);
    char title[128];

    (void)userdata;
    if (code != EXIT_DONE || client->options.json)
        return code;
    firmware_title(firmware, title, sizeof(title));
    if (!firmware_is_good(firmware))
        text_line(stdout, TEXT_ACTION, "%s imported as %.*s, but it can't be flashed: %s: %s", title,
                  FIRMWARE_DIGITS, firmware->sha256, firmware->state, firmware->reason);
    else if (!client->options.quiet)
        text_line(stdout, TEXT_GOOD, "%s imported as %.*s", title, FIRMWARE_DIGITS, firmware->sha256);
    fflush(stdout);
    return EXIT_DONE;
}

enum exit_code verb_firmware_import(struct client *client, char **arguments) {
    return firmware_each(client, arguments, import_one, NULL);
}
