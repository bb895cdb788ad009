/* The types that properties have: how each is read, freed, written as JSON and shown. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "client/property.h"
#include "client/text.h"

/* ---- basic types ----------------------------------------------------------------------------- */

static void string_clear(void *slot) {
    char **text = slot;

    free(*text);
    *text = NULL;
}

static int string_read_as(sd_bus_message *m, char type, void *slot) {
    const char *text;
    int r = sd_bus_message_read_basic(m, type, &text);

    if (r < 0)
        return r;
    *(char **)slot = strdup(text);
    return *(char **)slot ? 0 : -ENOMEM;
}

static int string_read(sd_bus_message *m, void *slot) {
    return string_read_as(m, 's', slot);
}

static void string_to_json(struct json *json, const void *slot) {
    json_string(json, *(char *const *)slot);
}

static void string_show(FILE *stream, const void *slot) {
    const char *text = *(char *const *)slot;

    if (text && *text && !strpbrk(text, " \"="))
        text_put(stream, TEXT_PLAIN, "%s", text);
    else
        text_put(stream, TEXT_PLAIN, "\"%s\"", text ? text : "");
}

static int path_read(sd_bus_message *m, void *slot) {
    return string_read_as(m, 'o', slot);
}

static void path_to_json(struct json *json, const void *slot) {
    const char *path = *(char *const *)slot;

    json_string(json, path && strcmp(path, "/") ? path : NULL);
}

static int bool_read(sd_bus_message *m, void *slot) {
    int value, r = sd_bus_message_read_basic(m, 'b', &value);

    if (r >= 0)
        *(bool *)slot = value;
    return r;
}

static void bool_to_json(struct json *json, const void *slot) {
    json_bool(json, *(const bool *)slot);
}

static void bool_show(FILE *stream, const void *slot) {
    fputs(*(const bool *)slot ? "yes" : "no", stream);
}

static int u32_read(sd_bus_message *m, void *slot) {
    return sd_bus_message_read_basic(m, 'u', slot);
}

static void u32_to_json(struct json *json, const void *slot) {
    json_number(json, *(const uint32_t *)slot);
}

static void u32_show(FILE *stream, const void *slot) {
    fprintf(stream, "%" PRIu32, *(const uint32_t *)slot);
}

static int u64_read(sd_bus_message *m, void *slot) {
    return sd_bus_message_read_basic(m, 't', slot);
}

static void u64_to_json(struct json *json, const void *slot) {
    json_number(json, *(const uint64_t *)slot);
}

static void u64_show(FILE *stream, const void *slot) {
    fprintf(stream, "%" PRIu64, *(const uint64_t *)slot);
}

static void time_to_json(struct json *json, const void *slot) {
    json_time(json, *(const uint64_t *)slot);
}

static void time_show(FILE *stream, const void *slot) {
    char buffer[TEXT_SIZE];
    uint64_t time_us = *(const uint64_t *)slot;

    fputs(time_us ? text_iso_time(buffer, time_us) : "never", stream);
}

static int double_read(sd_bus_message *m, void *slot) {
    return sd_bus_message_read_basic(m, 'd', slot);
}

static void double_to_json(struct json *json, const void *slot) {
    json_real(json, *(const double *)slot);
}

static void double_show(FILE *stream, const void *slot) {
    fprintf(stream, "%.3f", *(const double *)slot);
}

const struct property_type property_string = { "s", string_read, string_clear, string_to_json, string_show };
const struct property_type property_path = { "o", path_read, string_clear, path_to_json, string_show };
const struct property_type property_bool = { "b", bool_read, NULL, bool_to_json, bool_show };
const struct property_type property_u32 = { "u", u32_read, NULL, u32_to_json, u32_show };
const struct property_type property_u64 = { "t", u64_read, NULL, u64_to_json, u64_show };
const struct property_type property_time = { "t", u64_read, NULL, time_to_json, time_show };
const struct property_type property_double = { "d", double_read, NULL, double_to_json, double_show };

/* ---- lists ----------------------------------------------------------------------------------- */

void *list_next(struct list *list, size_t item_size) {
    void *items = realloc(list->items, (list->n + 1) * item_size);

    if (!items)
        return NULL;
    list->items = items;
    return memset((char *)items + list->n * item_size, 0, item_size);
}

static int list_read(sd_bus_message *m, const char *item_signature, struct list *list, size_t item_size,
                     int (*read_item)(sd_bus_message *m, void *item)) {
    int r = sd_bus_message_enter_container(m, 'a', item_signature);

    while (r >= 0) {
        void *item;

        r = sd_bus_message_at_end(m, 0);
        if (r < 0)
            return r;
        if (r > 0)
            return sd_bus_message_exit_container(m);
        item = list_next(list, item_size);
        if (!item)
            return -ENOMEM;
        list->n++;
        r = read_item(m, item);
    }
    return r;
}

static int copy_strings(size_t n, char **const slots[], const char *const texts[]) {
    for (size_t i = 0; i < n; i++) {
        *slots[i] = strdup(texts[i]);
        if (!*slots[i])
            return -ENOMEM;
    }
    return 0;
}

static int region_read(sd_bus_message *m, void *item) {
    struct region *region = item;
    const char *texts[3];
    int r = sd_bus_message_read(m, "(ttsss)", &region->offset_bytes, &region->length_bytes, &texts[0],
                                &texts[1], &texts[2]);

    if (r < 0)
        return r;
    return copy_strings(3, (char **const[]) { &region->what, &region->name, &region->state }, texts);
}

static int regions_read(sd_bus_message *m, void *slot) {
    return list_read(m, "(ttsss)", slot, sizeof(struct region), region_read);
}

static void regions_clear(void *slot) {
    struct list *list = slot;
    struct region *regions = list->items;

    for (size_t i = 0; i < list->n; i++) {
        free(regions[i].what);
        free(regions[i].name);
        free(regions[i].state);
    }
    free(list->items);
    *list = (struct list) { 0 };
}

static void regions_to_json(struct json *json, const void *slot) {
    const struct list *list = slot;
    const struct region *regions = list->items;

    json_array_begin(json);
    for (size_t i = 0; i < list->n; i++) {
        const struct region *region = &regions[i];

        json_map_begin(json);
        json_string(json, "offset");
        json_number(json, region->offset_bytes);
        json_string(json, "length");
        json_number(json, region->length_bytes);
        json_string(json, "what");
        json_string(json, region->what);
        json_string(json, "name");
        json_string(json, region->name);
        json_string(json, "state");
        json_string(json, region->state);
        json_map_end(json);
    }
    json_array_end(json);
}

static int timing_read(sd_bus_message *m, void *item) {
    struct timing *timing = item;
    const char *phase;
    int r = sd_bus_message_read(m, "(st)", &phase, &timing->duration_ms);

    if (r < 0)
        return r;
    return copy_strings(1, (char **const[]) { &timing->phase }, &phase);
}

static int timings_read(sd_bus_message *m, void *slot) {
    return list_read(m, "(st)", slot, sizeof(struct timing), timing_read);
}

static void timings_clear(void *slot) {
    struct list *list = slot;
    struct timing *timings = list->items;

    for (size_t i = 0; i < list->n; i++)
        free(timings[i].phase);
    free(list->items);
    *list = (struct list) { 0 };
}

static void timings_to_json(struct json *json, const void *slot) {
    const struct list *list = slot;
    const struct timing *timings = list->items;

    json_array_begin(json);
    for (size_t i = 0; i < list->n; i++) {
        json_map_begin(json);
        json_string(json, "phase");
        json_string(json, timings[i].phase);
        json_string(json, "ms");
        json_number(json, timings[i].duration_ms);
        json_map_end(json);
    }
    json_array_end(json);
}

/* A person who follows changes wants to know that a list grew; its rows are in JSON and in tables. */
static void list_show(FILE *stream, const void *slot) {
    fprintf(stream, "[%zu]", ((const struct list *)slot)->n);
}

static int attempt_read(sd_bus_message *m, void *item) {
    struct attempt *attempt = item;
    const char *reason;
    int r = sd_bus_message_read(m, "(uts)", &attempt->number, &attempt->ended_at_us, &reason);

    if (r < 0)
        return r;
    return copy_strings(1, (char **const[]) { &attempt->reason }, &reason);
}

static int attempts_read(sd_bus_message *m, void *slot) {
    return list_read(m, "(uts)", slot, sizeof(struct attempt), attempt_read);
}

static void attempts_clear(void *slot) {
    struct list *list = slot;
    struct attempt *attempts = list->items;

    for (size_t i = 0; i < list->n; i++)
        free(attempts[i].reason);
    free(list->items);
    *list = (struct list) { 0 };
}

static void attempts_to_json(struct json *json, const void *slot) {
    const struct list *list = slot;
    const struct attempt *attempts = list->items;

    json_array_begin(json);
    for (size_t i = 0; i < list->n; i++) {
        json_map_begin(json);
        json_string(json, "number");
        json_number(json, attempts[i].number);
        json_string(json, "ended_at");
        json_time(json, attempts[i].ended_at_us);
        json_string(json, "reason");
        json_string(json, attempts[i].reason);
        json_map_end(json);
    }
    json_array_end(json);
}

/* How many, and why the last one ended: that is the news. */
static void attempts_show(FILE *stream, const void *slot) {
    const struct list *list = slot;
    const struct attempt *attempts = list->items;

    list_show(stream, slot);
    if (list->n)
        text_put(stream, TEXT_PLAIN, " \"%s\"", attempts[list->n - 1].reason);
}

static int wire_read(sd_bus_message *m, void *slot) {
    struct wire_bytes *wire = slot;

    return sd_bus_message_read(m, "(tt)", &wire->sent, &wire->received);
}

static void wire_to_json(struct json *json, const void *slot) {
    const struct wire_bytes *wire = slot;

    json_map_begin(json);
    json_string(json, "sent");
    json_number(json, wire->sent);
    json_string(json, "received");
    json_number(json, wire->received);
    json_map_end(json);
}

static void wire_show(FILE *stream, const void *slot) {
    const struct wire_bytes *wire = slot;

    fprintf(stream, "%" PRIu64 "/%" PRIu64, wire->sent, wire->received);
}

const struct property_type property_regions = { "a(ttsss)", regions_read, regions_clear, regions_to_json,
                                                list_show };
const struct property_type property_timings = { "a(st)", timings_read, timings_clear, timings_to_json,
                                                list_show };
const struct property_type property_attempts = { "a(uts)", attempts_read, attempts_clear, attempts_to_json,
                                                 attempts_show };
const struct property_type property_wire = { "(tt)", wire_read, NULL, wire_to_json, wire_show };
