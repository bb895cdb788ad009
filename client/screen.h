#pragma once

/* A block of lines on a terminal that is drawn again in its place. What doesn't fit is cut. */

#include <stdbool.h>
#include <stddef.h>

#include "client/text.h"

struct screen {
    size_t n_drawn; /* lines above the cursor */
    size_t columns, rows, used;
    bool is_open;
};

/* Hides the cursor; standard output is written in whole blocks until screen_close(). */
void screen_open(struct screen *screen);
/* Begins a block, over the one before. */
void screen_begin(struct screen *screen);
/* How many lines it may have. */
size_t screen_lines(const struct screen *screen);
__attribute__((format(printf, 3, 4))) void screen_put(struct screen *screen, enum text_style style,
                                                      const char *format, ...);
void screen_end_line(struct screen *screen);
void screen_end(struct screen *screen);
/* The terminal has another size now, or somebody else wrote on it: the next block begins at the top. */
void screen_forget(struct screen *screen);
/* Shows the cursor again; the last block stays. Takes one that isn't open. */
void screen_close(struct screen *screen);
