/* The verbs of `wipyctl firmware`. */

#include "client/options.h"
#include "client/verb.h"

#define NAME_HELP                                                                                            \
    "NAME is the beginning of a package's SHA-256, four digits or more, or a release\n"                      \
    "that only one package has.\n"

static const struct verb rows[] = {
    {
        .name = "firmware list",
        .arguments = "",
        .summary = "List the packages at hand (the default)",
        .details = "RELEASE is what the image itself says; SERVER SAYS is another name by which a server\n"
                   "gave it. ORDER tells which release is newer; where it is '-', nobody can tell.\n",
        .is_long = true,
        .run = verb_firmware_list,
    },
    {
        .name = "firmware show",
        .arguments = "NAME",
        .summary = "Show all that is known of a package",
        .details = NAME_HELP,
        .min_arguments = 1,
        .max_arguments = 1,
        .run = verb_firmware_show,
    },
    {
        .name = "firmware refresh",
        .arguments = "",
        .summary = "Ask the sources for new firmware now",
        .details = "Ctrl-C detaches: the poll goes on without wipyctl, which exits with 1.\n",
        .options = OPTION_FOR_REFRESH,
        .run = verb_firmware_refresh,
    },
    {
        .name = "firmware import",
        .arguments = "FILE...",
        .summary = "Keep packages, to be flashed at any time",
        .details = "FILE is a .tar.gz as Pycom published it.\n",
        .min_arguments = 1,
        .max_arguments = VERB_ANY_NUMBER,
        .run = verb_firmware_import,
    },
    {
        .name = "firmware export",
        .arguments = "NAME [OUT|-]",
        .summary = "Write a package to a file, or to standard output",
        .details =
            NAME_HELP "OUT is a file or a folder; without it the file is put here, under the package's\n"
                      "name. It appears when it is complete, and replaces another with --force alone.\n",
        .options = OPTION_FOR_FORCE,
        .min_arguments = 1,
        .max_arguments = 2,
        .run = verb_firmware_export,
    },
    {
        .name = "firmware pin",
        .arguments = "NAME",
        .summary = "Keep a package, whatever else has to make room",
        .details = NAME_HELP,
        .min_arguments = 1,
        .max_arguments = 1,
        .run = verb_firmware_pin,
    },
    {
        .name = "firmware unpin",
        .arguments = "NAME",
        .summary = "Take the pin off again",
        .details = NAME_HELP,
        .min_arguments = 1,
        .max_arguments = 1,
        .run = verb_firmware_unpin,
    },
    {
        .name = "firmware remove",
        .arguments = "NAME...",
        .summary = "Drop packages",
        .details = NAME_HELP "The last good package for a kind of board goes with --force alone.\n",
        .options = OPTION_FOR_FORCE,
        .min_arguments = 1,
        .max_arguments = VERB_ANY_NUMBER,
        .run = verb_firmware_remove,
    },
    {
        .name = "firmware verify",
        .arguments = "[NAME...]",
        .summary = "Read packages again and check everything; all when none is named",
        .details = NAME_HELP "Exits with 1 when one isn't good.\n",
        .max_arguments = VERB_ANY_NUMBER,
        .run = verb_firmware_verify,
    },
    {
        .name = "firmware unquarantine",
        .arguments = "NAME",
        .summary = "Take a package out of quarantine: it can be flashed then",
        .details = NAME_HELP,
        .min_arguments = 1,
        .max_arguments = 1,
        .run = verb_firmware_unquarantine,
    },
};

const struct verb_table firmware_verbs = { rows, sizeof(rows) / sizeof(rows[0]) };
