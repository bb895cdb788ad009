#pragma once

/*
 * The configuration: built-in defaults, then FILE, then FILE.d/ (its *.conf in order of name), then the
 * command line. An ini file; every key is in one table in config.c (name, type, bounds, default). An unknown
 * section or key and a value out of bounds are errors that name file and line.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/base/fault.h"

#define CONFIG_PORTS_MAX 64

struct config {
    char *state_directory; /* [daemon] state-directory, default $STATE_DIRECTORY or /var/lib/wipyd; owned */
    uint32_t log_level;    /* [daemon] log-level: error warning notice info debug; syslog's number */
    uint32_t baud;         /* [flash] baud, 9600..4000000, default 115200: the rate to climb to */
    uint32_t connect_timeout_s;    /* [flash] connect-timeout, 1..3600, default 60: wait for the boot ROM */
    char *ports[CONFIG_PORTS_MAX]; /* [ports] port = PATH, repeatable, and --port: ports that udev doesn't
                                      know; owned */
    unsigned n_ports;
};

/* Fills config with the defaults. Negative errno. */
must_check int config_init(struct config *config);
/* Reads path and its drop-ins over what config holds. A missing path is fine unless required.
 * INVALID_ARGUMENT with "file:line: what" in fault. */
must_check enum wipyd_error config_read(struct config *config, const char *path, bool required,
                                        struct fault *fault);
/* Adds a port; path is copied. Negative errno: -ENOSPC past CONFIG_PORTS_MAX. Adding one twice is fine. */
must_check int config_add_port(struct config *config, const char *path);
void config_deinit(struct config *config);
