#include "daemon/firmware/answer.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/firmware/archive.h"
#include "daemon/firmware/json.h"

#define INT_VERSION_MAX 0x80000000ll
#define WIPY_PREFIX     "wipy.wipy" /* of the keys of all WiPys (facts/pycom.md 1.1) */

struct complaint {
    char *text;
    size_t size;
};

__attribute__((format(printf, 2, 3))) static void write_complaint(const struct complaint *complaint,
                                                                  const char *format, ...) {
    va_list args;

    va_start(args, format);
    vsnprintf(complaint->text, complaint->size, format, args);
    va_end(args);
}

/* False, so that `return complain(...)` reads well. */
#define complain(...) (write_complaint(__VA_ARGS__), false)

/* ---- URLs ------------------------------------------------------------------------------------ */

bool firmware_url_resolve(const char *base, const char *url, char *ret, size_t size) {
    CURLU *handle = curl_url();
    char *whole = NULL;
    bool ok;

    ok = handle && curl_url_set(handle, CURLUPART_URL, base, 0) == CURLUE_OK &&
         curl_url_set(handle, CURLUPART_URL, url, 0) == CURLUE_OK &&
         curl_url_get(handle, CURLUPART_URL, &whole, 0) == CURLUE_OK && strlen(whole) < size &&
         (!strncasecmp(whole, "https://", 8) || !strncasecmp(whole, "http://", 7));
    for (const char *c = whole; ok && *c; c++)
        ok = *c > ' ' && *c <= '~';
    if (ok)
        strcpy(ret, whole);
    curl_free(whole);
    curl_url_cleanup(handle);
    return ok;
}

void firmware_url_name(const char *url, char *ret, size_t size) {
    CURLU *handle = curl_url();
    char *path = NULL;
    const char *name = NULL;

    if (handle && curl_url_set(handle, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(handle, CURLUPART_PATH, &path, CURLU_URLDECODE) == CURLUE_OK)
        name = strrchr(path, '/');
    snprintf(ret, size, "%s",
             name && strlen(name) <= size && firmware_name_is_plain(name + 1) ? name + 1 : "package.tar.gz");
    curl_free(path);
    curl_url_cleanup(handle);
}

void firmware_url_show(const char *url, char *ret, size_t size) {
    const char *scheme_end = strstr(url, "://"), *at;
    size_t scheme = scheme_end ? (size_t)(scheme_end - url) + 3 : 0;
    const char *host = url + scheme;

    at = scheme ? memrchr(host, '@', strcspn(host, "/?#")) : NULL;
    snprintf(ret, size, "%.*s%s", (int)scheme, url, at ? at + 1 : host);
}

/* ---- fields ---------------------------------------------------------------------------------- */

static const char *type_name(yajl_val value) {
    switch (value->type) {
    case yajl_t_string:
        return "a string";
    case yajl_t_number:
        return "a number";
    case yajl_t_object:
        return "an object";
    case yajl_t_array:
        return "a list";
    case yajl_t_true:
    case yajl_t_false:
        return "true or false";
    case yajl_t_null:
        return "null";
    case yajl_t_any:
        break;
    }
    return "something else";
}

/* The one field of that name; *ret NULL: there is none. False: it is there twice. */
static bool find_field(yajl_val object, const char *name, yajl_val *ret, const struct complaint *complaint) {
    *ret = NULL;
    for (size_t i = 0; i < object->u.object.len; i++)
        if (!strcmp(object->u.object.keys[i], name)) {
            if (*ret)
                return complain(complaint, "the answer's field \"%s\" is there twice", name);
            *ret = object->u.object.values[i];
        }
    return true;
}

/* *ret NULL: it isn't there, which is fine unless required. */
static bool find_string(yajl_val object, const char *name, bool required, const char **ret,
                        const struct complaint *complaint) {
    yajl_val value;

    *ret = required ? "" : NULL;
    if (!find_field(object, name, &value, complaint))
        return false;
    if (!value)
        return required ? complain(complaint, "the answer has no field \"%s\"", name) : true;
    if (!YAJL_IS_STRING(value))
        return complain(complaint, "the answer's field \"%s\" is %s, not a string", name, type_name(value));
    *ret = value->u.string;
    return true;
}

static bool read_file_field(yajl_val object, const char *base, struct firmware_offer *offer,
                            const struct complaint *complaint) {
    const char *file;

    if (!find_string(object, "file", true, &file, complaint))
        return false;
    if (!*file || !firmware_url_resolve(base, file, offer->url, sizeof offer->url))
        return complain(complaint, "the answer's field \"file\" is no http or https URL");
    firmware_url_name(offer->url, offer->name, sizeof offer->name);
    return true;
}

static bool read_version_fields(yajl_val object, struct firmware_offer *offer,
                                const struct complaint *complaint) {
    const char *version;
    yajl_val number;

    if (!find_string(object, "version", true, &version, complaint))
        return false;
    if (strlen(version) >= sizeof offer->version || !firmware_name_is_plain(version))
        return complain(complaint, "the answer's field \"version\" is no version");
    strcpy(offer->version, version);
    if (!find_field(object, "intVersion", &number, complaint))
        return false;
    if (!number)
        return complain(complaint, "the answer has no field \"intVersion\"");
    if (!YAJL_IS_NUMBER(number))
        return complain(complaint, "the answer's field \"intVersion\" is %s, not a number",
                        type_name(number));
    if (!YAJL_IS_INTEGER(number) || YAJL_GET_INTEGER(number) < 0 ||
        YAJL_GET_INTEGER(number) > INT_VERSION_MAX)
        return complain(complaint, "the answer's field \"intVersion\" is out of range");
    offer->int_version = (uint32_t)YAJL_GET_INTEGER(number);
    return true;
}

static bool read_hash_field(yajl_val object, struct firmware_offer *offer,
                            const struct complaint *complaint) {
    const char *hash;

    if (!find_string(object, "hash", false, &hash, complaint))
        return false;
    if (!hash)
        return true;
    if (strlen(hash) != 40 || strspn(hash, "0123456789abcdefABCDEF") != 40)
        return complain(complaint, "the answer's field \"hash\" is not 40 hex digits");
    for (size_t i = 0; i <= 40; i++)
        offer->sha1[i] = (char)(hash[i] >= 'A' && hash[i] <= 'F' ? hash[i] + ('a' - 'A') : hash[i]);
    return true;
}

/* One object: *ret_wanted tells whether it is for a WiPy; others are not looked into. */
static bool read_offer(yajl_val object, const char *base, struct firmware_offer *offer, bool *ret_wanted,
                       const struct complaint *complaint) {
    const char *key;

    *offer = (struct firmware_offer) { 0 };
    if (!find_string(object, "key", true, &key, complaint))
        return false;
    *ret_wanted = !strncmp(key, WIPY_PREFIX, strlen(WIPY_PREFIX));
    if (!*ret_wanted)
        return true;
    return read_file_field(object, base, offer, complaint) && read_version_fields(object, offer, complaint) &&
           read_hash_field(object, offer, complaint);
}

/* What version=list gives: nothing to fetch. */
static bool is_version_list(yajl_val array) {
    for (size_t i = 0; i < array->u.array.len; i++) {
        yajl_val entry = array->u.array.values[i];
        const char *version_path[] = { "version", NULL }, *file_path[] = { "file", NULL };

        if (!YAJL_IS_OBJECT(entry) || !yajl_tree_get(entry, version_path, yajl_t_string) ||
            yajl_tree_get(entry, file_path, yajl_t_any))
            return false;
    }
    return true;
}

static bool read_array(struct firmware_answer *ret, yajl_val array, const char *base,
                       const struct complaint *complaint) {
    size_t n = array->u.array.len;

    if (n == 0)
        return complain(complaint, "no firmware is offered: the answer is an empty list");
    if (is_version_list(array))
        return complain(complaint, "the answer lists %zu versions, it names no file", n);
    for (size_t i = 0; i < n; i++) {
        yajl_val entry = array->u.array.values[i];
        struct firmware_offer offer;
        bool wanted;

        if (!YAJL_IS_OBJECT(entry))
            return complain(complaint, "the answer's entry %zu is %s, not an object", i + 1,
                            type_name(entry));
        if (!read_offer(entry, base, &offer, &wanted, complaint))
            return false;
        if (!wanted)
            continue;
        if (ret->n == FIRMWARE_OFFERS_MAX)
            return complain(complaint, "the answer offers more than %u packages", FIRMWARE_OFFERS_MAX);
        ret->offers[ret->n++] = offer;
    }
    return ret->n > 0 ? true : complain(complaint, "none of the answer's %zu entries is for a WiPy", n);
}

static bool read_object(struct firmware_answer *ret, yajl_val object, const char *base,
                        const struct complaint *complaint) {
    bool wanted;

    if (!read_offer(object, base, &ret->offers[0], &wanted, complaint))
        return false;
    if (!wanted)
        return complain(complaint, "the firmware offered is not for a WiPy");
    ret->n = 1;
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Whether the body is a page for people: by its type or its first character. */
static bool is_html(const uint8_t *bytes, size_t size, const char *content_type) {
    size_t i = 0;

    if (content_type && !strncasecmp(content_type, "text/html", 9))
        return true;
    if (size >= 3 && !memcmp(bytes, "\xef\xbb\xbf", 3))
        i = 3;
    while (i < size && (bytes[i] == ' ' || (bytes[i] >= '\t' && bytes[i] <= '\r')))
        i++;
    return i < size && bytes[i] == '<';
}

/* Where JSON itself is in order whatever the Content-Type says, it is taken. */
static bool looks_like_json(const uint8_t *bytes, size_t size) {
    size_t i = 0;

    while (i < size && (bytes[i] == ' ' || (bytes[i] >= '\t' && bytes[i] <= '\r')))
        i++;
    return i < size && (bytes[i] == '{' || bytes[i] == '[');
}

bool firmware_answer_read(struct firmware_answer *ret, const uint8_t *bytes, size_t size,
                          const char *content_type, const char *url, char *why, size_t why_size) {
    const struct complaint complaint = { why, why_size };
    cleanup(json_deinit) struct json json = { 0 };
    int r;

    *ret = (struct firmware_answer) { 0 };
    if (size == 0)
        return complain(&complaint, "the answer is empty");
    if (size > FIRMWARE_ANSWER_BYTES_MAX)
        return complain(&complaint, "the answer is larger than %u bytes", FIRMWARE_ANSWER_BYTES_MAX);
    if (!looks_like_json(bytes, size) && is_html(bytes, size, content_type))
        return complain(&complaint, "answered with HTML, not with JSON");
    r = json_read(&json, (const char *)bytes, size, JSON_ROOM(size));
    if (r == -ENOMEM)
        return complain(&complaint, "not enough memory");
    if (r < 0)
        return complain(&complaint, "the answer is not JSON");
    if (YAJL_IS_ARRAY(json.root))
        return read_array(ret, json.root, url, &complaint);
    if (YAJL_IS_OBJECT(json.root))
        return read_object(ret, json.root, url, &complaint);
    return complain(&complaint, "the answer is %s, neither an object nor a list", type_name(json.root));
}
