/* Generations of boards' own data: looked for and opened in the pool. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/bus/objects.h"

struct backup_call {
    struct service_answer answer; /* first: the whole is what free gets */
    char *folder, *name;          /* owned; no name: all generations are listed */
    char mac[18];                 /* empty: of all boards */
};

static void free_call(struct service_answer *answer) {
    struct backup_call *call = (struct backup_call *)answer;

    free(call->folder);
    free(call->name);
    free(call);
}

/* ---- in the pool ----------------------------------------------------------------------------- */

static int append_generation(sd_bus_message *reply, const struct backup_entry *entry) {
    int r = sd_bus_message_open_container(reply, 'r', "ssta(st)");

    if (r >= 0)
        r = sd_bus_message_append(reply, "sst", entry->mac, entry->name, entry->saved_us);
    if (r >= 0)
        r = sd_bus_message_open_container(reply, 'a', "(st)");
    for (int part = 0; r >= 0 && part < BACKUP_PARTS; part++)
        if (entry->sizes[part])
            r = sd_bus_message_append(reply, "(st)", backup_part_word((enum backup_part)part),
                                      (uint64_t)entry->sizes[part]);
    if (r >= 0)
        r = sd_bus_message_close_container(reply);
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int list_generations(struct service_answer *answer) {
    struct backup_call *call = (struct backup_call *)answer;
    cleanup(free_p) struct backup_entry *entries = NULL;
    size_t n = 0;
    int r = backup_list(call->folder, *call->mac ? call->mac : NULL, &entries, &n);

    if (r < 0) {
        fault_errno(&answer->fault, r, "looking into %s", call->folder);
        return 0;
    }
    r = sd_bus_message_open_container(answer->reply, 'a', "(ssta(st))");
    for (size_t i = 0; r >= 0 && i < n; i++)
        r = append_generation(answer->reply, &entries[i]);
    return r < 0 ? r : sd_bus_message_close_container(answer->reply);
}

static int append_part(struct service_answer *answer, enum backup_part part) {
    struct backup_call *call = (struct backup_call *)answer;
    cleanup(close_fd_p) int fd = -1;

    if (backup_open(call->folder, call->mac, call->name, part, &fd, &answer->fault) != WIPYD_ERROR_NONE)
        return 0;
    return sd_bus_message_append(answer->reply, "(sh)", backup_part_word(part), fd); /* a duplicate */
}

/* NULL: there is none of that name. */
static const struct backup_entry *find_generation(const struct backup_entry *entries, size_t n,
                                                  const char *name) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(entries[i].name, name))
            return &entries[i];
    return NULL;
}

static int open_generation(struct service_answer *answer) {
    struct backup_call *call = (struct backup_call *)answer;
    cleanup(free_p) struct backup_entry *entries = NULL;
    const struct backup_entry *entry;
    unsigned n_parts = 0;
    size_t n = 0;
    int r = backup_list(call->folder, call->mac, &entries, &n);

    if (r < 0) {
        fault_errno(&answer->fault, r, "looking into %s", call->folder);
        return 0;
    }
    entry = find_generation(entries, n, call->name);
    if (!entry) {
        fault_set(&answer->fault, WIPYD_ERROR_NO_SUCH_BACKUP, "board %s has no backup \"%s\"", call->mac,
                  call->name);
        return 0;
    }
    r = sd_bus_message_open_container(answer->reply, 'a', "(sh)");
    for (int part = 0; r >= 0 && answer->fault.code == WIPYD_ERROR_NONE && part < BACKUP_PARTS; part++)
        if (entry->sizes[part]) {
            r = append_part(answer, (enum backup_part)part);
            n_parts++;
        }
    if (r >= 0 && !n_parts)
        fault_set(&answer->fault, WIPYD_ERROR_BACKUP_INVALID, "%s has no part in it", call->name);
    return r < 0 ? r : sd_bus_message_close_container(answer->reply);
}

/* ---- on the loop ----------------------------------------------------------------------------- */

/* name: NULL to list. */
static int begin(sd_bus_message *message, struct service *service, const char *mac, const char *name,
                 int (*run)(struct service_answer *answer)) {
    struct backup_call *call = calloc(1, sizeof *call);

    if (!call)
        return -ENOMEM;
    snprintf(call->mac, sizeof call->mac, "%s", mac);
    call->folder = strdup(fleet_backup_folder(service->fleet));
    call->name = strdup(name ? name : "");
    call->answer.run = run;
    call->answer.free = free_call;
    call->answer.call = call->folder && call->name ? service_pending_new(message) : NULL;
    if (!call->answer.call) {
        free_call(&call->answer);
        return -ENOMEM;
    }
    service_answer_start(&call->answer, service->loop);
    return 1;
}

int service_list_backups(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const char *word;
    char mac[18] = "";
    int r = sd_bus_message_read_basic(message, 's', &word);

    if (r >= 0 && *word)
        r = service_read_mac(word, mac, error);
    return r < 0 ? r : begin(message, userdata, mac, NULL, list_generations);
}

int service_open_backup(sd_bus_message *message, void *userdata, sd_bus_error *error) {
    const char *word, *name;
    char mac[18];
    int r = sd_bus_message_read(message, "ss", &word, &name);

    if (r >= 0)
        r = service_read_mac(word, mac, error);
    return r < 0 ? r : begin(message, userdata, mac, name, open_generation);
}
