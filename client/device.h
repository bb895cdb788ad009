#pragma once

/* Devices, as people see them. */

#include "client/object.h"

/* All that is known, as a table of facts. */
void device_print(const struct client *client, const struct device *device);
/* What goes on there when no job does, in a few words: "runs its firmware", "held by screen (pid 1)",
 * "unplugged"; at most n bytes. */
char *device_now(const struct device *device, char *buffer, size_t n);
/* The name of the device at that path, "ttyUSB0"; false: it is of no device. */
bool device_name_of(const char *path, char *buffer, size_t n);
