#pragma once

/* A file of ours that appears when it is complete, or not at all. */

#include <stdbool.h>

#include "client/client.h"

/* Whether path may be written: nothing is there, or with options.force a regular file. Says why it may not.
 */
must_check enum exit_code save_check(struct client *client, const char *path);
/* Copies the rest of fd, which has to have exactly this many bytes, to path. What save_check() looked for is
 * kept even where something appears in the meantime. */
must_check enum exit_code save_fd(struct client *client, int fd, uint64_t bytes, const char *path);
/* What is told where the bytes aren't as many as they should be. */
enum exit_code save_wrong_size(const struct client *client);
