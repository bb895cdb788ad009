/* What was done and decided: asked of the ledger, put into an answer in the pool, for it may be long. */

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "daemon/bus/objects.h"

struct history {
    struct service_answer answer; /* first: the whole is what free gets */
    uv_loop_t *loop;
    void *records; /* job_record or decision_record; owned */
    size_t n;
};

/* A key of an entry, and where its value lies in the record. */
struct column {
    const char *key;
    char type; /* s: a char array */
    size_t from;
};

#define FIELD(key, type, field)                                                                              \
    { key, type, offsetof(struct job_record, field) }
static const struct column job_columns[] = {
    FIELD("id", 'u', id),
    FIELD("device", 's', device),
    FIELD("slot", 's', slot),
    FIELD("mac", 's', mac),
    FIELD("by", 's', by),
    FIELD("package", 's', package),
    FIELD("sha256", 's', sha256),
    FIELD("board", 's', board),
    FIELD("from", 's', from_release),
    FIELD("to", 's', to_release),
    FIELD("confirmed", 's', confirmed_release),
    FIELD("bytes", 't', bytes_done),
    FIELD("bytes-total", 't', bytes_total),
    FIELD("baud", 'u', baud),
    FIELD("loader", 's', loader),
    FIELD("warning", 's', warning),
    FIELD("retries", 'u', retries),
    FIELD("attempts", 'u', attempts),
    FIELD("phase", 's', phase),
    FIELD("error", 's', error),
    FIELD("error-text", 's', error_text),
    FIELD("started", 't', started_us),
    FIELD("finished", 't', finished_us),
};
#undef FIELD
#define FIELD(key, type, field)                                                                              \
    { key, type, offsetof(struct decision_record, field) }
static const struct column decision_columns[] = {
    FIELD("at", 't', at_us),  FIELD("device", 's', device), FIELD("slot", 's', slot),
    FIELD("mac", 's', mac),   FIELD("event", 's', event),   FIELD("verdict", 's', verdict),
    FIELD("rule", 's', rule),
};
#undef FIELD

/* value: as sd_bus_message_append_basic wants it. */
static int append_entry(sd_bus_message *reply, const char *key, char type, const void *value) {
    const char contents[2] = { type, 0 };
    int r = sd_bus_message_open_container(reply, 'e', "sv");

    if (r >= 0)
        r = sd_bus_message_append_basic(reply, 's', key);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'v', contents);
    if (r >= 0)
        r = sd_bus_message_append_basic(reply, type, value);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_columns(sd_bus_message *reply, const struct column *columns, size_t n, const void *record) {
    int r = 0;

    for (size_t i = 0; r >= 0 && i < n; i++)
        r = append_entry(reply, columns[i].key, columns[i].type, (const char *)record + columns[i].from);
    return r;
}

static int append_job(sd_bus_message *reply, const struct job_record *job) {
    int is_dry_run = job->is_dry_run, r;

    r = append_columns(reply, job_columns, sizeof job_columns / sizeof *job_columns, job);
    if (r >= 0)
        r = append_entry(reply, "kind", 's', wipyd_job_kind_word(job->kind));
    if (r >= 0)
        r = append_entry(reply, "state", 's', wipyd_job_state_word(job->state));
    return r < 0 ? r : append_entry(reply, "dry-run", 'b', &is_dry_run);
}

/* The sentence isn't kept: it is told again by what the decision was made of. Empty for a rule that this
 * wipyd doesn't have. */
static void tell_again(const struct decision_record *decision, char *ret, size_t size) {
    const struct decision_rule *rule;
    struct decision_state state;

    *ret = 0;
    if (!decision_state_parse(decision->state, &state))
        return;
    for (unsigned i = 0; (rule = decision_rule_at(i)); i++)
        if (!strcmp(rule->word, decision->rule)) {
            rule->tell(&state, ret, size);
            return;
        }
}

static int append_decision(sd_bus_message *reply, const struct decision_record *decision) {
    char text[320];
    int r =
        append_columns(reply, decision_columns, sizeof decision_columns / sizeof *decision_columns, decision);

    tell_again(decision, text, sizeof text);
    return r < 0 ? r : append_entry(reply, "text", 's', text);
}

/* ---- in the pool ----------------------------------------------------------------------------- */

static int append_jobs(struct service_answer *answer) {
    struct history *history = (struct history *)answer;
    const struct job_record *jobs = history->records;
    int r = sd_bus_message_open_container(answer->reply, 'a', "a{sv}");

    for (size_t i = 0; r >= 0 && i < history->n; i++) {
        r = sd_bus_message_open_container(answer->reply, 'a', "{sv}");
        if (r >= 0)
            r = append_job(answer->reply, &jobs[i]);
        if (r >= 0)
            r = sd_bus_message_close_container(answer->reply);
    }
    free(steal_pointer(&history->records)); /* here: giving so much back takes its time, too */
    return r < 0 ? r : sd_bus_message_close_container(answer->reply);
}

static int append_decisions(struct service_answer *answer) {
    struct history *history = (struct history *)answer;
    const struct decision_record *decisions = history->records;
    int r = sd_bus_message_open_container(answer->reply, 'a', "a{sv}");

    for (size_t i = 0; r >= 0 && i < history->n; i++) {
        r = sd_bus_message_open_container(answer->reply, 'a', "{sv}");
        if (r >= 0)
            r = append_decision(answer->reply, &decisions[i]);
        if (r >= 0)
            r = sd_bus_message_close_container(answer->reply);
    }
    free(steal_pointer(&history->records)); /* here: giving so much back takes its time, too */
    return r < 0 ? r : sd_bus_message_close_container(answer->reply);
}

/* ---- on the loop ----------------------------------------------------------------------------- */

static void free_history(struct service_answer *answer) {
    struct history *history = (struct history *)answer;

    free(history->records);
    free(history);
}

/* What the ledger gave, which is its own. */
static void begin(struct history *history, const struct fault *fault, const void *records, size_t n,
                  size_t size) {
    struct fault no_memory;

    if (fault && fault->code != WIPYD_ERROR_NONE) {
        service_answer_refuse(&history->answer, fault);
        return;
    }
    history->n = n;
    history->records = n ? malloc(n * size) : NULL;
    if (n && !history->records) {
        fault_set(&no_memory, WIPYD_ERROR_NO_MEMORY, "%zu records", n);
        service_answer_refuse(&history->answer, &no_memory);
        return;
    }
    if (n)
        memcpy(history->records, records, n * size);
    service_answer_start(&history->answer, history->loop);
}

static void on_jobs(void *userdata, const struct fault *fault, const struct job_record *jobs, size_t n) {
    begin(userdata, fault, jobs, n, sizeof *jobs);
}

static void on_decisions(void *userdata, const struct fault *fault, const struct decision_record *decisions,
                         size_t n) {
    begin(userdata, fault, decisions, n, sizeof *decisions);
}

static int ask(sd_bus_message *message, struct service *service, bool wants_jobs, sd_bus_error *error) {
    struct ledger *ledger = fleet_ledger(service->fleet);
    struct records_query query;
    struct history *history;
    char mac[18];
    int r = service_read_query(message, &query, mac, error);

    if (r < 0)
        return r;
    if (!ledger)
        return service_set_error(error, WIPYD_ERROR_SHUTTING_DOWN, "nothing is looked up any more");
    history = calloc(1, sizeof *history);
    if (!history)
        return -ENOMEM;
    history->loop = service->loop;
    history->answer.run = wants_jobs ? append_jobs : append_decisions;
    history->answer.free = free_history;
    history->answer.call = service_pending_new(message);
    if (!history->answer.call) {
        free(history);
        return -ENOMEM;
    }
    if (wants_jobs)
        ledger_list_jobs(ledger, &query, on_jobs, history);
    else
        ledger_list_decisions(ledger, &query, on_decisions, history);
    return 1;
}

int service_history(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return ask(message, userdata, true, error);
}

int service_decisions(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    return ask(message, userdata, false, error);
}
