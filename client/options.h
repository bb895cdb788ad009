#pragma once

/* The command line: one table of options, from which the parser and every --help are made. */

#include "client/client.h"
#include "client/verb.h"

/* Groups of options that a verb may take besides the common ones. */
#define OPTION_FOR_JOBS    1u    /* --baud, --connect-timeout, --no-block, --wait */
#define OPTION_FOR_FLASH   2u    /* --all, --slot, --dry-run */
#define OPTION_FOR_REFRESH 4u    /* --no-block, --wait */
#define OPTION_FOR_FORCE   8u    /* --force */
#define OPTION_FOR_TARGET  16u   /* --board, --slot: which of the two is meant */
#define OPTION_FOR_DEFAULT 32u   /* --default */
#define OPTION_FOR_LOOK    64u   /* --repl */
#define OPTION_FOR_HISTORY 128u  /* --board MAC, --slot S, --since, --limit, --csv, --decisions */
#define OPTION_FOR_RESTORE 256u  /* --parts, --mac */
#define OPTION_FOR_OUTPUT  512u  /* --output */
#define OPTION_FOR_WAIT    1024u /* --wait */

/* The rates and times that the daemon takes (org.wipyd1.Device.xml). */
#define OPTION_BAUD_MIN              9600
#define OPTION_BAUD_MAX              4000000
#define OPTION_CONNECT_TIMEOUT_MAX_S 3600
#define OPTION_LIMIT_MAX             10000 /* org.wipyd1.Manager.xml */

/*
 * Fills client->options, and gives the verb and its arguments, which are argv's, moved to its front: options
 * may stand anywhere; one whose meaning depends on the verb (--board) stands behind it. *verb is NULL only
 * with --version or with a --help for no verb; the caller sees to both.
 */
must_check enum exit_code options_parse(struct client *client, int argc, char **argv,
                                        const struct verb **verb, char ***arguments);
/* For completions: a line for each option that the verb takes (NULL: those that every verb does), its form
 * ("--baud=", where a value has to follow), a tab, and its help. */
void options_complete(const struct verb *verb);
/* Whether a word is an option that takes the next word as its value; *name is then its long name. */
bool options_take_next(const struct verb *verb, const char *word, const char **name);
/* verb: NULL for the program's own help. On standard output. */
void options_help(const struct verb *verb);
