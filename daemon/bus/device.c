#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

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
    int r = service_read_options(message, true, &options, error);

    if (r < 0)
        return r;
    if (fleet_flash(service->fleet, userdata, &options, &job, &fault) != WIPYD_ERROR_NONE)
        return service_set_error(error, fault.code, fault.story);
    return reply_job(message, job);
}

/* A file that nobody can change any more, of a size that makes sense. */
static int check_package_fd(int fd, uint64_t *ret_bytes, sd_bus_error *error) {
    const int wanted = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;

    if (seals < 0 || (seals & wanted) != wanted)
        return service_set_error(error, WIPYD_ERROR_INVALID_ARGUMENT,
                                 "package must be a memfd with all seals");
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size == 0)
        return service_set_error(error, WIPYD_ERROR_PACKAGE_INVALID, "the file is empty");
    if (st.st_size > (off_t)WIPYD_PACKAGE_BYTES_MAX)
        return service_set_error(error, WIPYD_ERROR_PACKAGE_TOO_LARGE, "at most 8 MiB are taken");
    *ret_bytes = (uint64_t)st.st_size;
    return 0;
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
    r = service_read_options(message, false, &options, error);
    if (r < 0)
        return r;
    r = check_package_fd(fd, &bytes, error);
    if (r < 0)
        return r;
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 3); /* the message's own goes away with it */
    if (fd < 0)
        return -errno;
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
    int r = service_read_options(message, false, &options, error);

    if (r < 0)
        return r;
    if (options.dry_run)
        return service_set_error(error, WIPYD_ERROR_UNKNOWN_OPTION, "no option is called \"dry-run\"");
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

static void *at(struct fleet *fleet, unsigned index) {
    return fleet_device_at(fleet, index);
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
