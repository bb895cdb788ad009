/* What several methods share: packages that are handed over, answers that come later. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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

void service_pending_drop(struct service_pending *call) {
    if (!call)
        return;
    sd_bus_message_unref(call->message);
    free(call);
}

int service_begin_change(sd_bus_message *message, struct ledger **ret_ledger, struct service_pending **ret,
                         sd_bus_error *error) {
    *ret_ledger = fleet_ledger(service_of_call(message)->fleet);
    if (!*ret_ledger)
        return service_set_error(error, WIPYD_ERROR_SHUTTING_DOWN, "nothing is changed any more");
    *ret = service_pending_new(message);
    return *ret ? 0 : -ENOMEM;
}

static void finish(struct service_pending *call, int r) {
    if (r < 0) {
        log_warning("answering a call: %s", strerror(-r));
        /* Whoever waits must hear something; what failed once may go well now. */
        r = sd_bus_reply_method_errno(call->message, r, NULL);
        if (r < 0)
            log_error("answering a call: %s", strerror(-r));
    }
    service_pending_drop(call);
}

/* True: the answer was an error. */
static bool reply_fault(struct service_pending *call, const struct fault *fault) {
    if (!fault || fault->code == WIPYD_ERROR_NONE)
        return false;
    finish(call,
           sd_bus_reply_method_errorf(call->message, wipyd_error_bus_name(fault->code), "%s", fault->story));
    return true;
}

void service_reply_done(void *userdata, const struct fault *fault) {
    struct service_pending *call = userdata;

    if (!reply_fault(call, fault))
        finish(call, sd_bus_reply_method_return(call->message, NULL));
}

void service_reply_fd(struct service_pending *call, int fd) {
    finish(call, sd_bus_reply_method_return(call->message, "h", fd));
}

void service_reply_nothing(void *userdata, const struct fault *fault, const struct firmware_record *record) {
    (void)record;
    service_reply_done(userdata, fault);
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

/* ---- answers from the pool ------------------------------------------------------------------- */

static void answer_in_pool(uv_work_t *work) {
    struct service_answer *answer = work->data;

    answer->r = answer->run(answer);
}

static void send_answer(uv_work_t *work, int status) {
    struct service_answer *answer = work->data;
    struct service_pending *call = answer->call;
    int r = status < 0 ? status : answer->r;

    if (r < 0)
        finish(call, sd_bus_reply_method_errno(call->message, r, NULL));
    else if (!reply_fault(call, &answer->fault))
        finish(call, sd_bus_message_send(answer->reply));
    sd_bus_message_unref(answer->reply);
    answer->free(answer);
}

void service_answer_start(struct service_answer *answer, uv_loop_t *loop) {
    int r = sd_bus_message_new_method_return(answer->call->message, &answer->reply);

    answer->work.data = answer;
    if (r >= 0)
        r = uv_queue_work(loop, &answer->work, answer_in_pool, send_answer);
    if (r < 0)
        send_answer(&answer->work, r);
}

void service_answer_refuse(struct service_answer *answer, const struct fault *fault) {
    answer->work.data = answer;
    answer->fault = *fault;
    send_answer(&answer->work, 0);
}
