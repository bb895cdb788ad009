#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "client/csv.h"
#include "client/failure.h"
#include "client/history.h"
#include "client/objects.h"
#include "client/table.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/phase.h"

/* Why it failed; else who wrote, and what the board has said of it. A warning is too long for a line. */
static void describe(const struct past_job *job, char *buffer, size_t n) {
    enum wipyd_error error = wipyd_error_from_bus_name(job->error ? job->error : "");
    const char *confirmed = job->confirmed ? job->confirmed : "", *to = job->to ? job->to : "";
    bool has_written = job->kind && wipyd_job_kind_from_word(job->kind) != WIPYD_JOB_KIND_IDENTIFY;
    char by[TEXT_SIZE];
    size_t used;

    text_loader(by, has_written ? job->loader : "");
    if (job->error && *job->error)
        snprintf(buffer, n, "%s", error == WIPYD_ERROR_COUNT ? job->error : wipyd_error_sentence(error));
    else if (job->dry_run)
        snprintf(buffer, n, "dry run");
    else if (*confirmed)
        snprintf(buffer, n, "%s%s%s%s", *by ? by + 1 : "", *by ? "; " : "",
                 strcmp(confirmed, to) ? "the board says " : "confirmed by the board",
                 strcmp(confirmed, to) ? confirmed : "");
    else
        snprintf(buffer, n, "%s", *by ? by + 1 : "");
    used = strlen(buffer);
    if (job->warning && *job->warning)
        snprintf(buffer + used, n - used, "%swith a warning, see --json", used ? "; " : "");
}

static void print_jobs(const struct client *client, const struct list *list) {
    static const struct table_column columns[] = {
        { "JOB", TABLE_RIGHT }, { "BEGUN", TABLE_LEFT },      { "DEVICE", TABLE_LEFT },
        { "MAC", TABLE_LEFT },  { "WHAT", TABLE_LEFT },       { "FROM", TABLE_LEFT },
        { "TO", TABLE_LEFT },   { "STATE", TABLE_STATE },     { "TOOK", TABLE_RIGHT },
        { "BY", TABLE_LEFT },   { "DETAILS", TABLE_ELASTIC },
    };
    const struct past_job *jobs = list->items;
    struct table table;

    table_open(&table, client, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < list->n; i++) {
        const struct past_job *job = &jobs[i];
        char id[16], begun[TEXT_SIZE] = "", took[TEXT_SIZE] = "", details[160];
        char from[TEXT_SIZE], to[TEXT_SIZE];

        snprintf(id, sizeof(id), "%" PRIu32, job->id);
        if (job->started_us)
            text_time(begun, job->started_us);
        if (job->started_us && job->finished_us > job->started_us)
            text_duration(took, job->finished_us - job->started_us);
        describe(job, details, sizeof(details));
        table_row(&table, (const char *[]) { id, begun, job->device, job->mac, job->kind,
                                             text_release(from, job->from), text_release(to, job->to),
                                             job->state, took, job->user, details });
    }
    table_close(&table);
}

static void print_decisions(const struct client *client, const struct list *list) {
    static const struct table_column columns[] = {
        { "AT", TABLE_LEFT },     { "DEVICE", TABLE_LEFT },  { "MAC", TABLE_LEFT },
        { "EVENT", TABLE_LEFT },  { "VERDICT", TABLE_LEFT }, { "RULE", TABLE_LEFT },
        { "WHY", TABLE_ELASTIC },
    };
    const struct past_decision *decisions = list->items;
    struct table table;

    table_open(&table, client, columns, sizeof(columns) / sizeof(columns[0]));
    for (size_t i = 0; i < list->n; i++) {
        const struct past_decision *decision = &decisions[i];
        char at[TEXT_SIZE] = "";

        if (decision->at_us)
            text_time(at, decision->at_us);
        table_row(&table, (const char *[]) { at, decision->device, decision->mac, decision->event,
                                             decision->verdict, decision->rule, decision->text });
    }
    table_close(&table);
}

static void print_csv(const struct client *client, const struct list *list) {
    const struct interface *interface = history_interface(client);

    csv_header(interface);
    for (size_t i = 0; i < list->n; i++)
        csv_row(interface, (const char *)list->items + i * interface->size);
}

static enum exit_code print(const struct client *client, const struct list *list) {
    if (client->options.csv)
        print_csv(client, list);
    else if (client->options.json)
        return objects_print_json(client, list, history_interface(client));
    else if (!list->n && !client->options.quiet)
        puts(client->options.decisions ? "Nothing was decided." : "No jobs.");
    else if (client->options.decisions)
        print_decisions(client, list);
    else
        print_jobs(client, list);
    return EXIT_DONE;
}

enum exit_code verb_history(struct client *client, char **arguments) {
    struct list list = { 0 };
    enum exit_code code;

    (void)arguments;
    if (client->options.csv && client->options.json)
        return failure_usage(client, "CSV and JSON can't share standard output.");
    code = history_load(client, &list);
    if (code == EXIT_DONE)
        code = print(client, &list);
    history_clear(client, &list);
    return code;
}
