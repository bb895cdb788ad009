#pragma once

/* The inside of http_loop.h: one transfer, as curl sees it. http_loop.c alone uses this. */

#include <curl/curl.h>

#include "daemon/loop/http_loop.h"

struct http_transfer {
    struct http_loop *http;
    struct http_transfer *previous, *next;
    CURL *easy;
    struct curl_slist *headers;
    char error[CURL_ERROR_SIZE];
    http_fn fn;
    void *userdata;

    uint64_t bytes_max, resume_from;
    char if_range[128];
    bool is_conditional;
    int fd;

    bool has_begun;  /* the first bytes of the final answer's body were looked at */
    bool is_resumed; /* they go on where fd ended */
    bool is_judged;  /* result.outcome and text are set, whatever curl says */
    size_t header_bytes;
    uint8_t *body;
    size_t body_allocated;
    uint64_t body_bytes, body_total;
    struct http_result result;
};

/* transfer is zeroed; everything in request is copied. ca_folder: certificates by their hash, or empty.
 * Whatever it returns, deinit afterwards. Negative errno. */
must_check int http_transfer_init(struct http_transfer *transfer, const struct http_request *request,
                                  const char *ca_folder);
/* curl is done with it: fills in the result. */
void http_transfer_complete(struct http_transfer *transfer, CURLcode code);
/* Not in a multi handle any more. */
void http_transfer_deinit(struct http_transfer *transfer);
