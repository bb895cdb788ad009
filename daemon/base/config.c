#include "daemon/base/config.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <syslog.h>

#include "daemon/base/bytes.h"
#include "daemon/base/config_value.h"

#define STATE_DIRECTORY_DEFAULT "/var/lib/wipyd"

/* ---- keys: the one list ---------------------------------------------------------------------- */

enum key_type {
    KEY_PATH,         /* char *: an absolute path */
    KEY_NUMBER,       /* uint32_t: decimal, min..max; where the default is 0 and below min, "auto" is 0 */
    KEY_LEVEL,        /* uint32_t: one of the words */
    KEY_PORT_LIST,    /* ports: an absolute path, added to those before */
    KEY_SOURCE_LIST,  /* sources: a kind and where, added to those before; or empty */
    KEY_PROXY,        /* char *: a URL, or empty */
    KEY_STUB,         /* char *: auto, off, or an absolute path */
    KEY_YES_NO,       /* bool */
    KEY_POLICY,       /* enum board_policy: one of its words */
    KEY_ADAPTER_LIST, /* adapters: USB ids and a name, added to those before */
};

struct key {
    const char *section, *name;
    enum key_type type;
    size_t offset;
    uint32_t min, max, initial;
};

/* What a reload must not touch: texts that others hold pointers to, and lists that are gone through once. */
static bool needs_restart(const struct key *key) {
    switch (key->type) {
    case KEY_PATH:
    case KEY_PORT_LIST:
    case KEY_SOURCE_LIST:
    case KEY_PROXY:
    case KEY_STUB:
    case KEY_ADAPTER_LIST:
        return true;
    case KEY_NUMBER:
    case KEY_LEVEL:
    case KEY_YES_NO:
    case KEY_POLICY:
        break;
    }
    return false;
}

static const struct key keys[] = {
    { "daemon", "state-directory", KEY_PATH, offsetof(struct config, state_directory), 0, 0, 0 },
    { "daemon", "log-level", KEY_LEVEL, offsetof(struct config, log_level), 0, 0, LOG_INFO },
    { "flash", "baud", KEY_NUMBER, offsetof(struct config, baud), 9600, 4000000, 0 },
    { "flash", "connect-timeout", KEY_NUMBER, offsetof(struct config, connect_timeout_s), 1, 3600, 60 },
    { "flash", "jobs", KEY_NUMBER, offsetof(struct config, jobs), 0, 256, 0 },
    { "flash", "usb-budget", KEY_NUMBER, offsetof(struct config, usb_budget_k), 0, 100000, 1000 },
    { "flash", "attempts", KEY_NUMBER, offsetof(struct config, attempts), 1, 100, 5 },
    { "flash", "stub", KEY_STUB, offsetof(struct config, stub), 0, 0, 0 },
    { "boards", "policy", KEY_POLICY, offsetof(struct config, policy), 0, 0, BOARD_POLICY_WIPY },
    { "boards", "settle", KEY_NUMBER, offsetof(struct config, settle_ms), 0, 60000, 1000 },
    { "boards", "syncs", KEY_NUMBER, offsetof(struct config, syncs), 0, 20, 4 },
    { "boards", "listen", KEY_NUMBER, offsetof(struct config, listen_ms), 0, 3000, 500 },
    { "boards", "coach", KEY_NUMBER, offsetof(struct config, coach_s), 0, 86400, 600 },
    { "adapters", "adapter", KEY_ADAPTER_LIST, 0, 0, 0, 0 },
    { "firmware", "source", KEY_SOURCE_LIST, 0, 0, 0, 0 },
    { "firmware", "poll-interval", KEY_NUMBER, offsetof(struct config, poll_interval_s), 1, 2592000, 86400 },
    { "firmware", "timeout", KEY_NUMBER, offsetof(struct config, timeout_s), 1, 600, 30 },
    { "firmware", "proxy", KEY_PROXY, offsetof(struct config, proxy), 0, 0, 0 },
    { "firmware", "ca-file", KEY_PATH, offsetof(struct config, ca_file), 0, 0, 0 },
    { "firmware", "allow-http", KEY_YES_NO, offsetof(struct config, allow_http), 0, 0, 0 },
    { "firmware", "keep-packages", KEY_NUMBER, offsetof(struct config, keep_packages), 1, 10000, 20 },
    { "firmware", "keep-mib", KEY_NUMBER, offsetof(struct config, keep_mib), 1, 1048576, 200 },
    { "ports", "port", KEY_PORT_LIST, 0, 0, 0, 0 },
};

#define N_KEYS (sizeof keys / sizeof *keys)

static const struct {
    const char *word;
    uint32_t level;
} levels[] = {
    { "error", LOG_ERR }, { "warning", LOG_WARNING }, { "notice", LOG_NOTICE },
    { "info", LOG_INFO }, { "debug", LOG_DEBUG },
};

/* ---- values ---------------------------------------------------------------------------------- */

static void *field(struct config *config, const struct key *key) {
    return (char *)config + key->offset;
}

int config_add_port(struct config *config, const char *path) {
    for (unsigned i = 0; i < config->n_ports; i++)
        if (strcmp(config->ports[i], path) == 0)
            return 0;
    if (config->n_ports == CONFIG_PORTS_MAX)
        return -ENOSPC;
    config->ports[config->n_ports] = strdup(path);
    if (!config->ports[config->n_ports])
        return -ENOMEM;
    config->n_ports++;
    return 0;
}

static bool has_auto(const struct key *key) {
    return key->initial < key->min;
}

static bool parse_number(const char *text, const struct key *key, uint32_t *ret) {
    uint64_t value = 0;
    size_t n_digits = strspn(text, "0123456789");

    if (has_auto(key) && !strcmp(text, "auto")) {
        *ret = 0;
        return true;
    }
    if (n_digits == 0 || n_digits > 10 || text[n_digits] != 0)
        return false;
    for (const char *c = text; *c; c++)
        value = value * 10 + (uint64_t)(*c - '0');
    if (value < key->min || value > key->max)
        return false;
    *ret = (uint32_t)value;
    return true;
}

static bool parse_level(const char *text, uint32_t *ret) {
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(levels[i].word, text) == 0) {
            *ret = levels[i].level;
            return true;
        }
    return false;
}

static int replace_text(char **text, const char *value) {
    char *copy = strdup(value);

    if (!copy)
        return -ENOMEM;
    free(*text);
    *text = copy;
    return 0;
}

static void drop_sources(struct config *config) {
    for (unsigned i = 0; i < config->n_sources; i++)
        free(config->sources[i].url);
    config->n_sources = 0;
}

static int add_source(struct config *config, enum config_source_kind kind, const char *url) {
    if (config->n_sources == CONFIG_SOURCES_MAX)
        return -ENOSPC;
    config->sources[config->n_sources].kind = kind;
    config->sources[config->n_sources].url = strdup(url);
    if (!config->sources[config->n_sources].url)
        return -ENOMEM;
    config->n_sources++;
    return 0;
}

static bool parse_policy(const char *text, enum board_policy *ret) {
    enum board_policy policy = board_policy_from_word(text);

    if (policy == BOARD_POLICY_COUNT || policy == BOARD_POLICY_UNSET)
        return false;
    *ret = policy;
    return true;
}

/* One with the same ids takes the place of the one before. Negative errno. */
static int add_adapter(struct config *config, const struct config_adapter *adapter) {
    unsigned i = 0;

    while (i < config->n_adapters &&
           (config->adapters[i].vendor != adapter->vendor || config->adapters[i].product != adapter->product))
        i++;
    if (i == CONFIG_ADAPTERS_MAX)
        return -ENOSPC;
    config->adapters[i] = *adapter;
    if (i == config->n_adapters)
        config->n_adapters++;
    return 0;
}

/* ---- one file -------------------------------------------------------------------------------- */

/* inih reads, splits and calls back. It reads through us, line by line, so that a line's number is known when
 * its key is handled; it knows no number there, and goes on after an error. */
struct reading {
    struct config *config;
    const char *path;
    FILE *file;
    struct fault *fault;
    int line;
    int failed_line; /* 0 while all is well */
    enum wipyd_error result;
};

static enum wipyd_error fail_line(struct reading *reading, const char *what, const char *subject) {
    reading->failed_line = reading->line;
    reading->result =
        fault_set(reading->fault, WIPYD_ERROR_INVALID_ARGUMENT, "%s:%d: %s%s%s%s", reading->path,
                  reading->line, what, subject ? " \"" : "", subject ? subject : "", subject ? "\"" : "");
    return reading->result;
}

static enum wipyd_error fail_value(struct reading *reading, const struct key *key, const char *value,
                                   const char *wanted) {
    reading->failed_line = reading->line;
    reading->result = fault_set(reading->fault, WIPYD_ERROR_INVALID_ARGUMENT, "%s:%d: %s = \"%s\": %s",
                                reading->path, reading->line, key->name, value, wanted);
    return reading->result;
}

static enum wipyd_error fail_errno(struct reading *reading, int r) {
    reading->failed_line = reading->line;
    reading->result = fault_errno(reading->fault, r, "%s:%d", reading->path, reading->line);
    return reading->result;
}

static enum wipyd_error set_key(struct reading *reading, const struct key *key, const char *value) {
    struct config *config = reading->config;
    enum config_source_kind kind = CONFIG_SOURCE_FINDUPGRADE;
    struct config_adapter adapter;
    const char *complaint, *url = NULL;
    char wanted[64];
    int r = 0;

    switch (key->type) {
    case KEY_PATH:
        if (value[0] != '/')
            return fail_value(reading, key, value, "an absolute path is wanted");
        r = replace_text(field(config, key), value);
        break;
    case KEY_NUMBER:
        if (!parse_number(value, key, field(config, key))) {
            snprintf(wanted, sizeof wanted, "a number from %u to %u%s is wanted", key->min, key->max,
                     has_auto(key) ? ", or auto," : "");
            return fail_value(reading, key, value, wanted);
        }
        break;
    case KEY_LEVEL:
        if (!parse_level(value, field(config, key)))
            return fail_value(reading, key, value, "error, warning, notice, info or debug is wanted");
        break;
    case KEY_PORT_LIST:
        if (value[0] != '/')
            return fail_value(reading, key, value, "an absolute path is wanted");
        r = config_add_port(config, value);
        if (r == -ENOSPC) {
            snprintf(wanted, sizeof wanted, "no more than %d ports", CONFIG_PORTS_MAX);
            return fail_value(reading, key, value, wanted);
        }
        break;
    case KEY_SOURCE_LIST:
        complaint = *value ? config_parse_source(value, &kind, &url) : NULL;
        if (complaint)
            return fail_value(reading, key, value, complaint);
        if (!config->has_own_sources || !*value)
            drop_sources(config);
        config->has_own_sources = true;
        r = *value ? add_source(config, kind, url) : 0;
        if (r == -ENOSPC) {
            snprintf(wanted, sizeof wanted, "no more than %d sources", CONFIG_SOURCES_MAX);
            return fail_value(reading, key, value, wanted);
        }
        break;
    case KEY_PROXY:
        if (!is_graphic_text(value))
            return fail_value(reading, key, value, "a URL without blanks is wanted");
        r = replace_text(field(config, key), value);
        break;
    case KEY_STUB:
        if (strcmp(value, "auto") != 0 && strcmp(value, "off") != 0 && value[0] != '/')
            return fail_value(reading, key, value, "auto, off or an absolute path is wanted");
        r = replace_text(field(config, key), value);
        break;
    case KEY_YES_NO:
        if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
            return fail_value(reading, key, value, "yes or no is wanted");
        *(bool *)field(config, key) = value[0] == 'y';
        break;
    case KEY_POLICY:
        if (!parse_policy(value, field(config, key)))
            return fail_value(reading, key, value, "off, ask, wipy or any is wanted");
        break;
    case KEY_ADAPTER_LIST:
        complaint = config_parse_adapter(value, &adapter);
        if (complaint)
            return fail_value(reading, key, value, complaint);
        r = add_adapter(config, &adapter);
        if (r == -ENOSPC) {
            snprintf(wanted, sizeof wanted, "no more than %d adapters", CONFIG_ADAPTERS_MAX);
            return fail_value(reading, key, value, wanted);
        }
        break;
    }
    return r < 0 ? fail_errno(reading, r) : WIPYD_ERROR_NONE;
}

static bool is_section(const char *name, size_t length) {
    for (size_t i = 0; i < N_KEYS; i++)
        if (strlen(keys[i].section) == length && memcmp(keys[i].section, name, length) == 0)
            return true;
    return false;
}

/* inih: 0 is an error. */
static int on_key(void *userdata, const char *section, const char *name, const char *value) {
    struct reading *reading = userdata;

    if (reading->failed_line > 0)
        return 0;
    for (size_t i = 0; i < N_KEYS; i++)
        if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, name) == 0)
            return set_key(reading, &keys[i], value) == WIPYD_ERROR_NONE;
    fail_line(reading, *section ? "unknown key" : "key outside a section:", name);
    return 0;
}

/* The section of a line "[name]", judged here because inih calls nobody back for a section without keys. */
static void check_section(struct reading *reading, const char *line) {
    const char *end = strchr(line, ']');
    char name[64];

    if (line[0] != '[' || !end || is_section(line + 1, (size_t)(end - line - 1)))
        return;
    snprintf(name, sizeof name, "%.*s", (int)(end - line - 1), line + 1);
    fail_line(reading, "unknown section", name);
}

/* Like fgets, which inih expects; NULL ends the reading, at the end or for the first error. */
static char *read_line(char *buffer, int size, void *stream) {
    struct reading *reading = stream;
    cleanup(free_p) char *line = NULL;
    size_t allocated = 0;
    ssize_t length;
    char *start;

    if (reading->failed_line > 0)
        return NULL;
    reading->line++;
    errno = 0;
    length = getline(&line, &allocated, reading->file);
    if (length < 0) {
        if (errno)
            fail_errno(reading, -errno);
        return NULL;
    }
    if (strlen(line) != (size_t)length) {
        fail_line(reading, "a NUL byte", NULL);
        return NULL;
    }
    /* A line that begins with a blank would be taken as more of the value before: no value here has two
     * lines. */
    start = line + strspn(line, " \t");
    if (strlen(start) >= (size_t)size) {
        fail_line(reading, "the line is too long", NULL);
        return NULL;
    }
    check_section(reading, start);
    if (reading->failed_line > 0)
        return NULL;
    return strcpy(buffer, start);
}

static enum wipyd_error read_file(struct config *config, const char *path, bool required,
                                  struct fault *fault) {
    struct reading reading = { .config = config, .path = path, .fault = fault, .result = WIPYD_ERROR_NONE };
    int r;

    reading.file = fopen(path, "re");
    if (!reading.file) {
        if (errno == ENOENT && !required)
            return WIPYD_ERROR_NONE;
        return fault_set(fault, WIPYD_ERROR_INVALID_ARGUMENT, "%s: %s", path, strerror(errno));
    }
    r = ini_parse_stream(read_line, &reading, on_key, &reading);
    fclose(reading.file);
    if (r < 0)
        return fault_errno(fault, -ENOMEM, "%s", path);
    /* A line that inih couldn't split comes first: after an error of ours there is nothing more to split. */
    if (r > 0 && (reading.failed_line == 0 || r < reading.failed_line)) {
        reading.line = r;
        fail_line(&reading, "neither [section] nor key = value", NULL);
    }
    return reading.result;
}

/* ---- all files ------------------------------------------------------------------------------- */

static int is_drop_in(const struct dirent *entry) {
    size_t length = strlen(entry->d_name);

    return entry->d_name[0] != '.' && length > 5 && strcmp(entry->d_name + length - 5, ".conf") == 0;
}

/* By bytes, the same in every locale. */
static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

enum wipyd_error config_read(struct config *config, const char *path, bool required, struct fault *fault) {
    enum wipyd_error result = read_file(config, path, required, fault);
    char directory[PATH_MAX], drop_in[PATH_MAX + NAME_MAX + 2];
    struct dirent **entries = NULL;
    int n;

    if (result != WIPYD_ERROR_NONE)
        return result;
    snprintf(directory, sizeof directory, "%s.d", path);
    n = scandir(directory, &entries, is_drop_in, by_name);
    if (n < 0) {
        if (errno == ENOENT)
            return WIPYD_ERROR_NONE;
        return fault_set(fault, WIPYD_ERROR_INVALID_ARGUMENT, "%s: %s", directory, strerror(errno));
    }
    for (int i = 0; i < n; i++) {
        if (result == WIPYD_ERROR_NONE) {
            snprintf(drop_in, sizeof drop_in, "%s/%s", directory, entries[i]->d_name);
            result = read_file(config, drop_in, true, fault);
        }
        free(entries[i]);
    }
    free(entries);
    return result;
}

int config_init(struct config *config) {
    const char *directory = getenv("STATE_DIRECTORY"); /* systemd: a list with colons; ours has one */
    int r;

    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < N_KEYS; i++) {
        if (keys[i].type == KEY_NUMBER || keys[i].type == KEY_LEVEL)
            *(uint32_t *)field(config, &keys[i]) = keys[i].initial;
        if (keys[i].type == KEY_POLICY)
            *(enum board_policy *)field(config, &keys[i]) = (enum board_policy)keys[i].initial;
    }
    r = add_source(config, CONFIG_SOURCE_FINDUPGRADE, CONFIG_SOURCE_DEFAULT);
    if (r >= 0)
        r = replace_text(&config->state_directory,
                         directory && *directory ? directory : STATE_DIRECTORY_DEFAULT);
    return r;
}

void config_deinit(struct config *config) {
    free(config->state_directory);
    free(config->stub);
    free(config->proxy);
    free(config->ca_file);
    drop_sources(config);
    for (unsigned i = 0; i < config->n_ports; i++)
        free(config->ports[i]);
    memset(config, 0, sizeof *config);
}

/* ---- reload ---------------------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b) {
    return a && b ? !strcmp(a, b) : a == b;
}

static bool same_sources(const struct config *a, const struct config *b) {
    bool is = a->n_sources == b->n_sources;

    for (unsigned i = 0; is && i < a->n_sources; i++)
        is = a->sources[i].kind == b->sources[i].kind && same_text(a->sources[i].url, b->sources[i].url);
    return is;
}

static bool same_ports(const struct config *a, const struct config *b) {
    bool is = a->n_ports == b->n_ports;

    for (unsigned i = 0; is && i < a->n_ports; i++)
        is = same_text(a->ports[i], b->ports[i]);
    return is;
}

static bool same_adapters(const struct config *a, const struct config *b) {
    bool is = a->n_adapters == b->n_adapters;

    for (unsigned i = 0; is && i < a->n_adapters; i++)
        is = a->adapters[i].vendor == b->adapters[i].vendor &&
             a->adapters[i].product == b->adapters[i].product &&
             same_text(a->adapters[i].name, b->adapters[i].name);
    return is;
}

static size_t value_bytes(const struct key *key) {
    static_assert(sizeof(enum board_policy) == sizeof(uint32_t), "a word is as long as a number");
    return key->type == KEY_YES_NO ? sizeof(bool) : sizeof(uint32_t);
}

static bool is_same(const struct key *key, const struct config *a, const struct config *b) {
    const void *in_a = (const char *)a + key->offset, *in_b = (const char *)b + key->offset;

    switch (key->type) {
    case KEY_PATH:
    case KEY_PROXY:
    case KEY_STUB:
        return same_text(*(char *const *)in_a, *(char *const *)in_b);
    case KEY_NUMBER:
    case KEY_LEVEL:
    case KEY_YES_NO:
    case KEY_POLICY:
        return !memcmp(in_a, in_b, value_bytes(key));
    case KEY_PORT_LIST:
        return same_ports(a, b);
    case KEY_SOURCE_LIST:
        return same_sources(a, b);
    case KEY_ADAPTER_LIST:
        return same_adapters(a, b);
    }
    return true;
}

void config_take(struct config *config, const struct config *fresh,
                 void (*on_restart)(const char *section, const char *name)) {
    for (size_t i = 0; i < N_KEYS; i++) {
        if (is_same(&keys[i], config, fresh))
            continue;
        if (needs_restart(&keys[i]))
            on_restart(keys[i].section, keys[i].name);
        else
            memcpy((char *)config + keys[i].offset, (const char *)fresh + keys[i].offset,
                   value_bytes(&keys[i]));
    }
}
