#pragma once

/* Records of every kind, and a database behind the back of who has it open. Include cmocka and what it needs
 * first. */

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/records/records.h"

#define MAC       "30:ae:a4:01:02:03"
#define OTHER_MAC "30:ae:a4:01:02:04"
#define DIGEST    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER     "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
#define SLOT      "pci-0000:00:14.0-usb-0:2.1:1.0"

#define set_text(field, text) assert_true(snprintf(field, sizeof field, "%s", text) < (int)sizeof field)

/* As somebody else. */
static inline void run_sql(const char *path, const char *sql) {
    char *message = NULL;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static inline int keep_number(void *userdata, int n, char **values, char **names) {
    (void)n, (void)names;
    *(long *)userdata = values[0] ? atol(values[0]) : -1;
    return 0;
}

static inline long number_by_sql(const char *path, const char *sql) {
    long number = -1;
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, keep_number, &number, NULL), SQLITE_OK);
    sqlite3_close(db);
    return number;
}

/* Behind the back of whoever has it open: all pages but the first. */
static inline void damage_open_database(const char *path) {
    struct stat st;
    int fd;

    run_sql(path, "INSERT INTO value VALUES ('damage', '1'); PRAGMA wal_checkpoint(TRUNCATE);");
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_size > 4096);
    for (off_t offset = 4096; offset < st.st_size; offset += 8)
        assert_int_equal(pwrite(fd, "garbage!", 8, offset), 8);
    close(fd);
}

/* Every field is set, so that one which isn't kept is found out. Nothing is left undefined: they can be
 * compared as bytes. */
static inline struct board_record *make_board(const char *mac) {
    struct board_record *board = calloc(1, sizeof *board);

    assert_non_null(board);
    set_text(board->mac, mac);
    set_text(board->board, "WiPy");
    set_text(board->release, "1.18.1.r1");
    set_text(board->chip, "ESP32D0WDQ6 (revision 1)");
    board->flash_bytes = 8388608;
    set_text(board->label, "bench 3, it's \"left\"; \xc3\xa9");
    board->policy = BOARD_POLICY_ASK;
    set_text(board->pin, "1.18.2");
    set_text(board->slot, SLOT);
    board->first_seen_us = 1700000000000001u;
    board->seen_us = 1700000000000002u;
    set_text(board->flashed_sha256, DIGEST);
    set_text(board->flashed_release, "1.20.2.r4");
    board->flashed_us = 1700000000000003u;
    board->chosen_us = 1700000000000004u;
    set_text(board->failed_sha256, OTHER);
    board->failures = 4294967295u;
    set_text(board->confirmed_release, "1.20.2.r5");
    board->confirmed_us = UINT64_MAX;
    return board;
}

static inline struct slot_record *make_slot(const char *name) {
    struct slot_record *slot = calloc(1, sizeof *slot);

    assert_non_null(slot);
    set_text(slot->name, name);
    set_text(slot->label, "top left");
    slot->policy = BOARD_POLICY_ANY;
    slot->is_armed = true;
    set_text(slot->mac, MAC);
    slot->seen_us = 1700000000000005u;
    return slot;
}

static inline struct job_record *make_job(uint32_t id, enum wipyd_job_state state) {
    struct job_record *job = calloc(1, sizeof *job);

    assert_non_null(job);
    job->id = id;
    job->kind = WIPYD_JOB_KIND_RESTORE;
    job->state = state;
    set_text(job->device, "ttyUSB0");
    set_text(job->slot, SLOT);
    set_text(job->mac, MAC);
    set_text(job->by, "uid 1000");
    set_text(job->sha256, DIGEST);
    set_text(job->package, "WiPy-1.20.2.r4.tar.gz");
    job->is_chosen = true;
    job->is_dry_run = true;
    job->is_spooled = true;
    set_text(job->board, "WiPy");
    set_text(job->from_release, "1.18.1");
    set_text(job->to_release, "1.20.2.r4");
    job->bytes_total = 1500000;
    job->bytes_done = 70000;
    job->baud = 115200;
    job->wanted_baud = 921600;
    set_text(job->loader, "stub v1.2.2");
    job->retries = 2;
    job->attempts = 3;
    set_text(job->phase, "write");
    set_text(job->error, "org.wipyd1.Error.PortGone");
    set_text(job->error_text, "region 0x10000: block 37");
    set_text(job->restore_mac, OTHER_MAC);
    set_text(job->restore_backup, "20240101T000000.000Z-1");
    job->restore_parts = 5;
    set_text(job->confirmed_release, "1.20.2.r5");
    set_text(job->gaps, " 9000+5000:d41d8cd98f00b204e9800998ecf8427e");
    set_text(job->warning, "0x9000 to 0xe000 changed");
    job->started_us = 1700000000000000u + id;
    job->finished_us = 1800000000000000u;
    return job;
}

static inline struct decision_record *make_decision(uint64_t at_us, const char *mac, const char *slot) {
    struct decision_record *decision = calloc(1, sizeof *decision);

    assert_non_null(decision);
    decision->at_us = at_us;
    set_text(decision->device, "ttyUSB0");
    set_text(decision->slot, slot);
    set_text(decision->mac, mac);
    set_text(decision->event, "plugged in");
    set_text(decision->verdict, "leave");
    set_text(decision->rule, "up-to-date");
    memset(decision->state, 's', sizeof decision->state - 1);
    return decision;
}
