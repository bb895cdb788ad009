#pragma once

/*
 * The packages that the daemon has: files named by their SHA-256 in FOLDER, a record for each, a mirror of
 * the records in memory. All file and database work runs on the work queue.
 *
 * Happy path: firmware_store_open, firmware_store_add, events, firmware_store_close.
 * Failure modes: a full or read-only disk, a kill at any step: what was good stays good. A file appears by
 * fsync and rename before its record does; a file without a record is checked and adopted at the next start;
 * a record without its file is kept as MISSING. Leftovers of broken additions are removed at start. A file in
 * quarantine is called so, and stays there even when the database is lost. An answer (done) comes later, from
 * the loop; only where there is no memory for the request itself it comes at once.
 */

#include "daemon/base/config.h"
#include "daemon/firmware/package.h"
#include "daemon/loop/work_queue.h"
#include "daemon/records/records.h"

struct firmware_store;

struct firmware_store_events {
    void (*on_added)(void *userdata, const struct firmware_record *record);
    void (*on_changed)(void *userdata, const struct firmware_record *record); /* not for used_us alone */
    void (*on_removed)(void *userdata, const struct firmware_record *record); /* about to go */
};

/* Where a package comes from; all borrowed during the call. */
struct firmware_origin {
    const char *url;  /* NULL: imported by a person */
    const char *name; /* the file's name */
    const char *server_version;
    uint32_t server_int_version;
    const char *server_hash; /* SHA-1, 40 hex digits, or NULL. One that disagrees with the file means
                                quarantine, unless the same bytes are here and good already */
};

/* fault: NULL when it was done; then record is the one, as it is now (of a removal: about to go), else NULL.
 */
typedef void (*firmware_store_fn)(void *userdata, const struct fault *fault,
                                  const struct firmware_record *record);

/* folder: where packages lie, made if absent (0700). records, queue, config, events: borrowed until
 * on_closed. Blocking (called before the loop runs): lists, adopts and cleans up. */
must_check enum wipyd_error firmware_store_open(struct firmware_store **ret, const char *folder,
                                                struct records *records, struct work_queue *queue,
                                                const struct config *config,
                                                const struct firmware_store_events *events, void *userdata,
                                                struct fault *fault);
/* Lets all that was asked for be done and answered; nothing may be asked for any more. */
void firmware_store_close(struct firmware_store *store, void (*on_closed)(void *userdata), void *userdata);

/* The records there are, the newest release first (firmware_record_order), those without an order last; of
 * equals first those that a server's hash vouched for, then those added last. NULL past the end. Borrowed
 * until the next turn of the loop. */
const struct firmware_record *firmware_store_at(struct firmware_store *store, unsigned index);
/* NULL: there is none, or more than one. */
const struct firmware_record *firmware_store_find(struct firmware_store *store, const char *sha256_prefix);
/* The order of a release: the server's intVersion, else that of the image's own release; 0: can't be ordered.
 */
uint32_t firmware_record_order(const struct firmware_record *record);
/* What `wipyctl flash` means: a good package for board; version: the release by the server's word, else by
 * the image's, NULL: the newest; where none can be ordered, the only one. NULL: there is none, or it would be
 * a guess. */
const struct firmware_record *firmware_store_choose(struct firmware_store *store, const char *board,
                                                    const char *version);

/* Checks the package in fd (ownership taken; a file that can't change, of `bytes`) and keeps it. The same
 * file again gives the record that is there (better knowledge of its origin is added). done gets the record,
 * or a fault: what firmware_package_read says, SYSTEM for the disk. Quarantine is no fault: see the record's
 * state. */
void firmware_store_add(struct firmware_store *store, int fd, uint64_t bytes,
                        const struct firmware_origin *origin, firmware_store_fn done, void *userdata);
/* Opens the package's file for reading: *ret is the caller's. Not blocking beyond open(2). Negative errno. */
must_check int firmware_store_open_file(struct firmware_store *store, const struct firmware_record *record,
                                        int *ret);
/* The package unpacked, checked and compressed: from memory when it is among those kept ready (a reference
 * that the caller gives back), else NULL: read it from its file. The newest good package of each board is
 * kept ready ahead of time, at most two in all. */
struct firmware_package *firmware_store_ready(struct firmware_store *store,
                                              const struct firmware_record *record);

void firmware_store_pin(struct firmware_store *store, const char *sha256, bool pinned, firmware_store_fn done,
                        void *userdata);
/* Refused with LAST_GOOD for the last good package of a board type, unless forced; with PINNED when pinned.
 */
void firmware_store_remove(struct firmware_store *store, const char *sha256, bool force,
                           firmware_store_fn done, void *userdata);
/* Out of quarantine, by an administrator's word; refused, with its fault, when the file is no package that
 * can be used. One that is good already: fine. */
void firmware_store_release(struct firmware_store *store, const char *sha256, firmware_store_fn done,
                            void *userdata);
/* Reads the file again and checks everything; the record's state follows. */
void firmware_store_verify(struct firmware_store *store, const char *sha256, firmware_store_fn done,
                           void *userdata);
/* Drops what is over the configured count or bytes, first what isn't good, then by the oldest use; never the
 * pinned, nor the newest and the last good package of a board type. Runs by itself after each addition, and
 * then spares what was added. */
void firmware_store_collect(struct firmware_store *store);
