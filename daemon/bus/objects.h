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
    const void *(*at)(const struct service *service, unsigned index);
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
    struct firmware_store *store;
    struct firmware_poll *poll;
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
void service_firmware_path(const struct firmware_record *record, char *ret);

/* Puts code's name and the story, which stands for itself, on error; gives back the negative errno that
 * sd-bus wants. */
int service_set_error(sd_bus_error *error, enum wipyd_error code, const char *story);

enum service_call { CALL_FLASH = 1, CALL_FLASH_FILE = 2, CALL_IDENTIFY = 4 };

/* Reads a{sv} into ret, by the table of options; keys that this call does not take, wrong types and values
 * out of bounds are refused with an error set. ret->version is borrowed from message. */
int service_read_options(sd_bus_message *message, enum service_call call, struct fleet_options *ret,
                         sd_bus_error *error);

int service_add_manager(struct service *service);

/* A package that a caller hands over: a sealed memfd of a size that makes sense. *ret is a duplicate, the
 * caller's. Negative errno with error set. */
int service_take_package(int fd, int *ret, uint64_t *ret_bytes, sd_bus_error *error);

/* "good", "quarantined", "missing"; static storage. */
const char *service_firmware_state_word(enum firmware_state state);

/* A call that is answered when the store is done with it. */
struct service_pending;
struct service_pending *service_pending_new(sd_bus_message *message);
/* firmware_store_fn's that answer: with nothing, with the package's object path, with its state. */
void service_reply_nothing(void *userdata, const struct fault *fault, const struct firmware_record *record);
void service_reply_path(void *userdata, const struct fault *fault, const struct firmware_record *record);
void service_reply_state(void *userdata, const struct fault *fault, const struct firmware_record *record);

/* The service, inside a method of an object_kind. */
struct service *service_of_call(sd_bus_message *message);

/* The properties of a job that change, all of them or those worth telling often; NULL-terminated. */
extern const char *const job_properties_all[];
extern const char *const job_properties_often[];
