#include "client/property.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

void *property_slot(const struct property *property, void *object) {
    return (char *)object + property->offset;
}

static const void *const_slot(const struct property *property, const void *object) {
    return (const char *)object + property->offset;
}

static void clear(const struct property *property, void *object) {
    if (property->type->clear)
        property->type->clear(property_slot(property, object));
}

static int read_one(const struct interface *interface, void *object, sd_bus_message *m, uint64_t *seen) {
    const struct property *row;
    const char *name;
    size_t i;
    int r;

    r = sd_bus_message_read(m, "s", &name);
    if (r < 0)
        return r;
    for (i = 0; i < interface->n_properties; i++)
        if (!strcmp(interface->properties[i].name, name))
            break;
    if (i == interface->n_properties)
        return sd_bus_message_skip(m, "v");

    row = &interface->properties[i];
    r = sd_bus_message_enter_container(m, 'v', row->type->signature);
    if (r < 0)
        return r;
    clear(row, object);
    r = row->type->read(m, property_slot(row, object));
    if (r < 0)
        return r;
    *seen |= UINT64_C(1) << i;
    return sd_bus_message_exit_container(m);
}

int properties_read(const struct interface *interface, void *object, sd_bus_message *m, uint64_t *seen) {
    int r = sd_bus_message_enter_container(m, 'a', "{sv}");

    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = read_one(interface, object, m, seen);
        if (r < 0)
            return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    r = sd_bus_message_exit_container(m);
    return r < 0 ? r : 0;
}

/* "BytesDone" and "bytes-done" are "bytes_done", "Sha256" is "sha256". */
const char *property_key(const struct property *property, char *buffer, size_t size) {
    size_t n = 0;

    for (const char *c = property->name; *c && n + 2 < size; c++) {
        if (isupper((unsigned char)*c) && n)
            buffer[n++] = '_';
        buffer[n++] = *c == '-' ? '_' : (char)tolower((unsigned char)*c);
    }
    buffer[n] = '\0';
    return buffer;
}

void properties_to_json(const struct interface *interface, const void *object, uint64_t seen,
                        struct json *json) {
    char key[64];

    for (size_t i = 0; i < interface->n_properties; i++) {
        const struct property *row = &interface->properties[i];

        if (!(seen & UINT64_C(1) << i))
            continue;
        json_string(json, property_key(row, key, sizeof(key)));
        row->type->to_json(json, const_slot(row, object));
    }
}

void properties_show(const struct interface *interface, const void *object, uint64_t seen, FILE *stream) {
    char key[64];

    for (size_t i = 0; i < interface->n_properties; i++) {
        const struct property *row = &interface->properties[i];

        if (!(seen & UINT64_C(1) << i))
            continue;
        fprintf(stream, " %s=", property_key(row, key, sizeof(key)));
        row->type->show(stream, const_slot(row, object));
    }
}

void properties_clear(const struct interface *interface, void *object) {
    for (size_t i = 0; i < interface->n_properties; i++)
        clear(&interface->properties[i], object);
    memset(object, 0, interface->size);
}
