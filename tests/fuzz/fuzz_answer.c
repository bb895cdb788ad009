/* What servers say: findupgrade's JSON, a mirror's HTML, URLs, and the names of releases. */

#include <ctype.h>

#include "daemon/firmware/answer.h"
#include "daemon/firmware/archive.h"
#include "daemon/firmware/source_listing.h"
#include "daemon/firmware/version.h"
#include "tests/fuzz/fuzz.h"

static void check_url(const char *url) {
    must(strlen(url) < FIRMWARE_URL_MAX && is_printable_ascii(url));
    must(!strncasecmp(url, "http://", 7) || !strncasecmp(url, "https://", 8));
}

static void check_offer(const struct firmware_offer *offer) {
    check_url(offer->url);
    must(firmware_name_is_plain(offer->name));
    must(memchr(offer->version, 0, sizeof offer->version) && is_printable_ascii(offer->version));
    must(!*offer->sha1 || strspn(offer->sha1, "0123456789abcdef") == 40);
}

static void check_answer(const struct input *body, const char *content_type) {
    static struct firmware_answer answer;
    char why[200] = "";

    if (firmware_answer_read(&answer, body->bytes, body->size, content_type,
                             "https://software.example/find?x=1", why, sizeof why)) {
        must(answer.n >= 1 && answer.n <= FIRMWARE_OFFERS_MAX);
        for (unsigned i = 0; i < answer.n; i++)
            check_offer(&answer.offers[i]);
    } else {
        must_be_story(why, sizeof why);
    }
}

static void check_listing(const struct input *body) {
    static struct firmware_offer offer;
    char why[200] = "";

    if (firmware_listing_read(&offer, body->bytes, body->size, "https://mirror.example/wipy/", why,
                              sizeof why)) {
        check_offer(&offer);
        must(*offer.version && !strncasecmp(offer.name, "WiPy-", 5));
    } else {
        must_be_story(why, sizeof why);
    }
}

static void check_urls(struct input input) {
    char base[300], url[300], whole[FIRMWARE_URL_MAX], name[64], shown[FIRMWARE_URL_MAX];

    take_text(&input, base, sizeof base);
    take_text(&input, url, sizeof url);
    if (firmware_url_resolve(base, url, whole, sizeof whole)) {
        check_url(whole);
        firmware_url_name(whole, name, sizeof name);
        must(firmware_name_is_plain(name));
        firmware_url_show(whole, shown, sizeof shown);
        must(strlen(shown) <= strlen(whole) && !strncasecmp(shown, "http", 4));
        /* Nobody's password: of the part that names the host nothing is left but the host. */
        must(!memchr(strstr(shown, "://") + 3, '@', strcspn(strstr(shown, "://") + 3, "/?#")));
    }
}

static void check_release(struct input input) {
    char text[FIRMWARE_RELEASE_MAX], one_more[FIRMWARE_RELEASE_MAX + 1];
    uint32_t order, again;

    take_text(&input, text, sizeof text);
    if (!firmware_release_parse(text, &order))
        return;
    must(strlen(text) < 24 && strspn(text, "0123456789.abcr") == strlen(text));
    must(firmware_release_parse(text, &again) && again == order);
    snprintf(one_more, sizeof one_more, "%sx", text);
    must(!firmware_release_parse(one_more, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct input input = { bytes, size };

    switch (take_byte(&input)) {
    case 'j':
        check_answer(&input, "application/json");
        break;
    case 'n':
        check_answer(&input, NULL);
        break;
    case 'h':
        check_listing(&input);
        break;
    case 'u':
        check_urls(input);
        break;
    case 'r':
        check_release(input);
        break;
    default:
        check_answer(&input, "text/html; charset=utf-8");
        break;
    }
    return 0;
}
