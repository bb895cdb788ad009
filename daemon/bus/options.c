/* The options of a call: a{sv} by a table; and the words that callers write. */

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "daemon/bus/objects.h"

enum { CALL_ALL_JOBS = CALL_FLASH | CALL_FLASH_FILE | CALL_IDENTIFY | CALL_RESTORE };

struct option {
    const char *key;
    unsigned calls; /* that take it */
    char type;      /* of the variant */
    size_t to;
    uint32_t least, most; /* of a u */
};

static const struct option options[] = {
    { "version", CALL_FLASH, 's', offsetof(struct fleet_options, version), 0, 0 },
    { "baud", CALL_ALL_JOBS, 'u', offsetof(struct fleet_options, baud), 9600, 4000000 },
    { "connect-timeout", CALL_ALL_JOBS, 'u', offsetof(struct fleet_options, connect_timeout_s), 1, 3600 },
    { "dry-run", CALL_FLASH | CALL_FLASH_FILE, 'b', offsetof(struct fleet_options, dry_run), 0, 0 },
    { "repl", CALL_LOOK, 'b', offsetof(struct fleet_options, repl), 0, 0 },
    { "parts", CALL_RESTORE, 's', offsetof(struct fleet_options, parts), 0, 0 },
    { 0 },
};

static const struct option query_options[] = {
    { "board", ~0u, 's', offsetof(struct records_query, mac), 0, 0 },
    { "slot", ~0u, 's', offsetof(struct records_query, slot), 0, 0 },
    { "since", ~0u, 't', offsetof(struct records_query, since_us), 0, 0 },
    { "limit", ~0u, 'u', offsetof(struct records_query, limit), 1, 10000 },
    { 0 },
};

static const struct option *find(const struct option *table, const char *key, unsigned calls) {
    for (const struct option *option = table; option->key; option++)
        if (option->calls & calls && !strcmp(option->key, key))
            return option;
    return NULL;
}

static int read_value(sd_bus_message *message, const struct option *option, void *ret, sd_bus_error *error) {
    char *to = (char *)ret + option->to, contents[2] = { option->type, 0 };
    uint32_t number;
    int r, flag;

    /* A wrong type is the caller's mistake, which sd-bus tells by an errno. */
    if (option->type == 'u') {
        r = sd_bus_message_read(message, "v", contents, &number);
        if (r >= 0 && (number < option->least || number > option->most))
            return sd_bus_error_setf(error, wipyd_error_bus_name(WIPYD_ERROR_INVALID_ARGUMENT),
                                     "%s must be from %u to %u, not %u", option->key, option->least,
                                     option->most, number);
        if (r >= 0)
            memcpy(to, &number, sizeof number);
    } else if (option->type == 'b') {
        r = sd_bus_message_read(message, "v", contents, &flag);
        if (r >= 0)
            *(bool *)to = flag != 0;
    } else {
        r = sd_bus_message_read(message, "v", contents, (void *)to); /* s and t as they stand */
    }
    if (r < 0)
        return sd_bus_error_setf(error, wipyd_error_bus_name(WIPYD_ERROR_INVALID_ARGUMENT),
                                 "%s must be of type %s", option->key, contents);
    return 0;
}

static int read_all(sd_bus_message *message, const struct option *table, unsigned calls, void *ret,
                    sd_bus_error *error) {
    const struct option *option;
    const char *key;
    int r = sd_bus_message_enter_container(message, 'a', "{sv}");

    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
        r = sd_bus_message_read_basic(message, 's', &key);
        if (r < 0)
            return r;
        option = find(table, key, calls);
        if (!option)
            return service_set_errorf(error, WIPYD_ERROR_UNKNOWN_OPTION, "no option is called \"%s\"", key);
        r = read_value(message, option, ret, error);
        if (r < 0)
            return r;
        r = sd_bus_message_exit_container(message);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(message);
}

int service_read_options(sd_bus_message *message, enum service_call call, struct fleet_options *ret,
                         sd_bus_error *error) {
    *ret = (struct fleet_options) { 0 };
    return read_all(message, options, call, ret, error);
}

int service_read_query(sd_bus_message *message, struct records_query *ret, char *ret_mac,
                       sd_bus_error *error) {
    int r;

    *ret = (struct records_query) { 0 };
    r = read_all(message, query_options, ~0u, ret, error);
    if (r < 0)
        return r;
    if (ret->slot && strlen(ret->slot) >= RECORD_SLOT_MAX)
        return service_set_error(error, WIPYD_ERROR_INVALID_ARGUMENT, "no slot has so long a name");
    if (!ret->mac)
        return 0;
    r = service_read_mac(ret->mac, ret_mac, error);
    ret->mac = ret_mac;
    return r;
}

/* ---- words ----------------------------------------------------------------------------------- */

bool service_parse_mac(const char *text, char *ret) {
    const bool has_colons = strlen(text) == 17;

    if (!has_colons && strlen(text) != 12)
        return false;
    for (int i = 0; i < 17; i++) {
        if (i % 3 == 2) {
            if (has_colons && *text++ != ':')
                return false;
            ret[i] = ':';
        } else if (!isxdigit((unsigned char)*text)) {
            return false;
        } else {
            ret[i] = (char)tolower((unsigned char)*text++);
        }
    }
    ret[17] = 0;
    return true;
}

int service_read_mac(const char *text, char *ret, sd_bus_error *error) {
    if (service_parse_mac(text, ret))
        return 0;
    return service_set_errorf(error, WIPYD_ERROR_INVALID_ARGUMENT,
                              "\"%s\" is no MAC: six pairs of hex digits are wanted", text);
}

int service_read_policy(sd_bus_message *message, enum board_policy *ret, sd_bus_error *error) {
    const char *word;
    int r = sd_bus_message_read_basic(message, 's', &word);

    if (r < 0)
        return r;
    *ret = board_policy_from_word(word);
    if (*ret < BOARD_POLICY_COUNT)
        return 0;
    return service_set_errorf(error, WIPYD_ERROR_INVALID_ARGUMENT,
                              "a policy is off, ask, wipy or any, not \"%s\"", word);
}

/* No control characters, nor those that turn or break lines: a label is shown in people's terminals. text is
 * UTF-8, which the bus has checked. */
bool service_is_printable(const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0)) /* C0, DEL, C1 */
            return false;
        if (*p == 0xe2 && p[1] == 0x80 && p[2] >= 0xa8 && p[2] <= 0xae) /* U+2028 to U+202E */
            return false;
        if (*p == 0xe2 && p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9) /* U+2066 to U+2069 */
            return false;
    }
    return true;
}

int service_read_label(sd_bus_message *message, char *ret, sd_bus_error *error) {
    const char *label;
    int r = sd_bus_message_read_basic(message, 's', &label);

    if (r < 0)
        return r;
    if (strlen(label) >= RECORD_LABEL_MAX)
        return sd_bus_error_setf(error, wipyd_error_bus_name(WIPYD_ERROR_INVALID_ARGUMENT),
                                 "a label has at most %d bytes, not %zu", RECORD_LABEL_MAX - 1,
                                 strlen(label));
    if (!service_is_printable(label))
        return service_set_error(error, WIPYD_ERROR_INVALID_ARGUMENT, "a label must be printable");
    snprintf(ret, RECORD_LABEL_MAX, "%s", label);
    return 0;
}
