#pragma once

/* All of the daemon's objects, kept here as they are there. */

#include "client/objects.h"
#include "client/watch.h"

struct live {
    struct watch watch;
    struct objects objects;
    void (*on_news)(void *userdata); /* something in them has changed */
    void *userdata;
};

/* Listens, then loads all; on_news is called in watch_run() alone. *live is as its owner filled it, else
 * zeroed. */
must_check enum exit_code live_open(struct live *live, const struct client *client);
/* Takes a live that was never opened. */
void live_close(struct live *live);
