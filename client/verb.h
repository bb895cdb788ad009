#pragma once

/* The verbs of wipyctl: one row each in verb.c, or, for verbs that belong to another, in that one's file. */

#include <limits.h>

#include "client/client.h"

struct verb {
    const char *name;      /* in full: "firmware show"; its last word is what verb_find() looks for */
    const char *arguments; /* as help shows them */
    const char *summary;   /* one line */
    const char *details;   /* the rest of its --help, may be NULL */
    unsigned options;      /* which of the OPTION_FOR_* in options.h it takes */
    bool is_long;          /* what it prints for people may go to a pager */
    bool takes_command;    /* behind a "--" */
    int min_arguments, max_arguments;
    enum exit_code (*run)(struct client *client, char **arguments); /* the bus is open; NULL ends */
    const struct verb_table *verbs; /* of its own, instead of run; the first is meant when none is named */
};

#define VERB_ANY_NUMBER INT_MAX /* of arguments */

struct verb_table {
    const struct verb *rows;
    size_t n;
};

extern const struct verb_table verbs, firmware_verbs, board_verbs, slot_verbs, backup_verbs;

/* NULL when there is none of that name. */
const struct verb *verb_find(const struct verb_table *table, const char *name);

enum exit_code verb_status(struct client *client, char **arguments);
enum exit_code verb_list(struct client *client, char **arguments);
enum exit_code verb_info(struct client *client, char **arguments);
enum exit_code verb_flash(struct client *client, char **arguments);
enum exit_code verb_lease(struct client *client, char **arguments);
enum exit_code verb_look(struct client *client, char **arguments);
enum exit_code verb_explain(struct client *client, char **arguments);
enum exit_code verb_policy(struct client *client, char **arguments);
enum exit_code verb_arm(struct client *client, char **arguments);
enum exit_code verb_disarm(struct client *client, char **arguments);
enum exit_code verb_label(struct client *client, char **arguments);
enum exit_code verb_history(struct client *client, char **arguments);
enum exit_code verb_backup_export(struct client *client, char **arguments);
enum exit_code verb_backup_restore(struct client *client, char **arguments);
enum exit_code verb_follow(struct client *client, char **arguments);
enum exit_code verb_cancel(struct client *client, char **arguments);
enum exit_code verb_monitor(struct client *client, char **arguments);
enum exit_code verb_doctor(struct client *client, char **arguments);
enum exit_code verb_firmware_list(struct client *client, char **arguments);
enum exit_code verb_firmware_show(struct client *client, char **arguments);
enum exit_code verb_firmware_refresh(struct client *client, char **arguments);
enum exit_code verb_firmware_import(struct client *client, char **arguments);
enum exit_code verb_firmware_export(struct client *client, char **arguments);
enum exit_code verb_firmware_pin(struct client *client, char **arguments);
enum exit_code verb_firmware_unpin(struct client *client, char **arguments);
enum exit_code verb_firmware_remove(struct client *client, char **arguments);
enum exit_code verb_firmware_verify(struct client *client, char **arguments);
enum exit_code verb_firmware_unquarantine(struct client *client, char **arguments);
