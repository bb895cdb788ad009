/* The stub's file: which are accepted, and what is said of the others. The real one is where make stub put
 * it, or where WIPYD_STUB_NEW says; nothing of it is in here. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/firmware/stub_file.h"

#define GOOD                                                                                                 \
    "{\"entry\": 1074434092, \"text\": \"AAAA\", \"text_start\": 1074429952, \"data\": \"AAA=\", "           \
    "\"data_start\": 1073605996, \"bss_start\": 1073528832}"

static char folder[] = "/tmp/wipyd-stub-XXXXXX", path[64];

static void put(const char *text, size_t size) {
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    fclose(file);
}

static void assert_refused(const char *text, const char *why) {
    struct firmware_stub stub;
    char said[160] = "";

    put(text, strlen(text));
    assert_false(firmware_stub_read(&stub, path, said, sizeof said));
    if (!strstr(said, why))
        fail_msg("\"%s\" says nothing of \"%s\"", said, why);
    firmware_stub_deinit(&stub);
}

static void only_a_stub_is_taken(void **state) {
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "", "is not the JSON" },
        { "[]", "is not the JSON" },
        { "{", "is not the JSON" },
        { "{}", "has no number \"entry\"" },
        { "{\"entry\": -1}", "has no number \"entry\"" },
        { "{\"entry\": \"1\"}", "has no number \"entry\"" },
        { "{\"entry\": 4294967296}", "has no number \"entry\"" },
        { "{\"entry\": 1, \"bss_start\": 1.5}", "has no number \"bss_start\"" },
        { "{\"entry\": 1, \"bss_start\": 1}", "has no \"text\" in base64" },
        { "{\"entry\": 1, \"bss_start\": 1, \"text\": \"AAA\"}", "has no \"text\" in base64" },
        { "{\"entry\": 1, \"bss_start\": 1, \"text\": \"A*AA\"}", "has no \"text\" in base64" },
        { "{\"entry\": 1, \"bss_start\": 1, \"text\": \"A===\"}", "has no \"text\" in base64" },
        { "{\"entry\": 1, \"bss_start\": 1, \"text\": \"AAAA\"}", "has no number \"text_start\"" },
        { GOOD, "holds a stub that is not known to be good: only stub v1.2.2 and legacy stub v1.11.1 are" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_refused(rows[i].text, rows[i].why);
}

static void too_big_or_no_file(void **state) {
    struct firmware_stub stub;
    char *big = malloc(FIRMWARE_STUB_FILE_MAX + 1), said[160];

    (void)state;
    memset(big, ' ', FIRMWARE_STUB_FILE_MAX + 1);
    put(big, FIRMWARE_STUB_FILE_MAX + 1);
    assert_false(firmware_stub_read(&stub, path, said, sizeof said));
    assert_string_equal(said, "is no file of at most 65536 bytes");
    memset(big, '[', FIRMWARE_STUB_FILE_MAX); /* no stack is deep enough to free that */
    put(big, FIRMWARE_STUB_FILE_MAX);
    assert_false(firmware_stub_read(&stub, path, said, sizeof said));
    assert_string_equal(said, "is not the JSON of a stub");
    free(big);
    assert_false(firmware_stub_read(&stub, folder, said, sizeof said));
    assert_string_equal(said, "is no file of at most 65536 bytes");
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes: must not wait */
    assert_false(firmware_stub_read(&stub, path, said, sizeof said));
    assert_string_equal(said, "is no file of at most 65536 bytes");
    unlink(path);
    assert_false(firmware_stub_read(&stub, path, said, sizeof said));
    assert_string_equal(said, "can't be read: No such file or directory");
}

static void assert_news(struct firmware_stubs *stubs, const char *wanted, bool is_grave) {
    char said[512] = "";
    bool grave;

    if (!wanted) {
        assert_false(firmware_stubs_news(stubs, said, sizeof said, &grave));
        return;
    }
    assert_true(firmware_stubs_news(stubs, said, sizeof said, &grave));
    if (!strstr(said, wanted))
        fail_msg("\"%s\" says nothing of \"%s\"", said, wanted);
    assert_int_equal(grave, is_grave);
}

static void each_outcome_is_told_once(void **state) {
    char pattern[80];
    const char *places[] = { "/nonexistent/*/esp32.json", pattern, NULL };
    struct firmware_stubs *stubs;

    (void)state;
    snprintf(pattern, sizeof pattern, "%s/*.json", folder);
    unlink(path);
    assert_int_equal(firmware_stubs_new(&stubs, "auto", places), 0);
    assert_news(stubs, NULL, false);
    for (int i = 0; i < 3; i++) {
        assert_null(firmware_stubs_find(stubs));
        assert_news(stubs, i ? NULL : "no flasher stub is installed", false);
    }
    put(GOOD, strlen(GOOD));
    for (int i = 0; i < 3; i++) {
        assert_null(firmware_stubs_find(stubs));
        assert_news(stubs, i ? NULL : path, true);
    }
    firmware_stubs_free(stubs);

    assert_int_equal(firmware_stubs_new(&stubs, "off", places), 0);
    assert_null(firmware_stubs_find(stubs));
    assert_news(stubs, NULL, false);
    firmware_stubs_free(stubs);
    assert_null(firmware_stubs_find(NULL));
    assert_news(NULL, NULL, false);
}

/* The text of the file that there is, or NULL. */
static char *real_text(void) {
    const char *build = getenv("WIPYD_BUILD"), *named = getenv("WIPYD_STUB_NEW");
    char name[4096], *text;
    FILE *file;
    size_t n;

    snprintf(name, sizeof name, "%s/stub/esp32.json", build ? build : "build");
    file = fopen(named ? named : name, "r");
    if (!file) {
        print_message("SKIP: no %s; make stub gets it\n", named ? named : name);
        return NULL;
    }
    text = calloc(1, FIRMWARE_STUB_FILE_MAX + 1);
    n = fread(text, 1, FIRMWARE_STUB_FILE_MAX, file);
    fclose(file);
    assert_true(n > 0);
    return text;
}

static void the_real_one_and_no_other_byte(void **state) {
    char *text = real_text(), pattern[80], *byte;
    const char *places[] = { pattern, NULL };
    const struct firmware_stub *stub;
    struct firmware_stubs *stubs;

    (void)state;
    if (!text)
        skip();
    snprintf(pattern, sizeof pattern, "%s/esp32.json", folder);
    put(text, strlen(text));
    assert_int_equal(firmware_stubs_new(&stubs, "auto", places), 0);
    stub = firmware_stubs_find(stubs);
    assert_non_null(stub);
    assert_ptr_equal(stub->kind->loader, &esp_loader_stub);
    assert_news(stubs, "stub v1.2.2", false);
    unlink(path);
    assert_ptr_equal(firmware_stubs_find(stubs), stub); /* read once */
    assert_news(stubs, NULL, false);
    firmware_stubs_free(stubs);

    /* One letter of the program, one digit of an address. */
    byte = strstr(text, "\"text\"") + 40;
    *byte = *byte == 'A' ? 'B' : 'A';
    assert_refused(text, "not known to be good");
    free(text);
    text = real_text();
    byte = strstr(text, "\"entry\"");
    byte += strcspn(byte, "0123456789") + 9;
    *byte = *byte == '0' ? '1' : '0';
    assert_refused(text, "not known to be good");
    free(text);
}

static int make_folder(void **state) {
    (void)state;
    snprintf(path, sizeof path, "%s/esp32.json", mkdtemp(folder));
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_a_stub_is_taken),
        cmocka_unit_test(too_big_or_no_file),
        cmocka_unit_test(each_outcome_is_told_once),
        cmocka_unit_test(the_real_one_and_no_other_byte),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
