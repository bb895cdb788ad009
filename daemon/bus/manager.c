#include <string.h>

#include "daemon/bus/objects.h"
#include "proto/names.h"

static int find_device(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = userdata;
    const struct fleet_device *device;
    char path[OBJECT_PATH_MAX];
    const char *name;
    int r = sd_bus_message_read_basic(message, 's', &name);

    if (r < 0)
        return r;
    device = fleet_find_device(service->fleet, name);
    if (!device)
        return sd_bus_error_setf(error, wipyd_error_bus_name(WIPYD_ERROR_NO_SUCH_DEVICE),
                                 "no port and no board is called \"%s\"", name);
    service_device_path(device, path);
    return sd_bus_reply_method_return(message, "o", path);
}

static int find_job(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = userdata;
    const struct fleet_job *job;
    char path[OBJECT_PATH_MAX];
    uint32_t id;
    int r = sd_bus_message_read_basic(message, 'u', &id);

    if (r < 0)
        return r;
    job = fleet_find_job(service->fleet, id);
    if (!job)
        return sd_bus_error_setf(error, wipyd_error_bus_name(WIPYD_ERROR_NO_SUCH_JOB),
                                 "no job has the number %u", id);
    service_job_path(job, path);
    return sd_bus_reply_method_return(message, "o", path);
}

static int get_version(sd_bus *bus, const char *path, const char *interface, const char *property,
                       sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    (void)bus, (void)path, (void)interface, (void)property, (void)userdata, (void)error;
    return sd_bus_message_append_basic(reply, 's', WIPYD_VERSION);
}

static int get_loop(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct service *service = userdata;
    const struct loop_meter *meter = service->meter;

    (void)bus, (void)path, (void)interface, (void)error;
    if (!strcmp(property, "LoopTurns"))
        return sd_bus_message_append_basic(reply, 't', &meter->turns);
    if (!strcmp(property, "LoopLongestTurn"))
        return sd_bus_message_append_basic(reply, 't', &meter->longest_us);
    return sd_bus_message_append_basic(reply, 't', &meter->over_10ms); /* LoopLongTurns */
}

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("FindDevice", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", device), find_device,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("FindJob", SD_BUS_ARGS("u", id), SD_BUS_RESULT("o", job), find_job,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("LoopTurns", "t", get_loop, 0, 0),
    SD_BUS_PROPERTY("LoopLongestTurn", "t", get_loop, 0, 0),
    SD_BUS_PROPERTY("LoopLongTurns", "t", get_loop, 0, 0),
    SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_VTABLE_END,
};

int service_add_manager(struct service *service) {
    return sd_bus_add_object_vtable(service->bus, &service->slots[service->n_slots++], WIPYD_ROOT_PATH,
                                    WIPYD_MANAGER_INTERFACE, vtable, service);
}
