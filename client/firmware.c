#include "client/firmware.h"

#include <stdio.h>
#include <string.h>

#include "client/each.h"
#include "client/table.h"
#include "client/text.h"

char *firmware_title(const struct firmware *firmware, char *buffer, size_t n) {
    if (*firmware->release)
        snprintf(buffer, n, "%s%s%s", firmware->board, *firmware->board ? " " : "", firmware->release);
    else
        snprintf(buffer, n, "%s", firmware->name);
    return buffer;
}

bool firmware_is_good(const struct firmware *firmware) {
    return !strcmp(firmware->state, "good");
}

/* ---- lists ----------------------------------------------------------------------------------- */

static int by_board_and_age(const void *one, const void *other) {
    const struct firmware *a = one, *b = other;
    int order = strcmp(a->board, b->board);

    if (!order) /* 0, which is no order, is the least */
        order = (a->order < b->order) - (a->order > b->order);
    if (!order)
        order = (a->added_at_us < b->added_at_us) - (a->added_at_us > b->added_at_us);
    return order ? order : strcmp(a->sha256, b->sha256);
}

void firmware_sort(struct list *list) {
    if (list->n)
        qsort(list->items, list->n, sizeof(struct firmware), by_board_and_age);
}

/* With what most packages have, 80 columns are enough. */
#define TABLE_DIGITS 10

void firmware_print(const struct client *client, const struct list *list) {
    static const struct table_column columns[] = {
        { "BOARD", TABLE_LEFT },   { "RELEASE", TABLE_LEFT },    { "SERVER SAYS", TABLE_LEFT },
        { "STATE", TABLE_STATE },  { "SIZE", TABLE_RIGHT },      { "ADDED", TABLE_LEFT },
        { "SHA-256", TABLE_LEFT }, { "PACKAGE", TABLE_ELASTIC },
    };
    const struct firmware *items = list->items;
    struct table table;

    table_open(&table, client, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < list->n; i++) {
        const struct firmware *firmware = &items[i];
        bool is_agreed = !strcmp(firmware->server_version, firmware->release);
        char state[TEXT_SIZE], size[TEXT_SIZE], added[TEXT_SIZE], digits[TABLE_DIGITS + 1];

        snprintf(state, sizeof(state), "%s%s", firmware->state, firmware->pinned ? ", pinned" : "");
        snprintf(digits, sizeof(digits), "%s", firmware->sha256);
        table_row(&table, (const char *[]) {
                              firmware->board, firmware->release, is_agreed ? "" : firmware->server_version,
                              state, text_bytes(size, firmware->bytes),
                              text_day(added, firmware->added_at_us), digits, firmware->name });
    }
    table_close(&table);
}

/* ---- several --------------------------------------------------------------------------------- */

struct one_firmware {
    firmware_fn one;
    void *userdata;
};

static enum exit_code do_firmware(struct client *client, const char *argument, struct json *json,
                                  void *userdata) {
    cleanup(firmware_clear_p) struct firmware firmware = { 0 };
    const struct one_firmware *how = userdata;
    enum exit_code code = how->one(client, argument, &firmware, how->userdata);

    if (json && code == EXIT_DONE)
        object_to_json(&firmware_interface, &firmware, json);
    return code;
}

enum exit_code firmware_each(struct client *client, char **arguments, firmware_fn one, void *userdata) {
    return each(client, arguments, do_firmware, &(struct one_firmware) { one, userdata });
}
