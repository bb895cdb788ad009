#include "daemon/usb/watch.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <libudev.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/base/log.h"

#define SUBSYSTEM "tty"
/* What one turn of the loop may cost: a device takes about 0.1 ms of sysfs. */
#define DEVICES_PER_TURN 8
/* More than 64 adapters' worth of messages; the kernel counts some kilobytes for each. */
#define QUEUE_BYTES (1 << 20)

/* How the kernel names USB serial ports: there are a hundred consoles and UARTs besides. */
static const char *const name_prefixes[] = { "ttyUSB", "ttyACM" };

#define N_PREFIXES (sizeof name_prefixes / sizeof *name_prefixes)

struct known {
    struct usb_port port;
    bool is_there; /* seen since the listing began */
    struct known *next;
};

struct usb_watch {
    const struct config *config;
    const struct usb_watch_events *events;
    void *userdata;
    struct udev *udev;
    struct udev_monitor *monitor;
    struct known *known; /* in the order of their coming */

    uv_poll_t poll;
    /* Takes a bounded piece of the list in each turn; runs while there is one. */
    uv_idle_t listing;
    char **list; /* names, those from next_listed on are still to be looked at */
    unsigned n_listed, next_listed;
    bool list_again; /* begin a new one */

    unsigned n_pending; /* handles that hold the object in memory */
    bool is_closing;
    void (*on_closed)(void *userdata);
    void *closed_userdata;
};

/* ---- what is known --------------------------------------------------------------------------- */

static void known_free(struct known *known) {
    if (!known)
        return;
    free(known->port.name);
    free(known->port.node);
    free(known->port.syspath);
    free(known->port.slot);
    free(known->port.serial);
    free(known);
}

static void known_free_p(struct known **known) {
    known_free(*known);
}

static void forget(struct usb_watch *watch, struct known *known) {
    struct known **link = &watch->known;

    while (*link != known)
        link = &(*link)->next;
    *link = known->next;
    log_debug("%s: gone from %s", known->port.name, known->port.slot);
    watch->events->on_removed(watch->userdata, &known->port);
    known_free(known);
}

static struct known *find(const struct usb_watch *watch, const char *syspath) {
    for (struct known *known = watch->known; known; known = known->next)
        if (strcmp(known->port.syspath, syspath) == 0)
            return known;
    return NULL;
}

static bool is_gone(const struct known *known) {
    return access(known->port.syspath, F_OK) < 0;
}

static bool is_same(const struct usb_port *a, const struct usb_port *b) {
    return strcmp(a->node, b->node) == 0 && strcmp(a->slot, b->slot) == 0 && a->vendor == b->vendor &&
           a->product == b->product && strcmp(a->serial, b->serial) == 0;
}

/* ---- one device ------------------------------------------------------------------------------ */

static bool is_our_name(const char *name) {
    for (size_t i = 0; i < N_PREFIXES; i++)
        if (strncmp(name, name_prefixes[i], strlen(name_prefixes[i])) == 0)
            return true;
    return false;
}

static bool read_id(struct udev_device *usb, const char *attribute, uint16_t *ret) {
    const char *text = udev_device_get_sysattr_value(usb, attribute);
    unsigned long value;
    char *end;

    if (!text)
        return false;
    value = strtoul(text, &end, 16);
    *ret = (uint16_t)value;
    return end != text && *end == 0 && value <= UINT16_MAX;
}

/* Whatever somebody has written into an adapter's memory, people and D-Bus can read it. */
static char *copy_printable(const char *text) {
    char *copy = strdup(text ? text : "");

    for (char *c = copy; c && *c; c++)
        if (*c <= ' ' || *c > '~')
            *c = '_';
    return copy;
}

/* The ports of one interface have one ID_PATH; the driver numbers them. */
static unsigned port_number(struct udev_device *device) {
    struct udev_device *port = udev_device_get_parent_with_subsystem_devtype(device, "usb-serial", NULL);
    const char *text = port ? udev_device_get_sysattr_value(port, "port_number") : NULL;

    return text ? (unsigned)strtoul(text, NULL, 10) : 0;
}

/* NULL: no memory. */
static char *make_slot(struct udev_device *device, struct udev_device *usb, bool has_id_path) {
    const char *id_path = has_id_path ? udev_device_get_property_value(device, "ID_PATH") : NULL;
    struct udev_device *interface =
        udev_device_get_parent_with_subsystem_devtype(device, "usb", "usb_interface");
    unsigned number = port_number(device);
    char suffix[24] = "";
    char *slot;

    if (number > 0)
        snprintf(suffix, sizeof suffix, "-port%u", number);
    if (id_path && *id_path
            ? asprintf(&slot, "%s%s", id_path, suffix) < 0
            : asprintf(&slot, "usb-%s%s", udev_device_get_sysname(interface ? interface : usb), suffix) < 0)
        return NULL;
    return slot;
}

/* Whether another port that is there has this slot. */
static bool is_taken(const struct usb_watch *watch, const char *slot, const char *syspath) {
    for (const struct known *known = watch->known; known; known = known->next)
        if (strcmp(known->port.slot, slot) == 0 && strcmp(known->port.syspath, syspath) != 0 &&
            !is_gone(known))
            return true;
    return false;
}

/* Reads what is to be told of a device. *ret is NULL when it is none of ours, or half gone. Negative errno.
 */
static int read_device(struct usb_watch *watch, struct udev_device *device, struct known **ret) {
    const char *node = udev_device_get_devnode(device), *syspath = udev_device_get_syspath(device);
    const char *name = udev_device_get_sysname(device);
    const struct usb_adapter *adapter;
    struct usb_adapter configured;
    cleanup(known_free_p) struct known *known = NULL;
    struct udev_device *usb;
    struct usb_port *port;
    uint16_t vendor, product;

    *ret = NULL;
    if (!name || !syspath)
        return -ENOMEM;
    if (!is_our_name(name) || !node)
        return 0;
    errno = 0;
    usb = udev_device_get_parent_with_subsystem_devtype(device, "usb", "usb_device");
    if (!usb || !read_id(usb, "idVendor", &vendor) || !read_id(usb, "idProduct", &product))
        return errno == ENOMEM ? -ENOMEM : 0;
    adapter = usb_adapter_find(watch->config, vendor, product, &configured);
    if (!adapter)
        return 0;
    known = calloc(1, sizeof *known);
    if (!known)
        return -ENOMEM;
    port = &known->port;
    port->name = strdup(name);
    port->node = strdup(node);
    port->syspath = strdup(syspath);
    port->serial = copy_printable(udev_device_get_sysattr_value(usb, "serial"));
    port->slot = make_slot(device, usb, true);
    if (port->slot && is_taken(watch, port->slot, syspath)) {
        free(port->slot);
        port->slot = make_slot(device, usb, false);
    }
    if (!port->name || !port->node || !port->syspath || !port->serial || !port->slot)
        return -ENOMEM;
    port->vendor = vendor;
    port->product = product;
    snprintf(port->adapter, sizeof port->adapter, "%s", adapter->name);
    port->unhandled = adapter->unhandled;
    port->baud_max = adapter->baud_max;
    *ret = steal_pointer(&known);
    return 0;
}

/* ---- what is learned ------------------------------------------------------------------------- */

/* What stands where the new one stands now must have gone, whatever messages were lost. */
static void forget_predecessors(struct usb_watch *watch, const struct usb_port *port) {
    struct known *known = watch->known;

    while (known && !watch->is_closing) {
        struct known *next = known->next;

        if (strcmp(known->port.node, port->node) == 0 || strcmp(known->port.slot, port->slot) == 0)
            forget(watch, known);
        known = next;
    }
}

static void add(struct usb_watch *watch, struct known *known) {
    struct known **link = &watch->known;

    while (*link)
        link = &(*link)->next;
    *link = known;
    log_debug("%s: %s (%04x:%04x) at %s%s%s", known->port.name, known->port.adapter, known->port.vendor,
              known->port.product, known->port.slot, known->port.unhandled ? ": " : "",
              known->port.unhandled ? known->port.unhandled : "");
    watch->events->on_added(watch->userdata, &known->port);
}

/* The one way for what is listed and for what an event tells of. */
static void learn(struct usb_watch *watch, struct udev_device *device) {
    struct known *known = find(watch, udev_device_get_syspath(device));
    cleanup(known_free_p) struct known *seen = NULL;
    int r = read_device(watch, device, &seen);

    if (r < 0) {
        log_warning("a port that was plugged in can't be looked at: %s; plug it in again", strerror(-r));
        return;
    }
    if (known && seen && is_same(&known->port, &seen->port)) {
        known->is_there = true;
        return;
    }
    if (known)
        forget(watch, known);
    if (!seen)
        return;
    forget_predecessors(watch, &seen->port);
    if (watch->is_closing)
        return;
    seen->is_there = true;
    add(watch, steal_pointer(&seen));
}

static void unlearn(struct usb_watch *watch, const char *syspath) {
    struct known *known = find(watch, syspath);

    if (known)
        forget(watch, known);
}

/* ---- lists ----------------------------------------------------------------------------------- */

static void drop_list(struct usb_watch *watch) {
    for (unsigned i = 0; i < watch->n_listed; i++)
        free(watch->list[i]);
    free(watch->list);
    watch->list = NULL;
    watch->n_listed = watch->next_listed = 0;
}

static int add_listed(struct usb_watch *watch, const char *name) {
    char **list = reallocarray(watch->list, watch->n_listed + 1, sizeof *list);

    if (!list)
        return -ENOMEM;
    watch->list = list;
    list[watch->n_listed] = strdup(name);
    if (!list[watch->n_listed])
        return -ENOMEM;
    watch->n_listed++;
    return 0;
}

/* Names alone: udev_enumerate would read every device in one go. */
static int begin_list(struct usb_watch *watch) {
    DIR *directory = opendir("/sys/class/" SUBSYSTEM);
    struct dirent *entry;
    int r = 0;

    drop_list(watch);
    if (!directory)
        return errno == ENOENT ? 0 : -errno; /* no tty at all */
    while (r >= 0 && (entry = readdir(directory)))
        if (is_our_name(entry->d_name))
            r = add_listed(watch, entry->d_name);
    closedir(directory);
    return r;
}

static void end_list(struct usb_watch *watch) {
    struct known *known = watch->known;

    drop_list(watch);
    uv_idle_stop(&watch->listing);
    while (known && !watch->is_closing) {
        struct known *next = known->next;

        if (!known->is_there)
            forget(watch, known);
        known = next;
    }
}

static void learn_listed(struct usb_watch *watch, const char *name) {
    struct udev_device *device = udev_device_new_from_subsystem_sysname(watch->udev, SUBSYSTEM, name);
    struct known *known;

    if (!device)
        return; /* gone since */
    known = find(watch, udev_device_get_syspath(device));
    /* The property says that udev is done with a device: until then its node may lack its group, and its
     * event is still to come. */
    if (udev_device_get_property_value(device, "USEC_INITIALIZED"))
        learn(watch, device);
    else if (known)
        known->is_there = true;
    udev_device_unref(device);
}

/* While a queue that has run over isn't empty, the kernel doesn't tell of further losses: a list made now
 * might miss what they told. */
static bool is_queue_empty(const struct usb_watch *watch) {
    struct pollfd queue = { .fd = udev_monitor_get_fd(watch->monitor), .events = POLLIN };

    return poll(&queue, 1, 0) <= 0;
}

static void on_listing(uv_idle_t *handle) {
    struct usb_watch *watch = handle->data;
    int r;

    if (watch->list_again) {
        if (!is_queue_empty(watch))
            return;
        watch->list_again = false;
        r = begin_list(watch);
        if (r < 0) {
            log_error("list of serial ports: %s", strerror(-r));
            drop_list(watch);
            uv_idle_stop(&watch->listing);
            return;
        }
        for (struct known *known = watch->known; known; known = known->next)
            known->is_there = false;
    }
    for (unsigned i = 0; i < DEVICES_PER_TURN && watch->next_listed < watch->n_listed && !watch->is_closing;
         i++)
        learn_listed(watch, watch->list[watch->next_listed++]);
    if (watch->next_listed == watch->n_listed && !watch->is_closing)
        end_list(watch);
}

static void start_list(struct usb_watch *watch) {
    int r = uv_idle_start(&watch->listing, on_listing);

    assert(r == 0); /* it fails without a callback only */
    (void)r;
    watch->list_again = true;
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_event(struct usb_watch *watch, struct udev_device *device) {
    const char *action = udev_device_get_action(device), *old;
    char syspath[PATH_MAX];

    if (action && strcmp(action, "remove") == 0) {
        unlearn(watch, udev_device_get_syspath(device));
        return;
    }
    old = udev_device_get_property_value(device, "DEVPATH_OLD");
    if (action && strcmp(action, "move") == 0 && old) {
        snprintf(syspath, sizeof syspath, "/sys%s", old);
        unlearn(watch, syspath);
    }
    if (!watch->is_closing)
        learn(watch, device);
}

static void on_poll(uv_poll_t *handle, int status, int events);

static void start_poll(struct usb_watch *watch) {
    int r = uv_poll_start(&watch->poll, UV_READABLE, on_poll);

    assert(r == 0); /* it fails for a closing handle only */
    (void)r;
}

static void on_lost(struct usb_watch *watch) {
    log_notice("messages from udev were lost: listing all serial ports again");
    start_list(watch);
}

/* libuv has stopped polling: a netlink socket whose queue has run over looks like a broken one to it. */
static void on_poll_error(struct usb_watch *watch) {
    int fd = udev_monitor_get_fd(watch->monitor), error = 0;
    socklen_t size = sizeof error;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0) {
        log_error("udev: %s: USB adapters aren't noticed any more", strerror(errno));
        uv_idle_stop(&watch->listing);
        return;
    }
    on_lost(watch);
    start_poll(watch);
}

static void on_poll(uv_poll_t *handle, int status, int events) {
    struct usb_watch *watch = handle->data;

    (void)events;
    if (status < 0) {
        on_poll_error(watch);
        return;
    }
    for (unsigned i = 0; i < DEVICES_PER_TURN && !watch->is_closing; i++) {
        struct udev_device *device = udev_monitor_receive_device(watch->monitor);

        if (!device) {
            if (errno == ENOBUFS)
                on_lost(watch);
            return; /* empty, or a message that means nothing: the poll says whether there are more */
        }
        on_event(watch, device);
        udev_device_unref(device);
    }
}

/* ---- new and closed -------------------------------------------------------------------------- */

static void watch_free(struct usb_watch *watch) {
    while (watch->known) {
        struct known *next = watch->known->next;

        known_free(watch->known);
        watch->known = next;
    }
    drop_list(watch);
    udev_monitor_unref(watch->monitor);
    udev_unref(watch->udev);
    free(watch);
}

/* Negative errno. */
static int open_monitor(struct usb_watch *watch) {
    int r;

    watch->udev = udev_new();
    if (!watch->udev)
        return -errno;
    watch->monitor = udev_monitor_new_from_netlink(watch->udev, "udev");
    if (!watch->monitor)
        return -errno;
    r = udev_monitor_filter_add_match_subsystem_devtype(watch->monitor, SUBSYSTEM, NULL);
    /* Best effort: an unprivileged process gets what net.core.rmem_max allows. */
    (void)!udev_monitor_set_receive_buffer_size(watch->monitor, QUEUE_BYTES);
    return r < 0 ? r : udev_monitor_enable_receiving(watch->monitor);
}

int usb_watch_new(struct usb_watch **ret, uv_loop_t *loop, const struct config *config,
                  const struct usb_watch_events *events, void *userdata) {
    struct usb_watch *watch = calloc(1, sizeof *watch);
    int r;

    if (!watch)
        return -ENOMEM;
    watch->config = config;
    watch->events = events;
    watch->userdata = userdata;
    r = open_monitor(watch);
    if (r == -ENOMEM || r == -ENOBUFS || r == -EMFILE || r == -ENFILE) { /* another start may be luckier */
        watch_free(watch);
        return r;
    }
    if (r < 0)
        log_warning("udev: %s: USB adapters aren't noticed", strerror(-r));
    else if (access("/run/udev/control", F_OK) < 0)
        log_notice("udev isn't running: USB adapters may not be noticed");
    if (r >= 0) {
        r = uv_poll_init(loop, &watch->poll, udev_monitor_get_fd(watch->monitor));
        if (r < 0) {
            watch_free(watch);
            return r;
        }
        watch->poll.data = watch;
        watch->n_pending++;
        start_poll(watch);
    }
    uv_idle_init(loop, &watch->listing); /* can't fail */
    watch->listing.data = watch;
    watch->n_pending++;
    /* The monitor listens already: what comes during the list is told by an event. */
    if (watch->monitor && r >= 0)
        start_list(watch);
    *ret = watch;
    return 0;
}

static void on_handle_closed(uv_handle_t *handle) {
    struct usb_watch *watch = handle->data;

    if (--watch->n_pending > 0)
        return;
    if (watch->on_closed)
        watch->on_closed(watch->closed_userdata);
    watch_free(watch);
}

void usb_watch_close(struct usb_watch *watch, void (*on_closed)(void *userdata), void *userdata) {
    assert(!watch->is_closing);
    watch->is_closing = true;
    watch->on_closed = on_closed;
    watch->closed_userdata = userdata;
    if (watch->poll.data)
        uv_close((uv_handle_t *)&watch->poll, on_handle_closed);
    uv_close((uv_handle_t *)&watch->listing, on_handle_closed);
}
