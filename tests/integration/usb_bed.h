#pragma once

/*
 * USB serial adapters in a umockdev testbed, laid out as the kernel does it: usb_device, usb_interface,
 * usb-serial port, tty. For a program that runs under libumockdev-preload: bed_preload sees to that.
 *
 * Happy path: bed_preload, bed_new, bed_add, bed_remove, bed_free.
 * Failure modes: umockdev aborts the program when a listener's queue is full (10 messages): before every
 * event bed->wait_for_room is called until there is room.
 */

#include <ctype.h>
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <umockdev.h>
#include <unistd.h>

#define BED_PRELOAD "libumockdev-preload.so.0"

struct bed {
    UMockdevTestbed *testbed;
    char *root;
    /* Makes the listener read, or gives it time to. */
    void (*wait_for_room)(void *userdata);
    void *userdata;
};

struct bed_adapter {
    const char *name;    /* of the tty: "ttyUSB0" */
    const char *slot;    /* the USB device's name: "1-2" */
    const char *vendor;  /* "0403" */
    const char *product; /* "6015" */
    const char *serial;  /* NULL: it has none */
    const char *node;    /* what /dev/NAME leads to; NULL: nothing is there */
    const char *id_path; /* NULL: as udev would make it; "": none */
    unsigned interface;
    unsigned port;     /* of the usb-serial driver, within the interface */
    bool unknown_yet;  /* udev hasn't come to it */
    bool is_acm;       /* a tty right below the interface, with no usb-serial port between */
    bool without_usb;  /* a tty below a platform device */
    const char *other; /* one more property: "KEY=VALUE", or NULL */
};

/* ---- preload --------------------------------------------------------------------------------- */

/* The path of a library that is loaded; empty when it isn't. */
static inline bool bed_find_library(const char *name, char *ret, size_t size) {
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[PATH_MAX + 128], *path;

    ret[0] = 0;
    while (maps && !ret[0] && fgets(line, sizeof line, maps)) {
        path = strchr(line, '/');
        if (!path || !strstr(path, name))
            continue;
        path[strcspn(path, "\n")] = 0;
        snprintf(ret, size, "%s", path);
    }
    if (maps)
        fclose(maps);
    return ret[0];
}

/* Starts the program again under the preload unless it runs there. False: it can't be had. Comes before the
 * first call of umockdev, which asks once whether it is there. */
static inline bool bed_preload(char **argv) {
    char preload[PATH_MAX + 64], path[PATH_MAX];

    if (bed_find_library("/libumockdev-preload.so", path, sizeof path))
        return true;
    if (getenv("BED_PRELOADED"))
        return false; /* the loader ignored it: no such library */
    /* Where the sanitizer's runtime is a library of its own, it must be the first of all. */
    if (bed_find_library("/libasan.so", path, sizeof path))
        snprintf(preload, sizeof preload, "%s:%s", path, BED_PRELOAD);
    else
        snprintf(preload, sizeof preload, "%s", BED_PRELOAD);
    setenv("LD_PRELOAD", preload, 1);
    setenv("BED_PRELOADED", "1", 1);
    execv("/proc/self/exe", argv);
    return false;
}

/* ---- the testbed ----------------------------------------------------------------------------- */

static inline void bed_new(struct bed *bed, void (*wait_for_room)(void *userdata), void *userdata) {
    memset(bed, 0, sizeof *bed);
    bed->testbed = umockdev_testbed_new();
    bed->root = umockdev_testbed_get_root_dir(bed->testbed);
    bed->wait_for_room = wait_for_room;
    bed->userdata = userdata;
}

static inline void bed_free(struct bed *bed) {
    free(bed->root);
    g_object_unref(bed->testbed);
}

static inline bool bed_exists(const char *path) {
    return access(path, F_OK) == 0;
}

/* Whether one more message fits into the queue of this listener; one that is gone holds nobody up. */
static inline bool bed_listener_has_room(const char *path) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct pollfd poll_fd = { .events = POLLOUT };
    bool has_room = true;

    poll_fd.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (connect(poll_fd.fd, (const struct sockaddr *)&address, sizeof address) == 0)
        has_room = poll(&poll_fd, 1, 0) > 0;
    close(poll_fd.fd);
    return has_room;
}

static inline void bed_wait_for_room(struct bed *bed) {
    char pattern[PATH_MAX];
    bool has_room;
    glob_t found;

    do {
        has_room = true;
        snprintf(pattern, sizeof pattern, "%s/event[0-9]*", bed->root);
        if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0) {
            for (size_t i = 0; i < found.gl_pathc; i++)
                has_room = has_room && bed_listener_has_room(found.gl_pathv[i]);
            globfree(&found);
        }
        if (!has_room)
            bed->wait_for_room(bed->userdata);
    } while (!has_room);
}

static inline void bed_event(struct bed *bed, const char *syspath, const char *action) {
    bed_wait_for_room(bed);
    umockdev_testbed_uevent(bed->testbed, syspath, action);
}

static inline void bed_device(struct bed *bed, const char *subsystem, const char *name, const char *parent,
                              const char *const *attributes, const char *const *properties) {
    char *path;

    bed_wait_for_room(bed);
    path = umockdev_testbed_add_devicev(bed->testbed, subsystem, name, parent, (gchar **)attributes,
                                        (gchar **)properties);
    free(path);
}

/* ---- adapters -------------------------------------------------------------------------------- */

struct bed_paths {
    char device[PATH_MAX], interface_name[64], interface[PATH_MAX], port[PATH_MAX], tty[PATH_MAX];
    char node[PATH_MAX];
};

static inline void bed_paths(const struct bed *bed, const struct bed_adapter *adapter,
                             struct bed_paths *ret) {
    memset(ret, 0, sizeof *ret);
    snprintf(ret->device, sizeof ret->device, "/sys/devices/%s", adapter->slot);
    snprintf(ret->interface_name, sizeof ret->interface_name, "%s:1.%u", adapter->slot, adapter->interface);
    snprintf(ret->interface, sizeof ret->interface, "/sys/devices/%s/%s", adapter->slot, ret->interface_name);
    snprintf(ret->port, sizeof ret->port, "/sys/devices/%s/%s/%s", adapter->slot, ret->interface_name,
             adapter->name);
    if (adapter->without_usb)
        snprintf(ret->tty, sizeof ret->tty, "/sys/devices/%s/tty/%s", adapter->slot, adapter->name);
    else if (adapter->is_acm)
        snprintf(ret->tty, sizeof ret->tty, "/sys/devices/%s/%s/tty/%s", adapter->slot, ret->interface_name,
                 adapter->name);
    else
        snprintf(ret->tty, sizeof ret->tty, "/sys/devices/%s/%s/%s/tty/%s", adapter->slot,
                 ret->interface_name, adapter->name, adapter->name);
    snprintf(ret->node, sizeof ret->node, "%s/dev/%s", bed->root, adapter->name);
}

/* "1-2.3", interface 0: "pci-0000:00:11.0-usb-0:2.3:1.0". */
static inline void bed_id_path(const struct bed_adapter *adapter, char *ret, size_t size) {
    const char *ports = strchr(adapter->slot, '-');

    if (adapter->id_path)
        snprintf(ret, size, "%s", adapter->id_path);
    else
        snprintf(ret, size, "pci-0000:00:1%.*s.0-usb-0:%s:1.%u", ports ? (int)(ports - adapter->slot) : 0,
                 adapter->slot, ports ? ports + 1 : adapter->slot, adapter->interface);
}

static inline void bed_add_usb(struct bed *bed, const struct bed_adapter *adapter,
                               const struct bed_paths *paths) {
    const char *device[] = { "idVendor",
                             adapter->vendor,
                             "idProduct",
                             adapter->product,
                             adapter->serial ? "serial" : NULL,
                             adapter->serial,
                             NULL };
    const char *const usb[] = { "DEVTYPE", "usb_device", NULL };
    const char *const interface[] = { "DEVTYPE", "usb_interface", NULL };
    const char *const nothing[] = { NULL };
    char number[16];
    const char *const port[] = { "port_number", number, NULL };

    snprintf(number, sizeof number, "%u", adapter->port);
    if (!bed_exists(paths->device))
        bed_device(bed, "usb", adapter->slot, NULL, device, usb);
    if (!bed_exists(paths->interface))
        bed_device(bed, "usb", paths->interface_name, paths->device, nothing, interface);
    if (!adapter->is_acm)
        bed_device(bed, "usb-serial", adapter->name, paths->interface, port, nothing);
}

static inline void bed_make_node(const struct bed *bed, const char *target, const char *path) {
    char folder[PATH_MAX];

    snprintf(folder, sizeof folder, "%s/dev", bed->root);
    mkdir(folder, 0755);
    unlink(path);
    if (symlink(target, path) < 0)
        perror(path);
}

/* False: it is there already. The events come in the kernel's order. */
static inline bool bed_add(struct bed *bed, const struct bed_adapter *adapter) {
    const char *digits = adapter->name + strcspn(adapter->name, "0123456789");
    char dev[32], id_path[128], node[128], name[128], parent[PATH_MAX], key[64], major_[16], minor_[16];
    const char *const nothing[] = { NULL };
    const char *const attributes[] = { "dev", dev, NULL };
    const char *properties[13] = { "DEVNAME", node, "MAJOR", major_, "MINOR", minor_ };
    struct bed_paths paths;
    struct stat st;
    size_t n = 6;

    bed_paths(bed, adapter, &paths);
    if (bed_exists(paths.tty))
        return false;
    /* The tty that it leads to keeps its number: by that, whoever has it open is found. */
    if (adapter->node && stat(adapter->node, &st) == 0 && S_ISCHR(st.st_mode)) {
        snprintf(major_, sizeof major_, "%u", major(st.st_rdev));
        snprintf(minor_, sizeof minor_, "%u", minor(st.st_rdev));
    } else {
        snprintf(major_, sizeof major_, "188");
        snprintf(minor_, sizeof minor_, "%s", digits);
    }
    snprintf(dev, sizeof dev, "%s:%s", major_, minor_);
    snprintf(node, sizeof node, "/dev/%s", adapter->name);
    snprintf(name, sizeof name, "tty/%s", adapter->name);
    snprintf(parent, sizeof parent, "%s", paths.tty);
    *strstr(parent, "/tty/") = 0;
    bed_id_path(adapter, id_path, sizeof id_path);
    if (!adapter->unknown_yet) {
        properties[n++] = "USEC_INITIALIZED";
        properties[n++] = "1000000";
    }
    if (!adapter->unknown_yet && *id_path) {
        properties[n++] = "ID_PATH";
        properties[n++] = id_path;
    }
    if (adapter->other) {
        snprintf(key, sizeof key, "%.*s", (int)strcspn(adapter->other, "="), adapter->other);
        properties[n++] = key;
        properties[n++] = strchr(adapter->other, '=') + 1;
    }

    if (adapter->without_usb)
        bed_device(bed, "platform", adapter->slot, NULL, nothing, nothing);
    else
        bed_add_usb(bed, adapter, &paths);
    if (adapter->node)
        bed_make_node(bed, adapter->node, paths.node);
    bed_device(bed, "tty", name, parent, attributes, properties);
    return true;
}

static inline bool bed_is_empty(const struct bed *bed, const char *syspath) {
    char pattern[PATH_MAX + 64];
    glob_t found;
    int r;

    snprintf(pattern, sizeof pattern, "%s%s/*/uevent", bed->root, syspath);
    r = glob(pattern, GLOB_NOSORT, NULL, &found);
    if (r == 0)
        globfree(&found);
    return r != 0;
}

static inline void bed_remove_one(struct bed *bed, const char *syspath) {
    bed_event(bed, syspath, "remove");
    umockdev_testbed_remove_device(bed->testbed, syspath);
}

/* The tty, and what has no more children above it. False: it isn't there. */
static inline bool bed_remove(struct bed *bed, const struct bed_adapter *adapter) {
    struct bed_paths paths;

    bed_paths(bed, adapter, &paths);
    if (!bed_exists(paths.tty))
        return false;
    bed_remove_one(bed, paths.tty);
    unlink(paths.node);
    if (!adapter->without_usb && !adapter->is_acm)
        bed_remove_one(bed, paths.port);
    if (!adapter->without_usb && bed_is_empty(bed, paths.interface))
        bed_remove_one(bed, paths.interface);
    if (bed_is_empty(bed, paths.device))
        bed_remove_one(bed, paths.device);
    return true;
}
