#include "daemon/firmware/json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#define ALIGNMENT 16u

/* An object or a list that is being read. */
struct open {
    yajl_val value;
    const char *key; /* of the next value, in an object */
    struct open *outer;
};

struct reader {
    uint8_t *room;
    size_t used, size;
    jmp_buf is_full; /* yajl looks at no result of its allocations, so that it can't go on */
    struct open *innermost;
    yajl_val root;
};

/* ---- memory ---------------------------------------------------------------------------------- */

/* Each block stands behind its size. */
static void *take(void *userdata, size_t size) {
    struct reader *reader = userdata;
    size_t whole = ALIGNMENT + (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    uint8_t *block = reader->room + reader->used;

    if (size > reader->size || whole > reader->size - reader->used)
        longjmp(reader->is_full, 1);
    reader->used += whole;
    memcpy(block, &size, sizeof size);
    return block + ALIGNMENT;
}

static void *take_more(void *userdata, void *old, size_t size) {
    void *block = take(userdata, size);
    size_t old_size = 0;

    if (old)
        memcpy(&old_size, (uint8_t *)old - ALIGNMENT, sizeof old_size);
    if (old_size)
        memcpy(block, old, old_size < size ? old_size : size);
    return block;
}

/* All of it goes at once. */
static void give_back(void *userdata, void *block) {
    (void)userdata, (void)block;
}

static char *copy(struct reader *reader, const char *text, size_t size) {
    char *ret = take(reader, size + 1);

    memcpy(ret, text, size);
    ret[size] = 0;
    return ret;
}

/* Room for one element more than n; what holds n was made here as well. */
static void *grow(struct reader *reader, void *elements, size_t n, size_t element_bytes) {
    if (n & (n - 1)) /* it has doubled at each power of two */
        return elements;
    return take_more(reader, elements, (n ? 2 * n : 1) * element_bytes);
}

/* ---- the tree -------------------------------------------------------------------------------- */

static yajl_val add(struct reader *reader, yajl_type type) {
    struct open *open = reader->innermost;
    yajl_val value = take(reader, sizeof *value), outer = open ? open->value : NULL;
    size_t n;

    memset(value, 0, sizeof *value);
    value->type = type;
    if (!outer) {
        reader->root = value;
    } else if (outer->type == yajl_t_array) {
        n = outer->u.array.len++;
        outer->u.array.values = grow(reader, outer->u.array.values, n, sizeof(yajl_val));
        outer->u.array.values[n] = value;
    } else {
        n = outer->u.object.len++;
        outer->u.object.keys = grow(reader, outer->u.object.keys, n, sizeof(char *));
        outer->u.object.values = grow(reader, outer->u.object.values, n, sizeof(yajl_val));
        outer->u.object.keys[n] = open->key;
        outer->u.object.values[n] = value;
    }
    return value;
}

static int open_value(struct reader *reader, yajl_type type) {
    struct open *open;
    yajl_val value = add(reader, type);

    open = take(reader, sizeof *open);
    *open = (struct open) { .value = value, .outer = reader->innermost };
    reader->innermost = open;
    return 1;
}

static int on_null(void *userdata) {
    add(userdata, yajl_t_null);
    return 1;
}

static int on_boolean(void *userdata, int value) {
    add(userdata, value ? yajl_t_true : yajl_t_false);
    return 1;
}

static int on_number(void *userdata, const char *text, size_t size) {
    yajl_val value = add(userdata, yajl_t_number);
    char *end;

    value->u.number.r = copy(userdata, text, size);
    errno = 0;
    value->u.number.i = strtoll(value->u.number.r, &end, 10);
    if (!errno && !*end)
        value->u.number.flags |= YAJL_NUMBER_INT_VALID;
    errno = 0;
    value->u.number.d = strtod(value->u.number.r, &end);
    if (!errno && !*end)
        value->u.number.flags |= YAJL_NUMBER_DOUBLE_VALID;
    return 1;
}

static int on_string(void *userdata, const unsigned char *text, size_t size) {
    yajl_val value = add(userdata, yajl_t_string);

    value->u.string = copy(userdata, (const char *)text, size);
    return 1;
}

static int on_key(void *userdata, const unsigned char *text, size_t size) {
    struct reader *reader = userdata;

    reader->innermost->key = copy(reader, (const char *)text, size);
    return 1;
}

static int on_map(void *userdata) {
    return open_value(userdata, yajl_t_object);
}

static int on_array(void *userdata) {
    return open_value(userdata, yajl_t_array);
}

static int on_end(void *userdata) {
    struct reader *reader = userdata;

    reader->innermost = reader->innermost->outer;
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_map,
    .yajl_map_key = on_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_array,
    .yajl_end_array = on_end,
};

/* ---- the whole ------------------------------------------------------------------------------- */

/* True: reader->root has it. */
static bool parse(struct reader *reader, const char *text, size_t size) {
    yajl_alloc_funcs functions = { take, take_more, give_back, reader };
    yajl_handle handle;

    if (setjmp(reader->is_full))
        return false;
    handle = yajl_alloc(&callbacks, &functions, reader);
    return yajl_config(handle, yajl_allow_comments, 1) &&
           yajl_parse(handle, (const unsigned char *)text, size) == yajl_status_ok &&
           yajl_complete_parse(handle) == yajl_status_ok;
}

int json_read(struct json *ret, const char *text, size_t size, size_t room_bytes) {
    struct reader reader = { .size = room_bytes };

    *ret = (struct json) { 0 };
    if (memchr(text, 0, size)) /* what reads strings would stop there */
        return -EBADMSG;
    ret->room = malloc(room_bytes);
    if (!ret->room)
        return -ENOMEM;
    reader.room = ret->room;
    if (!parse(&reader, text, size))
        return -EBADMSG;
    ret->root = reader.root;
    return 0;
}

void json_deinit(struct json *json) {
    free(json->room);
    *json = (struct json) { 0 };
}
