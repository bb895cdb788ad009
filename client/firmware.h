#pragma once

/* The packages that the daemon has, as people see them. */

#include <stdbool.h>

#include "client/object.h"

#define FIRMWARE_DIGITS 12 /* of a SHA-256: what people are shown, and may type */

/* "WiPy 1.20.1.r1", or where the image doesn't say, the package's name; at most n bytes. */
char *firmware_title(const struct firmware *firmware, char *buffer, size_t n);
bool firmware_is_good(const struct firmware *firmware);
/* By board, the newest release first, those without an order last. list: of struct firmware. */
void firmware_sort(struct list *list);
/* A table, in the list's order. */
void firmware_print(const struct client *client, const struct list *list);

/* How one of a verb's arguments is done. What it leaves in *firmware (zeroed before) is printed as JSON when
 * it gives EXIT_DONE; in other modes it has said what it did. */
typedef enum exit_code (*firmware_fn)(struct client *client, const char *argument, struct firmware *firmware,
                                      void *userdata);
/* each(), of packages. */
must_check enum exit_code firmware_each(struct client *client, char **arguments, firmware_fn one,
                                        void *userdata);
