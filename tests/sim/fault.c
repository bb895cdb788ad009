#include "tests/sim/fault.h"
#include "tests/sim/loader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    enum fault_action action;
    const char *name;
    bool needs_arg;
    bool any_moment; // otherwise it belongs to the request
    int base;        // of the argument
} actions[] = {
    { FAULT_DROP_REPLY, "drop-reply", false, false, 0 },
    { FAULT_DELAY_REPLY, "delay-reply", true, false, 10 },
    { FAULT_GARBLE_REPLY, "garble-reply", false, false, 0 },
    { FAULT_GARBLE_REQUEST, "garble-request", false, false, 0 },
    { FAULT_TRUNCATE_REPLY, "truncate-reply", false, false, 0 },
    { FAULT_DUPLICATE_REPLY, "duplicate-reply", false, false, 0 },
    { FAULT_REFUSE, "refuse", true, false, 16 },
    { FAULT_UNPLUG, "unplug", false, true, 0 },
    { FAULT_RESET, "reset", false, true, 0 },
    { FAULT_POWER_CUT, "power-cut", false, true, 0 },
    { FAULT_BROWNOUT, "brownout", false, true, 0 },
    { FAULT_SILENCE, "silence", false, true, 0 },
    { FAULT_NOISE, "noise", true, false, 10 },
    { FAULT_CORRUPT_FLASH, "corrupt-flash", false, false, 0 },
    { FAULT_LOSE_BYTES, "lose-bytes", true, true, 10 },
    { FAULT_TOUCH_CONFIG, "touch-config", false, true, 0 },
    { FAULT_STUB_WRITE_ERROR, "stub-write-error", true, false, 16 },
};

#define N_ACTIONS (sizeof(actions) / sizeof(actions[0]))

static const char *const moment_names[] = {
    [MOMENT_REQUEST] = "request",
    [MOMENT_MID_FRAME] = "mid-frame",
    [MOMENT_BUSY] = "busy",
    [MOMENT_REPLY] = "reply",
};

#define N_MOMENTS (sizeof(moment_names) / sizeof(moment_names[0]))

static bool parse_number(const char *text, int base, uint32_t *out) {
    char *end;
    unsigned long v = strtoul(text, &end, base);

    *out = (uint32_t)v;
    return *text != 0 && *end == 0 && v <= UINT32_MAX;
}

static bool parse_moment(const char *name, enum fault_moment *out) {
    for (size_t i = 0; i < N_MOMENTS; i++) {
        if (strcmp(moment_names[i], name) == 0) {
            *out = (enum fault_moment)i;
            return true;
        }
    }
    return false;
}

static int find_action(const char *name) {
    for (size_t i = 0; i < N_ACTIONS; i++)
        if (strcmp(actions[i].name, name) == 0)
            return (int)i;
    return -1;
}

static const char *parse_word(const char *word, struct fault *f, int *action, bool *has_arg) {
    uint32_t n;

    if (strncmp(word, "on=", 3) == 0) {
        f->opcode = strcmp(word + 3, "any") == 0 ? -1 : loader_op_from_name(word + 3);
        return f->opcode < 0 && strcmp(word + 3, "any") != 0 ? "unknown opcode" : NULL;
    }
    if (strncmp(word, "nth=", 4) == 0) {
        if (!parse_number(word + 4, 10, &n) || n == 0)
            return "bad nth";
        f->nth = n;
        return NULL;
    }
    if (strncmp(word, "times=", 6) == 0) {
        if (!parse_number(word + 6, 10, &n) || n == 0)
            return "bad times";
        f->times = n;
        return NULL;
    }
    if (strncmp(word, "at=", 3) == 0) {
        if (!parse_number(word + 3, 10, &n) || n > 100)
            return "bad at";
        f->at_percent = n;
        return NULL;
    }
    if (strncmp(word, "moment=", 7) == 0)
        return parse_moment(word + 7, &f->moment) ? NULL : "unknown moment";
    if (strncmp(word, "after=", 6) == 0)
        return parse_moment(word + 6, &f->moment) && f->moment == MOMENT_REPLY ? NULL : "after what?";
    if (strncmp(word, "do=", 3) == 0) {
        *action = find_action(word + 3);
        return *action < 0 ? "unknown action" : NULL;
    }
    if (*action < 0 || *has_arg || !actions[*action].needs_arg)
        return "unknown word";
    *has_arg = true;
    return parse_number(word, actions[*action].base, &f->arg) ? NULL : "bad argument";
}

const char *faults_add(struct faults *fs, char *text) {
    struct fault f = {
        .used = true, .opcode = -1, .nth = 1, .times = 1, .at_percent = 50, .moment = MOMENT_REQUEST
    };
    int action = -1;
    bool has_arg = false;
    char *save = NULL;

    for (char *word = strtok_r(text, " ,", &save); word; word = strtok_r(NULL, " ,", &save)) {
        const char *wrong = parse_word(word, &f, &action, &has_arg);
        if (wrong)
            return wrong;
    }
    if (action < 0)
        return "do= is missing";
    if (actions[action].needs_arg && !has_arg)
        return "the action needs an argument";
    f.action = actions[action].action;
    if (f.action == FAULT_LOSE_BYTES)
        f.moment = MOMENT_MID_FRAME;
    if (!actions[action].any_moment && f.moment != MOMENT_REQUEST)
        return "this action has no moment";
    for (size_t i = 0; i < FAULTS_MAX; i++) {
        if (!fs->list[i].used) {
            fs->list[i] = f;
            fs->n_used++;
            return NULL;
        }
    }
    return "too many faults";
}

static void describe(const struct fault *f, char *out, size_t cap) {
    char on[16] = "any";
    const char *name = f->opcode >= 0 ? loader_op_name((uint8_t)f->opcode) : NULL;
    const char *action = "";
    char arg[16] = "";

    for (size_t i = 0; i < N_ACTIONS; i++) {
        if (actions[i].action != f->action)
            continue;
        action = actions[i].name;
        if (actions[i].needs_arg && actions[i].base == 16)
            snprintf(arg, sizeof(arg), ",%02x", f->arg);
        else if (actions[i].needs_arg)
            snprintf(arg, sizeof(arg), ",%u", f->arg);
    }
    if (f->opcode >= 0)
        snprintf(on, sizeof(on), "%02x", (unsigned)f->opcode);
    snprintf(out, cap, "on=%s,nth=%u,times=%u,seen=%u,moment=%s do=%s%s", name ? name : on, f->nth, f->times,
             f->seen, moment_names[f->moment], action, arg);
}

void faults_describe(const struct faults *fs, char *out, size_t cap) {
    size_t n = 0;

    out[0] = 0;
    for (size_t i = 0; i < FAULTS_MAX; i++) {
        char one[160];
        if (!fs->list[i].used)
            continue;
        describe(&fs->list[i], one, sizeof(one));
        int k = snprintf(out + n, cap - n, "%s%s", n ? "; " : "", one);
        if (k < 0 || (size_t)k >= cap - n)
            return;
        n += (size_t)k;
    }
}

struct fault faults_match(struct faults *fs, uint8_t opcode, enum fault_moment moment, unsigned percent,
                          uint64_t frame_no) {
    for (size_t i = 0; fs->n_used > 0 && i < FAULTS_MAX; i++) {
        struct fault *f = &fs->list[i];
        if (!f->used || f->moment != moment || f->last_frame == frame_no)
            continue;
        if (f->opcode >= 0 && f->opcode != opcode)
            continue;
        if (moment == MOMENT_MID_FRAME && percent < f->at_percent)
            continue;
        f->last_frame = frame_no;
        if (++f->seen < f->nth)
            continue;
        struct fault hit = *f;
        if (--f->times == 0) {
            f->used = false;
            fs->n_used--;
        }
        return hit;
    }
    return (struct fault) { .used = false };
}
