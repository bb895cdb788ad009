#include "client/backup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client/bus.h"
#include "client/failure.h"
#include "proto/names.h"

/* ---- reading --------------------------------------------------------------------------------- */

static int read_part(sd_bus_message *m, struct list *list) {
    struct backup_part *part = list_next(list, sizeof(*part));
    const char *name;
    int r;

    if (!part)
        return -ENOMEM;
    list->n++;
    r = sd_bus_message_read(m, "st", &name, &part->bytes);
    if (r < 0)
        return r;
    part->part = strdup(name);
    return part->part ? sd_bus_message_exit_container(m) : -ENOMEM;
}

static int read_backup(sd_bus_message *m, struct list *list) {
    struct backup *backup = list_next(list, sizeof(*backup));
    const char *mac, *name;
    int r;

    if (!backup)
        return -ENOMEM;
    list->n++;
    r = sd_bus_message_read(m, "sst", &mac, &name, &backup->saved_at_us);
    if (r < 0)
        return r;
    backup->mac = strdup(mac);
    backup->name = strdup(name);
    if (!backup->mac || !backup->name)
        return -ENOMEM;
    r = sd_bus_message_enter_container(m, 'a', "(st)");
    while (r >= 0 && (r = sd_bus_message_enter_container(m, 'r', "st")) > 0)
        r = read_part(m, &backup->parts);
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_backups(sd_bus_message *m, struct list *list) {
    int r = sd_bus_message_enter_container(m, 'a', "(ssta(st))");

    while (r >= 0 && (r = sd_bus_message_enter_container(m, 'r', "ssta(st)")) > 0)
        r = read_backup(m, list);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

enum exit_code backups_load(const struct client *client, const char *mac, struct list *list) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    enum exit_code code;
    int r;

    code = bus_message(client, &call, WIPYD_ROOT_PATH, WIPYD_MANAGER_INTERFACE, "ListBackups", "s", mac);
    if (code == EXIT_DONE)
        code = bus_call(client, call, &reply);
    if (code != EXIT_DONE)
        return code;
    r = read_backups(reply, list);
    return r < 0 ? bus_bad_message(client, r) : EXIT_DONE;
}

void backups_clear(struct list *list) {
    struct backup *backups = list->items;

    for (size_t i = 0; i < list->n; i++) {
        struct backup_part *parts = backups[i].parts.items;

        for (size_t j = 0; j < backups[i].parts.n; j++)
            free(parts[j].part);
        free(parts);
        free(backups[i].mac);
        free(backups[i].name);
    }
    free(list->items);
    *list = (struct list) { 0 };
}

/* ---- showing --------------------------------------------------------------------------------- */

void backup_to_json(const struct backup *backup, struct json *json) {
    const struct backup_part *parts = backup->parts.items;

    json_map_begin(json);
    json_string(json, "mac");
    json_string(json, backup->mac);
    json_string(json, "name");
    json_string(json, backup->name);
    json_string(json, "saved_at");
    json_time(json, backup->saved_at_us);
    json_string(json, "parts");
    json_array_begin(json);
    for (size_t i = 0; i < backup->parts.n; i++) {
        json_map_begin(json);
        json_string(json, "part");
        json_string(json, parts[i].part);
        json_string(json, "bytes");
        json_number(json, parts[i].bytes);
        json_map_end(json);
    }
    json_array_end(json);
    json_map_end(json);
}

char *backup_parts(const struct backup *backup, char *buffer, size_t n) {
    const struct backup_part *parts = backup->parts.items;
    size_t used = 0;

    *buffer = '\0';
    for (size_t i = 0; i < backup->parts.n && used < n; i++)
        used += (size_t)snprintf(buffer + used, n - used, "%s%s", i ? ", " : "", parts[i].part);
    return buffer;
}

/* ---- choosing -------------------------------------------------------------------------------- */

static enum exit_code none(const struct client *client, const char *mac, const char *name) {
    cleanup(free_p) char *story = NULL;

    if (asprintf(&story, "%s has none%s%s", mac, name ? " of the name " : "", name ? name : "") < 0)
        story = NULL;
    return failure_known(client, WIPYD_ERROR_NO_SUCH_BACKUP, story);
}

enum exit_code backup_choose(const struct client *client, const char *mac, const char *name,
                             struct list *list, const struct backup **chosen) {
    enum exit_code code = backups_load(client, mac, list);
    const struct backup *backups = list->items;
    size_t i = 0;

    if (code != EXIT_DONE)
        return code;
    while (name && i < list->n && strcmp(backups[i].name, name))
        i++;
    if (i == list->n)
        return none(client, mac, name);
    *chosen = &backups[i];
    return EXIT_DONE;
}
