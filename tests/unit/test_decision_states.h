#pragma once

/* States to decide on: a plain one of each kind, and changes to it written as decision_state_print does. */

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "daemon/board/decision.h"

#define STATE_PORT                                                                                           \
    "is_present=1\nis_handled=1\nis_settled=1\nhas_lines=1\npolicy=wipy\nseen=nothing\nattempts_max=5\n"     \
    "has_candidate=1\ncandidate_board=WiPy\ncandidate_release=1.20.1.r1\ncandidate_order=77595521\n"
/* A WiPy with an older release, in download mode. */
#define STATE_DOWNLOAD                                                                                       \
    "is_present=1\nis_handled=1\nis_settled=1\nhas_lines=1\npolicy=wipy\nseen=download\nattempts_max=5\n"    \
    "has_candidate=1\ncandidate_board=WiPy\ncandidate_release=1.20.1.r1\ncandidate_order=77595521\n"         \
    "was_looked_at=1\nmac=30:ae:a4:01:02:03\nis_esp32=1\nflash_mib=4\nboard=WiPy\nrelease=1.18.1.r1\n"       \
    "order=76546945\n"
/* The same, running. */
#define STATE_RUNNING                                                                                        \
    "is_present=1\nis_handled=1\nis_settled=1\nhas_lines=1\npolicy=wipy\nseen=firmware\nattempts_max=5\n"    \
    "has_candidate=1\ncandidate_board=WiPy\ncandidate_release=1.20.1.r1\ncandidate_order=77595521\n"         \
    "was_looked_at=1\nboard=WiPy\nrelease=1.18.1.r1\norder=76546945\n"
/* A port where nothing is heard, nor known. */
#define STATE_SILENT                                                                                         \
    "is_present=1\nis_handled=1\nis_settled=1\nhas_lines=1\npolicy=wipy\nseen=silent\nattempts_max=5\n"      \
    "has_candidate=1\ncandidate_board=WiPy\ncandidate_release=1.20.1.r1\ncandidate_order=77595521\n"         \
    "was_looked_at=1\n"

/* changes: "key=value key=value" (no space inside a value), each instead of what the base has. False: not
 * such texts. */
static inline bool state_from(const char *base, const char *changes, struct decision_state *ret) {
    char text[2 * DECISION_TEXT_MAX] = "";
    size_t n = 0;

    for (const char *line = base; *line; line += strcspn(line, "\n") + 1) {
        size_t key = strcspn(line, "=") + 1;
        bool is_changed = false;

        for (const char *change = changes; *change && !is_changed; change += strspn(change, " ")) {
            is_changed = !strncmp(change, line, key);
            change += strcspn(change, " ");
        }
        if (!is_changed)
            n += (size_t)snprintf(text + n, sizeof text - n, "%.*s\n", (int)strcspn(line, "\n"), line);
    }
    for (; *changes && n + 2 < sizeof text; changes++)
        text[n++] = *changes == ' ' ? '\n' : *changes;
    text[n] = 0;
    return decision_state_parse(text, ret);
}

static inline const char *word_of(unsigned rule) {
    return decision_rule_at(rule)->word;
}

static inline unsigned rule_of(const char *word) {
    unsigned rule = 0;

    while (decision_rule_at(rule) && strcmp(word_of(rule), word) != 0)
        rule++;
    return rule;
}
