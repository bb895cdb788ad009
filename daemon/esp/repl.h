#pragma once

/*
 * What MicroPython says at its prompt: the banner, and the answer to uos.uname() in the raw REPL
 * (facts/pycom.md 5). Pure: text in, a verdict out. The bytes that may be sent are here too, so that Ctrl-F
 * (0x06), which makes Pycom's firmware reboot into safe boot, can be seen to be none of them; nor is Ctrl-D
 * on an empty line, which is a soft reset, unless the program was stopped by us and has to be started again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ESP_REPL_BANNER_REQUEST "\x02" /* Ctrl-B: at an idle prompt the banner is printed again */
#define ESP_REPL_STOP           "\x03" /* Ctrl-C: stops the program; with consent only */
#define ESP_REPL_RAW            "\x01" /* Ctrl-A: the raw REPL */
#define ESP_REPL_UNAME          "import uos;print(uos.uname())"
#define ESP_REPL_EXECUTE        "\x04" /* Ctrl-D, behind code in the raw REPL */
#define ESP_REPL_LEAVE_RAW      "\x02"
#define ESP_REPL_RESTART        "\x04" /* Ctrl-D on an empty line of the friendly prompt: main.py runs again */

struct esp_repl_words {
    char board[32];   /* "WiPy"; empty: not said */
    char release[64]; /* "1.20.1.r1"; empty: not said (banners before 1.17 don't) */
};

struct esp_repl_text {
    bool has_banner; /* a whole one: its words are set */
    bool has_prompt; /* ">>> " is the last that came */
    bool has_raw;    /* "raw REPL; CTRL-B to exit" and the ">" behind it */
    bool has_uname;
    struct esp_repl_words words; /* of the last banner or uname */
    char text[1024];             /* the last that came */
    size_t size;
};

void esp_repl_text_reset(struct esp_repl_text *text);
/* Bytes as they come, however cut; what is no text is skipped. */
void esp_repl_text_feed(struct esp_repl_text *text, const uint8_t *bytes, size_t size);
/* A banner's line ("Pycom MicroPython 1.20.1.r1 [...] on 2020-...; WiPy with ESP32"). False: it is none. */
bool esp_repl_banner_parse(const char *line, struct esp_repl_words *ret);
