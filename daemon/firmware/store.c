#include "daemon/firmware/store_operation.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/base/log.h"
#include "daemon/base/log_events.h"
#include "daemon/firmware/archive.h"

#define KEPT_READY     2
#define TOUCH_PAUSE_US 60000000u
#define BYTES_PER_MIB  (1024u * 1024u)

uint64_t store_now_us(void) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

/* ---- operations: one after the other --------------------------------------------------------- */

static void prepare(struct firmware_store *store);
static void collect(struct firmware_store *store, const char *spared);

static void free_addition(struct addition *addition) {
    if (!addition)
        return;
    if (addition->fd >= 0)
        close(addition->fd);
    free(addition->url);
    free(addition->name);
    free(addition->server_version);
    free(addition->server_hash);
    store_entry_free(addition->room);
    free(addition);
}

static void deinit_operation(struct operation *operation) {
    free_addition(operation->addition);
    firmware_record_deinit(&operation->record);
    firmware_package_unref(operation->package);
}

/* The database was replaced by an empty one (perhaps by somebody else's write): what is known goes there. In
 * the pool. */
static void put_again(const struct operation *operation) {
    struct firmware_store *store = operation->store;
    unsigned generation = records_generation(store->records);

    if (generation == store->generation)
        return;
    for (unsigned i = 0; i < store->catalog.n; i++) {
        const struct store_entry *entry = store->catalog.entries[i];

        if (entry == operation->entry && operation->outcome != OUTCOME_NOTHING)
            continue; /* as it was; and as it is, it was written already */
        if (records_put_firmware(store->records, &entry->record) < 0)
            return; /* the next operation tries again */
    }
    store->generation = generation;
}

static void on_run(void *userdata) {
    struct operation *operation = userdata;

    if (!operation->fault.code)
        operation->kind->run(operation);
    put_again(operation);
}

static void log_kept(const struct firmware_record *record) {
    bool is_quarantined = record->state == FIRMWARE_QUARANTINED;
    const struct log_fields fields = { .message_id = is_quarantined ? LOG_EVENT_PACKAGE_QUARANTINED
                                                                    : LOG_EVENT_PACKAGE_STORED };

    if (is_quarantined)
        log_with(LOG_WARNING, &fields, "%s is in quarantine: %s", record->name, record->reason);
    else
        log_with(LOG_NOTICE, &fields, "%s is kept: %s %s", record->name, record->board, record->release);
}

static void settle_change(struct operation *operation) {
    struct firmware_store *store = operation->store;
    struct store_entry *entry = operation->entry;
    enum firmware_state before = entry->record.state;

    firmware_record_deinit(&entry->record);
    entry->record = operation->record;
    if (entry->record.state == FIRMWARE_QUARANTINED && before != FIRMWARE_QUARANTINED)
        log_kept(&entry->record);
    operation->record = (struct firmware_record) { 0 };
    entry->is_hopeless = false;
    if (entry->record.state != FIRMWARE_GOOD)
        entry->package = firmware_package_unref(entry->package);
    store_catalog_sort(&store->catalog);
    if (!operation->is_quiet)
        store->events.on_changed(store->userdata, &entry->record);
}

static void settle_addition(struct operation *operation) {
    struct firmware_store *store = operation->store;
    struct store_entry *entry = steal_pointer(&operation->addition->room);

    entry->record = operation->record;
    operation->record = (struct firmware_record) { 0 };
    operation->entry = entry;
    store_catalog_add(&store->catalog, entry);
    log_kept(&entry->record);
    store->events.on_added(store->userdata, &entry->record);
}

static void settle_outcome(struct operation *operation) {
    struct firmware_store *store = operation->store;

    switch (operation->outcome) {
    case OUTCOME_NOTHING:
        break;
    case OUTCOME_ADDED:
        settle_addition(operation);
        break;
    case OUTCOME_CHANGED:
        settle_change(operation);
        break;
    case OUTCOME_REMOVED:
        store->events.on_removed(store->userdata, &operation->entry->record);
        break;
    }
    if (operation->package && operation->entry && operation->entry->record.state == FIRMWARE_GOOD &&
        !operation->entry->package)
        operation->entry->package = steal_pointer(&operation->package);
}

static void answer(const struct operation *operation) {
    const struct fault *fault = operation->fault.code ? &operation->fault : NULL;

    if (operation->done)
        operation->done(operation->userdata, fault,
                        fault || !operation->entry ? NULL : &operation->entry->record);
    else if (fault)
        log_warning("%s: %s", operation->kind->what, fault->story);
}

static void settle(struct operation *operation) {
    struct firmware_store *store = operation->store;

    settle_outcome(operation);
    answer(operation);
    if (operation->outcome == OUTCOME_REMOVED) {
        store_catalog_take(&store->catalog, operation->entry);
        store_entry_free(operation->entry);
        operation->entry = NULL;
    }
}

static void start_first(struct firmware_store *store);

static void finish_close(struct firmware_store *store) {
    void (*on_closed)(void *) = store->on_closed;
    void *userdata = store->closed_userdata;

    store_catalog_deinit(&store->catalog);
    store_folder_deinit(&store->folder);
    free(store);
    on_closed(userdata);
}

static const struct operation_kind kind_collect, kind_prepare;

/* What an operation leaves to be done. */
static void follow_up(const struct operation *operation) {
    struct firmware_store *store = operation->store;

    if (operation->kind == &kind_prepare) {
        store->is_preparing = false;
        if (operation->fault.code && operation->entry)
            operation->entry->is_hopeless = true;
    }
    if (operation->outcome == OUTCOME_ADDED)
        collect(store, operation->entry->record.sha256);
    if (operation->kind == &kind_collect && operation->outcome == OUTCOME_REMOVED)
        collect(store, operation->sha256);
    prepare(store);
}

static void on_ran(void *userdata) {
    struct operation *operation = userdata;
    struct firmware_store *store = operation->store;

    settle(operation);
    follow_up(operation);
    store->first = operation->next;
    if (operation == &store->closing) {
        finish_close(store);
        return;
    }
    deinit_operation(operation);
    free(operation);
    if (store->first)
        start_first(store);
}

static void start_first(struct firmware_store *store) {
    struct operation *operation = store->first;
    int r;

    operation->kind->begin(operation);
    r = work_queue_add(store->queue, on_run, on_ran, operation);
    if (r < 0) {
        fault_errno(&operation->fault, r, "%s", operation->kind->what);
        on_ran(operation);
    }
}

static void append(struct operation *operation) {
    struct firmware_store *store = operation->store;

    if (store->first) {
        store->last->next = operation;
        store->last = operation;
        return;
    }
    store->first = store->last = operation;
    start_first(store);
}

static struct operation *new_operation(struct firmware_store *store, const struct operation_kind *kind,
                                       const char *sha256, firmware_store_fn done, void *userdata) {
    struct operation *operation = calloc(1, sizeof *operation);

    assert(!store->is_closing);
    if (!operation) {
        struct fault fault;

        fault_errno(&fault, -ENOMEM, "%s", kind->what);
        if (done)
            done(userdata, &fault, NULL);
        return NULL;
    }
    operation->kind = kind;
    operation->store = store;
    operation->done = done;
    operation->userdata = userdata;
    snprintf(operation->sha256, sizeof operation->sha256, "%s", sha256);
    return operation;
}

/* ---- what can be done ------------------------------------------------------------------------ */

static void begin_known(struct operation *operation) {
    operation->entry = store_catalog_find(&operation->store->catalog, operation->sha256);
    if (!operation->entry)
        fault_set(&operation->fault, WIPYD_ERROR_NO_SUCH_FIRMWARE, "%s is not in the store",
                  operation->sha256);
}

static void begin_remove(struct operation *operation) {
    const struct firmware_record *record;

    begin_known(operation);
    if (operation->fault.code)
        return;
    record = &operation->entry->record;
    if (record->is_pinned)
        fault_set(&operation->fault, WIPYD_ERROR_PINNED, "%s is pinned", record->name);
    else if (!operation->flag && store_catalog_is_last_good(&operation->store->catalog, operation->entry))
        fault_set(&operation->fault, WIPYD_ERROR_LAST_GOOD, "%s is the last good package for %s",
                  record->name, record->board);
}

static void begin_add(struct operation *operation) {
    int r = store_catalog_reserve(&operation->store->catalog);

    if (r < 0)
        fault_errno(&operation->fault, r, "%s", operation->addition->name);
}

static struct store_entry *victim(const struct firmware_store *store, const char *spared) {
    return store_catalog_victim(&store->catalog, store->config->keep_packages,
                                (uint64_t)store->config->keep_mib * BYTES_PER_MIB, spared);
}

static void begin_collect(struct operation *operation) {
    operation->entry = victim(operation->store, operation->sha256);
    if (operation->entry)
        log_info("%s is dropped: the store is over its limits", operation->entry->record.name);
}

static void run_collect(struct operation *operation) {
    if (operation->entry)
        operation_run_remove(operation);
}

/* The first of those to be kept ready that isn't. */
static struct store_entry *unprepared(const struct firmware_store *store) {
    struct store_entry *newest[KEPT_READY];
    unsigned n = store_catalog_newest(&store->catalog, newest, KEPT_READY);

    for (unsigned i = 0; i < n; i++)
        if (!newest[i]->package && !newest[i]->is_hopeless)
            return newest[i];
    return NULL;
}

static void begin_prepare(struct operation *operation) {
    if (!operation->store->is_closing)
        operation->entry = unprepared(operation->store);
}

static void run_prepare(struct operation *operation) {
    if (operation->entry)
        operation_run_verify(operation);
}

static void run_pin(struct operation *operation) {
    struct firmware_record record = operation->entry->record;

    if (record.is_pinned == operation->flag)
        return;
    record.is_pinned = operation->flag;
    operation_put(operation, &record);
}

static void run_touch(struct operation *operation) {
    struct firmware_record record = operation->entry->record;

    record.used_us = operation->used_us;
    operation->is_quiet = true;
    operation_put(operation, &record);
}

static void nothing(struct operation *operation) {
    (void)operation;
}

static const struct operation_kind kind_add = { "adding a package", begin_add, operation_run_add };
static const struct operation_kind kind_pin = { "pinning a package", begin_known, run_pin };
static const struct operation_kind kind_remove = { "removing a package", begin_remove, operation_run_remove };
static const struct operation_kind kind_release = { "releasing a package", begin_known,
                                                    operation_run_release };
static const struct operation_kind kind_verify = { "verifying a package", begin_known, operation_run_verify };
static const struct operation_kind kind_collect = { "dropping a package", begin_collect, run_collect };
static const struct operation_kind kind_prepare = { "preparing a package", begin_prepare, run_prepare };
static const struct operation_kind kind_touch = { "noting a package's use", begin_known, run_touch };
static const struct operation_kind kind_close = { "closing the store", nothing, nothing };

/* ---- by itself ------------------------------------------------------------------------------- */

static void collect(struct firmware_store *store, const char *spared) {
    struct operation *operation;

    if (store->is_closing || !victim(store, spared))
        return;
    operation = new_operation(store, &kind_collect, spared, NULL, NULL);
    if (operation)
        append(operation);
}

static void drop_unwanted(struct firmware_store *store) {
    struct store_entry *newest[KEPT_READY];
    unsigned n = store_catalog_newest(&store->catalog, newest, KEPT_READY);

    for (unsigned i = 0; i < store->catalog.n; i++) {
        struct store_entry *entry = store->catalog.entries[i];
        bool is_wanted = false;

        for (unsigned k = 0; k < n; k++)
            is_wanted = is_wanted || newest[k] == entry;
        if (!is_wanted)
            entry->package = firmware_package_unref(entry->package);
    }
}

static void prepare(struct firmware_store *store) {
    struct operation *operation;

    drop_unwanted(store);
    if (store->is_preparing || store->is_closing || !unprepared(store))
        return;
    operation = new_operation(store, &kind_prepare, "", NULL, NULL);
    if (!operation)
        return;
    store->is_preparing = true;
    append(operation);
}

/* Written rarely: it only says which packages nobody uses. */
static void touch(struct firmware_store *store, struct store_entry *entry) {
    uint64_t now_us = store_now_us();
    struct operation *operation;

    if (store->is_closing || (now_us >= entry->touched_us && now_us - entry->touched_us < TOUCH_PAUSE_US))
        return;
    operation = new_operation(store, &kind_touch, entry->record.sha256, NULL, NULL);
    if (!operation)
        return;
    entry->touched_us = operation->used_us = now_us;
    append(operation);
}

/* ---- open and close -------------------------------------------------------------------------- */

static void free_store_p(struct firmware_store **store) {
    if (!*store)
        return;
    store_catalog_deinit(&(*store)->catalog);
    store_folder_deinit(&(*store)->folder);
    free(*store);
}

/* libcrypto sets itself up once: where that failed it fails from then on, and all images would look damaged.
 */
static bool digests_work(void) {
    const EVP_MD *const kinds[] = { EVP_md5(), EVP_sha1(), EVP_sha256() };
    uint8_t digest[EVP_MAX_MD_SIZE];

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (EVP_Digest("", 0, digest, NULL, kinds[i], NULL) != 1)
            return false;
    return true;
}

enum wipyd_error firmware_store_open(struct firmware_store **ret, const char *folder, struct records *records,
                                     struct work_queue *queue, const struct config *config,
                                     const struct firmware_store_events *events, void *userdata,
                                     struct fault *fault) {
    cleanup(free_store_p) struct firmware_store *store = calloc(1, sizeof *store);
    enum wipyd_error error;
    int r;

    if (!store)
        return fault_errno(fault, -ENOMEM, "%s", folder);
    if (!digests_work())
        return fault_set(
            fault, WIPYD_ERROR_SYSTEM,
            "libcrypto computes no MD5, SHA-1 or SHA-256: it had no memory, or its configuration "
            "forbids them");
    store->records = records;
    store->queue = queue;
    store->config = config;
    store->events = *events;
    store->userdata = userdata;
    r = store_folder_init(&store->folder, folder);
    if (r < 0)
        return fault_errno(fault, r, "%s", folder);
    error = store_load(store, fault);
    if (error)
        return error;
    store->generation = records_generation(records);
    prepare(store);
    *ret = steal_pointer(&store);
    return WIPYD_ERROR_NONE;
}

void firmware_store_close(struct firmware_store *store, void (*on_closed)(void *userdata), void *userdata) {
    store->is_closing = true;
    store->on_closed = on_closed;
    store->closed_userdata = userdata;
    store->closing = (struct operation) { .kind = &kind_close, .store = store };
    append(&store->closing);
}

/* ---- what is there --------------------------------------------------------------------------- */

const struct firmware_record *firmware_store_at(struct firmware_store *store, unsigned index) {
    return index < store->catalog.n ? &store->catalog.entries[index]->record : NULL;
}

const struct firmware_record *firmware_store_find(struct firmware_store *store, const char *sha256_prefix) {
    const struct store_entry *entry = store_catalog_find_prefix(&store->catalog, sha256_prefix);

    return entry ? &entry->record : NULL;
}

const struct firmware_record *firmware_store_choose(struct firmware_store *store, const char *board,
                                                    const char *version) {
    const struct store_entry *entry = store_catalog_choose(&store->catalog, board, version);

    return entry ? &entry->record : NULL;
}

int firmware_store_open_file(struct firmware_store *store, const struct firmware_record *record, int *ret) {
    char name[STORE_NAME_MAX];

    if (record->state == FIRMWARE_MISSING)
        return -ENOENT;
    store_file_name(record->sha256, record->state == FIRMWARE_QUARANTINED, name);
    return store_file_open(&store->folder, name, ret);
}

struct firmware_package *firmware_store_ready(struct firmware_store *store,
                                              const struct firmware_record *record) {
    struct store_entry *entry = store_catalog_find(&store->catalog, record->sha256);

    if (!entry)
        return NULL;
    touch(store, entry);
    return entry->package ? firmware_package_ref(entry->package) : NULL;
}

/* ---- what is asked for ----------------------------------------------------------------------- */

static void ask(struct firmware_store *store, const struct operation_kind *kind, const char *sha256,
                bool flag, firmware_store_fn done, void *userdata) {
    struct operation *operation = new_operation(store, kind, sha256, done, userdata);

    if (!operation)
        return;
    operation->flag = flag;
    append(operation);
}

void firmware_store_pin(struct firmware_store *store, const char *sha256, bool pinned, firmware_store_fn done,
                        void *userdata) {
    ask(store, &kind_pin, sha256, pinned, done, userdata);
}

void firmware_store_remove(struct firmware_store *store, const char *sha256, bool force,
                           firmware_store_fn done, void *userdata) {
    ask(store, &kind_remove, sha256, force, done, userdata);
}

void firmware_store_release(struct firmware_store *store, const char *sha256, firmware_store_fn done,
                            void *userdata) {
    ask(store, &kind_release, sha256, false, done, userdata);
}

void firmware_store_verify(struct firmware_store *store, const char *sha256, firmware_store_fn done,
                           void *userdata) {
    ask(store, &kind_verify, sha256, false, done, userdata);
}

void firmware_store_collect(struct firmware_store *store) {
    collect(store, "");
}

static struct addition *new_addition(int fd, uint64_t bytes, const struct firmware_origin *origin) {
    struct addition *addition = calloc(1, sizeof *addition);

    if (!addition) {
        close(fd);
        return NULL;
    }
    addition->fd = fd;
    addition->bytes = bytes;
    addition->server_int_version = origin->server_int_version;
    addition->url = origin->url ? strdup(origin->url) : NULL;
    addition->name = strdup(origin->name && firmware_name_is_plain(origin->name) ? origin->name : "");
    addition->server_version = strdup(origin->server_version ? origin->server_version : "");
    addition->server_hash = strdup(origin->server_hash ? origin->server_hash : "");
    addition->room = calloc(1, sizeof *addition->room);
    if ((origin->url && !addition->url) || !addition->name || !addition->server_version ||
        !addition->server_hash || !addition->room) {
        free_addition(addition);
        return NULL;
    }
    return addition;
}

void firmware_store_add(struct firmware_store *store, int fd, uint64_t bytes,
                        const struct firmware_origin *origin, firmware_store_fn done, void *userdata) {
    struct addition *addition = new_addition(fd, bytes, origin);
    struct operation *operation;

    if (!addition) {
        struct fault fault;

        fault_errno(&fault, -ENOMEM, "%s", kind_add.what);
        if (done)
            done(userdata, &fault, NULL);
        return;
    }
    operation = new_operation(store, &kind_add, "", done, userdata);
    if (!operation) {
        free_addition(addition);
        return;
    }
    operation->addition = addition;
    append(operation);
}
