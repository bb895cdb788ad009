#include "daemon/records/table.h"

static const struct column columns[] = {
    COLUMN_KEY(board_record, mac),
    COLUMN(board_record, board),
    COLUMN(board_record, release),
    COLUMN(board_record, chip),
    COLUMN(board_record, flash_bytes),
    COLUMN(board_record, label),
    COLUMN_ENUM(board_record, policy, policy_words),
    COLUMN(board_record, pin),
    COLUMN(board_record, slot),
    COLUMN(board_record, first_seen_us),
    COLUMN(board_record, seen_us),
    COLUMN(board_record, flashed_sha256),
    COLUMN(board_record, flashed_release),
    COLUMN(board_record, flashed_us),
    COLUMN(board_record, chosen_us),
    COLUMN(board_record, failed_sha256),
    COLUMN(board_record, failures),
    COLUMN(board_record, confirmed_release),
    COLUMN(board_record, confirmed_us),
};

static const struct table table = TABLE("board", board_record, columns);

int records_put_board(struct records *records, const struct board_record *board) {
    return table_put_one(records, &table, board);
}

static int erase(sqlite3 *db, void *argument) {
    const char *const *mac = argument;
    int rc = table_run(db, "DELETE FROM board WHERE mac = ?1", *mac);

    if (rc == SQLITE_OK)
        rc = table_run(db, "DELETE FROM flashed WHERE mac = ?1", *mac);
    return rc == SQLITE_OK
               ? table_run(db, "DELETE FROM rate WHERE owner = '" RATE_OF_BOARD "' AND name = ?1", *mac)
               : rc;
}

int records_delete_board(struct records *records, const char *mac) {
    return records_write(records, erase, &mac);
}

int records_list_boards(struct records *records, struct board_record **ret, size_t *ret_n) {
    return table_list(records, &table, "ORDER BY mac", NULL, 0, (void **)ret, ret_n);
}

/* ---- what they were flashed with ------------------------------------------------------------- */

static const struct column flashed_columns[] = {
    COLUMN_KEY(flashed_record, mac),
    COLUMN_KEY(flashed_record, sha256),
    COLUMN(flashed_record, at_us),
};

static const struct table flashed_table = TABLE("flashed", flashed_record, flashed_columns);

int records_put_flashed(struct records *records, const struct flashed_record *flashed) {
    return table_put_one(records, &flashed_table, flashed);
}

int records_list_flashed(struct records *records, struct flashed_record **ret, size_t *ret_n) {
    return table_list(records, &flashed_table, "ORDER BY mac, sha256", NULL, 0, (void **)ret, ret_n);
}
