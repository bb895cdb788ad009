#pragma once

/* What the daemon does to get new firmware, as people see it. */

#include <stdbool.h>

#include "client/object.h"
#include "client/progress.h"

/* It asks or fetches. */
bool poll_is_busy(const struct manager *manager);
/* It never asks: there are no sources. */
bool poll_is_off(const struct manager *manager);
/* rate: bytes per second; 0: not known. */
struct progress_point poll_point(const struct manager *manager, uint32_t rate);
/* "firmware: polled 2 h ago, next in 22 h: up to date: 1.20.2.r4" */
void poll_print_line(const struct manager *manager);
