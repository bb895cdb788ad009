#include "daemon/board/fleet.h"

#include <assert.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/log.h"

enum {
    JOB_STAYS_MS = 10 * 60 * 1000, /* a finished job stays visible */
    JOBS_FINISHED_MAX = 128,
};

/* A folder whose entries tell whether ports are there; several ports may share one. */
struct folder_watch {
    uv_fs_event_t event;
    struct fleet *fleet;
    char path[4096];
};

struct fleet {
    uv_loop_t *loop;
    const struct config *config;
    struct firmware_store *store;
    const struct fleet_events *events;
    void *userdata;
    char *backup_folder;

    struct fleet_device **devices;
    unsigned n_devices;
    struct fleet_job **jobs; /* in order of id */
    unsigned n_jobs, n_allocated;
    uint32_t last_job_id;

    uv_timer_t expiry;
    struct folder_watch *watches[CONFIG_PORTS_MAX];
    unsigned n_watches;

    bool is_closing;
    unsigned n_pending; /* handles to be closed */
    void (*on_closed)(void *userdata);
    void *closed_userdata;
};

/* ---- devices --------------------------------------------------------------------------------- */

static bool is_there(const char *node) {
    struct stat st;

    return stat(node, &st) == 0 && S_ISCHR(st.st_mode);
}

static void look_at(struct fleet *fleet, struct fleet_device *device) {
    bool is_present = is_there(device->node);

    if (is_present == device->is_present)
        return;
    device->is_present = is_present;
    fleet->events->on_device_changed(fleet->userdata, device);
}

static void on_folder(uv_fs_event_t *event, const char *name, int what, int status) {
    struct folder_watch *watch = event->data;

    (void)name;
    (void)what;
    (void)status;
    for (unsigned i = 0; i < watch->fleet->n_devices; i++)
        look_at(watch->fleet, watch->fleet->devices[i]);
}

static int watch_folder_of(struct fleet *fleet, const char *node) {
    struct folder_watch *watch;
    cleanup(free_p) char *copy = strdup(node);
    const char *folder;
    int r;

    if (!copy)
        return -ENOMEM;
    folder = dirname(copy);
    for (unsigned i = 0; i < fleet->n_watches; i++)
        if (!strcmp(fleet->watches[i]->path, folder))
            return 0;
    watch = calloc(1, sizeof *watch);
    if (!watch)
        return -ENOMEM;
    watch->fleet = fleet;
    watch->event.data = watch;
    snprintf(watch->path, sizeof watch->path, "%s", folder);
    uv_fs_event_init(fleet->loop, &watch->event);
    fleet->watches[fleet->n_watches++] = watch;
    r = uv_fs_event_start(&watch->event, on_folder, watch->path, 0);
    if (r < 0)
        log_warning("%s can't be watched (%s): whether its ports are there is only seen when they are used",
                    watch->path, strerror(-r));
    return 0;
}

static int add_device(struct fleet *fleet, const char *node) {
    struct fleet_device *device = calloc(1, sizeof *device);
    const char *slash = strrchr(node, '/');

    if (!device)
        return -ENOMEM;
    fleet->devices[fleet->n_devices++] = device;
    device->node = strdup(node);
    device->name = strdup(slash ? slash + 1 : node);
    if (!device->node || !device->name)
        return -ENOMEM;
    device->is_present = is_there(node);
    return watch_folder_of(fleet, node);
}

struct fleet_device *fleet_find_device(struct fleet *fleet, const char *name) {
    struct fleet_device *found = NULL;

    for (unsigned i = 0; i < fleet->n_devices; i++) {
        struct fleet_device *device = fleet->devices[i];

        if (!strcmp(device->name, name) || !strcmp(device->node, name))
            return device;
        if (*device->board.mac && !strcasecmp(device->board.mac, name)) {
            if (found)
                return NULL;
            found = device;
        }
    }
    return found;
}

struct fleet_device *fleet_device_at(struct fleet *fleet, unsigned index) {
    return index < fleet->n_devices ? fleet->devices[index] : NULL;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void arm_expiry(struct fleet *fleet);
static void close_when_idle(struct fleet *fleet);

static void remove_job(struct fleet *fleet, unsigned index) {
    struct fleet_job *job = fleet->jobs[index];

    fleet->events->on_job_removed(fleet->userdata, job);
    fleet->n_jobs--;
    memmove(&fleet->jobs[index], &fleet->jobs[index + 1],
            (fleet->n_jobs - index) * sizeof(struct fleet_job *));
    flash_job_free(job->flash);
    free(job);
}

static void on_expiry(uv_timer_t *timer) {
    struct fleet *fleet = timer->data;

    for (unsigned i = 0; i < fleet->n_jobs;)
        if (fleet->jobs[i]->expires_ms && fleet->jobs[i]->expires_ms <= uv_now(fleet->loop))
            remove_job(fleet, i);
        else
            i++;
    arm_expiry(fleet);
}

static void arm_expiry(struct fleet *fleet) {
    uint64_t first = 0, now = uv_now(fleet->loop);

    for (unsigned i = 0; i < fleet->n_jobs; i++)
        if (fleet->jobs[i]->expires_ms && (!first || fleet->jobs[i]->expires_ms < first))
            first = fleet->jobs[i]->expires_ms;
    if (first)
        uv_timer_start(&fleet->expiry, on_expiry, first > now ? first - now : 0, 0);
    else
        uv_timer_stop(&fleet->expiry);
}

static void forget_oldest_finished(struct fleet *fleet) {
    unsigned n_finished = 0;

    for (unsigned i = 0; i < fleet->n_jobs; i++)
        n_finished += fleet->jobs[i]->expires_ms != 0;
    for (unsigned i = 0; i < fleet->n_jobs && n_finished > JOBS_FINISHED_MAX;)
        if (fleet->jobs[i]->expires_ms) {
            remove_job(fleet, i);
            n_finished--;
        } else {
            i++;
        }
}

static void take_board(struct fleet *fleet, struct fleet_job *job, bool is_final) {
    const struct flash_status *status = flash_job_status(job->flash);
    struct fleet_device *device = job->device;
    bool is_other = strcmp(device->board.mac, status->board.mac) != 0;

    if (!*status->board.mac)
        return;
    if (!is_other && !is_final && !strcmp(device->board.chip, status->board.chip) &&
        !strcmp(device->board.release, status->board.release))
        return;
    device->board = status->board;
    device->seen_us = status->finished_us ? status->finished_us : status->started_us;
    /* What was just verified on the flash is what the flash holds. */
    if (status->state == WIPYD_JOB_STATE_DONE && flash_job_package(job->flash) &&
        !flash_job_is_dry_run(job->flash)) {
        const struct firmware_version *version = &flash_job_package(job->flash)->version;

        snprintf(device->board.board, sizeof device->board.board, "%s", version->board);
        snprintf(device->board.release, sizeof device->board.release, "%s", version->release);
        device->board.is_blank = false;
    }
    fleet->events->on_device_changed(fleet->userdata, device);
}

static struct fleet_job *job_of(struct fleet *fleet, const struct flash_job *flash) {
    return fleet_find_job(fleet, flash_job_id(flash));
}

static void on_flash_change(void *userdata, struct flash_job *flash) {
    struct fleet *fleet = userdata;
    struct fleet_job *job = job_of(fleet, flash);

    if (!job)
        return;
    take_board(fleet, job, false);
    fleet->events->on_job_changed(fleet->userdata, job);
}

static void on_flash_finished(void *userdata, struct flash_job *flash) {
    struct fleet *fleet = userdata;
    struct fleet_job *job = job_of(fleet, flash);

    assert(job);
    job->device->job = NULL;
    job->expires_ms = uv_now(fleet->loop) + JOB_STAYS_MS;
    take_board(fleet, job, true);
    look_at(fleet, job->device);
    fleet->events->on_device_changed(fleet->userdata, job->device);
    fleet->events->on_job_changed(fleet->userdata, job);
    arm_expiry(fleet);
    close_when_idle(fleet);
}

static const struct flash_job_events flash_events = {
    .on_change = on_flash_change,
    .on_finished = on_flash_finished,
};

struct fleet_job *fleet_find_job(struct fleet *fleet, uint32_t id) {
    for (unsigned i = 0; i < fleet->n_jobs; i++)
        if (fleet->jobs[i]->id == id)
            return fleet->jobs[i];
    return NULL;
}

struct fleet_job *fleet_job_at(struct fleet *fleet, unsigned index) {
    return index < fleet->n_jobs ? fleet->jobs[index] : NULL;
}

static bool make_room(struct fleet *fleet) {
    unsigned n = fleet->n_allocated ? 2 * fleet->n_allocated : 16;
    struct fleet_job **grown;

    if (fleet->n_jobs < fleet->n_allocated)
        return true;
    grown = realloc(fleet->jobs, n * sizeof(struct fleet_job *));
    if (!grown)
        return false;
    fleet->jobs = grown;
    fleet->n_allocated = n;
    return true;
}

/* Takes request->package_fd in any case. */
static enum wipyd_error start(struct fleet *fleet, struct fleet_device *device,
                              struct flash_job_request *request, const struct fleet_options *options,
                              struct fleet_job **ret, struct fault *fault) {
    cleanup(close_fd_p) int fd = request->package_fd;
    cleanup(free_p) struct fleet_job *job = NULL;
    int r;

    if (fleet->is_closing)
        return fault_set(fault, WIPYD_ERROR_SHUTTING_DOWN, "no job is begun any more");
    if (device->job)
        return fault_set(fault, WIPYD_ERROR_DEVICE_BUSY, "job %u is under way on %s", device->job->id,
                         device->name);
    forget_oldest_finished(fleet);
    job = calloc(1, sizeof *job);
    if (!job || !make_room(fleet))
        return fault_set(fault, WIPYD_ERROR_NO_MEMORY, "beginning a job");

    request->id = ++fleet->last_job_id;
    request->node = device->node;
    request->device = device->name;
    request->dry_run = options->dry_run;
    request->baud = options->baud ? options->baud : fleet->config->baud;
    request->connect_timeout_ms =
        1000 * (options->connect_timeout_s ? options->connect_timeout_s : fleet->config->connect_timeout_s);
    request->backup_folder = fleet->backup_folder;
    fd = -1; /* flash_job_start takes it */
    r = flash_job_start(&job->flash, fleet->loop, request, &flash_events, fleet);
    if (r < 0)
        return fault_errno(fault, r, "beginning a job");
    job->id = request->id;
    job->device = device;
    device->job = job;
    fleet->jobs[fleet->n_jobs++] = job;
    *ret = steal_pointer(&job);
    fleet->events->on_job_added(fleet->userdata, *ret);
    fleet->events->on_device_changed(fleet->userdata, device);
    return WIPYD_ERROR_NONE;
}

/* Why nothing could be chosen. */
static enum wipyd_error no_firmware(struct fleet *fleet, const char *board, const char *version,
                                    struct fault *fault) {
    const struct firmware_record *record;
    bool has_good = false;

    for (unsigned i = 0; (record = firmware_store_at(fleet->store, i)); i++) {
        if (strcmp(record->board, board) != 0)
            continue;
        has_good |= record->state == FIRMWARE_GOOD;
        if (version && record->state == FIRMWARE_QUARANTINED &&
            (!strcmp(record->release, version) || !strcmp(record->server_version, version)))
            return fault_set(fault, WIPYD_ERROR_QUARANTINED, "%s: %s", record->name, record->reason);
    }
    if (version)
        return fault_set(fault, WIPYD_ERROR_NO_SUCH_FIRMWARE, "no package for %s holds release %s", board,
                         version);
    return fault_set(
        fault, WIPYD_ERROR_NO_SUCH_FIRMWARE,
        has_good ? "no package for %s is the newest beyond doubt" : "there is no good package for %s", board);
}

enum wipyd_error fleet_flash(struct fleet *fleet, struct fleet_device *device,
                             const struct fleet_options *options, struct fleet_job **ret,
                             struct fault *fault) {
    const char *board = *device->board.board ? device->board.board : "WiPy";
    struct flash_job_request request = { .package_fd = -1 };
    const struct firmware_record *record = firmware_store_choose(fleet->store, board, options->version);
    enum wipyd_error error;
    int r;

    if (!record)
        return no_firmware(fleet, board, options->version, fault);
    request.package_name = record->name;
    request.package = firmware_store_ready(fleet->store, record);
    if (!request.package) {
        request.package_bytes = record->bytes;
        request.package_sha256 = record->sha256;
        r = firmware_store_open_file(fleet->store, record, &request.package_fd);
        if (r < 0)
            return fault_errno(fault, r, "opening %s", record->name);
    }
    error = start(fleet, device, &request, options, ret, fault);
    if (request.package)
        firmware_package_unref(request.package);
    return error;
}

enum wipyd_error fleet_flash_file(struct fleet *fleet, struct fleet_device *device, int fd, uint64_t bytes,
                                  const char *name, const struct fleet_options *options,
                                  struct fleet_job **ret, struct fault *fault) {
    struct flash_job_request request = { .package_fd = fd, .package_bytes = bytes, .package_name = name };

    return start(fleet, device, &request, options, ret, fault);
}

enum wipyd_error fleet_identify(struct fleet *fleet, struct fleet_device *device,
                                const struct fleet_options *options, struct fleet_job **ret,
                                struct fault *fault) {
    struct flash_job_request request = { .package_fd = -1, .identify_only = true };

    return start(fleet, device, &request, options, ret, fault);
}

enum wipyd_error fleet_cancel(struct fleet *fleet, struct fleet_job *job, struct fault *fault) {
    (void)fleet;
    if (job->expires_ms)
        return fault_set(fault, WIPYD_ERROR_JOB_FINISHED, "job %u is %s", job->id,
                         wipyd_job_state_word(flash_job_status(job->flash)->state));
    flash_job_stop(job->flash, WIPYD_ERROR_CANCELLED);
    return WIPYD_ERROR_NONE;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void free_fleet(struct fleet *fleet) {
    for (unsigned i = 0; i < fleet->n_devices; i++) {
        free(fleet->devices[i]->name);
        free(fleet->devices[i]->node);
        free(fleet->devices[i]);
    }
    for (unsigned i = 0; i < fleet->n_watches; i++)
        free(fleet->watches[i]);
    free(fleet->devices);
    free(fleet->jobs);
    free(fleet->backup_folder);
    free(fleet);
}

static void on_handle_closed(struct fleet *fleet) {
    if (--fleet->n_pending)
        return;
    while (fleet->n_jobs)
        remove_job(fleet, fleet->n_jobs - 1);
    if (fleet->on_closed)
        fleet->on_closed(fleet->closed_userdata);
    free_fleet(fleet);
}

static void on_expiry_closed(uv_handle_t *handle) {
    on_handle_closed(handle->data);
}

static void on_watch_closed(uv_handle_t *handle) {
    struct folder_watch *watch = handle->data;

    on_handle_closed(watch->fleet);
}

static void close_when_idle(struct fleet *fleet) {
    if (!fleet->is_closing || fleet->n_pending)
        return;
    for (unsigned i = 0; i < fleet->n_jobs; i++)
        if (!fleet->jobs[i]->expires_ms)
            return;
    fleet->n_pending = 1 + fleet->n_watches;
    uv_close((uv_handle_t *)&fleet->expiry, on_expiry_closed);
    for (unsigned i = 0; i < fleet->n_watches; i++)
        uv_close((uv_handle_t *)&fleet->watches[i]->event, on_watch_closed);
}

void fleet_close(struct fleet *fleet, void (*on_closed)(void *userdata), void *userdata) {
    fleet->is_closing = true;
    fleet->on_closed = on_closed;
    fleet->closed_userdata = userdata;
    for (unsigned i = 0; i < fleet->n_jobs; i++)
        if (!fleet->jobs[i]->expires_ms)
            flash_job_stop(fleet->jobs[i]->flash, WIPYD_ERROR_SHUTTING_DOWN);
    close_when_idle(fleet);
}

int fleet_new(struct fleet **ret, uv_loop_t *loop, const struct config *config, struct firmware_store *store,
              const struct fleet_events *events, void *userdata) {
    struct fleet *fleet = calloc(1, sizeof *fleet);
    int r = 0;

    if (!fleet)
        return -ENOMEM;
    fleet->loop = loop;
    fleet->config = config;
    fleet->store = store;
    fleet->events = events;
    fleet->userdata = userdata;
    fleet->devices = calloc(CONFIG_PORTS_MAX, sizeof(struct fleet_device *));
    uv_timer_init(loop, &fleet->expiry);
    fleet->expiry.data = fleet;
    if (!fleet->devices || asprintf(&fleet->backup_folder, "%s/backup", config->state_directory) < 0)
        r = -ENOMEM;
    for (unsigned i = 0; !r && i < config->n_ports; i++)
        r = add_device(fleet, config->ports[i]);
    if (r < 0) {
        fleet_close(fleet, NULL, NULL);
        return r;
    }
    *ret = fleet;
    return 0;
}
