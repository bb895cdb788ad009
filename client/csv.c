#include "client/csv.h"

#include <stdio.h>
#include <string.h>

#include "client/text.h"

/* A file gets what there is; only a terminal has to be kept from being steered. */
static void put_text(const char *text) {
    cleanup(free_p) char *copy = strdup(text ? text : "");

    if (!copy)
        text_no_memory();
    if (isatty(STDOUT_FILENO))
        text_clean(copy);
    if (!strpbrk(copy, ",\"\r\n")) {
        fputs(copy, stdout);
        return;
    }
    putchar('"');
    for (const char *c = copy; *c; c++) {
        if (*c == '"')
            putchar('"');
        putchar(*c);
    }
    putchar('"');
}

static void put_value(const struct property *row, const void *object) {
    const void *slot = (const char *)object + row->offset;
    char when[TEXT_SIZE];

    if (row->type == &property_string || row->type == &property_path)
        put_text(*(char *const *)slot);
    else if (row->type == &property_time && *(const uint64_t *)slot)
        put_text(text_iso_time(when, *(const uint64_t *)slot));
    else if (row->type != &property_time)
        row->type->show(stdout, slot); /* a number, or yes or no */
}

void csv_header(const struct interface *interface) {
    char key[64];

    for (size_t i = 0; i < interface->n_properties; i++)
        printf("%s%s", i ? "," : "", property_key(&interface->properties[i], key, sizeof(key)));
    fputs("\r\n", stdout);
}

void csv_row(const struct interface *interface, const void *object) {
    for (size_t i = 0; i < interface->n_properties; i++) {
        if (i)
            putchar(',');
        put_value(&interface->properties[i], object);
    }
    fputs("\r\n", stdout);
}
