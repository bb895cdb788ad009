#include "client/failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/text.h"
#include "proto/names.h"

/* What isn't here is EXIT_FAILED. */
static const enum exit_code exit_codes[WIPYD_ERROR_COUNT] = {
    [WIPYD_ERROR_PORT_BUSY] = EXIT_BUSY,
    [WIPYD_ERROR_DEVICE_BUSY] = EXIT_BUSY,
    [WIPYD_ERROR_NOT_AUTHORIZED] = EXIT_NOT_AUTHORISED,
    [WIPYD_ERROR_NO_SUCH_DEVICE] = EXIT_NOT_FOUND,
    [WIPYD_ERROR_NO_SUCH_JOB] = EXIT_NOT_FOUND,
    [WIPYD_ERROR_NO_SUCH_FIRMWARE] = EXIT_NOT_FOUND,
    [WIPYD_ERROR_NO_SUCH_BOARD] = EXIT_NOT_FOUND,
    [WIPYD_ERROR_NO_SUCH_SLOT] = EXIT_NOT_FOUND,
    [WIPYD_ERROR_NO_SUCH_BACKUP] = EXIT_NOT_FOUND,
    [WIPYD_ERROR_IN_USE] = EXIT_BUSY,
    [WIPYD_ERROR_TOO_MANY_LEASES] = EXIT_BUSY,
    [WIPYD_ERROR_INVALID_ARGUMENT] = EXIT_USAGE,
    [WIPYD_ERROR_CANCELLED] = EXIT_CANCELLED,
};

enum exit_code failure_exit_code(enum wipyd_error error) {
    if (!strcmp(wipyd_error_bus_name(error), WIPYD_ERROR_PREFIX "NotAuthorized"))
        return EXIT_NOT_AUTHORISED;
    return exit_codes[error] ? exit_codes[error] : EXIT_FAILED;
}

static void to_json(struct json *json, const char *message, const struct failure *failure) {
    const struct {
        const char *key, *value;
    } rows[] = {
        { "error", failure->name },
        { "message", message },
        { "story", failure->story },
        { "hint", failure->hint },
    };

    json_map_begin(json);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        json_string(json, rows[i].key);
        json_string(json, rows[i].value ? rows[i].value : "");
    }
    json_map_end(json);
}

static void print_json(enum json_mode mode, const char *message, const struct failure *failure) {
    struct json json;

    json_begin(&json, mode);
    to_json(&json, message, failure);
    if (json_print(&json) < 0)
        text_line(stderr, TEXT_BAD, "wipyctl: %s", wipyd_error_sentence(WIPYD_ERROR_NO_MEMORY));
}

enum exit_code failure_report(const struct client *client, const struct failure *failure) {
    cleanup(free_p) char *with_subject = NULL;
    const char *message = failure->message;

    if (client->subject && asprintf(&with_subject, "%s: %s", client->subject, message) >= 0)
        message = with_subject;
    if (client->failures_to) {
        to_json(client->failures_to, message, failure);
        return failure->exit_code;
    }
    if (client->options.json) {
        print_json(client->options.json, message, failure);
        return failure->exit_code;
    }
    fflush(stdout);
    text_line(stderr, TEXT_BAD, "wipyctl: %s", message);
    if (failure->story && *failure->story)
        text_line(stderr, TEXT_PLAIN, "  %s", failure->story);
    if (failure->hint && *failure->hint)
        text_line(stderr, TEXT_PLAIN, "hint: %s", failure->hint);
    return failure->exit_code;
}

enum exit_code failure_usage(const struct client *client, const char *format, ...) {
    cleanup(free_p) char *message = NULL;
    va_list arguments;
    int r;

    va_start(arguments, format);
    r = vasprintf(&message, format, arguments);
    va_end(arguments);
    return failure_report(client, &(struct failure) {
                                      .exit_code = EXIT_USAGE,
                                      .name = wipyd_error_bus_name(WIPYD_ERROR_INVALID_ARGUMENT),
                                      .message = r < 0 ? "The command line is wrong." : message,
                                      .hint = wipyd_error_hint(WIPYD_ERROR_INVALID_ARGUMENT),
                                  });
}

enum exit_code failure_known(const struct client *client, enum wipyd_error error, const char *story) {
    return failure_report(client, &(struct failure) {
                                      .exit_code = failure_exit_code(error),
                                      .name = wipyd_error_bus_name(error),
                                      .message = wipyd_error_sentence(error),
                                      .story = story,
                                      .hint = wipyd_error_hint(error),
                                  });
}

enum exit_code failure_system(const struct client *client, const char *message, int error) {
    cleanup(sd_bus_error_free) sd_bus_error named = SD_BUS_ERROR_NULL;

    sd_bus_error_set_errno(&named, error);
    return failure_report(client, &(struct failure) {
                                      .exit_code = EXIT_FAILED,
                                      .name = named.name,
                                      .message = message,
                                      .story = named.message,
                                  });
}
