#pragma once

/* What the terminal, if there is one, can do. */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* From now on nothing is live or coloured, whatever it is. */
void terminal_be_plain(void);
/* Keeps what standard output is now, for when a pager takes its place: colours and width; it isn't live any
 * more. */
void terminal_be_paged(void);
bool terminal_is_paged(void);
/* The stream is a terminal that can move its cursor: TERM is neither unset nor "dumb". */
bool terminal_is_live(FILE *stream);
/* Colours are wanted on this stream: live, and NO_COLOR is unset or empty (no-color.org). */
bool terminal_has_colours(FILE *stream);
/* The locale's encoding is UTF-8. */
bool terminal_is_utf8(void);
/* The width now, in columns; 80 where it can't be told. */
size_t terminal_columns(FILE *stream);
/* Its height now; 24 where it can't be told. */
size_t terminal_rows(FILE *stream);
