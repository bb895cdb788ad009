#pragma once

/* A folder of ours that appears when it is complete, or not at all, and that nobody else can read. */

#include <signal.h>

#include "client/client.h"

struct folder {
    char *path, *temporary; /* where it is to be, and where it is made */
    int fd;                 /* of temporary; -1: none */
    sigset_t before;        /* Ctrl-C waits until folder_close(): nothing half done is left */
};

/* Begins a folder at path; nothing may be there. Ends with folder_close(), whatever this gives. */
must_check enum exit_code folder_open(struct client *client, struct folder *folder, const char *path);
/* Copies fd, which has to have exactly this many bytes, to a new file in it, mode 0600. */
must_check enum exit_code folder_add(struct client *client, struct folder *folder, const char *name, int fd,
                                     uint64_t bytes);
/* Puts it in its place. */
must_check enum exit_code folder_finish(struct client *client, struct folder *folder);
/* Frees, and removes what wasn't finished. */
void folder_close(struct folder *folder);
