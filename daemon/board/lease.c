/* A port that another program has for a while, by our leave. */

#include <stdio.h>

#include "daemon/base/log.h"
#include "daemon/board/inside.h"

enum wipyd_error fleet_lease(struct fleet *fleet, struct fleet_device *device, const char *lessee,
                             struct fault *fault) {
    struct log_fields fields = { .device = device->name, .board = device->board.mac };

    if (fleet->is_closing)
        return fault_set(fault, WIPYD_ERROR_SHUTTING_DOWN, "nothing is leased any more");
    if (device->job)
        return fault_set(fault, WIPYD_ERROR_DEVICE_BUSY, "job %u is under way on %s", device->job->id,
                         device->name);
    if (*device->lessee)
        return fault_set(fault, WIPYD_ERROR_DEVICE_BUSY, "%s is leased to %s", device->name, device->lessee);
    COPY(device->lessee, lessee);
    log_with(LOG_INFO, &fields, "leased to %s", device->lessee);
    attendance_give_way(device);
    attend(device, "leased");
    return WIPYD_ERROR_NONE;
}

bool fleet_port_is_closed(const struct fleet_device *device) {
    return attendance_is_idle(device);
}

void fleet_lease_end(struct fleet *fleet, struct fleet_device *device) {
    struct attendance *attendance = device->attendance;

    *device->lessee = 0;
    /* What was known of the board may not be true any more. */
    attendance->was_looked_at = attendance->was_reset = attendance->is_coached_out = false;
    attendance->is_fresh = false;
    attendance->seen = BOARD_SEEN_NOTHING;
    attendance->syncs_left = fleet->config->syncs;
    attendance->coach_until = 0;
    attend(device, "lease given back");
}
