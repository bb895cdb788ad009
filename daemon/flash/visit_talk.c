/* What is said to a firmware's prompt, where that is allowed, and what it answers. */

#include <stdio.h>
#include <string.h>

#include "daemon/flash/visit_steps.h"

enum {
    SYNC_ECHO_CHARS = 34, /* "$", a blank and 32 times "U": what a prompt takes of a SYNC for typed in */
    ERASE_MOST = 512,
    DELETE = 0x7f,
};

static bool has_banner(const struct esp_repl_text *text) {
    return text->has_banner;
}

static bool has_prompt(const struct esp_repl_text *text) {
    return text->has_prompt;
}

static bool has_raw(const struct esp_repl_text *text) {
    return text->has_raw;
}

static bool has_uname(const struct esp_repl_text *text) {
    return text->has_uname;
}

enum talk_word { SPEAK, STOP, STOP_AGAIN, RAW, UNAME, LEAVE, RESTART, END };

/* What to say, how long to wait for what, and what comes then: when it came, and when it didn't. */
static const struct talk_step {
    const char *bytes;
    uint16_t ms;
    bool (*is_answered)(const struct esp_repl_text *text);
    enum talk_word answered, otherwise;
} steps[] = {
    [SPEAK] = { ESP_REPL_BANNER_REQUEST, 1000, has_banner, END, END },
    [STOP] = { ESP_REPL_STOP, 500, has_prompt, RAW, STOP_AGAIN },
    [STOP_AGAIN] = { ESP_REPL_STOP, 500, has_prompt, RAW, END },
    [RAW] = { ESP_REPL_RAW, 500, has_raw, UNAME, LEAVE },
    [UNAME] = { ESP_REPL_UNAME ESP_REPL_EXECUTE, 2000, has_uname, LEAVE, LEAVE },
    [LEAVE] = { ESP_REPL_LEAVE_RAW, 300, has_prompt, RESTART, RESTART },
    /* Nothing is waited for but that the byte has left. */
    [RESTART] = { ESP_REPL_RESTART, 200, NULL, END, END },
};

static void on_talk(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply);

static void end(struct flash_visit *visit) {
    visit->talk = NULL;
    visit->is_stopped = false;
    if (visit->is_closing)
        visit_close_link(visit);
    else
        visit_without_rom(visit);
}

/* How much of our SYNCs stands at the prompt: there Ctrl-B prints the banner on an empty line only. */
static size_t echoed(const struct flash_visit *visit) {
    size_t n = (size_t)visit->report.syncs * SYNC_ECHO_CHARS;

    if (!strstr(visit->text.text, "UUUUUUUU"))
        return 0;
    return n < ERASE_MOST ? n : ERASE_MOST;
}

static void say(struct flash_visit *visit, enum talk_word word) {
    const struct talk_step *step = &steps[word];
    char bytes[ERASE_MOST + 64];
    size_t n = word == SPEAK ? echoed(visit) : 0;

    if (word == END) {
        end(visit);
        return;
    }
    memset(bytes, DELETE, n);
    memcpy(bytes + n, step->bytes, strlen(step->bytes));
    visit_take_words(visit);
    visit->text.has_prompt = visit->text.has_raw = false;
    visit->is_stopped = word != SPEAK;
    visit->talk = step;
    visit->until = uv_now(visit->loop) + step->ms;
    esp_link_say(visit->link, bytes, n + strlen(step->bytes), step->ms, on_talk);
}

static void on_talk(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_visit *visit = userdata;
    const struct talk_step *step = visit->talk;
    uint32_t left = visit_left(visit, visit->until);
    enum talk_word next;

    (void)reply;
    if (visit_is_gone(visit, outcome))
        return;
    if (visit->is_closing && esp_link_boot_log(visit->link)->resets != visit->resets_taken) {
        end(visit); /* the program has started anew by itself */
        return;
    }
    if (!visit->is_closing && visit_take_news(visit))
        return;
    if (left && !(step->is_answered && step->is_answered(&visit->text))) {
        esp_link_hear(visit->link, left, on_talk);
        return;
    }
    next = left ? step->answered : step->otherwise;
    if (visit->is_closing && next == RAW)
        next = RESTART;
    else if (visit->is_closing && next == STOP_AGAIN)
        next = END;
    say(visit, next);
}

void visit_speak(struct flash_visit *visit) {
    say(visit, SPEAK);
}

void visit_stop_program(struct flash_visit *visit) {
    say(visit, STOP);
}

void visit_restart_program(struct flash_visit *visit) {
    enum talk_word word = (enum talk_word)(visit->talk - steps);

    /* Whether Ctrl-C has stopped it is still to be heard; Ctrl-D is waited for until it has left. */
    if (word == STOP || word == STOP_AGAIN || word == LEAVE || word == RESTART)
        return;
    esp_link_stop(visit->link);
    say(visit, LEAVE);
}
