#pragma once

/* What a part of a name means, when the daemon knows nothing by the whole word. */

#include "client/object.h"

/* What may be meant; several at once. */
#define PART_DEVICE 1u /* by its name, slot, label, or its board's MAC */
#define PART_BOARD  2u /* by its MAC or label */
#define PART_SLOT   4u /* by its name or label, or the device in it */

/*
 * The whole name of the one thing that the word is a part of: a device's name, a board's MAC or a slot's
 * name, which the caller frees; NULL where it is a part of none. One that several have is refused with them
 * listed. Case doesn't matter; a number is taken whole, so that ttyUSB1 isn't a part of ttyUSB10.
 */
must_check enum exit_code part_find(const struct client *client, const char *word, unsigned kinds,
                                    char **whole);
