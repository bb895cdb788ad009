/* What is said to a firmware's prompt, where that is allowed, and what it answers. */

#include <string.h>

#include "daemon/flash/visit_steps.h"

#define DELETE_16 "\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f"

enum { WIPES_MOST = 16 }; /* a line of 1024 characters */

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

enum talk_word { WIPE, SPEAK, STOP, STOP_AGAIN, RAW, UNAME, LEAVE, RESTART, END };

/* What to say, how long to wait for what, and what comes then: when it came, and when it didn't. */
static const struct talk_step {
    const char *bytes;
    uint16_t ms;
    bool (*is_answered)(const struct esp_repl_text *text);
    enum talk_word answered, otherwise;
} steps[] = {
    /* As long as a line has something to delete, that shows. In small pieces: what shows is longer than what
     * is sent, and nobody says how much the board can keep. */
    [WIPE] = { DELETE_16 DELETE_16 DELETE_16 DELETE_16, 40, NULL, SPEAK, SPEAK },
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

static size_t heard(const struct flash_visit *visit) {
    const struct boot_log *log = esp_link_boot_log(visit->link);

    return log->n_text + log->n_garbage;
}

static void say(struct flash_visit *visit, enum talk_word word) {
    const struct talk_step *step = &steps[word];

    if (word == END) {
        end(visit);
        return;
    }
    visit_take_words(visit);
    visit->text.has_prompt = visit->text.has_raw = false;
    visit->is_stopped = word > SPEAK;
    visit->talk = step;
    visit->heard = heard(visit);
    visit->until = uv_now(visit->loop) + step->ms;
    esp_link_say(visit->link, step->bytes, strlen(step->bytes), step->ms, on_talk);
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
    if (step == &steps[WIPE] && heard(visit) != visit->heard && ++visit->wipes < WIPES_MOST)
        next = WIPE;
    if (visit->is_closing && next == RAW)
        next = RESTART;
    else if (visit->is_closing && next == STOP_AGAIN)
        next = END;
    say(visit, next);
}

void visit_speak(struct flash_visit *visit) {
    /* Our SYNCs stand at the prompt, as if typed in: there Ctrl-B means something on an empty line only. */
    visit->is_echoing = visit->request.syncs_stand || strstr(visit->text.text, "UUUUUUUU");
    say(visit, visit->is_echoing ? WIPE : SPEAK);
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
