#include "daemon/firmware/poll.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "daemon/base/log.h"
#include "daemon/firmware/poll_alarm.h"
#include "daemon/firmware/poll_round.h"
#include "daemon/firmware/poll_schedule.h"

#define NOTE            "poll.next"
#define FIRST_DELAY_US  2000000ull  /* after start, with nothing in the store: at most */
#define RESTART_WAIT_US 60000000ull /* a daemon that is restarted again and again asks no more often */

struct firmware_poll {
    uv_loop_t *loop;
    struct firmware_store *store;
    struct records *records;
    const struct config *config;
    void (*on_changed)(void *userdata);
    void *userdata;
    char *folder; /* the store's */

    struct firmware_poll_status status;
    struct poll_notes *notes;
    struct poll_alarm *alarm;
    struct poll_round *round;
    uint64_t delay_us; /* that next_us was set with */
    bool is_loaded, is_wanted;
    unsigned n_pending;
    bool is_closing;
    void (*on_closed)(void *userdata);
    void *closed_userdata;

    struct work_queue *queue;
    struct poll_memories memories; /* on their way from the records to the round */
    char *note;
};

/* ---- time ------------------------------------------------------------------------------------ */

static uint64_t now_us(void) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static uint32_t random_bits(void) {
    uint32_t bits;

    if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != sizeof bits)
        bits = (uint32_t)now_us() * 2654435761u;
    return bits;
}

static uint64_t interval_us(const struct firmware_poll *poll) {
    return (uint64_t)poll->config->poll_interval_s * 1000000u;
}

/* ---- notes ----------------------------------------------------------------------------------- */

/* One note, so that what belongs together changes together. */
static void save(struct firmware_poll *poll) {
    const struct firmware_poll_status *status = &poll->status;
    char note[512], sources[41];

    poll_memory_fingerprint(poll->config, sources);
    snprintf(note, sizeof note, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %u %s %s", status->next_us,
             poll->delay_us, status->last_us, status->last_success_us, status->failures, sources,
             status->result);
    poll_notes_put(poll->notes, NOTE, note);
}

/* Whether the note is about the sources as configured now. */
static bool recall(struct firmware_poll *poll) {
    struct firmware_poll_status *status = &poll->status;
    char sources[41], noted_sources[41];
    int result = 0;

    if (!poll->note || sscanf(poll->note, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %u %40s %n",
                              &status->next_us, &poll->delay_us, &status->last_us, &status->last_success_us,
                              &status->failures, noted_sources, &result) < 6) {
        status->next_us = status->last_us = status->last_success_us = poll->delay_us = 0;
        status->failures = 0;
        return false;
    }
    snprintf(status->result, sizeof status->result, "%s", result > 0 ? poll->note + result : "");
    poll_memory_fingerprint(poll->config, sources);
    return !strcmp(sources, noted_sources);
}

/* ---- schedule -------------------------------------------------------------------------------- */

static void set_alarm(struct firmware_poll *poll) {
    int r = poll_alarm_set(poll->alarm, poll->status.next_us);

    if (r < 0)
        log_error("the next poll can't be scheduled: %s", strerror(-r));
}

static void schedule(struct firmware_poll *poll, uint64_t delay_us) {
    poll->delay_us = delay_us;
    poll->status.next_us = now_us() + delay_us;
}

static void start_round(struct firmware_poll *poll) {
    poll->is_wanted = false;
    poll->status.state = FIRMWARE_POLL_ASKING;
    poll->status.bytes_done = poll->status.bytes_total = 0;
    poll->status.last_us = now_us();
    /* Should this poll kill us, the next start goes on as after a failure. */
    schedule(poll, poll_schedule_delay_us(interval_us(poll), poll->status.failures + 1, 0, random_bits()));
    save(poll);
    poll_round_start(poll->round);
    poll->on_changed(poll->userdata);
}

static bool is_idle(const struct firmware_poll *poll) {
    return poll->is_loaded && poll->status.state == FIRMWARE_POLL_IDLE;
}

/* The moment is there, or the clock was set. */
static void on_ring(void *userdata) {
    struct firmware_poll *poll = userdata;
    uint64_t now = now_us(), next;

    if (poll->is_closing || !is_idle(poll))
        return;
    if (poll->status.next_us <= now) {
        start_round(poll);
        return;
    }
    next = poll_schedule_next_us(now, poll->status.next_us, poll->delay_us);
    if (next != poll->status.next_us) {
        log_info("the clock was set back: the next poll comes sooner by it");
        poll->status.next_us = next;
        save(poll);
        poll->on_changed(poll->userdata);
    }
    set_alarm(poll);
}

/* After start: at the noted moment; with an empty store, other sources, or none noted, soon. */
static void schedule_first(struct firmware_poll *poll, bool is_noted) {
    struct firmware_poll_status *status = &poll->status;
    uint64_t now = now_us(), soon, wait_until;
    uint64_t spread = interval_us(poll) / 10 < FIRST_DELAY_US ? interval_us(poll) / 10 : FIRST_DELAY_US;

    soon = now + spread * (random_bits() >> 16) / 0x10000;
    if (!is_noted) {
        status->failures = 0;
        status->next_us = soon;
    } else {
        status->next_us = poll_schedule_next_us(now, status->next_us, poll->delay_us);
        if (!firmware_store_at(poll->store, 0)) {
            wait_until = status->last_us + RESTART_WAIT_US;
            if (status->last_us <= now && wait_until > soon)
                soon = wait_until;
            if (soon < status->next_us)
                status->next_us = soon;
        }
    }
    poll->delay_us = status->next_us > now ? status->next_us - now : 0;
    set_alarm(poll);
}

/* ---- a round --------------------------------------------------------------------------------- */

static void on_state(void *userdata, enum firmware_poll_state state, const char *source) {
    struct firmware_poll *poll = userdata;

    poll->status.state = state;
    poll->status.bytes_done = poll->status.bytes_total = 0;
    firmware_url_show(source, poll->status.source, sizeof poll->status.source);
    for (char *c = poll->status.source; *c; c++)
        if (*c < ' ' || *c > '~') /* of a folder: the bus takes no broken UTF-8 */
            *c = '?';
    log_debug("%s %s", state == FIRMWARE_POLL_FETCHING ? "fetching from" : "asking", poll->status.source);
    poll->on_changed(poll->userdata);
}

static void on_progress(void *userdata, uint64_t done, uint64_t total) {
    struct firmware_poll *poll = userdata;

    poll->status.bytes_done = done;
    poll->status.bytes_total = total;
    poll->on_changed(poll->userdata);
}

static void on_round_done(void *userdata, const struct poll_round_result *result) {
    struct firmware_poll *poll = userdata;
    struct firmware_poll_status *status = &poll->status;

    status->state = FIRMWARE_POLL_IDLE;
    status->bytes_done = status->bytes_total = 0;
    status->last_us = now_us();
    strcpy(status->result, result->text);
    if (result->is_success) {
        status->failures = 0;
        status->last_success_us = status->last_us;
        if (result->is_new)
            log_info("firmware: %s", result->text);
        else
            log_debug("firmware: %s", result->text);
    } else {
        status->failures++;
        log_warning("no new firmware: %s", result->text);
    }
    schedule(poll, poll_schedule_delay_us(interval_us(poll), status->failures, result->retry_after_s,
                                          random_bits()));
    save(poll);
    set_alarm(poll);
    poll->on_changed(poll->userdata);
}

static const struct poll_round_events round_events = {
    .on_state = on_state,
    .on_progress = on_progress,
    .on_done = on_round_done,
};

/* ---- the way up ------------------------------------------------------------------------------ */

static void finish_close(struct firmware_poll *poll);

static void run_load(void *userdata) {
    struct firmware_poll *poll = userdata;

    poll->note = poll_notes_get(poll->records, NOTE);
    poll_memories_recall(&poll->memories, poll->records, poll->config, poll->folder);
}

static void on_loaded(void *userdata) {
    struct firmware_poll *poll = userdata;

    poll->n_pending--;
    if (poll->is_closing) {
        finish_close(poll);
        return;
    }
    poll->is_loaded = true;
    poll_round_remember(poll->round, &poll->memories);
    schedule_first(poll, recall(poll));
    free(steal_pointer(&poll->note));
    if (poll->is_wanted)
        start_round(poll);
    else
        poll->on_changed(poll->userdata);
}

const struct firmware_poll_status *firmware_poll_status(const struct firmware_poll *poll) {
    return &poll->status;
}

void firmware_poll_now(struct firmware_poll *poll) {
    if (poll->is_closing || poll->status.state == FIRMWARE_POLL_OFF)
        return;
    if (is_idle(poll))
        start_round(poll);
    else
        poll->is_wanted = !poll->is_loaded;
}

static int set_up(struct firmware_poll *poll, uv_loop_t *loop, struct http_loop *http) {
    int r;

    if (asprintf(&poll->folder, "%s/firmware", poll->config->state_directory) < 0) {
        poll->folder = NULL;
        return -ENOMEM;
    }
    r = poll_notes_new(&poll->notes, poll->records, poll->queue);
    if (r >= 0)
        r = poll_alarm_new(&poll->alarm, loop, on_ring, poll);
    if (r >= 0)
        r = poll_round_new(&poll->round, loop, poll->folder, poll->store, http, poll->queue, poll->notes,
                           poll->config, &round_events, poll);
    if (r >= 0 && poll->config->n_sources > 0) {
        r = work_queue_add(poll->queue, run_load, on_loaded, poll);
        if (r >= 0)
            poll->n_pending++;
    }
    return r;
}

static void nothing(void *userdata) {
    (void)userdata;
}

int firmware_poll_new(struct firmware_poll **ret, uv_loop_t *loop, struct firmware_store *store,
                      struct http_loop *http, struct records *records, struct work_queue *queue,
                      const struct config *config, void (*on_changed)(void *userdata), void *userdata) {
    struct firmware_poll *poll = calloc(1, sizeof *poll);
    int r;

    if (!poll)
        return -ENOMEM;
    poll->loop = loop;
    poll->store = store;
    poll->records = records;
    poll->queue = queue;
    poll->config = config;
    poll->on_changed = on_changed;
    poll->userdata = userdata;
    if (config->n_sources == 0) {
        poll->status.state = FIRMWARE_POLL_OFF;
        strcpy(poll->status.result, "no sources are configured");
    }
    r = set_up(poll, loop, http);
    if (r < 0) {
        firmware_poll_close(poll, nothing, NULL);
        return r;
    }
    *ret = poll;
    return 0;
}

/* ---- the way down ---------------------------------------------------------------------------- */

static void on_part_closed(void *userdata) {
    struct firmware_poll *poll = userdata;

    poll->n_pending--;
    finish_close(poll);
}

static void on_notes_closed(void *userdata) {
    struct firmware_poll *poll = userdata;

    poll_memories_deinit(&poll->memories);
    free(poll->note);
    free(poll->folder);
    poll->on_closed(poll->closed_userdata);
    free(poll);
}

/* The notes last: the others write some while they close. */
static void finish_close(struct firmware_poll *poll) {
    if (poll->n_pending > 0)
        return;
    if (poll->notes)
        poll_notes_close(poll->notes, on_notes_closed, poll);
    else
        on_notes_closed(poll);
}

void firmware_poll_close(struct firmware_poll *poll, void (*on_closed)(void *userdata), void *userdata) {
    poll->is_closing = true;
    poll->on_closed = on_closed;
    poll->closed_userdata = userdata;
    poll->n_pending += 1u + (poll->alarm != NULL) + (poll->round != NULL);
    if (poll->alarm)
        poll_alarm_close(poll->alarm, on_part_closed, poll);
    if (poll->round)
        poll_round_close(poll->round, on_part_closed, poll);
    on_part_closed(poll);
}
