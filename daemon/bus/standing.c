#include "daemon/bus/standing.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "daemon/base/log.h"
#include "daemon/bus/objects.h"

#define LOGIND           "org.freedesktop.login1"
#define LOGIND_PATH      "/org/freedesktop/login1"
#define LOGIND_INTERFACE "org.freedesktop.login1.Manager"

static void ask_logind(struct service *service, bool only_delay);

/* ---- logind ---------------------------------------------------------------------------------- */

static void let_go(struct standing *standing) {
    standing->asking =
        sd_bus_slot_unref(standing->asking); /* an answer that is on its way is closed unseen */
    if (standing->inhibitor >= 0)
        close(standing->inhibitor);
    standing->inhibitor = -1;
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    struct service *service = userdata;
    struct standing *standing = &service->standing;
    int fd;

    (void)error;
    standing->asking = sd_bus_slot_unref(standing->asking);
    if (sd_bus_message_is_method_error(reply, NULL)) {
        log_debug("logind: %s", sd_bus_message_get_error(reply)->message);
        /* Its own policy lets any service delay, but not all of them block. */
        if (!standing->may_only_delay && !sd_bus_message_is_method_error(reply, SD_BUS_ERROR_SERVICE_UNKNOWN))
            ask_logind(service, true);
        return 0;
    }
    if (sd_bus_message_read_basic(reply, 'h', &fd) >= 0)
        standing->inhibitor = fcntl(fd, F_DUPFD_CLOEXEC, 3); /* the message's own goes away with it */
    return 0;
}

static void ask_logind(struct service *service, bool only_delay) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL;
    struct standing *standing = &service->standing;
    int r =
        sd_bus_message_new_method_call(service->bus, &call, LOGIND, LOGIND_PATH, LOGIND_INTERFACE, "Inhibit");

    standing->may_only_delay = only_delay;
    if (r >= 0)
        r = sd_bus_message_set_auto_start(call, false);
    if (r >= 0)
        r = sd_bus_message_append(call, "ssss", "sleep:shutdown", "wipyd", "A board is being flashed",
                                  only_delay ? "delay" : "block");
    if (r >= 0)
        r = sd_bus_call_async(service->bus, &standing->asking, call, on_answer, service, 0);
    if (r < 0)
        log_debug("asking logind: %s", strerror(-r));
}

/* ---- what is going on ------------------------------------------------------------------------ */

static bool is_writing(const struct fleet_job *job) {
    switch (job->status.phase) {
    case WIPYD_PHASE_BEGIN:
    case WIPYD_PHASE_WRITE:
    case WIPYD_PHASE_VERIFY:
    case WIPYD_PHASE_GUARD_CHECK:
        return job->is_begun;
    case WIPYD_PHASE_QUEUED:
    case WIPYD_PHASE_PREPARE:
    case WIPYD_PHASE_OPEN:
    case WIPYD_PHASE_RESET:
    case WIPYD_PHASE_SYNC:
    case WIPYD_PHASE_IDENTIFY:
    case WIPYD_PHASE_PROTECT:
    case WIPYD_PHASE_LOAD_STUB:
    case WIPYD_PHASE_PLAN:
    case WIPYD_PHASE_RAISE_BAUD:
    case WIPYD_PHASE_COMPARE:
    case WIPYD_PHASE_SAVE:
    case WIPYD_PHASE_FINISH:
    case WIPYD_PHASE_BOOT_CHECK:
    case WIPYD_PHASE_DONE:
    case WIPYD_PHASE_COUNT:
        break;
    }
    return false;
}

static void tell_systemd(const struct standing *standing) {
    (void)sd_notifyf(0, "STATUS=%u port%s, %u job%s under way", standing->n_ports,
                     standing->n_ports == 1 ? "" : "s", standing->n_jobs, standing->n_jobs == 1 ? "" : "s");
}

void standing_update(struct service *service) {
    struct standing *standing = &service->standing;
    const struct fleet_device *device;
    unsigned n_ports = 0, n_jobs = 0;
    bool writes = false;

    for (unsigned i = 0; (device = fleet_device_at(service->fleet, i)); i++) {
        if (device == service->leaving)
            continue;
        n_ports += device->is_present;
        n_jobs += device->job != NULL;
        writes |= device->job && is_writing(device->job);
    }
    if (!standing->was_told || n_ports != standing->n_ports || n_jobs != standing->n_jobs) {
        standing->was_told = true;
        standing->n_ports = n_ports;
        standing->n_jobs = n_jobs;
        tell_systemd(standing);
    }
    if (writes == standing->is_writing)
        return;
    standing->is_writing = writes;
    let_go(standing);
    if (writes)
        ask_logind(service, false);
}

void standing_end(struct service *service) {
    let_go(&service->standing);
    service->standing.is_writing = false;
}
