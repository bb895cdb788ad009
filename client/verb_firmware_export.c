#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "client/bus.h"
#include "client/copy.h"
#include "client/failure.h"
#include "client/firmware.h"
#include "client/save.h"
#include "client/text.h"
#include "client/verb.h"
#include "proto/names.h"

/* A package's name comes from elsewhere: it must not lead into another folder, nor hide the file. */
static bool is_plain(const char *name) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-";

    return isalnum((unsigned char)*name) && !name[strspn(name, plain)];
}

/* The file that is meant by out: a file, a folder, or NULL. NULL: no memory. */
static char *choose_path(const struct firmware *firmware, const char *out) {
    cleanup(free_p) char *digits = NULL;
    const char *name = firmware->name;
    struct stat status;
    char *path;

    if (out && (stat(out, &status) < 0 || !S_ISDIR(status.st_mode)))
        return strdup(out);
    if (!is_plain(name)) {
        if (asprintf(&digits, "%.*s.tar.gz", FIRMWARE_DIGITS, firmware->sha256) < 0)
            return NULL;
        name = digits;
    }
    return asprintf(&path, "%s/%s", out ? out : ".", name) < 0 ? NULL : path;
}

static enum exit_code ask(const struct client *client, const struct firmware *firmware,
                          sd_bus_message **reply, int *fd) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL;
    enum exit_code code;
    int r;

    code = bus_message(client, &call, firmware->path, WIPYD_FIRMWARE_INTERFACE, "Export", "");
    if (code == EXIT_DONE)
        code = bus_call(client, call, reply);
    if (code != EXIT_DONE)
        return code;
    r = sd_bus_message_read(*reply, "h", fd);
    return r < 0 ? bus_bad_message(client, r) : EXIT_DONE;
}

static enum exit_code print_json(const struct client *client, const struct firmware *firmware,
                                 const char *path) {
    struct json json;

    json_begin(&json, client->options.json);
    json_map_begin(&json);
    properties_to_json(&firmware_interface, firmware, PROPERTIES_ALL, &json);
    json_string(&json, "file");
    json_string(&json, path);
    json_map_end(&json);
    return json_print(&json) < 0 ? failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL) : EXIT_DONE;
}

static enum exit_code export_to_file(struct client *client, const struct firmware *firmware,
                                     const char *out) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL; /* owns the fd */
    cleanup(free_p) char *path = choose_path(firmware, out);
    char title[128], size[TEXT_SIZE];
    enum exit_code code;
    int fd;

    if (!path)
        return failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    code = save_check(client, path);
    if (code == EXIT_DONE)
        code = ask(client, firmware, &reply, &fd);
    if (code == EXIT_DONE)
        code = save_fd(client, fd, firmware->bytes, path);
    if (code == EXIT_DONE && client->options.json)
        return print_json(client, firmware, path);
    if (code == EXIT_DONE && !client->options.quiet)
        text_line(stdout, TEXT_GOOD, "%s exported to %s, %s", firmware_title(firmware, title, sizeof(title)),
                  path, text_bytes(size, firmware->bytes));
    return code;
}

static enum exit_code export_to_stdout(const struct client *client, const struct firmware *firmware) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *reply = NULL; /* owns the fd */
    enum exit_code code;
    int64_t n;
    int fd;

    code = ask(client, firmware, &reply, &fd);
    if (code != EXIT_DONE)
        return code;
    n = copy_fd(fd, STDOUT_FILENO, firmware->bytes);
    if (n < 0)
        return failure_system(client, "The package can't be written to standard output.", (int)n);
    return (uint64_t)n == firmware->bytes ? EXIT_DONE : save_wrong_size(client);
}

enum exit_code verb_firmware_export(struct client *client, char **arguments) {
    cleanup(firmware_clear_p) struct firmware firmware = { 0 };
    const char *out = arguments[1];
    bool is_stdout = out && !strcmp(out, "-");
    enum exit_code code;

    if (is_stdout && client->options.json)
        return failure_usage(client, "The package and JSON can't share standard output.");
    if (is_stdout && isatty(STDOUT_FILENO))
        return failure_usage(client, "A package is not for a terminal: name a file, or redirect it.");
    code = firmware_find(client, arguments[0], &firmware);
    if (code != EXIT_DONE)
        return code;
    return is_stdout ? export_to_stdout(client, &firmware) : export_to_file(client, &firmware, out);
}
