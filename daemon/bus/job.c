#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/bus/objects.h"
#include "proto/names.h"

const char *const job_properties_all[] = { "State",     "Phase",   "Progress", "BytesDone",  "BytesTotal",
                                           "Rate",      "Baud",    "Error",    "ErrorText",  "UserAction",
                                           "Board",     "Release", "Regions",  "FinishedAt", "Timings",
                                           "WireBytes", NULL };
const char *const job_properties_often[] = { "State",      "Phase",   "Progress", "BytesDone",
                                             "BytesTotal", "Rate",    "Baud",     "UserAction",
                                             "Board",      "Release", NULL };

static int cancel(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = service_of_call(message);
    struct fault fault;

    if (fleet_cancel(service->fleet, userdata, &fault) != WIPYD_ERROR_NONE)
        return service_set_error(error, fault.code, fault.story);
    return sd_bus_reply_method_return(message, NULL);
}

static const char *piece_state_word(enum flash_piece_state state) {
    switch (state) {
    case FLASH_PIECE_PENDING:
        return "pending";
    case FLASH_PIECE_EQUAL:
        return "equal";
    case FLASH_PIECE_DIFFERS:
        return "differs";
    case FLASH_PIECE_WRITTEN:
        return "written";
    }
    return "pending";
}

static int append_regions(sd_bus_message *reply, const struct flash_job *job) {
    unsigned n;
    const struct flash_piece *pieces = flash_job_pieces(job, &n);
    int r = sd_bus_message_open_container(reply, 'a', "(ttsss)");

    for (unsigned i = 0; r >= 0 && i < n; i++)
        r = sd_bus_message_append(reply, "(ttsss)", (uint64_t)pieces[i].piece->offset,
                                  (uint64_t)pieces[i].piece->size,
                                  pieces[i].region->kind == FIRMWARE_ERASE ? "erase" : "write",
                                  pieces[i].region->name, piece_state_word(pieces[i].state));
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_timings(sd_bus_message *reply, const struct flash_status *status) {
    int r = sd_bus_message_open_container(reply, 'a', "(st)");

    for (int phase = 0; r >= 0 && phase < WIPYD_PHASE_COUNT; phase++)
        if (status->phase_us[phase])
            r = sd_bus_message_append(reply, "(st)", wipyd_phase_word((enum wipyd_phase)phase),
                                      status->phase_us[phase] / 1000);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct fleet_job *job = userdata;
    const struct flash_status *status = flash_job_status(job->flash);
    const struct firmware_package *package = flash_job_package(job->flash);
    bool has_failed = wipyd_job_state_is_final(status->state) && status->fault.code != WIPYD_ERROR_NONE;
    const char *text = "";

    (void)bus, (void)path, (void)interface, (void)error;
    if (!strcmp(property, "Kind"))
        text = flash_job_is_identify(job->flash) ? "identify" : "flash";
    else if (!strcmp(property, "State"))
        text = wipyd_job_state_word(job->expires_ms || !wipyd_job_state_is_final(status->state)
                                        ? status->state
                                        : WIPYD_JOB_STATE_RUNNING); /* the port is still being closed */
    else if (!strcmp(property, "Phase"))
        text = wipyd_phase_word(status->phase);
    else if (!strcmp(property, "Error"))
        text = has_failed ? wipyd_error_bus_name(status->fault.code) : "";
    else if (!strcmp(property, "ErrorText"))
        text = has_failed ? status->fault.story : "";
    else if (!strcmp(property, "UserAction"))
        text = status->user_action;
    else if (!strcmp(property, "Package"))
        text = flash_job_package_name(job->flash);
    else if (!strcmp(property, "Board"))
        text = package ? package->version.board : "";
    else if (!strcmp(property, "Release"))
        text = package ? package->version.release : "";
    return sd_bus_message_append_basic(reply, 's', text);
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct fleet_job *job = userdata;
    const struct flash_status *status = flash_job_status(job->flash);
    char device_path[OBJECT_PATH_MAX];

    (void)bus, (void)path, (void)interface, (void)error;
    if (!strcmp(property, "Id"))
        return sd_bus_message_append_basic(reply, 'u', &job->id);
    if (!strcmp(property, "Device")) {
        service_device_path(job->device, device_path);
        return sd_bus_message_append_basic(reply, 'o', device_path);
    }
    if (!strcmp(property, "DryRun"))
        return sd_bus_message_append(reply, "b", flash_job_is_dry_run(job->flash));
    if (!strcmp(property, "Progress"))
        return sd_bus_message_append_basic(reply, 'd', &status->progress);
    if (!strcmp(property, "BytesDone"))
        return sd_bus_message_append_basic(reply, 't', &status->bytes_done);
    if (!strcmp(property, "BytesTotal"))
        return sd_bus_message_append_basic(reply, 't', &status->bytes_total);
    if (!strcmp(property, "Rate"))
        return sd_bus_message_append_basic(reply, 'u', &status->rate);
    if (!strcmp(property, "Baud"))
        return sd_bus_message_append_basic(reply, 'u', &status->baud);
    if (!strcmp(property, "Regions"))
        return append_regions(reply, job->flash);
    if (!strcmp(property, "StartedAt"))
        return sd_bus_message_append_basic(reply, 't', &status->started_us);
    if (!strcmp(property, "FinishedAt"))
        return sd_bus_message_append_basic(reply, 't', &status->finished_us);
    if (!strcmp(property, "Timings"))
        return append_timings(reply, status);
    return sd_bus_message_append(reply, "(tt)", status->wire_sent, status->wire_received); /* WireBytes */
}

#define TEXT(name)              SD_BUS_PROPERTY(name, "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define CONST_TEXT(name)        SD_BUS_PROPERTY(name, "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST)
#define VALUE(name, type)       SD_BUS_PROPERTY(name, type, get_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define CONST_VALUE(name, type) SD_BUS_PROPERTY(name, type, get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST)

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Cancel", NULL, NULL, cancel, 0),
    CONST_VALUE("Id", "u"),
    CONST_TEXT("Kind"),
    CONST_VALUE("Device", "o"),
    CONST_VALUE("DryRun", "b"),
    TEXT("State"),
    TEXT("Phase"),
    VALUE("Progress", "d"),
    VALUE("BytesDone", "t"),
    VALUE("BytesTotal", "t"),
    VALUE("Rate", "u"),
    VALUE("Baud", "u"),
    TEXT("Error"),
    TEXT("ErrorText"),
    TEXT("UserAction"),
    TEXT("Package"),
    TEXT("Board"),
    TEXT("Release"),
    VALUE("Regions", "a(ttsss)"),
    CONST_VALUE("StartedAt", "t"),
    VALUE("FinishedAt", "t"),
    VALUE("Timings", "a(st)"),
    VALUE("WireBytes", "(tt)"),
    SD_BUS_VTABLE_END,
};

static const void *at(const struct service *service, unsigned index) {
    return fleet_job_at(service->fleet, index);
}

static void path_of(const void *job, char *ret) {
    service_job_path(job, ret);
}

const struct object_kind service_jobs = {
    .prefix = WIPYD_JOB_PATH,
    .interface = WIPYD_JOB_INTERFACE,
    .vtable = vtable,
    .at = at,
    .path_of = path_of,
};
