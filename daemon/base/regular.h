#pragma once

/* Opening what should be a regular file where others may have put something else. */

#include <sys/stat.h>

#include "daemon/base/clean.h"

/* Opens name in the folder dir for reading: *ret is the caller's, *ret_st what it is. No link is followed,
 * and nothing that somebody put there (a FIFO, a device) holds us up or becomes our terminal. Negative errno:
 * -ENOENT, there is nothing; -ELOOP, a link; -EUCLEAN, something else that is no regular file. */
must_check int regular_open(int dir, const char *name, int *ret, struct stat *ret_st);
