#include "client/screen.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/terminal.h"

void screen_open(struct screen *screen) {
    *screen = (struct screen) { .is_open = true };
    setvbuf(stdout, NULL, _IOFBF, BUFSIZ * 8);
    fputs("\033[?25l", stdout);
}

void screen_begin(struct screen *screen) {
    /* The last column stays free: a cursor behind it makes some terminals wrap. */
    screen->columns = terminal_columns(stdout) - 1;
    screen->rows = terminal_rows(stdout);
    if (screen->n_drawn)
        printf("\033[%zuA\r", screen->n_drawn);
    screen->n_drawn = screen->used = 0;
}

/* The cursor stands below the last. */
size_t screen_lines(const struct screen *screen) {
    return screen->rows > 2 ? screen->rows - 1 : 1;
}

void screen_put(struct screen *screen, enum text_style style, const char *format, ...) {
    va_list arguments;
    char *text, *longer;
    int n;

    va_start(arguments, format);
    n = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (n < 0)
        return;
    longer = realloc(text, (size_t)n + 4); /* for the mark of what is cut off */
    if (longer) {
        text_clean(longer);
        screen->used += text_cut(longer, screen->columns - screen->used);
        text_put(stdout, style, "%s", longer);
    }
    free(longer ? longer : text);
}

void screen_end_line(struct screen *screen) {
    fputs("\033[K\n", stdout);
    screen->n_drawn++;
    screen->used = 0;
}

void screen_end(struct screen *screen) {
    (void)screen;
    fputs("\033[J", stdout);
    fflush(stdout);
}

void screen_forget(struct screen *screen) {
    screen->n_drawn = 0;
    fputs("\033[?25l\033[H\033[2J", stdout);
}

void screen_close(struct screen *screen) {
    if (!screen->is_open)
        return;
    fputs("\033[?25h", stdout);
    fflush(stdout);
    *screen = (struct screen) { 0 };
}
