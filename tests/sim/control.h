// The control socket: one request a line, one answer a line, "ok ..." or "error ...".
#pragma once

#include "tests/sim/board.h"

#include <stdbool.h>
#include <stddef.h>

#define CONTROL_CLIENTS 8

struct control_client {
    int fd; // -1 = free
    size_t len;
    char line[512];
};

struct control {
    int listener;
    bool quit; // somebody asked for the end
    struct control_client clients[CONTROL_CLIENTS];
};

extern const char control_help[];

void control_init(struct control *c);

// Makes the socket at `path`, replacing a stale one. Returns 0 or a negative errno.
int control_open(struct control *c, const char *path);
void control_close(struct control *c, const char *path);

void control_on_connect(struct control *c);
void control_on_input(struct control *c, struct control_client *client, struct board *b);

// Carries out one request and writes its answer, without the newline. `line` is changed.
void control_run(struct control *c, struct board *b, char *line, char *out, size_t cap);
