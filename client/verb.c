#include "client/verb.h"

#include <string.h>

#include "client/options.h"

#define DEVICE_HELP                                                                                          \
    "DEVICE is a port's name (ttyUSB0), its node (/dev/ttyUSB0), its slot, a label, or a board's MAC,\n"     \
    "or a part of one of them that no other has.\n"
#define TARGET_HELP                                                                                          \
    "A MAC or a board's label means the board. A device (ttyUSB0), a slot or a slot's label means the "      \
    "slot,\n"                                                                                                \
    "whatever is plugged in there; with --board a device means the board that is on it.\n"
#define ARM_HELP                                                                                             \
    "Arm a slot when the adapter there can reset its boards. A DEVICE means the slot that it is in: what "   \
    "is\n"                                                                                                   \
    "armed stays so whatever is plugged in there.\n"
#define DETACH_HELP                                                                                          \
    "Ctrl-C detaches: the job goes on without wipyctl, which exits with 1, because\n"                        \
    "the job isn't done.\n"

static const struct verb rows[] = {
    {
        .name = "status",
        .arguments = "",
        .summary = "Show devices, what goes on, and the firmware at hand (the default)",
        .is_long = true,
        .run = verb_status,
    },
    {
        .name = "list",
        .arguments = "",
        .summary = "List the devices, their slots, and what may be done there",
        .is_long = true,
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
        .arguments = "DEVICE|--all [PACKAGE|VERSION]",
        .summary = "Write firmware to the board and verify it",
        .details = DEVICE_HELP
        "PACKAGE is a .tar.gz as Pycom published it: whatever has a '/', ends in .tar.gz or\n"
        ".tgz, or is the name of a file here. VERSION is a release that wipyd has at hand,\n"
        "1.20.1.r1; without either the newest for the board's type is written.\n"
        "With --all every device that has a board in it is flashed, all at once.\n" DETACH_HELP,
        .options = OPTION_FOR_JOBS | OPTION_FOR_FLASH,
        .min_arguments = 1,
        .max_arguments = 2,
        .run = verb_flash,
    },
    {
        .name = "follow",
        .arguments = "JOB|DEVICE",
        .summary = "Come back to a job, and stay with it to its end",
        .details =
            "JOB is its number.\n" DEVICE_HELP
            "A device means the job that is under way there. The exit code says how the job ended, also\n"
            "when it is over already.\n" DETACH_HELP,
        .min_arguments = 1,
        .max_arguments = 1,
        .run = verb_follow,
    },
    {
        .name = "cancel",
        .arguments = "JOB",
        .summary = "Stop a job at the next safe moment",
        .details = "JOB is its number. What is on the flash stays, and a later job goes on from there.\n",
        .options = OPTION_FOR_WAIT,
        .min_arguments = 1,
        .max_arguments = 1,
        .run = verb_cancel,
    },
    {
        .name = "look",
        .arguments = "DEVICE",
        .summary = "See now who is there, and print what is known",
        .details =
            DEVICE_HELP "Listens, asks for a boot ROM, and asks the running firmware for its banner. With\n"
                        "--repl the program on the board is stopped, asked, and started again.\n",
        .options = OPTION_FOR_LOOK,
        .min_arguments = 1,
        .max_arguments = 1,
        .run = verb_look,
    },
    {
        .name = "lease",
        .arguments = "DEVICE [WHY] [-- COMMAND [ARGUMENT...]]",
        .summary = "Have the port to yourself, for an editor or a terminal",
        .details = DEVICE_HELP
        "wipyd leaves the port alone until Ctrl-C, or until COMMAND ends, whose exit code is then\n"
        "wipyctl's: 126 when it can't be run, 127 when there is none, 128 and its number when a\n"
        "signal ended it. WHY is what others are shown who want the port.\n",
        .takes_command = true,
        .min_arguments = 1,
        .max_arguments = 2,
        .run = verb_lease,
    },
    {
        .name = "explain",
        .arguments = "DEVICE",
        .summary = "Say why the device is treated as it is",
        .details = DEVICE_HELP "The rules are tried from the top; the first that applies wins.\n",
        .min_arguments = 1,
        .max_arguments = 1,
        .is_long = true,
        .run = verb_explain,
    },
    {
        .name = "policy",
        .arguments = "[DEVICE|SLOT|MAC|LABEL] [POLICY]",
        .summary = "Show or set what is done without being asked",
        .details =
            "POLICY is one of\n"
            "  off    never open the port\n"
            "  ask    look and report; flash on command only\n"
            "  wipy   flash a board in download mode that is a WiPy, or blank\n"
            "  any    flash every ESP32 that turns up in download mode\n"
            "  unset  none of its own: a board's goes before its slot's, that before the default;\n"
            "         the default is then as configured\n"
            "Without POLICY it is shown; without a name, the default and all that have one of their own.\n"
            "wipyctl policy --default [POLICY] shows or sets the default.\n" TARGET_HELP,
        .options = OPTION_FOR_TARGET | OPTION_FOR_DEFAULT,
        .max_arguments = 2,
        .run = verb_policy,
    },
    {
        .name = "arm",
        .arguments = "SLOT|DEVICE...",
        .summary = "Let wipyd reset boards there, through DTR and RTS",
        .details = ARM_HELP,
        .min_arguments = 1,
        .max_arguments = VERB_ANY_NUMBER,
        .run = verb_arm,
    },
    {
        .name = "disarm",
        .arguments = "SLOT|DEVICE...",
        .summary = "Leave DTR and RTS alone there",
        .details = ARM_HELP,
        .min_arguments = 1,
        .max_arguments = VERB_ANY_NUMBER,
        .run = verb_disarm,
    },
    {
        .name = "label",
        .arguments = "MAC|SLOT|DEVICE|LABEL TEXT",
        .summary = "Give a board or a slot a name of yours; \"\" takes it away",
        .details = TARGET_HELP,
        .options = OPTION_FOR_TARGET,
        .min_arguments = 2,
        .max_arguments = 2,
        .run = verb_label,
    },
    {
        .name = "board",
        .arguments = "[VERB] [ARGUMENT...]",
        .summary = "Look after the boards that were ever here",
        .details = "wipyctl board VERB --help tells more.\n",
        .verbs = &board_verbs,
    },
    {
        .name = "slot",
        .arguments = "[VERB] [ARGUMENT...]",
        .summary = "Look after the places where adapters are plugged in",
        .details = "wipyctl slot VERB --help tells more.\n",
        .verbs = &slot_verbs,
    },
    {
        .name = "history",
        .arguments = "",
        .summary = "Show the jobs that were, the newest first",
        .details = "T of --since is a day, a day and a time, today, yesterday, or a span: 30m, 2h, 3d, 1w.\n"
                   "CSV begins with a line of names; times in it are UTC.\n",
        .options = OPTION_FOR_HISTORY,
        .is_long = true,
        .run = verb_history,
    },
    {
        .name = "backup",
        .arguments = "[VERB] [ARGUMENT...]",
        .summary = "Boards' own data: keys, settings, which image boots",
        .details = "wipyctl backup VERB --help tells more.\n",
        .options = OPTION_FOR_JOBS | OPTION_FOR_RESTORE | OPTION_FOR_OUTPUT,
        .verbs = &backup_verbs,
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
        .details = "On a terminal: a line for each device, which shows what goes on there. Elsewhere, and\n"
                   "with --plain, a line for each change; with --json each is one JSON object.\n",
        .run = verb_monitor,
    },
    {
        .name = "doctor",
        .arguments = "",
        .summary = "Look for what may stand in the way, and name the cure",
        .details = "Each check is ok, a warning or failed; the exit code is 1 when one has failed.\n",
        .run = verb_doctor,
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
