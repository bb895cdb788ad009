/* What happens in the fleet and the store, told on the bus. */

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/bus/lease.h"
#include "daemon/bus/objects.h"
#include "proto/names.h"

enum { PACE_MS = 200 };

static void warn(int r, const char *what) {
    if (r < 0)
        log_warning("telling the bus of %s: %s", what, strerror(-r));
}

static int emit_changed(struct service *service, const char *path, const char *interface,
                        const char *const *names) {
    return sd_bus_emit_properties_changed_strv(service->bus, path, interface, (char **)(uintptr_t)names);
}

/* ---- boards and slots ------------------------------------------------------------------------ */

static void on_board(void *userdata, const struct board_record *board, bool is_new) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (service_is_detached(service) || !fleet_ledger(service->fleet))
        return;
    service_board_path(board, path);
    warn(is_new ? sd_bus_emit_object_added(service->bus, path)
                : emit_changed(service, path, WIPYD_BOARD_INTERFACE, board_properties),
         "a board");
}

static void on_board_forgotten(void *userdata, const struct board_record *board) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (service_is_detached(service) || !fleet_ledger(service->fleet))
        return;
    service_board_path(board, path);
    warn(sd_bus_emit_object_removed(service->bus, path), "a board that is forgotten");
}

static void on_slot(void *userdata, const struct slot_record *slot, bool is_new) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (service_is_detached(service) || !fleet_ledger(service->fleet))
        return;
    service_slot_path(slot, path);
    warn(is_new ? sd_bus_emit_object_added(service->bus, path)
                : emit_changed(service, path, WIPYD_SLOT_INTERFACE, slot_properties),
         "a slot");
}

static void on_slot_forgotten(void *userdata, const struct slot_record *slot) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (service_is_detached(service) || !fleet_ledger(service->fleet))
        return;
    service_slot_path(slot, path);
    warn(sd_bus_emit_object_removed(service->bus, path), "a slot that is forgotten");
}

static void on_default_policy(void *userdata) {
    struct service *service = userdata;

    if (service_is_detached(service))
        return;
    warn(sd_bus_emit_properties_changed(service->bus, WIPYD_ROOT_PATH, WIPYD_MANAGER_INTERFACE,
                                        "DefaultPolicy", NULL),
         "the default policy");
}

/* ---- devices --------------------------------------------------------------------------------- */

static const char *const only_device[] = { "Device", NULL };

/* What is on a device is a property of the board, too. */
static void tell_board_moved(struct service *service, const char *mac) {
    struct ledger *ledger = fleet_ledger(service->fleet);
    const struct board_record *board = ledger && *mac ? ledger_board(ledger, mac) : NULL;
    char path[OBJECT_PATH_MAX];

    if (!board)
        return;
    service_board_path(board, path);
    warn(emit_changed(service, path, WIPYD_BOARD_INTERFACE, only_device), "where a board is");
}

static void tell_slot_filled(struct service *service, const char *name) {
    struct ledger *ledger = fleet_ledger(service->fleet);
    const struct slot_record *slot = ledger ? ledger_slot(ledger, name) : NULL;
    char path[OBJECT_PATH_MAX];

    if (!slot)
        return;
    service_slot_path(slot, path);
    warn(emit_changed(service, path, WIPYD_SLOT_INTERFACE, only_device), "what is in a slot");
}

static struct seat *seat_of(struct service *service, const struct fleet_device *device) {
    for (unsigned i = 0; i < service->n_seats; i++)
        if (service->seats[i].device == device)
            return &service->seats[i];
    return NULL;
}

static struct seat *take_seat(struct service *service, const struct fleet_device *device) {
    struct seat *seat = seat_of(service, device);

    if (!seat) {
        assert(service->n_seats < FLEET_DEVICES_MAX);
        seat = &service->seats[service->n_seats++];
        *seat = (struct seat) { .device = device };
    }
    return seat;
}

void service_take_seats(struct service *service) {
    const struct fleet_device *device;

    for (unsigned i = 0; (device = fleet_device_at(service->fleet, i)); i++) {
        struct seat *seat = take_seat(service, device);

        seat->is_present = device->is_present;
        snprintf(seat->mac, sizeof seat->mac, "%s", device->board.mac);
    }
}

/* Tells those that came to the device, or left it, since they were told last. is_present and mac: as it is
 * now. */
static void tell_seat(struct service *service, const struct fleet_device *device, bool is_present,
                      const char *mac) {
    struct seat *seat = take_seat(service, device), before = *seat;

    if (!is_present)
        mac = "";
    if (before.is_present == is_present && !strcmp(before.mac, mac))
        return;
    seat->is_present = is_present;
    snprintf(seat->mac, sizeof seat->mac, "%s", mac);
    if (before.is_present != is_present)
        tell_slot_filled(service, device->slot);
    if (strcmp(before.mac, mac) != 0) {
        tell_board_moved(service, before.mac);
        tell_board_moved(service, mac);
    }
}

static void on_device_added(void *userdata, struct fleet_device *device) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (service_is_detached(service))
        return;
    service_device_path(device, path);
    warn(sd_bus_emit_object_added(service->bus, path), "a new device");
    tell_seat(service, device, device->is_present, device->board.mac);
    standing_update(service);
}

static void on_device_changed(void *userdata, struct fleet_device *device) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (service_is_detached(service))
        return;
    service_device_path(device, path);
    warn(emit_changed(service, path, WIPYD_DEVICE_INTERFACE, device_properties), "a device");
    lease_look_after(service, device);
    tell_seat(service, device, device->is_present, device->board.mac);
    standing_update(service);
}

static void on_device_removed(void *userdata, struct fleet_device *device) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];
    struct seat *seat;

    if (service_is_detached(service))
        return;
    lease_drop(service, device);
    service_device_path(device, path);
    warn(sd_bus_emit_object_removed(service->bus, path), "a device that is gone");
    service->leaving = device;
    tell_seat(service, device, false, "");
    standing_update(service);
    service->leaving = NULL;
    seat = take_seat(service, device);
    *seat = service->seats[--service->n_seats];
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void on_job_added(void *userdata, struct fleet_job *job) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (service_is_detached(service))
        return;
    service_job_path(job, path);
    warn(sd_bus_emit_object_added(service->bus, path), "a new job");
}

static void forget_change(struct service *service, const struct fleet_job *job) {
    for (unsigned i = 0; i < service->n_changed; i++)
        if (service->changed[i] == job)
            service->changed[i--] = service->changed[--service->n_changed];
}

static void on_job_removed(void *userdata, struct fleet_job *job) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (service_is_detached(service))
        return;
    forget_change(service, job);
    service_job_path(job, path);
    warn(sd_bus_emit_object_removed(service->bus, path), "a job that is forgotten");
}

static void tell_job(struct service *service, struct fleet_job *job, const char *const *names) {
    char path[OBJECT_PATH_MAX];

    service_job_path(job, path);
    warn(emit_changed(service, path, WIPYD_JOB_INTERFACE, names), "a job");
}

static void on_pace(uv_timer_t *timer) {
    struct service *service = timer->data;

    service->last_told_ms = uv_now(service->loop);
    while (service->n_changed)
        tell_job(service, service->changed[--service->n_changed], job_properties_often);
}

/* Room for one more. */
static bool make_room(struct service *service) {
    unsigned n = service->changed_allocated ? 2 * service->changed_allocated : 64;
    struct fleet_job **grown;

    if (service->n_changed < service->changed_allocated)
        return true;
    grown = realloc(service->changed, n * sizeof(struct fleet_job *));
    if (!grown)
        return false;
    service->changed = grown;
    service->changed_allocated = n;
    return true;
}

static void on_job_changed(void *userdata, struct fleet_job *job) {
    struct service *service = userdata;
    uint64_t now = uv_now(service->loop), since = now - service->last_told_ms;

    if (service_is_detached(service))
        return;
    standing_update(service);
    forget_change(service, job);
    /* An end, or a break, is told at once and whole; so is anything for which there is no memory. */
    if (job->expires_ms || job->record.state == WIPYD_JOB_STATE_INTERRUPTED || !make_room(service)) {
        tell_job(service, job, job_properties_all);
        return;
    }
    service->changed[service->n_changed++] = job;
    if (!uv_is_active((uv_handle_t *)&service->pace))
        uv_timer_start(&service->pace, on_pace, since < PACE_MS ? PACE_MS - since : 0, 0);
}

const struct fleet_events *service_fleet_events(void) {
    static const struct fleet_events events = {
        .on_device_added = on_device_added,
        .on_device_changed = on_device_changed,
        .on_device_removed = on_device_removed,
        .on_job_added = on_job_added,
        .on_job_changed = on_job_changed,
        .on_job_removed = on_job_removed,
        .on_board = on_board,
        .on_board_forgotten = on_board_forgotten,
        .on_slot = on_slot,
        .on_slot_forgotten = on_slot_forgotten,
        .on_default_policy = on_default_policy,
    };

    return &events;
}

/* ---- firmware -------------------------------------------------------------------------------- */

static void on_firmware_settled(uv_timer_t *timer) {
    struct service *service = timer->data;

    fleet_on_firmware(service->fleet);
}

/* The fleet hears of it once the store is done: what is told to go is still there now. */
static void tell_fleet(struct service *service) {
    uv_timer_start(&service->firmware_settled, on_firmware_settled, 0, 0);
}

static void on_firmware_added(void *userdata, const struct firmware_record *record) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (service_is_detached(service))
        return;
    service_firmware_path(record, path);
    warn(sd_bus_emit_object_added(service->bus, path), "new firmware");
    tell_fleet(service);
}

static void on_firmware_changed(void *userdata, const struct firmware_record *record) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (service_is_detached(service))
        return;
    service_firmware_path(record, path);
    warn(sd_bus_emit_properties_changed(service->bus, path, WIPYD_FIRMWARE_INTERFACE, "Order", "Origin",
                                        "ServerVersion", "ServerHash", "State", "Reason", "Pinned", "UsedAt",
                                        NULL),
         "firmware");
    tell_fleet(service);
}

static void on_firmware_removed(void *userdata, const struct firmware_record *record) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (service_is_detached(service))
        return;
    service_firmware_path(record, path);
    warn(sd_bus_emit_object_removed(service->bus, path), "firmware that is forgotten");
    tell_fleet(service);
}

const struct firmware_store_events *service_store_events(void) {
    static const struct firmware_store_events events = {
        .on_added = on_firmware_added,
        .on_changed = on_firmware_changed,
        .on_removed = on_firmware_removed,
    };

    return &events;
}

void service_on_poll_changed(void *userdata) {
    struct service *service = userdata;

    if (service_is_detached(service))
        return;
    warn(sd_bus_emit_properties_changed(service->bus, WIPYD_ROOT_PATH, WIPYD_MANAGER_INTERFACE, "PollState",
                                        "PollResult", "PollFailures", "PollSource", "PolledAt", "NextPollAt",
                                        "FetchedBytes", "FetchBytes", NULL),
         "the poll");
}
