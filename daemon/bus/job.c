#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/bus/objects.h"
#include "proto/names.h"

const char *const job_properties_all[] = {
    "State",      "Phase",     "Progress",    "BytesDone",        "BytesTotal", "Rate",    "Baud",
    "Error",      "ErrorText", "UserAction",  "Package",          "Board",      "Release", "Regions",
    "FinishedAt", "Timings",   "WireBytes",   "Device",           "Slot",       "Mac",     "By",
    "Attempt",    "Attempts",  "FromRelease", "ConfirmedRelease", "WaitsFor",   "Warning", NULL
};
const char *const job_properties_often[] = { "State",   "Phase",       "Progress", "BytesDone",  "BytesTotal",
                                             "Rate",    "Baud",        "Loader",   "UserAction", "Board",
                                             "Release", "Device",      "Slot",     "Mac",        "By",
                                             "Attempt", "FromRelease", "WaitsFor", NULL };

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

static int append_region(sd_bus_message *reply, uint64_t offset, uint64_t size, bool is_erase,
                         const char *name, enum flash_piece_state state) {
    return sd_bus_message_append(reply, "(ttsss)", offset, size, is_erase ? "erase" : "write", name,
                                 piece_state_word(state));
}

static int append_regions(sd_bus_message *reply, const struct fleet_job *job) {
    unsigned n = 0;
    const struct flash_piece *pieces = job->flash ? flash_job_pieces(job->flash, &n) : NULL;
    const struct fleet_region *regions = job->regions;
    int r = sd_bus_message_open_container(reply, 'a', "(ttsss)");

    for (unsigned i = 0; r >= 0 && i < n; i++)
        r = append_region(reply, pieces[i].piece->offset, pieces[i].piece->size,
                          pieces[i].region->kind == FIRMWARE_ERASE, pieces[i].region->name, pieces[i].state);
    for (unsigned i = 0; r >= 0 && i < job->n_regions; i++)
        r = append_region(reply, regions[i].offset, regions[i].size, regions[i].is_erase, regions[i].name,
                          regions[i].state);
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

static int append_attempts(sd_bus_message *reply, const struct fleet_job *job) {
    int r = sd_bus_message_open_container(reply, 'a', "(uts)");

    for (unsigned i = 0; r >= 0 && i < job->n_attempts; i++)
        r = sd_bus_message_append(reply, "(uts)", i + 1, job->attempts[i].ended_us, job->attempts[i].reason);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* Its port is still being closed, or its end on the way to the disk: nobody is told before. */
static bool is_ending(const struct fleet_job *job) {
    enum wipyd_job_state state = job->record.state;

    if (job->expires_ms || state == WIPYD_JOB_STATE_INTERRUPTED)
        return false;
    return wipyd_job_state_is_final(state) || (job->flash && wipyd_job_state_is_final(job->status.state));
}

/* The record says whether it is over or cut off; of one under way the attempt knows more. */
static enum wipyd_job_state state_of(const struct fleet_job *job) {
    enum wipyd_job_state state = job->record.state;

    if (is_ending(job))
        return job->device ? WIPYD_JOB_STATE_RUNNING : WIPYD_JOB_STATE_INTERRUPTED;
    if (job->expires_ms || state == WIPYD_JOB_STATE_INTERRUPTED || !job->flash)
        return state;
    return job->status.state;
}

static const char *either(const char *text, const char *otherwise) {
    return *text ? text : otherwise;
}

static const char *error_name(const struct fleet_job *job) {
    enum wipyd_job_state state = state_of(job);

    if (state == WIPYD_JOB_STATE_DONE ||
        (!wipyd_job_state_is_final(state) && state != WIPYD_JOB_STATE_INTERRUPTED))
        return "";
    if (*job->record.error)
        return job->record.error;
    return job->status.fault.code != WIPYD_ERROR_NONE ? wipyd_error_bus_name(job->status.fault.code) : "";
}

static const char *error_text(const struct fleet_job *job) {
    if (!*error_name(job))
        return "";
    return *job->record.error ? job->record.error_text : job->status.fault.story;
}

/* What the package's image says: by the package once it is read, before by what is kept of it. */
static const char *package_word(const struct fleet_job *job, bool is_board) {
    const struct firmware_package *package = job->flash ? flash_job_package(job->flash) : NULL;

    if (package)
        return is_board ? package->version.board : package->version.release;
    if (job->record.kind != WIPYD_JOB_KIND_FLASH)
        return "";
    return is_board ? job->record.board : job->record.to_release;
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct fleet_job *job = userdata;
    const struct job_record *record = &job->record;
    const struct flash_status *status = &job->status;
    const char *text = record->package; /* Package */

    (void)bus, (void)path, (void)interface, (void)error;
    if (!strcmp(property, "Kind"))
        text = wipyd_job_kind_word(record->kind);
    else if (!strcmp(property, "State"))
        text = wipyd_job_state_word(state_of(job));
    else if (!strcmp(property, "Phase"))
        text = wipyd_phase_word(status->phase);
    else if (!strcmp(property, "Error"))
        text = error_name(job);
    else if (!strcmp(property, "ErrorText"))
        text = error_text(job);
    else if (!strcmp(property, "UserAction"))
        text = is_ending(job) ? "" : status->user_action;
    else if (!strcmp(property, "Board") || !strcmp(property, "Release"))
        text = package_word(job, *property == 'B');
    else if (!strcmp(property, "Mac"))
        text = either(record->mac, status->board.mac);
    else if (!strcmp(property, "FromRelease"))
        text = either(record->from_release, status->board.release);
    else if (!strcmp(property, "ConfirmedRelease"))
        text = either(record->confirmed_release, status->confirmed_release);
    return sd_bus_message_append_basic(reply, 's', text);
}

static int get_value(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct fleet_job *job = userdata;

    (void)bus, (void)path, (void)interface, (void)error;
    if (!strcmp(property, "Device"))
        return service_append_device(reply, job->device);
    if (!strcmp(property, "FinishedAt"))
        return sd_bus_message_append(reply, "t", job->expires_ms ? job->record.finished_us : UINT64_C(0));
    if (!strcmp(property, "DryRun"))
        return sd_bus_message_append(reply, "b", job->record.is_dry_run);
    if (!strcmp(property, "Attempts"))
        return append_attempts(reply, job);
    if (!strcmp(property, "Regions"))
        return append_regions(reply, job);
    if (!strcmp(property, "Timings"))
        return append_timings(reply, &job->status);
    /* WireBytes */
    return sd_bus_message_append(reply, "(tt)", job->status.wire_sent, job->status.wire_received);
}

#define CHANGES           SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define CONST             SD_BUS_VTABLE_PROPERTY_CONST
#define TEXT(name, flags) SD_BUS_PROPERTY(name, "s", get_text, 0, flags)
#define CHARS(name, field)                                                                                   \
    SD_BUS_PROPERTY(name, "s", service_get_chars, offsetof(struct fleet_job, field), CHANGES)
#define VALUE(name, type, flags) SD_BUS_PROPERTY(name, type, get_value, 0, flags)
#define NUMBER(name, type, field, flags)                                                                     \
    SD_BUS_PROPERTY(name, type, NULL, offsetof(struct fleet_job, field), flags)

SERVICE_GATED(cancel)

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Cancel", NULL, NULL, may_cancel, SD_BUS_VTABLE_UNPRIVILEGED),
    NUMBER("Id", "u", id, CONST),
    TEXT("Kind", CONST),
    VALUE("Device", "o", CHANGES),
    CHARS("Slot", record.slot),
    TEXT("Mac", CHANGES),
    CHARS("By", record.by),
    NUMBER("Attempt", "u", record.attempts, CHANGES),
    VALUE("Attempts", "a(uts)", CHANGES),
    TEXT("FromRelease", CHANGES),
    TEXT("ConfirmedRelease", CHANGES),
    VALUE("DryRun", "b", CONST),
    TEXT("State", CHANGES),
    TEXT("Phase", CHANGES),
    NUMBER("Progress", "d", status.progress, CHANGES),
    NUMBER("BytesDone", "t", status.bytes_done, CHANGES),
    NUMBER("BytesTotal", "t", status.bytes_total, CHANGES),
    NUMBER("Rate", "u", status.rate, CHANGES),
    NUMBER("Baud", "u", status.baud, CHANGES),
    CHARS("Loader", status.loader),
    TEXT("Error", CHANGES),
    TEXT("ErrorText", CHANGES),
    TEXT("UserAction", CHANGES),
    CHARS("WaitsFor", waits_for),
    CHARS("Warning", record.warning),
    TEXT("Package", CHANGES),
    TEXT("Board", CHANGES),
    TEXT("Release", CHANGES),
    VALUE("Regions", "a(ttsss)", CHANGES),
    NUMBER("StartedAt", "t", record.started_us, CONST),
    VALUE("FinishedAt", "t", CHANGES),
    VALUE("Timings", "a(st)", CHANGES),
    VALUE("WireBytes", "(tt)", CHANGES),
    SD_BUS_VTABLE_END,
};

static const void *at(const struct service *service, unsigned index) {
    return fleet_job_at(service->fleet, index);
}

static const void *find(const struct service *service, const char *path) {
    const char *slash = strrchr(path, '/');

    return slash ? fleet_find_job(service->fleet, (uint32_t)strtoul(slash + 1, NULL, 10)) : NULL;
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
    .find = find,
};
