/* What comes outside of frames: the boot log and the REPL's text, however it is cut. */

#include "daemon/esp/boot_log.h"
#include "daemon/esp/repl.h"
#include "tests/fuzz/fuzz.h"

static void check_log(const struct boot_log *log, size_t fed) {
    must(log->verdict <= BOOT_LOG_BROWNOUT);
    must(log->n_text + log->n_garbage <= fed);
    must(log->boot_value >= -1);
    must(memchr(log->quote, 0, sizeof log->quote) && is_printable_ascii(log->quote));
    must(fed || log->verdict == BOOT_LOG_NOTHING);
}

static void check_words(const struct esp_repl_words *words) {
    must(memchr(words->board, 0, sizeof words->board) && is_printable_ascii(words->board));
    must(memchr(words->release, 0, sizeof words->release) && is_printable_ascii(words->release));
}

static void check_repl(const struct esp_repl_text *repl) {
    must(repl->size < sizeof repl->text);
    check_words(&repl->words);
    if (repl->has_banner || repl->has_uname)
        must(*repl->words.board || *repl->words.release);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static struct boot_log log, whole_log;
    static struct esp_repl_text repl, whole_repl;
    struct input input = { bytes, size };
    uint8_t cut = take_byte(&input);
    struct input text = input;
    struct esp_repl_words words;
    char line[300];

    boot_log_reset(&whole_log);
    boot_log_feed(&whole_log, input.bytes, input.size);
    esp_repl_text_reset(&whole_repl);
    esp_repl_text_feed(&whole_repl, input.bytes, input.size);
    check_log(&whole_log, input.size);
    check_repl(&whole_repl);

    boot_log_reset(&log);
    esp_repl_text_reset(&repl);
    for (size_t fed = 0; input.size;) {
        /* Pieces of 1 to 8 bytes, in an order that the first byte chooses. */
        struct input piece = take_some(&input, 1u + (cut = (uint8_t)(cut * 5u + 1u)) % 8u);

        fed += piece.size;
        boot_log_feed(&log, piece.bytes, piece.size);
        check_log(&log, fed);
        esp_repl_text_feed(&repl, piece.bytes, piece.size);
        check_repl(&repl);
    }
    /* How it was cut says nothing. */
    must(log.verdict == whole_log.verdict && log.resets == whole_log.resets);
    must(log.downloads == whole_log.downloads && log.boot_value == whole_log.boot_value);
    must(log.brownouts == whole_log.brownouts && log.n_text == whole_log.n_text);
    must(!strcmp(log.quote, whole_log.quote));
    must(repl.has_banner == whole_repl.has_banner && repl.has_prompt == whole_repl.has_prompt);
    must(repl.has_raw == whole_repl.has_raw && repl.has_uname == whole_repl.has_uname);
    must(!strcmp(repl.words.board, whole_repl.words.board));
    must(!strcmp(repl.words.release, whole_repl.words.release));

    take_text(&text, line, sizeof line);
    words = (struct esp_repl_words) { 0 };
    if (esp_repl_banner_parse(line, &words))
        check_words(&words);
    return 0;
}
