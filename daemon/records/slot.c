#include "daemon/records/table.h"

static const struct column columns[] = {
    COLUMN_KEY(slot_record, name), COLUMN(slot_record, label), COLUMN_ENUM(slot_record, policy, policy_words),
    COLUMN(slot_record, is_armed), COLUMN(slot_record, mac),   COLUMN(slot_record, seen_us),
};

static const struct table table = TABLE("slot", slot_record, columns);

int records_put_slot(struct records *records, const struct slot_record *slot) {
    return table_put_one(records, &table, slot);
}

static int erase(sqlite3 *db, void *argument) {
    const char *const *name = argument;

    int rc = table_run(db, "DELETE FROM slot WHERE name = ?1", *name);

    return rc == SQLITE_OK
               ? table_run(db, "DELETE FROM rate WHERE owner = '" RATE_OF_SLOT "' AND name = ?1", *name)
               : rc;
}

int records_delete_slot(struct records *records, const char *name) {
    return records_write(records, erase, &name);
}

int records_list_slots(struct records *records, struct slot_record **ret, size_t *ret_n) {
    return table_list(records, &table, "ORDER BY name", NULL, 0, (void **)ret, ret_n);
}
