/* What several methods share: packages that are handed over, and answers that come later. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/log.h"
#include "daemon/bus/objects.h"
#include "proto/names.h"

int service_take_package(int fd, int *ret, uint64_t *ret_bytes, sd_bus_error *error) {
    const int wanted = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
    int seals = fcntl(fd, F_GET_SEALS), own;
    struct stat st;

    /* What could still change while it is read can't be checked. */
    if (seals < 0 || (seals & wanted) != wanted)
        return service_set_error(error, WIPYD_ERROR_INVALID_ARGUMENT,
                                 "package must be a memfd with all seals");
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size == 0)
        return service_set_error(error, WIPYD_ERROR_PACKAGE_INVALID, "the file is empty");
    if (st.st_size > (off_t)WIPYD_PACKAGE_BYTES_MAX)
        return service_set_error(error, WIPYD_ERROR_PACKAGE_TOO_LARGE, "at most 8 MiB are taken");
    own = fcntl(fd, F_DUPFD_CLOEXEC, 3); /* the message's own goes away with it */
    if (own < 0)
        return -errno;
    *ret = own;
    *ret_bytes = (uint64_t)st.st_size;
    return 0;
}

struct service_pending {
    sd_bus_message *message;
};

struct service_pending *service_pending_new(sd_bus_message *message) {
    struct service_pending *call = malloc(sizeof *call);

    if (call)
        call->message = sd_bus_message_ref(message);
    return call;
}

static void finish(struct service_pending *call, int r) {
    if (r < 0)
        log_warning("answering a call: %s", strerror(-r));
    sd_bus_message_unref(call->message);
    free(call);
}

/* True: the answer was an error. */
static bool reply_fault(struct service_pending *call, const struct fault *fault) {
    if (!fault || fault->code == WIPYD_ERROR_NONE)
        return false;
    finish(call,
           sd_bus_reply_method_errorf(call->message, wipyd_error_bus_name(fault->code), "%s", fault->story));
    return true;
}

void service_reply_nothing(void *userdata, const struct fault *fault, const struct firmware_record *record) {
    struct service_pending *call = userdata;

    (void)record;
    if (!reply_fault(call, fault))
        finish(call, sd_bus_reply_method_return(call->message, NULL));
}

void service_reply_path(void *userdata, const struct fault *fault, const struct firmware_record *record) {
    struct service_pending *call = userdata;
    char path[OBJECT_PATH_MAX];

    if (reply_fault(call, fault))
        return;
    service_firmware_path(record, path);
    finish(call, sd_bus_reply_method_return(call->message, "o", path));
}

void service_reply_state(void *userdata, const struct fault *fault, const struct firmware_record *record) {
    struct service_pending *call = userdata;

    if (!reply_fault(call, fault))
        finish(call,
               sd_bus_reply_method_return(call->message, "s", service_firmware_state_word(record->state)));
}
