#include "daemon/firmware/store_catalog.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "daemon/firmware/store.h"

#define FAVOURITE "WiPy"

/* ---- entries --------------------------------------------------------------------------------- */

void store_entry_free(struct store_entry *entry) {
    if (!entry)
        return;
    firmware_package_unref(entry->package);
    firmware_record_deinit(&entry->record);
    free(entry);
}

void store_catalog_deinit(struct store_catalog *catalog) {
    for (unsigned i = 0; i < catalog->n; i++)
        store_entry_free(catalog->entries[i]);
    free(catalog->entries);
    *catalog = (struct store_catalog) { 0 };
}

int store_catalog_reserve(struct store_catalog *catalog) {
    unsigned allocated = catalog->allocated ? 2 * catalog->allocated : 16;
    struct store_entry **entries;

    if (catalog->n < catalog->allocated)
        return 0;
    entries = realloc(catalog->entries, allocated * sizeof(struct store_entry *));
    if (!entries)
        return -ENOMEM;
    catalog->entries = entries;
    catalog->allocated = allocated;
    return 0;
}

void store_catalog_add(struct store_catalog *catalog, struct store_entry *entry) {
    assert(catalog->n < catalog->allocated);
    catalog->entries[catalog->n++] = entry;
    store_catalog_sort(catalog);
}

void store_catalog_take(struct store_catalog *catalog, const struct store_entry *entry) {
    unsigned i = 0;

    while (i < catalog->n && catalog->entries[i] != entry)
        i++;
    assert(i < catalog->n);
    catalog->n--;
    memmove(&catalog->entries[i], &catalog->entries[i + 1], (catalog->n - i) * sizeof(struct store_entry *));
}

/* ---- order ----------------------------------------------------------------------------------- */

uint32_t firmware_record_order(const struct firmware_record *record) {
    uint32_t order;

    if (record->server_int_version)
        return record->server_int_version;
    return firmware_release_parse(record->release, &order) ? order : 0;
}

/* Negative: a before b. */
static int compare(const void *a, const void *b) {
    const struct firmware_record *one = &(*(struct store_entry *const *)a)->record,
                                 *two = &(*(struct store_entry *const *)b)->record;
    uint32_t order_one = firmware_record_order(one), order_two = firmware_record_order(two);

    if (order_one != order_two)
        return order_one > order_two ? -1 : 1;
    if (!*one->server_hash != !*two->server_hash)
        return *one->server_hash ? -1 : 1;
    if (one->added_us != two->added_us)
        return one->added_us > two->added_us ? -1 : 1;
    return strcmp(one->sha256, two->sha256);
}

void store_catalog_sort(struct store_catalog *catalog) {
    if (catalog->n)
        qsort(catalog->entries, catalog->n, sizeof(struct store_entry *), compare);
}

/* ---- questions ------------------------------------------------------------------------------- */

struct store_entry *store_catalog_find(const struct store_catalog *catalog, const char *sha256) {
    for (unsigned i = 0; i < catalog->n; i++)
        if (strcmp(catalog->entries[i]->record.sha256, sha256) == 0)
            return catalog->entries[i];
    return NULL;
}

struct store_entry *store_catalog_find_prefix(const struct store_catalog *catalog, const char *prefix) {
    struct store_entry *found = NULL;

    if (!*prefix)
        return NULL;
    for (unsigned i = 0; i < catalog->n; i++)
        if (strncmp(catalog->entries[i]->record.sha256, prefix, strlen(prefix)) == 0) {
            if (found)
                return NULL;
            found = catalog->entries[i];
        }
    return found;
}

static bool is_good_for(const struct store_entry *entry, const char *board) {
    return entry->record.state == FIRMWARE_GOOD && strcmp(entry->record.board, board) == 0;
}

static unsigned count_good(const struct store_catalog *catalog, const char *board) {
    unsigned n = 0;

    for (unsigned i = 0; i < catalog->n; i++)
        n += is_good_for(catalog->entries[i], board);
    return n;
}

/* They stand best first, so it is the first one. */
static struct store_entry *choose_newest(const struct store_catalog *catalog, const char *board) {
    for (unsigned i = 0; i < catalog->n; i++) {
        struct store_entry *entry = catalog->entries[i];

        if (is_good_for(entry, board))
            return firmware_record_order(&entry->record) || count_good(catalog, board) == 1 ? entry : NULL;
    }
    return NULL;
}

/* The server's word first: 1.20.2.r6 was released with images that say 1.20.2.r4 (facts/pycom.md 1.2). */
struct store_entry *store_catalog_choose(const struct store_catalog *catalog, const char *board,
                                         const char *version) {
    struct store_entry *by_release = NULL;

    if (!version)
        return choose_newest(catalog, board);
    if (!*version)
        return NULL; /* as many a server_version is */
    for (unsigned i = 0; i < catalog->n; i++) {
        struct store_entry *entry = catalog->entries[i];

        if (!is_good_for(entry, board))
            continue;
        if (strcmp(entry->record.server_version, version) == 0)
            return entry;
        if (!by_release && strcmp(entry->record.release, version) == 0)
            by_release = entry;
    }
    return by_release;
}

bool store_catalog_is_last_good(const struct store_catalog *catalog, const struct store_entry *entry) {
    return entry->record.state == FIRMWARE_GOOD && count_good(catalog, entry->record.board) == 1;
}

static bool may_be_dropped(const struct store_catalog *catalog, const struct store_entry *entry,
                           const char *spared) {
    return !entry->record.is_pinned && strcmp(entry->record.sha256, spared) != 0 &&
           !store_catalog_is_last_good(catalog, entry) &&
           store_catalog_choose(catalog, entry->record.board, NULL) != entry;
}

/* Those that can't be flashed first, then the oldest use: what a bad server sends drives out nothing good. */
static bool goes_before(const struct store_entry *entry, const struct store_entry *other) {
    bool good = entry->record.state == FIRMWARE_GOOD, other_good = other->record.state == FIRMWARE_GOOD;

    return good != other_good ? other_good : entry->record.used_us < other->record.used_us;
}

struct store_entry *store_catalog_victim(const struct store_catalog *catalog, unsigned keep,
                                         uint64_t keep_bytes, const char *spared) {
    struct store_entry *victim = NULL;
    uint64_t bytes = 0;

    for (unsigned i = 0; i < catalog->n; i++)
        if (catalog->entries[i]->record.state != FIRMWARE_MISSING)
            bytes += catalog->entries[i]->record.bytes;
    if (catalog->n <= keep && bytes <= keep_bytes)
        return NULL;
    for (unsigned i = 0; i < catalog->n; i++) {
        struct store_entry *entry = catalog->entries[i];

        if (catalog->n <= keep && entry->record.state == FIRMWARE_MISSING)
            continue; /* it has no bytes to give */
        if (may_be_dropped(catalog, entry, spared) && (!victim || goes_before(entry, victim)))
            victim = entry;
    }
    return victim;
}

unsigned store_catalog_newest(const struct store_catalog *catalog, struct store_entry **ret, unsigned max) {
    struct store_entry *favourite = store_catalog_choose(catalog, FAVOURITE, NULL);
    unsigned n = 0;

    if (favourite && n < max)
        ret[n++] = favourite;
    for (unsigned i = 0; i < catalog->n && n < max; i++) {
        struct store_entry *entry = catalog->entries[i];

        if (entry != favourite && store_catalog_choose(catalog, entry->record.board, NULL) == entry)
            ret[n++] = entry;
    }
    return n;
}
