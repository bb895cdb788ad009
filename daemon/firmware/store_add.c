/* An addition, in the pool: checked, written, recorded. */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/firmware/store_operation.h"
#include "proto/names.h"

/* Texts that a record borrows while it is put together. */
struct texts {
    char name[FIRMWARE_BOARD_MAX + FIRMWARE_RELEASE_MAX + 16], hash[65], reason[160];
};

static bool has_url(const struct firmware_record *record) {
    return strcmp(record->origin, "import") != 0 && strcmp(record->origin, "adopted") != 0;
}

/* What the origin says, as far as it is better than what is known: when its hash is right, or where nothing
 * is known. */
static void merge_origin(struct firmware_record *record, const struct addition *addition, bool believed,
                         struct texts *texts) {
    if (*addition->name && (believed || strcmp(record->origin, "adopted") == 0))
        record->name = addition->name;
    if (addition->url && (believed || !has_url(record)))
        record->origin = addition->url;
    else if (!addition->url && strcmp(record->origin, "adopted") == 0)
        record->origin = "import";
    if (*addition->server_version && (believed || !*record->server_version))
        record->server_version = addition->server_version;
    if (addition->server_int_version && (believed || !record->server_int_version))
        record->server_int_version = addition->server_int_version;
    if (*addition->server_hash) {
        snprintf(texts->hash, sizeof texts->hash, "%.64s", addition->server_hash);
        for (char *c = texts->hash; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        record->server_hash = texts->hash;
    }
}

static void judge(struct firmware_record *record, const char *sha1, bool promised, struct texts *texts) {
    bool kept = strcasecmp(record->server_hash, sha1) == 0;

    if (*record->server_hash && !kept) {
        record->state = FIRMWARE_QUARANTINED;
        snprintf(texts->reason, sizeof texts->reason, "the server promised SHA-1 %s, the file has %s",
                 record->server_hash, sha1);
        record->reason = texts->reason;
    } else if ((promised && kept) || record->state == FIRMWARE_MISSING) {
        record->state = FIRMWARE_GOOD;
        record->reason = "";
    }
}

/* The record as it is to be; its strings are borrowed. */
static struct firmware_record compose(const struct operation *operation, const struct firmware_record *old,
                                      const char *sha1, struct texts *texts) {
    const struct addition *addition = operation->addition;
    const struct firmware_version *version = &operation->package->version;
    bool promised = *addition->server_hash,
         believed = promised && strcasecmp(addition->server_hash, sha1) == 0;
    char *empty = "";
    struct firmware_record record = { .bytes = addition->bytes,
                                      .name = texts->name,
                                      .origin = addition->url ? addition->url : "import",
                                      .server_version = empty,
                                      .server_hash = empty,
                                      .state = FIRMWARE_GOOD,
                                      .reason = empty,
                                      .added_us = store_now_us() };

    snprintf(texts->name, sizeof texts->name, "%s-%s.tar.gz", version->board, version->release);
    if (*addition->name)
        record.name = addition->name;
    memcpy(record.sha256, operation->sha256, sizeof record.sha256);
    if (old)
        record = *old;
    record.board = (char *)version->board;
    record.release = (char *)version->release;
    record.used_us = store_now_us();
    /* These very bytes are good already, whatever is said of them now: by an earlier hash, by the hand of a
     * person, or released. */
    if (old && old->state == FIRMWARE_GOOD && promised && !believed)
        return record;
    merge_origin(&record, addition, believed, texts);
    if (!old || old->state != FIRMWARE_GOOD)
        judge(&record, sha1, promised, texts);
    return record;
}

static bool only_use_differs(const struct firmware_record *a, const struct firmware_record *b) {
    return strcmp(a->name, b->name) == 0 && strcmp(a->board, b->board) == 0 &&
           strcmp(a->release, b->release) == 0 && strcmp(a->origin, b->origin) == 0 &&
           strcmp(a->server_version, b->server_version) == 0 &&
           a->server_int_version == b->server_int_version && strcmp(a->server_hash, b->server_hash) == 0 &&
           a->state == b->state && strcmp(a->reason, b->reason) == 0;
}

/* The file under its name, then the record; or neither. */
static int keep(struct operation *operation, const struct firmware_record *old,
                const struct store_bytes *bytes) {
    struct firmware_store *store = operation->store;
    const struct firmware_record *record = &operation->record;
    bool is_quarantined = record->state == FIRMWARE_QUARANTINED,
         was_quarantined = old && old->state == FIRMWARE_QUARANTINED, is_there;
    char name[STORE_NAME_MAX], old_name[STORE_NAME_MAX];
    int r = 0;

    store_file_name(record->sha256, is_quarantined, name);
    store_file_name(record->sha256, was_quarantined, old_name);
    is_there =
        old && old->state != FIRMWARE_MISSING && store_file_stat(&store->folder, old_name, old->bytes) == 0;
    if (!is_there)
        r = store_file_write(&store->folder, name, bytes);
    else if (is_quarantined != was_quarantined)
        r = store_file_rename(&store->folder, old_name, name);
    if (r < 0)
        return r;
    r = records_put_firmware(store->records, record);
    if (r < 0) {
        int undone = 0;

        if (!is_there)
            undone = store_file_remove(&store->folder, name);
        else if (is_quarantined != was_quarantined)
            undone = store_file_rename(&store->folder, name, old_name);
        (void)undone; /* the next start finds what is left, and the first failure is the one to tell */
    }
    return r;
}

/* The bytes of the file, found to be a package. */
static enum wipyd_error check(struct operation *operation, struct store_bytes *bytes, char sha1[static 41]) {
    const struct addition *addition = operation->addition;
    const char *name = *addition->name ? addition->name : "package";
    struct fault *fault = &operation->fault;
    int r = store_bytes_read(bytes, addition->fd);

    if (r == -EFBIG || addition->bytes > WIPYD_PACKAGE_BYTES_MAX)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_TOO_LARGE, "%s: more than %u bytes", name,
                         WIPYD_PACKAGE_BYTES_MAX);
    if (r < 0)
        return fault_errno(fault, r, "%s: reading it", name);
    if (bytes->size != addition->bytes)
        return fault_set(fault, WIPYD_ERROR_PACKAGE_INVALID, "%s: it has %zu bytes, not %llu", name,
                         bytes->size, (unsigned long long)addition->bytes);
    r = store_bytes_digest(bytes, STORE_SHA256, operation->sha256);
    if (r == 0)
        r = store_bytes_digest(bytes, STORE_SHA1, sha1);
    if (r < 0)
        return fault_errno(fault, r, "%s", name);
    return firmware_package_read(&operation->package, bytes->bytes, bytes->size, name, fault);
}

void operation_run_add(struct operation *operation) {
    cleanup(store_bytes_free_p) struct store_bytes bytes = { 0 };
    struct store_entry *entry;
    const struct firmware_record *old;
    struct firmware_record record;
    struct texts texts = { 0 };
    char sha1[41];
    int r;

    if (check(operation, &bytes, sha1))
        return;
    entry = store_catalog_find(&operation->store->catalog, operation->sha256);
    old = entry ? &entry->record : NULL;
    record = compose(operation, old, sha1, &texts);
    r = firmware_record_copy(&operation->record, &record);
    if (r == 0)
        r = keep(operation, old, &bytes);
    if (r < 0) {
        fault_errno(&operation->fault, r, "keeping %s in %s", record.name, operation->store->folder.path);
        return;
    }
    operation->entry = entry;
    operation->outcome = entry ? OUTCOME_CHANGED : OUTCOME_ADDED;
    operation->is_quiet = old && only_use_differs(old, &operation->record);
}
