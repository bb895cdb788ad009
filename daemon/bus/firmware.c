#include <errno.h>
#include <string.h>

#include "daemon/bus/objects.h"
#include "proto/names.h"

const char *service_firmware_state_word(enum firmware_state state) {
    switch (state) {
    case FIRMWARE_GOOD:
        return "good";
    case FIRMWARE_QUARANTINED:
        return "quarantined";
    case FIRMWARE_MISSING:
        return "missing";
    }
    return "missing";
}

static int export(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = service_of_call(message);
    const struct firmware_record *record = userdata;
    cleanup(close_fd_p) int fd = -1;
    int r = firmware_store_open_file(service->store, record, &fd);

    if (r < 0)
        return sd_bus_error_setf(error, wipyd_error_bus_name(WIPYD_ERROR_SYSTEM), "opening %s: %s",
                                 record->name, strerror(-r));
    return sd_bus_reply_method_return(message, "h", fd);
}

/* Every call below is answered by the store when it is done; the record may be gone by then, so it is named
 * by its digest. flag: the call's one argument, or NULL where it takes none. */
static int begin(sd_bus_message *message, int *flag, struct service_pending **ret) {
    int r = flag ? sd_bus_message_read(message, "b", flag) : 0;

    if (r < 0)
        return r;
    *ret = service_pending_new(message);
    return *ret ? 1 : -ENOMEM;
}

static int pin(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const struct firmware_record *record = userdata;
    struct service_pending *call;
    int pinned, r = begin(message, &pinned, &call);

    (void)error;
    if (r > 0)
        firmware_store_pin(service_of_call(message)->store, record->sha256, pinned, service_reply_nothing,
                           call);
    return r;
}

static int drop(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const struct firmware_record *record = userdata;
    struct service_pending *call;
    int force, r = begin(message, &force, &call);

    (void)error;
    if (r > 0)
        firmware_store_remove(service_of_call(message)->store, record->sha256, force, service_reply_nothing,
                              call);
    return r;
}

static int verify(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const struct firmware_record *record = userdata;
    struct service_pending *call;
    int r = begin(message, NULL, &call);

    (void)error;
    if (r > 0)
        firmware_store_verify(service_of_call(message)->store, record->sha256, service_reply_state, call);
    return r;
}

static int unquarantine(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const struct firmware_record *record = userdata;
    struct service_pending *call;
    int r = begin(message, NULL, &call);

    (void)error;
    if (r > 0)
        firmware_store_release(service_of_call(message)->store, record->sha256, service_reply_nothing, call);
    return r;
}

static int get_text(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct firmware_record *record = userdata;
    const char *text = record->reason; /* Reason */

    (void)bus, (void)path, (void)interface, (void)error;
    if (!strcmp(property, "Sha256"))
        text = record->sha256;
    else if (!strcmp(property, "Name"))
        text = record->name;
    else if (!strcmp(property, "Board"))
        text = record->board;
    else if (!strcmp(property, "Release"))
        text = record->release;
    else if (!strcmp(property, "Origin"))
        text = record->origin;
    else if (!strcmp(property, "ServerVersion"))
        text = record->server_version;
    else if (!strcmp(property, "ServerHash"))
        text = record->server_hash;
    else if (!strcmp(property, "State"))
        text = service_firmware_state_word(record->state);
    return sd_bus_message_append_basic(reply, 's', text);
}

static int get_value(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct firmware_record *record = userdata;

    (void)bus, (void)path, (void)interface, (void)error;
    if (!strcmp(property, "Bytes"))
        return sd_bus_message_append_basic(reply, 't', &record->bytes);
    if (!strcmp(property, "Order"))
        return sd_bus_message_append(reply, "u", firmware_record_order(record));
    if (!strcmp(property, "Pinned"))
        return sd_bus_message_append(reply, "b", record->is_pinned);
    if (!strcmp(property, "AddedAt"))
        return sd_bus_message_append_basic(reply, 't', &record->added_us);
    return sd_bus_message_append_basic(reply, 't', &record->used_us); /* UsedAt */
}

SERVICE_GATED(export)
SERVICE_GATED(pin)
SERVICE_GATED(drop)
SERVICE_GATED(verify)
SERVICE_GATED(unquarantine)

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Export", SD_BUS_NO_ARGS, SD_BUS_RESULT("h", package), may_export,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Pin", SD_BUS_ARGS("b", pinned), SD_BUS_NO_RESULT, may_pin,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Remove", SD_BUS_ARGS("b", force), SD_BUS_NO_RESULT, may_drop,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Verify", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", state), may_verify,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Unquarantine", NULL, NULL, may_unquarantine, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("Sha256", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Name", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Board", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Release", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Bytes", "t", get_value, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Order", "u", get_value, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Origin", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("ServerVersion", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("ServerHash", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("State", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Reason", "s", get_text, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Pinned", "b", get_value, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("AddedAt", "t", get_value, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("UsedAt", "t", get_value, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_VTABLE_END,
};

static const void *at(const struct service *service, unsigned index) {
    return firmware_store_at(service->store, index);
}

static void path_of(const void *record, char *ret) {
    service_firmware_path(record, ret);
}

const struct object_kind service_firmware = {
    .prefix = WIPYD_FIRMWARE_PATH,
    .interface = WIPYD_FIRMWARE_INTERFACE,
    .vtable = vtable,
    .at = at,
    .path_of = path_of,
};
