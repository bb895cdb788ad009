#include "client/objects.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "client/bus.h"
#include "client/failure.h"
#include "proto/names.h"

static const struct {
    const struct interface *interface;
    size_t offset; /* of the list in struct objects */
} kinds[] = {
    { &device_interface, offsetof(struct objects, devices) },
    { &job_interface, offsetof(struct objects, jobs) },
    { &firmware_interface, offsetof(struct objects, firmware) },
    { &board_interface, offsetof(struct objects, boards) },
    { &slot_interface, offsetof(struct objects, slots) },
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct list *list_of(struct objects *objects, size_t kind) {
    return (struct list *)((char *)objects + kinds[kind].offset);
}

static int read_interface(struct objects *objects, const char *path, sd_bus_message *m) {
    struct list *list;
    const char *name;
    uint64_t seen = 0;
    size_t kind = 0;
    void *object;
    int r;

    r = sd_bus_message_read(m, "s", &name);
    if (r < 0)
        return r;
    while (kind < N_KINDS && strcmp(kinds[kind].interface->name, name))
        kind++;
    if (kind == N_KINDS)
        return sd_bus_message_skip(m, "a{sv}");
    list = list_of(objects, kind);
    object = list_next(list, kinds[kind].interface->size);
    if (!object)
        return -ENOMEM;
    list->n++;
    return object_read(kinds[kind].interface, object, path, m, &seen);
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

/* Every struct begins with its path. */
static int by_path(const void *a, const void *b) {
    return strverscmp(*(char *const *)a, *(char *const *)b);
}

int objects_read(struct objects *objects, sd_bus_message *m) {
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
    for (size_t i = 0; i < N_KINDS; i++) {
        struct list *list = list_of(objects, i);

        if (list->n)
            qsort(list->items, list->n, kinds[i].interface->size, by_path);
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
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
    r = objects_read(objects, reply);
    return r < 0 ? bus_bad_message(client, r) : EXIT_DONE;
}

void objects_clear(struct objects *objects) {
    for (size_t i = 0; i < N_KINDS; i++) {
        struct list *list = list_of(objects, i);

        for (size_t j = 0; j < list->n; j++)
            properties_clear(kinds[i].interface, (char *)list->items + j * kinds[i].interface->size);
        free(list->items);
        *list = (struct list) { 0 };
    }
}

/* ---- one of them ----------------------------------------------------------------------------- */

static struct list *list_for(struct objects *objects, const struct interface *interface) {
    for (size_t i = 0; i < N_KINDS; i++)
        if (kinds[i].interface == interface)
            return list_of(objects, i);
    return NULL;
}

bool objects_have(const struct interface *interface) {
    return list_for(&(struct objects) { 0 }, interface);
}

void *objects_find(struct objects *objects, const struct interface *interface, const char *path) {
    struct list *list = list_for(objects, interface);

    for (size_t i = 0; list && i < list->n; i++) {
        void *object = (char *)list->items + i * interface->size;

        if (!strcmp(*(char **)object, path))
            return object;
    }
    return NULL;
}

void *objects_add(struct objects *objects, const struct interface *interface, const char *path) {
    struct list *list = list_for(objects, interface);
    void *object = objects_find(objects, interface, path);

    if (object)
        return object;
    object = list ? list_next(list, interface->size) : NULL;
    if (!object)
        return NULL;
    *(char **)object = strdup(path);
    if (!*(char **)object || object_fill(interface, object) < 0) {
        properties_clear(interface, object);
        return NULL;
    }
    list->n++;
    qsort(list->items, list->n, interface->size, by_path);
    return objects_find(objects, interface, path);
}

void objects_remove(struct objects *objects, const struct interface *interface, const char *path) {
    struct list *list = list_for(objects, interface);
    char *object = objects_find(objects, interface, path);
    size_t size = interface->size;

    if (!list || !object)
        return;
    properties_clear(interface, object);
    memmove(object, object + size, (size_t)((char *)list->items + list->n * size - (object + size)));
    list->n--;
}

/* ---- looking --------------------------------------------------------------------------------- */

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

const struct board *objects_board(const struct objects *objects, const char *mac) {
    const struct board *boards = objects->boards.items;

    for (size_t i = 0; i < objects->boards.n; i++)
        if (!strcasecmp(boards[i].mac, mac))
            return &boards[i];
    return NULL;
}

void objects_to_json(const struct list *list, const struct interface *interface, struct json *json) {
    json_array_begin(json);
    for (size_t i = 0; i < list->n; i++)
        object_to_json(interface, (const char *)list->items + i * interface->size, json);
    json_array_end(json);
}

enum exit_code objects_print_json(const struct client *client, const struct list *list,
                                  const struct interface *interface) {
    struct json json;

    json_begin(&json, client->options.json);
    objects_to_json(list, interface, &json);
    return json_print(&json) < 0 ? failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL) : EXIT_DONE;
}
