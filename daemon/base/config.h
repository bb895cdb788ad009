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
#include "proto/policy.h"

#define CONFIG_PORTS_MAX    64
#define CONFIG_SOURCES_MAX  8
#define CONFIG_ADAPTERS_MAX 32
#define CONFIG_SOURCE_DEFAULT                                                                                \
    "https://software.pycom.io/findupgrade?key=wipy.wipy%20with%20esp32&redirect=false&type=all"

/* Where firmware comes from. */
enum config_source_kind {
    CONFIG_SOURCE_FINDUPGRADE, /* "findupgrade URL": answers with JSON (facts/pycom.md 1) */
    CONFIG_SOURCE_MIRROR,      /* "mirror URL": an HTTP folder of packages, listed in HTML */
    CONFIG_SOURCE_FOLDER,      /* "folder PATH" or "folder file://PATH", PATH taken as it stands */
};

struct config_source {
    enum config_source_kind kind;
    char *url; /* http or https, printable ASCII; of a folder its absolute path; owned */
};

/* A USB serial adapter. */
struct config_adapter {
    uint16_t vendor, product;
    char name[32];
};

struct config {
    char *state_directory; /* [daemon] state-directory, default $STATE_DIRECTORY or /var/lib/wipyd; owned */
    uint32_t log_level;    /* [daemon] log-level: error warning notice info debug; syslog's number */
    uint32_t baud; /* [flash] baud, 9600..4000000: the rate to climb to; 0, "auto": what was shown to work */
    uint32_t connect_timeout_s; /* [flash] connect-timeout, 1..3600, default 60: wait for the boot ROM */
    uint32_t jobs;         /* [flash] jobs, 0..256, default 0: under way at once; 0: as many as USB carries */
    uint32_t usb_budget_k; /* [flash] usb-budget, 0..100000 KB/s of all ports on one hub; 0: no bound */
    uint32_t
        attempts; /* [flash] attempts, 1..100, default 5: how often a job is begun, cut-off ones included */
    char *stub;   /* [flash] stub: auto (looked for), off, or an absolute path; NULL: auto; owned */
    /* [boards] policy: off, ask, wipy (the default) or any: where neither board, slot nor wipyctl says
     * another. */
    enum board_policy policy;
    uint32_t settle_ms; /* [boards] settle, 0..60000, default 1000: a port that was plugged in is left alone
                           so long */
    uint32_t syncs;     /* [boards] syncs, 0..20, default 4: sent after plug-in to a port that isn't armed */
    uint32_t listen_ms; /* [boards] listen, 0..3000, default 500: before the first SYNC, and after the last */
    uint32_t coach_s; /* [boards] coach, 0..86400, default 600: how long a port is listened to while a person
                         is expected to do something */
    /* [adapters] adapter = VVVV:PPPP NAME, repeatable: USB ids (hex) served besides the built-in ones. */
    struct config_adapter adapters[CONFIG_ADAPTERS_MAX];
    unsigned n_adapters;
    char *ports[CONFIG_PORTS_MAX]; /* [ports] port = PATH, repeatable, and --port: ports that udev doesn't
                                      know; owned */
    unsigned n_ports;
    /* [firmware] source = KIND URL, repeatable, asked in this order. The first one in the configuration
     * replaces the built-in CONFIG_SOURCE_DEFAULT; an empty one drops all before it. */
    struct config_source sources[CONFIG_SOURCES_MAX];
    unsigned n_sources;
    bool has_own_sources;     /* the built-in one was replaced */
    uint32_t poll_interval_s; /* poll-interval, 1..2592000, default 86400 */
    uint32_t timeout_s;       /* timeout, 1..600, default 30: a source that says nothing for so long */
    char *proxy;              /* proxy, a URL; NULL: the environment's; empty: none at all; owned */
    char *ca_file;            /* ca-file; NULL: the environment's, else the system's; owned */
    bool allow_http;          /* allow-http: yes or no (the default): plain HTTP for http:// sources */
    uint32_t keep_packages;   /* keep-packages, 1..10000, default 20 */
    uint32_t keep_mib;        /* keep-mib, 1..1048576, default 200 */
};

/* Fills config with the defaults. Negative errno. */
must_check int config_init(struct config *config);
/* Reads path and its drop-ins over what config holds. A missing path is fine unless required.
 * INVALID_ARGUMENT with "file:line: what" in fault. */
must_check enum wipyd_error config_read(struct config *config, const char *path, bool required,
                                        struct fault *fault);
/* Adds a port; path is copied. Negative errno: -ENOSPC past CONFIG_PORTS_MAX. Adding one twice is fine. */
must_check int config_add_port(struct config *config, const char *path);
/* Takes over from fresh what may change while the daemon runs: numbers, words and flags, never a text, for
 * others hold pointers to those. on_restart is called for each key, "[ports] port", that differs and is not
 * taken over. */
void config_take(struct config *config, const struct config *fresh,
                 void (*on_restart)(const char *section, const char *name));
void config_deinit(struct config *config);
