#include "client/device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/table.h"
#include "client/text.h"
#include "proto/names.h"
#include "proto/policy.h"

/* What was last seen, in words; a daemon that is newer may see more. */
static const char *seen_label(const struct device *device) {
    enum board_seen seen = board_seen_from_word(device->seen);

    return seen == BOARD_SEEN_COUNT ? device->seen : board_seen_label(seen);
}

/* What a rule says of the release that is there; the rules' words are stable. */
static const struct {
    const char *rule, *note;
} notes[] = {
    { "up-to-date", "up to date" },
    { "running-up-to-date", "up to date" },
    { "confirmed", "up to date" },
    { "pinned-there", "at the release of its pin" },
    { "newer", "newer than the firmware at hand" },
    { "running-newer", "newer than the firmware at hand" },
    { "chosen", "with what was chosen for it" },
};

static const char *note_of(const struct device *device) {
    for (size_t i = 0; i < sizeof(notes) / sizeof(notes[0]); i++)
        if (!strcmp(notes[i].rule, device->rule))
            return notes[i].note;
    return "";
}

char *device_now(const struct device *device, char *buffer, size_t n) {
    if (!device->present)
        snprintf(buffer, n, "unplugged");
    else if (*device->lessee)
        snprintf(buffer, n, "leased to %s", device->lessee);
    else if (*device->holder)
        snprintf(buffer, n, "held by %s", device->holder);
    else if (!strcmp(device->policy, "off"))
        snprintf(buffer, n, "left alone: its policy is off");
    else if (*device->seen)
        snprintf(buffer, n, "%s%s%s", seen_label(device), *note_of(device) ? ", " : "", note_of(device));
    else
        snprintf(buffer, n, "idle");
    return buffer;
}

bool device_name_of(const char *path, char *buffer, size_t n) {
    cleanup(free_p) char *name = NULL;
    int r = sd_bus_path_decode(path, WIPYD_DEVICE_PATH, &name);

    if (r == -ENOMEM)
        text_no_memory();
    if (r <= 0)
        return false;
    snprintf(buffer, n, "%s", name);
    return true;
}

void device_print(const struct client *client, const struct device *device) {
    char flash[TEXT_SIZE] = "", seen[TEXT_SIZE] = "never", now[160], policy[64];
    const struct {
        const char *what, *value;
    } rows[] = {
        { "Device", device->name },
        { "Node", device->node },
        { "Slot", device->slot },
        { "Adapter", device->adapter },
        { "Serial", device->serial },
        { "Label", device->label },
        { "Policy", policy },
        { "Armed", device->armed ? "yes" : "no" },
        { "Now", now },
        { "Chip", device->chip },
        { "MAC", device->mac },
        { "Flash", flash },
        { "Board", *device->board ? device->board : "not told by what is on the flash" },
        { "Release", device->release },
        { "ROM answered", seen },
        { "Why", device->reason },
    };
    struct table table;

    snprintf(policy, sizeof(policy), "%s%s%s%s", device->policy, *device->policy_from ? " (of the " : "",
             device->policy_from, *device->policy_from ? ")" : "");
    device_now(device, now, sizeof(now));
    if (device->flash_bytes)
        text_bytes(flash, device->flash_bytes);
    if (device->seen_at_us)
        text_time(seen, device->seen_at_us);
    table_open_facts(&table, client);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        table_row(&table, (const char *[]) { rows[i].what, rows[i].value });
    table_close(&table);
}
