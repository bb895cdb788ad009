#pragma once

/* `wipyctl doctor`: what may stand in the way of flashing, and the cure. */

#include "client/json.h"
#include "client/objects.h"

enum doctor_state { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_FAILED, DOCTOR_STATE_COUNT };

struct doctor {
    const struct client *client;
    struct json *json; /* an open array; NULL: lines for people */
    bool has_daemon;   /* objects and manager are filled */
    struct manager manager;
    struct objects objects;
    size_t n[DOCTOR_STATE_COUNT];
};

/* One check's outcome. what: a stable word. cure: one sentence, NULL where nothing is wrong. */
__attribute__((format(printf, 5, 6))) void doctor_tell(struct doctor *doctor, enum doctor_state state,
                                                       const char *what, const char *cure, const char *format,
                                                       ...);

/* What the kernel and the files of this machine say. */
void doctor_check_host(struct doctor *doctor);
/* ModemManager and brltty, and the adapters that they may take. modem_manager: it runs. */
void doctor_check_neighbours(struct doctor *doctor, bool modem_manager);
