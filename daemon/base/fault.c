#include "daemon/base/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/bytes.h"

enum wipyd_error fault_set(struct fault *fault, enum wipyd_error code, const char *format, ...) {
    va_list args;

    if (fault) {
        fault->code = code;
        va_start(args, format);
        vsnprintf(fault->story, sizeof fault->story, format, args);
        va_end(args);
        trim_cut_text(fault->story);
    }
    return code;
}

enum wipyd_error fault_errno(struct fault *fault, int r, const char *format, ...) {
    enum wipyd_error code = r == -ENOMEM ? WIPYD_ERROR_NO_MEMORY : WIPYD_ERROR_SYSTEM;
    char what[240];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return fault_set(fault, code, "%s: %s", what, strerror(-r));
}
