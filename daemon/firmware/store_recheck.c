/* A package that is in the store already, in the pool: checked again, released, removed. */

#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/firmware/store_operation.h"

void operation_put(struct operation *operation, const struct firmware_record *record) {
    int r = firmware_record_copy(&operation->record, record);

    if (r == 0)
        r = records_put_firmware(operation->store->records, record);
    if (r < 0)
        fault_errno(&operation->fault, r, "recording %s", record->name);
    else
        operation->outcome = OUTCOME_CHANGED;
}

/* ---- verify and release ---------------------------------------------------------------------- */

struct recheck {
    struct store_check check;
    bool in_quarantine; /* by the file's name */
    char reason[sizeof(((struct fault *)NULL)->story)];
};

/* One that was missing may have come back under either name. */
static enum wipyd_error check_file(struct operation *operation, struct recheck *recheck) {
    const struct firmware_record *record = &operation->entry->record;
    const struct store_folder *folder = &operation->store->folder;
    char name[STORE_NAME_MAX];
    enum wipyd_error error;

    recheck->in_quarantine = record->state == FIRMWARE_QUARANTINED;
    store_file_name(record->sha256, recheck->in_quarantine, name);
    error = store_file_check(&recheck->check, folder, name, record->sha256, record->name, &operation->fault);
    if (error || record->state != FIRMWARE_MISSING || recheck->check.finding != STORE_ABSENT)
        return error;
    recheck->in_quarantine = true;
    store_file_name(record->sha256, true, name);
    return store_file_check(&recheck->check, folder, name, record->sha256, record->name, &operation->fault);
}

static void set_state(struct firmware_record *record, enum firmware_state state, const char *reason) {
    record->state = state;
    record->reason = (char *)reason;
}

/* A sound file: what its record should say. */
static void judge_sound(struct firmware_record *record, struct recheck *recheck, bool release) {
    const struct firmware_version *version = &recheck->check.package->version;

    record->board = (char *)version->board;
    record->release = (char *)version->release;
    if (release) {
        set_state(record, FIRMWARE_GOOD, "");
    } else if (record->state == FIRMWARE_MISSING) {
        set_state(record, FIRMWARE_GOOD, "");
        if (recheck->in_quarantine)
            set_state(record, FIRMWARE_QUARANTINED, "it was in quarantine before it was missing");
        if (*record->server_hash && strcmp(record->server_hash, recheck->check.sha1) != 0) {
            snprintf(recheck->reason, sizeof recheck->reason, "the server promised SHA-1 %s, the file has %s",
                     record->server_hash, recheck->check.sha1);
            set_state(record, FIRMWARE_QUARANTINED, recheck->reason);
        }
    }
}

static void judge(struct firmware_record *record, struct recheck *recheck, bool release) {
    switch (recheck->check.finding) {
    case STORE_SOUND:
        judge_sound(record, recheck, release);
        return;
    case STORE_ABSENT:
    case STORE_ALTERED:
        set_state(record, FIRMWARE_MISSING, recheck->check.why.story);
        return;
    case STORE_NO_PACKAGE:
        set_state(record, FIRMWARE_QUARANTINED, recheck->check.why.story);
        return;
    }
}

static bool is_same(const struct firmware_record *a, const struct firmware_record *b) {
    return a->state == b->state && strcmp(a->reason, b->reason) == 0 && strcmp(a->board, b->board) == 0 &&
           strcmp(a->release, b->release) == 0;
}

/* The file goes under the name of its new state first: a record that says good has its file. */
static void put_state(struct operation *operation, const struct recheck *recheck,
                      const struct firmware_record *record) {
    const struct store_folder *folder = &operation->store->folder;
    bool quarantined = record->state == FIRMWARE_QUARANTINED,
         moves = record->state != FIRMWARE_MISSING && quarantined != recheck->in_quarantine;
    char from[STORE_NAME_MAX], to[STORE_NAME_MAX];
    int r = 0;

    store_file_name(record->sha256, recheck->in_quarantine, from);
    store_file_name(record->sha256, quarantined, to);
    if (moves)
        r = store_file_rename(folder, from, to);
    if (r < 0) {
        fault_errno(&operation->fault, r, "renaming %s/%s", folder->path, from);
        return;
    }
    operation_put(operation, record);
    if (operation->fault.code && moves) {
        r = store_file_rename(folder, to, from);
        if (r < 0)
            log_error("%s/%s: renaming it back: %s", folder->path, to, strerror(-r));
    }
}

static void recheck(struct operation *operation, bool release) {
    struct firmware_record record = operation->entry->record;
    struct recheck found = { 0 };

    if (check_file(operation, &found))
        return;
    judge(&record, &found, release);
    if (!is_same(&record, &operation->entry->record))
        put_state(operation, &found, &record);
    operation->package = found.check.package;
    if (release && !operation->fault.code && found.check.finding != STORE_SOUND)
        fault_set(&operation->fault, found.check.why.code, "%s: %s", record.name, found.check.why.story);
}

void operation_run_verify(struct operation *operation) {
    recheck(operation, false);
}

void operation_run_release(struct operation *operation) {
    recheck(operation, true);
}

/* ---- remove ---------------------------------------------------------------------------------- */

/* The file first. The other way round, killed in the middle, the next start would find a file that nobody
 * recorded, and take it in again; and on a full disk there would be no room to say that it is gone. */
void operation_run_remove(struct operation *operation) {
    struct firmware_store *store = operation->store;
    struct firmware_record record = operation->entry->record;
    char name[STORE_NAME_MAX];
    int r = 0;

    for (int quarantined = 0; quarantined <= 1 && r == 0; quarantined++) {
        store_file_name(record.sha256, quarantined, name);
        r = store_file_remove(&store->folder, name);
    }
    if (r < 0) {
        fault_errno(&operation->fault, r, "removing %s/%s", store->folder.path, name);
        return;
    }
    r = records_delete_firmware(store->records, record.sha256);
    if (r == 0) {
        operation->outcome = OUTCOME_REMOVED;
        return;
    }
    fault_errno(&operation->fault, r, "the file of %s is gone; removing its record", record.name);
    set_state(&record, FIRMWARE_MISSING, "the file was removed");
    if (firmware_record_copy(&operation->record, &record) == 0)
        operation->outcome = OUTCOME_CHANGED; /* the next start would find the same */
}
