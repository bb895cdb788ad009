#pragma once

/* The generations of boards' own data that the daemon keeps. */

#include "client/client.h"
#include "client/json.h"
#include "client/property.h"

struct backup_part {
    char *part; /* "config", "nvs", "otadata" */
    uint64_t bytes;
};

struct backup {
    char *mac, *name;
    uint64_t saved_at_us;
    struct list parts; /* of struct backup_part */
};

/* By board, newest first; mac: of one board, or "". list: of struct backup. */
must_check enum exit_code backups_load(const struct client *client, const char *mac, struct list *list);
void backups_clear(struct list *list);
/* A map. */
void backup_to_json(const struct backup *backup, struct json *json);
/* "config, nvs, otadata"; at most n bytes. */
char *backup_parts(const struct backup *backup, char *buffer, size_t n);
/* The generation of a board's that has this name, or with NULL the newest. *chosen stands in the list, which
 * is loaded for it, and which the caller clears. */
must_check enum exit_code backup_choose(const struct client *client, const char *mac, const char *name,
                                        struct list *list, const struct backup **chosen);
