#pragma once

/* All of the daemon's objects at one moment. */

#include "client/object.h"

/* Everything that ObjectManager knows, each list in its natural order (ttyUSB2 before ttyUSB10, job 9 before
 * 10). */
struct objects {
    struct list devices;  /* of struct device */
    struct list jobs;     /* of struct job */
    struct list firmware; /* of struct firmware */
    struct list boards;   /* of struct board */
    struct list slots;    /* of struct slot */
};

must_check enum exit_code objects_load(const struct client *client, struct objects *objects);
/* The same of what GetManagedObjects has answered, and silent: a negative errno. */
must_check int objects_read(struct objects *objects, sd_bus_message *m);
void objects_clear(struct objects *objects);
/* NULL when the path (or the MAC) is none of them. */
const struct device *objects_device(const struct objects *objects, const char *path);
const struct job *objects_job(const struct objects *objects, const char *path);
const struct board *objects_board(const struct objects *objects, const char *mac);
/* Whether they are kept: all kinds but the manager. */
bool objects_have(const struct interface *interface);
/* NULL when there is none. */
void *objects_find(struct objects *objects, const struct interface *interface, const char *path);
/* The object at path, made if there is none, with nothing in it; in its place in the list. NULL: no memory.
 */
void *objects_add(struct objects *objects, const struct interface *interface, const char *path);
void objects_remove(struct objects *objects, const struct interface *interface, const char *path);
/* The list as the whole document. */
must_check enum exit_code objects_print_json(const struct client *client, const struct list *list,
                                             const struct interface *interface);
/* An array of maps, as the value of a key or as the document. */
void objects_to_json(const struct list *list, const struct interface *interface, struct json *json);
