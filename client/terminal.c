#include "client/terminal.h"

#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool terminal_is_live(FILE *stream) {
    const char *kind = getenv("TERM");

    return isatty(fileno(stream)) && kind && *kind && strcmp(kind, "dumb");
}

bool terminal_has_colours(FILE *stream) {
    const char *unwanted = getenv("NO_COLOR");

    return (!unwanted || !*unwanted) && terminal_is_live(stream);
}

bool terminal_is_utf8(void) {
    return !strcmp(nl_langinfo(CODESET), "UTF-8");
}

size_t terminal_columns(FILE *stream) {
    struct winsize size;

    if (ioctl(fileno(stream), TIOCGWINSZ, &size) < 0 || !size.ws_col)
        return 80;
    return size.ws_col;
}
