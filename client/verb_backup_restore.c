#include <stdio.h>
#include <string.h>

#include "client/backup.h"
#include "client/bus.h"
#include "client/failure.h"
#include "client/job_call.h"
#include "client/object.h"
#include "client/outcome.h"
#include "client/target.h"
#include "client/verb.h"
#include "proto/names.h"

static bool is_part(const char *word, size_t length) {
    static const char *const parts[] = { "config", "nvs", "otadata" };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (strlen(parts[i]) == length && !strncmp(parts[i], word, length))
            return true;
    return false;
}

static enum exit_code check_parts(const struct client *client) {
    const char *word = client->options.parts;

    while (word) {
        size_t length = strcspn(word, ",");

        if (!is_part(word, length))
            return failure_usage(client,
                                 "--parts takes config, nvs and otadata with commas between, not '%s'.",
                                 client->options.parts);
        word = word[length] ? word + length + 1 : NULL;
    }
    return EXIT_DONE;
}

static enum exit_code choose_mac(const struct client *client, const struct device *device,
                                 char mac[TARGET_MAC_SIZE]) {
    const char *word = client->options.mac ? client->options.mac : device->mac;

    if (word && *word && target_mac(word, mac))
        return EXIT_DONE;
    if (client->options.mac)
        return failure_usage(client, "--mac takes a MAC, 30:ae:a4:01:02:03, not '%s'.", word);
    return failure_report(client,
                          &(struct failure) {
                              .exit_code = EXIT_USAGE,
                              .name = wipyd_error_bus_name(WIPYD_ERROR_INVALID_ARGUMENT),
                              .message = "It isn't known which board is on the device.",
                              .hint = "Say whose backup it is with --mac MAC, or ask the board first: "
                                      "wipyctl info DEVICE",
                          });
}

static enum exit_code make_call(const struct client *client, const struct device *device, const char *mac,
                                const char *name, sd_bus_message **call) {
    const struct backup *backup = NULL;
    struct list list = { 0 };
    enum exit_code code = backup_choose(client, mac, name, &list, &backup);

    if (code == EXIT_DONE)
        code = bus_message(client, call, device->path, WIPYD_DEVICE_INTERFACE, "Restore", "ss", mac,
                           backup->name);
    backups_clear(&list);
    return code == EXIT_DONE ? job_call_options(client, *call, NULL) : code;
}

enum exit_code verb_backup_restore(struct client *client, char **arguments) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL;
    cleanup(device_clear_p) struct device device = { 0 };
    char mac[TARGET_MAC_SIZE] = "";
    enum exit_code code = check_parts(client);

    if (code == EXIT_DONE && client->options.mac)
        code = choose_mac(client, &device, mac);
    if (code == EXIT_DONE)
        code = device_find(client, arguments[0], &device);
    if (code == EXIT_DONE)
        code = choose_mac(client, &device, mac);
    if (code == EXIT_DONE)
        code = make_call(client, &device, mac, arguments[1], &call);
    return code == EXIT_DONE ? outcome_of_call(client, &device, call) : code;
}
