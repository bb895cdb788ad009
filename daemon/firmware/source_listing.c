#include "daemon/firmware/source_listing.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/firmware/version.h"

#define BOARD_PREFIX   "WiPy-"
#define PACKAGE_SUFFIX ".tar.gz"

/* Copies an attribute's value; "&amp;" is the one entity that belongs into an URL. False: too long. */
static bool copy_value(char *ret, size_t size, const char *value, size_t length) {
    size_t n = 0;

    for (size_t i = 0; i < length; i++) {
        if (n + 1 >= size)
            return false;
        ret[n++] = value[i];
        if (length - i >= 5 && !strncasecmp(value + i, "&amp;", 5))
            i += 4;
    }
    ret[n] = 0;
    return true;
}

/* The next link at or after *cursor, which goes behind it. False: there is none. */
static bool next_link(const char **cursor, char *ret, size_t size) {
    const char *at;

    while ((at = strcasestr(*cursor, "href"))) {
        size_t length;

        at += strlen("href");
        at += strspn(at, " \t\r\n");
        *cursor = at;
        if (*at != '=')
            continue;
        at++;
        at += strspn(at, " \t\r\n");
        if (*at == '"')
            length = strcspn(++at, "\"");
        else if (*at == '\'')
            length = strcspn(++at, "'");
        else
            length = strcspn(at, " \t\r\n>");
        *cursor = at + length;
        if (copy_value(ret, size, at, length))
            return true;
    }
    return false;
}

/* "WiPy-1.20.2.r4.tar.gz": the release between board and suffix; false: the name isn't a WiPy package's. */
static bool read_name(struct firmware_offer *offer) {
    size_t length = strlen(offer->name), prefix = strlen(BOARD_PREFIX), suffix = strlen(PACKAGE_SUFFIX);

    if (length <= prefix + suffix || strncasecmp(offer->name, BOARD_PREFIX, prefix) != 0 ||
        strcasecmp(offer->name + length - suffix, PACKAGE_SUFFIX) != 0)
        return false;
    snprintf(offer->version, sizeof offer->version, "%.*s", (int)(length - prefix - suffix),
             offer->name + prefix);
    return true;
}

bool firmware_listing_read(struct firmware_offer *ret, const uint8_t *bytes, size_t size, const char *url,
                           char *why, size_t why_size) {
    cleanup(free_p) char *text = strndup((const char *)bytes, size);
    unsigned n_links = 0, n_packages = 0;
    bool best_has_order = false;
    uint32_t best = 0, order;
    const char *cursor = text;
    char link[FIRMWARE_URL_MAX];

    if (!text) {
        snprintf(why, why_size, "not enough memory");
        return false;
    }
    while (n_links++ < FIRMWARE_LISTING_LINKS_MAX && next_link(&cursor, link, sizeof link)) {
        struct firmware_offer offer = { 0 };
        bool has_order;

        if (!firmware_url_resolve(url, link, offer.url, sizeof offer.url))
            continue;
        firmware_url_name(offer.url, offer.name, sizeof offer.name);
        if (!read_name(&offer))
            continue;
        if (n_packages > 0 && !strcmp(offer.url, ret->url))
            continue; /* listings link a file twice, by its icon and by its name */
        n_packages++;
        has_order = firmware_release_parse(offer.version, &order);
        if (n_packages > 1 && (!has_order || (best_has_order && order <= best)))
            continue;
        best_has_order = has_order;
        best = has_order ? order : 0;
        *ret = offer;
    }
    if (n_packages == 0)
        snprintf(why, why_size, "the listing has no link to a WiPy package");
    else if (!best_has_order && n_packages > 1)
        snprintf(why, why_size, "none of the %u packages listed has a release that can be ordered",
                 n_packages);
    return n_packages == 1 || best_has_order;
}
