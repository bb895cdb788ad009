/* arm, disarm: whether boards in a slot may be reset through DTR and RTS. */

#include <stdio.h>

#include "client/bus.h"
#include "client/each.h"
#include "client/target.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

/* userdata: an int, whether it is to be armed. */
static enum exit_code arm_one(struct client *client, const char *word, struct json *json, void *userdata) {
    cleanup(slot_clear_p) struct slot slot = { 0 };
    const int *armed = userdata;
    enum exit_code code = target_slot(client, word, &slot);
    char title[384];

    if (code == EXIT_DONE)
        code = bus_tell(client, slot.path, WIPYD_SLOT_INTERFACE, "Arm", "b", *armed);
    if (code == EXIT_DONE)
        code = object_load(client, &slot_interface, slot.path, &slot);
    if (code != EXIT_DONE)
        return code;
    if (json)
        object_to_json(&slot_interface, &slot, json);
    else if (!client->options.quiet)
        text_line(stdout, TEXT_GOOD, "%s: %s", slot_title(&slot, title, sizeof(title)),
                  slot.armed ? "armed: boards here are reset through DTR and RTS"
                             : "not armed: DTR and RTS are left alone here");
    return EXIT_DONE;
}

enum exit_code verb_arm(struct client *client, char **arguments) {
    return each(client, arguments, arm_one, &(int) { 1 });
}

enum exit_code verb_disarm(struct client *client, char **arguments) {
    return each(client, arguments, arm_one, &(int) { 0 });
}
