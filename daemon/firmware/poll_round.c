#include "daemon/firmware/poll_round.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/log.h"
#include "daemon/firmware/poll_folder.h"
#include "daemon/firmware/source_listing.h"
#include "daemon/firmware/version.h"

#define SLOW_BYTES_S   16u
#define TIMEOUTS_TOTAL 2u /* an answer, in all, takes at most so many timeouts */

enum round_step {
    ROUND_IDLE,
    ROUND_STARTING, /* so that nothing is called back from inside start */
    ROUND_ASKING,
    ROUND_DOWNLOADING,
    ROUND_ADDING, /* in the store */
    ROUND_FOLDER,
};

struct poll_round {
    enum round_step step;
    struct firmware_store *store;
    struct http_loop *http;
    struct poll_notes *notes;
    const struct config *config;
    const struct poll_round_events *events;
    void *userdata;

    uv_timer_t starter;
    struct firmware_download *download;
    struct poll_folder *folder;
    struct http_transfer *asking;
    unsigned n_pending;
    bool is_closing;
    void (*on_closed)(void *userdata);
    void *closed_userdata;

    struct poll_memory memories[CONFIG_SOURCES_MAX];
    unsigned source;                   /* under way */
    char etag[128], last_modified[64]; /* of its answer */
    struct firmware_answer answer;
    unsigned offer;  /* under way */
    bool from_zero;  /* its second download, after one that was put together from parts was bad */
    unsigned n_good; /* of the offers */
    struct firmware_download_result fetched;
    struct poll_round_result result;
};

static void ask_next_source(struct poll_round *round);
static void take_next_offer(struct poll_round *round);
static void finish_close(struct poll_round *round);

static const struct config_source *source_of(const struct poll_round *round) {
    return &round->config->sources[round->source];
}

static struct poll_memory *memory_of(struct poll_round *round) {
    return &round->memories[round->source];
}

static const struct firmware_offer *offer_of(const struct poll_round *round) {
    return &round->answer.offers[round->offer];
}

/* ---- outcome --------------------------------------------------------------------------------- */

/* A part of the sentence; whatever came from outside must be fit for a terminal and the bus. */
__attribute__((format(printf, 2, 3))) static void say(struct poll_round *round, const char *format, ...) {
    char *text = round->result.text;
    size_t length = strlen(text), size = sizeof round->result.text;
    va_list args;

    if (length > 0 && length + 3 < size) {
        strcpy(text + length, "; ");
        length += 2;
    }
    va_start(args, format);
    vsnprintf(text + length, size - length, format, args);
    va_end(args);
    for (text += length; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

static void finish(struct poll_round *round, bool is_success) {
    round->step = ROUND_IDLE;
    round->result.is_success = is_success;
    round->events->on_done(round->userdata, &round->result);
}

/* "software.pycom.io" of a URL. */
static void say_source(struct poll_round *round, const char *why) {
    char url[FIRMWARE_URL_MAX];
    const char *host;

    firmware_url_show(source_of(round)->url, url, sizeof url);
    host = strstr(url, "://");
    host = host ? host + 3 : url;
    say(round, "%.*s: %s", (int)strcspn(host, "/?#"), host, why);
}

static void remember(struct poll_round *round) {
    poll_memory_save(memory_of(round), source_of(round), round->notes);
}

/* All offers of a source were looked at. */
static void end_source(struct poll_round *round) {
    if (round->n_good == 0) {
        round->source++;
        ask_next_source(round);
        return;
    }
    /* An answer that hasn't changed means that there is nothing to do only when it led to one package. */
    if (round->answer.n == 1) {
        struct poll_memory *memory = memory_of(round);

        if (strcmp(memory->etag, round->etag) != 0 ||
            strcmp(memory->last_modified, round->last_modified) != 0) {
            strcpy(memory->etag, round->etag);
            strcpy(memory->last_modified, round->last_modified);
            remember(round);
        }
    }
    finish(round, true);
}

static void end_offer(struct poll_round *round) {
    round->offer++;
    round->from_zero = false;
    take_next_offer(round);
}

/* ---- what the store has ---------------------------------------------------------------------- */

static const char *name_of(const struct firmware_record *record) {
    return record->server_version[0] ? record->server_version
           : record->release[0]      ? record->release
                                     : record->name;
}

static const struct firmware_record *find_in_store(struct poll_round *round, const char *sha256) {
    const struct firmware_record *record = sha256[0] ? firmware_store_find(round->store, sha256) : NULL;

    return record && record->state != FIRMWARE_MISSING ? record : NULL;
}

/* The package that is offered, when it is here already: by the server's hash, or by what this same offer led
 * to before. */
static const struct firmware_record *find_offered(struct poll_round *round) {
    const struct firmware_offer *offer = offer_of(round);
    const struct poll_memory *memory = memory_of(round);
    const struct firmware_record *record;

    if (offer->sha1[0]) {
        for (unsigned i = 0; (record = firmware_store_at(round->store, i)); i++)
            if (record->state != FIRMWARE_MISSING && !strcmp(record->server_hash, offer->sha1))
                return record;
        if (!strcmp(memory->url, offer->url) && !strcmp(memory->sha1, offer->sha1))
            return find_in_store(round, memory->sha256);
        return NULL;
    }
    /* Without hash and validators there is nothing to ask the server with. */
    if (!strcmp(memory->url, offer->url) && !memory->package_etag[0] && !memory->package_last_modified[0])
        return find_in_store(round, memory->sha256);
    return NULL;
}

static void judge_record(struct poll_round *round, const struct firmware_record *record, const char *prefix) {
    if (record->state == FIRMWARE_GOOD) {
        round->n_good++;
        say(round, "%s: %s", prefix, name_of(record));
    } else {
        say(round, "%s is in quarantine: %s", record->name, record->reason);
    }
}

/* ---- fetching what is offered ---------------------------------------------------------------- */

static void start_download(struct poll_round *round) {
    const struct firmware_offer *offer = offer_of(round);
    const struct poll_memory *memory = memory_of(round);
    bool is_conditional = !strcmp(memory->url, offer->url) && find_in_store(round, memory->sha256) &&
                          !strcmp(memory->sha1, offer->sha1);
    const struct firmware_download_request request = {
        .url = offer->url,
        .sha1 = offer->sha1,
        .etag = is_conditional ? memory->package_etag : "",
        .last_modified = is_conditional ? memory->package_last_modified : "",
    };
    int r = firmware_download_start(round->download, &request);

    if (r < 0) {
        say(round, "%s: %s", offer->name, strerror(-r));
        end_offer(round);
        return;
    }
    round->step = ROUND_DOWNLOADING;
    round->events->on_state(round->userdata, FIRMWARE_POLL_FETCHING, source_of(round)->url);
}

static void take_next_offer(struct poll_round *round) {
    const struct firmware_record *record;
    uint32_t number;

    if (round->offer == round->answer.n) {
        end_source(round);
        return;
    }
    if (offer_of(round)->int_version && firmware_release_parse(offer_of(round)->version, &number) &&
        number != offer_of(round)->int_version)
        log_notice("the server calls %s number %u, by its name it would be %u: the server's counts",
                   offer_of(round)->version, offer_of(round)->int_version, number);
    record = find_offered(round);
    if (!record) {
        start_download(round);
        return;
    }
    judge_record(round, record, "up to date");
    end_offer(round);
}

static void on_added(void *userdata, const struct fault *fault, const struct firmware_record *record) {
    struct poll_round *round = userdata;
    struct poll_memory *memory = memory_of(round);
    const struct firmware_offer *offer = offer_of(round);

    round->n_pending--;
    if (round->is_closing) {
        finish_close(round);
        return;
    }
    firmware_download_drop(round->download);
    if (fault && fault->code != WIPYD_ERROR_SYSTEM && fault->code != WIPYD_ERROR_NO_MEMORY &&
        round->fetched.was_resumed && !round->from_zero) {
        log_info("%s: %s; fetching it anew, in one piece", offer->name, fault->story);
        round->from_zero = true;
        start_download(round);
        return;
    }
    if (fault) {
        bool is_named = !strncmp(fault->story, offer->name, strlen(offer->name));

        say(round, "%s%s%s", is_named ? "" : offer->name, is_named ? "" : ": ", fault->story);
        end_offer(round);
        return;
    }
    round->result.is_new = true;
    judge_record(round, record, "fetched");
    strcpy(memory->url, offer->url);
    strcpy(memory->sha1, offer->sha1);
    strcpy(memory->sha256, record->sha256);
    strcpy(memory->package_etag, round->fetched.etag);
    strcpy(memory->package_last_modified, round->fetched.last_modified);
    memory->etag[0] = memory->last_modified[0] = 0; /* of an older answer */
    remember(round);
    end_offer(round);
}

static void on_downloaded(void *userdata, const struct firmware_download_result *result) {
    struct poll_round *round = userdata;
    const struct firmware_offer *offer = offer_of(round);
    const struct firmware_record *record;
    char shown[FIRMWARE_URL_MAX];
    const struct firmware_origin origin = {
        .url = shown,
        .name = offer->name,
        .server_version = offer->version[0] && offer->int_version ? offer->version : NULL,
        .server_int_version = offer->int_version,
        .server_hash = offer->sha1[0] ? offer->sha1 : NULL,
    };

    round->fetched = *result;
    switch (result->outcome) {
    case FIRMWARE_DOWNLOAD_DONE:
        firmware_url_show(offer->url, shown, sizeof shown);
        round->step = ROUND_ADDING;
        round->n_pending++;
        firmware_store_add(round->store, result->fd, result->bytes, &origin, on_added, round);
        return;
    case FIRMWARE_DOWNLOAD_NOT_MODIFIED:
        record = find_in_store(round, memory_of(round)->sha256);
        if (record)
            judge_record(round, record, "up to date");
        else
            say(round, "%s: gone from the store while the server was asked", offer->name);
        end_offer(round);
        return;
    case FIRMWARE_DOWNLOAD_FAILED:
        if (result->retry_after_s > round->result.retry_after_s)
            round->result.retry_after_s = result->retry_after_s;
        say(round, "%s: %s", offer->name, result->text);
        end_offer(round);
        return;
    }
}

static void on_download_progress(void *userdata, uint64_t done, uint64_t total) {
    struct poll_round *round = userdata;

    round->events->on_progress(round->userdata, done, total);
}

static const struct firmware_download_events download_events = {
    .on_progress = on_download_progress,
    .on_done = on_downloaded,
};

/* ---- asking ---------------------------------------------------------------------------------- */

static bool is_package_url(const char *url) {
    char name[64];
    size_t length;

    firmware_url_name(url, name, sizeof name);
    length = strlen(name);
    return length > 7 && !strcmp(name + length - 7, ".tar.gz") && strcmp(name, "package.tar.gz") != 0;
}

/* Asked with redirect=true, findupgrade leads straight to the package. */
static bool is_led_to_package(const struct poll_round *round, const struct http_result *http) {
    return source_of(round)->kind == CONFIG_SOURCE_FINDUPGRADE &&
           (http->outcome == HTTP_OK || http->outcome == HTTP_TOO_LARGE) &&
           strcmp(http->url, source_of(round)->url) != 0 && is_package_url(http->url);
}

static bool read_answer(struct poll_round *round, const struct http_result *http, char *why, size_t size) {
    struct firmware_answer *answer = &round->answer;

    if (source_of(round)->kind == CONFIG_SOURCE_FINDUPGRADE)
        return firmware_answer_read(answer, http->body, http->body_bytes, http->content_type, http->url, why,
                                    size);
    *answer = (struct firmware_answer) { 0 };
    if (http->body_bytes == 0) {
        snprintf(why, size, "the listing is empty");
        return false;
    }
    if (!firmware_listing_read(&answer->offers[0], http->body, http->body_bytes, http->url, why, size))
        return false;
    answer->n = 1;
    return true;
}

/* False, and why: nothing usable. */
static bool take_answer(struct poll_round *round, const struct http_result *http, char *why, size_t size) {
    struct firmware_offer *offer = &round->answer.offers[0];

    snprintf(round->etag, sizeof round->etag, "%s", http->etag);
    snprintf(round->last_modified, sizeof round->last_modified, "%s", http->last_modified);
    if (is_led_to_package(round, http)) {
        round->answer = (struct firmware_answer) { .n = 1 };
        snprintf(offer->url, sizeof offer->url, "%s", http->url);
        firmware_url_name(offer->url, offer->name, sizeof offer->name);
        return true;
    }
    if (http->outcome == HTTP_OK)
        return read_answer(round, http, why, size);
    if (http->outcome == HTTP_STATUS && http->status == 412)
        snprintf(why, size, "the server answered 412: it takes this client for too old");
    else
        snprintf(why, size, "%s", http->text);
    return false;
}

static void on_answer(void *userdata, const struct http_result *http) {
    struct poll_round *round = userdata;
    const struct firmware_record *record;
    char why[200];

    round->asking = NULL;
    if (http->retry_after_s > round->result.retry_after_s)
        round->result.retry_after_s = http->retry_after_s;
    round->offer = round->n_good = 0;
    if (http->outcome == HTTP_NOT_MODIFIED && (record = find_in_store(round, memory_of(round)->sha256))) {
        round->answer.n = 0;
        judge_record(round, record, "up to date");
        end_source(round);
        return;
    }
    if (take_answer(round, http, why, sizeof why)) {
        take_next_offer(round);
        return;
    }
    say_source(round, why);
    round->source++;
    ask_next_source(round);
}

static void ask_http(struct poll_round *round) {
    const struct config *config = round->config;
    const struct poll_memory *memory = memory_of(round);
    bool is_conditional = find_in_store(round, memory->sha256) != NULL;
    const struct http_request request = {
        .url = source_of(round)->url,
        .bytes_max = source_of(round)->kind == CONFIG_SOURCE_MIRROR ? FIRMWARE_LISTING_BYTES_MAX
                                                                    : FIRMWARE_ANSWER_BYTES_MAX,
        .connect_timeout_ms = config->timeout_s * 1000,
        .total_timeout_ms = config->timeout_s * 1000 * TIMEOUTS_TOTAL,
        .slow_bytes_per_s = SLOW_BYTES_S,
        .slow_s = config->timeout_s,
        .allow_http = config->allow_http,
        .follow = true,
        .etag = is_conditional ? memory->etag : NULL,
        .last_modified = is_conditional ? memory->last_modified : NULL,
        .fd = -1,
        .proxy = config->proxy,
        .ca_file = config->ca_file,
    };
    int r = http_get(&round->asking, round->http, &request, on_answer, round);

    if (r < 0) {
        say_source(round, strerror(-r));
        round->source++;
        ask_next_source(round);
        return;
    }
    round->step = ROUND_ASKING;
}

static void on_folder_done(void *userdata, const struct poll_folder_result *result) {
    struct poll_round *round = userdata;

    say(round, "%s: %s", source_of(round)->url, result->text);
    if (result->n_new > 0)
        round->result.is_new = true;
    if (result->is_changed)
        remember(round);
    if (result->is_usable) {
        finish(round, true);
        return;
    }
    round->source++;
    ask_next_source(round);
}

static void ask_next_source(struct poll_round *round) {
    if (round->source == round->config->n_sources) {
        finish(round, false);
        return;
    }
    round->events->on_state(round->userdata, FIRMWARE_POLL_ASKING, source_of(round)->url);
    switch (source_of(round)->kind) {
    case CONFIG_SOURCE_FINDUPGRADE:
    case CONFIG_SOURCE_MIRROR:
        ask_http(round);
        return;
    case CONFIG_SOURCE_FOLDER:
        round->step = ROUND_FOLDER;
        poll_folder_start(round->folder, source_of(round)->url, &memory_of(round)->files);
        return;
    }
}

static void on_starter(uv_timer_t *timer) {
    ask_next_source(timer->data);
}

/* ---- object ---------------------------------------------------------------------------------- */

int poll_round_new(struct poll_round **ret, uv_loop_t *loop, const char *folder, struct firmware_store *store,
                   struct http_loop *http, struct work_queue *queue, struct poll_notes *notes,
                   const struct config *config, const struct poll_round_events *events, void *userdata) {
    struct poll_round *round = calloc(1, sizeof *round);
    int r;

    if (!round)
        return -ENOMEM;
    r = poll_folder_new(&round->folder, store, queue, on_folder_done, round);
    if (r >= 0)
        r = firmware_download_new(&round->download, loop, folder, http, queue, notes, config,
                                  &download_events, round);
    if (r < 0) {
        poll_folder_free(round->folder);
        free(round);
        return r;
    }
    round->store = store;
    round->http = http;
    round->notes = notes;
    round->config = config;
    round->events = events;
    round->userdata = userdata;
    uv_timer_init(loop, &round->starter);
    round->starter.data = round;
    *ret = round;
    return 0;
}

void poll_round_remember(struct poll_round *round, struct poll_memories *memories) {
    for (unsigned i = 0; i < CONFIG_SOURCES_MAX; i++) {
        free(round->memories[i].files);
        round->memories[i] = memories->sources[i];
        memories->sources[i].files = NULL;
    }
    firmware_download_set_part(round->download, &memories->part);
}

void poll_round_start(struct poll_round *round) {
    assert(round->step == ROUND_IDLE);
    round->step = ROUND_STARTING;
    round->source = 0;
    round->result = (struct poll_round_result) { 0 };
    uv_timer_start(&round->starter, on_starter, 0, 0);
}

static void finish_close(struct poll_round *round) {
    if (round->n_pending > 0)
        return;
    for (unsigned i = 0; i < CONFIG_SOURCES_MAX; i++)
        free(round->memories[i].files);
    round->on_closed(round->closed_userdata);
    free(round);
}

static void on_part_closed(void *userdata) {
    struct poll_round *round = userdata;

    round->n_pending--;
    finish_close(round);
}

static void on_starter_closed(uv_handle_t *handle) {
    on_part_closed(handle->data);
}

void poll_round_close(struct poll_round *round, void (*on_closed)(void *userdata), void *userdata) {
    round->is_closing = true;
    round->on_closed = on_closed;
    round->closed_userdata = userdata;
    http_cancel(round->asking);
    round->n_pending += 3;
    uv_close((uv_handle_t *)&round->starter, on_starter_closed);
    firmware_download_close(round->download, on_part_closed, round);
    poll_folder_close(round->folder, on_part_closed, round);
}
