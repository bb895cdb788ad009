/* The devices that there are, and the life of it all. */

#include "daemon/board/fleet.h"

#include <assert.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "daemon/base/log.h"
#include "daemon/board/inside.h"

/* ---- the list -------------------------------------------------------------------------------- */

static bool is_called(const struct fleet *fleet, const struct fleet_device *device, const char *name) {
    const struct board_record *board = ledger_board(fleet->ledger, device->board.mac);
    const struct slot_record *slot = ledger_slot(fleet->ledger, device->slot);

    return (*device->board.mac && !strcasecmp(device->board.mac, name)) || !strcmp(device->slot, name) ||
           (board && *board->label && !strcmp(board->label, name)) ||
           (slot && *slot->label && !strcmp(slot->label, name));
}

struct fleet_device *fleet_find_device(struct fleet *fleet, const char *name) {
    struct fleet_device *found = NULL;

    if (!fleet->ledger)
        return NULL;
    for (unsigned i = 0; i < fleet->n_devices; i++)
        if (!strcmp(fleet->devices[i]->name, name) || !strcmp(fleet->devices[i]->node, name))
            return fleet->devices[i];
    for (unsigned i = 0; i < fleet->n_devices; i++)
        if (is_called(fleet, fleet->devices[i], name)) {
            if (found)
                return NULL;
            found = fleet->devices[i];
        }
    return found;
}

/* None once the records are closed: nothing could be told of them any more. */
struct fleet_device *fleet_device_at(struct fleet *fleet, unsigned index) {
    return fleet->ledger && index < fleet->n_devices ? fleet->devices[index] : NULL;
}

struct ledger *fleet_ledger(struct fleet *fleet) {
    return fleet->ledger;
}

const char *fleet_backup_folder(const struct fleet *fleet) {
    return fleet->backup_folder;
}

void fleet_explain(struct fleet *fleet, struct fleet_device *device, struct decision_state *ret,
                   unsigned *ret_rule) {
    fleet_facts(fleet, device, ret);
    *ret_rule = decision_make(ret);
}

/* "ttyUSB0", or where there is one already, "ttyUSB0-2". */
static char *new_name(const struct fleet *fleet, const char *node) {
    const char *slash = strrchr(node, '/');
    const char *base = slash ? slash + 1 : node;
    char *name = NULL;

    for (unsigned n = 1; n <= FLEET_DEVICES_MAX; n++) {
        bool is_taken = false;

        if ((n == 1 ? asprintf(&name, "%s", base) : asprintf(&name, "%s-%u", base, n)) < 0)
            return NULL;
        for (unsigned i = 0; i < fleet->n_devices; i++)
            is_taken |= !strcmp(fleet->devices[i]->name, name);
        if (!is_taken)
            return name;
        free(name);
    }
    return NULL;
}

static int add_device(struct fleet *fleet, const char *node, struct fleet_device **ret) {
    struct fleet_device *device;
    int r;

    /* Each may have to go to the list of those that are leaving. */
    if (fleet->n_devices + fleet->n_leaving >= FLEET_DEVICES_MAX)
        return -ENOSPC;
    device = calloc(1, sizeof *device);
    if (!device)
        return -ENOMEM;
    device->node = strdup(node);
    device->name = new_name(fleet, node);
    r = device->node && device->name ? attendance_new(fleet, device) : -ENOMEM;
    if (r < 0) {
        free(device->node);
        free(device->name);
        free(device);
        return r;
    }
    fleet->devices[fleet->n_devices++] = device;
    *ret = device;
    return 0;
}

static void drop(struct fleet_device **list, unsigned *n, const struct fleet_device *device) {
    for (unsigned i = 0; i < *n; i++)
        if (list[i] == device) {
            (*n)--;
            memmove(&list[i], &list[i + 1], (*n - i) * sizeof *list);
            return;
        }
}

static void on_device_timer_closed(uv_handle_t *handle) {
    struct attendance *attendance = handle->data;
    struct fleet_device *device = attendance->device;
    struct fleet *fleet = attendance->fleet;

    drop(fleet->leaving, &fleet->n_leaving, device);
    free(device->name);
    free(device->node);
    free(device);
    free(attendance);
    fleet_close_when_idle(fleet);
}

void fleet_free_device(struct fleet_device *device) {
    struct attendance *attendance = device->attendance;

    if (uv_is_closing((uv_handle_t *)&attendance->timer))
        return;
    for (unsigned i = 0; i < attendance->fleet->n_jobs; i++)
        if (attendance->fleet->jobs[i]->device == device)
            attendance->fleet->jobs[i]->device = NULL;
    uv_close((uv_handle_t *)&attendance->timer, on_device_timer_closed);
}

/* ---- ports of USB adapters ------------------------------------------------------------------- */

static struct fleet_device *find_node(struct fleet *fleet, const char *node) {
    for (unsigned i = 0; i < fleet->n_devices; i++)
        if (!strcmp(fleet->devices[i]->node, node))
            return fleet->devices[i];
    return NULL;
}

static void on_usb_added(void *userdata, const struct usb_port *port) {
    struct fleet *fleet = userdata;
    struct fleet_device *device = find_node(fleet, port->node);
    bool is_new = !device;
    int r = 0;

    if (fleet->is_closing)
        return;
    if (is_new)
        r = add_device(fleet, port->node, &device);
    if (r < 0) {
        log_warning("%s can't be served: %s", port->node, strerror(-r));
        return;
    }
    /* A port of the configuration that udev knows after all. */
    device->is_by_hand = false;
    device->unhandled = port->unhandled;
    device->baud_max = port->baud_max;
    COPY(device->slot, port->slot);
    COPY(device->adapter, port->adapter);
    COPY(device->serial, port->serial);
    if (is_new)
        fleet->events->on_device_added(fleet->userdata, device);
    attendance_begin(device, "plugged in");
}

static void on_usb_removed(void *userdata, const struct usb_port *port) {
    struct fleet *fleet = userdata;
    struct fleet_device *device = find_node(fleet, port->node);

    if (fleet->is_closing || !device || device->is_by_hand)
        return;
    device->attendance->is_removed = true;
    fleet->events->on_device_removed(fleet->userdata, device);
    drop(fleet->devices, &fleet->n_devices, device);
    fleet->leaving[fleet->n_leaving++] = device;
    attendance_end(device);
}

static const struct usb_watch_events usb_events = { .on_added = on_usb_added, .on_removed = on_usb_removed };

/* ---- ports from the configuration ------------------------------------------------------------ */

static bool is_there(const char *node) {
    struct stat st;

    return stat(node, &st) == 0 && S_ISCHR(st.st_mode);
}

static void look_at(struct fleet_device *device) {
    bool is_present = is_there(device->node);

    if (!device->is_by_hand || is_present == device->is_present)
        return;
    if (is_present)
        attendance_begin(device, "plugged in");
    else
        attendance_end(device);
}

static void on_folders(uv_poll_t *poll, int status, int events) {
    struct fleet *fleet = poll->data;
    char names[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

    (void)status;
    (void)events;
    while (read(fleet->folders, names, sizeof names) > 0)
        ; /* which one doesn't matter: a port may be a link to a link in there */
    for (unsigned i = 0; !fleet->is_closing && i < fleet->n_devices; i++)
        look_at(fleet->devices[i]);
}

/* Not by uv_fs_event: that also wakes up for each write to a file there, which in /dev is each byte that any
 * program sends to a terminal. */
static int open_folders(struct fleet *fleet) {
    int r;

    fleet->folders = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fleet->folders < 0)
        return -errno;
    r = uv_poll_init(fleet->loop, &fleet->folders_poll, fleet->folders);
    if (r < 0) {
        close(fleet->folders);
        fleet->folders = -1;
        return r;
    }
    fleet->folders_poll.data = fleet;
    return uv_poll_start(&fleet->folders_poll, UV_READABLE, on_folders);
}

static int watch_folder_of(struct fleet *fleet, const char *node) {
    cleanup(free_p) char *copy = strdup(node);
    const char *folder;
    int r = 0;

    if (!copy)
        return -ENOMEM;
    folder = dirname(copy);
    if (fleet->folders < 0)
        r = open_folders(fleet);
    if (r >= 0 && inotify_add_watch(fleet->folders, folder, IN_CREATE | IN_DELETE | IN_MOVE | IN_ONLYDIR) < 0)
        r = -errno;
    if (r < 0)
        log_warning("%s can't be watched (%s): whether its ports are there is only seen when they are used",
                    folder, strerror(-r));
    return 0;
}

static int add_by_hand(struct fleet *fleet, const char *node) {
    struct fleet_device *device;
    int r = add_device(fleet, node, &device);

    if (r < 0)
        return r;
    device->is_by_hand = true;
    device->baud_max = USB_ADAPTER_BAUD_UNKNOWN;
    COPY(device->slot, node);
    return watch_folder_of(fleet, node);
}

/* ---- wishes ---------------------------------------------------------------------------------- */

static void reconsider_all(struct fleet *fleet, const char *event) {
    if (!fleet->is_started || fleet->is_closing)
        return;
    for (unsigned i = 0; i < fleet->n_devices; i++)
        attendance_reconsider(fleet->devices[i], event);
}

static void on_board(void *userdata, const struct board_record *board, bool is_new) {
    struct fleet *fleet = userdata;

    if (!fleet->is_started || fleet->is_closing)
        return;
    fleet->events->on_board(fleet->userdata, board, is_new);
    for (unsigned i = 0; i < fleet->n_devices; i++)
        if (!strcmp(fleet->devices[i]->board.mac, board->mac))
            attendance_reconsider(fleet->devices[i], "wishes have changed");
}

static void on_slot(void *userdata, const struct slot_record *slot, bool is_new) {
    struct fleet *fleet = userdata;

    if (!fleet->is_started || fleet->is_closing)
        return;
    if (is_new)
        fleet_rates_review(fleet); /* what was reviewed under this name is forgotten */
    fleet->events->on_slot(fleet->userdata, slot, is_new);
    for (unsigned i = 0; i < fleet->n_devices; i++)
        if (!strcmp(fleet->devices[i]->slot, slot->name))
            attendance_reconsider(fleet->devices[i], "wishes have changed");
}

static void on_board_forgotten(void *userdata, const struct board_record *board) {
    struct fleet *fleet = userdata;

    if (fleet->is_started && !fleet->is_closing)
        fleet->events->on_board_forgotten(fleet->userdata, board);
}

static void on_slot_forgotten(void *userdata, const struct slot_record *slot) {
    struct fleet *fleet = userdata;

    if (fleet->is_started && !fleet->is_closing)
        fleet->events->on_slot_forgotten(fleet->userdata, slot);
}

static void on_default_policy(void *userdata) {
    struct fleet *fleet = userdata;

    if (fleet->is_started && !fleet->is_closing)
        fleet->events->on_default_policy(fleet->userdata);
    reconsider_all(fleet, "wishes have changed");
}

/* Not before: a daemon that is killed in between would go on with a job that has lost its package. */
static void on_job_over(void *userdata, const struct job_record *record, bool is_kept) {
    struct fleet *fleet = userdata;
    struct fleet_job *job = fleet_find_job(fleet, record->id);

    if (is_kept && record->is_spooled && fleet->spool)
        spool_remove(fleet->spool, record->id);
    if (job)
        fleet_job_tell_end(fleet, job);
}

static const struct ledger_events ledger_events = {
    .on_board = on_board,
    .on_board_forgotten = on_board_forgotten,
    .on_slot = on_slot,
    .on_slot_forgotten = on_slot_forgotten,
    .on_default_policy = on_default_policy,
    .on_job_over = on_job_over,
};

void fleet_on_config(struct fleet *fleet) {
    if (fleet->ledger && !fleet->is_closing)
        ledger_configure(fleet->ledger, fleet->config->policy);
    fleet_admit(fleet);
}

void fleet_on_firmware(struct fleet *fleet) {
    reconsider_all(fleet, "firmware has changed");
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_part_closed(struct fleet *fleet) {
    if (--fleet->n_pending)
        return;
    fleet_jobs_free(fleet);
    fleet->spool = spool_close(fleet->spool);
    if (fleet->on_closed)
        fleet->on_closed(fleet->closed_userdata);
    if (fleet->folders >= 0)
        close(fleet->folders);
    free(fleet->jobs);
    free(fleet->backup_folder);
    firmware_stubs_free(fleet->stubs);
    free(fleet->slot_rates);
    free(fleet);
}

static void on_handle_closed(uv_handle_t *handle) {
    on_part_closed(handle->data);
}

static void on_device_closed(uv_handle_t *handle) {
    struct attendance *attendance = handle->data;
    struct fleet_device *device = attendance->device;
    struct fleet *fleet = attendance->fleet;

    free(device->name);
    free(device->node);
    free(device);
    free(attendance);
    on_part_closed(fleet);
}

/* Nothing is under way, and all is written. */
static void close_handles(void *userdata) {
    struct fleet *fleet = userdata;

    fleet->ledger = NULL;
    fleet->n_pending = (fleet->folders >= 0 ? 2u : 1u) + fleet->n_devices;
    uv_close((uv_handle_t *)&fleet->expiry, on_handle_closed);
    if (fleet->folders >= 0)
        uv_close((uv_handle_t *)&fleet->folders_poll, on_handle_closed);
    for (unsigned i = 0; i < fleet->n_devices; i++)
        uv_close((uv_handle_t *)&fleet->devices[i]->attendance->timer, on_device_closed);
}

void fleet_close_when_idle(struct fleet *fleet) {
    if (!fleet->is_closing || fleet->is_ledger_closing || fleet->usb || fleet->n_leaving ||
        !fleet_jobs_are_idle(fleet))
        return;
    for (unsigned i = 0; i < fleet->n_devices; i++)
        if (!attendance_is_idle(fleet->devices[i]))
            return;
    fleet->is_ledger_closing = true;
    if (fleet->ledger)
        ledger_close(fleet->ledger, close_handles, fleet);
    else
        close_handles(fleet);
}

static void on_usb_closed(void *userdata) {
    struct fleet *fleet = userdata;

    fleet->usb = NULL;
    fleet_close_when_idle(fleet);
}

void fleet_close(struct fleet *fleet, void (*on_closed)(void *userdata), void *userdata) {
    fleet->is_closing = true;
    fleet->on_closed = on_closed;
    fleet->closed_userdata = userdata;
    fleet_jobs_stop(fleet);
    for (unsigned i = 0; i < fleet->n_devices; i++)
        attendance_stop(fleet->devices[i]);
    for (unsigned i = 0; i < fleet->n_leaving; i++)
        attendance_stop(fleet->leaving[i]);
    if (fleet->usb)
        usb_watch_close(fleet->usb, on_usb_closed, fleet);
    fleet_close_when_idle(fleet);
}

enum wipyd_error fleet_new(struct fleet **ret, uv_loop_t *loop, const struct config *config,
                           struct firmware_store *store, struct records *records, struct work_queue *queue,
                           const struct fleet_events *events, void *userdata, struct fault *fault) {
    struct fleet *fleet = calloc(1, sizeof *fleet);
    enum wipyd_error error;
    int r = 0;

    if (!fleet)
        return fault_set(fault, WIPYD_ERROR_NO_MEMORY, "the list of ports");
    fleet->loop = loop;
    fleet->config = config;
    fleet->store = store;
    fleet->queue = queue;
    fleet->events = events;
    fleet->userdata = userdata;
    fleet->folders = -1;
    uv_timer_init(loop, &fleet->expiry);
    fleet->expiry.data = fleet;
    error = ledger_open(&fleet->ledger, records, queue, config->policy, &ledger_events, fleet, fault);
    if (error == WIPYD_ERROR_NONE)
        error = fleet_jobs_load(fleet, fault);
    if (error == WIPYD_ERROR_NONE &&
        asprintf(&fleet->backup_folder, "%s/backup", config->state_directory) < 0)
        r = -ENOMEM;
    if (error == WIPYD_ERROR_NONE && !r)
        r = firmware_stubs_new(&fleet->stubs, config->stub ? config->stub : "auto", NULL);
    for (unsigned i = 0; error == WIPYD_ERROR_NONE && !r && i < config->n_ports; i++)
        r = add_by_hand(fleet, config->ports[i]);
    if (r < 0)
        error = fault_errno(fault, r, "the list of ports");
    if (error != WIPYD_ERROR_NONE) {
        fleet_close(fleet, NULL, NULL);
        return error;
    }
    fleet_rates_review(fleet);
    *ret = fleet;
    return WIPYD_ERROR_NONE;
}

/* Before the loop runs, so that it may block. One that is put there later is found by the next job. */
static void tell_of_stub(struct fleet *fleet) {
    char news[512];
    bool is_grave;

    (void)!firmware_stubs_find(fleet->stubs);
    if (firmware_stubs_news(fleet->stubs, news, sizeof news, &is_grave))
        log_with(is_grave ? LOG_WARNING : LOG_NOTICE, NULL, "%s", news);
}

int fleet_start(struct fleet *fleet) {
    int r = usb_watch_new(&fleet->usb, fleet->loop, fleet->config, &usb_events, fleet);

    if (r < 0)
        return r;
    fleet->is_started = true;
    tell_of_stub(fleet);
    for (unsigned i = 0; i < fleet->n_devices; i++)
        if (is_there(fleet->devices[i]->node))
            attendance_begin(fleet->devices[i], "there at start");
    return 0;
}
