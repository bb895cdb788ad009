#include "client/each.h"

#include "client/failure.h"

static enum exit_code do_one(struct client *client, const char *argument, each_fn one, void *userdata,
                             struct json *json) {
    enum exit_code code;

    client->subject = argument;
    code = one(client, argument, json, userdata);
    client->subject = NULL;
    return code;
}

enum exit_code each(struct client *client, char **arguments, each_fn one, void *userdata) {
    struct json json = { 0 }, *to = client->options.json ? &json : NULL;
    bool is_lone = !arguments[0] || !arguments[1];
    enum exit_code code = EXIT_DONE, failed = EXIT_DONE;
    size_t n_done = 0;

    if (to) {
        json_begin(to, client->options.json);
        json_array_begin(to);
        client->failures_to = is_lone ? NULL : to;
    }
    for (; *arguments && code != EXIT_NO_DAEMON; arguments++) {
        code = do_one(client, *arguments, one, userdata, to);
        if (code == EXIT_DONE)
            n_done++;
        else
            failed = failed == EXIT_DONE || failed == code ? code : EXIT_FAILED;
    }
    client->failures_to = NULL;
    if (to)
        json_array_end(to);
    if (to && is_lone && failed != EXIT_DONE)
        json_drop(to);
    else if (to && json_print(to) < 0)
        return failure_known(client, WIPYD_ERROR_NO_MEMORY, NULL);
    if (code == EXIT_NO_DAEMON)
        return code;
    return n_done && failed != EXIT_DONE ? EXIT_SOME_FAILED : failed;
}
