#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "daemon/bus/lease.h"
#include "daemon/bus/objects.h"
#include "proto/names.h"

const char *const device_properties[] = { "Present", "Job",     "Chip",       "Mac",     "FlashBytes",
                                          "Board",   "Release", "Slot",       "Adapter", "Serial",
                                          "Label",   "Policy",  "PolicyFrom", "Armed",   "Seen",
                                          "Verdict", "Rule",    "Reason",     "Advice",  "Holder",
                                          "Lessee",  "SeenAt",  NULL };

/* Of a method that begins a job: with who asks for it. */
static int read_options(sd_bus_message *message, enum service_call call, struct fleet_options *ret,
                        sd_bus_error *error) {
    struct service *service = service_of_call(message);
    int r = service_read_options(message, call, ret, error);

    snprintf(service->by, sizeof service->by, "uid %u", (unsigned)service->caller.uid);
    ret->by = service->by;
    return r;
}

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
    int r = read_options(message, CALL_FLASH, &options, error);

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
    r = read_options(message, CALL_FLASH_FILE, &options, error);
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
    int r = read_options(message, CALL_IDENTIFY, &options, error);

    if (r < 0)
        return r;
    if (fleet_identify(service->fleet, userdata, &options, &job, &fault) != WIPYD_ERROR_NONE)
        return service_set_error(error, fault.code, fault.story);
    return reply_job(message, job);
}

static int restore(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = service_of_call(message);
    struct fleet_options options;
    const char *owner, *backup;
    struct fleet_job *job;
    struct fault fault;
    char mac[18];
    int r = sd_bus_message_read(message, "ss", &owner, &backup);

    if (r < 0)
        return r;
    r = service_read_mac(owner, mac, error);
    if (r < 0)
        return r;
    r = read_options(message, CALL_RESTORE, &options, error);
    if (r < 0)
        return r;
    if (fleet_restore(service->fleet, userdata, mac, backup, &options, &job, &fault) != WIPYD_ERROR_NONE)
        return service_set_error(error, fault.code, fault.story);
    return reply_job(message, job);
}

static int look(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = service_of_call(message);
    struct service_pending *call;
    struct fleet_options options;
    int r = service_read_options(message, CALL_LOOK, &options, error);

    if (r < 0)
        return r;
    call = service_pending_new(message);
    if (!call)
        return -ENOMEM;
    fleet_look(service->fleet, userdata, &options, service_reply_done, call);
    return 1;
}

/* ---- why ------------------------------------------------------------------------------------- */

/* Those that were tried, the last of which won. */
static int append_rules(sd_bus_message *reply, unsigned won) {
    const struct decision_rule *rule;
    int r = sd_bus_message_open_container(reply, 'a', "(ssb)");

    for (unsigned i = 0; r >= 0 && i <= won && (rule = decision_rule_at(i)); i++)
        r = sd_bus_message_append(reply, "(ssb)", rule->word, rule->question, i == won);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_facts(sd_bus_message *reply, const struct decision_state *state) {
    char value[1024]; /* the longest text of a state, each byte of it escaped */
    const char *key;
    int r = sd_bus_message_open_container(reply, 'a', "(ss)");

    for (unsigned i = 0; r >= 0 && decision_state_field(state, i, &key, value, sizeof value); i++)
        r = sd_bus_message_append(reply, "(ss)", key, value);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int explain(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = service_of_call(message);
    cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    struct fleet_device *device = userdata;
    const struct decision_rule *rule;
    struct decision_state state;
    char text[320];
    unsigned won;
    int r;

    (void)error;
    fleet_explain(service->fleet, device, &state, &won);
    rule = decision_rule_at(won);
    rule->tell(&state, text, sizeof text);
    r = sd_bus_message_new_method_return(message, &reply);
    if (r >= 0)
        r = sd_bus_message_append(reply, "sss", decision_verdict_word(rule->verdict), rule->word, text);
    if (r >= 0)
        r = append_rules(reply, won);
    if (r >= 0)
        r = append_facts(reply, &state);
    if (r >= 0)
        r = sd_bus_message_append_basic(reply, 't', &device->decided_us);
    return r < 0 ? r : sd_bus_message_send(reply);
}

/* ---- properties ------------------------------------------------------------------------------ */

static int get_own_text(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct fleet_device *device = userdata;
    const struct decision_rule *rule = decision_rule_at(device->rule);
    struct fleet *fleet = service_of_getter(bus)->fleet;
    const char *text = rule->word, *from; /* Rule */

    (void)path, (void)interface, (void)error;
    if (!strcmp(property, "Name"))
        text = device->name;
    else if (!strcmp(property, "Node"))
        text = device->node;
    else if (!strcmp(property, "Label"))
        text = fleet_label(fleet, device);
    else if (!strcmp(property, "Policy"))
        text = board_policy_word(fleet_policy(fleet, device, &from));
    else if (!strcmp(property, "PolicyFrom"))
        fleet_policy(fleet, device, &text);
    else if (!strcmp(property, "Seen"))
        text = board_seen_word(device->decided.seen);
    else if (!strcmp(property, "Verdict"))
        text = decision_verdict_word(rule->verdict);
    return sd_bus_message_append_basic(reply, 's', text);
}

static int get_value(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct fleet_device *device = userdata;
    char job_path[OBJECT_PATH_MAX] = "/";

    (void)path, (void)interface, (void)error;
    if (!strcmp(property, "Present"))
        return sd_bus_message_append(reply, "b", device->is_present);
    if (!strcmp(property, "Armed"))
        return sd_bus_message_append(reply, "b", fleet_is_armed(service_of_getter(bus)->fleet, device));
    if (device->job) /* Job */
        service_job_path(device->job, job_path);
    return sd_bus_message_append_basic(reply, 'o', job_path);
}

#define CHARS(name, field)                                                                                   \
    SD_BUS_PROPERTY(name, "s", service_get_chars, offsetof(struct fleet_device, field),                      \
                    SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define NUMBER(name, field)                                                                                  \
    SD_BUS_PROPERTY(name, "t", NULL, offsetof(struct fleet_device, field),                                   \
                    SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define TEXT(name)        SD_BUS_PROPERTY(name, "s", get_own_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define CONST_TEXT(name)  SD_BUS_PROPERTY(name, "s", get_own_text, 0, SD_BUS_VTABLE_PROPERTY_CONST)
#define VALUE(name, type) SD_BUS_PROPERTY(name, type, get_value, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

SERVICE_GATED(flash)
SERVICE_GATED(flash_file)
SERVICE_GATED(identify)
SERVICE_GATED(look)
SERVICE_GATED(restore)
SERVICE_GATED(lease_begin)

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Flash", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job), may_flash,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("FlashFile", SD_BUS_ARGS("h", package, "s", name, "a{sv}", options),
                            SD_BUS_RESULT("o", job), may_flash_file, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Identify", SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job), may_identify,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Look", SD_BUS_ARGS("a{sv}", options), SD_BUS_NO_RESULT, may_look,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Lease", SD_BUS_ARGS("s", why), SD_BUS_RESULT("h", lease), may_lease_begin,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Restore", SD_BUS_ARGS("s", mac, "s", backup, "a{sv}", options),
                            SD_BUS_RESULT("o", job), may_restore, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS(
        "Explain", SD_BUS_NO_ARGS,
        SD_BUS_RESULT("s", verdict, "s", rule, "s", text, "a(ssb)", rules, "a(ss)", facts, "t", decided_at),
        explain, SD_BUS_VTABLE_UNPRIVILEGED),
    CONST_TEXT("Name"),
    CONST_TEXT("Node"),
    VALUE("Present", "b"),
    VALUE("Job", "o"),
    CHARS("Chip", board.chip),
    CHARS("Mac", board.mac),
    NUMBER("FlashBytes", board.flash_bytes),
    CHARS("Board", board.board),
    CHARS("Release", board.release),
    CHARS("Slot", slot),
    CHARS("Adapter", adapter),
    CHARS("Serial", serial),
    TEXT("Label"),
    TEXT("Policy"),
    TEXT("PolicyFrom"),
    VALUE("Armed", "b"),
    TEXT("Seen"),
    TEXT("Verdict"),
    TEXT("Rule"),
    CHARS("Reason", reason),
    CHARS("Advice", advice),
    CHARS("Holder", holder),
    CHARS("Lessee", lessee),
    NUMBER("SeenAt", seen_us),
    SD_BUS_VTABLE_END,
};

static const void *at(const struct service *service, unsigned index) {
    return fleet_device_at(service->fleet, index);
}

static const void *find(const struct service *service, const char *path) {
    cleanup(free_p) char *name = NULL;
    const struct fleet_device *device;

    if (sd_bus_path_decode(path, WIPYD_DEVICE_PATH, &name) <= 0)
        return NULL;
    for (unsigned i = 0; (device = fleet_device_at(service->fleet, i)); i++)
        if (!strcmp(device->name, name))
            return device;
    return NULL;
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
    .find = find,
};
