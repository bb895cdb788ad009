#pragma once

/* `wipyctl flash --all`: every device that has a board in it, all at once. */

#include "client/client.h"

/* package: an open memfd, and name what to call it; or -1, and version is a release, or NULL for the newest.
 */
must_check enum exit_code flash_all(struct client *client, int package, const char *name,
                                    const char *version);
/* The call that starts a flash of the device at path. */
must_check enum exit_code flash_call(const struct client *client, const char *path, int package,
                                     const char *name, const char *version, sd_bus_message **call);
