#pragma once

/* Making a folder that is there after a power loss as well. */

#include "daemon/base/clean.h"

/* Makes the folder at path, mode 0700, unless it is there, and syncs the folder that it is in: else what is
 * synced inside it could lose its place. Also where it was there already: who made it may have been killed
 * before that. Blocks for the disk. Negative errno. */
must_check int folder_make(const char *path);
