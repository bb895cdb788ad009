#include "client/verb.h"

#include <string.h>

#include "client/options.h"

#define DEVICE_HELP "DEVICE is a port's name (ttyUSB0), its node (/dev/ttyUSB0) or a board's MAC.\n"
#define DETACH_HELP                                                                                          \
    "Ctrl-C detaches: the job goes on without wipyctl, which exits with 1, because\n"                        \
    "the job isn't done.\n"

static const struct verb rows[] = {
    {
        .name = "status",
        .arguments = "",
        .summary = "Show devices, what goes on, and the firmware at hand (the default)",
        .run = verb_status,
    },
    {
        .name = "list",
        .arguments = "",
        .summary = "List the devices",
        .run = verb_list,
    },
    {
        .name = "info",
        .arguments = "DEVICE",
        .summary = "Ask the board what it is; writes nothing",
        .details = DEVICE_HELP "The board has to be in download mode.\n" DETACH_HELP,
        .options = OPTION_FOR_JOBS,
        .min_arguments = 1,
        .max_arguments = 1,
        .run = verb_info,
    },
    {
        .name = "flash",
        .arguments = "DEVICE [PACKAGE|VERSION]",
        .summary = "Write firmware to the board and verify it",
        .details =
            DEVICE_HELP "PACKAGE is a .tar.gz as Pycom published it: whatever has a '/', ends in .tar.gz or\n"
                        ".tgz, or is the name of a file here. VERSION is a release that wipyd has at hand,\n"
                        "1.20.1.r1; without either the newest for the board's type is written.\n" DETACH_HELP,
        .options = OPTION_FOR_JOBS | OPTION_FOR_FLASH,
        .min_arguments = 1,
        .max_arguments = 2,
        .run = verb_flash,
    },
    {
        .name = "cancel",
        .arguments = "JOB",
        .summary = "Stop a job at the next safe moment",
        .details = "JOB is its number. What is on the flash stays, and a later job goes on from there.\n",
        .min_arguments = 1,
        .max_arguments = 1,
        .run = verb_cancel,
    },
    {
        .name = "firmware",
        .arguments = "[VERB] [ARGUMENT...]",
        .summary = "Look after the firmware at hand",
        .details = "wipyctl firmware VERB --help tells more.\n",
        .options = OPTION_FOR_REFRESH | OPTION_FOR_FORCE,
        .verbs = &firmware_verbs,
    },
    {
        .name = "monitor",
        .arguments = "",
        .summary = "Follow every change until Ctrl-C",
        .details = "With --json every line is one JSON object.\n",
        .run = verb_monitor,
    },
};

const struct verb_table verbs = { rows, sizeof(rows) / sizeof(rows[0]) };

const struct verb *verb_find(const struct verb_table *table, const char *name) {
    for (size_t i = 0; i < table->n; i++) {
        const char *space = strrchr(table->rows[i].name, ' ');

        if (!strcmp(space ? space + 1 : table->rows[i].name, name))
            return &table->rows[i];
    }
    return NULL;
}
