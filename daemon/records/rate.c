#include "daemon/records/table.h"

static const struct column columns[] = {
    COLUMN_KEY(rate_record, owner), COLUMN_KEY(rate_record, name), COLUMN_KEY(rate_record, baud),
    COLUMN(rate_record, blocks),    COLUMN(rate_record, errors),   COLUMN(rate_record, good),
    COLUMN(rate_record, strikes),   COLUMN(rate_record, wait),     COLUMN(rate_record, failed_us),
    COLUMN(rate_record, used_us),
};

static const struct table table = TABLE("rate", rate_record, columns);

int records_put_rate(struct records *records, const struct rate_record *rate) {
    return table_put_one(records, &table, rate);
}

int records_list_rates(struct records *records, struct rate_record **ret, size_t *ret_n) {
    return table_list(records, &table, "ORDER BY owner, name, baud", NULL, 0, (void **)ret, ret_n);
}
