#include "daemon/loop/http_loop.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/loop/http_transfer.h"

#define CA_NAME_MAX 256

struct http_loop {
    CURLM *multi;
    uv_loop_t *loop;
    uv_timer_t timer;
    bool is_closing;
    unsigned n_pending;          /* handles not yet closed */
    char ca_folder[CA_NAME_MAX]; /* certificates by their hash; empty: there is none */
    struct http_transfer *transfers;
    void (*on_closed)(void *userdata);
    void *userdata;
};

/* One for each socket that curl has open. */
struct http_socket {
    struct http_loop *http;
    uv_poll_t poll;
    curl_socket_t fd;
};

/* ---- the end of a transfer ------------------------------------------------------------------- */

static void free_transfer(struct http_transfer *transfer) {
    struct http_loop *http = transfer->http;

    if (transfer->previous)
        transfer->previous->next = transfer->next;
    else if (http->transfers == transfer)
        http->transfers = transfer->next;
    if (transfer->next)
        transfer->next->previous = transfer->previous;
    if (transfer->easy)
        curl_multi_remove_handle(http->multi, transfer->easy);
    http_transfer_deinit(transfer);
    free(transfer);
}

/* curl has one list of what is done; fn may add to it, take from it, or close us. */
static void reap(struct http_loop *http) {
    struct http_transfer *transfer;
    CURLMsg *message;
    int n_left;

    while (!http->is_closing && (message = curl_multi_info_read(http->multi, &n_left))) {
        struct http_result result;
        http_fn fn;
        void *userdata;
        uint8_t *body;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        http_transfer_complete(transfer, message->data.result);
        result = transfer->result;
        fn = transfer->fn;
        userdata = transfer->userdata;
        body = steal_pointer(&transfer->body);
        free_transfer(transfer);
        fn(userdata, &result);
        free(body);
    }
}

/* ---- sockets and time ------------------------------------------------------------------------ */

static void act(struct http_loop *http, curl_socket_t fd, int what) {
    int n_running;

    curl_multi_socket_action(http->multi, fd, what, &n_running);
    reap(http);
}

static void on_timer(uv_timer_t *handle) {
    act(handle->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_set_timer(CURLM *multi, long timeout_ms, void *userdata) {
    struct http_loop *http = userdata;

    (void)multi;
    if (http->is_closing)
        return 0;
    return timeout_ms < 0 ? uv_timer_stop(&http->timer)
                          : uv_timer_start(&http->timer, on_timer, (uint64_t)timeout_ms, 0);
}

static void finish_close(struct http_loop *http) {
    if (--http->n_pending > 0)
        return;
    curl_global_cleanup();
    if (http->on_closed)
        http->on_closed(http->userdata);
    free(http);
}

static void on_socket_closed(uv_handle_t *handle) {
    struct http_socket *s = handle->data;

    finish_close(s->http);
    free(s);
}

static void on_poll(uv_poll_t *handle, int status, int events) {
    struct http_socket *s = handle->data;
    int what = status < 0 ? CURL_CSELECT_ERR : 0;

    if (events & UV_READABLE)
        what |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        what |= CURL_CSELECT_OUT;
    act(s->http, s->fd, what);
}

static struct http_socket *new_socket(struct http_loop *http, curl_socket_t fd) {
    struct http_socket *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    *s = (struct http_socket) { .http = http, .fd = fd };
    if (uv_poll_init(http->loop, &s->poll, fd) < 0) {
        free(s);
        return NULL;
    }
    s->poll.data = s;
    http->n_pending++;
    curl_multi_assign(http->multi, fd, s);
    return s;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket_userdata) {
    struct http_loop *http = userdata;
    struct http_socket *s = socket_userdata;
    int events = 0;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s)
            uv_close((uv_handle_t *)&s->poll, on_socket_closed);
        curl_multi_assign(http->multi, fd, NULL);
        return 0;
    }
    if (!s)
        s = new_socket(http, fd);
    if (what & CURL_POLL_IN)
        events |= UV_READABLE;
    if (what & CURL_POLL_OUT)
        events |= UV_WRITABLE;
    /* A socket that isn't watched costs its transfer, which runs out of time. An error from here would end
     * all, and those to come: curl gives up for good. */
    if (!s || uv_poll_start(&s->poll, events, on_poll) < 0)
        log_warning("HTTP: a connection can't be watched: no memory");
    return 0;
}

/* ---- asking ---------------------------------------------------------------------------------- */

int http_get(struct http_transfer **ret, struct http_loop *http, const struct http_request *request,
             http_fn fn, void *userdata) {
    struct http_transfer *transfer;
    int r;

    assert(!http->is_closing);
    transfer = calloc(1, sizeof *transfer);
    if (!transfer)
        return -ENOMEM;
    transfer->http = http;
    transfer->fn = fn;
    transfer->userdata = userdata;
    transfer->next = http->transfers;
    if (transfer->next)
        transfer->next->previous = transfer;
    http->transfers = transfer;

    r = http_transfer_init(transfer, request, http->ca_folder);
    if (r >= 0 && curl_multi_add_handle(http->multi, transfer->easy) != CURLM_OK)
        r = -ENOMEM;
    if (r < 0) {
        free_transfer(transfer);
        return r;
    }
    *ret = transfer;
    return 0;
}

void http_cancel(struct http_transfer *transfer) {
    if (transfer)
        free_transfer(transfer);
}

/* ---- object ---------------------------------------------------------------------------------- */

/* Whether certificates can be found in there one by one: OpenSSL looks for "0a1b2c3d.0". */
static bool is_hashed_folder(const char *path) {
    DIR *dir = opendir(path);
    struct dirent *entry;
    bool found = false;

    if (!dir)
        return false;
    while (!found && (entry = readdir(dir)))
        found = strspn(entry->d_name, "0123456789abcdef") == 8 && !strcmp(entry->d_name + 8, ".0");
    closedir(dir);
    return found;
}

int http_loop_new(struct http_loop **ret, uv_loop_t *loop) {
    const curl_version_info_data *version;
    struct http_loop *http = calloc(1, sizeof *http);

    if (!http)
        return -ENOMEM;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(http);
        return -ENOMEM;
    }
    version = curl_version_info(CURLVERSION_NOW);
    if (!(version->features & CURL_VERSION_ASYNCHDNS))
        log_warning(
            "this libcurl stops everything while it looks up a name: use one with a threaded resolver");
    if (version->capath && strlen(version->capath) < sizeof http->ca_folder &&
        is_hashed_folder(version->capath))
        strcpy(http->ca_folder, version->capath);
    http->loop = loop;
    http->multi = curl_multi_init();
    if (!http->multi) {
        curl_global_cleanup();
        free(http);
        return -ENOMEM;
    }
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_set_timer);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, 1L);
    uv_timer_init(loop, &http->timer);
    http->timer.data = http;
    http->n_pending = 1;
    *ret = http;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle) {
    finish_close(handle->data);
}

void http_loop_close(struct http_loop *http, void (*on_closed)(void *userdata), void *userdata) {
    if (!http)
        return;
    assert(!http->is_closing);
    http->is_closing = true;
    http->on_closed = on_closed;
    http->userdata = userdata;
    while (http->transfers)
        free_transfer(http->transfers);
    /* Closes what is left of sockets, through on_socket. */
    curl_multi_cleanup(http->multi);
    http->multi = NULL;
    uv_close((uv_handle_t *)&http->timer, on_timer_closed);
}
