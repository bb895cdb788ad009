#pragma once

/* What every part of wipyctl shares: the exit codes, the options, and the connection that a verb is handed.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define cleanup(function) __attribute__((cleanup(function)))
#define must_check        __attribute__((warn_unused_result))

/*
 * What wipyctl's caller learns. A function that returns one has, unless it is EXIT_DONE, told the person
 * (or the script) already: its caller passes the code on and says nothing more.
 */
enum exit_code {
    EXIT_DONE = 0, /* done, or already so */
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_FOUND = 3,
    EXIT_NOT_AUTHORISED = 4,
    EXIT_BUSY = 5,
    EXIT_CANCELLED = 6,
    EXIT_SOME_FAILED = 7, /* of many */
    EXIT_NO_DAEMON = 8,
};

enum json_mode {
    JSON_OFF,
    JSON_SHORT,  /* one line */
    JSON_PRETTY, /* indented */
};

struct options {
    const char *bus; /* "system", "session" or an address; borrowed from argv or the environment */
    enum json_mode json;
    const char *host; /* to reach by ssh; NULL: this one */
    bool no_legend, no_pager, plain, no_ask_password, quiet, no_block, dry_run, wait, force, all, help,
        version;
    bool of_board, of_slot, of_default; /* which is meant by a device's name, or none at all */
    bool repl, csv, decisions;
    uint32_t baud;                                           /* 0: not given */
    uint32_t connect_timeout_s;                              /* 0: not given */
    uint32_t limit;                                          /* 0: not given */
    const char *board, *slot, *since, *mac, *parts, *output; /* borrowed from argv; NULL: not given */
    char **command; /* what stood behind a "--", of a verb that takes_command; argv's; NULL: there was none */
};

struct json;

struct client {
    struct options options;
    sd_bus *bus;              /* NULL until bus_open() */
    const char *subject;      /* what failures are about, said before them; NULL: nothing particular */
    struct json *failures_to; /* an open array that failures join; NULL: each is a document of its own */
};

static inline void free_p(void *pointer) {
    free(*(void **)pointer);
}

static inline void close_fd_p(int *fd) {
    if (*fd >= 0)
        close(*fd);
}

/* Moves an fd out of a variable that would close it. */
static inline int steal_fd(int *fd) {
    int value = *fd;

    *fd = -1;
    return value;
}
