#include "daemon/bus/objects.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/base/log.h"
#include "proto/names.h"

enum { PACE_MS = 200 };

void service_device_path(const struct fleet_device *device, char *ret) {
    cleanup(free_p) char *path = NULL;

    /* Fails only without memory; an empty path is refused by every sd-bus call. */
    if (sd_bus_path_encode(WIPYD_DEVICE_PATH, device->name, &path) < 0)
        *ret = 0;
    else
        snprintf(ret, OBJECT_PATH_MAX, "%s", path);
}

void service_job_path(const struct fleet_job *job, char *ret) {
    snprintf(ret, OBJECT_PATH_MAX, WIPYD_JOB_PATH "/%u", job->id);
}

void service_firmware_path(const struct firmware_record *record, char *ret) {
    snprintf(ret, OBJECT_PATH_MAX, WIPYD_FIRMWARE_PATH "/%.16s", record->sha256);
}

int service_set_error(sd_bus_error *error, enum wipyd_error code, const char *story) {
    return sd_bus_error_set(error, wipyd_error_bus_name(code), story);
}

/* ---- events of the fleet --------------------------------------------------------------------- */

/* Nobody is told of what happens while the daemon goes down. */
static bool is_detached(const struct service *service) {
    return service->n_slots == 0;
}

static void warn(int r, const char *what) {
    if (r < 0)
        log_warning("telling the bus of %s: %s", what, strerror(-r));
}

static void on_device_changed(void *userdata, struct fleet_device *device) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (is_detached(service))
        return;
    service_device_path(device, path);
    warn(sd_bus_emit_properties_changed(service->bus, path, WIPYD_DEVICE_INTERFACE, "Present", "Job", "Chip",
                                        "Mac", "FlashBytes", "Board", "Release", "SeenAt", NULL),
         "a device");
}

static void on_job_added(void *userdata, struct fleet_job *job) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (is_detached(service))
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

    if (is_detached(service))
        return;
    forget_change(service, job);
    service_job_path(job, path);
    warn(sd_bus_emit_object_removed(service->bus, path), "a job that is forgotten");
}

static void tell_job(struct service *service, struct fleet_job *job, const char *const *names) {
    char path[OBJECT_PATH_MAX];

    service_job_path(job, path);
    warn(sd_bus_emit_properties_changed_strv(service->bus, path, WIPYD_JOB_INTERFACE,
                                             (char **)(uintptr_t)names),
         "a job");
}

static void on_pace(uv_timer_t *timer) {
    struct service *service = timer->data;

    service->last_told_ms = uv_now(service->loop);
    while (service->n_changed)
        tell_job(service, service->changed[--service->n_changed], job_properties_often);
}

static void on_job_changed(void *userdata, struct fleet_job *job) {
    struct service *service = userdata;
    uint64_t now = uv_now(service->loop), since = now - service->last_told_ms;

    if (is_detached(service))
        return;
    forget_change(service, job);
    if (job->expires_ms) {
        tell_job(service, job, job_properties_all);
        return;
    }
    /* One job a device, and no more devices than that. */
    service->changed[service->n_changed++] = job;
    if (!uv_is_active((uv_handle_t *)&service->pace))
        uv_timer_start(&service->pace, on_pace, since < PACE_MS ? PACE_MS - since : 0, 0);
}

static void on_firmware_added(void *userdata, const struct firmware_record *record) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (is_detached(service))
        return;
    service_firmware_path(record, path);
    warn(sd_bus_emit_object_added(service->bus, path), "new firmware");
}

static void on_firmware_changed(void *userdata, const struct firmware_record *record) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (is_detached(service))
        return;
    service_firmware_path(record, path);
    warn(sd_bus_emit_properties_changed(service->bus, path, WIPYD_FIRMWARE_INTERFACE, "Order", "Origin",
                                        "ServerVersion", "ServerHash", "State", "Reason", "Pinned", "UsedAt",
                                        NULL),
         "firmware");
}

static void on_firmware_removed(void *userdata, const struct firmware_record *record) {
    struct service *service = userdata;
    char path[OBJECT_PATH_MAX];

    if (is_detached(service))
        return;
    service_firmware_path(record, path);
    warn(sd_bus_emit_object_removed(service->bus, path), "firmware that is forgotten");
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

    if (is_detached(service))
        return;
    warn(sd_bus_emit_properties_changed(service->bus, WIPYD_ROOT_PATH, WIPYD_MANAGER_INTERFACE, "PollState",
                                        "PollResult", "PollFailures", "PollSource", "PolledAt", "NextPollAt",
                                        "FetchedBytes", "FetchBytes", NULL),
         "the poll");
}

const struct fleet_events *service_fleet_events(void) {
    static const struct fleet_events events = {
        .on_device_changed = on_device_changed,
        .on_job_added = on_job_added,
        .on_job_changed = on_job_changed,
        .on_job_removed = on_job_removed,
    };

    return &events;
}

/* ---- objects --------------------------------------------------------------------------------- */

static int find_object(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret,
                       sd_bus_error *error) {
    const struct object_binding *binding = userdata;
    char candidate[OBJECT_PATH_MAX];
    const void *object;

    (void)bus, (void)interface, (void)error;
    for (unsigned i = 0; (object = binding->kind->at(binding->service, i)); i++) {
        binding->kind->path_of(object, candidate);
        if (!strcmp(candidate, path)) {
            *ret = (void *)(uintptr_t)object; /* each kind's handlers know whether they may change it */
            return 1;
        }
    }
    return 0;
}

static int enumerate_objects(sd_bus *bus, const char *prefix, void *userdata, char ***ret,
                             sd_bus_error *error) {
    const struct object_binding *binding = userdata;
    char path[OBJECT_PATH_MAX];
    unsigned n = 0;

    (void)bus, (void)prefix, (void)error;
    while (binding->kind->at(binding->service, n))
        n++;
    *ret = calloc(n + 1, sizeof(char *));
    for (unsigned i = 0; *ret && i < n; i++) {
        binding->kind->path_of(binding->kind->at(binding->service, i), path);
        (*ret)[i] = strdup(path);
        if (!(*ret)[i]) /* a list that is cut short is still a list */
            break;
    }
    return *ret ? 1 : -ENOMEM;
}

struct service *service_of_call(sd_bus_message *message) {
    /* The handler's userdata is the object that find_object gave; the binding is its slot's. */
    const struct object_binding *binding =
        sd_bus_slot_get_userdata(sd_bus_get_current_slot(sd_bus_message_get_bus(message)));

    return binding->service;
}

static int add_objects(struct service *service, struct object_binding *binding,
                       const struct object_kind *kind) {
    int r;

    *binding = (struct object_binding) { .service = service, .kind = kind };
    r = sd_bus_add_fallback_vtable(service->bus, &service->slots[service->n_slots++], kind->prefix,
                                   kind->interface, kind->vtable, find_object, binding);
    if (r < 0)
        return r;
    return sd_bus_add_node_enumerator(service->bus, &service->slots[service->n_slots++], kind->prefix,
                                      enumerate_objects, binding);
}

/* ---- life ------------------------------------------------------------------------------------ */

int service_new(struct service **ret, uv_loop_t *loop, sd_bus *bus, const struct loop_meter *meter) {
    static const struct object_kind *const kinds[] = { &service_devices, &service_jobs, &service_firmware };
    struct service *service = calloc(1, sizeof *service);
    int r;

    if (!service)
        return -ENOMEM;
    service->loop = loop;
    service->bus = sd_bus_ref(bus);
    service->meter = meter;
    uv_timer_init(loop, &service->pace);
    service->pace.data = service;
    r = sd_bus_add_object_manager(bus, &service->slots[service->n_slots++], WIPYD_ROOT_PATH);
    if (r >= 0)
        r = service_add_manager(service);
    for (size_t i = 0; r >= 0 && i < sizeof kinds / sizeof *kinds; i++)
        r = add_objects(service, &service->bindings[i], kinds[i]);
    if (r < 0) {
        service_close(service);
        return r;
    }
    *ret = service;
    return 0;
}

void service_attach(struct service *service, struct fleet *fleet, struct firmware_store *store,
                    struct firmware_poll *poll) {
    service->fleet = fleet;
    service->store = store;
    service->poll = poll;
}

int service_announce(struct service *service) {
    int r = sd_bus_request_name(service->bus, WIPYD_BUS_NAME, 0);

    return r < 0 ? r : 0;
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

void service_detach(struct service *service) {
    service->n_changed = 0;
    uv_timer_stop(&service->pace);
    while (service->n_slots)
        sd_bus_slot_unref(service->slots[--service->n_slots]);
}

struct service *service_close(struct service *service) {
    if (!service)
        return NULL;
    service_detach(service);
    sd_bus_unref(service->bus);
    uv_close((uv_handle_t *)&service->pace, on_closed);
    return NULL;
}
