#include "client/watch.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "client/bus.h"
#include "client/failure.h"
#include "proto/names.h"

#define LOOK_US 5000000u

static int on_interrupt(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
    (void)source, (void)info;
    watch_over(userdata, WATCH_INTERRUPTED);
    return 0;
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    struct watch *watch = userdata;
    const char *name, *before, *after;

    (void)error;
    /* An owner that merely arrives is the daemon being started for us. */
    if (sd_bus_message_read(m, "sss", &name, &before, &after) >= 0 && *before)
        watch_over(watch, WATCH_DAEMON_GONE);
    return 0;
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error) {
    (void)m, (void)error;
    watch_over(userdata, WATCH_DAEMON_GONE);
    return 0;
}

static void block_signals(int how) {
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGQUIT);
    sigaddset(&signals, SIGWINCH);
    pthread_sigmask(how, &signals, NULL);
}

enum exit_code watch_open(struct watch *watch, const struct client *client) {
    int r;

    *watch = (struct watch) { .client = client };
    block_signals(SIG_BLOCK);
    r = sd_event_new(&watch->event);
    if (r >= 0)
        r = sd_event_add_signal(watch->event, NULL, SIGINT, on_interrupt, watch);
    if (r >= 0)
        r = sd_event_add_signal(watch->event, NULL, SIGTERM, on_interrupt, watch);
    if (r >= 0)
        r = sd_event_add_signal(watch->event, NULL, SIGHUP, on_interrupt, watch);
    if (r >= 0)
        r = sd_event_add_signal(watch->event, NULL, SIGQUIT, on_interrupt, watch);
    if (r < 0)
        return failure_system(client, "wipyctl can't wait for the daemon.", r);

    r = sd_bus_attach_event(client->bus, watch->event, SD_EVENT_PRIORITY_NORMAL);
    if (r >= 0)
        r = sd_bus_add_match(client->bus, NULL,
                             "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                             "interface='org.freedesktop.DBus',member='NameOwnerChanged',"
                             "arg0='" WIPYD_BUS_NAME "'",
                             on_owner_changed, watch);
    if (r >= 0)
        r = sd_bus_match_signal(client->bus, NULL, "org.freedesktop.DBus.Local",
                                "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local", "Disconnected",
                                on_disconnected, watch);
    return r < 0 ? bus_failure(client, NULL, r) : EXIT_DONE;
}

enum exit_code watch_objects(struct watch *watch, sd_bus_message_handler_t on_changed,
                             sd_bus_message_handler_t on_added, sd_bus_message_handler_t on_removed,
                             void *userdata) {
    const struct {
        const char *rule;
        sd_bus_message_handler_t handler;
    } rules[] = {
        { "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'", on_changed },
        { "interface='org.freedesktop.DBus.ObjectManager',member='InterfacesAdded'", on_added },
        { "interface='org.freedesktop.DBus.ObjectManager',member='InterfacesRemoved'", on_removed },
    };

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        cleanup(free_p) char *rule = NULL;
        int r = asprintf(&rule, "type='signal',sender='" WIPYD_BUS_NAME "',%s", rules[i].rule);

        r = r < 0 ? -ENOMEM : sd_bus_add_match(watch->client->bus, NULL, rule, rules[i].handler, userdata);
        if (r < 0)
            return bus_failure(watch->client, NULL, r);
    }
    return EXIT_DONE;
}

int watch_run(struct watch *watch) {
    while (!watch->over) {
        int r = sd_event_run(watch->event, LOOK_US);

        /* sd-event drops the bus for good where the kernel has once refused to watch it. */
        if (r == 0)
            r = sd_bus_process(watch->client->bus, NULL);
        if (r < 0)
            watch_over(watch, r);
    }
    return watch->end;
}

void watch_over(struct watch *watch, int end) {
    if (watch->over)
        return;
    watch->over = true;
    watch->end = end;
}

void watch_close(struct watch *watch) {
    if (!watch->client)
        return;
    sd_bus_detach_event(watch->client->bus);
    sd_event_unref(watch->event);
    block_signals(SIG_UNBLOCK);
    *watch = (struct watch) { 0 };
}
