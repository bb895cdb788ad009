#include "daemon/bus/objects.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/base/clean.h"
#include "daemon/bus/lease.h"
#include "proto/names.h"

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

void service_board_path(const struct board_record *board, char *ret) {
    int n = snprintf(ret, OBJECT_PATH_MAX, WIPYD_BOARD_PATH "/");

    for (const char *p = board->mac; *p; p++)
        if (*p != ':')
            ret[n++] = *p;
    ret[n] = 0;
}

void service_slot_path(const struct slot_record *slot, char *ret) {
    cleanup(free_p) char *path = NULL;

    if (sd_bus_path_encode(WIPYD_SLOT_PATH, slot->name, &path) < 0)
        *ret = 0;
    else
        snprintf(ret, OBJECT_PATH_MAX, "%s", path);
}

int service_set_error(sd_bus_error *error, enum wipyd_error code, const char *story) {
    return sd_bus_error_set(error, wipyd_error_bus_name(code), story);
}

int service_set_errorf(sd_bus_error *error, enum wipyd_error code, const char *format, ...) {
    char story[sizeof(((struct fault *)NULL)->story)];
    va_list args;

    va_start(args, format);
    vsnprintf(story, sizeof story, format, args);
    va_end(args);
    trim_cut_text(story);
    return service_set_error(error, code, story);
}

/* ---- objects --------------------------------------------------------------------------------- */

static bool has_path(const struct object_kind *kind, const void *object, const char *path) {
    char candidate[OBJECT_PATH_MAX];

    kind->path_of(object, candidate);
    return !strcmp(candidate, path);
}

static int find_object(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret,
                       sd_bus_error *error) {
    const struct object_binding *binding = userdata;
    const struct object_kind *kind = binding->kind;
    const void *object;

    (void)bus, (void)interface, (void)error;
    if (service_is_detached(binding->service))
        return 0;
    if (kind->find) {
        object = kind->find(binding->service, path);
        if (!object || !has_path(kind, object, path)) /* there is one way only to write a path */
            return 0;
        *ret = (void *)(uintptr_t)object; /* each kind's handlers know whether they may change it */
        return 1;
    }
    for (unsigned i = 0; (object = kind->at(binding->service, i)); i++)
        if (has_path(kind, object, path)) {
            *ret = (void *)(uintptr_t)object;
            return 1;
        }
    return 0;
}

static int enumerate_objects(sd_bus *bus, const char *prefix, void *userdata, char ***ret,
                             sd_bus_error *error) {
    const struct object_binding *binding = userdata;
    char path[OBJECT_PATH_MAX];
    unsigned n = 0;

    (void)bus, (void)prefix, (void)error;
    while (!service_is_detached(binding->service) && binding->kind->at(binding->service, n))
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

struct service *service_of_getter(sd_bus *bus) {
    /* The handler's userdata is the object that find_object gave; the binding is its slot's. */
    const struct object_binding *binding = sd_bus_slot_get_userdata(sd_bus_get_current_slot(bus));

    return binding->service;
}

struct service *service_of_call(sd_bus_message *message) {
    return service_of_getter(sd_bus_message_get_bus(message));
}

int service_get_chars(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    (void)bus, (void)path, (void)interface, (void)property, (void)error;
    return sd_bus_message_append_basic(reply, 's', userdata);
}

/* ---- how much ---------------------------------------------------------------------------------------- */

/* Takes what is left to read off *left: each value counts a byte at least, a text its length. 0: it was too
 * little. */
static int count_down(sd_bus_message *message, size_t *left) {
    const char *contents;
    char type;
    int r;

    while ((r = sd_bus_message_peek_type(message, &type, &contents)) > 0) {
        union {
            const char *text;
            uint64_t number;
        } value;
        size_t n = 1;

        if (contents) {
            r = sd_bus_message_enter_container(message, type, contents);
            if (r >= 0)
                r = count_down(message, left);
            if (r > 0)
                r = sd_bus_message_exit_container(message);
            if (r <= 0)
                return r;
        } else {
            r = sd_bus_message_read_basic(message, type, &value);
            if (r < 0)
                return r;
            if (type == 's' || type == 'o' || type == 'g')
                n += strnlen(value.text, *left);
        }
        if (n > *left)
            return 0;
        *left -= n;
    }
    return r < 0 ? r : 1;
}

/* Before all else: a call may have to be kept until somebody has typed a password, and there are many. */
static int on_message(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    size_t left = CALL_BYTES_MAX;
    int r;

    (void)userdata;
    if (!sd_bus_message_is_method_call(message, NULL, NULL))
        return 0;
    r = count_down(message, &left);
    if (r == 0)
        return service_set_error(error, WIPYD_ERROR_INVALID_ARGUMENT,
                                 "a call has at most 16 KiB of arguments");
    return r < 0 ? r : sd_bus_message_rewind(message, true) < 0 ? -EBADMSG : 0;
}

/* ---- who is where ---------------------------------------------------------------------------- */

const struct fleet_device *service_device_of_board(const struct service *service, const char *mac) {
    const struct fleet_device *device;

    for (unsigned i = 0; (device = fleet_device_at(service->fleet, i)); i++)
        if (device != service->leaving && device->is_present && !strcmp(device->board.mac, mac))
            return device;
    return NULL;
}

const struct fleet_device *service_device_of_slot(const struct service *service, const char *name) {
    const struct fleet_device *device;

    for (unsigned i = 0; (device = fleet_device_at(service->fleet, i)); i++)
        if (device != service->leaving && device->is_present && !strcmp(device->slot, name))
            return device;
    return NULL;
}

int service_append_device(sd_bus_message *reply, const struct fleet_device *device) {
    char path[OBJECT_PATH_MAX] = "/";

    if (device)
        service_device_path(device, path);
    return sd_bus_message_append_basic(reply, 'o', path);
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

/* Nobody is told of what happens while the daemon goes down. */
bool service_is_detached(const struct service *service) {
    return service->n_slots == 0 || !service->fleet;
}

/* ---- life ------------------------------------------------------------------------------------ */

int service_new(struct service **ret, uv_loop_t *loop, sd_bus *bus, const struct loop_meter *meter) {
    static const struct object_kind *const kinds[OBJECT_KINDS] = {
        &service_devices, &service_jobs, &service_firmware, &service_boards, &service_slots,
    };
    struct service *service = calloc(1, sizeof *service);
    int r;

    if (!service)
        return -ENOMEM;
    service->loop = loop;
    service->bus = sd_bus_ref(bus);
    service->meter = meter;
    service->standing.inhibitor = -1;
    uv_timer_init(loop, &service->pace);
    uv_timer_init(loop, &service->firmware_settled);
    service->pace.data = service->firmware_settled.data = service;
    r = authority_new(&service->authority, bus);
    if (r >= 0)
        r = sd_bus_add_filter(bus, &service->slots[service->n_slots++], on_message, service);
    if (r >= 0)
        r = sd_bus_add_object_manager(bus, &service->slots[service->n_slots++], WIPYD_ROOT_PATH);
    if (r >= 0)
        r = service_add_manager(service);
    for (size_t i = 0; r >= 0 && i < OBJECT_KINDS; i++)
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
    service_take_seats(service);
    standing_update(service);
}

int service_announce(struct service *service) {
    int r = sd_bus_request_name(service->bus, WIPYD_BUS_NAME, 0);

    return r < 0 ? r : 0;
}

void service_on_handle_closed(struct service *service) {
    if (--service->n_closing || service->bus)
        return;
    free(service->changed);
    free(service);
}

static void on_closed(uv_handle_t *handle) {
    service_on_handle_closed(handle->data);
}

void service_detach(struct service *service) {
    service->n_changed = 0;
    uv_timer_stop(&service->pace);
    uv_timer_stop(&service->firmware_settled);
    service->authority = authority_close(service->authority);
    lease_drop(service, NULL);
    standing_end(service);
    while (service->n_slots)
        sd_bus_slot_unref(service->slots[--service->n_slots]);
}

struct service *service_close(struct service *service) {
    if (!service)
        return NULL;
    service_detach(service);
    service->bus = sd_bus_unref(service->bus); /* NULL: this is the end */
    service->n_closing += 2;
    uv_close((uv_handle_t *)&service->pace, on_closed);
    uv_close((uv_handle_t *)&service->firmware_settled, on_closed);
    return NULL;
}
