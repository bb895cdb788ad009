/* Which polkit action a method needs, and what the question says of it. A method that isn't in the table is
 * nobody's: it is refused. systemd/org.wipyd1.policy says what the actions are and who has them. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/bus/objects.h"
#include "daemon/firmware/version.h"
#include "proto/names.h"

#define FLASH_STORED    "org.wipyd1.flash-stored"
#define FLASH_FILE      "org.wipyd1.flash-file"
#define DOWNGRADE       "org.wipyd1.downgrade"
#define FORCE           "org.wipyd1.force"
#define MANAGE_POLICY   "org.wipyd1.manage-policy"
#define MANAGE_FIRMWARE "org.wipyd1.manage-firmware"
#define REFRESH         "org.wipyd1.refresh"
#define LEASE           "org.wipyd1.lease"
#define READ_BACKUPS    "org.wipyd1.read-backups"
#define RESTORE         "org.wipyd1.restore"
#define IDENTIFY        "org.wipyd1.identify"
#define INTERRUPT       "org.wipyd1.interrupt"

#define COPY(to, from) snprintf(to, sizeof(to), "%s", from)

/* Fills ask, and may put another action in; the message is read from its beginning. Negative errno with error
 * set: the call makes no sense, and nobody is asked about it. */
typedef int (*describe_fn)(struct service *service, sd_bus_message *message, const void *object,
                           struct authority_ask *ask, sd_bus_error *error);

struct row {
    const char *interface, *member, *action;
    describe_fn describe; /* NULL: there is nothing to say */
};

/* Of text that the caller wrote, the part that fits, in whole characters. */
static void copy_cut(char *ret, size_t size, const char *text) {
    snprintf(ret, size, "%s", text);
    trim_cut_text(ret);
}

/* ---- devices --------------------------------------------------------------------------------- */

static int describe_device(struct service *service, sd_bus_message *message, const void *object,
                           struct authority_ask *ask, sd_bus_error *error) {
    const struct fleet_device *device = object;

    (void)service, (void)message, (void)error;
    COPY(ask->device, device->name);
    COPY(ask->board, device->board.mac);
    return 0;
}

/* 0: can't be told. */
static uint32_t order_of(const char *release) {
    uint32_t order;

    return firmware_release_parse(release, &order) ? order : 0;
}

/* What the board holds as far as anybody knows; where nobody has looked, the board that was last seen in the
 * slot. 0: can't be told. */
static uint32_t held_order(struct service *service, const struct fleet_device *device) {
    const struct ledger *ledger = fleet_ledger(service->fleet);
    const struct slot_record *slot = ledger ? ledger_slot(ledger, device->slot) : NULL;
    const char *mac = *device->board.mac ? device->board.mac : slot ? slot->mac : "";
    const struct board_record *known = ledger && *mac ? ledger_board(ledger, mac) : NULL;

    return order_of(*device->board.release ? device->board.release : known ? known->release : "");
}

static int describe_flash(struct service *service, sd_bus_message *message, const void *object,
                          struct authority_ask *ask, sd_bus_error *error) {
    const struct fleet_device *device = object;
    const struct firmware_record *record;
    struct fleet_options options;
    int r = service_read_options(message, CALL_FLASH, &options, error);

    if (r < 0)
        return r;
    record = fleet_flash_choice(service->fleet, device, &options);
    if (record) {
        uint32_t order = order_of(record->release); /* the image's: a server may call it what it likes */

        COPY(ask->version, record->release);
        if (order && order < held_order(service, device) && !options.dry_run)
            ask->action = DOWNGRADE;
    } else if (options.version) {
        copy_cut(ask->version, sizeof ask->version, options.version);
    }
    return describe_device(service, message, object, ask, error);
}

static int describe_flash_file(struct service *service, sd_bus_message *message, const void *object,
                               struct authority_ask *ask, sd_bus_error *error) {
    const char *name;
    int fd, r = sd_bus_message_read(message, "hs", &fd, &name);

    if (r < 0)
        return r;
    copy_cut(ask->file, sizeof ask->file, name);
    return describe_device(service, message, object, ask, error);
}

/* Stopping the program that runs on a board is more than listening to it. */
static int describe_look(struct service *service, sd_bus_message *message, const void *object,
                         struct authority_ask *ask, sd_bus_error *error) {
    struct fleet_options options;
    int r = service_read_options(message, CALL_LOOK, &options, error);

    if (r < 0)
        return r;
    if (options.repl)
        ask->action = INTERRUPT;
    return describe_device(service, message, object, ask, error);
}

/* ---- jobs, firmware, boards, slots ------------------------------------------------------------- */

/* Who began a job may end it. */
static int describe_job(struct service *service, sd_bus_message *message, const void *object,
                        struct authority_ask *ask, sd_bus_error *error) {
    const struct fleet_job *job = object;

    (void)service, (void)message, (void)error;
    COPY(ask->device, job->record.device);
    COPY(ask->board, job->record.mac);
    COPY(ask->version, job->record.to_release);
    COPY(ask->owner, job->record.by);
    return 0;
}

static int describe_firmware(struct service *service, sd_bus_message *message, const void *object,
                             struct authority_ask *ask, sd_bus_error *error) {
    const struct firmware_record *record = object;

    (void)service, (void)message, (void)error;
    COPY(ask->version, record->release);
    COPY(ask->file, record->name);
    return 0;
}

static int describe_remove(struct service *service, sd_bus_message *message, const void *object,
                           struct authority_ask *ask, sd_bus_error *error) {
    int force, r = sd_bus_message_read_basic(message, 'b', &force);

    if (r < 0)
        return r;
    if (force)
        ask->action = FORCE;
    return describe_firmware(service, message, object, ask, error);
}

static int describe_import(struct service *service, sd_bus_message *message, const void *object,
                           struct authority_ask *ask, sd_bus_error *error) {
    const char *name;
    int fd, r = sd_bus_message_read(message, "hs", &fd, &name);

    (void)service, (void)object, (void)error;
    if (r >= 0)
        copy_cut(ask->file, sizeof ask->file, name);
    return r;
}

static int describe_backups(struct service *service, sd_bus_message *message, const void *object,
                            struct authority_ask *ask, sd_bus_error *error) {
    const char *mac;
    int r = sd_bus_message_read_basic(message, 's', &mac);

    (void)service, (void)object;
    return r >= 0 && *mac ? service_read_mac(mac, ask->board, error) : r;
}

static int describe_board(struct service *service, sd_bus_message *message, const void *object,
                          struct authority_ask *ask, sd_bus_error *error) {
    const struct board_record *board = object;
    const struct fleet_device *device = service_device_of_board(service, board->mac);

    (void)message, (void)error;
    COPY(ask->board, board->mac);
    COPY(ask->device, device ? device->name : "");
    return 0;
}

static int describe_slot(struct service *service, sd_bus_message *message, const void *object,
                         struct authority_ask *ask, sd_bus_error *error) {
    const struct slot_record *slot = object;
    const struct fleet_device *device = service_device_of_slot(service, slot->name);

    (void)message, (void)error;
    COPY(ask->device, device ? device->name : slot->name);
    return 0;
}

/* ---- the table ------------------------------------------------------------------------------- */

static const struct row rows[] = {
    { WIPYD_MANAGER_INTERFACE, "Refresh", REFRESH, NULL },
    { WIPYD_MANAGER_INTERFACE, "ImportFirmware", MANAGE_FIRMWARE, describe_import },
    { WIPYD_MANAGER_INTERFACE, "SetDefaultPolicy", MANAGE_POLICY, NULL },
    { WIPYD_MANAGER_INTERFACE, "ListBackups", READ_BACKUPS, describe_backups },
    { WIPYD_MANAGER_INTERFACE, "OpenBackup", READ_BACKUPS, describe_backups },
    { WIPYD_DEVICE_INTERFACE, "Flash", FLASH_STORED, describe_flash },
    { WIPYD_DEVICE_INTERFACE, "FlashFile", FLASH_FILE, describe_flash_file },
    { WIPYD_DEVICE_INTERFACE, "Identify", IDENTIFY, describe_device },
    { WIPYD_DEVICE_INTERFACE, "Look", IDENTIFY, describe_look },
    { WIPYD_DEVICE_INTERFACE, "Lease", LEASE, describe_device },
    { WIPYD_DEVICE_INTERFACE, "Restore", RESTORE, describe_device },
    { WIPYD_JOB_INTERFACE, "Cancel", FLASH_STORED, describe_job },
    { WIPYD_FIRMWARE_INTERFACE, "Export", MANAGE_FIRMWARE, describe_firmware },
    { WIPYD_FIRMWARE_INTERFACE, "Pin", MANAGE_FIRMWARE, describe_firmware },
    { WIPYD_FIRMWARE_INTERFACE, "Remove", MANAGE_FIRMWARE, describe_remove },
    { WIPYD_FIRMWARE_INTERFACE, "Verify", MANAGE_FIRMWARE, describe_firmware },
    { WIPYD_FIRMWARE_INTERFACE, "Unquarantine", FORCE, describe_firmware },
    { WIPYD_BOARD_INTERFACE, "SetPolicy", MANAGE_POLICY, describe_board },
    { WIPYD_BOARD_INTERFACE, "SetLabel", MANAGE_POLICY, describe_board },
    { WIPYD_BOARD_INTERFACE, "Pin", MANAGE_POLICY, describe_board },
    { WIPYD_BOARD_INTERFACE, "Forget", MANAGE_POLICY, describe_board },
    { WIPYD_SLOT_INTERFACE, "SetPolicy", MANAGE_POLICY, describe_slot },
    { WIPYD_SLOT_INTERFACE, "SetLabel", MANAGE_POLICY, describe_slot },
    { WIPYD_SLOT_INTERFACE, "Arm", MANAGE_POLICY, describe_slot },
    { WIPYD_SLOT_INTERFACE, "Forget", MANAGE_POLICY, describe_slot },
};

static const struct row *find(sd_bus_message *message) {
    const char *interface = sd_bus_message_get_interface(message);
    const char *member = sd_bus_message_get_member(message);

    for (size_t i = 0; interface && member && i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i].interface, interface) && !strcmp(rows[i].member, member))
            return &rows[i];
    return NULL;
}

int service_may(sd_bus_message *message, void *object, sd_bus_error *error) {
    const struct row *row = find(message);
    struct authority_ask ask = { .action = row ? row->action : NULL };
    struct service *service;
    int r = 0;

    if (!row)
        return service_set_error(error, WIPYD_ERROR_NOT_AUTHORIZED, "nobody may do that");
    service = !strcmp(row->interface, WIPYD_MANAGER_INTERFACE) ? object : service_of_call(message);
    if (row->describe)
        r = row->describe(service, message, object, &ask, error);
    if (r >= 0)
        r = sd_bus_message_rewind(message, true);
    return r < 0 ? r : authority_check(service->authority, message, &ask, &service->caller, error);
}
