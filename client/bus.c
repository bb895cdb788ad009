#include "client/bus.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/agent.h"
#include "client/failure.h"
#include "proto/names.h"

#define FREEDESKTOP "org.freedesktop.DBus.Error."

enum meaning { NO_BUS, NO_DAEMON, NO_ANSWER, NOT_ALLOWED, NOT_THERE, TOO_OLD, MEANING_COUNT };

static const struct {
    enum exit_code exit_code;
    const char *message, *hint;
} meanings[MEANING_COUNT] = {
    [NO_BUS] = { EXIT_NO_DAEMON, "The message bus can't be reached.",
                 "See --bus and WIPYD_BUS. On the system bus: systemctl start dbus wipyd" },
    [NO_DAEMON] = { EXIT_NO_DAEMON, "wipyd isn't running.", "systemctl start wipyd" },
    [NO_ANSWER] = { EXIT_NO_DAEMON, "wipyd went away.", "systemctl status wipyd; journalctl -u wipyd" },
    [NOT_ALLOWED] = { EXIT_NOT_AUTHORISED, "You are not allowed to do this.",
                      "Ask an administrator, or repeat the command with sudo." },
    [NOT_THERE] = { EXIT_NOT_FOUND, "It has gone.", "See: wipyctl status" },
    [TOO_OLD] = { EXIT_FAILED, "wipyd doesn't know this request.",
                  "wipyctl is newer than the daemon: systemctl restart wipyd" },
};

/* The first row that an error's name begins with. A negative errno has the name that sd-bus gives it. */
static const struct {
    const char *prefix;
    enum meaning meaning;
} foreign_errors[] = {
    { FREEDESKTOP "ServiceUnknown", NO_DAEMON },
    { FREEDESKTOP "NameHasNoOwner", NO_DAEMON },
    { FREEDESKTOP "Spawn.", NO_DAEMON },
    { "org.freedesktop.systemd1.", NO_DAEMON }, /* bus activation through a unit that can't start */
    { FREEDESKTOP "NoReply", NO_ANSWER },
    { FREEDESKTOP "Timeout", NO_ANSWER },
    { FREEDESKTOP "TimedOut", NO_ANSWER },
    { FREEDESKTOP "NoServer", NO_BUS },
    { FREEDESKTOP "FileNotFound", NO_BUS },
    { FREEDESKTOP "Disconnected", NO_BUS },
    { FREEDESKTOP "BadAddress", NO_BUS },
    { "System.Error.ECONNRE", NO_BUS }, /* ECONNREFUSED, ECONNRESET */
    { "System.Error.ENOTCONN", NO_BUS },
    { "System.Error.EPIPE", NO_BUS },
    { "System.Error.ENOMEDIUM", NO_BUS }, /* no session */
    { "System.Error.ENXIO", NO_BUS },
    { "System.Error.EHOSTDOWN", NO_BUS },
    { FREEDESKTOP "AccessDenied", NOT_ALLOWED },
    { FREEDESKTOP "AuthFailed", NOT_ALLOWED },
    { FREEDESKTOP "InteractiveAuthorizationRequired", NOT_ALLOWED },
    { WIPYD_ERROR_PREFIX "NotAuthorized", NOT_ALLOWED },
    { "System.Error.EPERM", NOT_ALLOWED },
    { FREEDESKTOP "UnknownObject", NOT_THERE },
    { FREEDESKTOP "Unknown", TOO_OLD }, /* UnknownMethod, UnknownInterface, UnknownProperty */
};

static enum exit_code report(const struct client *client, enum meaning meaning, const char *name,
                             const char *story) {
    return failure_report(client, &(struct failure) {
                                      .exit_code = meanings[meaning].exit_code,
                                      .name = name,
                                      .message = meanings[meaning].message,
                                      .story = story,
                                      .hint = meanings[meaning].hint,
                                  });
}

enum exit_code bus_failure(const struct client *client, const sd_bus_error *error, int r) {
    cleanup(sd_bus_error_free) sd_bus_error of_errno = SD_BUS_ERROR_NULL;
    enum wipyd_error known;

    if (!error || !sd_bus_error_is_set(error)) {
        sd_bus_error_set_errno(&of_errno, r);
        error = &of_errno;
    }
    known = wipyd_error_from_bus_name(error->name);
    if (known != WIPYD_ERROR_COUNT)
        return failure_known(client, known, error->message);
    for (size_t i = 0; i < sizeof(foreign_errors) / sizeof(foreign_errors[0]); i++)
        if (!strncmp(error->name, foreign_errors[i].prefix, strlen(foreign_errors[i].prefix)))
            return report(client, foreign_errors[i].meaning, error->name, error->message);
    return failure_report(client, &(struct failure) {
                                      .exit_code = EXIT_FAILED,
                                      .name = error->name,
                                      .message = "wipyd didn't do it.",
                                      .story = error->message,
                                      .hint = wipyd_error_hint(WIPYD_ERROR_SYSTEM),
                                  });
}

enum exit_code bus_daemon_gone(const struct client *client, const char *story) {
    return report(client, NO_ANSWER, FREEDESKTOP "NameHasNoOwner", story);
}

enum exit_code bus_bad_message(const struct client *client, int r) {
    cleanup(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

    if (r == -ENOMEM)
        return failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    sd_bus_error_set_errno(&error, r);
    return failure_report(client, &(struct failure) {
                                      .exit_code = EXIT_FAILED,
                                      .name = error.name,
                                      .message = "wipyd's message can't be understood.",
                                      .story = error.message,
                                      .hint = meanings[TOO_OLD].hint,
                                  });
}

static int open_address(sd_bus **bus, const char *address) {
    int r = sd_bus_new(bus);

    if (r >= 0)
        r = sd_bus_set_address(*bus, address);
    if (r >= 0)
        r = sd_bus_set_bus_client(*bus, 1);
    return r < 0 ? r : sd_bus_start(*bus);
}

/* A person who is asked for a password takes longer than sd-bus finds usual; the daemon waits for 120 s. */
#define PASSWORD_US (UINT64_C(130) * 1000000)

static int let_ask(const struct client *client) {
    int r;

    if (client->options.no_ask_password)
        return 0;
    r = sd_bus_set_allow_interactive_authorization(client->bus, 1);
    return r >= 0 ? sd_bus_set_method_call_timeout(client->bus, PASSWORD_US) : r;
}

enum exit_code bus_open(struct client *client) {
    const char *which = client->options.bus;
    int r;

    /* An address is transport:key=value. */
    if (strcmp(which, "system") && strcmp(which, "session") && !strchr(which, ':'))
        return failure_usage(client, "'%s' is neither 'system' nor 'session' nor the address of a bus.",
                             which);
    if (client->options.host)
        r = sd_bus_open_system_remote(&client->bus, client->options.host);
    else if (!strcmp(which, "system"))
        r = sd_bus_open_system(&client->bus);
    else if (!strcmp(which, "session"))
        r = sd_bus_open_user(&client->bus);
    else
        r = open_address(&client->bus, which);
    if (r == -EINVAL && client->options.host)
        return failure_usage(client, "'%s' is not [USER@]HOST.", client->options.host);
    if (r == -EINVAL)
        return failure_usage(client, "'%s' is neither 'system' nor 'session' nor the address of a bus.",
                             which);
    if (r >= 0)
        r = let_ask(client);
    return r < 0 ? bus_failure(client, NULL, r) : EXIT_DONE;
}

enum exit_code bus_append_failure(const struct client *client, int r) {
    if (r == -EINVAL) /* D-Bus takes UTF-8 alone */
        return failure_usage(client, "An argument is not valid UTF-8.");
    if (r == -EOPNOTSUPP)
        return failure_usage(client, "A file can't be handed over through this connection: run wipyctl where "
                                     "wipyd is.");
    return bus_failure(client, NULL, r);
}

static enum exit_code message_v(const struct client *client, sd_bus_message **message, const char *path,
                                const char *interface, const char *method, const char *types,
                                va_list arguments) {
    int r = sd_bus_message_new_method_call(client->bus, message, WIPYD_BUS_NAME, path, interface, method);

    if (r >= 0 && *types)
        r = sd_bus_message_appendv(*message, types, arguments);
    return r < 0 ? bus_append_failure(client, r) : EXIT_DONE;
}

enum exit_code bus_message(const struct client *client, sd_bus_message **message, const char *path,
                           const char *interface, const char *method, const char *types, ...) {
    enum exit_code code;
    va_list arguments;

    va_start(arguments, types);
    code = message_v(client, message, path, interface, method, types, arguments);
    va_end(arguments);
    return code;
}

enum exit_code bus_tell(const struct client *client, const char *path, const char *interface,
                        const char *method, const char *types, ...) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    enum exit_code code;
    va_list arguments;

    va_start(arguments, types);
    code = message_v(client, &call, path, interface, method, types, arguments);
    va_end(arguments);
    return code == EXIT_DONE ? bus_call(client, call, &reply) : code;
}

/* Whoever only looks is asked for nothing. */
static bool may_need_password(sd_bus_message *message) {
    static const char *const lookers[] = { "Get", "Find", "List", "History", "Decisions", "Explain" };
    const char *member = sd_bus_message_get_member(message);

    for (size_t i = 0; i < sizeof(lookers) / sizeof(lookers[0]); i++)
        if (!strncmp(member, lookers[i], strlen(lookers[i])))
            return false;
    return true;
}

enum exit_code bus_call_within(const struct client *client, uint64_t seconds, sd_bus_message *message,
                               sd_bus_message **reply) {
    cleanup(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
    int r;

    if (may_need_password(message))
        agent_open(client);
    r = sd_bus_call(client->bus, message, seconds * 1000000, &error, reply);
    return r < 0 ? bus_failure(client, &error, r) : EXIT_DONE;
}

enum exit_code bus_call(const struct client *client, sd_bus_message *message, sd_bus_message **reply) {
    return bus_call_within(client, 0, message, reply); /* 0: what sd-bus takes for usual */
}
