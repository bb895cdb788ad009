#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/bus/objects.h"
#include "proto/names.h"

const char *const board_properties[] = {
    "Board",       "Release", "Chip",   "FlashBytes",     "Label",         "Policy",    "Pin",
    "Slot",        "SeenAt",  "Device", "FlashedRelease", "FlashedSha256", "FlashedAt", "ConfirmedRelease",
    "ConfirmedAt", NULL
};

/* board: the record as it is, but for what is wanted now. */
static int put(sd_bus_message *message, const struct board_record *board, sd_bus_error *error) {
    struct service_pending *call;
    struct ledger *ledger;
    int r = service_begin_change(message, &ledger, &call, error);

    if (r < 0)
        return r;
    ledger_put_board(ledger, board, service_reply_done, call);
    return 1;
}

static int set_policy(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct board_record board = *(const struct board_record *)userdata;
    int r = service_read_policy(message, &board.policy, error);

    return r < 0 ? r : put(message, &board, error);
}

static int set_label(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct board_record board = *(const struct board_record *)userdata;
    int r = service_read_label(message, board.label, error);

    return r < 0 ? r : put(message, &board, error);
}

static int pin(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct board_record board = *(const struct board_record *)userdata;
    const char *release;
    int r = sd_bus_message_read_basic(message, 's', &release);

    if (r < 0)
        return r;
    if (strlen(release) >= sizeof board.pin)
        return sd_bus_error_setf(error, wipyd_error_bus_name(WIPYD_ERROR_INVALID_ARGUMENT),
                                 "a release has at most %zu bytes, not %zu", sizeof board.pin - 1,
                                 strlen(release));
    if (!is_graphic_text(release))
        return service_set_error(error, WIPYD_ERROR_INVALID_ARGUMENT,
                                 "a release is printable ASCII without spaces");
    snprintf(board.pin, sizeof board.pin, "%s", release);
    return put(message, &board, error);
}

static int forget(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const struct board_record *board = userdata;
    const struct fleet_device *device = service_device_of_board(service_of_call(message), board->mac);
    struct service_pending *call;
    struct ledger *ledger;
    int r;

    if (device)
        return sd_bus_error_setf(error, wipyd_error_bus_name(WIPYD_ERROR_IN_USE),
                                 "board %s is plugged in at %s", board->mac, device->name);
    r = service_begin_change(message, &ledger, &call, error);
    if (r < 0)
        return r;
    ledger_forget_board(ledger, board->mac, service_reply_done, call);
    return 1;
}

static int get_policy(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct board_record *board = userdata;

    (void)bus, (void)path, (void)interface, (void)property, (void)error;
    return sd_bus_message_append_basic(reply, 's', board_policy_word(board->policy));
}

static int get_device(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct board_record *board = userdata;

    (void)path, (void)interface, (void)property, (void)error;
    return service_append_device(reply, service_device_of_board(service_of_getter(bus), board->mac));
}

#define TEXT(name, field)                                                                                    \
    SD_BUS_PROPERTY(name, "s", service_get_chars, offsetof(struct board_record, field),                      \
                    SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define NUMBER(name, field)                                                                                  \
    SD_BUS_PROPERTY(name, "t", NULL, offsetof(struct board_record, field),                                   \
                    SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

SERVICE_GATED(set_policy)
SERVICE_GATED(set_label)
SERVICE_GATED(pin)
SERVICE_GATED(forget)

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("SetPolicy", SD_BUS_ARGS("s", policy), SD_BUS_NO_RESULT, may_set_policy,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetLabel", SD_BUS_ARGS("s", label), SD_BUS_NO_RESULT, may_set_label,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Pin", SD_BUS_ARGS("s", release), SD_BUS_NO_RESULT, may_pin,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Forget", NULL, NULL, may_forget, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("Mac", "s", service_get_chars, offsetof(struct board_record, mac),
                    SD_BUS_VTABLE_PROPERTY_CONST),
    TEXT("Board", board),
    TEXT("Release", release),
    TEXT("Chip", chip),
    NUMBER("FlashBytes", flash_bytes),
    TEXT("Label", label),
    SD_BUS_PROPERTY("Policy", "s", get_policy, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    TEXT("Pin", pin),
    TEXT("Slot", slot),
    NUMBER("SeenAt", seen_us),
    SD_BUS_PROPERTY("Device", "o", get_device, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    TEXT("FlashedRelease", flashed_release),
    TEXT("FlashedSha256", flashed_sha256),
    NUMBER("FlashedAt", flashed_us),
    TEXT("ConfirmedRelease", confirmed_release),
    NUMBER("ConfirmedAt", confirmed_us),
    SD_BUS_VTABLE_END,
};

static const void *at(const struct service *service, unsigned index) {
    const struct ledger *ledger = fleet_ledger(service->fleet);

    return ledger ? ledger_board_at(ledger, index) : NULL;
}

static const void *find(const struct service *service, const char *path) {
    const struct ledger *ledger = fleet_ledger(service->fleet);
    const char *slash = strrchr(path, '/');
    char mac[18];

    return ledger && slash && service_parse_mac(slash + 1, mac) ? ledger_board(ledger, mac) : NULL;
}

static void path_of(const void *board, char *ret) {
    service_board_path(board, ret);
}

const struct object_kind service_boards = {
    .prefix = WIPYD_BOARD_PATH,
    .interface = WIPYD_BOARD_INTERFACE,
    .vtable = vtable,
    .at = at,
    .path_of = path_of,
    .find = find,
};
