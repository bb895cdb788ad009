/* What is wanted for boards and slots: one change after another. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/bus/objects.h"

static void begin_changes(struct service *service);

static void on_done(void *userdata, const struct fault *fault) {
    struct service_change *change = userdata;
    struct service *service = change->service;

    service_reply_done(change->call, fault);
    service->changes = change->next;
    free(change);
    begin_changes(service);
}

/* True: the ledger has it, and will answer. */
static bool change_board(struct ledger *ledger, struct service_change *change, struct fault *fault) {
    const struct board_record *known = ledger_board(ledger, change->key);
    struct board_record board;

    if (!known) {
        fault_set(fault, WIPYD_ERROR_NO_SUCH_BOARD, "board %s was forgotten", change->key);
        return false;
    }
    board = *known;
    switch (change->wish) {
    case WISH_POLICY:
        board.policy = change->policy;
        break;
    case WISH_LABEL:
        snprintf(board.label, sizeof board.label, "%s", change->text);
        break;
    case WISH_PIN:
        snprintf(board.pin, sizeof board.pin, "%s", change->text);
        break;
    case WISH_FORGET:
        if (service_device_of_board(change->service, change->key)) {
            fault_set(fault, WIPYD_ERROR_IN_USE, "board %s is plugged in at %s", change->key,
                      service_device_of_board(change->service, change->key)->name);
            return false;
        }
        ledger_forget_board(ledger, change->key, on_done, change);
        return true;
    case WISH_ARMED: /* a slot's alone */
        break;
    }
    ledger_put_board(ledger, &board, on_done, change);
    return true;
}

static bool change_slot(struct ledger *ledger, struct service_change *change, struct fault *fault) {
    const struct slot_record *known = ledger_slot(ledger, change->key);
    struct slot_record slot;

    if (!known) {
        fault_set(fault, WIPYD_ERROR_NO_SUCH_SLOT, "slot %s was forgotten", change->key);
        return false;
    }
    slot = *known;
    switch (change->wish) {
    case WISH_POLICY:
        slot.policy = change->policy;
        break;
    case WISH_LABEL:
        snprintf(slot.label, sizeof slot.label, "%s", change->text);
        break;
    case WISH_ARMED:
        slot.is_armed = change->armed;
        break;
    case WISH_FORGET:
        if (service_device_of_slot(change->service, change->key)) {
            fault_set(fault, WIPYD_ERROR_IN_USE, "%s is plugged in there",
                      service_device_of_slot(change->service, change->key)->name);
            return false;
        }
        ledger_forget_slot(ledger, change->key, on_done, change);
        return true;
    case WISH_PIN: /* a board's alone */
        break;
    }
    ledger_put_slot(ledger, &slot, on_done, change);
    return true;
}

/* Hands the first one to the ledger; those that come to nothing are answered on the way. */
static void begin_changes(struct service *service) {
    while (service->changes) {
        struct service_change *change = service->changes;
        struct ledger *ledger = fleet_ledger(service->fleet);
        struct fault fault;

        if (!ledger)
            fault_set(&fault, WIPYD_ERROR_SHUTTING_DOWN, "nothing is changed any more");
        else if (change->is_slot ? change_slot(ledger, change, &fault) : change_board(ledger, change, &fault))
            return;
        service_reply_done(change->call, &fault);
        service->changes = change->next;
        free(change);
    }
}

int service_change(sd_bus_message *message, const struct service_change *change) {
    struct service *service = service_of_call(message);
    struct service_change *copy = malloc(sizeof *copy), **last = &service->changes;

    if (!copy)
        return -ENOMEM;
    *copy = *change;
    copy->next = NULL;
    copy->service = service;
    copy->call = service_pending_new(message);
    if (!copy->call) {
        free(copy);
        return -ENOMEM;
    }
    while (*last)
        last = &(*last)->next;
    *last = copy;
    if (service->changes == copy)
        begin_changes(service);
    return 1;
}

int service_change_policy(sd_bus_message *message, struct service_change *change, sd_bus_error *error) {
    int r = service_read_policy(message, &change->policy, error);

    change->wish = WISH_POLICY;
    return r < 0 ? r : service_change(message, change);
}

/* Control characters, and those that turn or break lines: a label is shown in people's terminals. text is
 * UTF-8, which the bus has checked. */
static bool is_printable(const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0)) /* C0, DEL, C1 */
            return false;
        if (*p == 0xe2 && p[1] == 0x80 && p[2] >= 0xa8 && p[2] <= 0xae) /* U+2028 to U+202E */
            return false;
        if (*p == 0xe2 && p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9) /* U+2066 to U+2069 */
            return false;
    }
    return true;
}

int service_change_label(sd_bus_message *message, struct service_change *change, sd_bus_error *error) {
    const char *label;
    int r = sd_bus_message_read_basic(message, 's', &label);

    if (r < 0)
        return r;
    if (strlen(label) >= RECORD_LABEL_MAX)
        return sd_bus_error_setf(error, wipyd_error_bus_name(WIPYD_ERROR_INVALID_ARGUMENT),
                                 "a label has at most %d bytes, not %zu", RECORD_LABEL_MAX - 1,
                                 strlen(label));
    if (!is_printable(label))
        return service_set_error(error, WIPYD_ERROR_INVALID_ARGUMENT, "a label must be printable");
    change->wish = WISH_LABEL;
    snprintf(change->text, sizeof change->text, "%s", label);
    return service_change(message, change);
}
