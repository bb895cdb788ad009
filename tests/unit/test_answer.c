/* What findupgrade and mirrors answer, well-formed and in every malformed shape; when to poll again. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/firmware/answer.h"
#include "daemon/firmware/poll_schedule.h"
#include "daemon/firmware/source_listing.h"

#define URL "https://software.pycom.io/findupgrade?key=wipy.wipy%20with%20esp32&redirect=false&type=all"

/* Exact copies on the heap, so that a sanitizer sees a read past the end. */
static bool read_bytes(struct firmware_answer *answer, const char *text, size_t size, const char *type,
                       char why[static 200]) {
    uint8_t *bytes = malloc(size ? size : 1);
    bool ok;

    assert_non_null(bytes);
    memcpy(bytes, text, size);
    strcpy(why, "");
    ok = firmware_answer_read(answer, bytes, size, type, URL, why, 200);
    free(bytes);
    return ok;
}

static void assert_refused(const char *text, const char *wanted) {
    struct firmware_answer answer;
    char why[200];

    if (read_bytes(&answer, text, strlen(text), "application/json", why))
        fail_msg("taken: %s", text);
    assert_string_equal(why, wanted);
}

/* ---- findupgrade ----------------------------------------------------------------------------- */

#define REAL                                                                                                 \
    "{\"key\":\"wipy.wipy with esp32\","                                                                     \
    "\"file\":\"https://software.pycom.io/downloads/WiPy-1.7.10.b1.tar.gz\","                                \
    "\"version\":\"1.8.0.b1\",\"intVersion\":71303297,"                                                      \
    "\"hash\":\"f6c30bf8b08c50d188f727822be320061ed7847b\"}"

/* The answer of 2017, where version and file name disagree. */
static void real_answer(void **state) {
    struct firmware_answer answer;
    char why[200];

    (void)state;
    assert_true(read_bytes(&answer, REAL, strlen(REAL), "application/json; charset=utf-8", why));
    assert_int_equal(answer.n, 1);
    assert_string_equal(answer.offers[0].url, "https://software.pycom.io/downloads/WiPy-1.7.10.b1.tar.gz");
    assert_string_equal(answer.offers[0].name, "WiPy-1.7.10.b1.tar.gz");
    assert_string_equal(answer.offers[0].version, "1.8.0.b1");
    assert_int_equal(answer.offers[0].int_version, 71303297);
    assert_string_equal(answer.offers[0].sha1, "f6c30bf8b08c50d188f727822be320061ed7847b");
    /* JSON counts, not what it is called. */
    assert_true(read_bytes(&answer, REAL, strlen(REAL), "text/html", why));
    assert_true(read_bytes(&answer, REAL, strlen(REAL), NULL, why));
}

static void array_of_boards(void **state) {
    static const char text[] = "[{\"key\":\"lopy.lopy with esp32.868\",\"file\":7},"
                               "{\"key\":\"wipy.wipy with esp32\",\"file\":\"/downloads/a%20b.tar.gz\","
                               "\"version\":\"1.20.2.r4\",\"intVersion\":77596036,"
                               "\"hash\":\"F6C30BF8B08C50D188F727822BE320061ED7847B\",\"type\":\"pybytes\"},"
                               "{\"key\":\"wipy.wipy with esp32\",\"file\":\"b.tar.gz\","
                               "\"version\":\"1.18.2.r7\",\"intVersion\":0}]";
    struct firmware_answer answer;
    char why[200];

    (void)state;
    assert_true(read_bytes(&answer, text, strlen(text), NULL, why));
    assert_int_equal(answer.n, 2);
    assert_string_equal(answer.offers[0].url, "https://software.pycom.io/downloads/a%20b.tar.gz");
    assert_string_equal(answer.offers[0].name, "a b.tar.gz");
    assert_string_equal(answer.offers[0].sha1, "f6c30bf8b08c50d188f727822be320061ed7847b");
    assert_string_equal(answer.offers[1].url, "https://software.pycom.io/b.tar.gz");
    assert_string_equal(answer.offers[1].sha1, "");
    assert_int_equal(answer.offers[1].int_version, 0);
}

static void malformed_as_a_whole(void **state) {
    (void)state;
    assert_refused("", "the answer is empty");
    assert_refused("[]", "no firmware is offered: the answer is an empty list");
    assert_refused("{", "the answer is not JSON");
    assert_refused("{}x", "the answer is not JSON");
    assert_refused(REAL REAL, "the answer is not JSON");
    assert_refused("[1,", "the answer is not JSON");
    assert_refused("hello", "the answer is not JSON");
    assert_refused("\"\xff\"", "the answer is not JSON");
    assert_refused("\"hello\"", "the answer is a string, neither an object nor a list");
    assert_refused("null", "the answer is null, neither an object nor a list");
    assert_refused("[1]", "the answer's entry 1 is a number, not an object");
    assert_refused("[null]", "the answer's entry 1 is null, not an object");
    assert_refused("[[]]", "the answer's entry 1 is a list, not an object");
    assert_refused("<!DOCTYPE html><html>", "answered with HTML, not with JSON");
    assert_refused("\r\n <p>sorry", "answered with HTML, not with JSON");
    assert_refused("{}", "the answer has no field \"key\"");
}

static void pages_for_people(void **state) {
    struct firmware_answer answer;
    char why[200];

    (void)state;
    assert_false(read_bytes(&answer, "Sorry", 5, "Text/HTML; charset=utf-8", why));
    assert_string_equal(why, "answered with HTML, not with JSON");
}

static void version_lists(void **state) {
    (void)state;
    assert_refused("[{\"version\":\"1.18.2.r7\",\"type\":\"stable\"},{\"version\":\"1.20.2.r4\"}]",
                   "the answer lists 2 versions, it names no file");
    assert_refused("[{\"key\":\"wipy.wipy\",\"version\":\"1.18.2.r7\",\"type\":\"stable\"}]",
                   "the answer lists 1 versions, it names no file");
}

/* Each field of the good answer in turn is dropped, doubled, or of another kind. */
static void malformed_fields(void **state) {
    static const struct {
        const char *fields, *why;
    } cases[] = {
        { "\"file\":\"http://a/b\",\"version\":\"1\",\"intVersion\":1", "the answer has no field \"key\"" },
        { "\"key\":1", "the answer's field \"key\" is a number, not a string" },
        { "\"key\":null", "the answer's field \"key\" is null, not a string" },
        { "\"key\":\"lopy.lopy\"", "the firmware offered is not for a WiPy" },
        { "\"key\":\"\"", "the firmware offered is not for a WiPy" },
        { "\"key\":\"wipy.wipy\",\"key\":\"wipy.wipy\"", "the answer's field \"key\" is there twice" },
        { "\"key\":\"wipy.wipy\"", "the answer has no field \"file\"" },
        { "\"key\":\"wipy.wipy\",\"file\":[]", "the answer's field \"file\" is a list, not a string" },
        { "\"key\":\"wipy.wipy\",\"file\":\"\"", "the answer's field \"file\" is no http or https URL" },
        { "\"key\":\"wipy.wipy\",\"file\":\"file:///etc/passwd\"",
          "the answer's field \"file\" is no http or https URL" },
        { "\"key\":\"wipy.wipy\",\"file\":\"ftp://a/b\"",
          "the answer's field \"file\" is no http or https URL" },
        { "\"key\":\"wipy.wipy\",\"file\":\"javascript:alert(1)\"",
          "the answer's field \"file\" is no http or https URL" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\\nc\"",
          "the answer's field \"file\" is no http or https URL" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://\"",
          "the answer's field \"file\" is no http or https URL" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\"", "the answer has no field \"version\"" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":1.8",
          "the answer's field \"version\" is a number, not a string" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"\"",
          "the answer's field \"version\" is no version" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\\n2\"",
          "the answer's field \"version\" is no version" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\"",
          "the answer has no field \"intVersion\"" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\",\"intVersion\":\"1\"",
          "the answer's field \"intVersion\" is a string, not a number" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\",\"intVersion\":true",
          "the answer's field \"intVersion\" is true or false, not a number" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\",\"intVersion\":-1",
          "the answer's field \"intVersion\" is out of range" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\",\"intVersion\":1.5",
          "the answer's field \"intVersion\" is out of range" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\",\"intVersion\":2147483649",
          "the answer's field \"intVersion\" is out of range" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\",\"intVersion\":1e400",
          "the answer's field \"intVersion\" is out of range" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\",\"intVersion\":"
          "99999999999999999999999",
          "the answer's field \"intVersion\" is out of range" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\",\"intVersion\":1,\"hash\":null",
          "the answer's field \"hash\" is null, not a string" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\",\"intVersion\":1,\"hash\":{}",
          "the answer's field \"hash\" is an object, not a string" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\",\"intVersion\":1,\"hash\":\"\"",
          "the answer's field \"hash\" is not 40 hex digits" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\",\"intVersion\":1,"
          "\"hash\":\"g6c30bf8b08c50d188f727822be320061ed7847b\"",
          "the answer's field \"hash\" is not 40 hex digits" },
        { "\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"version\":\"1\",\"intVersion\":1,"
          "\"hash\":\"f6c30bf8b08c50d188f727822be320061ed7847b0\"",
          "the answer's field \"hash\" is not 40 hex digits" },
    };
    char text[512];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "{%s}", cases[i].fields);
        assert_refused(text, cases[i].why);
        /* The same among other boards. */
        if (!strcmp(cases[i].why, "the firmware offered is not for a WiPy"))
            continue;
        snprintf(text, sizeof text, "[{\"key\":\"gpy.gpy\",\"file\":\"x\"},{%s}]", cases[i].fields);
        assert_refused(text, cases[i].why);
    }
    assert_refused("[{\"key\":\"gpy.gpy\",\"file\":\"x\"},{\"key\":\"sipy.sipy\",\"file\":\"x\"}]",
                   "none of the answer's 2 entries is for a WiPy");
}

static void values_too_long(void **state) {
    char *text = malloc(4096);
    struct firmware_answer answer;
    char why[200];
    int n;

    (void)state;
    assert_non_null(text);
    n = sprintf(text, "{\"key\":\"wipy.wipy\",\"version\":\"1\",\"intVersion\":1,\"file\":\"https://a/");
    memset(text + n, 'x', 1100);
    strcpy(text + n + 1100, "\"}");
    assert_refused(text, "the answer's field \"file\" is no http or https URL");
    n = sprintf(text, "{\"key\":\"wipy.wipy\",\"file\":\"https://a/b\",\"intVersion\":1,\"version\":\"");
    memset(text + n, '1', 64);
    strcpy(text + n + 64, "\"}");
    assert_refused(text, "the answer's field \"version\" is no version");
    /* A name that is no plain one is replaced. */
    n = sprintf(text, "{\"key\":\"wipy.wipy\",\"version\":\"1\",\"intVersion\":1,\"file\":\"https://a/");
    memset(text + n, 'x', 100);
    strcpy(text + n + 100, "\"}");
    assert_true(read_bytes(&answer, text, strlen(text), NULL, why));
    assert_string_equal(answer.offers[0].name, "package.tar.gz");
    free(text);
}

static void bounded(void **state) {
    size_t size = FIRMWARE_ANSWER_BYTES_MAX;
    char *text = malloc(size + 1);
    struct firmware_answer answer;
    char why[200];

    (void)state;
    assert_non_null(text);
    memset(text, ' ', size + 1);
    memcpy(text, REAL, strlen(REAL));
    assert_true(read_bytes(&answer, text, size, NULL, why));
    assert_false(read_bytes(&answer, text, size + 1, NULL, why));
    assert_string_equal(why, "the answer is larger than 65536 bytes");
    /* A deep one would cost the stack. */
    memset(text, '[', size);
    assert_false(read_bytes(&answer, text, size, NULL, why));
    assert_string_equal(why, "the answer is not JSON");
    /* A NUL byte. */
    memset(text, ' ', size);
    memcpy(text, REAL, strlen(REAL));
    text[strlen(REAL) + 3] = 0;
    assert_false(read_bytes(&answer, text, size, NULL, why));
    assert_string_equal(why, "the answer is not JSON");
    free(text);
}

static void too_many_offers(void **state) {
    char text[4096] = "[";

    (void)state;
    for (unsigned i = 0; i <= FIRMWARE_OFFERS_MAX; i++)
        sprintf(text + strlen(text), "%s" REAL, i ? "," : "");
    strcat(text, "]");
    assert_refused(text, "the answer offers more than 8 packages");
}

/* Every cut of a good answer is refused, and every changed byte leaves it whole or refused. */
static void cut_and_flipped(void **state) {
    struct firmware_answer answer;
    char text[] = REAL, why[200];
    size_t size = strlen(text);

    (void)state;
    for (size_t i = 0; i < size; i++)
        assert_false(read_bytes(&answer, text, i, NULL, why));
    for (size_t i = 0; i < size; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            text[i] = (char)((unsigned char)text[i] ^ 1u << bit);
            if (read_bytes(&answer, text, size, NULL, why))
                assert_int_equal(answer.n, 1);
            else
                assert_true(strlen(why) > 0);
            text[i] = (char)((unsigned char)text[i] ^ 1u << bit);
        }
}

static void urls(void **state) {
    char url[64], name[64];

    (void)state;
    assert_true(firmware_url_resolve("https://a.example/x/y?z", "../w/v.tar.gz", url, sizeof url));
    assert_string_equal(url, "https://a.example/w/v.tar.gz");
    assert_true(firmware_url_resolve("https://a.example/x", "//b.example/v", url, sizeof url));
    assert_string_equal(url, "https://b.example/v");
    assert_false(firmware_url_resolve("https://a.example/x", "file:///v", url, sizeof url));
    assert_false(firmware_url_resolve("", "v", url, sizeof url));
    assert_false(firmware_url_resolve("https://a.example/0123456789012345678901234567890123456789",
                                      "0123456789"
                                      "0123456789"
                                      "0123456789"
                                      "0123456789"
                                      "0123456789",
                                      url, sizeof url));
    firmware_url_name("https://a.example/x/..%2f..%2fetc", name, sizeof name);
    assert_string_equal(name, "etc");
    firmware_url_name("https://a.example/x/", name, sizeof name);
    assert_string_equal(name, "package.tar.gz");
    firmware_url_name("https://a.example/a%00b", name, sizeof name);
    assert_string_equal(name, "package.tar.gz");
    firmware_url_name("https://a.example/%e4", name, sizeof name);
    assert_string_equal(name, "package.tar.gz");
    firmware_url_show("https://user:secret@a.example/b@c?d", url, sizeof url);
    assert_string_equal(url, "https://a.example/b@c?d");
    firmware_url_show("https://a.example/b@c", url, sizeof url);
    assert_string_equal(url, "https://a.example/b@c");
    firmware_url_show("/srv/a@b", url, sizeof url);
    assert_string_equal(url, "/srv/a@b");
}

/* ---- a mirror's listing ---------------------------------------------------------------------- */

static bool read_listing(struct firmware_offer *offer, const char *text, char why[static 200]) {
    size_t size = strlen(text);
    uint8_t *bytes = malloc(size ? size : 1);
    bool ok;

    assert_non_null(bytes);
    memcpy(bytes, text, size);
    strcpy(why, "");
    *offer = (struct firmware_offer) { 0 };
    ok = firmware_listing_read(offer, bytes, size, "https://m.example/wipy/?C=N", why, 200);
    free(bytes);
    return ok;
}

static void listing_newest_by_release(void **state) {
    struct firmware_offer offer;
    char why[200];

    (void)state;
    assert_true(read_listing(&offer,
                             "<a href=\"?C=N;O=D\">Name</a><a href=\"../\">..</a>"
                             "<A HREF='WiPy-1.18.2.r7.tar.gz'>x</A>"
                             "<a href=WiPy-1.20.2.r4.tar.gz>x</a><a href=\"WiPy-1.20.2.r4.tar.gz\">x</a>"
                             "<a href = \"WiPy-1.9.0.b2.tar.gz\">x</a>"
                             "<a href=\"WiPy-1.99.0-custom.tar.gz\">x</a>"
                             "<a href=\"LoPy4-1.99.0.r1.tar.gz\">x</a><a href=\"WiPy-1.99.0.r1.zip\">x</a>",
                             why));
    assert_string_equal(offer.url, "https://m.example/wipy/WiPy-1.20.2.r4.tar.gz");
    assert_string_equal(offer.name, "WiPy-1.20.2.r4.tar.gz");
    assert_string_equal(offer.version, "1.20.2.r4");
    assert_int_equal(offer.int_version, 0);
    assert_string_equal(offer.sha1, "");
    /* Absolute ones, and an entity. */
    assert_false(read_listing(&offer, "<a href=\"https://n.example/d?a/WiPy-1.20.2.r4.tar.gz\">", why));
    assert_true(
        read_listing(&offer, "<a href=\"https://n.example/WiPy-1.20.2.r4.tar.gz?a=1&amp;b=2\">", why));
    assert_string_equal(offer.url, "https://n.example/WiPy-1.20.2.r4.tar.gz?a=1&b=2");
    assert_string_equal(offer.name, "WiPy-1.20.2.r4.tar.gz");
}

static void listing_without_order(void **state) {
    struct firmware_offer offer;
    char why[200];

    (void)state;
    assert_true(read_listing(&offer, "<a href=WiPy-mine.tar.gz><a href=WiPy-mine.tar.gz>", why));
    assert_string_equal(offer.name, "WiPy-mine.tar.gz");
    assert_false(read_listing(&offer, "<a href=WiPy-mine.tar.gz><a href=WiPy-yours.tar.gz>", why));
    assert_string_equal(why, "none of the 2 packages listed has a release that can be ordered");
}

static void listing_malformed(void **state) {
    static const char *const empty[] = {
        "",
        "href",
        "href=",
        "href=\"",
        "href='WiPy-1.20.2.r4.tar.gz.asc'",
        "<a href=\"file:///WiPy-1.20.2.r4.tar.gz\">",
        "<a href=\"WiPy-.tar.gz\">",
        "<a href=\"LoPy-1.20.2.r4.tar.gz\">",
        "WiPy-1.20.2.r4.tar.gz",
    };
    struct firmware_offer offer;
    char why[200], *text = malloc(8192);

    (void)state;
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        assert_false(read_listing(&offer, empty[i], why));
        assert_string_equal(why, "the listing has no link to a WiPy package");
    }
    /* A link that is too long is passed over. */
    assert_non_null(text);
    strcpy(text, "<a href=\"");
    memset(text + 9, 'x', 5000);
    strcpy(text + 5009, "\"><a href=\"WiPy-1.20.2.r4.tar.gz\">");
    assert_true(read_listing(&offer, text, why));
    assert_string_equal(offer.name, "WiPy-1.20.2.r4.tar.gz");
    free(text);
}

/* ---- when to poll again ---------------------------------------------------------------------- */

#define S 1000000ull

static void interval_is_jittered(void **state) {
    uint64_t least = UINT64_MAX, most = 0;

    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        uint64_t delay = poll_schedule_delay_us(86400 * S, 0, 0, i * 4294967u);

        least = delay < least ? delay : least;
        most = delay > most ? delay : most;
    }
    assert_true(least >= 77760 * S && least < 77860 * S);
    assert_true(most <= 95040 * S && most > 94940 * S);
    assert_true(poll_schedule_delay_us(2592000 * S, 0, 0, UINT32_MAX) <= 2851200 * S);
    assert_true(poll_schedule_delay_us(1 * S, 0, 0, 0) == 9 * S / 10);
}

static void failures_back_off(void **state) {
    (void)state;
    for (unsigned failures = 1; failures < 100; failures++) {
        uint64_t wanted = failures <= 7 ? (900 * S) << (failures - 1) : 86400 * S;
        uint64_t delay = poll_schedule_delay_us(86400 * S, failures, 0, 0x80000000u);

        if (wanted > 86400 * S)
            wanted = 86400 * S;
        assert_true(delay >= wanted - S && delay <= wanted + S);
    }
    /* Never rarer than without failures. */
    assert_true(poll_schedule_delay_us(60 * S, 3, 0, UINT32_MAX) <= 66 * S);
}

static void retry_after_is_obeyed_within_a_day(void **state) {
    (void)state;
    assert_int_equal(poll_schedule_delay_us(60 * S, 1, 3600, 0), 3600 * S);
    assert_int_equal(poll_schedule_delay_us(60 * S, 1, UINT64_MAX, 0), 86400 * S);
    assert_true(poll_schedule_delay_us(86400 * S, 1, 5, 0) > 800 * S);
}

static void clock_set_back(void **state) {
    (void)state;
    assert_int_equal(poll_schedule_next_us(1000 * S, 1500 * S, 600 * S), 1500 * S);
    assert_int_equal(poll_schedule_next_us(1000 * S, 900 * S, 600 * S), 900 * S);
    assert_int_equal(poll_schedule_next_us(1000 * S, 90000 * S, 600 * S), 1600 * S);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_answer),
        cmocka_unit_test(array_of_boards),
        cmocka_unit_test(malformed_as_a_whole),
        cmocka_unit_test(pages_for_people),
        cmocka_unit_test(version_lists),
        cmocka_unit_test(malformed_fields),
        cmocka_unit_test(values_too_long),
        cmocka_unit_test(bounded),
        cmocka_unit_test(too_many_offers),
        cmocka_unit_test(cut_and_flipped),
        cmocka_unit_test(urls),
        cmocka_unit_test(listing_newest_by_release),
        cmocka_unit_test(listing_without_order),
        cmocka_unit_test(listing_malformed),
        cmocka_unit_test(interval_is_jittered),
        cmocka_unit_test(failures_back_off),
        cmocka_unit_test(retry_after_is_obeyed_within_a_day),
        cmocka_unit_test(clock_set_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
