/* The options of a call: a{sv} by a table. */

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "daemon/bus/objects.h"

static const struct option {
    const char *key;
    unsigned calls; /* that take it */
    char type;      /* of the variant */
    size_t to;
    uint32_t least, most; /* of a number */
} options[] = {
    { "version", CALL_FLASH, 's', offsetof(struct fleet_options, version), 0, 0 },
    { "baud", CALL_FLASH | CALL_FLASH_FILE | CALL_IDENTIFY, 'u', offsetof(struct fleet_options, baud), 9600,
      4000000 },
    { "connect-timeout", CALL_FLASH | CALL_FLASH_FILE | CALL_IDENTIFY, 'u',
      offsetof(struct fleet_options, connect_timeout_s), 1, 3600 },
    { "dry-run", CALL_FLASH | CALL_FLASH_FILE, 'b', offsetof(struct fleet_options, dry_run), 0, 0 },
};

#define N_OPTIONS (sizeof options / sizeof *options)

static const struct option *find(const char *key, enum service_call call) {
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (options[i].calls & call && !strcmp(options[i].key, key))
            return &options[i];
    return NULL;
}

static int read_value(sd_bus_message *message, const struct option *option, struct fleet_options *ret,
                      sd_bus_error *error) {
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
        r = sd_bus_message_read(message, "v", contents, (const char **)(void *)to);
    }
    if (r < 0)
        return sd_bus_error_setf(error, wipyd_error_bus_name(WIPYD_ERROR_INVALID_ARGUMENT),
                                 "%s must be of type %s", option->key, contents);
    return 0;
}

int service_read_options(sd_bus_message *message, enum service_call call, struct fleet_options *ret,
                         sd_bus_error *error) {
    const struct option *option;
    const char *key;
    int r;

    *ret = (struct fleet_options) { 0 };
    r = sd_bus_message_enter_container(message, 'a', "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
        r = sd_bus_message_read_basic(message, 's', &key);
        if (r < 0)
            return r;
        option = find(key, call);
        if (!option)
            return sd_bus_error_setf(error, wipyd_error_bus_name(WIPYD_ERROR_UNKNOWN_OPTION),
                                     "no option is called \"%s\"", key);
        r = read_value(message, option, ret, error);
        if (r < 0)
            return r;
        r = sd_bus_message_exit_container(message);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(message);
}
