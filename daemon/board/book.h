#pragma once

/* Records of one kind in memory, in order of their key. A record keeps its address until it is struck out. No
 * file, no clock. */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/base/clean.h"

struct book_entry {
    bool is_behind; /* the database doesn't have it as it is here, and nothing under way will change that */
    _Alignas(max_align_t) char record[];
};

struct book {
    struct book_entry **entries;
    unsigned n, allocated;
    size_t record_bytes;
    int (*compare)(const void *a, const void *b); /* of records, or of keys that look like a record's begin */
};

/* NULL: there is none. */
struct book_entry *book_find(const struct book *book, const void *key);
/* Copies the record, whose key isn't there yet. NULL: no memory. */
struct book_entry *book_add(struct book *book, const void *record);
void book_strike(struct book *book, struct book_entry *entry);
void book_deinit(struct book *book);
