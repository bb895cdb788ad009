#include <stdio.h>

#include "client/target.h"
#include "client/text.h"
#include "client/verb.h"

enum exit_code verb_label(struct client *client, char **arguments) {
    cleanup(target_clear_p) struct target target = { 0 };
    enum exit_code code = target_find(client, arguments[0], &target);
    char title[384];

    if (code == EXIT_DONE)
        code = target_set(client, &target, "SetLabel", arguments[1]);
    if (code != EXIT_DONE)
        return code;
    if (client->options.json)
        return object_print_json(client, target.interface, target_object(&target));
    if (!client->options.quiet)
        text_line(stdout, TEXT_GOOD, "%s: %s", target_title(&target, title, sizeof(title)),
                  *arguments[1] ? "labelled" : "no longer labelled");
    return EXIT_DONE;
}
