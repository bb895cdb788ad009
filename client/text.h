#pragma once

/*
 * Words for people. Everything that wipyctl prints outside JSON goes through text_put() and text_line(),
 * which replace what could steer a terminal: names come from files, boards and the daemon.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum text_style {
    TEXT_PLAIN,
    TEXT_FAINT,
    TEXT_STRONG,
    TEXT_GOOD,
    TEXT_BAD,
    TEXT_ACTION, /* what a person should do */
    TEXT_STYLE_COUNT
};

/* Prints, in colour where the stream has it. Control characters, line ends among them, become '?'. */
__attribute__((format(printf, 3, 4))) void text_put(FILE *stream, enum text_style style, const char *format,
                                                    ...);
/* The same and a line end. */
__attribute__((format(printf, 3, 4))) void text_line(FILE *stream, enum text_style style, const char *format,
                                                     ...);

/* Says that there isn't enough memory, on stderr, and ends the program: what it was at can't be told any
 * more. */
_Noreturn void text_no_memory(void);

/* Replaces, in place, every character that the locale can't print, and every control or direction character.
 */
void text_clean(char *text);
/* Columns that clean text takes on a terminal. */
size_t text_columns(const char *text);
/* Cuts clean text to so many columns, in place; where something is cut off, '…' stands at the end. text has
 * room for 3 bytes more than it holds. Returns the columns that are left of it. */
size_t text_cut(char *text, size_t columns);
/* "-" for nothing known, otherwise the text itself. */
const char *text_or_dash(const char *text);

/* The following write into a buffer that has room for TEXT_SIZE bytes, and return it. */
#define TEXT_SIZE 48
/* "1.20.1.r1-..." of "1.20.1.r1-0.7.0-vanilla-dragonfly-onewire", for tables of much else; NULL is "". */
char *text_release(char *buffer, const char *release);
/* " by the boot ROM", " by the stub v1.2.2", of a job's Loader; "" where none is known, or NULL. */
char *text_loader(char *buffer, const char *loader);
/* "812 B", "512 KiB", "1.21 MiB". */
char *text_bytes(char *buffer, uint64_t bytes);
/* "0:07", "12:30", "1:02:03", for what is counted down. */
char *text_clock(char *buffer, uint64_t seconds);
/* "0.8 s", "93 s", "3 min 20 s", for what has been. */
char *text_duration(char *buffer, uint64_t duration_us);
/* "40 s", "35 min", "22 h", "3 d", for how long ago or ahead. */
char *text_span(char *buffer, uint64_t duration_us);
/* "2026-01-31" and "2026-01-31 12:00:00", as clocks show it here, of microseconds since 1970. */
char *text_day(char *buffer, uint64_t time_us);
char *text_time(char *buffer, uint64_t time_us);
/* "2026-01-31T12:00:00.250Z" of microseconds since 1970. */
char *text_iso_time(char *buffer, uint64_t time_us);
