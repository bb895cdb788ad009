#include "client/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/terminal.h"
#include "client/text.h"
#include "proto/phase.h"

#define BAR_MIN   8
#define BAR_MAX   40
#define MIB       (1024.0 * 1024.0)
#define LABEL_MIN 24 /* the longest labels of phases that take their time */

static uint64_t now_us(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void progress_open(struct progress *progress, const struct client *client, const char *device_name) {
    *progress = (struct progress) {
        .client = client,
        .device_name = device_name,
        .live = terminal_is_live(stdout),
        .silent = client->options.quiet || client->options.json,
        .begun_us = now_us(),
    };
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* A daemon that is newer than we are may have phases of its own: their word has to do. */
static const char *label_of(const struct job *job) {
    enum wipyd_phase phase = wipyd_phase_from_word(job->phase);

    return phase == WIPYD_PHASE_COUNT ? job->phase : wipyd_phase_label(phase);
}

static double fraction_of(const struct job *job) {
    if (!(job->progress > 0.0))
        return 0.0;
    return job->progress < 1.0 ? job->progress : 1.0;
}

static unsigned percent_of(const struct job *job) {
    return (unsigned)(fraction_of(job) * 100.0);
}

static bool time_left(const struct job *job, uint64_t *seconds) {
    if (!job->rate || job->bytes_done >= job->bytes_total)
        return false;
    *seconds = (job->bytes_total - job->bytes_done + job->rate - 1) / job->rate;
    return true;
}

char *progress_summary(const struct job *job, char *buffer, size_t n) {
    char left[TEXT_SIZE];
    uint64_t seconds;

    if (time_left(job, &seconds))
        snprintf(buffer, n, "%s, %u %%, %s left", label_of(job), percent_of(job), text_clock(left, seconds));
    else
        snprintf(buffer, n, "%s, %u %%", label_of(job), percent_of(job));
    return buffer;
}

/* ---- the redrawn line ------------------------------------------------------------------------ */

static void put_bar(double fraction, size_t columns) {
    static const char *const eighths[] = { "", "▏", "▎", "▍", "▌", "▋", "▊", "▉" };
    bool utf8 = terminal_is_utf8();
    size_t filled = (size_t)(fraction * (double)columns * 8.0 + 0.001), full = filled / 8, i;
    char bar[BAR_MAX * 3 + 1] = "";
    char *end = bar;

    for (i = 0; i < full; i++)
        end = stpcpy(end, utf8 ? "█" : "#");
    if (i < columns && filled % 8 && utf8) {
        end = stpcpy(end, eighths[filled % 8]);
        i++;
    }
    for (; i < columns; i++)
        end = stpcpy(end, utf8 ? " " : ".");
    text_put(stdout, TEXT_PLAIN, "%s", utf8 ? "▕" : "[");
    text_put(stdout, TEXT_GOOD, "%s", bar);
    text_put(stdout, TEXT_PLAIN, "%s", utf8 ? "▏" : "]");
}

struct fields {
    char bytes[TEXT_SIZE], rate[TEXT_SIZE + 2], time[TEXT_SIZE + 8];
};

static void fill_fields(const struct progress *progress, const struct job *job, struct fields *fields) {
    char text[TEXT_SIZE];
    uint64_t seconds;

    *fields = (struct fields) { 0 };
    if (job->bytes_total)
        snprintf(fields->bytes, sizeof(fields->bytes), "%.2f/%.2f MiB", (double)job->bytes_done / MIB,
                 (double)job->bytes_total / MIB);
    if (job->rate)
        snprintf(fields->rate, sizeof(fields->rate), "%s/s", text_bytes(text, job->rate));
    if (time_left(job, &seconds))
        snprintf(fields->time, sizeof(fields->time), "%s left", text_clock(text, seconds));
    else
        snprintf(fields->time, sizeof(fields->time), "%s",
                 text_clock(text, (now_us() - progress->begun_us) / 1000000));
}

/* name  label  |bar|  43 %  0.52/1.21 MiB  44 KiB/s  0:17 left
 * The fields have fixed widths, so that the bar stands still. Where they don't fit, rate, bytes, name and at
 * last the bar itself give way. */
static void redraw(struct progress *progress, const struct job *job) {
    enum { GAP = 2, EDGES = 2, PERCENT = 6, TIME = GAP + 10, BYTES = GAP + 13, RATE = GAP + 9 };
    /* The last column stays free: a cursor behind it makes some terminals wrap. */
    size_t columns = terminal_columns(stdout) - 1;
    size_t label = text_columns(label_of(job)), name = text_columns(progress->device_name) + GAP;
    size_t label_width = label < LABEL_MIN ? LABEL_MIN : label;
    size_t used = label_width + GAP + EDGES + PERCENT + TIME, bar;
    bool with_name, with_bytes, with_rate;
    struct fields fields;

    fill_fields(progress, job, &fields);
    with_name = used + name + BAR_MIN <= columns;
    used += with_name ? name : 0;
    with_bytes = used + BYTES + BAR_MIN <= columns;
    used += with_bytes ? BYTES : 0;
    with_rate = with_bytes && used + RATE + BAR_MIN <= columns;
    used += with_rate ? RATE : 0;
    bar = columns > used ? columns - used : 0;
    bar = bar > BAR_MAX ? BAR_MAX : bar;

    fputs("\r\033[K", stdout);
    if (with_name)
        text_put(stdout, TEXT_STRONG, "%s  ", progress->device_name);
    if (bar < BAR_MIN) {
        text_put(stdout, TEXT_PLAIN, "%.*s", (int)(columns > PERCENT ? columns - PERCENT : 0), label_of(job));
        if (columns > PERCENT)
            text_put(stdout, TEXT_PLAIN, " %3u %%", percent_of(job));
    } else {
        text_put(stdout, TEXT_PLAIN, "%-*s  ", (int)label_width, label_of(job));
        put_bar(fraction_of(job), bar);
        text_put(stdout, TEXT_PLAIN, " %3u %%", percent_of(job));
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
static void print_if_news(struct progress *progress, const struct job *job) {
    size_t n_phases = (size_t)wipyd_phase_from_word(job->phase) + 1;
    unsigned tenths = percent_of(job) / 10;
    char a[TEXT_SIZE], b[TEXT_SIZE];

    if (n_phases <= progress->n_phases_seen && tenths <= progress->tenths_seen)
        return;
    if (n_phases > progress->n_phases_seen)
        progress->n_phases_seen = n_phases;
    progress->tenths_seen = tenths;
    if (job->bytes_total)
        text_line(stdout, TEXT_PLAIN, "%s: %s, %u %%, %s of %s", progress->device_name, label_of(job),
                  percent_of(job), text_bytes(a, job->bytes_done), text_bytes(b, job->bytes_total));
    else
        text_line(stdout, TEXT_PLAIN, "%s: %s", progress->device_name, label_of(job));
    fflush(stdout);
}

/* ---- both ------------------------------------------------------------------------------------ */

static void show_action(struct progress *progress, const struct job *job) {
    /* In JSON's company a person may still be at the terminal, and the job waits for them. */
    FILE *stream = progress->client->options.json ? stderr : stdout;

    if (progress->action && !strcmp(progress->action, job->user_action))
        return;
    free(progress->action);
    progress->action = strdup(job->user_action);
    if (!*job->user_action)
        return;
    progress_clear(progress);
    text_line(stream, TEXT_ACTION, "%s: %s", progress->device_name, job->user_action);
    fflush(stream);
}

void progress_update(struct progress *progress, const struct job *job) {
    show_action(progress, job);
    if (progress->silent)
        return;
    if (progress->live)
        redraw(progress, job);
    else
        print_if_news(progress, job);
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
