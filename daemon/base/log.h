#pragma once

/*
 * The log: structured to the journal where stderr is one (JOURNAL_STREAM), else lines on stderr.
 * Levels are syslog's (LOG_ERR .. LOG_DEBUG from <syslog.h>). Fields that are NULL or empty are left out:
 * DEVICE (port name), BOARD (MAC), JOB (number as text), PHASE (word), MESSAGE_ID.
 */

#include <syslog.h>

struct log_fields {
    const char *device, *board, *job, *phase;
    const char *message_id; /* one of log_events.h */
};

/* Call once at start. level: the least urgent that is written. */
void log_setup(int level);

__attribute__((format(printf, 3, 4))) void log_with(int level, const struct log_fields *fields,
                                                    const char *format, ...);

#define log_error(...)   log_with(LOG_ERR, NULL, __VA_ARGS__)
#define log_warning(...) log_with(LOG_WARNING, NULL, __VA_ARGS__)
#define log_notice(...)  log_with(LOG_NOTICE, NULL, __VA_ARGS__)
#define log_info(...)    log_with(LOG_INFO, NULL, __VA_ARGS__)
#define log_debug(...)   log_with(LOG_DEBUG, NULL, __VA_ARGS__)
