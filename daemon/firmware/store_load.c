/* The start: what the records say and what lies in the folder become one. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/base/log.h"
#include "daemon/firmware/store_operation.h"

static int add_entry(struct store_catalog *catalog, struct firmware_record *record) {
    struct store_entry *entry = calloc(1, sizeof *entry);
    int r = entry ? store_catalog_reserve(catalog) : -ENOMEM;

    if (r < 0) {
        free(entry);
        return r;
    }
    entry->record = *record;
    *record = (struct firmware_record) { 0 };
    store_catalog_add(catalog, entry);
    return 0;
}

static int load_records(struct firmware_store *store) {
    struct firmware_record *records = NULL;
    size_t n = 0;
    int r = records_list_firmware(store->records, &records, &n);

    for (size_t i = 0; i < n; i++) {
        if (r == 0)
            r = add_entry(&store->catalog, &records[i]);
        firmware_record_deinit(&records[i]);
    }
    free(records);
    return r;
}

/* ---- records with and without their files ---------------------------------------------------- */

/* What was found is true, written or not: the next start finds it again. */
static void change_state(struct firmware_store *store, struct store_entry *entry, enum firmware_state state,
                         const char *reason) {
    struct firmware_record record = entry->record, copy;
    int r;

    record.state = state;
    record.reason = (char *)reason;
    r = firmware_record_copy(&copy, &record);
    if (r < 0)
        return;
    firmware_record_deinit(&entry->record);
    entry->record = copy;
    r = records_put_firmware(store->records, &entry->record);
    if (r < 0)
        log_warning("%s: recording what became of it: %s", entry->record.name, strerror(-r));
    if (state == FIRMWARE_MISSING)
        log_warning("%s (%.16s): %s", entry->record.name, entry->record.sha256, reason);
    else
        log_notice("%s (%.16s) is there again", entry->record.name, entry->record.sha256);
}

/* Under the name of its state; or under the other one, when a change was broken off between file and record.
 * Its bytes are not read: a start is not the time. */
static void settle_present(struct firmware_store *store, struct store_entry *entry) {
    const struct firmware_record *record = &entry->record;
    bool quarantined = record->state == FIRMWARE_QUARANTINED;
    char name[STORE_NAME_MAX], other[STORE_NAME_MAX];
    int r;

    store_file_name(record->sha256, quarantined, name);
    store_file_name(record->sha256, !quarantined, other);
    r = store_file_stat(&store->folder, name, record->bytes);
    if (r == -ENOENT && store_file_stat(&store->folder, other, record->bytes) == 0)
        r = store_file_rename(&store->folder, other, name);
    if (r == -ENOENT)
        change_state(store, entry, FIRMWARE_MISSING, "the file is not there");
    else if (r == -EUCLEAN)
        change_state(store, entry, FIRMWARE_MISSING, "the file is not as long as it was");
    else if (r < 0)
        log_warning("%s/%s: %s", store->folder.path, name, strerror(-r));
}

/* Back again? Then it is read like one that nobody knows. */
static void settle_missing(struct firmware_store *store, struct store_entry *entry) {
    const struct firmware_record *record = &entry->record;
    char name[STORE_NAME_MAX];

    for (int quarantined = 0; quarantined <= 1; quarantined++) {
        struct store_check check;
        struct fault fault;

        store_file_name(record->sha256, quarantined, name);
        if (store_file_stat(&store->folder, name, record->bytes) < 0 ||
            store_file_check(&check, &store->folder, name, record->sha256, record->name, &fault))
            continue;
        firmware_package_unref(check.package);
        if (check.finding != STORE_SOUND)
            continue;
        if (quarantined || (*record->server_hash && strcmp(record->server_hash, check.sha1) != 0))
            change_state(store, entry, FIRMWARE_QUARANTINED, "it was in quarantine before it was missing");
        else
            change_state(store, entry, FIRMWARE_GOOD, "");
        return;
    }
}

static void settle_entries(struct firmware_store *store) {
    for (unsigned i = 0; i < store->catalog.n; i++) {
        struct store_entry *entry = store->catalog.entries[i];

        switch (entry->record.state) {
        case FIRMWARE_GOOD:
        case FIRMWARE_QUARANTINED:
            settle_present(store, entry);
            break;
        case FIRMWARE_MISSING:
            settle_missing(store, entry);
            break;
        }
    }
    store_catalog_sort(&store->catalog);
}

/* ---- files without a record ------------------------------------------------------------------ */

struct orphan {
    const char *name; /* of the file */
    char sha256[65];
    bool quarantined; /* by its name */
    struct stat st;
};

/* Out of the way, for a person to look at. */
static void set_aside(struct firmware_store *store, const struct orphan *orphan) {
    char aside[STORE_NAME_MAX + 32];
    int r;

    snprintf(aside, sizeof aside, "%s.damaged-%llu", orphan->name, (unsigned long long)store_now_us());
    r = store_file_rename(&store->folder, orphan->name, aside);
    log_warning("%s/%s is not the package that its name says: %s%s", store->folder.path, orphan->name,
                r < 0 ? "it can't be renamed: " : "now called ", r < 0 ? strerror(-r) : aside);
}

static struct firmware_record compose(const struct orphan *orphan, const struct store_check *check,
                                      char *name, size_t size) {
    char *empty = "";
    struct firmware_record record = { .bytes = (uint64_t)orphan->st.st_size,
                                      .name = name,
                                      .board = empty,
                                      .release = empty,
                                      .origin = "adopted",
                                      .server_version = empty,
                                      .server_hash = empty,
                                      .state = FIRMWARE_GOOD,
                                      .reason = empty };

    memcpy(record.sha256, orphan->sha256, sizeof record.sha256);
    record.added_us = (uint64_t)orphan->st.st_mtim.tv_sec * 1000000u;
    record.used_us = store_now_us();
    if (check->package) {
        record.board = check->package->version.board;
        record.release = check->package->version.release;
        snprintf(name, size, "%s-%s.tar.gz", record.board, record.release);
    } else {
        snprintf(name, size, "%.16s.tar.gz", record.sha256);
    }
    if (check->finding == STORE_NO_PACKAGE || orphan->quarantined) {
        record.state = FIRMWARE_QUARANTINED;
        record.reason = check->finding == STORE_NO_PACKAGE
                            ? (char *)check->why.story
                            : "it was in quarantine; the record that said why is lost";
    }
    return record;
}

/* Known from now on, even when that can't be written: the next start would find it again. */
static int take_in(struct firmware_store *store, const struct orphan *orphan,
                   const struct store_check *check) {
    char name[FIRMWARE_BOARD_MAX + FIRMWARE_RELEASE_MAX + 16], file[STORE_NAME_MAX];
    struct firmware_record record = compose(orphan, check, name, sizeof name), copy;
    int r = firmware_record_copy(&copy, &record);

    if (r < 0)
        return r;
    store_file_name(record.sha256, record.state == FIRMWARE_QUARANTINED, file);
    if (strcmp(file, orphan->name) != 0)
        r = store_file_rename(&store->folder, orphan->name, file);
    if (r == 0)
        r = records_put_firmware(store->records, &record);
    if (r < 0)
        log_warning("%s/%s: recording it: %s", store->folder.path, orphan->name, strerror(-r));
    log_notice("%s/%s: adopted as %s%s%s", store->folder.path, orphan->name, name,
               *record.reason ? ", in quarantine: " : "", record.reason);
    r = add_entry(&store->catalog, &copy);
    firmware_record_deinit(&copy);
    return r;
}

static enum wipyd_error adopt(struct firmware_store *store, const struct orphan *orphan,
                              struct fault *fault) {
    struct store_check check;
    enum wipyd_error error;
    char name[STORE_NAME_MAX];
    int r = 0;

    snprintf(name, sizeof name, "%.16s.tar.gz", orphan->sha256);
    error = store_file_check(&check, &store->folder, orphan->name, orphan->sha256, name, fault);
    if (error)
        return error;
    switch (check.finding) {
    case STORE_SOUND:
    case STORE_NO_PACKAGE:
        r = take_in(store, orphan, &check);
        break;
    case STORE_ALTERED:
        set_aside(store, orphan);
        break;
    case STORE_ABSENT:
        break;
    }
    firmware_package_unref(check.package);
    return r < 0 ? fault_errno(fault, r, "%s/%s", store->folder.path, orphan->name) : WIPYD_ERROR_NONE;
}

static void look_at(struct firmware_store *store, const char *name) {
    struct orphan orphan = { .name = name };
    struct fault fault;
    int r;

    if (store_file_name_is_temporary(name)) {
        r = store_file_remove(&store->folder, name);
        if (r < 0)
            log_warning("%s/%s: removing what is left of an addition: %s", store->folder.path, name,
                        strerror(-r));
        return;
    }
    if (!store_file_name_parse(name, orphan.sha256, &orphan.quarantined) ||
        store_catalog_find(&store->catalog, orphan.sha256))
        return;
    if (fstatat(store->folder.fd, name, &orphan.st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(orphan.st.st_mode)) {
        log_warning("%s/%s is not a regular file: left alone", store->folder.path, name);
        return;
    }
    if (adopt(store, &orphan, &fault))
        log_warning("%s/%s can't be adopted: %s", store->folder.path, name, fault.story);
}

/* Names first: adoption renames, and a folder that is read while it changes may show a file twice. */
static int list_names(const struct firmware_store *store, struct dirent ***ret) {
    int n = scandirat(store->folder.fd, ".", ret, NULL, alphasort);

    return n < 0 ? -errno : n;
}

enum wipyd_error store_load(struct firmware_store *store, struct fault *fault) {
    struct dirent **names = NULL;
    int n, r = load_records(store);

    if (r < 0)
        return fault_errno(fault, r, "reading the records of packages");
    settle_entries(store);
    n = list_names(store, &names);
    if (n < 0)
        return fault_errno(fault, n, "%s", store->folder.path);
    for (int i = 0; i < n; i++) {
        look_at(store, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    return WIPYD_ERROR_NONE;
}
