/* The verbs of `wipyctl backup`. */

#include <stdio.h>

#include "client/backup.h"
#include "client/failure.h"
#include "client/objects.h"
#include "client/options.h"
#include "client/table.h"
#include "client/target.h"
#include "client/text.h"
#include "client/verb.h"

static void print_table(const struct client *client, const struct list *list, const struct objects *objects) {
    static const struct table_column columns[] = {
        { "MAC", TABLE_LEFT },   { "LABEL", TABLE_LEFT }, { "NAME", TABLE_LEFT },
        { "SAVED", TABLE_LEFT }, { "PARTS", TABLE_LEFT },
    };
    const struct backup *backups = list->items;
    struct table table;

    table_open(&table, client, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < list->n; i++) {
        const struct board *board = objects_board(objects, backups[i].mac);
        char saved[TEXT_SIZE] = "", parts[128];

        if (backups[i].saved_at_us)
            text_time(saved, backups[i].saved_at_us);
        backup_parts(&backups[i], parts, sizeof(parts));
        table_row(&table, (const char *[]) { backups[i].mac, board ? board->label : "", backups[i].name,
                                             saved, parts });
    }
    table_close(&table);
}

static enum exit_code print_json(const struct client *client, const struct list *list) {
    const struct backup *backups = list->items;
    struct json json;

    json_begin(&json, client->options.json);
    json_array_begin(&json);
    for (size_t i = 0; i < list->n; i++)
        backup_to_json(&backups[i], &json);
    json_array_end(&json);
    return json_print(&json) < 0 ? failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL) : EXIT_DONE;
}

/* Backups outlive what is known of their board: only a MAC that has neither means nothing. */
static enum exit_code check_known(const struct client *client, const struct list *list,
                                  const struct objects *objects, const char *mac) {
    return list->n || !*mac || objects_board(objects, mac)
               ? EXIT_DONE
               : failure_known(client, WIPYD_ERROR_NO_SUCH_BOARD, NULL);
}

static enum exit_code backup_list(struct client *client, char **arguments) {
    char mac[TARGET_MAC_SIZE] = "";
    struct objects objects = { 0 };
    struct list list = { 0 };
    enum exit_code code = EXIT_DONE;

    if (arguments[0])
        code = target_mac_of(client, arguments[0], mac);
    if (code == EXIT_DONE)
        code = backups_load(client, mac, &list);
    if (code == EXIT_DONE)
        code = objects_load(client, &objects);
    if (code == EXIT_DONE)
        code = check_known(client, &list, &objects, mac);
    if (code == EXIT_DONE && client->options.json)
        code = print_json(client, &list);
    else if (code == EXIT_DONE && list.n)
        print_table(client, &list, &objects);
    else if (code == EXIT_DONE && !client->options.quiet)
        puts("No backups. One is saved before a board is written to for the first time.");
    objects_clear(&objects);
    backups_clear(&list);
    return code;
}

#define BACKUP_HELP                                                                                          \
    "MAC is a board's, or its label, or the device that it is on. NAME is as wipyctl backup list has it;\n"  \
    "the newest when none is given.\n"

static const struct verb rows[] = {
    {
        .name = "backup list",
        .arguments = "[MAC]",
        .summary = "List what was saved of boards, or of one (the default)",
        .details = "MAC is a board's, or its label, or the device that it is on.\n",
        .max_arguments = 1,
        .is_long = true,
        .run = backup_list,
    },
    {
        .name = "backup export",
        .arguments = "MAC [NAME]",
        .summary = "Write a backup to files of yours",
        .details = BACKUP_HELP
        "The files are config.bin, nvs.bin and otadata.bin, in a new folder <MAC's digits>-NAME that only\n"
        "you can read: they hold keys and passwords. It appears when it is complete, and replaces nothing.\n",
        .options = OPTION_FOR_OUTPUT,
        .min_arguments = 1,
        .max_arguments = 2,
        .run = verb_backup_export,
    },
    {
        .name = "backup restore",
        .arguments = "DEVICE [NAME]",
        .summary = "Put a board's own data back, and verify it",
        .details =
            "DEVICE is a port's name, its node, its slot, a label, or a board's MAC. The backup is that of\n"
            "the board that is known there, or of --mac; it is put on no other board. What is there now is\n"
            "saved first. NAME is as wipyctl backup list has it; the newest when none is given.\n"
            "The board has to be in download mode. Ctrl-C detaches: the job goes on without wipyctl.\n",
        .options = OPTION_FOR_JOBS | OPTION_FOR_RESTORE,
        .min_arguments = 1,
        .max_arguments = 2,
        .run = verb_backup_restore,
    },
};

const struct verb_table backup_verbs = { rows, sizeof(rows) / sizeof(rows[0]) };
