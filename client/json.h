#pragma once

/* JSON on standard output: one document, by yajl. Trouble on the way is kept and told by json_print(). */

#include <stdbool.h>
#include <stdint.h>
#include <yajl/yajl_gen.h>

#include "client/client.h"

struct json {
    yajl_gen generator; /* NULL: dropped */
    yajl_gen_status status;
};

/* mode: JSON_SHORT or JSON_PRETTY. Ends with json_print(). */
void json_begin(struct json *json, enum json_mode mode);
/* Writes the document and a line end to standard output and frees everything. 0, or -ENOMEM. */
int json_print(struct json *json);
/* Or with this, which frees everything and writes nothing. */
void json_drop(struct json *json);

void json_map_begin(struct json *json);
void json_map_end(struct json *json);
void json_array_begin(struct json *json);
void json_array_end(struct json *json);
/* Text that isn't UTF-8 (a file's name may be anything) is cleaned first. NULL is null. */
void json_string(struct json *json, const char *text);
void json_number(struct json *json, uint64_t number);
void json_real(struct json *json, double number);
void json_bool(struct json *json, bool value);
void json_null(struct json *json);
/* ISO 8601 of microseconds since 1970; null for 0. */
void json_time(struct json *json, uint64_t time_us);
