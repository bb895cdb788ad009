#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/bus.h"
#include "client/device.h"
#include "client/known.h"
#include "client/monitor_view.h"
#include "client/objects.h"
#include "client/terminal.h"
#include "client/text.h"
#include "client/verb.h"
#include "client/watch.h"
#include "proto/names.h"

struct monitor {
    struct watch watch;
    struct known *known; /* what was printed for people; JSON has all that the daemon says */
};

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
                       const struct interface *interface, const void *object, uint64_t seen) {
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

static bool is_ours(const char *path) {
    return !strcmp(path, WIPYD_ROOT_PATH) || !strncmp(path, WIPYD_ROOT_PATH "/", strlen(WIPYD_ROOT_PATH "/"));
}

/* "job/7", "slot/pci-0000:00:14.0-usb-0:2:1.0"; the daemon itself is "wipyd". */
static void print_name(const char *path) {
    cleanup(free_p) char *name = NULL, *folder = strdup(path);
    char *end = folder ? strrchr(folder, '/') : NULL;

    if (end)
        *end = '\0';
    if (!strcmp(path, WIPYD_ROOT_PATH))
        text_put(stdout, TEXT_STRONG, "wipyd ");
    else if (end && sd_bus_path_decode(path, folder, &name) > 0 && strcmp(folder, WIPYD_ROOT_PATH))
        text_put(stdout, TEXT_STRONG, "%s/%s ", folder + strlen(WIPYD_ROOT_PATH "/"), name);
    else
        text_put(stdout, TEXT_STRONG, "%s ", path + strlen(WIPYD_ROOT_PATH "/"));
}

/* What a person should do stands out, where it is new. */
static void print_advice(const char *path, const struct device *device, uint64_t seen) {
    char name[64];

    for (size_t i = 0; i < device_interface.n_properties; i++)
        if (device_interface.properties[i].offset == offsetof(struct device, advice) &&
            !(seen & UINT64_C(1) << i))
            return;
    if (device->advice && *device->advice && device_name_of(path, name, sizeof(name)))
        text_line(stdout, TEXT_ACTION, "%s: %s", name, device->advice);
}

/* "12:00:01 job/7 changed phase=write progress=0.250" */
static void print_line(enum event event, const char *path, const struct interface *interface,
                       const void *object, uint64_t seen) {
    time_t now = time(NULL);
    char clock[16] = "";
    struct tm parts;

    if (localtime_r(&now, &parts))
        strftime(clock, sizeof(clock), "%H:%M:%S", &parts);
    text_put(stdout, TEXT_FAINT, "%s ", clock);
    print_name(path);
    text_put(stdout, events[event].style, "%s", events[event].word);
    if (object)
        properties_show(interface, object, seen, stdout);
    putchar('\n');
    if (object && interface == &device_interface)
        print_advice(path, object, seen);
    fflush(stdout);
}

/* object: NULL when there is nothing to show but that it happened. The daemon tells a changed object as a
 * whole: people are shown what reads differently. */
static void print_event(struct monitor *monitor, enum event event, const char *path,
                        const struct interface *interface, const void *object, uint64_t seen) {
    const struct client *client = monitor->watch.client;

    if (!is_ours(path))
        return;
    if (client->options.json) {
        if (event != EVENT_PRESENT || !client->options.quiet)
            print_json(client, event, path, interface, object, seen);
        return;
    }
    if (object)
        seen = known_changes(&monitor->known, interface, path, object, seen);
    else
        known_forget(&monitor->known, interface, path);
    if (event == EVENT_PRESENT ? !client->options.quiet : event != EVENT_CHANGED || seen)
        print_line(event, path, interface, object, seen);
}

/* Reads "sa{sv}", which both kinds of news end with, and prints it. */
static int print_properties(struct monitor *monitor, enum event event, const char *path, sd_bus_message *m) {
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
    uint64_t seen = 0;
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
        print_event(monitor, event, path, interface, &object, seen);
    properties_clear(interface, &object);
    return r;
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct monitor *monitor = userdata;
    int r = print_properties(monitor, EVENT_CHANGED, sd_bus_message_get_path(m), m);

    (void)error;
    if (r < 0)
        watch_over(&monitor->watch, r);
    return 0;
}

static int read_added(struct monitor *monitor, sd_bus_message *m) {
    const char *path;
    int r = sd_bus_message_read(m, "o", &path);

    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");
    while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
        r = print_properties(monitor, EVENT_ADDED, path, m);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
    }
    return r;
}

static int on_added(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct monitor *monitor = userdata;
    int r = read_added(monitor, m);

    (void)error;
    if (r < 0)
        watch_over(&monitor->watch, r);
    return 0;
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct monitor *monitor = userdata;
    const char *path, *name;
    int r = sd_bus_message_read(m, "o", &path);

    (void)error;
    if (r >= 0)
        r = sd_bus_message_enter_container(m, 'a', "s");
    while (r >= 0 && (r = sd_bus_message_read(m, "s", &name)) > 0)
        if (interface_find(name))
            print_event(monitor, EVENT_REMOVED, path, interface_find(name), NULL, 0);
    if (r < 0)
        watch_over(&monitor->watch, r);
    return 0;
}

static void print_present(struct monitor *monitor, const struct list *list,
                          const struct interface *interface) {
    for (size_t i = 0; i < list->n; i++) {
        char *object = (char *)list->items + i * interface->size;
        char *const *path = property_slot(&interface->properties[0], object);

        print_event(monitor, EVENT_PRESENT, *path, interface, object, PROPERTIES_ALL & ~UINT32_C(1));
    }
}

/* News that comes while the present state is fetched waits until the loop runs: nothing is lost between. */
enum exit_code verb_monitor(struct client *client, char **arguments) {
    struct objects objects = { 0 };
    struct monitor monitor = { 0 };
    enum exit_code code;
    int end;

    (void)arguments;
    if (!client->options.json && terminal_is_live(stdout))
        return monitor_view(client);
    if (client->options.json)
        client->options.json = JSON_SHORT; /* a line per object, the last error too */
    code = watch_open(&monitor.watch, client);
    if (code == EXIT_DONE)
        code = watch_objects(&monitor.watch, on_changed, on_added, on_removed, &monitor);
    if (code == EXIT_DONE)
        code = objects_load(client, &objects);
    if (code == EXIT_DONE) {
        print_present(&monitor, &objects.devices, &device_interface);
        print_present(&monitor, &objects.jobs, &job_interface);
        print_present(&monitor, &objects.boards, &board_interface);
        print_present(&monitor, &objects.slots, &slot_interface);
        print_present(&monitor, &objects.firmware, &firmware_interface);
        end = watch_run(&monitor.watch);
        if (end < 0)
            code = bus_bad_message(client, end);
        else if (end == WATCH_DAEMON_GONE)
            code = bus_daemon_gone(client, BUS_JOB_IS_CUT);
    }
    objects_clear(&objects);
    watch_close(&monitor.watch);
    known_free(monitor.known);
    return code;
}
