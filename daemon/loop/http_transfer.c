#include "daemon/loop/http_transfer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define REDIRECTS_MAX 5L
#define HEADER_BYTES_MAX                                                                                     \
    (128u * 1024u) /* of all answers of a transfer; libcurl 7.88 has no bound of its own */

/* ---- text ------------------------------------------------------------------------------------ */

/* Only what may stand on a terminal and on the bus. */
static bool is_plain(const char *text) {
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            return false;
    return true;
}

static void copy_whole(char *ret, size_t size, const char *text) {
    if (text && strlen(text) < size && is_plain(text))
        strcpy(ret, text);
    else
        ret[0] = 0;
}

__attribute__((format(printf, 3, 4))) static void judge(struct http_transfer *transfer,
                                                        enum http_outcome outcome, const char *format, ...) {
    char *text = transfer->result.text;
    va_list args;

    if (transfer->is_judged)
        return;
    transfer->is_judged = true;
    transfer->result.outcome = outcome;
    va_start(args, format);
    vsnprintf(text, sizeof transfer->result.text, format, args);
    va_end(args);
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

static void copy_header(CURL *easy, const char *name, char *ret, size_t size) {
    struct curl_header *header;

    if (curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
        copy_whole(ret, size, header->value);
    else
        ret[0] = 0;
}

/* ---- what curl hands over -------------------------------------------------------------------- */

static bool put_in_memory(struct http_transfer *transfer, const char *bytes, size_t size) {
    size_t needed = (size_t)transfer->body_bytes + size;
    uint8_t *body;

    if (needed > transfer->body_allocated) {
        size_t allocate = needed < 4096 ? 4096 : needed * 2;

        body = realloc(transfer->body, allocate);
        if (!body) {
            judge(transfer, HTTP_FAILED, "not enough memory");
            return false;
        }
        transfer->body = body;
        transfer->body_allocated = allocate;
    }
    memcpy(transfer->body + transfer->body_bytes, bytes, size);
    transfer->body_bytes += size;
    return true;
}

static bool fail_disk(struct http_transfer *transfer, int error) {
    transfer->result.error = -error;
    judge(transfer, HTTP_DISK, "%s", strerror(error));
    return false;
}

static bool put_in_file(struct http_transfer *transfer, const char *bytes, size_t size) {
    while (size > 0) {
        ssize_t n = pwrite(transfer->fd, bytes, size, (off_t)transfer->body_bytes);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail_disk(transfer, n < 0 ? errno : EIO);
        transfer->body_bytes += (uint64_t)n;
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

/* A 206 has to be what was asked for: from there on, and of the same file. */
static bool check_rest(struct http_transfer *transfer) {
    char range[64], wanted[32], etag[128];

    copy_header(transfer->easy, "Content-Range", range, sizeof range);
    snprintf(wanted, sizeof wanted, "bytes %" PRIu64 "-", transfer->resume_from);
    if (transfer->resume_from == 0 || strncasecmp(range, wanted, strlen(wanted)) != 0) {
        judge(transfer, HTTP_FAILED, "the server sent a part that wasn't asked for");
        return false;
    }
    copy_header(transfer->easy, "ETag", etag, sizeof etag);
    if (transfer->if_range[0] == '"' && etag[0] && strcmp(etag, transfer->if_range) != 0) {
        judge(transfer, HTTP_FAILED, "the server sent the rest of another file");
        return false;
    }
    return true;
}

/* At the first bytes of the final answer's body: where do they go? */
static bool begin_body(struct http_transfer *transfer) {
    curl_off_t length = -1;
    long status = 0;

    transfer->has_begun = true;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status == 206) {
        if (!check_rest(transfer))
            return false;
        transfer->is_resumed = true;
    } else if (status == 200) {
        if (transfer->fd >= 0 && transfer->body_bytes > 0 && ftruncate(transfer->fd, 0) < 0)
            return fail_disk(transfer, errno);
        transfer->body_bytes = 0;
    } else {
        judge(transfer, HTTP_STATUS, "the server answered %ld", status);
        return false;
    }
    curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (length > 0)
        transfer->body_total = transfer->body_bytes + (uint64_t)length;
    return true;
}

/* Anything but size ends the transfer. */
static size_t on_body(char *bytes, size_t one, size_t size, void *userdata) {
    struct http_transfer *transfer = userdata;
    size_t refused = size > 0 ? 0 : 1;
    bool ok;

    (void)one;
    if (!transfer->has_begun && !begin_body(transfer))
        return refused;
    if (transfer->body_total > transfer->bytes_max || size > transfer->bytes_max - transfer->body_bytes) {
        judge(transfer, HTTP_TOO_LARGE, "larger than the %" PRIu64 " bytes allowed", transfer->bytes_max);
        return refused;
    }
    ok = transfer->fd >= 0 ? put_in_file(transfer, bytes, size) : put_in_memory(transfer, bytes, size);
    return ok ? size : refused;
}

static size_t on_header(char *bytes, size_t one, size_t size, void *userdata) {
    struct http_transfer *transfer = userdata;

    (void)bytes;
    (void)one;
    transfer->header_bytes += size;
    if (transfer->header_bytes <= HEADER_BYTES_MAX)
        return size;
    judge(transfer, HTTP_FAILED, "the server's headers don't end");
    return size > 0 ? 0 : 1;
}

/* Counts the bodies too that nobody sees, those of redirects. */
static int on_progress(void *userdata, curl_off_t total, curl_off_t done, curl_off_t up_total,
                       curl_off_t up_done) {
    struct http_transfer *transfer = userdata;

    (void)total;
    (void)up_total;
    (void)up_done;
    if (done < 0 || (uint64_t)done <= transfer->bytes_max)
        return 0;
    judge(transfer, HTTP_TOO_LARGE, "larger than the %" PRIu64 " bytes allowed", transfer->bytes_max);
    return 1;
}

/* ---- the end of a transfer ------------------------------------------------------------------- */

static void judge_refused_url(struct http_transfer *transfer) {
    const char *url = NULL;
    long n_redirects = 0;
    int length;

    curl_easy_getinfo(transfer->easy, CURLINFO_EFFECTIVE_URL, &url);
    curl_easy_getinfo(transfer->easy, CURLINFO_REDIRECT_COUNT, &n_redirects);
    length = url ? (int)strcspn(url, ":") : 0;
    if (length == 4 && strncasecmp(url, "http", 4) == 0)
        judge(transfer, HTTP_REFUSED_URL, "%splain HTTP is not allowed here (see allow-http)",
              n_redirects > 0 ? "redirected to http: " : "");
    else
        judge(transfer, HTTP_REFUSED_URL, "%s%.*s: %s", n_redirects > 0 ? "redirected to " : "",
              length <= 20 ? length : 20, url ? url : "?",
              n_redirects > 0 ? "only https is followed, and http where allowed" : "not a scheme for this");
}

/* What the transfer came to, when no callback has said so before. */
static void judge_by_code(struct http_transfer *transfer, CURLcode code) {
    long status = transfer->result.status, os_error = 0;

    if (code == CURLE_UNSUPPORTED_PROTOCOL) {
        judge_refused_url(transfer);
    } else if (code == CURLE_TOO_MANY_REDIRECTS) {
        judge(transfer, HTTP_REFUSED_URL, "more than %ld redirects", REDIRECTS_MAX);
    } else if (code == CURLE_URL_MALFORMAT) {
        judge(transfer, HTTP_REFUSED_URL, "not a URL");
    } else if (code == CURLE_FILESIZE_EXCEEDED && (status == 200 || status == 206)) {
        judge(transfer, HTTP_TOO_LARGE, "larger than the %" PRIu64 " bytes allowed", transfer->bytes_max);
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
        judge(transfer, HTTP_TOO_SLOW, "%s", transfer->error[0] ? transfer->error : curl_easy_strerror(code));
    } else if (code == CURLE_COULDNT_CONNECT &&
               curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &os_error) == CURLE_OK && os_error) {
        judge(transfer, HTTP_FAILED, "can't connect: %s", strerror((int)os_error));
    } else if (code != CURLE_OK && code != CURLE_FILESIZE_EXCEEDED) {
        judge(transfer, HTTP_FAILED, "%s", transfer->error[0] ? transfer->error : curl_easy_strerror(code));
    } else if (status == 304 && transfer->is_conditional) {
        judge(transfer, HTTP_NOT_MODIFIED, "not modified");
    } else if (code == CURLE_OK && (status == 200 || status == 206)) {
        /* Of an empty body curl hands over nothing. */
        if (transfer->has_begun || begin_body(transfer))
            judge(transfer, HTTP_OK, "ok");
    } else {
        judge(transfer, HTTP_STATUS, "the server answered %ld", status);
    }
}

void http_transfer_complete(struct http_transfer *transfer, CURLcode code) {
    struct http_result *result = &transfer->result;
    const char *url = NULL, *type = NULL;
    curl_off_t retry_after = 0;

    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &result->status);
    judge_by_code(transfer, code);
    curl_easy_getinfo(transfer->easy, CURLINFO_EFFECTIVE_URL, &url);
    curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_TYPE, &type);
    curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &retry_after);
    copy_whole(result->url, sizeof result->url, url);
    copy_whole(result->content_type, sizeof result->content_type, type);
    copy_header(transfer->easy, "ETag", result->etag, sizeof result->etag);
    copy_header(transfer->easy, "Last-Modified", result->last_modified, sizeof result->last_modified);
    result->retry_after_s = retry_after > 0 ? (uint64_t)retry_after : 0;
    result->is_resumed = transfer->is_resumed;
    result->body = transfer->body;
    result->body_bytes = transfer->body_bytes;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static int add_header(struct http_transfer *transfer, const char *name, const char *value) {
    struct curl_slist *list;
    char line[256];
    int n = snprintf(line, sizeof line, "%s: %s", name, value);

    if (n < 0 || (size_t)n >= sizeof line || !is_plain(line))
        return -EINVAL;
    list = curl_slist_append(transfer->headers, line);
    if (!list)
        return -ENOMEM;
    transfer->headers = list;
    return 0;
}

static int add_headers(struct http_transfer *transfer, const struct http_request *request) {
    int r = 0;

    if (request->etag && *request->etag)
        r = add_header(transfer, "If-None-Match", request->etag);
    if (r >= 0 && request->last_modified && *request->last_modified)
        r = add_header(transfer, "If-Modified-Since", request->last_modified);
    transfer->is_conditional = transfer->headers != NULL;
    if (r >= 0 && request->resume_from > 0 && request->if_range && *request->if_range) {
        copy_whole(transfer->if_range, sizeof transfer->if_range, request->if_range);
        r = add_header(transfer, "If-Range", request->if_range);
    }
    return r;
}

/* CURL_CA_BUNDLE and SSL_CERT_* are the environment's ways to name certificates; curl the library reads
 * neither. A folder of hashed certificates goes before the one big file, which takes longer to read than the
 * loop may block. */
static int set_authorities(CURL *easy, const char *ca_file, const char *ca_folder) {
    const char *folder = NULL;
    int r = CURLE_OK;

    if (!ca_file)
        ca_file = getenv("CURL_CA_BUNDLE");
    if (!ca_file)
        ca_file = getenv("SSL_CERT_FILE");
    if (!ca_file) {
        folder = getenv("SSL_CERT_DIR");
        if (!folder && ca_folder[0])
            folder = ca_folder;
    }
    if (!ca_file && !folder)
        return 0;
    r |= (int)curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
    r |= (int)curl_easy_setopt(easy, CURLOPT_CAPATH, folder);
    r |= (int)curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, ca_file);
    r |= (int)curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, folder);
    return r == CURLE_OK ? 0 : -ENOMEM;
}

static int set_options(struct http_transfer *transfer, const struct http_request *request,
                       const char *ca_folder) {
    const char *schemes = request->allow_http ? "http,https" : "https";
    CURL *easy = transfer->easy;
    char range[32];
    int r = CURLE_OK;

    r |= (int)curl_easy_setopt(easy, CURLOPT_URL, request->url);
    r |= (int)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, schemes);
    r |= (int)curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, schemes);
    r |= (int)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, request->follow ? 1L : 0L);
    r |= (int)curl_easy_setopt(easy, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    r |= (int)curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    r |= (int)curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    r |= (int)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    r |= (int)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    r |= (int)curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    r |= (int)curl_easy_setopt(easy, CURLOPT_USERAGENT, "wipyd/" WIPYD_VERSION);
    r |= (int)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    r |= (int)curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
    /* Without it, giving up while a name is looked up would wait for the resolver's thread. */
    r |= (int)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    r |= (int)curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_timeout_ms);
    r |= (int)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)request->total_timeout_ms);
    r |= (int)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)request->slow_bytes_per_s);
    r |= (int)curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)request->slow_s);
    r |= (int)curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)request->bytes_max);
    r |= (int)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    if (request->resume_from > 0) {
        snprintf(range, sizeof range, "%" PRIu64 "-", request->resume_from);
        r |= (int)curl_easy_setopt(easy, CURLOPT_RANGE, range);
    }
    if (request->proxy)
        r |= (int)curl_easy_setopt(easy, CURLOPT_PROXY, request->proxy);
    r |= (int)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    r |= (int)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    r |= (int)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    r |= (int)curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    r |= (int)curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    r |= (int)curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    r |= (int)curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    r |= (int)curl_easy_setopt(easy, CURLOPT_XFERINFODATA, transfer);
    r |= (int)curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    /* curl was built with all of these: what is left is a copy that found no memory. */
    return r == CURLE_OK ? set_authorities(easy, request->ca_file, ca_folder) : -ENOMEM;
}

void http_transfer_progress(struct http_transfer *transfer, struct http_progress *ret) {
    *ret = (struct http_progress) { .bytes_done = transfer->body_bytes, .bytes_total = transfer->body_total };
    copy_header(transfer->easy, "ETag", ret->etag, sizeof ret->etag);
    copy_header(transfer->easy, "Last-Modified", ret->last_modified, sizeof ret->last_modified);
}

int http_transfer_init(struct http_transfer *transfer, const struct http_request *request,
                       const char *ca_folder) {
    int r;

    transfer->bytes_max = request->bytes_max;
    transfer->fd = request->fd;
    transfer->resume_from = transfer->body_bytes = request->fd >= 0 ? request->resume_from : 0;
    transfer->easy = curl_easy_init();
    if (!transfer->easy)
        return -ENOMEM;
    r = add_headers(transfer, request);
    return r < 0 ? r : set_options(transfer, request, ca_folder);
}

void http_transfer_deinit(struct http_transfer *transfer) {
    curl_easy_cleanup(transfer->easy);
    curl_slist_free_all(transfer->headers);
    free(transfer->body);
}
