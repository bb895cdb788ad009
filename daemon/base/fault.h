#pragma once

/*
 * An outcome with its story. Functions that can fail in ways a person must hear of return
 * `enum wipyd_error` and tell the story here; functions that can only fail because the system did
 * return a negative errno and have no fault. fault_errno() is the one bridge between the two.
 */

#include "proto/error.h"

struct fault {
    enum wipyd_error code;
    char story[320]; /* one line, without a full stop; cut when longer */
};

/* Records code and story, gives back code, so that `return fault_set(...)` reads well. fault may be NULL. */
__attribute__((format(printf, 3, 4))) enum wipyd_error fault_set(struct fault *fault, enum wipyd_error code,
                                                                 const char *format, ...);
/* For a negative errno r: NO_MEMORY or SYSTEM, the story followed by the errno's text. */
__attribute__((format(printf, 3, 4))) enum wipyd_error fault_errno(struct fault *fault, int r,
                                                                   const char *format, ...);
