#pragma once

/* What was last told of each object, as text, so that news can be told from repetition. */

#include "client/object.h"

struct known;

/* Which of the properties in seen now read differently than they last did; of an object that is new, than
 * those of an empty one. *known is NULL at first. */
uint64_t known_changes(struct known **known, const struct interface *interface, const char *path,
                       const void *object, uint64_t seen);
/* The object is gone. */
void known_forget(struct known **known, const struct interface *interface, const char *path);
void known_free(struct known *known);
