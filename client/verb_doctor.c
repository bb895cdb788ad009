#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/doctor.h"
#include "client/failure.h"
#include "client/firmware.h"
#include "client/poll.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

static const struct {
    const char *word;
    enum text_style style;
} states[DOCTOR_STATE_COUNT] = {
    [DOCTOR_OK] = { "ok", TEXT_GOOD },
    [DOCTOR_WARNING] = { "warning", TEXT_ACTION },
    [DOCTOR_FAILED] = { "failed", TEXT_BAD },
};

void doctor_tell(struct doctor *doctor, enum doctor_state state, const char *what, const char *cure,
                 const char *format, ...) {
    cleanup(free_p) char *text = NULL;
    va_list arguments;
    int r;

    va_start(arguments, format);
    r = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (r < 0)
        text_no_memory();
    doctor->n[state]++;
    if (doctor->json) {
        json_map_begin(doctor->json);
        json_string(doctor->json, "check");
        json_string(doctor->json, what);
        json_string(doctor->json, "state");
        json_string(doctor->json, states[state].word);
        json_string(doctor->json, "text");
        json_string(doctor->json, text);
        json_string(doctor->json, "cure");
        json_string(doctor->json, cure ? cure : "");
        json_map_end(doctor->json);
    } else if (state != DOCTOR_OK || !doctor->client->options.quiet) {
        text_put(stdout, states[state].style, "%-7s", states[state].word);
        text_line(stdout, TEXT_PLAIN, "  %-12s  %s", what, text);
        if (cure)
            text_line(stdout, TEXT_PLAIN, "%25s%s", "", cure);
    }
}

/* ---- the bus --------------------------------------------------------------------------------- */

static bool has_owner(const struct client *client, const char *name) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    int owned = 0;

    if (sd_bus_call_method(client->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                           "org.freedesktop.DBus", "NameHasOwner", NULL, &reply, "s", name) < 0)
        return false;
    return sd_bus_message_read(reply, "b", &owned) >= 0 && owned;
}

static bool can_be_started(const struct client *client, const char *name) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *activatable;
    bool found = false;

    if (sd_bus_call_method(client->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                           "org.freedesktop.DBus", "ListActivatableNames", NULL, &reply, "") < 0 ||
        sd_bus_message_enter_container(reply, 'a', "s") < 0)
        return false;
    while (!found && sd_bus_message_read(reply, "s", &activatable) > 0)
        found = !strcmp(activatable, name);
    return found;
}

/* The first call may start it; what can't be said to it can't be said for a reason that D-Bus names. */
static void check_daemon(struct doctor *doctor) {
    cleanup(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const struct client *client = doctor->client;
    uint64_t seen = 0;
    int r =
        sd_bus_call_method(client->bus, WIPYD_BUS_NAME, WIPYD_ROOT_PATH, "org.freedesktop.DBus.Properties",
                           "GetAll", &error, &reply, "s", WIPYD_MANAGER_INTERFACE);

    if (sd_bus_error_has_name(&error, SD_BUS_ERROR_ACCESS_DENIED)) {
        doctor_tell(doctor, DOCTOR_FAILED, "daemon",
                    "Install wipyd's bus policy, then: systemctl reload dbus",
                    "the bus lets nobody talk to wipyd: %s", error.message);
        return;
    }
    if (r >= 0)
        r = object_read(&manager_interface, &doctor->manager, WIPYD_ROOT_PATH, reply, &seen);
    reply = sd_bus_message_unref(reply);
    if (r >= 0)
        r = sd_bus_call_method(client->bus, WIPYD_BUS_NAME, WIPYD_ROOT_PATH,
                               "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &error, &reply, "");
    if (r >= 0)
        r = objects_read(&doctor->objects, reply);
    doctor->has_daemon = r >= 0;
    if (doctor->has_daemon)
        doctor_tell(doctor, DOCTOR_OK, "daemon", NULL, "wipyd %s runs", doctor->manager.version);
    else
        doctor_tell(doctor, DOCTOR_FAILED, "daemon",
                    "Start it with: systemctl start wipyd; if it ends at once: journalctl -u wipyd",
                    "wipyd doesn't answer: %s", error.message ? error.message : strerror(-r));
}

static void check_unit(struct doctor *doctor) {
    cleanup(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *state;
    int r = -ENOENT;

    if (has_owner(doctor->client, "org.freedesktop.systemd1"))
        r = sd_bus_call_method(doctor->client->bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                               "org.freedesktop.systemd1.Manager", "GetUnitFileState", &error, &reply, "s",
                               "wipyd.service");
    else {
        doctor_tell(doctor, DOCTOR_OK, "unit", NULL, "systemd isn't on this bus");
        return;
    }
    if (r >= 0)
        r = sd_bus_message_read(reply, "s", &state);
    if (r < 0)
        doctor_tell(doctor, DOCTOR_WARNING, "unit",
                    "Install it with: make install, then systemctl daemon-reload",
                    "systemd knows no wipyd.service: %s", error.message ? error.message : strerror(-r));
    else if (!strncmp(state, "enabled", strlen("enabled")) || !strcmp(state, "static"))
        doctor_tell(doctor, DOCTOR_OK, "unit", NULL, "wipyd.service is %s", state);
    else
        doctor_tell(doctor, DOCTOR_WARNING, "unit", "Start it at boot with: systemctl enable --now wipyd",
                    "wipyd.service is %s: it starts only when somebody asks for it", state);
}

static void check_rights(struct doctor *doctor) {
    static const char polkit[] = "org.freedesktop.PolicyKit1";
    bool there = has_owner(doctor->client, polkit) || can_be_started(doctor->client, polkit);

    if (there)
        doctor_tell(doctor, DOCTOR_OK, "rights", NULL, "polkit decides who may do what");
    else if (!geteuid())
        doctor_tell(doctor, DOCTOR_OK, "rights", NULL,
                    "you are root; nobody else may flash: there is no polkit");
    else
        doctor_tell(doctor, DOCTOR_WARNING, "rights", "Install polkitd, or use sudo.",
                    "there is no polkit: only root and wipyd's own user may flash");
}

/* ---- what the daemon knows ------------------------------------------------------------------- */

static void check_store(struct doctor *doctor) {
    const struct firmware *items = doctor->objects.firmware.items;
    size_t n = doctor->objects.firmware.n, n_good = 0;

    for (size_t i = 0; i < n; i++)
        n_good += firmware_is_good(&items[i]);
    if (!n_good)
        doctor_tell(doctor, DOCTOR_FAILED, "store",
                    "Fetch one with: wipyctl firmware refresh, or: wipyctl firmware import FILE.tar.gz",
                    "there is no good package at hand");
    else if (n_good < n)
        doctor_tell(doctor, DOCTOR_WARNING, "store",
                    "See why with: wipyctl firmware list; then remove it, or wipyctl firmware unquarantine",
                    "%zu of %zu packages are in quarantine or missing", n - n_good, n);
    else
        doctor_tell(doctor, DOCTOR_OK, "store", NULL, "%zu good package%s", n, n == 1 ? "" : "s");
}

static void check_poll(struct doctor *doctor) {
    const struct manager *manager = &doctor->manager;

    if (poll_is_off(manager))
        doctor_tell(doctor, DOCTOR_OK, "poll", NULL, "no source is asked for firmware");
    else if (manager->poll_failures)
        doctor_tell(doctor, DOCTOR_WARNING, "poll",
                    "Look at the network, the proxy and the sources in /etc/wipyd.conf, then: wipyctl "
                    "firmware refresh",
                    "the last %" PRIu32 " poll%s failed: %s", manager->poll_failures,
                    manager->poll_failures == 1 ? "" : "s", manager->poll_result);
    else
        doctor_tell(doctor, DOCTOR_OK, "poll", NULL, "%s",
                    *manager->poll_result ? manager->poll_result : "no source was asked yet");
}

static void check_ports(struct doctor *doctor) {
    const struct device *devices = doctor->objects.devices.items;
    size_t n = doctor->objects.devices.n, n_held = 0;

    for (size_t i = 0; i < n; i++) {
        if (!*devices[i].holder)
            continue;
        n_held++;
        doctor_tell(doctor, DOCTOR_WARNING, "ports",
                    "Close that program: a board there is flashed only then.", "%s is held by %s",
                    devices[i].name, devices[i].holder);
    }
    if (!n)
        doctor_tell(doctor, DOCTOR_OK, "ports", NULL, "no adapter is plugged in");
    else if (!n_held)
        doctor_tell(doctor, DOCTOR_OK, "ports", NULL, "%zu port%s, none held by others", n,
                    n == 1 ? "" : "s");
}

static void check_slots(struct doctor *doctor) {
    const struct slot *slots = doctor->objects.slots.items;
    size_t n = doctor->objects.slots.n, n_bad = 0;

    for (size_t i = 0; i < n; i++) {
        if (!*slots[i].advice)
            continue;
        n_bad++;
        doctor_tell(doctor, DOCTOR_WARNING, "slots",
                    "Then, so that the highest rate is tried at once: wipyctl slot forget SLOT", "%s",
                    slots[i].advice);
    }
    if (!n_bad)
        doctor_tell(doctor, DOCTOR_OK, "slots", NULL, "no slot is worse than its neighbours");
}

static void check_all(struct doctor *doctor) {
    check_daemon(doctor);
    check_unit(doctor);
    check_rights(doctor);
    if (doctor->has_daemon) {
        check_ports(doctor);
        check_slots(doctor);
        check_store(doctor);
        check_poll(doctor);
    }
    if (doctor->client->options.host)
        return; /* its files can't be seen from here */
    doctor_check_neighbours(doctor, has_owner(doctor->client, "org.freedesktop.ModemManager1"));
    doctor_check_host(doctor);
}

enum exit_code verb_doctor(struct client *client, char **arguments) {
    struct doctor doctor = { .client = client };
    struct json json;
    enum exit_code code;

    (void)arguments;
    if (client->options.json) {
        doctor.json = &json;
        json_begin(&json, client->options.json);
        json_array_begin(&json);
    }
    check_all(&doctor);
    code = doctor.n[DOCTOR_FAILED] ? EXIT_FAILED : EXIT_DONE;
    if (doctor.json)
        json_array_end(&json);
    if (doctor.json && json_print(&json) < 0)
        code = failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    objects_clear(&doctor.objects);
    manager_clear_p(&doctor.manager);
    return code;
}
