#pragma once

/* Bytes from one file to another. */

#include <stddef.h>
#include <stdint.h>

#include "client/client.h"

/* Copies until the end, but no more than max. Gives the bytes copied, max + 1 where there are more, or a
 * negative errno. */
must_check int64_t copy_fd(int from, int to, size_t max);
