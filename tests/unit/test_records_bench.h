#pragma once

/* A database in a temporary folder. Include cmocka and what it needs first. */

#include "tests/unit/test_folder.h"
#include "tests/unit/test_records_make.h"

struct bench {
    char base[64], path[96];
    struct records *records;
};

static inline void open_records(struct bench *bench) {
    struct fault fault = { 0 };

    if (records_open(&bench->records, bench->path, &fault))
        fail_msg("%s", fault.story);
}

static inline void reopen(struct bench *bench) {
    bench->records = records_close(bench->records);
    open_records(bench);
}

static inline int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);

    assert_non_null(bench);
    folder_make(bench->base, sizeof bench->base);
    snprintf(bench->path, sizeof bench->path, "%s/wipyd.db", bench->base);
    open_records(bench);
    *state = bench;
    return 0;
}

static inline int tear_down(void **state) {
    struct bench *bench = *state;

    assert_null(records_close(bench->records));
    folder_remove(bench->base);
    free(bench);
    return 0;
}
