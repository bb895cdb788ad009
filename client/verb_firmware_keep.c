/* firmware pin, unpin, remove, verify, unquarantine: what is kept, and in which state. */

#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "client/failure.h"
#include "client/firmware.h"
#include "client/objects.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

static void say(const struct client *client, const struct firmware *firmware, enum text_style style,
                const char *what) {
    char title[128];

    if (!client->options.json)
        text_line(stdout, style, "%s (%.*s): %s", firmware_title(firmware, title, sizeof(title)),
                  FIRMWARE_DIGITS, firmware->sha256, what);
}

static void say_done(const struct client *client, const struct firmware *firmware, const char *what) {
    if (!client->options.quiet)
        say(client, firmware, TEXT_GOOD, what);
}

/* Calls a method of the package's that takes a boolean, or nothing when that is NULL. */
static enum exit_code call(const struct client *client, const struct firmware *firmware, const char *method,
                           const int *argument) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *message = NULL, *reply = NULL;
    enum exit_code code;

    code = bus_message(client, &message, firmware->path, WIPYD_FIRMWARE_INTERFACE, method,
                       argument ? "b" : "", argument ? *argument : 0);
    return code == EXIT_DONE ? bus_call(client, message, &reply) : code;
}

/* ---- one package ----------------------------------------------------------------------------- */

static enum exit_code change(const struct client *client, const char *name, const char *method,
                             const int *argument, const char *what) {
    cleanup(firmware_clear_p) struct firmware firmware = { 0 };
    enum exit_code code = firmware_find(client, name, &firmware);

    if (code == EXIT_DONE)
        code = call(client, &firmware, method, argument);
    if (code == EXIT_DONE)
        code = object_load(client, &firmware_interface, firmware.path, &firmware);
    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return object_print_json(client, &firmware_interface, &firmware);
    say_done(client, &firmware, what);
    return EXIT_DONE;
}

enum exit_code verb_firmware_pin(struct client *client, char **arguments) {
    return change(client, arguments[0], "Pin", &(int) { 1 }, "pinned.");
}

enum exit_code verb_firmware_unpin(struct client *client, char **arguments) {
    return change(client, arguments[0], "Pin", &(int) { 0 }, "no longer pinned.");
}

enum exit_code verb_firmware_unquarantine(struct client *client, char **arguments) {
    return change(client, arguments[0], "Unquarantine", NULL, "good, by your word: it can be flashed now.");
}

/* ---- several --------------------------------------------------------------------------------- */

static enum exit_code remove_one(struct client *client, const char *name, struct firmware *firmware,
                                 void *userdata) {
    enum exit_code code = firmware_find(client, name, firmware);
    int force = client->options.force;

    (void)userdata;
    if (code == EXIT_DONE)
        code = call(client, firmware, "Remove", &force);
    if (code == EXIT_DONE)
        say_done(client, firmware, "removed.");
    return code;
}

enum exit_code verb_firmware_remove(struct client *client, char **arguments) {
    return firmware_each(client, arguments, remove_one, NULL);
}

/* userdata: a bool, whether all that were asked for are good. */
static enum exit_code verify_one(struct client *client, const char *name, struct firmware *firmware,
                                 void *userdata) {
    cleanup(free_p) char *what = NULL;
    bool *all_good = userdata;
    enum exit_code code = firmware_find(client, name, firmware);

    if (code == EXIT_DONE)
        code = call(client, firmware, "Verify", NULL);
    if (code == EXIT_DONE)
        code = object_load(client, &firmware_interface, firmware->path, firmware);
    if (code != EXIT_DONE)
        return code;
    if (firmware_is_good(firmware)) {
        say_done(client, firmware, firmware->state);
        return EXIT_DONE;
    }
    *all_good = false;
    if (asprintf(&what, "%s: %s", firmware->state, firmware->reason) < 0)
        what = NULL;
    say(client, firmware, TEXT_BAD, what && *firmware->reason ? what : firmware->state);
    return EXIT_DONE;
}

static enum exit_code verify_all(struct client *client, bool *all_good) {
    struct objects objects = { 0 };
    enum exit_code code = objects_load(client, &objects);
    const struct firmware *firmware = objects.firmware.items;
    char **names = calloc(objects.firmware.n + 1, sizeof(*names));

    firmware_sort(&objects.firmware);
    for (size_t i = 0; names && i < objects.firmware.n; i++)
        names[i] = firmware[i].sha256;
    if (code == EXIT_DONE)
        code = names ? firmware_each(client, names, verify_one, all_good)
                     : failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    free(names);
    objects_clear(&objects);
    return code;
}

enum exit_code verb_firmware_verify(struct client *client, char **arguments) {
    bool all_good = true;
    enum exit_code code;

    code =
        *arguments ? firmware_each(client, arguments, verify_one, &all_good) : verify_all(client, &all_good);
    return code == EXIT_DONE && !all_good ? EXIT_FAILED : code;
}
