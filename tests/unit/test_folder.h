#pragma once

/* A temporary folder of a test's own. Include cmocka first. */

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

/* ret: its path, absolute. */
static inline void folder_make(char *ret, size_t size) {
    assert_true(snprintf(ret, size, "/tmp/wipyd-test-XXXXXX") < (int)size);
    assert_non_null(mkdtemp(ret));
}

static inline int folder_remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw) {
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

/* With all that is in it. */
static inline void folder_remove(const char *path) {
    assert_int_equal(nftw(path, folder_remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}
