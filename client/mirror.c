#include "client/mirror.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "proto/names.h"

static int on_loaded(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct mirror *mirror = userdata;
    uint64_t seen = 0;
    int r;

    (void)error;
    if (sd_bus_message_is_method_error(m, NULL)) {
        mirror->on_refused(mirror->userdata, sd_bus_message_get_error(m));
        return 0;
    }
    r = object_read(mirror->interface, mirror->object, mirror->path, m, &seen);
    mirror->loaded = true;
    if (r < 0)
        watch_over(mirror->watch, r);
    else
        mirror->on_news(mirror->userdata, true);
    return 0;
}

int mirror_load(struct mirror *mirror) {
    return sd_bus_call_method_async(mirror->watch->client->bus, NULL, WIPYD_BUS_NAME, mirror->path,
                                    "org.freedesktop.DBus.Properties", "GetAll", on_loaded, mirror, "s",
                                    mirror->interface->name);
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct mirror *mirror = userdata;
    const char *interface;
    uint64_t seen = 0;
    int r;

    (void)error;
    if (!mirror->loaded || strcmp(sd_bus_message_get_path(m), mirror->path))
        return 0;
    r = sd_bus_message_read(m, "s", &interface);
    if (r >= 0 && strcmp(interface, mirror->interface->name))
        return 0;
    if (r >= 0)
        r = properties_read(mirror->interface, mirror->object, m, &seen);
    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "s");
    if (r >= 0)
        r = sd_bus_message_at_end(m, 0);
    if (r == 0) /* there are changes whose values weren't told */
        r = mirror_load(mirror);
    if (r < 0)
        watch_over(mirror->watch, r);
    else
        mirror->on_news(mirror->userdata, false);
    return 0;
}

enum exit_code mirror_listen(struct mirror *mirror, const struct client *client, const char *where) {
    cleanup(free_p) char *rule = NULL;
    int r = asprintf(&rule,
                     "type='signal',sender='" WIPYD_BUS_NAME "',%s,"
                     "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
                     where);

    r = r < 0 ? -ENOMEM : sd_bus_add_match(client->bus, NULL, rule, on_changed, mirror);
    return r < 0 ? bus_failure(client, NULL, r) : EXIT_DONE;
}
