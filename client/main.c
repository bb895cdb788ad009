/* wipyctl: drives wipyd over D-Bus. */

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "client/agent.h"
#include "client/bus.h"
#include "client/complete.h"
#include "client/failure.h"
#include "client/options.h"
#include "client/pager.h"
#include "client/terminal.h"
#include "client/verb.h"

static enum exit_code run(struct client *client, int argc, char **argv) {
    const struct verb *verb;
    char **arguments;
    enum exit_code code = options_parse(client, argc, argv, &verb, &arguments);

    if (code != EXIT_DONE)
        return code;
    if (client->options.plain)
        terminal_be_plain();
    if (client->options.help) {
        if (!client->options.json)
            pager_open(client);
        options_help(verb);
        return EXIT_DONE;
    }
    if (client->options.version) {
        puts("wipyctl " WIPYD_VERSION);
        return EXIT_DONE;
    }
    if (verb->is_long && !client->options.json && !client->options.csv)
        pager_open(client);
    code = bus_open(client);
    return code == EXIT_DONE ? verb->run(client, arguments) : code;
}

int main(int argc, char **argv) {
    struct client client = { 0 };
    enum exit_code code;

    if (argc > 1 && !strcmp(argv[1], "__complete"))
        return complete(argv + 2);

    /* What can be printed depends on the locale; numbers and times don't. */
    setlocale(LC_CTYPE, "");
    code = run(&client, argc, argv);
    sd_bus_flush_close_unref(client.bus);
    agent_close();

    /* An answer that didn't reach its file is no answer. */
    if ((fflush(stdout) || ferror(stdout)) && code == EXIT_DONE) {
        perror("wipyctl: standard output");
        code = EXIT_FAILED;
    }
    pager_close();
    return (int)code;
}
