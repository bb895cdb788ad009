#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/bus/objects.h"
#include "proto/names.h"

static int append_flash_sizes(sd_bus_message *reply, const struct firmware_package *package) {
    int r = sd_bus_message_open_container(reply, 'a', "t");

    for (unsigned i = 0; r >= 0 && i < FIRMWARE_LAYOUTS; i++)
        if (package->layouts[i].fault.code == WIPYD_ERROR_NONE)
            r = sd_bus_message_append(reply, "t", (uint64_t)package->layouts[i].flash_bytes);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int get_property(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const struct firmware_package *package = userdata;
    char hex[65];

    (void)bus, (void)path, (void)interface, (void)error;
    if (!strcmp(property, "Sha256")) {
        hex_encode(package->sha256, sizeof package->sha256, hex);
        return sd_bus_message_append_basic(reply, 's', hex);
    }
    if (!strcmp(property, "Name"))
        return sd_bus_message_append_basic(reply, 's', package->name);
    if (!strcmp(property, "Board"))
        return sd_bus_message_append_basic(reply, 's', package->version.board);
    if (!strcmp(property, "Release"))
        return sd_bus_message_append_basic(reply, 's', package->version.release);
    if (!strcmp(property, "Bytes"))
        return sd_bus_message_append_basic(reply, 't', &package->bytes);
    return append_flash_sizes(reply, package); /* FlashSizes */
}

#define CONST_PROPERTY(name, type) SD_BUS_PROPERTY(name, type, get_property, 0, SD_BUS_VTABLE_PROPERTY_CONST)

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    CONST_PROPERTY("Sha256", "s"),
    CONST_PROPERTY("Name", "s"),
    CONST_PROPERTY("Board", "s"),
    CONST_PROPERTY("Release", "s"),
    CONST_PROPERTY("Bytes", "t"),
    CONST_PROPERTY("FlashSizes", "at"),
    SD_BUS_VTABLE_END,
};

static void *at(struct fleet *fleet, unsigned index) {
    return fleet_firmware_at(fleet, index);
}

static void path_of(const void *package, char *ret) {
    service_firmware_path(package, ret);
}

const struct object_kind service_firmware = {
    .prefix = WIPYD_FIRMWARE_PATH,
    .interface = WIPYD_FIRMWARE_INTERFACE,
    .vtable = vtable,
    .at = at,
    .path_of = path_of,
};
