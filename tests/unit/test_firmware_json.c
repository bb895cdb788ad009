#include "daemon/firmware/json.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/test_firmware_make.h"

static const char TEXT[] =
    "{\"a\": [1, -2.5, \"x\\u00e9\", true, false, null, {}, [[]], 99999999999999999999], /* c */ "
    "\"b\": {\"c\": \"d\"}, \"\": []}";

static void values_are_read(void **state) {
    static const char *const B_C[] = { "b", "c", NULL }, *const NONE[] = { "b", "d", NULL };
    struct json json;
    yajl_val list;

    (void)state;
    assert_int_equal(json_read(&json, TEXT, strlen(TEXT), JSON_ROOM(strlen(TEXT))), 0);
    assert_true(YAJL_IS_OBJECT(json.root));
    assert_int_equal(json.root->u.object.len, 3);
    assert_string_equal(json.root->u.object.keys[2], "");
    assert_string_equal(YAJL_GET_STRING(yajl_tree_get(json.root, (const char **)B_C, yajl_t_string)), "d");
    assert_null(yajl_tree_get(json.root, (const char **)NONE, yajl_t_any));
    list = json.root->u.object.values[0];
    assert_int_equal(list->u.array.len, 9);
    assert_int_equal(YAJL_GET_INTEGER(list->u.array.values[0]), 1);
    assert_true(!YAJL_IS_INTEGER(list->u.array.values[1]) &&
                YAJL_GET_DOUBLE(list->u.array.values[1]) == -2.5);
    assert_string_equal(YAJL_GET_STRING(list->u.array.values[2]), "x\u00e9");
    assert_true(YAJL_IS_TRUE(list->u.array.values[3]) && YAJL_IS_FALSE(list->u.array.values[4]));
    assert_true(YAJL_IS_NULL(list->u.array.values[5]) && YAJL_IS_OBJECT(list->u.array.values[6]));
    assert_int_equal(list->u.array.values[7]->u.array.values[0]->u.array.len, 0);
    assert_false(YAJL_IS_INTEGER(list->u.array.values[8]));
    json_deinit(&json);
}

static void what_is_no_json_is_refused(void **state) {
    static const struct {
        const char *text;
        size_t size;
    } BAD[] = {
        { "", 0 },        { "[", 1 },     { "[1,]", 4 },     { "[1] 2", 5 },
        { "{\"a\"}", 5 }, { "[1]\0", 4 }, { "\"\xff\"", 3 },
    };
    struct json json;

    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        assert_int_equal(json_read(&json, BAD[i].text, BAD[i].size, JSON_ROOM(BAD[i].size)), -EBADMSG);
        assert_null(json.root);
        json_deinit(&json);
    }
}

/* Wherever the memory ends, yajl's parser goes no further. */
static void memory_that_ends_anywhere(void **state) {
    unsigned n_short = 0;
    struct json json;
    int r;

    (void)state;
    for (size_t room = 16;; room += 16) {
        r = json_read(&json, TEXT, strlen(TEXT), room);
        json_deinit(&json);
        if (r == 0)
            break;
        assert_int_equal(r, -EBADMSG);
        n_short++;
    }
    assert_in_range(n_short, 100, JSON_ROOM(strlen(TEXT)) / 16);
    assert_int_equal(json_read(&json, TEXT, strlen(TEXT), SIZE_MAX / 2), -ENOMEM);
    json_deinit(&json);
}

/* As many values as a text can have, in every shape, take no more than the room that is meant for it. */
static void room_is_enough(void **state) {
    static const char *const ELEMENTS[] = { "1,", "\"\",", "[],", "{},", "null,", "{\"\":1}," };
    enum { SIZE = 60000 };
    static char text[SIZE + 16];
    struct json json;

    (void)state;
    for (size_t i = 0; i < sizeof ELEMENTS / sizeof *ELEMENTS; i++) {
        size_t length = strlen(ELEMENTS[i]), n = SIZE / length;

        *text = '[';
        for (size_t k = 0; k < n; k++)
            memcpy(text + 1 + k * length, ELEMENTS[i], length);
        text[n * length] = ']';
        text[n * length + 1] = 0;
        assert_int_equal(json_read(&json, text, strlen(text), JSON_ROOM(strlen(text))), 0);
        assert_int_equal(json.root->u.array.len, n);
        json_deinit(&json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(memory_that_ends_anywhere),
        cmocka_unit_test(room_is_enough),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
