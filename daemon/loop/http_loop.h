#pragma once

/*
 * curl's multi interface on the libuv loop: bounded transfers into memory or into a file, with everything
 * that a hostile server may try fenced in here. Only http and https (http only where allowed), at most 5
 * redirects, which never leave that set; TLS verified; HTTP/1.1, identity encoding, no cookies, no netrc.
 * Every connection is closed with its transfer, so that nothing wakes the loop afterwards.
 *
 * Happy path: http_loop_new, http_get, on_done once, http_loop_close.
 * Failure modes: see struct http_result. A cancelled transfer never completes.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/base/clean.h"

struct http_loop;
struct http_transfer;

struct http_request {
    const char *url;
    uint64_t bytes_max; /* more than that ends the transfer */
    uint32_t connect_timeout_ms, total_timeout_ms;
    uint32_t slow_bytes_per_s, slow_s; /* slower than this for so long: given up */
    bool allow_http;                   /* plain HTTP may be used, at first and after a redirect */
    bool follow;                       /* redirects are followed */
    const char *etag, *last_modified;  /* for a conditional request; NULL or empty: none */
    int fd;               /* the body goes here (borrowed), from its present end on; -1: into memory */
    uint64_t resume_from; /* bytes that fd already has: asks for the rest (Range) */
    const char *if_range; /* ETag or date that the rest must belong to; NULL: none */
    /* proxy NULL: http_proxy, https_proxy, all_proxy and no_proxy of the environment; empty: none.
     * ca_file NULL: CURL_CA_BUNDLE, SSL_CERT_FILE or SSL_CERT_DIR of the environment, else the system's. */
    const char *proxy, *ca_file;
};

enum http_outcome {
    HTTP_OK,           /* 200, or 206 to a resumed one: the body is whole */
    HTTP_NOT_MODIFIED, /* 304 to a conditional one */
    HTTP_STATUS,       /* any other status: `status` */
    HTTP_TOO_LARGE,
    HTTP_TOO_SLOW,    /* a time limit */
    HTTP_REFUSED_URL, /* a scheme that isn't allowed, at first or by redirect; too many redirects */
    HTTP_FAILED,      /* anything below: DNS, refused, TLS, broken off; `text` says it */
    HTTP_DISK,        /* the body could not be written: `error` */
};

struct http_result {
    enum http_outcome outcome;
    long status;
    int error; /* negative errno of HTTP_DISK */
    /* All text is printable ASCII. A header that doesn't fit or isn't that counts as not sent. */
    char text[160]; /* for people */
    char url[1024]; /* the last one, after redirects */
    char etag[128], last_modified[64];
    char content_type[64];
    bool is_resumed;        /* 206: the rest was appended; a 200 to a resumed request begins fd anew */
    const uint8_t *body;    /* of a transfer into memory; borrowed */
    uint64_t body_bytes;    /* in all, resumed ones included; also what fd has after a failure */
    uint64_t retry_after_s; /* 0: not said */
};

/* The transfer is gone by then. May call anything here, also http_loop_close. */
typedef void (*http_fn)(void *userdata, const struct http_result *result);

/* How far a transfer is; validators as soon as the headers of the last answer are there. */
struct http_progress {
    uint64_t bytes_done, bytes_total; /* resumed ones included; total 0: not said */
    char etag[128], last_modified[64];
};

must_check int http_loop_new(struct http_loop **ret, uv_loop_t *loop);
/* Cancels what is under way. NULL is fine. on_closed comes from the loop. */
void http_loop_close(struct http_loop *http, void (*on_closed)(void *userdata), void *userdata);
/* Everything in request is copied but fd. fn is never called from inside. Negative errno. */
must_check int http_get(struct http_transfer **ret, struct http_loop *http,
                        const struct http_request *request, http_fn fn, void *userdata);
/* fn isn't called any more. NULL is fine. */
void http_cancel(struct http_transfer *transfer);
void http_transfer_progress(struct http_transfer *transfer, struct http_progress *ret);
