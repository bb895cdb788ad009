#include "client/object.h"

#include <errno.h>
#include <string.h>

#include "client/bus.h"
#include "client/failure.h"
#include "client/part.h"
#include "client/text.h"
#include "proto/names.h"

#define ROW(type, member, name, kind)                                                                        \
    { name, &property_##kind, offsetof(struct type, member) }
#define INTERFACE(type, bus_name)                                                                            \
    const struct interface type##_interface = { bus_name, type##_properties,                                 \
                                                sizeof(type##_properties) / sizeof(type##_properties[0]),    \
                                                sizeof(struct type) };                                       \
    _Static_assert(sizeof(type##_properties) / sizeof(type##_properties[0]) <= PROPERTIES_MAX,               \
                   "a mask has a bit for each")

/* "Path", the first row of each, is no property of the daemon's: object_read() fills it in. */
static const struct property manager_properties[] = {
    ROW(manager, path, "Path", path),
    ROW(manager, version, "Version", string),
    ROW(manager, default_policy, "DefaultPolicy", string),
    ROW(manager, poll_state, "PollState", string),
    ROW(manager, poll_result, "PollResult", string),
    ROW(manager, poll_failures, "PollFailures", u32),
    ROW(manager, poll_source, "PollSource", string),
    ROW(manager, polled_at_us, "PolledAt", time),
    ROW(manager, next_poll_at_us, "NextPollAt", time),
    ROW(manager, fetched_bytes, "FetchedBytes", u64),
    ROW(manager, fetch_bytes, "FetchBytes", u64),
};
INTERFACE(manager, WIPYD_MANAGER_INTERFACE);

static const struct property device_properties[] = {
    ROW(device, path, "Path", path),         ROW(device, name, "Name", string),
    ROW(device, node, "Node", string),       ROW(device, present, "Present", bool),
    ROW(device, job, "Job", path),           ROW(device, chip, "Chip", string),
    ROW(device, mac, "Mac", string),         ROW(device, flash_bytes, "FlashBytes", u64),
    ROW(device, board, "Board", string),     ROW(device, release, "Release", string),
    ROW(device, slot, "Slot", string),       ROW(device, adapter, "Adapter", string),
    ROW(device, serial, "Serial", string),   ROW(device, label, "Label", string),
    ROW(device, policy, "Policy", string),   ROW(device, policy_from, "PolicyFrom", string),
    ROW(device, armed, "Armed", bool),       ROW(device, seen, "Seen", string),
    ROW(device, verdict, "Verdict", string), ROW(device, rule, "Rule", string),
    ROW(device, reason, "Reason", string),   ROW(device, advice, "Advice", string),
    ROW(device, holder, "Holder", string),   ROW(device, lessee, "Lessee", string),
    ROW(device, seen_at_us, "SeenAt", time),
};
INTERFACE(device, WIPYD_DEVICE_INTERFACE);

static const struct property job_properties[] = {
    ROW(job, path, "Path", path),
    ROW(job, id, "Id", u32),
    ROW(job, kind, "Kind", string),
    ROW(job, device, "Device", path),
    ROW(job, slot, "Slot", string),
    ROW(job, mac, "Mac", string),
    ROW(job, by, "By", string),
    ROW(job, attempt, "Attempt", u32),
    ROW(job, attempts, "Attempts", attempts),
    ROW(job, dry_run, "DryRun", bool),
    ROW(job, state, "State", string),
    ROW(job, phase, "Phase", string),
    ROW(job, progress, "Progress", double),
    ROW(job, bytes_done, "BytesDone", u64),
    ROW(job, bytes_total, "BytesTotal", u64),
    ROW(job, rate, "Rate", u32),
    ROW(job, baud, "Baud", u32),
    ROW(job, loader, "Loader", string),
    ROW(job, error, "Error", string),
    ROW(job, error_text, "ErrorText", string),
    ROW(job, user_action, "UserAction", string),
    ROW(job, waits_for, "WaitsFor", string),
    ROW(job, warning, "Warning", string),
    ROW(job, package, "Package", string),
    ROW(job, board, "Board", string),
    ROW(job, release, "Release", string),
    ROW(job, from_release, "FromRelease", string),
    ROW(job, confirmed_release, "ConfirmedRelease", string),
    ROW(job, regions, "Regions", regions),
    ROW(job, started_at_us, "StartedAt", time),
    ROW(job, finished_at_us, "FinishedAt", time),
    ROW(job, timings, "Timings", timings),
    ROW(job, wire_bytes, "WireBytes", wire),
};
INTERFACE(job, WIPYD_JOB_INTERFACE);

static const struct property firmware_properties[] = {
    ROW(firmware, path, "Path", path),
    ROW(firmware, sha256, "Sha256", string),
    ROW(firmware, name, "Name", string),
    ROW(firmware, board, "Board", string),
    ROW(firmware, release, "Release", string),
    ROW(firmware, bytes, "Bytes", u64),
    ROW(firmware, order, "Order", u32),
    ROW(firmware, origin, "Origin", string),
    ROW(firmware, server_version, "ServerVersion", string),
    ROW(firmware, server_hash, "ServerHash", string),
    ROW(firmware, state, "State", string),
    ROW(firmware, reason, "Reason", string),
    ROW(firmware, pinned, "Pinned", bool),
    ROW(firmware, added_at_us, "AddedAt", time),
    ROW(firmware, used_at_us, "UsedAt", time),
};
INTERFACE(firmware, WIPYD_FIRMWARE_INTERFACE);

static const struct property board_properties[] = {
    ROW(board, path, "Path", path),
    ROW(board, mac, "Mac", string),
    ROW(board, label, "Label", string),
    ROW(board, board, "Board", string),
    ROW(board, release, "Release", string),
    ROW(board, chip, "Chip", string),
    ROW(board, flash_bytes, "FlashBytes", u64),
    ROW(board, policy, "Policy", string),
    ROW(board, pin, "Pin", string),
    ROW(board, slot, "Slot", string),
    ROW(board, seen_at_us, "SeenAt", time),
    ROW(board, device, "Device", path),
    ROW(board, flashed_release, "FlashedRelease", string),
    ROW(board, flashed_sha256, "FlashedSha256", string),
    ROW(board, flashed_at_us, "FlashedAt", time),
    ROW(board, confirmed_release, "ConfirmedRelease", string),
    ROW(board, confirmed_at_us, "ConfirmedAt", time),
};
INTERFACE(board, WIPYD_BOARD_INTERFACE);

static const struct property slot_properties[] = {
    ROW(slot, path, "Path", path),       ROW(slot, name, "Name", string),
    ROW(slot, label, "Label", string),   ROW(slot, policy, "Policy", string),
    ROW(slot, armed, "Armed", bool),     ROW(slot, device, "Device", path),
    ROW(slot, mac, "Mac", string),       ROW(slot, seen_at_us, "SeenAt", time),
    ROW(slot, rate, "Rate", u32),        ROW(slot, error_rate, "ErrorRate", double),
    ROW(slot, advice, "Advice", string),
};
INTERFACE(slot, WIPYD_SLOT_INTERFACE);

static const struct interface *const interfaces[] = {
    &manager_interface,  &device_interface, &job_interface,
    &firmware_interface, &board_interface,  &slot_interface
};

const struct interface *interface_find(const char *name) {
    for (size_t i = 0; i < sizeof(interfaces) / sizeof(interfaces[0]); i++)
        if (!strcmp(interfaces[i]->name, name))
            return interfaces[i];
    return NULL;
}

/* Strings that the daemon left out are "", so that nobody has to ask for NULL. */
int object_fill(const struct interface *interface, void *object) {
    for (size_t i = 0; i < interface->n_properties; i++) {
        const struct property *row = &interface->properties[i];
        char **text = property_slot(row, object);

        if (row->type != &property_string && row->type != &property_path)
            continue;
        if (!*text)
            *text = strdup(row->type == &property_path ? "/" : "");
        if (!*text)
            text_no_memory();
    }
    return 0;
}

int object_read(const struct interface *interface, void *object, const char *path, sd_bus_message *m,
                uint64_t *seen) {
    char **own_path = property_slot(&interface->properties[0], object);
    char *copy = strdup(path);
    int r;

    if (!copy)
        text_no_memory();
    r = properties_read(interface, object, m, seen);
    free(*own_path);
    *own_path = copy;
    return object_fill(interface, object) < 0 ? -ENOMEM : r;
}

enum exit_code object_load(const struct client *client, const struct interface *interface, const char *path,
                           void *object) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    enum exit_code code;
    uint64_t seen = 0;
    int r;

    code =
        bus_message(client, &call, path, "org.freedesktop.DBus.Properties", "GetAll", "s", interface->name);
    if (code == EXIT_DONE)
        code = bus_call(client, call, &reply);
    if (code != EXIT_DONE)
        return code;
    r = object_read(interface, object, path, reply, &seen);
    return r < 0 ? bus_bad_message(client, r) : EXIT_DONE;
}

void object_refresh(const struct client *client, const struct interface *interface, const char *path,
                    void *object) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    uint64_t seen = 0;
    int r = sd_bus_message_new_method_call(client->bus, &call, WIPYD_BUS_NAME, path,
                                           "org.freedesktop.DBus.Properties", "GetAll");

    if (r >= 0)
        r = sd_bus_message_append(call, "s", interface->name);
    if (r >= 0)
        r = sd_bus_message_set_auto_start(call, 0);
    if (r >= 0)
        r = sd_bus_call(client->bus, call, 0, NULL, &reply);
    if (r >= 0)
        r = object_read(interface, object, path, reply, &seen);
    /* Whatever else it is, there is nothing newer to be known. */
    if (r == -ENOMEM || r == -ENOBUFS)
        text_no_memory();
}

void object_to_json(const struct interface *interface, const void *object, struct json *json) {
    json_map_begin(json);
    properties_to_json(interface, object, PROPERTIES_ALL, json);
    json_map_end(json);
}

enum exit_code object_print_json(const struct client *client, const struct interface *interface,
                                 const void *object) {
    struct json json;

    json_begin(&json, client->options.json);
    object_to_json(interface, object, &json);
    return json_print(&json) < 0 ? failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL) : EXIT_DONE;
}

/* Asks the Manager's method which object word means, and loads it. found: NULL where there has to be one,
 * else what `none` means is told by it. */
static enum exit_code find(const struct client *client, const char *method, const char *word,
                           const struct interface *interface, void *object, enum wipyd_error none,
                           bool *found) {
    cleanup(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    enum exit_code code;
    const char *path;
    int r;

    code = bus_message(client, &call, WIPYD_ROOT_PATH, WIPYD_MANAGER_INTERFACE, method, "s", word);
    if (code != EXIT_DONE)
        return code;
    r = sd_bus_call(client->bus, call, 0, &error, &reply);
    if (r < 0 && found && sd_bus_error_has_name(&error, wipyd_error_bus_name(none))) {
        *found = false;
        return EXIT_DONE;
    }
    if (r < 0)
        return bus_failure(client, &error, r);
    r = sd_bus_message_read(reply, "o", &path);
    if (found)
        *found = r >= 0;
    return r < 0 ? bus_bad_message(client, r) : object_load(client, interface, path, object);
}

enum exit_code device_find(const struct client *client, const char *word, struct device *device) {
    cleanup(free_p) char *whole = NULL;
    bool found = false;
    enum exit_code code = device_seek(client, word, device, &found);

    if (code != EXIT_DONE || found)
        return code;
    code = part_find(client, word, PART_DEVICE, &whole);
    return code == EXIT_DONE ? find(client, "FindDevice", whole ? whole : word, &device_interface, device,
                                    WIPYD_ERROR_NO_SUCH_DEVICE, NULL)
                             : code;
}

enum exit_code device_seek(const struct client *client, const char *word, struct device *device,
                           bool *found) {
    return find(client, "FindDevice", word, &device_interface, device, WIPYD_ERROR_NO_SUCH_DEVICE, found);
}

static bool job_number(const char *word, uint32_t *id) {
    unsigned long number;
    char *end;

    errno = 0;
    number = strtoul(word, &end, 10);
    *id = (uint32_t)number;
    return !errno && !*end && *word >= '0' && *word <= '9' && number <= UINT32_MAX;
}

enum exit_code job_find(const struct client *client, const char *word, char **path) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    enum exit_code code;
    const char *found;
    uint32_t id;
    int r;

    *path = NULL;
    if (!job_number(word, &id))
        return EXIT_DONE;
    code = bus_message(client, &call, WIPYD_ROOT_PATH, WIPYD_MANAGER_INTERFACE, "FindJob", "u", id);
    if (code == EXIT_DONE)
        code = bus_call(client, call, &reply);
    if (code != EXIT_DONE)
        return code;
    r = sd_bus_message_read(reply, "o", &found);
    if (r < 0)
        return bus_bad_message(client, r);
    *path = strdup(found);
    return *path ? EXIT_DONE : failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
}

enum exit_code firmware_find(const struct client *client, const char *word, struct firmware *firmware) {
    return find(client, "FindFirmware", word, &firmware_interface, firmware, WIPYD_ERROR_NO_SUCH_FIRMWARE,
                NULL);
}

enum exit_code board_seek(const struct client *client, const char *word, struct board *board, bool *found) {
    return find(client, "FindBoard", word, &board_interface, board, WIPYD_ERROR_NO_SUCH_BOARD, found);
}

enum exit_code slot_seek(const struct client *client, const char *word, struct slot *slot, bool *found) {
    return find(client, "FindSlot", word, &slot_interface, slot, WIPYD_ERROR_NO_SUCH_SLOT, found);
}

void device_clear_p(struct device *device) {
    properties_clear(&device_interface, device);
}

void job_clear_p(struct job *job) {
    properties_clear(&job_interface, job);
}

void firmware_clear_p(struct firmware *firmware) {
    properties_clear(&firmware_interface, firmware);
}

void board_clear_p(struct board *board) {
    properties_clear(&board_interface, board);
}

void slot_clear_p(struct slot *slot) {
    properties_clear(&slot_interface, slot);
}

void manager_clear_p(struct manager *manager) {
    properties_clear(&manager_interface, manager);
}
