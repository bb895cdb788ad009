#include <string.h>

#include "daemon/bus/objects.h"
#include "proto/names.h"

static int reply_job(sd_bus_message *message, const struct fleet_job *job) {
    char path[OBJECT_PATH_MAX];

    service_job_path(job, path);
    return sd_bus_reply_method_return(message, "o", path);
}

static int flash(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = service_of_call(message);
    struct fleet_options options;
    struct fleet_job *job;
    struct fault fault;
    int r = service_read_options(message, CALL_FLASH, &options, error);

    if (r < 0)
        return r;
    if (fleet_flash(service->fleet, userdata, &options, &job, &fault) != WIPYD_ERROR_NONE)
        return service_set_error(error, fault.code, fault.story);
    return reply_job(message, job);
}

static int flash_file(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = service_of_call(message);
    struct fleet_options options;
    struct fleet_job *job;
    struct fault fault;
    uint64_t bytes = 0;
    const char *name;
    int r, fd;

    r = sd_bus_message_read(message, "hs", &fd, &name);
    if (r < 0)
        return r;
    r = service_read_options(message, CALL_FLASH_FILE, &options, error);
    if (r < 0)
        return r;
    r = service_take_package(fd, &fd, &bytes, error);
    if (r < 0)
        return r;
    if (fleet_flash_file(service->fleet, userdata, fd, bytes, name, &options, &job, &fault) !=
        WIPYD_ERROR_NONE)
        return service_set_error(error, fault.code, fault.story);
    return reply_job(message, job);
}

static int identify(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = service_of_call(message);
    struct fleet_options options;
    struct fleet_job *job;
    struct fault fault;
    int r = service_read_options(message, CALL_IDENTIFY, &options, error);

    if (r < 0)
        return r;
    if (fleet_identify(service->fleet, userdata, &options, &job, &fault) != WIPYD_ERROR_NONE)
        return service_set_error(error, fault.code, fault.story);
    return reply_job(message, job);
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct fleet_device *device = userdata;
    char job_path[OBJECT_PATH_MAX] = "/";

    (void)bus, (void)path, (void)interface, (void)error;
    if (!strcmp(property, "Name"))
        return sd_bus_message_append_basic(reply, 's', device->name);
    if (!strcmp(property, "Node"))
        return sd_bus_message_append_basic(reply, 's', device->node);
    if (!strcmp(property, "Present"))
        return sd_bus_message_append(reply, "b", device->is_present);
    if (!strcmp(property, "Job")) {
        if (device->job)
            service_job_path(device->job, job_path);
        return sd_bus_message_append_basic(reply, 'o', job_path);
    }
    if (!strcmp(property, "Chip"))
        return sd_bus_message_append_basic(reply, 's', device->board.chip);
    if (!strcmp(property, "Mac"))
        return sd_bus_message_append_basic(reply, 's', device->board.mac);
    if (!strcmp(property, "FlashBytes"))
        return sd_bus_message_append_basic(reply, 't', &device->board.flash_bytes);
    if (!strcmp(property, "Board"))
        return sd_bus_message_append_basic(reply, 's', device->board.board);
    if (!strcmp(property, "Release"))
        return sd_bus_message_append_basic(reply, 's', device->board.release);
    return sd_bus_message_append_basic(reply, 't', &device->seen_us); /* SeenAt */
}

#define PROPERTY(name, type)       SD_BUS_PROPERTY(name, type, get_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define CONST_PROPERTY(name, type) SD_BUS_PROPERTY(name, type, get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST)

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Flash", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job), flash, 0),
    SD_BUS_METHOD_WITH_ARGS("FlashFile", SD_BUS_ARGS("h", package, "s", name, "a{sv}", options),
                            SD_BUS_RESULT("o", job), flash_file, 0),
    SD_BUS_METHOD_WITH_ARGS("Identify", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job), identify, 0),
    CONST_PROPERTY("Name", "s"),
    CONST_PROPERTY("Node", "s"),
    PROPERTY("Present", "b"),
    PROPERTY("Job", "o"),
    PROPERTY("Chip", "s"),
    PROPERTY("Mac", "s"),
    PROPERTY("FlashBytes", "t"),
    PROPERTY("Board", "s"),
    PROPERTY("Release", "s"),
    PROPERTY("SeenAt", "t"),
    SD_BUS_VTABLE_END,
};

static const void *at(const struct service *service, unsigned index) {
    return fleet_device_at(service->fleet, index);
}

static void path_of(const void *device, char *ret) {
    service_device_path(device, ret);
}

const struct object_kind service_devices = {
    .prefix = WIPYD_DEVICE_PATH,
    .interface = WIPYD_DEVICE_INTERFACE,
    .vtable = vtable,
    .at = at,
    .path_of = path_of,
};
