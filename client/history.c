#include "client/history.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "client/failure.h"
#include "client/since.h"
#include "client/target.h"
#include "proto/names.h"

#define ROW(type, member, name, kind)                                                                        \
    { name, &property_##kind, offsetof(struct type, member) }

static const struct property past_job_properties[] = {
    ROW(past_job, id, "id", u32),
    ROW(past_job, started_us, "started", time),
    ROW(past_job, finished_us, "finished", time),
    ROW(past_job, kind, "kind", string),
    ROW(past_job, state, "state", string),
    ROW(past_job, device, "device", string),
    ROW(past_job, slot, "slot", string),
    ROW(past_job, mac, "mac", string),
    ROW(past_job, by, "by", string),
    ROW(past_job, user, "user", string),
    ROW(past_job, package, "package", string),
    ROW(past_job, sha256, "sha256", string),
    ROW(past_job, board, "board", string),
    ROW(past_job, from, "from", string),
    ROW(past_job, to, "to", string),
    ROW(past_job, confirmed, "confirmed", string),
    ROW(past_job, bytes, "bytes", u64),
    ROW(past_job, bytes_total, "bytes-total", u64),
    ROW(past_job, baud, "baud", u32),
    ROW(past_job, loader, "loader", string),
    ROW(past_job, warning, "warning", string),
    ROW(past_job, retries, "retries", u32),
    ROW(past_job, attempts, "attempts", u32),
    ROW(past_job, phase, "phase", string),
    ROW(past_job, error, "error", string),
    ROW(past_job, error_text, "error-text", string),
    ROW(past_job, dry_run, "dry-run", bool),
};

static const struct property past_decision_properties[] = {
    ROW(past_decision, at_us, "at", time),      ROW(past_decision, device, "device", string),
    ROW(past_decision, slot, "slot", string),   ROW(past_decision, mac, "mac", string),
    ROW(past_decision, event, "event", string), ROW(past_decision, verdict, "verdict", string),
    ROW(past_decision, rule, "rule", string),   ROW(past_decision, text, "text", string),
};

#define INTERFACE(type)                                                                                      \
    static const struct interface type##_interface = { "org.wipyd1." #type, type##_properties,               \
                                                       sizeof(type##_properties) /                           \
                                                           sizeof(type##_properties[0]),                     \
                                                       sizeof(struct type) }

INTERFACE(past_job);
INTERFACE(past_decision);

const struct interface *history_interface(const struct client *client) {
    return client->options.decisions ? &past_decision_interface : &past_job_interface;
}

/* ---- the question ---------------------------------------------------------------------------- */

/* What is asked for. A name that the daemon doesn't know may be of the past: then `unknown` is how to say,
 * where there is nothing of it either, that it means nothing at all. */
struct query {
    char mac[TARGET_MAC_SIZE];
    char *slot; /* NULL: any */
    uint64_t since_us;
    enum wipyd_error unknown;
};

static enum exit_code choose_board(const struct client *client, struct query *query) {
    cleanup(board_clear_p) struct board board = { 0 };
    enum exit_code code;
    bool found = false;

    if (!target_mac(client->options.board, query->mac))
        return target_mac_of(client, client->options.board, query->mac);
    code = board_seek(client, query->mac, &board, &found);
    if (!found)
        query->unknown = WIPYD_ERROR_NO_SUCH_BOARD;
    return code;
}

static enum exit_code choose_slot(const struct client *client, struct query *query) {
    cleanup(slot_clear_p) struct slot slot = { 0 };
    enum exit_code code;
    bool found = false;

    code = target_seek_slot(client, client->options.slot, &slot, &found);
    if (code != EXIT_DONE)
        return code;
    if (!found)
        query->unknown = WIPYD_ERROR_NO_SUCH_SLOT;
    query->slot = strdup(found ? slot.name : client->options.slot);
    return query->slot ? EXIT_DONE : failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
}

static enum exit_code choose(const struct client *client, struct query *query) {
    enum exit_code code = EXIT_DONE;

    if (client->options.since && !since_parse(client->options.since, &query->since_us))
        return failure_usage(client,
                             "--since takes 2026-11-22, 2026-11-22T10:00, today, yesterday, 2h, 3d or 1w, "
                             "not '%s'.",
                             client->options.since);
    if (client->options.board)
        code = choose_board(client, query);
    if (code == EXIT_DONE && client->options.slot)
        code = choose_slot(client, query);
    return code;
}

static int append(sd_bus_message *call, const struct query *query, uint32_t limit) {
    int r = sd_bus_message_open_container(call, 'a', "{sv}");

    if (r >= 0 && *query->mac)
        r = sd_bus_message_append(call, "{sv}", "board", "s", query->mac);
    if (r >= 0 && query->slot)
        r = sd_bus_message_append(call, "{sv}", "slot", "s", query->slot);
    if (r >= 0 && query->since_us)
        r = sd_bus_message_append(call, "{sv}", "since", "t", query->since_us);
    if (r >= 0 && limit)
        r = sd_bus_message_append(call, "{sv}", "limit", "u", limit);
    return r < 0 ? r : sd_bus_message_close_container(call);
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* "uid 1000" is somebody here. */
static int name_user(struct past_job *job) {
    const struct passwd *user;
    unsigned uid;
    char end;

    if (!job->by)
        return 0;
    errno = 0;
    user = sscanf(job->by, "uid %u%c", &uid, &end) == 1 ? getpwuid(uid) : NULL;
    if (!user && errno == ENOMEM)
        return -ENOMEM;
    free(job->user);
    job->user = strdup(user ? user->pw_name : job->by);
    return job->user ? 0 : -ENOMEM;
}

static int read_list(const struct client *client, sd_bus_message *m, struct list *list) {
    const struct interface *interface = history_interface(client);
    int r = sd_bus_message_enter_container(m, 'a', "a{sv}");

    while (r >= 0) {
        uint64_t seen = 0;
        void *item;

        r = sd_bus_message_at_end(m, 0);
        if (r)
            return r < 0 ? r : sd_bus_message_exit_container(m);
        item = list_next(list, interface->size);
        if (!item)
            return -ENOMEM;
        list->n++;
        r = properties_read(interface, item, m, &seen);
        if (r >= 0 && interface == &past_job_interface)
            r = name_user(item);
    }
    return r;
}

enum exit_code history_load(const struct client *client, struct list *list) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    struct query query = { .unknown = WIPYD_ERROR_NONE };
    enum exit_code code = choose(client, &query);
    int r;

    if (code == EXIT_DONE)
        code = bus_message(client, &call, WIPYD_ROOT_PATH, WIPYD_MANAGER_INTERFACE,
                           client->options.decisions ? "Decisions" : "History", "");
    if (code == EXIT_DONE) {
        r = append(call, &query, client->options.limit);
        code = r < 0 ? bus_append_failure(client, r) : bus_call(client, call, &reply);
    }
    if (code == EXIT_DONE) {
        r = read_list(client, reply, list);
        if (r < 0)
            code = bus_bad_message(client, r);
    }
    if (code == EXIT_DONE && !list->n && query.unknown != WIPYD_ERROR_NONE)
        code = failure_known(client, query.unknown, NULL);
    free(query.slot);
    return code;
}

void history_clear(const struct client *client, struct list *list) {
    const struct interface *interface = history_interface(client);

    for (size_t i = 0; i < list->n; i++)
        properties_clear(interface, (char *)list->items + i * interface->size);
    free(list->items);
    *list = (struct list) { 0 };
}
