#include "daemon/bus/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"

enum {
    LEASES_MAX = 64,
    LEASES_OF_ONE_MAX = 16, /* of one user */
    WHY_BYTES_MAX = 80,
};

struct lease {
    struct service *service;
    struct lease *next;
    struct fleet_device *device;
    struct service_pending *call; /* to be answered when the port is closed; then NULL */
    uid_t uid;
    uv_poll_t poll; /* of our end */
    int own, given; /* the pipe: ours is for writing, so that a lessee can't send us anything; given: -1 once
                       it is on its way */
};

static void on_closed(uv_handle_t *handle) {
    struct lease *lease = handle->data;

    close(lease->own);
    service_on_handle_closed(lease->service);
    free(lease);
}

static void unlink_lease(struct lease *lease) {
    struct lease **link = &lease->service->leases;

    while (*link != lease)
        link = &(*link)->next;
    *link = lease->next;
}

/* code: for a caller that still waits. The fleet isn't told, and the device may be gone. */
static void end(struct lease *lease, enum wipyd_error code) {
    struct fault fault;

    unlink_lease(lease);
    fault_set(&fault, code, "before the port was free");
    if (lease->call)
        service_reply_done(lease->call, &fault);
    if (lease->given >= 0)
        close(lease->given);
    lease->service->n_closing++;
    uv_close((uv_handle_t *)&lease->poll, on_closed);
}

/* The other end is closed, everywhere: an error is all that a pipe's writer is ever told. */
static void on_poll(uv_poll_t *poll, int status, int events) {
    struct lease *lease = poll->data;
    struct fleet *fleet = lease->service->fleet;
    struct fleet_device *device = lease->device;

    (void)status, (void)events;
    end(lease, WIPYD_ERROR_PORT_GONE);
    fleet_lease_end(fleet, device);
}

/* ---- who and why --------------------------------------------------------------------------------- */

/* "code (uid 1000): debugging"; a program that can't be told by name has "pid 4711". */
static void describe(const struct authority_caller *caller, const char *why, char *ret, size_t size) {
    char path[64], program[32] = "";
    FILE *file;

    snprintf(path, sizeof path, "/proc/%d/comm", (int)caller->pid);
    file = caller->pid ? fopen(path, "re") : NULL;
    if (file) {
        if (!fgets(program, sizeof program, file))
            *program = 0;
        fclose(file);
        program[strcspn(program, "\n")] = 0;
    }
    if (!*program || !service_is_printable(program))
        snprintf(program, sizeof program, "pid %d", (int)caller->pid);
    snprintf(ret, size, "%s (uid %u): %s", program, (unsigned)caller->uid, why);
}

static enum wipyd_error count(const struct service *service, uid_t uid, struct fault *fault) {
    unsigned n = 0, n_own = 0;

    for (const struct lease *lease = service->leases; lease; lease = lease->next) {
        n++;
        n_own += lease->uid == uid;
    }
    if (n >= LEASES_MAX)
        return fault_set(fault, WIPYD_ERROR_TOO_MANY_LEASES, "%u ports are leased", n);
    if (n_own >= LEASES_OF_ONE_MAX)
        return fault_set(fault, WIPYD_ERROR_TOO_MANY_LEASES, "uid %u has %u", (unsigned)uid, n_own);
    return WIPYD_ERROR_NONE;
}

/* ---- the call ------------------------------------------------------------------------------------ */

static int new_lease(struct service *service, struct fleet_device *device, sd_bus_message *message,
                     struct lease **ret) {
    struct lease *lease = calloc(1, sizeof *lease);
    int ends[2], r;

    if (!lease)
        return -ENOMEM;
    lease->service = service;
    lease->device = device;
    lease->uid = service->caller.uid;
    lease->call = service_pending_new(message);
    if (!lease->call || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        r = lease->call ? -errno : -ENOMEM;
        service_pending_drop(lease->call);
        free(lease);
        return r;
    }
    lease->given = ends[0];
    lease->own = ends[1];
    r = uv_poll_init(service->loop, &lease->poll, lease->own);
    if (r < 0) {
        close(lease->given);
        close(lease->own);
        service_pending_drop(lease->call);
        free(lease);
        return r;
    }
    lease->poll.data = lease;
    lease->next = service->leases;
    service->leases = lease;
    *ret = lease;
    return 0;
}

int lease_begin(sd_bus_message *message, void *object, sd_bus_error *error) {
    struct service *service = service_of_call(message);
    struct fleet_device *device = object;
    char lessee[sizeof device->lessee];
    struct lease *lease = NULL;
    struct fault fault;
    const char *why;
    int r = sd_bus_message_read_basic(message, 's', &why);

    if (r < 0)
        return r;
    if (strlen(why) > WHY_BYTES_MAX)
        return sd_bus_error_setf(error, wipyd_error_bus_name(WIPYD_ERROR_INVALID_ARGUMENT),
                                 "a reason has at most %d bytes, not %zu", WHY_BYTES_MAX, strlen(why));
    if (!*why || !service_is_printable(why))
        return service_set_error(error, WIPYD_ERROR_INVALID_ARGUMENT, "a reason must be printable text");
    if (count(service, service->caller.uid, &fault) != WIPYD_ERROR_NONE)
        return service_set_error(error, fault.code, fault.story);
    r = new_lease(service, device, message, &lease);
    if (!lease)
        return r;
    describe(&service->caller, why, lessee, sizeof lessee);
    if (fleet_lease(service->fleet, device, lessee, &fault) != WIPYD_ERROR_NONE) {
        service_pending_drop(lease->call);
        lease->call = NULL;
        end(lease, fault.code);
        return service_set_error(error, fault.code, fault.story);
    }
    lease_look_after(service, device);
    return 1;
}

void lease_look_after(struct service *service, const struct fleet_device *device) {
    struct lease *lease = service->leases;
    int r;

    while (lease && lease->device != device)
        lease = lease->next;
    if (!lease || !lease->call || !fleet_port_is_closed(device))
        return;
    service_reply_fd(lease->call, lease->given);
    lease->call = NULL;
    close(lease->given); /* the message has its own */
    lease->given = -1;
    r = uv_poll_start(&lease->poll, UV_DISCONNECT, on_poll);
    if (r < 0)
        log_warning("watching the lease of %s: %s", device->name, strerror(-r));
}

void lease_drop(struct service *service, const struct fleet_device *device) {
    struct lease *next;

    for (struct lease *lease = service->leases; lease; lease = next) {
        next = lease->next;
        if (!device || lease->device == device)
            end(lease, device ? WIPYD_ERROR_PORT_GONE : WIPYD_ERROR_SHUTTING_DOWN);
    }
}
