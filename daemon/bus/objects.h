#pragma once

/* Inside of the bus room: what the objects share. */

#include <systemd/sd-bus.h>

#include "daemon/board/fleet.h"
#include "daemon/bus/service.h"

struct service;

/* Objects of one kind below one prefix: one vtable, found by index and path. */
struct object_kind {
    const char *prefix, *interface;
    const sd_bus_vtable *vtable; /* its userdata is the object */
    void *(*at)(struct fleet *fleet, unsigned index);
    void (*path_of)(const void *object, char *ret); /* ret has OBJECT_PATH_MAX bytes */
};

extern const struct object_kind service_devices, service_jobs, service_firmware;

struct object_binding {
    struct service *service;
    const struct object_kind *kind;
};

struct service {
    uv_loop_t *loop;
    sd_bus *bus;
    const struct loop_meter *meter;
    struct fleet *fleet;
    struct object_binding bindings[3];
    sd_bus_slot *slots[8];
    unsigned n_slots;
    uv_timer_t pace; /* property changes are told at most five times a second */
    uint64_t last_told_ms;
    struct fleet_job *changed[CONFIG_PORTS_MAX]; /* jobs with untold changes */
    unsigned n_changed;
};

#define OBJECT_PATH_MAX 256

/* Paths. ret has OBJECT_PATH_MAX bytes. */
void service_device_path(const struct fleet_device *device, char *ret);
void service_job_path(const struct fleet_job *job, char *ret);
void service_firmware_path(const struct firmware_package *package, char *ret);

/* Puts code's name and the story, which stands for itself, on error; gives back the negative errno that
 * sd-bus wants. */
int service_set_error(sd_bus_error *error, enum wipyd_error code, const char *story);

/* Reads a{sv} into ret, by the table of options; unknown keys, wrong types and values out of bounds are
 * refused with an error set. ret->version is borrowed from message. */
int service_read_options(sd_bus_message *message, bool takes_version, struct fleet_options *ret,
                         sd_bus_error *error);

int service_add_manager(struct service *service);
/* The service, inside a method of an object_kind. */
struct service *service_of_call(sd_bus_message *message);

/* The properties of a job that change, all of them or those worth telling often; NULL-terminated. */
extern const char *const job_properties_all[];
extern const char *const job_properties_often[];
