#include "daemon/base/config_value.h"

#include <string.h>
#include <strings.h>

#include "daemon/base/bytes.h"

#define URL_BYTES_MAX 1023u

static const struct {
    const char *word;
    enum config_source_kind kind;
} source_kinds[] = {
    { "findupgrade", CONFIG_SOURCE_FINDUPGRADE },
    { "mirror", CONFIG_SOURCE_MIRROR },
    { "folder", CONFIG_SOURCE_FOLDER },
};

static bool has_prefix(const char *text, const char *prefix) {
    return strncasecmp(text, prefix, strlen(prefix)) == 0;
}

const char *config_parse_source(const char *value, enum config_source_kind *ret_kind, const char **ret_url) {
    size_t length = strcspn(value, " \t"), i;
    const char *url = value + length + strspn(value + length, " \t");

    for (i = 0; i < sizeof source_kinds / sizeof *source_kinds; i++)
        if (strlen(source_kinds[i].word) == length && !memcmp(source_kinds[i].word, value, length))
            break;
    if (i == sizeof source_kinds / sizeof *source_kinds)
        return "findupgrade, mirror or folder is wanted, then a URL";
    *ret_kind = source_kinds[i].kind;
    if (*ret_kind == CONFIG_SOURCE_FOLDER) {
        if (has_prefix(url, "file://"))
            url += strlen("file://");
        if (url[0] != '/')
            return "an absolute path, or file:// and one, is wanted";
    } else {
        if (!has_prefix(url, "https://") && !has_prefix(url, "http://"))
            return "a URL that begins with https:// or http:// is wanted";
        if (!is_graphic_text(url))
            return "a URL without blanks is wanted";
    }
    if (strlen(url) > URL_BYTES_MAX)
        return "a shorter URL is wanted";
    *ret_url = url;
    return NULL;
}

static bool parse_id(const char *text, uint16_t *ret) {
    uint32_t value = 0;

    if (strspn(text, "0123456789abcdefABCDEF") < 4)
        return false;
    for (unsigned i = 0; i < 4; i++)
        value = value << 4 | (uint32_t)(text[i] <= '9' ? text[i] - '0' : (text[i] | 0x20) - 'a' + 10);
    *ret = (uint16_t)value;
    return true;
}

const char *config_parse_adapter(const char *text, struct config_adapter *ret) {
    size_t gap;

    if (!parse_id(text, &ret->vendor) || text[4] != ':' || !parse_id(text + 5, &ret->product))
        return "VVVV:PPPP, the USB ids in hex, and a name is wanted";
    text += strlen("VVVV:PPPP");
    gap = strspn(text, " \t");
    text += gap;
    if (gap == 0 || !*text)
        return "VVVV:PPPP, the USB ids in hex, and a name is wanted";
    if (strlen(text) >= sizeof ret->name)
        return "a name of at most 31 bytes is wanted";
    for (const char *c = text; *c; c++)
        if (*c < ' ' || *c > '~')
            return "a name in printable ASCII is wanted";
    strcpy(ret->name, text);
    return NULL;
}
