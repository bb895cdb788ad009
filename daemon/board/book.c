#include "daemon/board/book.h"

#include <assert.h>
#include <string.h>

/* The first one that isn't before key. */
static unsigned place(const struct book *book, const void *key) {
    unsigned low = 0, high = book->n;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (book->compare(book->entries[middle]->record, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct book_entry *book_find(const struct book *book, const void *key) {
    unsigned i = place(book, key);

    return i < book->n && book->compare(book->entries[i]->record, key) == 0 ? book->entries[i] : NULL;
}

static bool grow(struct book *book) {
    unsigned allocated = book->allocated ? 2 * book->allocated : 16;
    struct book_entry **entries;

    if (book->n < book->allocated)
        return true;
    entries = realloc(book->entries, allocated * sizeof(struct book_entry *));
    if (!entries)
        return false;
    book->entries = entries;
    book->allocated = allocated;
    return true;
}

struct book_entry *book_add(struct book *book, const void *record) {
    struct book_entry *entry;
    unsigned i = place(book, record);

    assert(i == book->n || book->compare(book->entries[i]->record, record) != 0);
    if (!grow(book))
        return NULL;
    entry = calloc(1, sizeof *entry + book->record_bytes);
    if (!entry)
        return NULL;
    memcpy(entry->record, record, book->record_bytes);
    memmove(&book->entries[i + 1], &book->entries[i], (book->n - i) * sizeof(struct book_entry *));
    book->entries[i] = entry;
    book->n++;
    return entry;
}

void book_strike(struct book *book, struct book_entry *entry) {
    unsigned i = place(book, entry->record);

    assert(i < book->n && book->entries[i] == entry);
    book->n--;
    memmove(&book->entries[i], &book->entries[i + 1], (book->n - i) * sizeof(struct book_entry *));
    free(entry);
}

void book_deinit(struct book *book) {
    for (unsigned i = 0; i < book->n; i++)
        free(book->entries[i]);
    free(book->entries);
    book->entries = NULL;
    book->n = book->allocated = 0;
}
