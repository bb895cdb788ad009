#include "client/view.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "client/device.h"
#include "client/failure.h"
#include "client/progress.h"
#include "client/terminal.h"
#include "client/text.h"
#include "proto/error.h"
#include "proto/phase.h"

#define DRAW_US    UINT64_C(200000)
#define NAME_MAX   16
#define LABEL_MAX  12
#define TEXT_WANTS 56 /* columns, before the bar gets more than its least */
#define BAR_MIN    8
#define BAR_WIDE   24

/* ---- one line -------------------------------------------------------------------------------- */

struct widths {
    size_t name, label, bar;
};

static void put_column(struct screen *screen, enum text_style style, const char *text, size_t width) {
    char cut[256];
    size_t used;

    if (!width)
        return;
    snprintf(cut, sizeof(cut) - 4, "%s", text);
    text_clean(cut);
    used = text_cut(cut, width);
    screen_put(screen, style, "%s", cut);
    screen_put(screen, TEXT_PLAIN, "%*s", (int)(width - used + 1), "");
}

static bool is_under_way(const struct job *job) {
    enum wipyd_job_state state = wipyd_job_state_from_word(job->state);

    return state == WIPYD_JOB_STATE_COUNT || !wipyd_job_state_is_final(state);
}

static void put_bar(struct screen *screen, const struct job *job, size_t width) {
    double fraction = job->progress > 1.0 ? 1.0 : job->progress > 0.0 ? job->progress : 0.0;
    bool utf8 = terminal_is_utf8();
    char bar[PROGRESS_BAR_SIZE];

    screen_put(screen, TEXT_PLAIN, "%s", utf8 ? "▕" : "[");
    screen_put(screen, TEXT_GOOD, "%s", progress_bar(bar, fraction, width));
    screen_put(screen, TEXT_PLAIN, "%s %3u %% ", utf8 ? "▏" : "]", (unsigned)(fraction * 100.0));
}

/* "writing, 0:17 left" and what a person should do; a job's rate has its column. */
static void put_job(struct screen *screen, const struct job *job) {
    char label[64], clock[TEXT_SIZE];
    uint64_t seconds;

    if (wipyd_job_state_from_word(job->state) == WIPYD_JOB_STATE_INTERRUPTED) {
        screen_put(screen, TEXT_ACTION, "cut off: plug it in again, it goes on by itself");
        return;
    }
    screen_put(screen, TEXT_PLAIN, "%s", progress_label(job, label, sizeof(label)));
    if (progress_time_left(job, &seconds))
        screen_put(screen, TEXT_PLAIN, ", %s left", text_clock(clock, seconds));
    if (*job->user_action)
        screen_put(screen, TEXT_ACTION, ": %s", job->user_action);
    else if (*job->waits_for)
        screen_put(screen, TEXT_PLAIN, ": %s", job->waits_for);
}

static void put_end(struct screen *screen, const struct job *job) {
    enum wipyd_error error = wipyd_error_from_bus_name(job->error);
    bool done = wipyd_job_state_from_word(job->state) == WIPYD_JOB_STATE_DONE;
    const char *why = error == WIPYD_ERROR_COUNT ? job->error : wipyd_error_sentence(error);
    size_t length = strlen(why);
    char release[TEXT_SIZE];

    if (length && why[length - 1] == '.')
        length--;
    if (done)
        screen_put(screen, TEXT_GOOD, "done%s%s", *job->release ? ": " : "",
                   text_release(release, job->release));
    else
        screen_put(screen, TEXT_BAD, "%s%s%.*s", job->state, *job->error ? ": " : "", (int)length, why);
}

static void put_device(struct screen *screen, const struct device *device, bool with_verdict) {
    char now[160];

    if (with_verdict)
        screen_put(screen, TEXT_PLAIN, "%s: ", text_or_dash(device->verdict));
    if (*device->advice)
        screen_put(screen, TEXT_ACTION, "%s", device->advice);
    else if (with_verdict)
        screen_put(screen, TEXT_PLAIN, "%s", device_now(device, now, sizeof(now)));
}

static void put_row(struct screen *screen, const struct view_row *row, const struct widths *widths) {
    const struct job *job = row->job;
    char rate[TEXT_SIZE + 2] = "", bytes[TEXT_SIZE];

    put_column(screen, TEXT_STRONG, row->name, widths->name);
    put_column(screen, TEXT_PLAIN, row->label, widths->label);
    if (job)
        put_bar(screen, job, widths->bar);
    else
        screen_put(screen, TEXT_PLAIN, "%*s", (int)widths->bar + 9, "");
    if (job && job->rate && is_under_way(job))
        snprintf(rate, sizeof(rate), "%s/s", text_bytes(bytes, job->rate));
    screen_put(screen, TEXT_PLAIN, " %9s  ", rate);
    if (job && is_under_way(job)) {
        put_job(screen, job);
    } else if (job) {
        put_end(screen, job);
        if (row->device && *row->device->advice)
            screen_put(screen, TEXT_PLAIN, ". ");
        if (row->device)
            put_device(screen, row->device, false);
    } else if (row->device) {
        put_device(screen, row->device, true);
    } else {
        screen_put(screen, TEXT_FAINT, "empty");
    }
    if (row->advice && *row->advice)
        screen_put(screen, TEXT_ACTION, ". %s", row->advice);
    screen_end_line(screen);
}

/* ---- all ------------------------------------------------------------------------------------- */

static size_t widest(size_t now, const char *text, size_t max) {
    size_t columns = text_columns(text);

    return columns > max ? max : columns > now ? columns : now;
}

static struct widths measure(const struct view *view, const struct view_row *rows, size_t n) {
    struct widths widths = { .bar = BAR_MIN };
    size_t used, columns = view->screen.columns;

    for (size_t i = 0; i < n; i++) {
        widths.name = widest(widths.name, rows[i].name, NAME_MAX);
        widths.label = widest(widths.label, rows[i].label, LABEL_MAX);
    }
    used = widths.name + widths.label + BAR_MIN + 24 + TEXT_WANTS;
    if (columns > used)
        widths.bar += columns - used < BAR_WIDE - BAR_MIN ? columns - used : BAR_WIDE - BAR_MIN;
    return widths;
}

/* Those with a job under way are the last to be left out where the terminal is too low. */
static void put_rows(struct view *view, const struct view_row *rows, size_t n, size_t n_fit) {
    struct widths widths = measure(view, rows, n);
    size_t n_busy = 0, n_idle, n_left_out = 0;

    if (n > n_fit)
        n_fit--; /* for the line that says so */
    for (size_t i = 0; i < n; i++)
        n_busy += rows[i].job && is_under_way(rows[i].job);
    n_idle = n_fit > n_busy ? n_fit - n_busy : 0;
    for (size_t i = 0; i < n; i++) {
        bool is_busy = rows[i].job && is_under_way(rows[i].job);
        size_t *room = is_busy ? &n_busy : &n_idle;

        if (!n_fit || (!is_busy && !*room)) {
            n_left_out++;
            continue;
        }
        put_row(&view->screen, &rows[i], &widths);
        *room -= *room ? 1 : 0;
        n_fit--;
    }
    if (!n_left_out)
        return;
    screen_put(&view->screen, TEXT_FAINT, "%s and %zu more", terminal_is_utf8() ? "…" : "...", n_left_out);
    screen_end_line(&view->screen);
}

static uint64_t now_us(const struct view *view) {
    uint64_t now = 0;

    sd_event_now(view->event, CLOCK_MONOTONIC, &now);
    return now;
}

void view_draw(struct view *view) {
    static struct view_row rows[VIEW_ROWS_MAX];
    struct screen *screen = &view->screen;
    size_t n = view->rows(view->userdata, rows, VIEW_ROWS_MAX);

    screen_begin(screen);
    view->head(view->userdata, screen);
    put_rows(view, rows, n,
             screen_lines(screen) > screen->n_drawn ? screen_lines(screen) - screen->n_drawn : 1);
    screen_end(screen);
    view->drawn_at_us = now_us(view);
}

static int on_timer(sd_event_source *source, uint64_t now, void *userdata) {
    (void)source, (void)now;
    view_draw(userdata);
    return 0;
}

void view_news(struct view *view) {
    uint64_t now = now_us(view);
    int enabled = SD_EVENT_OFF;

    sd_event_source_get_enabled(view->timer, &enabled);
    if (enabled != SD_EVENT_OFF)
        return;
    sd_event_source_set_time(view->timer,
                             now > view->drawn_at_us + DRAW_US ? now : view->drawn_at_us + DRAW_US);
    sd_event_source_set_enabled(view->timer, SD_EVENT_ONESHOT);
}

static int on_resize(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
    struct view *view = userdata;

    (void)source, (void)info;
    screen_forget(&view->screen);
    view_draw(view);
    return 0;
}

/* Ctrl-Z: the shell gets its cursor, and the picture comes again with `fg`. */
static int on_stop(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
    struct view *view = userdata;

    (void)source, (void)info;
    screen_close(&view->screen);
    raise(SIGSTOP);
    screen_open(&view->screen);
    screen_forget(&view->screen);
    view_draw(view);
    return 0;
}

static void block_signals(int how) {
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTSTP);
    sigprocmask(how, &signals, NULL);
}

enum exit_code view_open(struct view *view, const struct client *client, sd_event *event) {
    int r;

    view->event = sd_event_ref(event);
    block_signals(SIG_BLOCK);
    r = sd_event_add_time(event, &view->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, view);
    if (r >= 0)
        r = sd_event_source_set_enabled(view->timer, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_signal(event, NULL, SIGWINCH, on_resize, view);
    if (r >= 0)
        r = sd_event_add_signal(event, NULL, SIGTSTP, on_stop, view);
    if (r < 0)
        return failure_system(client, "wipyctl can't wait for the daemon.", r);
    screen_open(&view->screen);
    return EXIT_DONE;
}

void view_close(struct view *view) {
    if (!view->event)
        return;
    screen_close(&view->screen);
    sd_event_source_unref(view->timer);
    view->event = sd_event_unref(view->event);
    block_signals(SIG_UNBLOCK);
}
