#pragma once

/*
 * What the rest of the system is told of the work: systemd's status line, and logind, which is kept from
 * sleep and shutdown while flash is being written.
 *
 * Happy path: standing_update after every change, standing_end. Failure modes: no logind, or it refuses: the
 * work goes on without; a shutdown is waited for by systemd in any case, and a job that is cut off goes on.
 */

#include <stdbool.h>
#include <systemd/sd-bus.h>

struct service;

struct standing {
    unsigned n_ports, n_jobs; /* as told last */
    bool was_told, is_writing;
    bool may_only_delay; /* of the question that is open */
    sd_bus_slot *asking;
    int inhibitor; /* -1: none */
};

void standing_update(struct service *service);
void standing_end(struct service *service);
