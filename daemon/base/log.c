/* A message per line, as the device may have worded it: nothing in it may steer a terminal or forge a line.
 */

#define SD_JOURNAL_SUPPRESS_LOCATION /* it would always be this file */

#include "daemon/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#define MESSAGE_BYTES_MAX 1024
#define FIELD_BYTES_MAX   128
#define CUT_MARK          "..."

static int log_level = LOG_INFO;
static bool log_to_journal;

/* stderr is the journal's own stream: systemd names it "device:inode" (systemd.exec(5), $JOURNAL_STREAM). */
static bool stderr_is_journal(void) {
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;
    int end = 0;

    return stream && sscanf(stream, "%llu:%llu%n", &device, &inode, &end) == 2 && stream[end] == 0 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_setup(int level) {
    log_level = level;
    log_to_journal = stderr_is_journal();
}

/* ---- text that may come from anywhere -------------------------------------------------------- */

/* The length of the UTF-8 sequence at text, 0 when there is none, or a control character (U+0080..9F too). */
static size_t printable_length(const unsigned char *text) {
    uint32_t code;
    size_t length;

    if (text[0] < 0x80)
        return text[0] >= 0x20 && text[0] != 0x7f;
    if (text[0] >= 0xc2 && text[0] < 0xe0) {
        length = 2;
        code = text[0] & 0x1f;
    } else if (text[0] >= 0xe0 && text[0] < 0xf0) {
        length = 3;
        code = text[0] & 0x0f;
    } else if (text[0] >= 0xf0 && text[0] < 0xf5) {
        length = 4;
        code = text[0] & 0x07;
    } else {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3f);
    }
    if (code < 0xa0 || (length == 3 && (code < 0x800 || (code >= 0xd800 && code < 0xe000))) ||
        (length == 4 && (code < 0x10000 || code > 0x10ffff)))
        return 0;
    return length;
}

/* Cuts text after at most size bytes (size + sizeof CUT_MARK fit), between characters, and says so. */
static void cut(char *text, size_t size) {
    if (strlen(text) <= size)
        return;
    while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
        size--;
    memcpy(text + size, CUT_MARK, sizeof CUT_MARK);
}

static void make_printable(char *text) {
    unsigned char *t = (unsigned char *)text;

    while (*t) {
        size_t length = printable_length(t);

        if (length == 0) {
            *t = *t == '\t' || *t == '\n' || *t == '\r' ? ' ' : '?';
            length = 1;
        }
        t += length;
    }
}

/* ---- where it goes --------------------------------------------------------------------------- */

static const char *level_word(int level) {
    static const char *const words[] = { "emerg",   "alert",  "crit", "error",
                                         "warning", "notice", "info", "debug" };

    return words[level & LOG_PRIMASK];
}

struct record {
    struct iovec fields[8];
    int n_fields;
    char texts[8][FIELD_BYTES_MAX];
};

static void add_field(struct record *record, const char *name, const char *value) {
    char *text = record->texts[record->n_fields];

    if (!value || !*value)
        return;
    snprintf(text, FIELD_BYTES_MAX, "%s=%s", name, value);
    make_printable(text);
    record->fields[record->n_fields].iov_base = text;
    record->fields[record->n_fields].iov_len = strlen(text);
    record->n_fields++;
}

static int send_to_journal(int level, const struct log_fields *fields, const char *message) {
    char text[sizeof "MESSAGE=" + MESSAGE_BYTES_MAX + sizeof CUT_MARK];
    struct record record = { .n_fields = 0 };
    char priority[8];

    snprintf(priority, sizeof priority, "%d", level & LOG_PRIMASK);
    add_field(&record, "SYSLOG_IDENTIFIER", "wipyd");
    add_field(&record, "PRIORITY", priority);
    if (fields) {
        add_field(&record, "DEVICE", fields->device);
        add_field(&record, "BOARD", fields->board);
        add_field(&record, "JOB", fields->job);
        add_field(&record, "PHASE", fields->phase);
        add_field(&record, "MESSAGE_ID", fields->message_id);
    }
    snprintf(text, sizeof text, "MESSAGE=%s", message);
    record.fields[record.n_fields].iov_base = text;
    record.fields[record.n_fields].iov_len = strlen(text);
    record.n_fields++;
    return sd_journal_sendv(record.fields, record.n_fields);
}

/* " [what value]", or nothing. */
static void print_field(FILE *line, const char *what, const char *value) {
    char text[FIELD_BYTES_MAX];

    if (!value || !*value)
        return;
    snprintf(text, sizeof text, " [%s%s]", what, value);
    make_printable(text);
    fputs(text, line);
}

static void send_to_stderr(int level, const struct log_fields *fields, const char *message) {
    char buffer[MESSAGE_BYTES_MAX + 4 * FIELD_BYTES_MAX];
    FILE *line = fmemopen(buffer, sizeof buffer, "w");
    long size;

    if (!line)
        return;
    fputs(level_word(level), line);
    if (fields) {
        print_field(line, "", fields->device);
        print_field(line, "job ", fields->job);
        print_field(line, "", fields->phase);
    }
    fprintf(line, " %s\n", message);
    size = ftell(line);
    fclose(line);
    /* One write, so that lines of several threads don't mix. A log that can't be written has nobody to tell.
     */
    if (size > 0)
        (void)!write(STDERR_FILENO, buffer, (size_t)size);
}

void log_with(int level, const struct log_fields *fields, const char *format, ...) {
    char message[MESSAGE_BYTES_MAX + sizeof CUT_MARK];
    int saved_errno = errno;
    va_list args;

    if (level > log_level)
        return;
    va_start(args, format);
    if (vsnprintf(message, sizeof message, format, args) < 0)
        message[0] = 0;
    va_end(args);
    cut(message, MESSAGE_BYTES_MAX);
    make_printable(message);
    if (!log_to_journal || send_to_journal(level, fields, message) < 0)
        send_to_stderr(level, fields, message);
    errno = saved_errno;
}
