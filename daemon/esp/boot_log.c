#include "daemon/esp/boot_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More garbage than this share of all that came, in percent, and the text in between means nothing. */
enum { GARBAGE_PERCENT = 20 };

static const struct {
    const char *text;
    enum boot_log_verdict verdict;
} phrases[] = {
    { "waiting for download", BOOT_LOG_DOWNLOAD }, { "Brownout", BOOT_LOG_BROWNOUT },
    { "Guru Meditation", BOOT_LOG_PANIC },         { "Fatal exception", BOOT_LOG_PANIC },
    { "flash read err", BOOT_LOG_NO_BOOT },        { "invalid header", BOOT_LOG_NO_BOOT },
    { "Cannot load Firmware", BOOT_LOG_NO_BOOT },  { "SPI_FAST_FLASH_BOOT", BOOT_LOG_FIRMWARE },
    { "MicroPython", BOOT_LOG_FIRMWARE },          { ">>> ", BOOT_LOG_FIRMWARE },
};

void boot_log_reset(struct boot_log *log) {
    memset(log, 0, sizeof *log);
    log->boot_value = -1;
}

static void decide(struct boot_log *log, enum boot_log_verdict verdict) {
    /* A supply that gives way again and again has the last word: what is said in between are attempts. */
    if (log->brownouts > 1 && verdict != BOOT_LOG_BROWNOUT)
        return;
    /* A prompt tells less than the line before it that meant the same. */
    if (verdict == log->said && !strcmp(log->line, ">>> "))
        return;
    log->said = verdict;
    snprintf(log->quote, sizeof log->quote, "%s", log->line);
}

static void judge_line(struct boot_log *log) {
    const char *boot;
    bool known = false;

    log->line[log->line_size] = 0;
    if (strstr(log->line, "rst:0x"))
        log->resets++;
    boot = strstr(log->line, "boot:0x");
    if (boot) {
        /* The strapping register's low byte; no chip says more, but noise may. */
        log->boot_value = (int)(strtoul(boot + strlen("boot:"), NULL, 16) & 0xff);
        /* Bit 4 is GPIO0: set means the application. The text that follows has the last word. */
        if (log->boot_value & 0x10) {
            decide(log, BOOT_LOG_FIRMWARE);
            known = true;
        }
    }
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
        if (strstr(log->line, phrases[i].text)) {
            log->brownouts += phrases[i].verdict == BOOT_LOG_BROWNOUT;
            log->downloads += phrases[i].verdict == BOOT_LOG_DOWNLOAD;
            decide(log, phrases[i].verdict);
            known = true;
            break;
        }
    /* Any other readable line speaks for a running application, but overrules nothing that was certain; the
     * ROM's own first lines ("ets Jun", "rst:0x") don't count. */
    if (!known && log->line_size >= 4 && strncmp(log->line, "ets ", 4) != 0 && !strstr(log->line, "rst:0x") &&
        log->said == BOOT_LOG_NOTHING)
        decide(log, BOOT_LOG_FIRMWARE);
    log->line_size = 0;
}

static bool is_text(uint8_t byte) {
    return (byte >= 0x20 && byte < 0x7f) || byte == '\r' || byte == '\n' || byte == '\t';
}

void boot_log_feed(struct boot_log *log, const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (!is_text(bytes[i])) {
            log->n_garbage++;
            continue;
        }
        log->n_text++;
        if (bytes[i] == '\n' || bytes[i] == '\r') {
            if (log->line_size)
                judge_line(log);
            continue;
        }
        if (log->line_size == sizeof log->line - 1)
            judge_line(log);
        log->line[log->line_size++] = bytes[i] == '\t' ? ' ' : (char)bytes[i];
        /* A prompt has no line end. */
        if (log->line_size == 4 && !memcmp(log->line, ">>> ", 4))
            judge_line(log);
    }
    /* By all that came so far, however it was cut: the verdict of the text is not lost meanwhile. */
    if (log->n_garbage * 100 > (log->n_garbage + log->n_text) * GARBAGE_PERCENT && !log->downloads &&
        log->boot_value < 0)
        log->verdict = BOOT_LOG_GARBAGE;
    else
        log->verdict = log->said;
}
