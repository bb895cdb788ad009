#include "client/terminal.h"

#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool plain, paged, paged_colours;
static size_t paged_columns;

void terminal_be_plain(void) {
    plain = true;
}

void terminal_be_paged(void) {
    paged_colours = terminal_has_colours(stdout);
    paged_columns = terminal_columns(stdout);
    paged = true;
}

bool terminal_is_paged(void) {
    return paged;
}

bool terminal_is_live(FILE *stream) {
    const char *kind = getenv("TERM");

    return !plain && isatty(fileno(stream)) && kind && *kind && strcmp(kind, "dumb");
}

bool terminal_has_colours(FILE *stream) {
    const char *unwanted = getenv("NO_COLOR");

    if (paged && stream == stdout)
        return paged_colours;
    return (!unwanted || !*unwanted) && terminal_is_live(stream);
}

bool terminal_is_utf8(void) {
    return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

size_t terminal_columns(FILE *stream) {
    struct winsize size;

    if (paged && stream == stdout)
        return paged_columns;
    if (ioctl(fileno(stream), TIOCGWINSZ, &size) < 0 || !size.ws_col)
        return 80;
    return size.ws_col;
}

size_t terminal_rows(FILE *stream) {
    struct winsize size;

    if (ioctl(fileno(stream), TIOCGWINSZ, &size) < 0 || !size.ws_row)
        return 24;
    return size.ws_row;
}
