#include "daemon/firmware/download.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/base/bytes.h"
#include "daemon/base/log.h"
#include "proto/names.h"

#define NOTE           "download.part"
#define PREFIX         ".download-"
#define SHA1_BYTES     20u
#define ATTEMPTS_MAX   3u
#define PAUSE_SHARE    30u /* between attempts: the configured timeout over this, then twice as long */
#define TICK_MS        250u
#define SLOW_BYTES_S   512u /* slower for as long as the configured timeout: given up */
#define TIMEOUTS_TOTAL 60u  /* the whole takes at most so many timeouts */

enum download_state {
    DOWNLOAD_IDLE,
    DOWNLOAD_OPENING,  /* in the pool */
    DOWNLOAD_FETCHING, /* http */
    DOWNLOAD_PAUSING,  /* before the next attempt */
    DOWNLOAD_CHECKING, /* in the pool: the SHA-1 of what was put together */
};

struct firmware_download {
    enum download_state state;
    char *folder;
    struct http_loop *http;
    struct work_queue *queue;
    struct poll_notes *notes;
    const struct config *config;
    const struct firmware_download_events *events;
    void *userdata;

    uv_timer_t timer; /* ticks while fetching, else the pause */
    unsigned n_pending;
    bool is_closing;
    void (*on_closed)(void *userdata);
    void *closed_userdata;

    char url[FIRMWARE_URL_MAX], sha1[41], etag[128], last_modified[64];
    char shown[FIRMWARE_URL_MAX]; /* the URL without a password */
    struct firmware_part part;    /* as the notes know it */
    struct http_transfer *transfer;
    unsigned attempt;
    int fd;
    uint64_t bytes;        /* that fd has */
    uint64_t resumed_from; /* of this attempt */
    bool was_resumed;      /* fd was put together from more than one transfer */
    int r;                 /* of the work in the pool */
    struct firmware_download_result result;
};

/* ---- names and notes ------------------------------------------------------------------------- */

static void name_of(const char *url, char *ret, size_t size) {
    uint8_t digest[EVP_MAX_MD_SIZE];
    char hex[2 * SHA1_BYTES + 1];

    /* Fails for want of memory only; the name then is a fixed one, and as good. */
    if (EVP_Digest(url, strlen(url), digest, NULL, EVP_sha1(), NULL) != 1)
        memset(digest, 0, sizeof digest);
    hex_encode(digest, SHA1_BYTES, hex);
    snprintf(ret, size, PREFIX "%s", hex);
}

static void path_of(const char *folder, const char *url, char *ret, size_t size) {
    char name[64];

    name_of(url, name, sizeof name);
    snprintf(ret, size, "%s/%s", folder, name);
}

static bool take_line(const char **text, char *ret, size_t size) {
    size_t length = strcspn(*text, "\n");

    if (length >= size || (*text)[length] != '\n')
        return false;
    memcpy(ret, *text, length);
    ret[length] = 0;
    *text += length + 1;
    return true;
}

void firmware_download_recall(struct firmware_part *ret, struct records *records, const char *folder) {
    cleanup(free_p) char *note = poll_notes_get(records, NOTE);
    const char *text = note;
    char wanted[64], path[PATH_MAX];
    struct dirent *entry;
    DIR *dir;

    if (!text || !take_line(&text, ret->url, sizeof ret->url) ||
        !take_line(&text, ret->etag, sizeof ret->etag) ||
        !take_line(&text, ret->last_modified, sizeof ret->last_modified))
        *ret = (struct firmware_part) { 0 };
    name_of(ret->url, wanted, sizeof wanted);
    dir = opendir(folder);
    if (!dir)
        return;
    while ((entry = readdir(dir)))
        if (!strncmp(entry->d_name, PREFIX, strlen(PREFIX)) &&
            (!ret->url[0] || strcmp(entry->d_name, wanted) != 0)) {
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            if (unlink(path) < 0)
                log_warning("%s: %s", path, strerror(errno));
        }
    closedir(dir);
}

static void remember_part(struct firmware_download *download, const char *etag, const char *last_modified) {
    struct firmware_part *part = &download->part;
    char note[sizeof *part + 8];

    if (!strcmp(part->url, download->url) && !strcmp(part->etag, etag) &&
        !strcmp(part->last_modified, last_modified))
        return;
    snprintf(part->url, sizeof part->url, "%s", download->url);
    snprintf(part->etag, sizeof part->etag, "%s", etag);
    snprintf(part->last_modified, sizeof part->last_modified, "%s", last_modified);
    snprintf(note, sizeof note, "%s\n%s\n%s\n", part->url, part->etag, part->last_modified);
    poll_notes_put(download->notes, NOTE, note);
}

static void forget_part(struct firmware_download *download) {
    if (download->part.url[0])
        poll_notes_put(download->notes, NOTE, "");
    download->part = (struct firmware_part) { 0 };
}

/* What If-Range takes: a strong ETag, else the date. NULL: nothing to hold on to. */
static const char *validator(const struct firmware_part *part) {
    if (part->etag[0] == '"')
        return part->etag;
    return part->last_modified[0] ? part->last_modified : NULL;
}

/* ---- deleting -------------------------------------------------------------------------------- */

struct removal {
    struct firmware_download *download;
    char path[PATH_MAX];
};

static void finish_close(struct firmware_download *download);

static void run_remove(void *userdata) {
    struct removal *removal = userdata;

    if (unlink(removal->path) < 0 && errno != ENOENT)
        log_warning("%s: %s", removal->path, strerror(errno));
}

static void on_removed(void *userdata) {
    struct removal *removal = userdata;
    struct firmware_download *download = removal->download;

    free(removal);
    download->n_pending--;
    finish_close(download);
}

/* Nothing worse follows from a file that stays than that the next start deletes it. */
static void remove_file(struct firmware_download *download, const char *url) {
    struct removal *removal = calloc(1, sizeof *removal);

    if (!removal)
        return;
    removal->download = download;
    path_of(download->folder, url, removal->path, sizeof removal->path);
    if (work_queue_add(download->queue, run_remove, on_removed, removal) < 0) {
        free(removal);
        return;
    }
    download->n_pending++;
}

void firmware_download_drop(struct firmware_download *download) {
    assert(download->state == DOWNLOAD_IDLE);
    remove_file(download, download->url);
    forget_part(download);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void close_file(struct firmware_download *download) {
    if (download->fd >= 0)
        close(download->fd);
    download->fd = -1;
}

static void finish(struct firmware_download *download, enum firmware_download_outcome outcome) {
    struct firmware_download_result *result = &download->result;

    download->state = DOWNLOAD_IDLE;
    uv_timer_stop(&download->timer);
    result->outcome = outcome;
    result->bytes = download->bytes;
    result->was_resumed = download->was_resumed;
    if (outcome == FIRMWARE_DOWNLOAD_DONE) {
        result->fd = download->fd;
        download->fd = -1;
    } else {
        close_file(download);
        result->fd = -1;
    }
    download->events->on_done(download->userdata, result);
}

__attribute__((format(printf, 3, 4))) static void fail(struct firmware_download *download, bool keep,
                                                       const char *format, ...) {
    va_list args;

    va_start(args, format);
    vsnprintf(download->result.text, sizeof download->result.text, format, args);
    va_end(args);
    if (!keep || download->bytes == 0 || !validator(&download->part)) {
        remove_file(download, download->url);
        forget_part(download);
    }
    finish(download, FIRMWARE_DOWNLOAD_FAILED);
}

/* ---- fetching -------------------------------------------------------------------------------- */

static void fetch(struct firmware_download *download);

static void on_pause_over(uv_timer_t *timer) {
    fetch(timer->data);
}

/* The file stays as far as it is known to belong together. */
static void try_again(struct firmware_download *download, bool from_zero, const char *why) {
    if (++download->attempt >= ATTEMPTS_MAX) {
        fail(download, !from_zero, "%s", why);
        return;
    }
    log_info("%s: %s; trying again", download->shown, why);
    if (from_zero || !validator(&download->part)) {
        download->bytes = 0;
        download->was_resumed = false;
        forget_part(download);
    }
    download->state = DOWNLOAD_PAUSING;
    uv_timer_start(&download->timer, on_pause_over,
                   (uint64_t)download->config->timeout_s * 1000 / PAUSE_SHARE * download->attempt, 0);
}

/* Remembers, early enough for a crash, which version of the file is being put together. */
static void note_progress(struct firmware_download *download, struct http_progress *progress) {
    http_transfer_progress(download->transfer, progress);
    if (progress->bytes_done > download->resumed_from && (progress->etag[0] || progress->last_modified[0]))
        remember_part(download, progress->etag, progress->last_modified);
}

static void on_tick(uv_timer_t *timer) {
    struct firmware_download *download = timer->data;
    struct http_progress progress;

    note_progress(download, &progress);
    download->events->on_progress(download->userdata, progress.bytes_done, progress.bytes_total);
}

static void on_checked(void *userdata);
static void run_check(void *userdata);

static void on_whole(struct firmware_download *download) {
    if (!download->was_resumed || !download->sha1[0]) {
        finish(download, FIRMWARE_DOWNLOAD_DONE);
        return;
    }
    download->state = DOWNLOAD_CHECKING;
    download->r = work_queue_add(download->queue, run_check, on_checked, download);
    if (download->r < 0)
        finish(download, FIRMWARE_DOWNLOAD_DONE); /* the store checks once more */
    else
        download->n_pending++;
}

/* A break: what came may be held on to only if the file's version is known. */
static void on_break(struct firmware_download *download, const struct http_result *http) {
    bool stuck =
        download->resumed_from > 0 && http->body_bytes <= download->resumed_from && http->status == 206;

    if (http->status == 200)
        remember_part(download, http->etag, http->last_modified);
    try_again(download, stuck, http->text);
}

static void on_http(void *userdata, const struct http_result *http) {
    struct firmware_download *download = userdata;
    struct firmware_download_result *result = &download->result;

    download->transfer = NULL;
    uv_timer_stop(&download->timer);
    download->bytes = http->body_bytes;
    download->was_resumed = download->resumed_from > 0 && (http->is_resumed || http->status != 200);
    result->retry_after_s = http->retry_after_s;
    /* Of a resumed one the part's hold, which the server has just confirmed. */
    snprintf(result->etag, sizeof result->etag, "%s", http->is_resumed ? download->part.etag : http->etag);
    snprintf(result->last_modified, sizeof result->last_modified, "%s",
             http->is_resumed ? download->part.last_modified : http->last_modified);

    switch (http->outcome) {
    case HTTP_OK:
        on_whole(download);
        return;
    case HTTP_NOT_MODIFIED:
        remove_file(download, download->url);
        finish(download, FIRMWARE_DOWNLOAD_NOT_MODIFIED);
        return;
    case HTTP_STATUS:
        if (http->status == 416 && download->resumed_from > 0)
            try_again(download, true, http->text);
        else
            fail(download, http->status >= 500 || http->status == 429, "%s", http->text);
        return;
    case HTTP_TOO_SLOW:
    case HTTP_FAILED:
        on_break(download, http);
        return;
    case HTTP_TOO_LARGE:
    case HTTP_REFUSED_URL:
        fail(download, false, "%s", http->text);
        return;
    case HTTP_DISK:
        fail(download, false, "can't be written to the state directory: %s", http->text);
        return;
    }
}

static void fetch(struct firmware_download *download) {
    const struct config *config = download->config;
    struct http_request request = {
        .url = download->url,
        .bytes_max = WIPYD_PACKAGE_BYTES_MAX,
        .connect_timeout_ms = config->timeout_s * 1000,
        .total_timeout_ms = config->timeout_s * 1000 * TIMEOUTS_TOTAL,
        .slow_bytes_per_s = SLOW_BYTES_S,
        .slow_s = config->timeout_s,
        .allow_http = config->allow_http,
        .follow = true,
        .fd = download->fd,
        .proxy = config->proxy,
        .ca_file = config->ca_file,
    };
    int r = 0;

    download->resumed_from = download->bytes;
    if (download->bytes > 0) {
        request.resume_from = download->bytes;
        request.if_range = validator(&download->part);
    } else {
        request.etag = download->etag;
        request.last_modified = download->last_modified;
        if (ftruncate(download->fd, 0) < 0)
            r = -errno;
    }
    if (r >= 0)
        r = http_get(&download->transfer, download->http, &request, on_http, download);
    if (r < 0) {
        fail(download, true, "%s", strerror(-r));
        return;
    }
    download->state = DOWNLOAD_FETCHING;
    uv_timer_start(&download->timer, on_tick, TICK_MS, TICK_MS);
}

/* ---- in the pool ----------------------------------------------------------------------------- */

static int digest_file(int fd, char *ret) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t buffer[65536], digest[EVP_MAX_MD_SIZE];
    off_t offset = 0;
    ssize_t n = -1;
    bool ok = context && EVP_DigestInit_ex(context, EVP_sha1(), NULL) == 1;

    while (ok && (n = pread(fd, buffer, sizeof buffer, offset)) > 0) {
        ok = EVP_DigestUpdate(context, buffer, (size_t)n) == 1;
        offset += n;
    }
    ok = ok && n == 0 && EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (!ok)
        return -EIO;
    hex_encode(digest, SHA1_BYTES, ret);
    return 0;
}

static void run_check(void *userdata) {
    struct firmware_download *download = userdata;
    char sha1[2 * SHA1_BYTES + 1];

    download->r = digest_file(download->fd, sha1);
    if (download->r >= 0 && strcmp(sha1, download->sha1) != 0)
        download->r = -EBADMSG;
}

static void on_checked(void *userdata) {
    struct firmware_download *download = userdata;

    download->n_pending--;
    if (download->is_closing)
        finish_close(download);
    else if (download->r < 0)
        try_again(download, true, "the parts don't make the file that the server describes");
    else
        finish(download, FIRMWARE_DOWNLOAD_DONE);
}

/* Opens what is to be resumed, or makes an empty file. */
static void run_open(void *userdata) {
    struct firmware_download *download = userdata;
    bool resume = validator(&download->part) && !strcmp(download->part.url, download->url);
    char path[PATH_MAX];
    struct stat status;

    download->r = 0;
    download->bytes = 0;
    path_of(download->folder, download->url, path, sizeof path);
    download->fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | (resume ? 0 : O_TRUNC), 0600);
    if (download->fd < 0 || fstat(download->fd, &status) < 0)
        download->r = -errno;
    else if (!S_ISREG(status.st_mode))
        download->r = -EINVAL;
    else if (status.st_size <= (off_t)WIPYD_PACKAGE_BYTES_MAX)
        download->bytes = (uint64_t)status.st_size;
}

static void on_opened(void *userdata) {
    struct firmware_download *download = userdata;

    download->n_pending--;
    if (download->is_closing) {
        finish_close(download);
        return;
    }
    if (download->r < 0) {
        fail(download, false, "can't be written to the state directory: %s", strerror(-download->r));
        return;
    }
    /* Only one is kept. */
    if (download->part.url[0] && strcmp(download->part.url, download->url) != 0) {
        remove_file(download, download->part.url);
        forget_part(download);
    }
    if (download->bytes > 0)
        log_info("%s: going on after %llu bytes", download->shown, (unsigned long long)download->bytes);
    fetch(download);
}

/* ---- object ---------------------------------------------------------------------------------- */

int firmware_download_new(struct firmware_download **ret, uv_loop_t *loop, const char *folder,
                          struct http_loop *http, struct work_queue *queue, struct poll_notes *notes,
                          const struct config *config, const struct firmware_download_events *events,
                          void *userdata) {
    struct firmware_download *download = calloc(1, sizeof *download);

    if (!download)
        return -ENOMEM;
    download->folder = strdup(folder);
    if (!download->folder) {
        free(download);
        return -ENOMEM;
    }
    download->http = http;
    download->queue = queue;
    download->notes = notes;
    download->config = config;
    download->events = events;
    download->userdata = userdata;
    download->fd = -1;
    uv_timer_init(loop, &download->timer);
    download->timer.data = download;
    download->n_pending = 1;
    *ret = download;
    return 0;
}

void firmware_download_set_part(struct firmware_download *download, const struct firmware_part *part) {
    download->part = *part;
}

int firmware_download_start(struct firmware_download *download,
                            const struct firmware_download_request *request) {
    int r;

    assert(download->state == DOWNLOAD_IDLE);
    download->result = (struct firmware_download_result) { .fd = -1 };
    snprintf(download->url, sizeof download->url, "%s", request->url);
    firmware_url_show(download->url, download->shown, sizeof download->shown);
    snprintf(download->sha1, sizeof download->sha1, "%s", request->sha1);
    snprintf(download->etag, sizeof download->etag, "%s", request->etag);
    snprintf(download->last_modified, sizeof download->last_modified, "%s", request->last_modified);
    download->attempt = 0;
    download->was_resumed = false;
    r = work_queue_add(download->queue, run_open, on_opened, download);
    if (r < 0)
        return r;
    download->state = DOWNLOAD_OPENING;
    download->n_pending++;
    return 0;
}

static void finish_close(struct firmware_download *download) {
    if (!download->is_closing || download->n_pending > 0)
        return;
    close_file(download);
    download->on_closed(download->closed_userdata);
    free(download->folder);
    free(download);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct firmware_download *download = handle->data;

    download->n_pending--;
    finish_close(download);
}

void firmware_download_close(struct firmware_download *download, void (*on_closed)(void *userdata),
                             void *userdata) {
    download->is_closing = true;
    download->on_closed = on_closed;
    download->closed_userdata = userdata;
    if (download->transfer) {
        struct http_progress progress;

        note_progress(download, &progress);
        http_cancel(download->transfer);
        download->transfer = NULL;
    }
    uv_close((uv_handle_t *)&download->timer, on_timer_closed);
}
