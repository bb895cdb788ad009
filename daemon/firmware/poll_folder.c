#include "daemon/firmware/poll_folder.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/firmware/source_folder.h"
#include "proto/names.h"

struct poll_folder {
    struct firmware_store *store;
    struct work_queue *queue;
    poll_folder_fn on_done;
    void *userdata;
    unsigned n_pending; /* in the pool or the store */
    bool is_closing;
    void (*on_closed)(void *userdata);
    void *closed_userdata;

    const char *path;
    char **memory;
    struct firmware_folder files;
    size_t file; /* under way */
    int fd;      /* its copy */
    uint64_t bytes;
    int r; /* of the work in the pool */
    unsigned n_refused;
    char refusal[160];
    struct poll_folder_result result;
};

static void take_next_file(struct poll_folder *folder);

static void finish_close(struct poll_folder *folder) {
    if (folder->n_pending > 0)
        return;
    folder->on_closed(folder->closed_userdata);
    poll_folder_free(folder);
}

static struct firmware_folder_file *file_of(struct poll_folder *folder) {
    return &folder->files.files[folder->file];
}

/* ---- the end --------------------------------------------------------------------------------- */

static void finish(struct poll_folder *folder) {
    struct poll_folder_result *result = &folder->result;
    size_t n_good = 0;
    char *memory;

    for (size_t i = 0; i < folder->files.n; i++)
        n_good += folder->files.files[i].sha256[0] != 0;
    result->is_usable = n_good > 0;
    if (folder->r < 0)
        snprintf(result->text, sizeof result->text, "%s",
                 folder->r == -E2BIG ? "too many packages" : strerror(-folder->r));
    else if (folder->files.n == 0)
        snprintf(result->text, sizeof result->text, "no packages");
    else
        snprintf(result->text, sizeof result->text, "%zu packages, %u new%s%s", folder->files.n,
                 result->n_new, folder->refusal[0] ? ", " : "", folder->refusal);
    memory = folder->r < 0 ? NULL : firmware_folder_format(&folder->files);
    if (memory) {
        result->is_changed = !*folder->memory || strcmp(*folder->memory, memory) != 0;
        free(*folder->memory);
        *folder->memory = memory;
    }
    firmware_folder_deinit(&folder->files);
    folder->on_done(folder->userdata, result);
}

/* The first refusal is told in full. */
static void refuse(struct poll_folder *folder, const char *why) {
    if (folder->n_refused++ == 0)
        snprintf(folder->refusal, sizeof folder->refusal, "%.159s", why);
}

/* ---- one package ----------------------------------------------------------------------------- */

static void on_added(void *userdata, const struct fault *fault, const struct firmware_record *record) {
    struct poll_folder *folder = userdata;
    struct firmware_folder_file *file = file_of(folder);

    folder->n_pending--;
    if (folder->is_closing) {
        finish_close(folder);
        return;
    }
    if (fault) {
        refuse(folder, fault->story);
        /* What the system refused is tried again at the next poll. */
        file->is_new = fault->code == WIPYD_ERROR_SYSTEM || fault->code == WIPYD_ERROR_NO_MEMORY;
    } else {
        file->is_new = false;
        snprintf(file->sha256, sizeof file->sha256, "%s", record->sha256);
        folder->result.n_new++;
    }
    folder->file++;
    take_next_file(folder);
}

static void run_copy(void *userdata) {
    struct poll_folder *folder = userdata;

    folder->r = firmware_folder_copy(folder->path, file_of(folder)->name, WIPYD_PACKAGE_BYTES_MAX,
                                     &folder->fd, &folder->bytes);
}

static void on_copied(void *userdata) {
    struct poll_folder *folder = userdata;
    struct firmware_folder_file *file = file_of(folder);
    char url[1200], why[160];
    const struct firmware_origin origin = { .url = url, .name = file->name };

    folder->n_pending--;
    if (folder->is_closing) {
        if (folder->r >= 0)
            close(folder->fd);
        finish_close(folder);
        return;
    }
    if (folder->r < 0) {
        snprintf(why, sizeof why, "%s: %s", file->name, strerror(-folder->r));
        refuse(folder, why);
        file->is_new = folder->r != -EFBIG;
        folder->r = 0;
        folder->file++;
        take_next_file(folder);
        return;
    }
    snprintf(url, sizeof url, "file://%s/%s", folder->path, file->name);
    folder->n_pending++;
    firmware_store_add(folder->store, folder->fd, folder->bytes, &origin, on_added, folder);
}

/* Whether the store still knows it: what was removed or dropped there isn't added again, what got lost is. */
static bool is_lost(struct poll_folder *folder, const struct firmware_folder_file *file) {
    const struct firmware_record *record =
        file->sha256[0] ? firmware_store_find(folder->store, file->sha256) : NULL;

    return record && record->state == FIRMWARE_MISSING;
}

static void take_next_file(struct poll_folder *folder) {
    while (folder->file < folder->files.n && !file_of(folder)->is_new && !is_lost(folder, file_of(folder)))
        folder->file++;
    if (folder->file == folder->files.n) {
        finish(folder);
        return;
    }
    folder->r = work_queue_add(folder->queue, run_copy, on_copied, folder);
    if (folder->r < 0)
        finish(folder);
    else
        folder->n_pending++;
}

/* ---- the folder ------------------------------------------------------------------------------ */

static void run_list(void *userdata) {
    struct poll_folder *folder = userdata;

    folder->r = firmware_folder_list(&folder->files, folder->path);
    if (folder->r >= 0)
        firmware_folder_recall(&folder->files, *folder->memory);
}

static void on_listed(void *userdata) {
    struct poll_folder *folder = userdata;

    folder->n_pending--;
    if (folder->is_closing)
        finish_close(folder);
    else if (folder->r < 0)
        finish(folder);
    else
        take_next_file(folder);
}

/* ---- object ---------------------------------------------------------------------------------- */

int poll_folder_new(struct poll_folder **ret, struct firmware_store *store, struct work_queue *queue,
                    poll_folder_fn on_done, void *userdata) {
    *ret = calloc(1, sizeof **ret);
    if (!*ret)
        return -ENOMEM;
    (*ret)->store = store;
    (*ret)->queue = queue;
    (*ret)->on_done = on_done;
    (*ret)->userdata = userdata;
    return 0;
}

void poll_folder_start(struct poll_folder *folder, const char *path, char **memory) {
    folder->path = path;
    folder->memory = memory;
    folder->file = 0;
    folder->n_refused = 0;
    folder->refusal[0] = 0;
    folder->result = (struct poll_folder_result) { 0 };
    folder->r = work_queue_add(folder->queue, run_list, on_listed, folder);
    if (folder->r < 0)
        finish(folder);
    else
        folder->n_pending++;
}

void poll_folder_free(struct poll_folder *folder) {
    if (!folder)
        return;
    firmware_folder_deinit(&folder->files);
    free(folder);
}

void poll_folder_close(struct poll_folder *folder, void (*on_closed)(void *userdata), void *userdata) {
    folder->is_closing = true;
    folder->on_closed = on_closed;
    folder->closed_userdata = userdata;
    finish_close(folder);
}
