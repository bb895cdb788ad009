#pragma once

/*
 * The database: what must survive a crash. The only place with SQL. SQLite in WAL mode with synchronous=FULL;
 * a fact is one transaction; a schema version with migrations forward. Every call blocks: at start from main,
 * afterwards from the work queue only. A database that is damaged is moved aside (PATH.damaged-TIME), never
 * deleted, and a new one begun: the files of the store are the truth that it is rebuilt from. One that a
 * newer wipyd wrote is left alone: an error.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/base/fault.h"

struct records;

must_check enum wipyd_error records_open(struct records **ret, const char *path, struct fault *fault);
/* NULL is fine. */
struct records *records_close(struct records *records);
/* Rises each time that the database was found damaged, at start or later, and replaced by an empty one: what
 * was in it must be put again. */
unsigned records_generation(const struct records *records);

enum firmware_state {
    FIRMWARE_GOOD,        /* may be flashed */
    FIRMWARE_QUARANTINED, /* kept and shown, never flashed until an administrator releases it; `reason` says
                             why */
    FIRMWARE_MISSING,     /* the record is there, the file is not, or not as it was */
};

/* A package in the store. All strings are owned by the record, never NULL. */
struct firmware_record {
    char sha256[65]; /* of the file, hex: its name in the store */
    uint64_t bytes;
    char *name;                  /* what it was called where it came from */
    char *board, *release;       /* what the application image says */
    char *origin;                /* URL it was fetched from, "import", or "adopted" */
    char *server_version;        /* what the server called it; empty: not from a server, or not said */
    uint32_t server_int_version; /* 0: not said */
    char *server_hash;           /* 40 hex digits or empty */
    enum firmware_state state;
    char *reason;               /* of a state that isn't good */
    bool is_pinned;             /* never dropped by garbage collection */
    uint64_t added_us, used_us; /* since 1970 */
};

/* A deep copy; record's strings may be borrowed ones. -ENOMEM. */
must_check int firmware_record_copy(struct firmware_record *ret, const struct firmware_record *record);
void firmware_record_deinit(struct firmware_record *record);

/* Inserts, or replaces the one with the same sha256. Negative errno (-ENOSPC, -EROFS, -EIO ...). */
must_check int records_put_firmware(struct records *records, const struct firmware_record *record);
must_check int records_delete_firmware(struct records *records, const char *sha256);
/* All of them, oldest first; *ret is an array to be freed after each was deinited. */
must_check int records_list_firmware(struct records *records, struct firmware_record **ret, size_t *ret_n);

/* Small facts by name ("poll.next"). get: -ENOENT when there is none; *ret is to be freed. */
must_check int records_put_value(struct records *records, const char *name, const char *value);
must_check int records_get_value(struct records *records, const char *name, char **ret);
