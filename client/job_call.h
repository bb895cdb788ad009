#pragma once

/* The calls that start a job on a device, with the options that the command line gave. */

#include "client/client.h"
#include "client/object.h"

/* Appends the a{sv} of Identify, Flash, FlashFile and Restore. version: NULL for none. */
must_check enum exit_code job_call_options(const struct client *client, sd_bus_message *call,
                                           const char *version);
