#pragma once

/* A firmware package on our disk, made ready to be handed to the daemon, which opens no file of ours. */

#include <stdbool.h>

#include "client/client.h"

/* The word on the command line means a file: it has a '/', ends like a package, or is the name of one here.
 */
bool package_is_file(const char *argument);
/* Copies the file into a memfd that is sealed against every change. Gives it in *fd (the caller closes), and
 * the name to call it by in *name (the caller frees). Everything but a readable, regular file of 1 byte to
 * WIPYD_PACKAGE_BYTES_MAX is refused here; what is inside is the daemon's to judge. */
must_check enum exit_code package_open(struct client *client, const char *path, int *fd, char **name);
