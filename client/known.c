#include "client/known.h"

#include <string.h>

struct known {
    struct known *next;
    const struct interface *interface;
    char *path;
    char *texts[PROPERTIES_MAX]; /* NULL where memory was short: then everything is news */
};

static char *render(const struct property *property, const void *object) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);

    if (!stream)
        return NULL;
    property->type->show(stream, (const char *)object + property->offset);
    if (fclose(stream)) {
        free(text);
        return NULL;
    }
    return text;
}

static void free_one(struct known *one) {
    for (size_t i = 0; i < PROPERTIES_MAX; i++)
        free(one->texts[i]);
    free(one->path);
    free(one);
}

static struct known *add(struct known **known, const struct interface *interface, const char *path) {
    cleanup(free_p) void *nothing = calloc(1, interface->size);
    struct known *one = calloc(1, sizeof(*one));

    if (one)
        one->path = strdup(path);
    if (!nothing || !one || !one->path) {
        free(one);
        return NULL;
    }
    for (size_t i = 0; i < interface->n_properties; i++)
        one->texts[i] = interface->properties[i].type == &property_path
                            ? strdup("/")
                            : render(&interface->properties[i], nothing);
    one->interface = interface;
    one->next = *known;
    *known = one;
    return one;
}

static struct known **find(struct known **known, const struct interface *interface, const char *path) {
    while (*known && ((*known)->interface != interface || strcmp((*known)->path, path)))
        known = &(*known)->next;
    return known;
}

uint64_t known_changes(struct known **known, const struct interface *interface, const char *path,
                       const void *object, uint64_t seen) {
    struct known *one = *find(known, interface, path);
    uint64_t changes = 0;

    if (!one)
        one = add(known, interface, path);
    for (size_t i = 0; i < interface->n_properties; i++) {
        char *text;

        if (!(seen & UINT64_C(1) << i))
            continue;
        text = render(&interface->properties[i], object);
        if (!one || !one->texts[i] || !text || strcmp(one->texts[i], text))
            changes |= UINT64_C(1) << i;
        if (one) {
            free(one->texts[i]);
            one->texts[i] = text;
        } else {
            free(text);
        }
    }
    return changes;
}

void known_forget(struct known **known, const struct interface *interface, const char *path) {
    struct known **place = find(known, interface, path), *one = *place;

    if (!one)
        return;
    *place = one->next;
    free_one(one);
}

void known_free(struct known *known) {
    while (known) {
        struct known *next = known->next;

        free_one(known);
        known = next;
    }
}
