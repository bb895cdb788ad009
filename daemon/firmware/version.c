#include "daemon/firmware/version.h"

#include <string.h>

static const char MACHINE[] = " with ESP32"; /* with its NUL: the banner has the same words, but goes on */
static const char DATE[] = " on dddd-dd-dd"; /* d: a digit */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_board_char(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Copies the NUL-terminated string at *offset and moves past it. False: too long, empty, unprintable,
 * unending. */
static bool take_string(const uint8_t *bytes, size_t size, size_t *offset, char *ret, size_t ret_size) {
    size_t length = 0;

    for (;;) {
        if (length == ret_size || *offset + length >= size)
            return false;

        uint8_t c = bytes[*offset + length];

        if (!c)
            break;
        if (c < 0x20 || c > 0x7e)
            return false;
        ret[length++] = (char)c;
    }
    if (!length || length == ret_size)
        return false;
    ret[length] = 0;
    *offset += length + 1;
    return true;
}

static bool ends_with_date(const char *git) {
    size_t length = strlen(git), n = sizeof DATE - 1;

    if (length <= n)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = git[length - n + i];

        if (DATE[i] == 'd' ? !is_digit(c) : c != DATE[i])
            return false;
    }
    return true;
}

/* machine: where " with ESP32" begins. */
static bool read_cluster(const uint8_t *bytes, size_t size, size_t machine, struct firmware_version *ret) {
    size_t begin = machine;

    while (begin > 0 && is_board_char(bytes[begin - 1]))
        begin--;
    if (begin == machine || machine - begin >= sizeof ret->board)
        return false;
    memcpy(ret->board, bytes + begin, machine - begin);
    ret->board[machine - begin] = 0;
    ret->image_offset = (uint32_t)begin;

    size_t offset = machine + sizeof MACHINE;

    return take_string(bytes, size, &offset, ret->git, sizeof ret->git) && ends_with_date(ret->git) &&
           take_string(bytes, size, &offset, ret->release, sizeof ret->release) && !strchr(ret->release, ' ');
}

bool firmware_version_find(const uint8_t *bytes, size_t size, struct firmware_version *ret) {
    size_t offset = 0;

    while (offset < size) {
        const uint8_t *hit = memmem(bytes + offset, size - offset, MACHINE, sizeof MACHINE);
        struct firmware_version version = { 0 };

        if (!hit)
            return false;
        if (read_cluster(bytes, size, (size_t)(hit - bytes), &version)) {
            *ret = version;
            return true;
        }
        offset = (size_t)(hit - bytes) + 1;
    }
    return false;
}

bool firmware_board_is_pycom(const char *board) {
    static const char *const boards[] = { "WiPy", "LoPy", "LoPy4", "SiPy", "GPy", "FiPy" };

    for (size_t i = 0; i < sizeof boards / sizeof *boards; i++)
        if (!strcmp(board, boards[i]))
            return true;
    return false;
}

/* Leading zeros are refused: no release has them, and "1.08" might mean 1.8 or 1.0.8. */
static bool take_number(const char **text, uint32_t max, uint32_t *ret) {
    const char *p = *text;
    uint32_t value = 0;

    if (!is_digit(*p) || (*p == '0' && is_digit(p[1])))
        return false;
    for (; is_digit(*p); p++) {
        value = value * 10 + (uint32_t)(*p - '0');
        if (value > max)
            return false;
    }
    *text = p;
    *ret = value;
    return true;
}

static bool take_char(const char **text, char c) {
    if (**text != c)
        return false;
    (*text)++;
    return true;
}

/* The kinds in their order; "rc" before "r", so that the longer one is tried first. */
static const struct {
    const char *letters;
    uint32_t rank;
} KINDS[] = { { "a", 0 }, { "b", 1 }, { "rc", 2 }, { "r", 3 } };

static bool take_kind(const char **text, uint32_t *ret) {
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        size_t n = strlen(KINDS[i].letters);

        if (!strncmp(*text, KINDS[i].letters, n) && is_digit((*text)[n])) {
            *text += n;
            *ret = KINDS[i].rank;
            return true;
        }
    }
    return false;
}

bool firmware_release_parse(const char *release, uint32_t *ret) {
    const char *p = release;
    uint32_t major, minor, patch, kind = 3, number = 0;

    if (!take_number(&p, 63, &major) || !take_char(&p, '.') || !take_number(&p, 127, &minor) ||
        !take_char(&p, '.') || !take_number(&p, 1023, &patch))
        return false;
    if (*p && (!take_char(&p, '.') || !take_kind(&p, &kind) || !take_number(&p, 127, &number)))
        return false;
    if (*p)
        return false;
    *ret = major << 26 | minor << 19 | patch << 9 | kind << 7 | number;
    return true;
}
