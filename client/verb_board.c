/* The verbs of `wipyctl board`. */

#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "client/failure.h"
#include "client/objects.h"
#include "client/table.h"
#include "client/target.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

/* ---- looking --------------------------------------------------------------------------------- */

static void print_table(const struct client *client, const struct objects *objects) {
    static const struct table_column columns[] = {
        { "MAC", TABLE_LEFT },     { "LABEL", TABLE_LEFT },     { "BOARD", TABLE_LEFT },
        { "RELEASE", TABLE_LEFT }, { "SLOT", TABLE_LEFT },      { "POLICY", TABLE_LEFT },
        { "PIN", TABLE_LEFT },     { "LAST SEEN", TABLE_LEFT },
    };
    const struct board *boards = objects->boards.items;
    struct table table;

    table_open(&table, client, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < objects->boards.n; i++) {
        const struct board *board = &boards[i];
        char seen[TEXT_SIZE] = "", release[TEXT_SIZE], pin[TEXT_SIZE];

        if (board->seen_at_us)
            text_day(seen, board->seen_at_us);
        table_row(&table, (const char *[]) { board->mac, board->label, board->board,
                                             text_release(release, board->release), board->slot,
                                             board->policy, text_release(pin, board->pin), seen });
    }
    table_close(&table);
}

static enum exit_code board_list(struct client *client, char **arguments) {
    struct objects objects = { 0 };
    enum exit_code code = objects_load(client, &objects);

    (void)arguments;
    if (code == EXIT_DONE && client->options.json)
        code = objects_print_json(client, &objects.boards, &board_interface);
    else if (code == EXIT_DONE && objects.boards.n)
        print_table(client, &objects);
    else if (code == EXIT_DONE && !client->options.quiet)
        puts("No boards yet. A board is known once its boot ROM has answered.");
    objects_clear(&objects);
    return code;
}

/* "1.20.1.r1, 2026-01-31 12:00:00"; empty where there is nothing. */
static char *release_and_time(char *buffer, size_t n, const char *release, uint64_t time_us) {
    char when[TEXT_SIZE] = "";

    if (time_us)
        text_time(when, time_us);
    snprintf(buffer, n, "%s%s%s", release, *release && *when ? ", " : "", when);
    return buffer;
}

static void print_facts(const struct client *client, const struct board *board, const struct device *device) {
    char flash[TEXT_SIZE] = "", seen[TEXT_SIZE] = "never", flashed[160], confirmed[160];
    const struct {
        const char *what, *value;
    } facts[] = {
        { "MAC", board->mac },
        { "Label", board->label },
        { "Board", board->board },
        { "Release", board->release },
        { "Chip", board->chip },
        { "Flash", flash },
        { "Policy", *board->policy ? board->policy : "none of its own" },
        { "Pin", *board->pin ? board->pin : "none: the newest" },
        { "Device", device->name ? device->name : "" },
        { "Slot", board->slot },
        { "Last seen", seen },
        { "Flashed", flashed },
        { "Package", board->flashed_sha256 },
        { "Said of itself", confirmed },
    };
    struct table table;

    if (board->flash_bytes)
        text_bytes(flash, board->flash_bytes);
    if (board->seen_at_us)
        text_time(seen, board->seen_at_us);
    release_and_time(flashed, sizeof(flashed), board->flashed_release, board->flashed_at_us);
    release_and_time(confirmed, sizeof(confirmed), board->confirmed_release, board->confirmed_at_us);
    table_open_facts(&table, client);
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++)
        table_row(&table, (const char *[]) { facts[i].what, facts[i].value });
    table_close(&table);
}

static enum exit_code board_show(struct client *client, char **arguments) {
    cleanup(board_clear_p) struct board board = { 0 };
    cleanup(device_clear_p) struct device device = { 0 };
    enum exit_code code = target_board(client, arguments[0], &board);

    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return object_print_json(client, &board_interface, &board);
    if (strcmp(board.device, "/"))
        object_refresh(client, &device_interface, board.device, &device);
    print_facts(client, &board, &device);
    return EXIT_DONE;
}

/* ---- changing -------------------------------------------------------------------------------- */

static enum exit_code board_forget(struct client *client, char **arguments) {
    cleanup(board_clear_p) struct board board = { 0 };
    enum exit_code code = target_board(client, arguments[0], &board);
    char title[128];

    if (code == EXIT_DONE)
        code = bus_tell(client, board.path, WIPYD_BOARD_INTERFACE, "Forget", "");
    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return object_print_json(client, &board_interface, &board);
    if (!client->options.quiet)
        text_line(stdout, TEXT_GOOD, "%s: forgotten; its backups and its history stay",
                  board_title(&board, title, sizeof(title)));
    return EXIT_DONE;
}

static enum exit_code no_release(const struct client *client) {
    return failure_report(client, &(struct failure) {
                                      .exit_code = EXIT_USAGE,
                                      .name = wipyd_error_bus_name(WIPYD_ERROR_INVALID_ARGUMENT),
                                      .message = "It isn't known which release the board holds.",
                                      .hint = "Name one: wipyctl board pin MAC RELEASE",
                                  });
}

/* release: NULL for what the board holds now. */
static enum exit_code pin(struct client *client, const char *word, const char *release) {
    cleanup(target_clear_p) struct target target = { .interface = &board_interface };
    cleanup(free_p) char *wanted = NULL;
    enum exit_code code = target_board(client, word, &target.board);
    char title[128];

    if (code != EXIT_DONE)
        return code;
    if (!release && !*target.board.release)
        return no_release(client);
    wanted = strdup(release ? release : target.board.release);
    if (!wanted)
        return failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    code = target_set(client, &target, "Pin", wanted);
    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return object_print_json(client, &board_interface, &target.board);
    board_title(&target.board, title, sizeof(title));
    if (!client->options.quiet && *target.board.pin)
        text_line(stdout, TEXT_GOOD, "%s: pinned to %s", title, target.board.pin);
    else if (!client->options.quiet)
        text_line(stdout, TEXT_GOOD, "%s: no longer pinned: it gets the newest", title);
    return EXIT_DONE;
}

static enum exit_code board_pin(struct client *client, char **arguments) {
    if (arguments[1] && !*arguments[1])
        return failure_usage(client, "A release has a name; to take the pin off: wipyctl board unpin MAC");
    return pin(client, arguments[0], arguments[1]);
}

static enum exit_code board_unpin(struct client *client, char **arguments) {
    return pin(client, arguments[0], "");
}

/* ---- the verbs ------------------------------------------------------------------------------- */

#define BOARD_HELP "MAC is a board's, or its label, or the device that it is on.\n"

static const struct verb rows[] = {
    {
        .name = "board list",
        .arguments = "",
        .summary = "List the boards that were ever here (the default)",
        .details = "POLICY is the board's own; where it is '-', the slot's or the default holds.\n",
        .is_long = true,
        .run = board_list,
    },
    {
        .name = "board show",
        .arguments = "MAC",
        .summary = "Show all that is known of a board",
        .details = BOARD_HELP,
        .min_arguments = 1,
        .max_arguments = 1,
        .run = board_show,
    },
    {
        .name = "board pin",
        .arguments = "MAC [RELEASE]",
        .summary = "Keep a board at a release; at what it holds now when none is named",
        .details =
            BOARD_HELP "Without being asked, it is brought to that release, never past it, and never down.\n",
        .min_arguments = 1,
        .max_arguments = 2,
        .run = board_pin,
    },
    {
        .name = "board unpin",
        .arguments = "MAC",
        .summary = "Take the pin off again: it gets the newest",
        .details = BOARD_HELP,
        .min_arguments = 1,
        .max_arguments = 1,
        .run = board_unpin,
    },
    {
        .name = "board forget",
        .arguments = "MAC",
        .summary = "Drop what is known of a board; its backups and its history stay",
        .details = BOARD_HELP "It must not be plugged in.\n",
        .min_arguments = 1,
        .max_arguments = 1,
        .run = board_forget,
    },
};

const struct verb_table board_verbs = { rows, sizeof(rows) / sizeof(rows[0]) };
