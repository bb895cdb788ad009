#pragma once

/*
 * May the caller do this? Asked of polkit on the same bus, without waiting: the call is put aside, and comes
 * in once more when the answer is there, so that everything in it is looked up again.
 *
 * Happy path: authority_check 0 (who is it; may it), the message comes again, authority_check 1.
 * Failure modes: refused, dismissed or not answered in time: the caller gets NOT_AUTHORIZED. The caller
 * vanishes: its question is taken back from polkit and dropped. Without polkit: root and the daemon's own
 * user only. Too many open questions, in all or of one caller: LimitsExceeded.
 */

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>

#include "daemon/base/clean.h"

struct authority;

/* What the call is about. */
struct authority_ask {
    const char *action; /* static storage */
    /* for the person who is asked, and for polkit's rules; empty: not told */
    char device[256], board[18], version[64], file[256];
    char owner[32]; /* "uid 1000": who may do it without being asked about; empty: nobody */
};

struct authority_caller {
    uid_t uid;
    pid_t pid; /* 0: not known */
};

must_check int authority_new(struct authority **ret, sd_bus *bus);
/* Answers what is open with SHUTTING_DOWN. NULL is fine. */
struct authority *authority_close(struct authority *authority);
/* 1: go on, and ret_caller says who it is; 0: not yet, the message will come again; negative errno with error
 * set. message has been read from the bus of authority_new; ask is copied. */
must_check int authority_check(struct authority *authority, sd_bus_message *message,
                               const struct authority_ask *ask, struct authority_caller *ret_caller,
                               sd_bus_error *error);
