#pragma once

/* The records in memory, best first: by order of release, those without an order last; of equals those that a
 * server vouched for, then those that were added later. No file, no clock. */

#include <stdbool.h>

#include "daemon/firmware/package.h"
#include "daemon/records/records.h"

struct store_entry {
    struct firmware_record record;    /* first: a record that was given out is found again by its address */
    struct firmware_package *package; /* kept ready, or NULL */
    bool is_hopeless;                 /* reading it failed for a reason of the system's: not tried again */
    uint64_t touched_us;              /* when its use was last written, or tried to be */
};

struct store_catalog {
    struct store_entry **entries;
    unsigned n, allocated;
};

/* Frees all entries. */
void store_catalog_deinit(struct store_catalog *catalog);
/* Room for one more, so that the next add can't fail. -ENOMEM. */
must_check int store_catalog_reserve(struct store_catalog *catalog);
/* Takes ownership of entry; there must be room. */
void store_catalog_add(struct store_catalog *catalog, struct store_entry *entry);
/* Gives ownership back. */
void store_catalog_take(struct store_catalog *catalog, const struct store_entry *entry);
/* After an entry's record changed. */
void store_catalog_sort(struct store_catalog *catalog);
/* NULL is fine. */
void store_entry_free(struct store_entry *entry);

/* The whole SHA-256. NULL: there is none. */
struct store_entry *store_catalog_find(const struct store_catalog *catalog, const char *sha256);
/* NULL: there is none, or more than one. */
struct store_entry *store_catalog_find_prefix(const struct store_catalog *catalog, const char *prefix);
/* See firmware_store_choose. */
struct store_entry *store_catalog_choose(const struct store_catalog *catalog, const char *board,
                                         const char *version);
/* A good one, and the only good one for its board. */
bool store_catalog_is_last_good(const struct store_catalog *catalog, const struct store_entry *entry);
/* What to drop next to come within the limits, never spared (a SHA-256); NULL: nothing, or nothing may be. */
struct store_entry *store_catalog_victim(const struct store_catalog *catalog, unsigned keep,
                                         uint64_t keep_bytes, const char *spared);
/* The newest good ones, one of each board, "WiPy" first; the number found, at most max. */
unsigned store_catalog_newest(const struct store_catalog *catalog, struct store_entry **ret, unsigned max);
