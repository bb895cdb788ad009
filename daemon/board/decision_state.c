/* A decision's state as text and back: what is recorded, replayed and explained. */

#include "daemon/board/decision.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* field, type */
/* clang-format off */
#define STATE_TABLE(X)                                                                          \
    X(is_present, BOOL) X(is_handled, BOOL) X(is_by_hand, BOOL) X(has_own_policy, BOOL)         \
    X(is_job_under_way, BOOL) X(is_settled, BOOL) X(is_held, BOOL) X(is_failed, BOOL)           \
    X(is_leased, BOOL) X(is_armed, BOOL) X(has_lines, BOOL)                                                        \
    X(was_looked_at, BOOL) X(was_reset, BOOL) X(is_coached_out, BOOL)                           \
    X(was_flashed_now, BOOL) X(is_confirmed_now, BOOL) X(has_ended_now, BOOL)                                      \
    X(policy, POLICY) X(seen, SEEN)                                                             \
    X(mac, TEXT) X(is_esp32, BOOL) X(is_encrypted, BOOL) X(is_secure_boot, BOOL)                \
    X(flash_mib, NUMBER) X(is_blank, BOOL) X(board, TEXT) X(release, TEXT) X(order, NUMBER)     \
    X(is_known_wipy, BOOL) X(is_presumed, BOOL)                                                 \
    X(has_candidate, BOOL) X(candidate_board, TEXT) X(candidate_release, TEXT)                  \
    X(candidate_sha256, TEXT) X(candidate_order, NUMBER) X(pin, TEXT)                           \
    X(was_flashed, BOOL) X(is_chosen, BOOL) X(failures, NUMBER)                                 \
    X(pending_job, NUMBER) X(pending_attempts, NUMBER) X(attempts_max, NUMBER)
/* clang-format on */

enum field_type { BOOL, NUMBER, TEXT, POLICY, SEEN };

/* The longest value in print; a byte of text may become three. */
#define WORD_MAX             8 /* "firmware", "download", "brownout" */
#define WIDTH_BOOL(bytes)    1
#define WIDTH_NUMBER(bytes)  10
#define WIDTH_TEXT(bytes)    (3 * ((bytes)-1))
#define WIDTH_POLICY(bytes)  WORD_MAX
#define WIDTH_SEEN(bytes)    WORD_MAX
#define FIELD_BYTES(field)   sizeof(((struct decision_state *)NULL)->field)
#define PRINTED(field, type) +(sizeof #field + WIDTH_##type(FIELD_BYTES(field)) + 1) /* the NUL's: '=' */

static_assert(1 STATE_TABLE(PRINTED) <= DECISION_TEXT_MAX, "the longest state fits");

static const struct {
    const char *key;
    enum field_type type;
    size_t offset, bytes;
} fields[] = {
#define X(field, type) { #field, type, offsetof(struct decision_state, field), FIELD_BYTES(field) },
    STATE_TABLE(X)
#undef X
};

#define N_FIELDS (sizeof fields / sizeof *fields)
static_assert(N_FIELDS <= 64, "one bit a field in decision_state_parse");

/* ---- print -------------------------------------------------------------------------------------- */

/* Printable ASCII stays, but for the escape itself: a state goes over the bus, into a line and into SQL. */
static void escape(const char *text, char *ret, size_t size) {
    size_t n = 0;

    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool is_plain = c >= 0x20 && c <= 0x7e && c != '%';

        if (n + (is_plain ? 1 : 3) >= size)
            break;
        if (is_plain)
            ret[n++] = (char)c;
        else
            n += (size_t)snprintf(ret + n, size - n, "%%%02x", c);
    }
    ret[n] = 0;
}

static void print_value(const struct decision_state *state, size_t i, char *ret, size_t size) {
    const char *at = (const char *)state + fields[i].offset;

    switch (fields[i].type) {
    case BOOL:
        snprintf(ret, size, "%d", *(const bool *)at);
        return;
    case NUMBER:
        snprintf(ret, size, "%" PRIu32, *(const uint32_t *)at);
        return;
    case TEXT:
        escape(at, ret, size);
        return;
    case POLICY:
        snprintf(ret, size, "%s", board_policy_word(*(const enum board_policy *)at));
        return;
    case SEEN:
        snprintf(ret, size, "%s", board_seen_word(*(const enum board_seen *)at));
        return;
    }
}

bool decision_state_field(const struct decision_state *state, unsigned index, const char **key, char *value,
                          size_t size) {
    if (index >= N_FIELDS)
        return false;
    *key = fields[index].key;
    if (size)
        print_value(state, index, value, size);
    return true;
}

void decision_state_print(const struct decision_state *state, char *ret) {
    size_t n = 0;

    ret[0] = 0;
    for (size_t i = 0; i < N_FIELDS; i++) {
        char value[3 * sizeof state->candidate_sha256]; /* the longest */

        print_value(state, i, value, sizeof value);
        n += (size_t)snprintf(ret + n, DECISION_TEXT_MAX - n, "%s=%s\n", fields[i].key, value);
        assert(n < DECISION_TEXT_MAX);
    }
}

/* ---- parse -------------------------------------------------------------------------------------- */

static int hex_digit(char c) {
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* False: too long, or no escape of ours. */
static bool unescape(const char *text, size_t length, char *ret, size_t size) {
    size_t n = 0;

    memset(ret, 0, size);
    for (size_t i = 0; i < length; i++) {
        char c = text[i];

        if (c == '%') {
            int high = length - i > 2 ? hex_digit(text[i + 1]) : -1;
            int low = length - i > 2 ? hex_digit(text[i + 2]) : -1;

            if (high < 0 || low < 0 || !(high | low))
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (n + 1 >= size)
            return false;
        ret[n++] = c;
    }
    return true;
}

static bool parse_number(const char *text, uint32_t *ret) {
    uint64_t value = 0;

    if (!*text || strlen(text) > 10)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *ret = (uint32_t)value;
    return value <= UINT32_MAX;
}

static bool parse_value(const char *text, size_t length, size_t i, struct decision_state *ret) {
    char *at = (char *)ret + fields[i].offset;
    char word[16];

    if (fields[i].type == TEXT)
        return unescape(text, length, at, fields[i].bytes);
    if (!unescape(text, length, word, sizeof word))
        return false;

    switch (fields[i].type) {
    case BOOL:
        *(bool *)at = word[0] == '1';
        return (word[0] == '0' || word[0] == '1') && !word[1];
    case NUMBER:
        return parse_number(word, (uint32_t *)at);
    case POLICY:
        *(enum board_policy *)at = board_policy_from_word(word);
        return *(enum board_policy *)at < BOARD_POLICY_COUNT;
    case SEEN:
        *(enum board_seen *)at = board_seen_from_word(word);
        return *(enum board_seen *)at < BOARD_SEEN_COUNT;
    case TEXT:
        break;
    }
    return false;
}

bool decision_state_parse(const char *text, struct decision_state *ret) {
    struct decision_state state;
    uint64_t seen = 0;

    memset(&state, 0, sizeof state);
    if (!*text)
        return false;
    while (*text) {
        size_t length = strcspn(text, "\n"), key = strcspn(text, "=\n"), i = 0;

        if (!key || key == length)
            return false;
        while (i < N_FIELDS && (strlen(fields[i].key) != key || memcmp(fields[i].key, text, key) != 0))
            i++;
        if (i < N_FIELDS) {
            if (seen & UINT64_C(1) << i || !parse_value(text + key + 1, length - key - 1, i, &state))
                return false;
            seen |= UINT64_C(1) << i;
        }
        text += length;
        text += *text == '\n';
    }
    *ret = state;
    return true;
}
