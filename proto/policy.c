#include "proto/policy.h"

#include <string.h>

static const struct {
    const char *word, *meaning;
} policies[] = {
#define X(symbol, word, meaning) [BOARD_POLICY_##symbol] = { word, meaning },
    BOARD_POLICY_TABLE(X)
#undef X
};

static const struct {
    const char *word, *label;
} seens[] = {
#define X(symbol, word, label) [BOARD_SEEN_##symbol] = { word, label },
    BOARD_SEEN_TABLE(X)
#undef X
};

const char *board_policy_word(enum board_policy policy) {
    return policies[policy].word;
}

const char *board_policy_meaning(enum board_policy policy) {
    return policies[policy].meaning;
}

enum board_policy board_policy_from_word(const char *word) {
    enum board_policy policy = BOARD_POLICY_UNSET;

    while (policy < BOARD_POLICY_COUNT && strcmp(policies[policy].word, word) != 0)
        policy++;
    return policy;
}

const char *board_seen_word(enum board_seen seen) {
    return seens[seen].word;
}

const char *board_seen_label(enum board_seen seen) {
    return seens[seen].label;
}

enum board_seen board_seen_from_word(const char *word) {
    enum board_seen seen = BOARD_SEEN_NOTHING;

    while (seen < BOARD_SEEN_COUNT && strcmp(seens[seen].word, word) != 0)
        seen++;
    return seen;
}
