#pragma once

/*
 * The page in which a mirror lists its folder: HTML with links, as web servers make it. Pure: bytes in, one
 * offer out.
 */

#include "daemon/firmware/answer.h"

#define FIRMWARE_LISTING_BYTES_MAX (512u * 1024u)
#define FIRMWARE_LISTING_LINKS_MAX 1024u

/* The newest WiPy package among the links: "WiPy-RELEASE.tar.gz", by the order of RELEASE; where none can be
 * ordered, the only one there is. url: the listing's own, after redirects. False: why not, for people. */
must_check bool firmware_listing_read(struct firmware_offer *ret, const uint8_t *bytes, size_t size,
                                      const char *url, char *why, size_t why_size);
