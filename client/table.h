#pragma once

/* Tables for people, by libsmartcols: as wide as the terminal, headings unless --no-legend. */

#include <libsmartcols/libsmartcols.h>
#include <stddef.h>

#include "client/client.h"

struct table_column {
    const char *title;
    enum {
        TABLE_LEFT,
        TABLE_RIGHT,   /* numbers */
        TABLE_STATE,   /* coloured by the first word it says */
        TABLE_ELASTIC, /* cut where the terminal ends */
    } kind;
};

struct table {
    const struct table_column *columns; /* borrowed */
    size_t n_columns;
    struct libscols_table *scols;
};

void table_open(struct table *table, const struct client *client, const struct table_column *columns,
                size_t n_columns);
/* A table of two columns without headings, for the facts about one thing. */
void table_open_facts(struct table *table, const struct client *client);
/* As many texts as columns, copied and cleaned; "-" stands for what is empty or NULL. */
void table_row(struct table *table, const char *const texts[]);
/* Prints and frees. An empty table prints nothing. */
void table_close(struct table *table);
