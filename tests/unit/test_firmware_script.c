#include "daemon/firmware/script.h"

#include "tests/unit/test_firmware_make.h"

static enum wipyd_error read_bytes(struct firmware_script *ret, const char *text, size_t size,
                                   struct fault *fault) {
    struct firmware_member member = { .name = "script2", .size = size };
    enum wipyd_error error;

    member.bytes = malloc(size + 1); /* exact, so that a sanitizer sees reads behind it */
    assert_non_null(member.bytes);
    memcpy(member.bytes, text, size);
    *fault = (struct fault) { 0 };
    error = firmware_script_read(ret, &member, fault);
    free(member.bytes);
    assert_int_equal(fault->code, error);
    return error;
}

static enum wipyd_error read_text(struct firmware_script *ret, const char *text, struct fault *fault) {
    return read_bytes(ret, text, strlen(text), fault);
}

static void list_form_is_read(void **state) {
    struct firmware_script script;
    struct fault fault;

    (void)state;
    assert_int_equal(
        read_text(
            &script,
            " [ [\"e\", \"0x1000\", \"0x40000\"], [\"e\", \"1C1000\", \"0X40000\"],\n"
            "[\"w\", \"0x10000\", \"wipy.bin\"], [\"w\", \"factory\", \"wipy.bin\"], [\"e\", \"nvs\"]]\n",
            &fault),
        WIPYD_ERROR_NONE);
    assert_string_equal(script.name, "script2");
    assert_int_equal(script.n_ops, 5);
    assert_int_equal(script.ops[0].verb, FIRMWARE_VERB_ERASE);
    assert_int_equal(script.ops[0].offset, 0x1000);
    assert_int_equal(script.ops[0].size, 0x40000);
    assert_string_equal(script.ops[0].area, "");
    assert_int_equal(script.ops[1].offset, 0x1c1000);
    assert_int_equal(script.ops[2].verb, FIRMWARE_VERB_WRITE);
    assert_int_equal(script.ops[2].offset, 0x10000);
    assert_int_equal(script.ops[2].size, 0);
    assert_int_equal(script.ops[2].line, 3);
    assert_string_equal(script.ops[2].member, "wipy.bin");
    assert_int_equal(script.ops[3].offset, 0x10000);
    assert_int_equal(script.ops[3].size, 0x180000);
    assert_string_equal(script.ops[3].area, "factory");
    assert_int_equal(script.ops[4].offset, 0x9000);
    assert_int_equal(script.ops[4].size, 0x7000);
}

static void object_form_updates_the_table(void **state) {
    struct firmware_script script;
    struct fault fault;
    const struct firmware_script_area *area;

    (void)state;
    assert_int_equal(
        read_text(
            &script,
            "{\"version\": \"2.1\", \"note\": [1], \"partitions\": {\"factory\": [\"0x10000\", \"0x1AE000\"],"
            "\"ota\": [\"0x1BE000\", \"0x1000\"], \"extra\": [\"0x370000\", \"0x1000\"]},"
            "\"script\": [[\"w\", \"factory\", \"wipy.bin\"], [\"e\", \"otadata\"], [\"e\", \"extra\"],"
            "[\"w\", \"bootloader\", \"bootloader.bin\"]]}",
            &fault),
        WIPYD_ERROR_NONE);
    assert_int_equal(script.n_ops, 4);
    assert_int_equal(script.ops[0].size, 0x1ae000);
    assert_int_equal(script.ops[1].offset, 0x1be000);
    assert_int_equal(script.ops[2].offset, 0x370000);
    assert_int_equal(script.ops[3].offset, 0x1000);
    assert_int_equal(script.ops[3].size, 0x7000);
    area = firmware_script_area(&script, "otadata");
    assert_non_null(area);
    assert_true(area->stated);
    assert_false(firmware_script_area(&script, "nvs")->stated);
    assert_null(firmware_script_area(&script, "nothing"));
}

static void aliases_mean_their_areas(void **state) {
    struct firmware_script script;
    struct fault fault;

    (void)state;
    assert_int_equal(read_text(&script, "[[\"e\", \"cb\"], [\"e\", \"ota\"]]", &fault), WIPYD_ERROR_NONE);
    assert_string_equal(script.ops[0].area, "config");
    assert_int_equal(script.ops[0].offset, 0x3ff000);
    assert_string_equal(script.ops[1].area, "otadata");
    assert_int_equal(script.ops[1].offset, 0x190000);
}

static void refusals_name_script_and_op(void **state) {
    struct firmware_script script;
    struct fault fault;

    (void)state;
    assert_int_equal(read_text(&script, "[[\"e\", \"nvs\"], [\"o\", \"config\", \"x.bin\"]]", &fault),
                     WIPYD_ERROR_SCRIPT_UNKNOWN_OP);
    assert_string_equal(fault.story, "script2: op 2: \"o\" is not done, only \"e\" and \"w\"");
}

#define OBJECT(partitions, script) "{\"version\":\"2\",\"partitions\":" partitions ",\"script\":" script "}"

static const struct {
    enum wipyd_error error;
    const char *text;
} REFUSED[] = {
    { WIPYD_ERROR_SCRIPT_INVALID, "" },
    { WIPYD_ERROR_SCRIPT_INVALID, "<html>" },
    { WIPYD_ERROR_SCRIPT_INVALID, "null" },
    { WIPYD_ERROR_SCRIPT_INVALID, "\"script\"" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "{}" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"nvs\"]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"nvs\"]] x" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"nvs\"]][]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[{}]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[\"e\",\"nvs\"]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[1,\"nvs\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",4096,4096]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"0x9000\",4096]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"0x9000\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"0x9000\",\"0x0\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"0x9000\",\"0x1000\",\"0x1000\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"nvs\",\"0x1000\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"0x\",\"0x1000\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"-0x9000\",\"0x1000\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\" 0x9000\",\"0x1000\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"0x9_000\",\"0x1000\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"0x100000000\",\"0x1000\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"0x9000\",\"0x100001000\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"e\",\"nowhere\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"w\",\"factory\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"w\",\"factory\",7]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"w\",\"factory\",\"../x\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"w\",\"factory\",\"a\\nb\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "[[\"w\",\"factory\",\"x.bin\",\"y.bin\"]]" },
    { WIPYD_ERROR_SCRIPT_INVALID, "{\"script\":[[\"e\",\"nvs\"]]}" },
    { WIPYD_ERROR_SCRIPT_INVALID, "{\"version\":null,\"script\":[[\"e\",\"nvs\"]]}" },
    { WIPYD_ERROR_SCRIPT_INVALID, "{\"version\":\"2\"}" },
    { WIPYD_ERROR_SCRIPT_INVALID,
      "{\"version\":\"2\",\"script\":[[\"e\",\"nvs\"]],\"script\":[[\"e\",\"ota\"]]}" },
    { WIPYD_ERROR_SCRIPT_INVALID, OBJECT("{}", "{}") },
    { WIPYD_ERROR_SCRIPT_INVALID, OBJECT("{}", "[]") },
    { WIPYD_ERROR_SCRIPT_INVALID, OBJECT("[]", "[[\"e\",\"nvs\"]]") },
    { WIPYD_ERROR_SCRIPT_INVALID, OBJECT("{\"nvs\":\"0x9000\"}", "[[\"e\",\"nvs\"]]") },
    { WIPYD_ERROR_SCRIPT_INVALID, OBJECT("{\"nvs\":[36864,4096]}", "[[\"e\",\"nvs\"]]") },
    { WIPYD_ERROR_SCRIPT_INVALID, OBJECT("{\"nvs\":[\"0x9000\",\"0\"]}", "[[\"e\",\"nvs\"]]") },
    { WIPYD_ERROR_SCRIPT_INVALID, OBJECT("{\"nvs\":[\"0x9000\"]}", "[[\"e\",\"nvs\"]]") },
    { WIPYD_ERROR_SCRIPT_INVALID, OBJECT("{\"all\":[\"0x9000\",\"0x1000\"]}", "[[\"e\",\"nvs\"]]") },
    { WIPYD_ERROR_SCRIPT_INVALID,
      OBJECT("{\"ota\":[\"0x190000\",\"0x1000\"],\"otadata\":[\"0x190000\",\"0x1000\"]}",
             "[[\"e\",\"nvs\"]]") },
    { WIPYD_ERROR_SCRIPT_INVALID,
      OBJECT("{\"a name that is longer than any area has\":[\"0x190000\",\"0x1000\"]}",
             "[[\"e\",\"nvs\"]]") },
    { WIPYD_ERROR_SCRIPT_UNKNOWN_OP, "[[\"o\",\"config\",\"x.bin\"]]" },
    { WIPYD_ERROR_SCRIPT_UNKNOWN_OP, "[[\"c\"]]" },
    { WIPYD_ERROR_SCRIPT_UNKNOWN_OP, "[[\"E\",\"nvs\"]]" },
    { WIPYD_ERROR_SCRIPT_UNKNOWN_OP, "[[\"e\",\"all\"]]" },
    { WIPYD_ERROR_SCRIPT_UNKNOWN_OP, "[[\"w\",\"all\",\"x.bin\"]]" },
};

static void every_other_shape_is_refused(void **state) {
    struct firmware_script script;
    struct fault fault;

    (void)state;
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        enum wipyd_error error = read_text(&script, REFUSED[i].text, &fault);

        if (error != REFUSED[i].error)
            fail_msg("%s gave %s (%s)", REFUSED[i].text, wipyd_error_bus_name(error), fault.story);
        assert_memory_equal(fault.story, "script2: ", 9);
        assert_null(strchr(fault.story, '\n'));
    }
}

static void hidden_end_is_refused(void **state) {
    static const char TEXT[] = "[[\"e\",\"nvs\"]]\0[[\"o\",\"config\"]]";
    struct firmware_script script;
    struct fault fault;

    (void)state;
    assert_int_equal(read_bytes(&script, TEXT, sizeof TEXT - 1, &fault), WIPYD_ERROR_SCRIPT_INVALID);
}

/* Deep enough to end a thread's stack in a parser that recurses, with and without quotes that hide it. */
static void depth_and_size_are_bounded(void **state) {
    static const char OP[] = "[\"e\",\"nvs\"],";
    static char text[FIRMWARE_SCRIPT_BYTES_MAX + 16];
    struct firmware_script script;
    struct fault fault;
    size_t used;

    (void)state;
    memset(text, '[', FIRMWARE_SCRIPT_BYTES_MAX - 8);
    assert_int_equal(read_text(&script, text, &fault), WIPYD_ERROR_SCRIPT_INVALID);
    memcpy(text, "/*\"*/", 5);
    assert_int_equal(read_text(&script, text, &fault), WIPYD_ERROR_SCRIPT_INVALID);
    for (size_t i = 0; i + 5 < FIRMWARE_SCRIPT_BYTES_MAX; i += 5)
        memcpy(text + i, "{\"\":[", 5);
    assert_int_equal(read_text(&script, text, &fault), WIPYD_ERROR_SCRIPT_INVALID);

    for (unsigned n = FIRMWARE_SCRIPT_OPS_MAX; n <= FIRMWARE_SCRIPT_OPS_MAX + 1; n++) {
        used = 0;
        text[used++] = '[';
        for (unsigned i = 0; i < n; i++, used += sizeof OP - 1)
            memcpy(text + used, OP, sizeof OP);
        text[used - 1] = ']';
        assert_int_equal(read_text(&script, text, &fault),
                         n > FIRMWARE_SCRIPT_OPS_MAX ? WIPYD_ERROR_SCRIPT_INVALID : WIPYD_ERROR_NONE);
    }

    for (int over = 0; over < 2; over++) {
        memset(text, ' ', sizeof text);
        memcpy(text, "[[\"e\",\"nvs\"]]", 13);
        assert_int_equal(read_bytes(&script, text, FIRMWARE_SCRIPT_BYTES_MAX + (size_t)over, &fault),
                         over ? WIPYD_ERROR_SCRIPT_INVALID : WIPYD_ERROR_NONE);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_form_is_read),
        cmocka_unit_test(object_form_updates_the_table),
        cmocka_unit_test(aliases_mean_their_areas),
        cmocka_unit_test(refusals_name_script_and_op),
        cmocka_unit_test(every_other_shape_is_refused),
        cmocka_unit_test(hidden_end_is_refused),
        cmocka_unit_test(depth_and_size_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
