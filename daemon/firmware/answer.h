#pragma once

/*
 * What findupgrade answers (facts/pycom.md 1.2 to 1.4): strict and bounded, because it comes from outside. No
 * fd, no clock, no network.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/clean.h"

#define FIRMWARE_ANSWER_BYTES_MAX (64u * 1024u)
#define FIRMWARE_OFFERS_MAX       8u /* for a WiPy, in one answer */
#define FIRMWARE_URL_MAX          1024u

/* A package that a source offers. */
struct firmware_offer {
    char url[FIRMWARE_URL_MAX]; /* absolute, http or https */
    char name[64];              /* of the file: the URL's last part; plain (firmware_name_is_plain) */
    char version[64];           /* as the source calls it; empty: not said */
    uint32_t int_version;       /* 0: not said */
    char sha1[41];              /* of the file, lower case; empty: not said */
};

struct firmware_answer {
    struct firmware_offer offers[FIRMWARE_OFFERS_MAX];
    unsigned n;
};

/* url: the answer's own, after redirects, which a relative "file" is resolved against. content_type may be
 * NULL. True: at least one offer for a WiPy. False: why not, for people, in why. */
must_check bool firmware_answer_read(struct firmware_answer *ret, const uint8_t *bytes, size_t size,
                                     const char *content_type, const char *url, char *why, size_t why_size);

/* url resolved against base; false: not http or https, too long, not a URL. */
must_check bool firmware_url_resolve(const char *base, const char *url, char *ret, size_t size);
/* The last part of the path, decoded; "package.tar.gz" where that is no plain name. */
void firmware_url_name(const char *url, char *ret, size_t size);
/* The URL as others may see it: without a user and password. */
void firmware_url_show(const char *url, char *ret, size_t size);
