#include "client/json.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/text.h"

/* yajl writes through NULL where these give it. */
static void *take_more(void *userdata, void *old, size_t size) {
    void *block = realloc(old, size);

    (void)userdata;
    if (!block)
        text_no_memory();
    return block;
}

static void *take(void *userdata, size_t size) {
    return take_more(userdata, NULL, size);
}

static void give_back(void *userdata, void *block) {
    (void)userdata;
    free(block);
}

void json_begin(struct json *json, enum json_mode mode) {
    static const yajl_alloc_funcs functions = { take, take_more, give_back, NULL };

    json->generator = yajl_gen_alloc(&functions);
    json->status = yajl_gen_status_ok;
    yajl_gen_config(json->generator, yajl_gen_beautify, mode == JSON_PRETTY);
    yajl_gen_config(json->generator, yajl_gen_indent_string, "  ");
    yajl_gen_config(json->generator, yajl_gen_validate_utf8, 1);
}

int json_print(struct json *json) {
    const unsigned char *text = NULL;
    size_t length = 0;

    if (json->status == yajl_gen_status_ok)
        json->status = yajl_gen_get_buf(json->generator, &text, &length);
    if (length) {
        fwrite(text, 1, length, stdout);
        if (text[length - 1] != '\n')
            putchar('\n');
        fflush(stdout);
    }
    json_drop(json);
    return length ? 0 : -ENOMEM;
}

void json_drop(struct json *json) {
    if (json->generator)
        yajl_gen_free(json->generator);
    json->generator = NULL;
}

/* The first trouble stays: what follows it can't make the document whole again. */
#define KEEP(call)                                                                                           \
    do {                                                                                                     \
        if (json->generator && json->status == yajl_gen_status_ok)                                           \
            json->status = (call);                                                                           \
    } while (0)

void json_map_begin(struct json *json) {
    KEEP(yajl_gen_map_open(json->generator));
}

void json_map_end(struct json *json) {
    KEEP(yajl_gen_map_close(json->generator));
}

void json_array_begin(struct json *json) {
    KEEP(yajl_gen_array_open(json->generator));
}

void json_array_end(struct json *json) {
    KEEP(yajl_gen_array_close(json->generator));
}

void json_string(struct json *json, const char *text) {
    if (!text) {
        json_null(json);
        return;
    }
    KEEP(yajl_gen_string(json->generator, (const unsigned char *)text, strlen(text)));
    if (json->status == yajl_gen_invalid_string) {
        char *copy = strdup(text);

        json->status = yajl_gen_status_ok;
        for (char *c = copy; c && *c; c++)
            if ((unsigned char)*c >= 0x80)
                *c = '?';
        json_string(json, copy ? copy : "");
        free(copy);
    }
}

void json_number(struct json *json, uint64_t number) {
    char text[24];
    int n = snprintf(text, sizeof(text), "%" PRIu64, number);

    KEEP(yajl_gen_number(json->generator, text, (size_t)n));
}

void json_real(struct json *json, double number) {
    char text[32];
    int n = snprintf(text, sizeof(text), "%.6g", isfinite(number) ? number : 0.0);

    KEEP(yajl_gen_number(json->generator, text, (size_t)n));
}

void json_bool(struct json *json, bool value) {
    KEEP(yajl_gen_bool(json->generator, value));
}

void json_null(struct json *json) {
    KEEP(yajl_gen_null(json->generator));
}

void json_time(struct json *json, uint64_t time_us) {
    char buffer[TEXT_SIZE];

    if (time_us)
        json_string(json, text_iso_time(buffer, time_us));
    else
        json_null(json);
}
