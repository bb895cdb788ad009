#include <errno.h>
#include <string.h>

#include "daemon/bus/objects.h"
#include "proto/names.h"

/* Fewer digits of a digest name nothing. */
enum { DIGEST_DIGITS_MIN = 4 };

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
        return service_set_errorf(error, WIPYD_ERROR_NO_SUCH_DEVICE, "no port and no board is called \"%s\"",
                                  name);
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

static int refresh(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = userdata;

    (void)error;
    firmware_poll_now(service->poll);
    return sd_bus_reply_method_return(message, NULL);
}

static int import_firmware(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = userdata;
    struct firmware_origin origin = { 0 };
    struct service_pending *call;
    uint64_t bytes = 0;
    int fd, r = sd_bus_message_read(message, "hs", &fd, &origin.name);

    if (r < 0)
        return r;
    r = service_take_package(fd, &fd, &bytes, error);
    if (r < 0)
        return r;
    call = service_pending_new(message);
    if (!call) {
        close(fd);
        return -ENOMEM;
    }
    firmware_store_add(service->store, fd, bytes, &origin, service_reply_path, call);
    return 1;
}

/* By the beginning of the digest, or by a release that only one package has. */
static const struct firmware_record *find_record(const struct service *service, const char *name) {
    const struct firmware_record *record, *found = NULL;

    if (strlen(name) >= DIGEST_DIGITS_MIN && strspn(name, "0123456789abcdef") == strlen(name)) {
        found = firmware_store_find(service->store, name);
        if (found)
            return found;
    }
    for (unsigned i = 0; (record = firmware_store_at(service->store, i)); i++)
        if (!strcmp(record->release, name) || !strcmp(record->server_version, name)) {
            if (found)
                return NULL;
            found = record;
        }
    return found;
}

static int find_firmware(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = userdata;
    const struct firmware_record *record;
    char path[OBJECT_PATH_MAX];
    const char *name;
    int r = sd_bus_message_read_basic(message, 's', &name);

    if (r < 0)
        return r;
    record = find_record(service, name);
    if (!record)
        return service_set_errorf(error, WIPYD_ERROR_NO_SUCH_FIRMWARE,
                                  "no package, or more than one, is called \"%s\"", name);
    service_firmware_path(record, path);
    return sd_bus_reply_method_return(message, "o", path);
}

/* ---- boards and slots ------------------------------------------------------------------------ */

/* NULL: none is called so, or more than one. */
static const struct board_record *board_by_label(const struct ledger *ledger, const char *label) {
    const struct board_record *board, *found = NULL;

    for (unsigned i = 0; *label && (board = ledger_board_at(ledger, i)); i++)
        if (!strcmp(board->label, label)) {
            if (found)
                return NULL;
            found = board;
        }
    return found;
}

static int find_board(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = userdata;
    const struct ledger *ledger = fleet_ledger(service->fleet);
    const struct board_record *board = NULL;
    char path[OBJECT_PATH_MAX], mac[18];
    const char *name;
    int r = sd_bus_message_read_basic(message, 's', &name);

    if (r < 0)
        return r;
    if (ledger && service_parse_mac(name, mac))
        board = ledger_board(ledger, mac);
    if (ledger && !board)
        board = board_by_label(ledger, name);
    if (!board)
        return service_set_errorf(error, WIPYD_ERROR_NO_SUCH_BOARD,
                                  "no board, or more than one, is called \"%s\"", name);
    service_board_path(board, path);
    return sd_bus_reply_method_return(message, "o", path);
}

static const struct slot_record *slot_by_label(const struct ledger *ledger, const char *label) {
    const struct slot_record *slot, *found = NULL;

    for (unsigned i = 0; *label && (slot = ledger_slot_at(ledger, i)); i++)
        if (!strcmp(slot->label, label)) {
            if (found)
                return NULL;
            found = slot;
        }
    return found;
}

static const struct slot_record *slot_by_device(const struct service *service, const struct ledger *ledger,
                                                const char *name) {
    const struct fleet_device *device;

    for (unsigned i = 0; (device = fleet_device_at(service->fleet, i)); i++)
        if (!strcmp(device->name, name))
            return ledger_slot(ledger, device->slot);
    return NULL;
}

static int find_slot(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = userdata;
    const struct ledger *ledger = fleet_ledger(service->fleet);
    const struct slot_record *slot = NULL;
    char path[OBJECT_PATH_MAX];
    const char *name;
    int r = sd_bus_message_read_basic(message, 's', &name);

    if (r < 0)
        return r;
    if (ledger)
        slot = ledger_slot(ledger, name);
    if (ledger && !slot)
        slot = slot_by_device(service, ledger, name);
    if (ledger && !slot)
        slot = slot_by_label(ledger, name);
    if (!slot)
        return service_set_errorf(error, WIPYD_ERROR_NO_SUCH_SLOT,
                                  "no slot, or more than one, is called \"%s\"", name);
    service_slot_path(slot, path);
    return sd_bus_reply_method_return(message, "o", path);
}

static int set_default_policy(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    struct service *service = userdata;
    struct ledger *ledger = fleet_ledger(service->fleet);
    struct service_pending *call;
    enum board_policy policy;
    int r = service_read_policy(message, &policy, error);

    if (r < 0)
        return r;
    if (!ledger)
        return service_set_error(error, WIPYD_ERROR_SHUTTING_DOWN, "nothing is changed any more");
    call = service_pending_new(message);
    if (!call)
        return -ENOMEM;
    ledger_set_default_policy(ledger, policy, service_reply_done, call);
    return 1;
}

static int get_default_policy(sd_bus *bus, const char *path, const char *interface, const char *property,
                              sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct service *service = userdata;
    const struct ledger *ledger = fleet_ledger(service->fleet);

    (void)bus, (void)path, (void)interface, (void)property, (void)error;
    return sd_bus_message_append_basic(
        reply, 's', board_policy_word(ledger ? ledger_default_policy(ledger) : BOARD_POLICY_UNSET));
}

/* ---- properties ------------------------------------------------------------------------------ */

static const char *poll_state_word(enum firmware_poll_state state) {
    switch (state) {
    case FIRMWARE_POLL_IDLE:
        return "idle";
    case FIRMWARE_POLL_ASKING:
        return "asking";
    case FIRMWARE_POLL_FETCHING:
        return "fetching";
    case FIRMWARE_POLL_OFF:
        return "off";
    }
    return "off";
}

static int get_poll(sd_bus *bus, const char *path, const char *interface, const char *property,
                    sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct service *service = userdata;
    const struct firmware_poll_status *status = firmware_poll_status(service->poll);

    (void)bus, (void)path, (void)interface, (void)error;
    if (!strcmp(property, "PollState"))
        return sd_bus_message_append_basic(reply, 's', poll_state_word(status->state));
    if (!strcmp(property, "PollResult"))
        return sd_bus_message_append_basic(reply, 's', status->result);
    if (!strcmp(property, "PollFailures"))
        return sd_bus_message_append_basic(reply, 'u', &status->failures);
    if (!strcmp(property, "PollSource"))
        return sd_bus_message_append_basic(reply, 's', status->source);
    if (!strcmp(property, "PolledAt"))
        return sd_bus_message_append_basic(reply, 't', &status->last_us);
    if (!strcmp(property, "NextPollAt"))
        return sd_bus_message_append_basic(reply, 't', &status->next_us);
    if (!strcmp(property, "FetchedBytes"))
        return sd_bus_message_append_basic(reply, 't', &status->bytes_done);
    return sd_bus_message_append_basic(reply, 't', &status->bytes_total); /* FetchBytes */
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
    uint64_t quantile_us;

    (void)bus, (void)path, (void)interface, (void)error;
    if (!strcmp(property, "LoopTurns"))
        return sd_bus_message_append_basic(reply, 't', &meter->turns);
    if (!strcmp(property, "LoopLongestTurn"))
        return sd_bus_message_append_basic(reply, 't', &meter->longest_us);
    if (!strcmp(property, "LoopTurn99")) {
        quantile_us = loop_meter_quantile_us(meter, 0.99);
        return sd_bus_message_append_basic(reply, 't', &quantile_us);
    }
    return sd_bus_message_append_basic(reply, 't', &meter->over_10ms); /* LoopLongTurns */
}

SERVICE_GATED(refresh)
SERVICE_GATED(import_firmware)
SERVICE_GATED(set_default_policy)
SERVICE_GATED(service_list_backups)
SERVICE_GATED(service_open_backup)

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("FindDevice", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", device), find_device,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("FindJob", SD_BUS_ARGS("u", id), SD_BUS_RESULT("o", job), find_job,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Refresh", NULL, NULL, may_refresh, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("ImportFirmware", SD_BUS_ARGS("h", package, "s", name),
                            SD_BUS_RESULT("o", firmware), may_import_firmware, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("FindFirmware", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", firmware),
                            find_firmware, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("FindBoard", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", board), find_board,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("FindSlot", SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", slot), find_slot,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("SetDefaultPolicy", SD_BUS_ARGS("s", policy), SD_BUS_NO_RESULT,
                            may_set_default_policy, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("History", SD_BUS_ARGS("a{sv}", query), SD_BUS_RESULT("aa{sv}", jobs),
                            service_history, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Decisions", SD_BUS_ARGS("a{sv}", query), SD_BUS_RESULT("aa{sv}", decisions),
                            service_decisions, SD_BUS_VTABLE_UNPRIVILEGED),
    /* They hold keys and passwords: not for everybody. */
    SD_BUS_METHOD_WITH_ARGS("ListBackups", SD_BUS_ARGS("s", mac), SD_BUS_RESULT("a(ssta(st))", backups),
                            may_service_list_backups, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("OpenBackup", SD_BUS_ARGS("s", mac, "s", backup), SD_BUS_RESULT("a(sh)", parts),
                            may_service_open_backup, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_PROPERTY("DefaultPolicy", "s", get_default_policy, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("PollState", "s", get_poll, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("PollResult", "s", get_poll, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("PollFailures", "u", get_poll, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("PollSource", "s", get_poll, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("PolledAt", "t", get_poll, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("NextPollAt", "t", get_poll, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("FetchedBytes", "t", get_poll, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("FetchBytes", "t", get_poll, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("LoopTurns", "t", get_loop, 0, 0),
    SD_BUS_PROPERTY("LoopLongestTurn", "t", get_loop, 0, 0),
    SD_BUS_PROPERTY("LoopTurn99", "t", get_loop, 0, 0),
    SD_BUS_PROPERTY("LoopLongTurns", "t", get_loop, 0, 0),
    SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_VTABLE_END,
};

int service_add_manager(struct service *service) {
    return sd_bus_add_object_vtable(service->bus, &service->slots[service->n_slots++], WIPYD_ROOT_PATH,
                                    WIPYD_MANAGER_INTERFACE, vtable, service);
}
