#include "client/progress.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/failure.h"
#include "client/terminal.h"
#include "client/text.h"
#include "proto/phase.h"

#define BAR_MIN   8
#define MIB       (1024.0 * 1024.0)
#define LABEL_MIN 24                /* the longest labels of phases that take their time */
#define REDRAW_US UINT64_C(1000000) /* the clock in the line */

static uint64_t now_us(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void progress_open(struct progress *progress, const struct client *client, const char *name) {
    *progress = (struct progress) {
        .client = client,
        .name = name,
        .live = terminal_is_live(stdout),
        .silent = client->options.quiet || client->options.json,
        .begun_us = now_us(),
    };
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* A daemon that is newer than we are may have phases of its own: their word has to do. */
static struct progress_point point_of(const struct job *job) {
    enum wipyd_phase phase = wipyd_phase_from_word(job->phase);
    struct progress_point point = {
        .step = (size_t)phase + 1,
        .fraction = job->progress,
        .bytes_done = job->bytes_done,
        .bytes_total = job->bytes_total,
        .rate = job->rate,
    };

    snprintf(point.label, sizeof(point.label), "%s",
             phase == WIPYD_PHASE_COUNT ? job->phase : wipyd_phase_label(phase));
    return point;
}

static double fraction_of(const struct progress_point *point) {
    if (!(point->fraction > 0.0))
        return 0.0;
    return point->fraction < 1.0 ? point->fraction : 1.0;
}

static unsigned percent_of(const struct progress_point *point) {
    return (unsigned)(fraction_of(point) * 100.0);
}

static bool time_left(const struct progress_point *point, uint64_t *seconds) {
    if (!point->rate || point->bytes_done >= point->bytes_total)
        return false;
    *seconds = (point->bytes_total - point->bytes_done + point->rate - 1) / point->rate;
    return true;
}

char *progress_label(const struct job *job, char *buffer, size_t n) {
    struct progress_point point = point_of(job);

    snprintf(buffer, n, "%s", point.label);
    return buffer;
}

bool progress_time_left(const struct job *job, uint64_t *seconds) {
    struct progress_point point = point_of(job);

    return time_left(&point, seconds);
}

char *progress_summary(const struct job *job, char *buffer, size_t n) {
    struct progress_point point = point_of(job);
    char left[TEXT_SIZE];
    uint64_t seconds;

    if (time_left(&point, &seconds))
        snprintf(buffer, n, "%s, %u %%, %s left", point.label, percent_of(&point), text_clock(left, seconds));
    else
        snprintf(buffer, n, "%s, %u %%", point.label, percent_of(&point));
    return buffer;
}

/* ---- the redrawn line ------------------------------------------------------------------------ */

char *progress_bar(char *buffer, double fraction, size_t columns) {
    static const char *const eighths[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
    bool utf8 = terminal_is_utf8();
    size_t filled = (size_t)(fraction * (double)columns * 8.0 + 0.001), full = filled / 8, i;
    char *end = buffer;

    *end = '\0';

    for (i = 0; i < full; i++)
        end = stpcpy(end, utf8 ? "█" : "#");
    if (i < columns && filled % 8 && utf8) {
        end = stpcpy(end, eighths[filled % 8]);
        i++;
    }
    for (; i < columns; i++)
        end = stpcpy(end, utf8 ? " " : ".");
    return buffer;
}

static void put_bar(double fraction, size_t columns) {
    bool utf8 = terminal_is_utf8();
    char bar[PROGRESS_BAR_SIZE];

    text_put(stdout, TEXT_PLAIN, "%s", utf8 ? "▕" : "[");
    text_put(stdout, TEXT_GOOD, "%s", progress_bar(bar, fraction, columns));
    text_put(stdout, TEXT_PLAIN, "%s", utf8 ? "▏" : "]");
}

struct fields {
    char bytes[TEXT_SIZE], rate[TEXT_SIZE + 2], time[TEXT_SIZE + 8];
};

static void fill_fields(const struct progress *progress, struct fields *fields) {
    const struct progress_point *point = &progress->last;
    char text[TEXT_SIZE];
    uint64_t seconds;

    *fields = (struct fields) { 0 };
    if (point->bytes_total)
        snprintf(fields->bytes, sizeof(fields->bytes), "%.2f/%.2f MiB", (double)point->bytes_done / MIB,
                 (double)point->bytes_total / MIB);
    if (point->rate)
        snprintf(fields->rate, sizeof(fields->rate), "%s/s", text_bytes(text, point->rate));
    if (time_left(point, &seconds))
        snprintf(fields->time, sizeof(fields->time), "%s left", text_clock(text, seconds));
    else
        snprintf(fields->time, sizeof(fields->time), "%s",
                 text_clock(text, (now_us() - progress->begun_us) / 1000000));
}

/* name  label  |bar|  43 %  0.52/1.21 MiB  44 KiB/s  0:17 left
 * The fields have fixed widths, so that the bar stands still. Where they don't fit, rate, bytes, name and at
 * last the bar itself give way. */
static void redraw(struct progress *progress) {
    const struct progress_point *point = &progress->last;
    enum { GAP = 2, EDGES = 2, PERCENT = 6, TIME = GAP + 10, BYTES = GAP + 13, RATE = GAP + 9 };
    /* The last column stays free: a cursor behind it makes some terminals wrap. */
    size_t columns = terminal_columns(stdout) - 1;
    size_t label = text_columns(point->label), name = text_columns(progress->name) + GAP;
    size_t label_width = label < LABEL_MIN ? LABEL_MIN : label;
    size_t used = label_width + GAP + EDGES + PERCENT + TIME, bar;
    bool with_name, with_bytes, with_rate;
    struct fields fields;

    fill_fields(progress, &fields);
    with_name = used + name + BAR_MIN <= columns;
    used += with_name ? name : 0;
    with_bytes = used + BYTES + BAR_MIN <= columns;
    used += with_bytes ? BYTES : 0;
    with_rate = with_bytes && used + RATE + BAR_MIN <= columns;
    used += with_rate ? RATE : 0;
    bar = columns > used ? columns - used : 0;
    bar = bar > PROGRESS_BAR_MAX ? PROGRESS_BAR_MAX : bar;

    fputs("\r\033[K", stdout);
    if (with_name)
        text_put(stdout, TEXT_STRONG, "%s  ", progress->name);
    if (bar < BAR_MIN) {
        text_put(stdout, TEXT_PLAIN, "%.*s", (int)(columns > PERCENT ? columns - PERCENT : 0), point->label);
        if (columns > PERCENT)
            text_put(stdout, TEXT_PLAIN, " %3u %%", percent_of(point));
    } else {
        text_put(stdout, TEXT_PLAIN, "%-*s  ", (int)label_width, point->label);
        put_bar(fraction_of(point), bar);
        text_put(stdout, TEXT_PLAIN, " %3u %%", percent_of(point));
        if (with_bytes)
            text_put(stdout, TEXT_PLAIN, "  %13s", fields.bytes);
        if (with_rate)
            text_put(stdout, TEXT_PLAIN, "  %9s", fields.rate);
        text_put(stdout, TEXT_PLAIN, "  %10s", fields.time);
    }
    fflush(stdout);
    progress->drawn = true;
}

/* ---- plain lines ----------------------------------------------------------------------------- */

/* A job goes through comparing, erasing, writing and verifying once per region: only the first time is news.
 */
static void print_if_news(struct progress *progress) {
    const struct progress_point *point = &progress->last;
    unsigned tenths = percent_of(point) / 10;
    char a[TEXT_SIZE], b[TEXT_SIZE];

    if (point->step <= progress->n_steps_seen && tenths <= progress->tenths_seen)
        return;
    if (point->step > progress->n_steps_seen)
        progress->n_steps_seen = point->step;
    progress->tenths_seen = tenths;
    if (point->bytes_total)
        text_line(stdout, TEXT_PLAIN, "%s: %s, %u %%, %s of %s", progress->name, point->label,
                  percent_of(point), text_bytes(a, point->bytes_done), text_bytes(b, point->bytes_total));
    else
        text_line(stdout, TEXT_PLAIN, "%s: %s", progress->name, point->label);
    fflush(stdout);
}

/* ---- both ------------------------------------------------------------------------------------ */

static void show_action(struct progress *progress, const struct job *job) {
    /* In JSON's company a person may still be at the terminal, and the job waits for them. */
    FILE *stream = progress->client->options.json ? stderr : stdout;
    /* What holds it up isn't a person's to do, but a person wants to know. */
    const char *action = *job->user_action ? job->user_action : job->waits_for;

    if (progress->action && !strcmp(progress->action, action))
        return;
    free(progress->action);
    progress->action = strdup(action);
    if (!*action)
        return;
    progress_clear(progress);
    text_line(stream, *job->user_action ? TEXT_ACTION : TEXT_PLAIN, "%s: %s", progress->name, action);
    fflush(stream);
}

/* "cut off: the port has gone away." Why is what the last attempt ended with. */
static void show_cut(struct progress *progress, const struct job *job) {
    FILE *stream = progress->client->options.json ? stderr : stdout;
    const struct attempt *attempts = job->attempts.items;
    const char *reason = job->attempts.n ? attempts[job->attempts.n - 1].reason : job->error_text;
    size_t length = strlen(reason);

    /* A daemon that ends says so itself, by leaving the bus. */
    if (progress->cut || wipyd_error_from_bus_name(job->error) == WIPYD_ERROR_SHUTTING_DOWN)
        return;
    progress->cut = true;
    progress_clear(progress);
    if (length && reason[length - 1] == '.')
        length--;
    text_line(stream, TEXT_ACTION, "%s: cut off%s%.*s. Plug the board in again: the job goes on by itself.",
              progress->name, length ? ": " : "", (int)length, reason);
    fflush(stream);
}

void progress_return(struct progress *progress) {
    if (!progress->cut)
        return;
    progress->cut = false;
    if (!progress->silent)
        text_line(stdout, TEXT_GOOD, "%s: the board is back, the job goes on", progress->name);
    fflush(stdout);
}

void progress_show(struct progress *progress, const struct progress_point *point) {
    progress->last = *point;
    if (progress->silent)
        return;
    if (progress->live)
        redraw(progress);
    else
        print_if_news(progress);
}

void progress_job(struct progress *progress, const struct job *job) {
    struct progress_point point = point_of(job);

    if (wipyd_job_state_from_word(job->state) == WIPYD_JOB_STATE_INTERRUPTED) {
        show_cut(progress, job);
        return;
    }
    progress_return(progress);
    show_action(progress, job);
    progress_show(progress, &point);
}

static int on_tick(sd_event_source *source, uint64_t now, void *userdata) {
    struct progress *progress = userdata;

    if (progress->drawn)
        redraw(progress);
    sd_event_source_set_time(source, now + REDRAW_US);
    return 0;
}

static int on_resize(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata) {
    struct progress *progress = userdata;

    (void)source, (void)info;
    if (progress->drawn)
        redraw(progress);
    return 0;
}

enum exit_code progress_animate(struct progress *progress, sd_event *event) {
    sd_event_source *tick;
    uint64_t now;
    int r;

    if (!progress->live || progress->silent)
        return EXIT_DONE;
    r = sd_event_now(event, CLOCK_MONOTONIC, &now);
    if (r >= 0)
        r = sd_event_add_time(event, &tick, CLOCK_MONOTONIC, now + REDRAW_US, 0, on_tick, progress);
    if (r >= 0) {
        sd_event_source_set_enabled(tick, SD_EVENT_ON);
        sd_event_source_set_floating(tick, true);
        sd_event_source_unref(tick);
        r = sd_event_add_signal(event, NULL, SIGWINCH, on_resize, progress);
    }
    return r < 0 ? failure_system(progress->client, "wipyctl can't wait for the daemon.", r) : EXIT_DONE;
}

void progress_clear(struct progress *progress) {
    if (progress->drawn)
        fputs("\r\033[K", stdout);
    fflush(stdout);
    progress->drawn = false;
}

void progress_close(struct progress *progress) {
    progress_clear(progress);
    free(progress->action);
    progress->action = NULL;
}
