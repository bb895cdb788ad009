#include <stddef.h>
#include <string.h>

#include "daemon/bus/objects.h"
#include "proto/names.h"

const char *const slot_properties[] = { "Label",  "Policy", "Armed",     "Device", "Mac",
                                        "SeenAt", "Rate",   "ErrorRate", "Advice", NULL };

/* slot: the record as it is, but for what is wanted now. */
static int put(sd_bus_message *message, const struct slot_record *slot, sd_bus_error *error) {
    struct service_pending *call;
    struct ledger *ledger;
    int r = service_begin_change(message, &ledger, &call, error);

    if (r < 0)
        return r;
    ledger_put_slot(ledger, slot, service_reply_done, call);
    return 1;
}

static int set_policy(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct slot_record slot = *(const struct slot_record *)userdata;
    int r = service_read_policy(message, &slot.policy, error);

    return r < 0 ? r : put(message, &slot, error);
}

static int set_label(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct slot_record slot = *(const struct slot_record *)userdata;
    int r = service_read_label(message, slot.label, error);

    return r < 0 ? r : put(message, &slot, error);
}

static int arm(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct slot_record slot = *(const struct slot_record *)userdata;
    int armed, r = sd_bus_message_read_basic(message, 'b', &armed);

    if (r < 0)
        return r;
    slot.is_armed = armed != 0;
    return put(message, &slot, error);
}

static int forget(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const struct slot_record *slot = userdata;
    const struct fleet_device *device = service_device_of_slot(service_of_call(message), slot->name);
    struct service_pending *call;
    struct ledger *ledger;
    int r;

    if (device)
        return sd_bus_error_setf(error, wipyd_error_bus_name(WIPYD_ERROR_IN_USE), "%s is plugged in there",
                                 device->name);
    r = service_begin_change(message, &ledger, &call, error);
    if (r < 0)
        return r;
    ledger_forget_slot(ledger, slot->name, service_reply_done, call);
    return 1;
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct slot_record *slot = userdata;

    (void)path, (void)interface, (void)error;
    if (!strcmp(property, "Policy"))
        return sd_bus_message_append_basic(reply, 's', board_policy_word(slot->policy));
    if (!strcmp(property, "Armed"))
        return sd_bus_message_append(reply, "b", slot->is_armed);
    /* Device */
    return service_append_device(reply, service_device_of_slot(service_of_getter(bus), slot->name));
}

static int get_rate(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    struct fleet_slot_rate rate;

    (void)path, (void)interface, (void)error;
    fleet_slot_rate(service_of_getter(bus)->fleet, userdata, &rate);
    if (!strcmp(property, "Rate"))
        return sd_bus_message_append(reply, "u", rate.baud);
    if (!strcmp(property, "ErrorRate"))
        return sd_bus_message_append(reply, "d", rate.error_share);
    /* Advice */
    return sd_bus_message_append_basic(reply, 's', rate.advice);
}

#define TEXT(name, field, flags)                                                                             \
    SD_BUS_PROPERTY(name, "s", service_get_chars, offsetof(struct slot_record, field), flags)
#define RATE(name, type)     SD_BUS_PROPERTY(name, type, get_rate, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define PROPERTY(name, type) SD_BUS_PROPERTY(name, type, get_property, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

SERVICE_GATED(set_policy)
SERVICE_GATED(set_label)
SERVICE_GATED(arm)
SERVICE_GATED(forget)

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("SetPolicy", SD_BUS_ARGS("s", policy), SD_BUS_NO_RESULT, may_set_policy,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetLabel", SD_BUS_ARGS("s", label), SD_BUS_NO_RESULT, may_set_label,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Arm", SD_BUS_ARGS("b", armed), SD_BUS_NO_RESULT, may_arm,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Forget", NULL, NULL, may_forget, SD_BUS_VTABLE_UNPRIVILEGED),
    TEXT("Name", name, SD_BUS_VTABLE_PROPERTY_CONST),
    TEXT("Label", label, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    PROPERTY("Policy", "s"),
    PROPERTY("Armed", "b"),
    PROPERTY("Device", "o"),
    TEXT("Mac", mac, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("SeenAt", "t", NULL, offsetof(struct slot_record, seen_us),
                    SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    RATE("Rate", "u"),
    RATE("ErrorRate", "d"),
    RATE("Advice", "s"),
    SD_BUS_VTABLE_END,
};

static const void *at(const struct service *service, unsigned index) {
    const struct ledger *ledger = fleet_ledger(service->fleet);

    return ledger ? ledger_slot_at(ledger, index) : NULL;
}

static const void *find(const struct service *service, const char *path) {
    const struct ledger *ledger = fleet_ledger(service->fleet);
    cleanup(free_p) char *name = NULL;

    if (!ledger || sd_bus_path_decode(path, WIPYD_SLOT_PATH, &name) <= 0)
        return NULL;
    return ledger_slot(ledger, name);
}

static void path_of(const void *slot, char *ret) {
    service_slot_path(slot, ret);
}

const struct object_kind service_slots = {
    .prefix = WIPYD_SLOT_PATH,
    .interface = WIPYD_SLOT_INTERFACE,
    .vtable = vtable,
    .at = at,
    .path_of = path_of,
    .find = find,
};
