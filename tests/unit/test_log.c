/* Lines of the log, as stderr gets them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "daemon/base/log.h"
#include "daemon/base/log_events.h"

static char text[8192];
static int captured, kept;

/* Stands before libsystemd's: the fields of the last record, each with a final newline. */
static char sent[4096];
static int sendv_result;

int sd_journal_sendv(const struct iovec *iov, int n) {
    size_t used = 0;

    for (int i = 0; i < n; i++) {
        assert_true(used + iov[i].iov_len + 2 < sizeof sent);
        memcpy(sent + used, iov[i].iov_base, iov[i].iov_len);
        used += iov[i].iov_len;
        sent[used++] = '\n';
    }
    sent[used] = 0;
    return sendv_result;
}

static void begin(void) {
    captured = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(captured >= 0);
    kept = dup(STDERR_FILENO);
    assert_true(dup2(captured, STDERR_FILENO) >= 0);
}

static const char *end(void) {
    ssize_t n;

    dup2(kept, STDERR_FILENO);
    close(kept);
    n = pread(captured, text, sizeof text - 1, 0);
    close(captured);
    assert_true(n >= 0);
    text[n] = 0;
    return text;
}

static int set_up(void **state) {
    (void)state;
    unsetenv("JOURNAL_STREAM");
    log_setup(LOG_INFO);
    return 0;
}

static void plain_line(void **state) {
    (void)state;
    begin();
    errno = EBUSY;
    log_info("%d boards", 3);
    assert_int_equal(errno, EBUSY);
    log_error("no");
    log_debug("not asked for");
    assert_string_equal(end(), "info 3 boards\nerror no\n");
}

static void fields_that_are_known(void **state) {
    static const struct log_fields all = { "ttyUSB0", "24:0a:c4:01:02:03", "7", "write", LOG_EVENT_JOB_DONE };
    static const struct log_fields some = { .device = "ttyUSB0", .job = "", .phase = NULL };

    (void)state;
    begin();
    log_with(LOG_NOTICE, &all, "block %d", 37);
    log_with(LOG_WARNING, &some, "busy");
    assert_string_equal(end(), "notice [ttyUSB0] [job 7] [write] block 37\nwarning [ttyUSB0] busy\n");
}

static void device_text_steers_nothing(void **state) {
    static const struct log_fields fields = { .device = "tty\nerror" };

    (void)state;
    begin();
    log_info("boot: \x1b[2Jets\r\nerror forged\t\x7f");
    log_with(LOG_INFO, &fields, "x");
    log_info("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80 \xc2\x85 \xff\xc3 \xed\xa0\x80 \xc0\xaf");
    assert_string_equal(end(), "info boot: ?[2Jets  error forged ?\n"
                               "info [tty error] x\n"
                               "info \xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80 ?? ?? ??? ??\n");
}

static void long_message_is_cut(void **state) {
    char message[4096];
    const char *line;

    (void)state;
    memset(message, 'x', sizeof message);
    message[sizeof message - 1] = 0;
    begin();
    log_info("%s", message);
    line = end();
    assert_int_equal(strlen(line), strlen("info ") + 1024 + strlen("...\n"));
    assert_string_equal(line + strlen(line) - 5, "x...\n");
    /* Not through the middle of a character. */
    memcpy(message + 1022, "\xe2\x82\xac\xe2\x82\xac", 6);
    begin();
    log_info("%s", message);
    line = end();
    assert_int_equal(strlen(line), strlen("info ") + 1022 + strlen("...\n"));
    assert_string_equal(line + strlen(line) - 5, "x...\n");
    message[1024] = 0;
    memset(message, 'y', 1024);
    begin();
    log_info("%s", message);
    assert_int_equal(strlen(end()), strlen("info ") + 1024 + 1);
}

/* JOURNAL_STREAM that isn't our stderr (inherited by a shell in a service), or is nonsense: lines. */
static void stderr_is_no_journal(void **state) {
    static const char *const streams[] = { "", "x", "1:2", "8:12x" };

    (void)state;
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        setenv("JOURNAL_STREAM", streams[i], 1);
        begin();
        log_setup(LOG_INFO);
        log_info("here");
        assert_string_equal(end(), "info here\n");
    }
}

/* The records carry fields; a line only where the journal refuses. */
static void stderr_is_journal(void **state) {
    static const struct log_fields fields = { "ttyUSB0", "24:0a:c4:01:02:03", "7", "write",
                                              LOG_EVENT_JOB_DONE };
    char stream[64];
    struct stat st;

    (void)state;
    begin();
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_setup(LOG_INFO);
    log_with(LOG_ERR, &fields, "block %d\n", 37);
    assert_string_equal(sent, "SYSLOG_IDENTIFIER=wipyd\nPRIORITY=3\nDEVICE=ttyUSB0\nBOARD=24:0a:c4:01:02:03\n"
                              "JOB=7\nPHASE=write\nMESSAGE_ID=" LOG_EVENT_JOB_DONE "\nMESSAGE=block 37 \n");
    log_info("plain");
    assert_string_equal(sent, "SYSLOG_IDENTIFIER=wipyd\nPRIORITY=6\nMESSAGE=plain\n");
    sendv_result = -E2BIG;
    log_info("refused");
    sendv_result = 0;
    assert_string_equal(end(), "info refused\n");
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(plain_line, set_up),
        cmocka_unit_test_setup(fields_that_are_known, set_up),
        cmocka_unit_test_setup(device_text_steers_nothing, set_up),
        cmocka_unit_test_setup(long_message_is_cut, set_up),
        cmocka_unit_test_setup(stderr_is_no_journal, set_up),
        cmocka_unit_test_setup(stderr_is_journal, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
