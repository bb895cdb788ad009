#pragma once

/* What the poll knows of each source from the rounds before, as kept in its notes. */

#include "daemon/base/config.h"
#include "daemon/firmware/download.h"
#include "daemon/firmware/poll_notes.h"

/* What a source led to last time; all strings may be empty. */
struct poll_memory {
    char etag[128], last_modified[64];                 /* of its answer */
    char url[FIRMWARE_URL_MAX];                        /* of the package */
    char package_etag[128], package_last_modified[64]; /* of the package */
    char sha1[41];                                     /* that was offered */
    char sha256[65];                                   /* of what is in the store */
    char *files;                                       /* of a folder (firmware_folder_format); owned */
};

struct poll_memories {
    struct poll_memory sources[CONFIG_SOURCES_MAX];
    struct firmware_part part;
};

/* Blocking: from the pool. folder: the store's. */
void poll_memories_recall(struct poll_memories *ret, struct records *records, const struct config *config,
                          const char *folder);
void poll_memories_deinit(struct poll_memories *memories);
void poll_memory_save(const struct poll_memory *memory, const struct config_source *source,
                      struct poll_notes *notes);
/* 40 hex digits that change with the configured sources: what is remembered of others is of no use. */
void poll_memory_fingerprint(const struct config *config, char ret[41]);
