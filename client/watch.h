#pragma once

/*
 * Waiting for news from the daemon. An event loop on the client's bus that ends when its owner says so, on
 * Ctrl-C (or SIGTERM, SIGHUP, SIGQUIT), or when the daemon leaves the bus.
 */

#include <systemd/sd-event.h>

#include "client/client.h"

enum watch_end {
    WATCH_FINISHED, /* its owner has seen enough */
    WATCH_INTERRUPTED,
    WATCH_DAEMON_GONE,
};

struct watch {
    const struct client *client;
    sd_event *event;
    bool over;
    int end;
};

/* From here until watch_close() a Ctrl-C is kept for watch_run(). Messages are dispatched in watch_run()
 * alone. */
must_check enum exit_code watch_open(struct watch *watch, const struct client *client);
/* Asks for all news of the daemon's objects, in an opened watch. */
must_check enum exit_code watch_objects(struct watch *watch, sd_bus_message_handler_t on_changed,
                                        sd_bus_message_handler_t on_added,
                                        sd_bus_message_handler_t on_removed, void *userdata);
/* What watch_over() was told: an enum watch_end, or a negative errno. */
int watch_run(struct watch *watch);
/* Ends watch_run(); the first word counts. (Not sd_event_exit(): that would close the bus.) */
void watch_over(struct watch *watch, int end);
/* Takes a watch that was never opened, if it is zeroed. */
void watch_close(struct watch *watch);
