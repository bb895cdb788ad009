#include "client/objects.h"

#include <errno.h>
#include <string.h>

#include "client/bus.h"
#include "client/failure.h"
#include "proto/names.h"

#define ROW(type, member, name, kind)                                                                        \
    { name, &property_##kind, offsetof(struct type, member) }
#define INTERFACE(type, bus_name)                                                                            \
    const struct interface type##_interface = { bus_name, type##_properties,                                 \
                                                sizeof(type##_properties) / sizeof(type##_properties[0]),    \
                                                sizeof(struct type) }

/* "Path", the first row of each, is no property of the daemon's: object_read() fills it in. */
static const struct property manager_properties[] = {
    ROW(manager, path, "Path", path),
    ROW(manager, version, "Version", string),
};
INTERFACE(manager, WIPYD_MANAGER_INTERFACE);

static const struct property device_properties[] = {
    ROW(device, path, "Path", path),         ROW(device, name, "Name", string),
    ROW(device, node, "Node", string),       ROW(device, present, "Present", bool),
    ROW(device, job, "Job", path),           ROW(device, chip, "Chip", string),
    ROW(device, mac, "Mac", string),         ROW(device, flash_bytes, "FlashBytes", u64),
    ROW(device, board, "Board", string),     ROW(device, release, "Release", string),
    ROW(device, seen_at_us, "SeenAt", time),
};
INTERFACE(device, WIPYD_DEVICE_INTERFACE);

static const struct property job_properties[] = {
    ROW(job, path, "Path", path),
    ROW(job, id, "Id", u32),
    ROW(job, kind, "Kind", string),
    ROW(job, device, "Device", path),
    ROW(job, dry_run, "DryRun", bool),
    ROW(job, state, "State", string),
    ROW(job, phase, "Phase", string),
    ROW(job, progress, "Progress", double),
    ROW(job, bytes_done, "BytesDone", u64),
    ROW(job, bytes_total, "BytesTotal", u64),
    ROW(job, rate, "Rate", u32),
    ROW(job, baud, "Baud", u32),
    ROW(job, error, "Error", string),
    ROW(job, error_text, "ErrorText", string),
    ROW(job, user_action, "UserAction", string),
    ROW(job, package, "Package", string),
    ROW(job, board, "Board", string),
    ROW(job, release, "Release", string),
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
    ROW(firmware, flash_sizes, "FlashSizes", sizes),
};
INTERFACE(firmware, WIPYD_FIRMWARE_INTERFACE);

static const struct interface *const interfaces[] = { &manager_interface, &device_interface, &job_interface,
                                                      &firmware_interface };

const struct interface *interface_find(const char *name) {
    for (size_t i = 0; i < sizeof(interfaces) / sizeof(interfaces[0]); i++)
        if (!strcmp(interfaces[i]->name, name))
            return interfaces[i];
    return NULL;
}

/* ---- one object ------------------------------------------------------------------------------ */

/* Strings that the daemon left out are "", so that nobody has to ask for NULL. */
static int fill_absent(const struct interface *interface, void *object) {
    for (size_t i = 0; i < interface->n_properties; i++) {
        const struct property *row = &interface->properties[i];
        char **text = property_slot(row, object);

        if (row->type != &property_string && row->type != &property_path)
            continue;
        if (!*text)
            *text = strdup(row->type == &property_path ? "/" : "");
        if (!*text)
            return -ENOMEM;
    }
    return 0;
}

int object_read(const struct interface *interface, void *object, const char *path, sd_bus_message *m,
                uint32_t *seen) {
    char **own_path = property_slot(&interface->properties[0], object);
    char *copy = strdup(path);
    int r;

    if (!copy)
        return -ENOMEM;
    r = properties_read(interface, object, m, seen);
    free(*own_path);
    *own_path = copy;
    return fill_absent(interface, object) < 0 ? -ENOMEM : r;
}

enum exit_code object_load(const struct client *client, const struct interface *interface, const char *path,
                           void *object) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    enum exit_code code;
    uint32_t seen = 0;
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
    uint32_t seen = 0;

    if (sd_bus_message_new_method_call(client->bus, &call, WIPYD_BUS_NAME, path,
                                       "org.freedesktop.DBus.Properties", "GetAll") >= 0 &&
        sd_bus_message_append(call, "s", interface->name) >= 0 &&
        sd_bus_message_set_auto_start(call, 0) >= 0 && sd_bus_call(client->bus, call, 0, NULL, &reply) >= 0)
        (void)!object_read(interface, object, path, reply, &seen);
}

enum exit_code object_print_json(const struct client *client, const struct interface *interface,
                                 const void *object) {
    struct json json;

    json_begin(&json, client->options.json);
    json_map_begin(&json);
    properties_to_json(interface, object, PROPERTIES_ALL, &json);
    json_map_end(&json);
    return json_print(&json) < 0 ? failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL) : EXIT_DONE;
}

enum exit_code device_find(const struct client *client, const char *word, struct device *device) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    enum exit_code code;
    const char *path;
    int r;

    code = bus_message(client, &call, WIPYD_ROOT_PATH, WIPYD_MANAGER_INTERFACE, "FindDevice", "s", word);
    if (code == EXIT_DONE)
        code = bus_call(client, call, &reply);
    if (code != EXIT_DONE)
        return code;
    r = sd_bus_message_read(reply, "o", &path);
    return r < 0 ? bus_bad_message(client, r) : object_load(client, &device_interface, path, device);
}

void device_clear_p(struct device *device) {
    properties_clear(&device_interface, device);
}

void job_clear_p(struct job *job) {
    properties_clear(&job_interface, job);
}

/* ---- all objects ----------------------------------------------------------------------------- */

static struct list *list_of(struct objects *objects, const struct interface *interface) {
    if (interface == &device_interface)
        return &objects->devices;
    if (interface == &job_interface)
        return &objects->jobs;
    return interface == &firmware_interface ? &objects->firmware : NULL;
}

static int read_interface(struct objects *objects, const char *path, sd_bus_message *m) {
    const struct interface *interface;
    struct list *list;
    const char *name;
    uint32_t seen = 0;
    void *object;
    int r;

    r = sd_bus_message_read(m, "s", &name);
    if (r < 0)
        return r;
    interface = interface_find(name);
    list = interface ? list_of(objects, interface) : NULL;
    if (!list)
        return sd_bus_message_skip(m, "a{sv}");
    object = list_next(list, interface->size);
    if (!object)
        return -ENOMEM;
    list->n++;
    return object_read(interface, object, path, m, &seen);
}

static int read_object(struct objects *objects, sd_bus_message *m) {
    const char *path;
    int r = sd_bus_message_read(m, "o", &path);

    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
        r = read_interface(objects, path, m);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_objects(struct objects *objects, sd_bus_message *m) {
    int r = sd_bus_message_enter_container(m, 'a', "{oa{sa{sv}}}");

    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "oa{sa{sv}}")) > 0) {
        r = read_object(objects, m);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* Every struct begins with its path. */
static int by_path(const void *a, const void *b) {
    return strverscmp(*(char *const *)a, *(char *const *)b);
}

enum exit_code objects_load(const struct client *client, struct objects *objects) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    enum exit_code code;
    int r;

    code = bus_message(client, &call, WIPYD_ROOT_PATH, "org.freedesktop.DBus.ObjectManager",
                       "GetManagedObjects", "");
    if (code == EXIT_DONE)
        code = bus_call(client, call, &reply);
    if (code != EXIT_DONE)
        return code;
    r = read_objects(objects, reply);
    if (r < 0)
        return bus_bad_message(client, r);
    for (size_t i = 0; i < sizeof(interfaces) / sizeof(interfaces[0]); i++) {
        struct list *list = list_of(objects, interfaces[i]);

        if (list && list->n)
            qsort(list->items, list->n, interfaces[i]->size, by_path);
    }
    return EXIT_DONE;
}

void objects_clear(struct objects *objects) {
    for (size_t i = 0; i < sizeof(interfaces) / sizeof(interfaces[0]); i++) {
        struct list *list = list_of(objects, interfaces[i]);

        if (!list)
            continue;
        for (size_t j = 0; j < list->n; j++)
            properties_clear(interfaces[i], (char *)list->items + j * interfaces[i]->size);
        free(list->items);
        *list = (struct list) { 0 };
    }
}

const struct device *objects_device(const struct objects *objects, const char *path) {
    const struct device *devices = objects->devices.items;

    for (size_t i = 0; i < objects->devices.n; i++)
        if (!strcmp(devices[i].path, path))
            return &devices[i];
    return NULL;
}

const struct job *objects_job(const struct objects *objects, const char *path) {
    const struct job *jobs = objects->jobs.items;

    for (size_t i = 0; i < objects->jobs.n; i++)
        if (!strcmp(jobs[i].path, path))
            return &jobs[i];
    return NULL;
}

void objects_to_json(const struct list *list, const struct interface *interface, struct json *json) {
    json_array_begin(json);
    for (size_t i = 0; i < list->n; i++) {
        json_map_begin(json);
        properties_to_json(interface, (const char *)list->items + i * interface->size, PROPERTIES_ALL, json);
        json_map_end(json);
    }
    json_array_end(json);
}
