#pragma once

/*
 * A folder source: what is new in it goes to the store, one package at a time.
 *
 * Happy path: poll_folder_start, (list, then copy and add per new package), on_done once.
 * Failure modes: a package that is refused is named in the text and not looked at again until it changes.
 */

#include <stdbool.h>

#include "daemon/firmware/store.h"
#include "daemon/loop/work_queue.h"

struct poll_folder;

struct poll_folder_result {
    bool is_usable;  /* at least one package of the folder is good, or was when it was added */
    bool is_changed; /* what is remembered */
    unsigned n_new;  /* added now */
    char text[256];
};

typedef void (*poll_folder_fn)(void *userdata, const struct poll_folder_result *result);

/* store, queue: borrowed until on_closed. Negative errno. */
must_check int poll_folder_new(struct poll_folder **ret, struct firmware_store *store,
                               struct work_queue *queue, poll_folder_fn on_done, void *userdata);
/* One at a time. *memory (see firmware_folder_format; may be NULL) is replaced before on_done, which comes
 * from the loop; path and memory are borrowed until then. */
void poll_folder_start(struct poll_folder *folder, const char *path, char **memory);
/* One that was never started. NULL is fine. */
void poll_folder_free(struct poll_folder *folder);
/* Without on_done. on_closed may come from inside. */
void poll_folder_close(struct poll_folder *folder, void (*on_closed)(void *userdata), void *userdata);
