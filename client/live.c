#include "client/live.h"

#include <errno.h>

static int read_interface(struct live *live, const char *path, sd_bus_message *m, bool is_new) {
    const struct interface *interface;
    const char *name;
    void *object;
    uint64_t seen = 0;
    int r = sd_bus_message_read(m, "s", &name);

    if (r < 0)
        return r;
    interface = interface_find(name);
    if (!interface || !objects_have(interface))
        return sd_bus_message_skip(m, "a{sv}");
    object =
        is_new ? objects_add(&live->objects, interface, path) : objects_find(&live->objects, interface, path);
    if (!object)
        return is_new ? -ENOMEM : sd_bus_message_skip(m, "a{sv}");
    return properties_read(interface, object, m, &seen);
}

static int tell(struct live *live, int r) {
    if (r < 0)
        watch_over(&live->watch, r);
    else
        live->on_news(live->userdata);
    return 0;
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct live *live = userdata;

    (void)error;
    return tell(live, read_interface(live, sd_bus_message_get_path(m), m, false));
}

static int on_added(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct live *live = userdata;
    const char *path;
    int r = sd_bus_message_read(m, "o", &path);

    (void)error;
    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");
    while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
        r = read_interface(live, path, m, true);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
    }
    return tell(live, r);
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct live *live = userdata;
    const char *path, *name;
    int r = sd_bus_message_read(m, "o", &path);

    (void)error;
    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "s");
    while (r >= 0 && (r = sd_bus_message_read(m, "s", &name)) > 0)
        if (interface_find(name))
            objects_remove(&live->objects, interface_find(name), path);
    return tell(live, r);
}

enum exit_code live_open(struct live *live, const struct client *client) {
    enum exit_code code = watch_open(&live->watch, client);

    if (code == EXIT_DONE)
        code = watch_objects(&live->watch, on_changed, on_added, on_removed, live);
    return code == EXIT_DONE ? objects_load(client, &live->objects) : code;
}

void live_close(struct live *live) {
    objects_clear(&live->objects);
    watch_close(&live->watch);
}
