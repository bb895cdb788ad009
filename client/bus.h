#pragma once

/* The connection to the daemon, and what its errors mean to the person who asked. */

#include "client/client.h"

/* Connects client->bus as options.bus says. */
must_check enum exit_code bus_open(struct client *client);
/* A message for one of the daemon's methods; the caller appends, and hands it to bus_call(). */
must_check enum exit_code bus_message(const struct client *client, sd_bus_message **message, const char *path,
                                      const char *interface, const char *method, const char *types, ...);
/* Says why an argument couldn't be appended. */
enum exit_code bus_append_failure(const struct client *client, int r);
/* Calls and waits for the answer, which the caller unrefs. */
must_check enum exit_code bus_call(const struct client *client, sd_bus_message *message,
                                   sd_bus_message **reply);
/* The same for an answer that takes longer than usual. */
must_check enum exit_code bus_call_within(const struct client *client, uint64_t seconds,
                                          sd_bus_message *message, sd_bus_message **reply);
/* A whole call whose answer has nothing in it. */
must_check enum exit_code bus_tell(const struct client *client, const char *path, const char *interface,
                                   const char *method, const char *types, ...);
/* Says what went wrong with a call: error, or where that isn't set, the negative errno. */
enum exit_code bus_failure(const struct client *client, const sd_bus_error *error, int r);
/* The daemon went away while we listened to it. story: what that means. */
enum exit_code bus_daemon_gone(const struct client *client, const char *story);
#define BUS_JOB_IS_CUT                                                                                       \
    "A flash that was under way goes on by itself when wipyd runs again: verified regions are not written "  \
    "twice. See: wipyctl status"
/* The daemon sent something that its XML doesn't allow. */
enum exit_code bus_bad_message(const struct client *client, int r);
