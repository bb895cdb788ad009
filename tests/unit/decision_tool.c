/*
 * Decides again what was decided: states as decision_state_print writes them on stdin, a NUL after each; for
 * each a line "<verdict> <rule>" on stdout, or "not a state". Exit 0: all of them were states.
 */

#include <stdio.h>
#include <stdlib.h>

#include "daemon/board/decision.h"

/* False: no such text. */
static bool decide(const char *text) {
    const struct decision_rule *rule;
    struct decision_state state;

    if (!decision_state_parse(text, &state)) {
        puts("not a state");
        return false;
    }
    rule = decision_rule_at(decision_make(&state));
    printf("%s %s\n", decision_verdict_word(rule->verdict), rule->word);
    return true;
}

int main(void) {
    bool all_are_states = true;
    size_t size = 0;
    char *text = NULL;
    ssize_t n;

    while ((n = getdelim(&text, &size, 0, stdin)) > 0)
        all_are_states &= decide(text);
    free(text);
    return all_are_states && !ferror(stdin) ? 0 : 1;
}
