#include "client/table.h"

#include <stdio.h>
#include <string.h>

#include "client/terminal.h"
#include "client/text.h"

static const struct {
    const char *word, *colour;
} state_colours[] = {
    { "done", "green" },      { "equal", "green" },      { "written", "green" },
    { "failed", "red" },      { "cancelled", "yellow" }, { "good", "green" },
    { "quarantined", "red" }, { "missing", "red" },      { "waiting", "yellow" },
    { "differs", "yellow" },  { "unplugged", "yellow" }, { "interrupted", "yellow" },
};

static void *must(void *made) {
    if (!made)
        text_no_memory();
    return made;
}

void table_open(struct table *table, const struct client *client, const struct table_column *columns,
                size_t n_columns) {
    *table = (struct table) { .columns = columns, .n_columns = n_columns };
    scols_init_debug(0);
    table->scols = must(scols_new_table());
    scols_table_enable_noheadings(table->scols, client->options.no_legend);
    scols_table_enable_colors(table->scols, terminal_has_colours(stdout));
    if (terminal_is_paged()) {
        scols_table_set_termforce(table->scols, SCOLS_TERMFORCE_ALWAYS);
        scols_table_set_termwidth(table->scols, terminal_columns(stdout));
    }
    for (size_t i = 0; i < n_columns; i++) {
        int flags = columns[i].kind == TABLE_RIGHT     ? SCOLS_FL_RIGHT
                    : columns[i].kind == TABLE_ELASTIC ? SCOLS_FL_TRUNC
                                                       : 0;

        must(scols_table_new_column(table->scols, columns[i].title, 0, flags));
    }
}

void table_open_facts(struct table *table, const struct client *client) {
    static const struct table_column columns[] = { { "WHAT", TABLE_LEFT }, { "VALUE", TABLE_LEFT } };

    table_open(table, client, columns, sizeof(columns) / sizeof(columns[0]));
    scols_table_enable_noheadings(table->scols, 1);
}

static void colour(struct libscols_line *line, size_t column, const char *text) {
    size_t n = strcspn(text, ",");

    for (size_t i = 0; i < sizeof(state_colours) / sizeof(state_colours[0]); i++)
        if (!strncmp(text, state_colours[i].word, n) && !state_colours[i].word[n])
            scols_cell_set_color(scols_line_get_cell(line, column), state_colours[i].colour);
}

void table_row(struct table *table, const char *const texts[]) {
    struct libscols_line *line = must(scols_table_new_line(table->scols, NULL));

    for (size_t i = 0; i < table->n_columns; i++) {
        char *text = must(strdup(text_or_dash(texts[i])));

        text_clean(text);
        if (table->columns[i].kind == TABLE_STATE)
            colour(line, i, text);
        if (scols_line_refer_data(line, i, text) < 0) /* takes ownership */
            text_no_memory();
    }
}

void table_close(struct table *table) {
    if (!scols_table_is_empty(table->scols) && scols_print_table(table->scols) < 0)
        text_no_memory();
    scols_unref_table(table->scols);
    table->scols = NULL;
}
