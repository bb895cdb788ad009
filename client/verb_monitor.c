#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/bus.h"
#include "client/device.h"
#include "client/objects.h"
#include "client/text.h"
#include "client/verb.h"
#include "client/watch.h"
#include "proto/names.h"

enum event { EVENT_PRESENT, EVENT_ADDED, EVENT_CHANGED, EVENT_REMOVED };

static const struct {
    const char *word;
    enum text_style style;
} events[] = {
    [EVENT_PRESENT] = { "present", TEXT_FAINT },
    [EVENT_ADDED] = { "added", TEXT_GOOD },
    [EVENT_CHANGED] = { "changed", TEXT_PLAIN },
    [EVENT_REMOVED] = { "removed", TEXT_BAD },
};

static void print_json(const struct client *client, enum event event, const char *path,
                       const struct interface *interface, const void *object, uint32_t seen) {
    struct timespec now;
    struct json json;

    clock_gettime(CLOCK_REALTIME, &now);
    json_begin(&json, client->options.json);
    json_map_begin(&json);
    json_string(&json, "time");
    json_time(&json, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    json_string(&json, "event");
    json_string(&json, events[event].word);
    json_string(&json, "path");
    json_string(&json, path);
    json_string(&json, "interface");
    json_string(&json, interface->name);
    json_string(&json, "properties");
    json_map_begin(&json);
    if (object)
        properties_to_json(interface, object, seen, &json);
    json_map_end(&json);
    json_map_end(&json);
    if (json_print(&json) < 0)
        fputs("wipyctl: no memory\n", stderr);
}

/* "job/7"; the daemon itself is "wipyd"; NULL for what isn't ours. */
static const char *name_of(const char *path) {
    if (!strcmp(path, WIPYD_ROOT_PATH))
        return "wipyd";
    if (strncmp(path, WIPYD_ROOT_PATH "/", strlen(WIPYD_ROOT_PATH "/")))
        return NULL;
    return path + strlen(WIPYD_ROOT_PATH "/");
}

/* What a person should do stands out. Of news it is there only where it is new. */
static void print_advice(const char *path, const struct device *device) {
    char name[64];

    if (device->advice && *device->advice && device_name_of(path, name, sizeof(name)))
        text_line(stdout, TEXT_ACTION, "%s: %s", name, device->advice);
}

/* "12:00:01 job/7 changed phase=write progress=0.250" */
static void print_line(enum event event, const char *path, const struct interface *interface,
                       const void *object, uint32_t seen) {
    time_t now = time(NULL);
    char clock[16] = "";
    struct tm parts;

    if (localtime_r(&now, &parts))
        strftime(clock, sizeof(clock), "%H:%M:%S", &parts);
    text_put(stdout, TEXT_FAINT, "%s ", clock);
    text_put(stdout, TEXT_STRONG, "%s ", name_of(path));
    text_put(stdout, events[event].style, "%s", events[event].word);
    if (object)
        properties_show(interface, object, seen, stdout);
    putchar('\n');
    if (object && interface == &device_interface)
        print_advice(path, object);
    fflush(stdout);
}

/* object: NULL when there is nothing to show but that it happened. */
static void print_event(const struct client *client, enum event event, const char *path,
                        const struct interface *interface, const void *object, uint32_t seen) {
    if (!name_of(path))
        return;
    if (client->options.json)
        print_json(client, event, path, interface, object, seen);
    else
        print_line(event, path, interface, object, seen);
}

/* Reads "sa{sv}", which both kinds of news end with, and prints it. */
static int print_properties(const struct client *client, enum event event, const char *path,
                            sd_bus_message *m) {
    union {
        struct device device;
        struct job job;
        struct firmware firmware;
        struct board board;
        struct slot slot;
        struct manager manager;
    } object = { 0 };
    const struct interface *interface;
    const char *name;
    uint32_t seen = 0;
    int r;

    r = sd_bus_message_read(m, "s", &name);
    if (r < 0)
        return r;
    interface = interface_find(name);
    if (!interface)
        return sd_bus_message_skip(m, "a{sv}");
    memset(&object, 0, sizeof(object));
    r = properties_read(interface, &object, m, &seen);
    if (r >= 0)
        print_event(client, event, path, interface, &object, seen);
    properties_clear(interface, &object);
    return r;
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct watch *watch = userdata;
    int r = print_properties(watch->client, EVENT_CHANGED, sd_bus_message_get_path(m), m);

    (void)error;
    if (r < 0)
        watch_over(watch, r);
    return 0;
}

static int read_added(const struct client *client, sd_bus_message *m) {
    const char *path;
    int r = sd_bus_message_read(m, "o", &path);

    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");
    while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
        r = print_properties(client, EVENT_ADDED, path, m);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
    }
    return r;
}

static int on_added(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct watch *watch = userdata;
    int r = read_added(watch->client, m);

    (void)error;
    if (r < 0)
        watch_over(watch, r);
    return 0;
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct watch *watch = userdata;
    const char *path, *name;
    int r = sd_bus_message_read(m, "o", &path);

    (void)error;
    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "s");
    while (r >= 0 && (r = sd_bus_message_read(m, "s", &name)) > 0)
        if (interface_find(name))
            print_event(watch->client, EVENT_REMOVED, path, interface_find(name), NULL, 0);
    if (r < 0)
        watch_over(watch, r);
    return 0;
}

static void print_present(const struct client *client, const struct list *list,
                          const struct interface *interface) {
    for (size_t i = 0; i < list->n; i++) {
        char *object = (char *)list->items + i * interface->size;
        char *const *path = property_slot(&interface->properties[0], object);

        print_event(client, EVENT_PRESENT, *path, interface, object, PROPERTIES_ALL & ~UINT32_C(1));
    }
}

static enum exit_code listen(struct watch *watch, const struct client *client) {
    static const struct {
        const char *rule;
        sd_bus_message_handler_t handler;
    } rules[] = {
        { "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'", on_changed },
        { "interface='org.freedesktop.DBus.ObjectManager',member='InterfacesAdded'", on_added },
        { "interface='org.freedesktop.DBus.ObjectManager',member='InterfacesRemoved'", on_removed },
    };
    enum exit_code code = watch_open(watch, client);

    for (size_t i = 0; code == EXIT_DONE && i < sizeof(rules) / sizeof(rules[0]); i++) {
        cleanup(free_p) char *rule = NULL;
        int r = asprintf(&rule, "type='signal',sender='" WIPYD_BUS_NAME "',%s", rules[i].rule);

        r = r < 0 ? -ENOMEM : sd_bus_add_match(client->bus, NULL, rule, rules[i].handler, watch);
        if (r < 0)
            code = bus_failure(client, NULL, r);
    }
    return code;
}

/* News that comes while the present state is fetched waits until the loop runs: nothing is lost between. */
enum exit_code verb_monitor(struct client *client, char **arguments) {
    struct objects objects = { 0 };
    struct watch watch = { 0 };
    enum exit_code code;
    int end;

    (void)arguments;
    if (client->options.json)
        client->options.json = JSON_SHORT; /* a line per object, the last error too */
    code = listen(&watch, client);
    if (code == EXIT_DONE)
        code = objects_load(client, &objects);
    if (code == EXIT_DONE) {
        if (!client->options.quiet) {
            print_present(client, &objects.devices, &device_interface);
            print_present(client, &objects.jobs, &job_interface);
            print_present(client, &objects.boards, &board_interface);
            print_present(client, &objects.slots, &slot_interface);
            print_present(client, &objects.firmware, &firmware_interface);
        }
        end = watch_run(&watch);
        if (end < 0)
            code = bus_bad_message(client, end);
        else if (end == WATCH_DAEMON_GONE)
            code = bus_daemon_gone(client, BUS_JOB_IS_CUT);
    }
    objects_clear(&objects);
    watch_close(&watch);
    return code;
}
