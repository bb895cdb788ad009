#pragma once

/*
 * One of the daemon's objects, kept here as it is there. Its changes are listened to before anyone asks for
 * the whole, so that none is lost; those that come before the answer are older than it and left out.
 */

#include "client/object.h"
#include "client/watch.h"

struct mirror {
    struct watch *watch; /* open; trouble with messages ends it */
    const struct interface *interface;
    void *object;     /* of the interface's struct; borrowed, the owner clears */
    const char *path; /* borrowed; NULL until it is known, which mirror_load() needs */
    /* The object was read as a whole, or something in it has changed. */
    void (*on_news)(void *userdata, bool whole);
    /* What mirror_load() asked for is refused. */
    void (*on_refused)(void *userdata, const sd_bus_error *error);
    void *userdata;
    bool loaded;
};

/* Listens to objects that match where, a part of a match rule: "path='/org/wipyd1'". */
must_check enum exit_code mirror_listen(struct mirror *mirror, const struct client *client,
                                        const char *where);
/* Asks for the whole; the answer takes its place in the row of changes. Negative errno. */
must_check int mirror_load(struct mirror *mirror);
