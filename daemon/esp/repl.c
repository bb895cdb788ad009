#include "daemon/esp/repl.h"

#include <ctype.h>
#include <string.h>

#define PROMPT     ">>> "
#define RAW_PROMPT "raw REPL; CTRL-B to exit\r\n>"

void esp_repl_text_reset(struct esp_repl_text *text) {
    memset(text, 0, sizeof *text);
}

static bool is_word(const char *bytes, size_t size, const char *also) {
    for (size_t i = 0; i < size; i++)
        if (!isalnum((unsigned char)bytes[i]) && (!bytes[i] || !strchr(also, bytes[i])))
            return false;
    return size > 0;
}

/* False: no name of a board. */
static bool take_board(const char *bytes, size_t size, struct esp_repl_words *ret) {
    if (size >= sizeof ret->board || !is_word(bytes, size, " ._-"))
        return false;
    memcpy(ret->board, bytes, size);
    return true;
}

static bool take_release(const char *bytes, size_t size, struct esp_repl_words *ret) {
    if (size >= sizeof ret->release || !is_word(bytes, size, "._+-"))
        return false;
    memcpy(ret->release, bytes, size);
    return true;
}

bool esp_repl_banner_parse(const char *line, struct esp_repl_words *ret) {
    struct esp_repl_words words = { 0 };
    const char *begin = strstr(line, "MicroPython "), *machine, *end;
    size_t n;

    if (!begin)
        return false;
    begin += strlen("MicroPython ");
    n = strcspn(begin, " ");
    /* "1.20.1.r1 [v1.8.6-...] on ..."; before 1.17 what git says comes at once. */
    if (!strncmp(begin + n, " [", 2)) {
        if (!take_release(begin, n, &words))
            return false;
    } else if (strncmp(begin + n, " on ", 4) != 0) {
        return false;
    }
    machine = strstr(begin, "; ");
    if (!machine)
        return false;
    machine += strlen("; ");
    end = strstr(machine, " with ESP32");
    if (!end || !take_board(machine, (size_t)(end - machine), &words))
        return false;
    *ret = words;
    return true;
}

/* What stands in quotes behind "key=": its beginning and size. False: not there, or not wholly. */
static bool find_field(const char *line, const char *key, const char **ret, size_t *ret_size) {
    const char *at = strstr(line, key), *end;

    if (!at)
        return false;
    at += strlen(key);
    if (*at != '\'' && *at != '"')
        return false;
    end = strchr(at + 1, *at);
    if (!end)
        return false;
    *ret = at + 1;
    *ret_size = (size_t)(end - at - 1);
    return true;
}

static bool parse_uname(const char *line, struct esp_repl_words *ret) {
    struct esp_repl_words words = { 0 };
    const char *field;
    size_t size;

    if (!find_field(line, "(sysname=", &field, &size) || !take_board(field, size, &words))
        return false;
    if (find_field(line, " release=", &field, &size) && !take_release(field, size, &words))
        return false;
    *ret = words;
    return true;
}

static bool is_line_end(char c) {
    return c == '\r' || c == '\n';
}

/* The line that ends where the text does. */
static void judge_line(struct esp_repl_text *text) {
    size_t begin = text->size;

    while (begin > 0 && !is_line_end(text->text[begin - 1]))
        begin--;
    if (esp_repl_banner_parse(text->text + begin, &text->words))
        text->has_banner = true;
    else if (parse_uname(text->text + begin, &text->words))
        text->has_uname = true;
}

static bool ends_with(const struct esp_repl_text *text, const char *words) {
    size_t n = strlen(words);

    return text->size >= n && !memcmp(text->text + text->size - n, words, n);
}

/* A prompt stands at the beginning of a line. */
static bool ends_with_prompt(const struct esp_repl_text *text) {
    size_t n = strlen(PROMPT);

    return ends_with(text, PROMPT) && (text->size == n || is_line_end(text->text[text->size - n - 1]));
}

static void append(struct esp_repl_text *text, char c) {
    if (text->size == sizeof text->text - 1) {
        text->size /= 2;
        memmove(text->text, text->text + sizeof text->text - 1 - text->size, text->size);
    }
    text->text[text->size++] = c;
    text->text[text->size] = 0;
}

void esp_repl_text_feed(struct esp_repl_text *text, const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) {
        char c = (char)bytes[i];

        if (!is_line_end(c) && c != '\t' && (bytes[i] < 0x20 || bytes[i] > 0x7e))
            continue;
        if (is_line_end(c))
            judge_line(text);
        append(text, c);
        text->has_prompt = ends_with_prompt(text);
        if (text->has_prompt)
            text->has_raw = false;
        else if (c == '>' && ends_with(text, RAW_PROMPT))
            text->has_raw = true;
    }
}
