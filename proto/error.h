#pragma once

/*
 * Every outcome that a caller or a person has to handle, one row each:
 * symbol, name on the bus (after "org.wipyd1.Error."), what happened, what to try next.
 * The daemon answers with the name, the client prints sentence and hint from this same table.
 * Names are stable: a row is added, never renamed.
 */

#include <stddef.h>

/* clang-format off */
#define WIPYD_ERROR_TABLE(X)                                                                                \
    X(NONE,                 "None",              "No error.", "")                                           \
    /* the port */                                                                                          \
    X(PORT_BUSY,            "PortBusy",          "Another program holds the port.",                         \
      "Close that program (a terminal, an editor, ModemManager), then try again.")                          \
    X(PORT_GONE,            "PortGone",          "The port has gone away.",                                 \
      "Plug the adapter in again: a flash goes on by itself, verified regions are not written twice.")      \
    X(PORT_FAILED,          "PortFailed",        "The port can't be used.",                                 \
      "Check that wipyd may open it (group dialout) and that it is a serial port.")                         \
    X(BAUD_UNSUPPORTED,     "BaudUnsupported",   "The adapter can't do this baud rate.",                    \
      "Use --baud 115200, or another rate that the adapter supports.")                                      \
    /* the connection */                                                                                    \
    X(SILENCE,              "Silence",           "Nothing answers on the port.",                            \
      "Check power and the TX and RX jumpers, join G23 to GND, press reset.")                               \
    X(NOISE,                "Noise",             "Bytes arrive, but they make no sense at this baud rate.", \
      "Check the cable and the ground wire, press reset, try --baud 115200.")                               \
    X(NOT_IN_DOWNLOAD_MODE, "NotInDownloadMode", "The board runs, but not in download mode.",               \
      "Join G23 to GND, press reset, then repeat the command.")                                             \
    X(TX_DEAD,              "NoTransmit",        "The board waits for a download but doesn't hear us.",     \
      "Check the wire or jumper from the adapter's TX to the board's RX.")                                  \
    X(BROWNOUT,             "Brownout",          "The board's supply collapses.",                           \
      "Use a better USB cable or a powered hub.")                                                           \
    X(CHIP_RESET,           "ChipReset",         "The board was reset in the middle of the job.",           \
      "Leave the board alone and repeat the command: verified regions are not written twice.")              \
    X(BAUD_FAILED,          "BaudFailed",        "The board was lost while changing the baud rate.",        \
      "Press reset with G23 still on GND, then repeat with --baud 115200.")                                 \
    X(CHIP_REFUSED,         "ChipRefused",       "The boot ROM refused a command.",                         \
      "Press reset with G23 still on GND, then repeat the command.")                                        \
    /* the chip */                                                                                          \
    X(NOT_ESP32,            "NotEsp32",          "The chip is not an ESP32.",                               \
      "Only boards with the original ESP32 can be flashed.")                                                \
    X(FLASH_ENCRYPTED,      "FlashEncrypted",    "Flash encryption is on in this chip's eFuses.",           \
      "Plain firmware would make this board unusable; it can't be flashed by wipyd.")                       \
    X(SECURE_BOOT,          "SecureBoot",        "Secure boot is on in this chip's eFuses.",                \
      "Unsigned firmware would make this board unusable; it can't be flashed by wipyd.")                    \
    X(FLASH_SIZE_UNKNOWN,   "FlashSizeUnknown",  "The flash chip's size can't be told.",                    \
      "Press reset and try again; if it stays, the flash chip or its supply is faulty.")                    \
    X(FLASH_TOO_SMALL,      "FlashTooSmall",     "This flash size has no layout for a Pycom board.",        \
      "WiPy boards have 4 MB or 8 MB of flash; is this another board?")                                     \
    X(WRONG_CHIP,           "WrongChip",         "Another chip answers than the one the job began with.",   \
      "Boards were swapped; repeat the command for the board that is plugged in now.")                      \
    /* the package */                                                                                       \
    X(PACKAGE_INVALID,      "PackageInvalid",    "The file is not a Pycom firmware package.",               \
      "Give the .tar.gz as Pycom published it.")                                                            \
    X(PACKAGE_TOO_LARGE,    "PackageTooLarge",   "The package exceeds a limit on members or sizes.",        \
      "Give the .tar.gz as Pycom published it.")                                                            \
    X(MEMBER_MISSING,       "MemberMissing",     "The package's script names a file that isn't in it.",     \
      "Fetch the package again; a repacked one may be incomplete.")                                         \
    X(SCRIPT_MISSING,       "ScriptMissing",     "The package has no script for this flash size.",          \
      "Use a package made for this board.")                                                                 \
    X(SCRIPT_INVALID,       "ScriptInvalid",     "The package's script can't be read.",                     \
      "Fetch the package again; a repacked one may be broken.")                                             \
    X(SCRIPT_UNKNOWN_OP,    "ScriptUnknownOp",   "The package's script wants something that is not done.",  \
      "Only writes and erases of named areas are carried out; use another package.")                        \
    X(SCRIPT_PROTECTED,     "ScriptProtected",   "The package's script touches data that must be kept.",    \
      "The config block and the file system hold what nobody can restore; use another package.")            \
    X(SCRIPT_OVERLAP,       "ScriptOverlap",     "The package's script writes one place twice.",            \
      "Fetch the package again; a repacked one may be broken.")                                             \
    X(SCRIPT_OUT_OF_RANGE,  "ScriptOutOfRange",  "The package's script goes past the end of the flash.",    \
      "This package is for a board with more flash.")                                                       \
    X(SCRIPT_UNALIGNED,     "ScriptUnaligned",   "The package's script uses an offset inside a sector.",    \
      "Fetch the package again; a repacked one may be broken.")                                             \
    X(PARTITION_OVERFLOW,   "PartitionOverflow", "A file is longer than the partition it is meant for.",    \
      "This package is for another layout; it would be cut, so it is refused.")                             \
    X(IMAGE_CORRUPT,        "ImageCorrupt",      "An image in the package fails its own checksum.",         \
      "Fetch the package again; it is damaged.")                                                            \
    X(WRONG_BOARD,          "WrongBoard",        "The package is for another board.",                       \
      "Choose the package whose name begins with this board's type.")                                       \
    /* the flash */                                                                                         \
    X(WRITE_FAILED,         "WriteFailed",       "A region can't be written.",                              \
      "Check cable and supply, press reset with G23 on GND, repeat with --baud 115200.")                    \
    X(VERIFY_FAILED,        "VerifyFailed",      "What was written differs from what was sent.",            \
      "Repeat the command; if it stays, the flash chip is write-protected or worn, or its supply is weak.") \
    X(GUARD_FAILED,         "GuardFailed",       "What is not the package's is not as it was before.",      \
      "What was saved before is in the state directory's backup folder: keep it; wipyctl restore puts it back.") \
    X(BACKUP_FAILED,        "BackupFailed",      "The board's own data can't be saved first.",              \
      "Make room in, or give wipyd access to, its state directory; nothing was written to the board.")      \
    /* the caller */                                                                                        \
    X(NOT_AUTHORIZED,       "NotAuthorized",     "You are not allowed to do this.",                         \
      "Ask an administrator, or repeat the command with sudo.")                                             \
    X(DEVICE_BUSY,          "DeviceBusy",        "A job is under way on this device.",                      \
      "Wait for it, or stop it with: wipyctl cancel JOB")                                                   \
    X(NO_SUCH_DEVICE,       "NoSuchDevice",      "There is no such device.",                                \
      "See: wipyctl list")                                                                                  \
    X(NO_SUCH_JOB,          "NoSuchJob",         "There is no such job.",                                   \
      "See: wipyctl status")                                                                                \
    X(NO_SUCH_FIRMWARE,     "NoSuchFirmware",    "There is no such firmware here.",                         \
      "See: wipyctl firmware list; or give a file: wipyctl flash DEVICE FILE.tar.gz")                                              \
    X(LAST_GOOD,            "LastGood",          "It is the last good package for its kind of board.",      \
      "Export it first, then remove it with --force.")                                                      \
    X(PINNED,               "Pinned",            "The package is pinned.",                                  \
      "Take the pin off first: wipyctl firmware unpin")                                                     \
    X(QUARANTINED,          "Quarantined",       "The package is in quarantine.",                           \
      "See why with: wipyctl firmware show; an administrator may release it.")                              \
    X(POLICY_OFF,           "PolicyOff",         "The policy here is off: the port is never opened.",       \
      "Change it first: wipyctl policy DEVICE ask")                                                         \
    X(ADAPTER_UNHANDLED,    "AdapterUnhandled",  "This kind of adapter is not handled yet.",                \
      "Use an FTDI or CP210x adapter; wipyctl explain DEVICE says what is missing.")                        \
    X(NO_SUCH_BOARD,        "NoSuchBoard",       "No such board is known.",                                 \
      "See: wipyctl board list")                                                                            \
    X(NO_SUCH_SLOT,         "NoSuchSlot",        "No such slot is known.",                                  \
      "See: wipyctl list; a slot is known once something was plugged in there.")                            \
    X(NO_SUCH_BACKUP,       "NoSuchBackup",      "There is no such backup.",                                \
      "See: wipyctl backup list")                                                                           \
    X(BACKUP_INVALID,       "BackupInvalid",     "The backup can't be put back as it is.",                  \
      "Choose another generation: wipyctl backup list MAC")                                                 \
    X(OTHER_BOARDS_BACKUP,  "OtherBoardsBackup", "The backup is another board's.",                          \
      "Keys and addresses in there belong to one board only; choose this board's own.")                     \
    X(TOO_MANY_LEASES,      "TooManyLeases",     "Too many ports are leased.",                              \
      "Close a program that has one: wipyctl list")                                                         \
    X(IN_USE,               "InUse",             "It is in use.",                                           \
      "Unplug it first, or wait for the job there to end.")                                                 \
    X(TOO_MANY_ATTEMPTS,    "TooManyAttempts",   "The job was cut off too often.",                          \
      "See why with: wipyctl history; check cable and hub, then repeat the command.")                       \
    X(SUPERSEDED,           "Superseded",        "A newer job took this one's place.", "See: wipyctl history")                  \
    X(JOB_FINISHED,         "JobFinished",       "The job is over already.", "")                             \
    X(INVALID_ARGUMENT,     "InvalidArgument",   "An argument is not valid.",                               \
      "See: wipyctl --help")                                                                                \
    X(UNKNOWN_OPTION,       "UnknownOption",     "An option is not known.",                                 \
      "The client may be newer than the daemon; restart wipyd after an upgrade.")                           \
    X(CANCELLED,            "Cancelled",         "The job was cancelled.",                                  \
      "Repeat the command to go on: verified regions are not written twice.")                               \
    X(SHUTTING_DOWN,        "ShuttingDown",      "wipyd was stopped during the job.",                       \
      "A flash goes on by itself when wipyd runs again: verified regions are not written twice.")           \
    X(NO_MEMORY,            "NoMemory",          "Not enough memory.", "Try again later.")                   \
    X(SYSTEM,               "System",            "The system refused something.",                           \
      "See the journal: journalctl -u wipyd")
/* clang-format on */

enum wipyd_error {
#define X(symbol, name, sentence, hint) WIPYD_ERROR_##symbol,
    WIPYD_ERROR_TABLE(X)
#undef X
        WIPYD_ERROR_COUNT
};

/* The name on the bus, with its prefix: "org.wipyd1.Error.PortBusy". Static storage. */
const char *wipyd_error_bus_name(enum wipyd_error error);
/* What happened, one sentence. Static storage. */
const char *wipyd_error_sentence(enum wipyd_error error);
/* What to try next; may be empty, never NULL. Static storage. */
const char *wipyd_error_hint(enum wipyd_error error);
/* Takes a full bus name; WIPYD_ERROR_COUNT when it is none of ours. */
enum wipyd_error wipyd_error_from_bus_name(const char *bus_name);
