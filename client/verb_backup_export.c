#include <stdio.h>
#include <string.h>

#include "client/backup.h"
#include "client/bus.h"
#include "client/failure.h"
#include "client/folder.h"
#include "client/target.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

/* Names come from the daemon: they must not lead elsewhere, nor hide the file. */
static bool is_plain(const char *name) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-";

    return *name && *name != '.' && !name[strspn(name, plain)];
}

static enum exit_code unfit(const struct client *client, const char *name) {
    cleanup(free_p) char *story = NULL;

    if (asprintf(&story, "what wipyd calls '%s' is no backup that can be written here", name) < 0)
        story = NULL;
    return failure_known(client, WIPYD_ERROR_BACKUP_INVALID, story);
}

/* "FOLDER/30aea4010203-NAME"; colons in file names trouble scp and other systems. NULL: no memory. */
static char *choose_path(const char *folder, const char *mac, const char *name) {
    char digits[TARGET_MAC_SIZE], *end = digits, *path;

    for (; *mac; mac++)
        if (*mac != ':')
            *end++ = *mac;
    *end = '\0';
    return asprintf(&path, "%s/%s-%s", folder ? folder : ".", digits, name) < 0 ? NULL : path;
}

static enum exit_code add(struct client *client, struct folder *folder, const struct backup *backup,
                          const char *part, int fd) {
    const struct backup_part *parts = backup->parts.items;
    cleanup(free_p) char *file = NULL;
    size_t i = 0;

    while (i < backup->parts.n && strcmp(parts[i].part, part))
        i++;
    if (i == backup->parts.n || !is_plain(part))
        return unfit(client, part);
    if (asprintf(&file, "%s.bin", part) < 0)
        return failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    return folder_add(client, folder, file, fd, parts[i].bytes);
}

static enum exit_code add_all(struct client *client, struct folder *folder, const struct backup *backup,
                              sd_bus_message *reply) {
    enum exit_code code = EXIT_DONE;
    const char *part;
    int fd, r;

    r = sd_bus_message_enter_container(reply, 'a', "(sh)");
    while (code == EXIT_DONE && r >= 0 && (r = sd_bus_message_read(reply, "(sh)", &part, &fd)) > 0)
        code = add(client, folder, backup, part, fd);
    return r < 0 ? bus_bad_message(client, r) : code;
}

static enum exit_code ask(const struct client *client, const struct backup *backup, sd_bus_message **reply) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL;
    enum exit_code code = bus_message(client, &call, WIPYD_ROOT_PATH, WIPYD_MANAGER_INTERFACE, "OpenBackup",
                                      "ss", backup->mac, backup->name);

    return code == EXIT_DONE ? bus_call(client, call, reply) : code;
}

static enum exit_code tell(const struct client *client, const struct backup *backup, const char *path) {
    char parts[128];
    struct json json;

    if (!client->options.json) {
        if (!client->options.quiet)
            text_line(stdout, TEXT_GOOD, "%s of %s exported to %s: %s", backup->name, backup->mac, path,
                      backup_parts(backup, parts, sizeof(parts)));
        return EXIT_DONE;
    }
    json_begin(&json, client->options.json);
    json_map_begin(&json);
    json_string(&json, "folder");
    json_string(&json, path);
    json_string(&json, "backup");
    backup_to_json(backup, &json);
    json_map_end(&json);
    return json_print(&json) < 0 ? failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL) : EXIT_DONE;
}

/* Everything that can be refused is, before the daemon opens what is secret. */
static enum exit_code export(struct client *client, const struct backup *backup) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL; /* owns the fds */
    cleanup(free_p) char *path = NULL;
    struct folder folder;
    enum exit_code code;

    if (!is_plain(backup->name)) return unfit(client, backup->name);
    path = choose_path(client->options.output, backup->mac, backup->name);
    if (!path) return failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    code = folder_open(client, &folder, path);
    if (code == EXIT_DONE) code = ask(client, backup, &reply);
    if (code == EXIT_DONE) code = add_all(client, &folder, backup, reply);
    if (code == EXIT_DONE) code = folder_finish(client, &folder);
    folder_close(&folder);
    return code == EXIT_DONE ? tell(client, backup, path) : code;
}

enum exit_code verb_backup_export(struct client *client, char **arguments) {
    const struct backup *backup = NULL;
    char mac[TARGET_MAC_SIZE];
    struct list list = { 0 };
    enum exit_code code = target_mac_of(client, arguments[0], mac);

    if (code == EXIT_DONE)
        code = backup_choose(client, mac, arguments[1], &list, &backup);
    if (code == EXIT_DONE)
        code = export(client, backup);
    backups_clear(&list);
    return code;
}
