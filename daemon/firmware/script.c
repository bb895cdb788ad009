#include "daemon/firmware/script.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/firmware/json.h"

/* facts/pycom.md 2.2, from Pycom's updater. "all" is missing on purpose: it means the whole chip. */
static const struct firmware_script_area BUILT_IN[] = {
    { "secureboot", 0x0, 0x8000, false },    { "bootloader", 0x1000, 0x7000, false },
    { "partitions", 0x8000, 0x1000, false }, { "nvs", 0x9000, 0x7000, false },
    { "factory", 0x10000, 0x180000, false }, { "otadata", 0x190000, 0x1000, false },
    { "ota_0", 0x1a0000, 0x180000, false },  { "fs", 0x380000, 0x7f000, false },
    { "config", 0x3ff000, 0x1000, false },   { "fs1", 0x400000, 0x400000, false },
};

static const struct { const char *alias, *name; } ALIASES[] = { { "cb", "config" }, { "ota", "otadata" } };

static const char *resolve_alias(const char *name) {
    for (size_t i = 0; i < sizeof ALIASES / sizeof *ALIASES; i++)
        if (!strcmp(name, ALIASES[i].alias))
            return ALIASES[i].name;
    return name;
}

static struct firmware_script_area *find_area(struct firmware_script *script, const char *name) {
    for (unsigned i = 0; i < script->n_areas; i++)
        if (!strcmp(script->areas[i].name, name))
            return &script->areas[i];
    return NULL;
}

const struct firmware_script_area *firmware_script_area(const struct firmware_script *script,
                                                        const char *name) {
    for (unsigned i = 0; i < script->n_areas; i++)
        if (!strcmp(script->areas[i].name, name))
            return &script->areas[i];
    return NULL;
}

/* "0x1000" or "1000", as Pycom's int(text, 16) takes them; no sign, no blanks, nothing above 32 bits. */
static bool parse_hex(const char *text, uint32_t *ret) {
    uint32_t value = 0;

    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
        text += 2;
    if (!*text)
        return false;
    for (; *text; text++) {
        int digit = hex_value(*text);

        if (digit < 0 || value >> 28)
            return false;
        value = value << 4 | (uint32_t)digit;
    }
    *ret = value;
    return true;
}

/* A string that may stand in a story, or NULL. */
static const char *plain_string(yajl_val value) {
    const char *text = YAJL_GET_STRING(value);

    return text && firmware_name_is_plain(text) ? text : NULL;
}

static enum wipyd_error invalid(const struct firmware_script *script, unsigned line, const char *what,
                                struct fault *fault) {
    return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID, "%s: op %u: %s", script->name, line, what);
}

/* Fills in area, offset and size from a name or a number; *ret_named tells which it was. */
static enum wipyd_error read_target(const struct firmware_script *script, const char *target,
                                    struct firmware_op *op, struct fault *fault) {
    const char *name = resolve_alias(target);
    const struct firmware_script_area *area = firmware_script_area(script, name);

    if (!strcmp(name, "all"))
        return fault_set(fault, WIPYD_ERROR_SCRIPT_UNKNOWN_OP,
                         "%s: op %u: \"all\" is the whole chip, with data that must be kept", script->name,
                         op->line);
    if (area) {
        strcpy(op->area, area->name);
        op->offset = area->offset;
        op->size = area->size;
        return WIPYD_ERROR_NONE;
    }
    if (!parse_hex(target, &op->offset))
        return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID,
                         "%s: op %u: \"%s\" is neither a partition nor a 32-bit hexadecimal offset",
                         script->name, op->line, target);
    return WIPYD_ERROR_NONE;
}

/* ["e", "nvs"] or ["e", "0x1000", "0x40000"] */
static enum wipyd_error read_erase(const struct firmware_script *script, yajl_val value,
                                   struct firmware_op *op, struct fault *fault) {
    const char *target = value->u.array.len >= 2 ? plain_string(value->u.array.values[1]) : NULL;
    const char *length = value->u.array.len == 3 ? plain_string(value->u.array.values[2]) : NULL;
    enum wipyd_error error;

    if (!target || value->u.array.len > 3)
        return invalid(script, op->line, "an erase takes a partition, or an offset and a length as strings",
                       fault);
    error = read_target(script, target, op, fault);
    if (error)
        return error;
    if (*op->area)
        return value->u.array.len == 2
                   ? WIPYD_ERROR_NONE
                   : invalid(script, op->line, "an erase of a partition takes no length", fault);
    if (!length || !parse_hex(length, &op->size))
        return invalid(script, op->line, "the erase has no 32-bit hexadecimal length", fault);
    if (!op->size)
        return invalid(script, op->line, "the erase has length 0", fault);
    return WIPYD_ERROR_NONE;
}

/* ["w", "factory" or "0x10000", "wipy.bin"] */
static enum wipyd_error read_write(const struct firmware_script *script, yajl_val value,
                                   struct firmware_op *op, struct fault *fault) {
    const char *target = value->u.array.len == 3 ? plain_string(value->u.array.values[1]) : NULL;
    const char *member = value->u.array.len == 3 ? plain_string(value->u.array.values[2]) : NULL;

    if (!target || !member)
        return invalid(script, op->line,
                       "a write takes a partition or an offset, and a file name, as strings", fault);
    strcpy(op->member, member); /* plain, hence short enough */
    return read_target(script, target, op, fault);
}

static enum wipyd_error read_op(struct firmware_script *script, yajl_val value, struct fault *fault) {
    struct firmware_op *op = &script->ops[script->n_ops];
    const char *verb;

    *op = (struct firmware_op) { .line = script->n_ops + 1 };
    script->n_ops++;
    verb = YAJL_IS_ARRAY(value) && value->u.array.len ? plain_string(value->u.array.values[0]) : NULL;
    if (!verb)
        return invalid(script, op->line, "not a list that begins with \"e\" or \"w\"", fault);
    if (!strcmp(verb, "e")) {
        op->verb = FIRMWARE_VERB_ERASE;
        return read_erase(script, value, op, fault);
    }
    if (!strcmp(verb, "w")) {
        op->verb = FIRMWARE_VERB_WRITE;
        return read_write(script, value, op, fault);
    }
    return fault_set(fault, WIPYD_ERROR_SCRIPT_UNKNOWN_OP,
                     "%s: op %u: \"%s\" is not done, only \"e\" and \"w\"", script->name, op->line, verb);
}

static enum wipyd_error read_ops(struct firmware_script *script, yajl_val list, struct fault *fault) {
    if (!YAJL_IS_ARRAY(list))
        return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID, "%s: \"script\" is not a list", script->name);
    if (!list->u.array.len)
        return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID, "%s: no ops in it", script->name);
    if (list->u.array.len > FIRMWARE_SCRIPT_OPS_MAX)
        return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID, "%s: %zu ops are more than %u", script->name,
                         list->u.array.len, FIRMWARE_SCRIPT_OPS_MAX);
    for (size_t i = 0; i < list->u.array.len; i++) {
        enum wipyd_error error = read_op(script, list->u.array.values[i], fault);

        if (error)
            return error;
    }
    return WIPYD_ERROR_NONE;
}

/* "name": ["0x10000", "0x1AE000"], into the table. */
static enum wipyd_error read_area(struct firmware_script *script, const char *key, yajl_val value,
                                  struct fault *fault) {
    const char *name = resolve_alias(key), *texts[2] = { 0 };
    struct firmware_script_area *area = find_area(script, name);
    uint32_t offset, size;

    if (!firmware_name_is_plain(name) || strlen(name) >= FIRMWARE_AREA_NAME_MAX || !strcmp(name, "all"))
        return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID, "%s: a partition has a name that can't be used",
                         script->name);
    if (YAJL_IS_ARRAY(value) && value->u.array.len == 2) {
        texts[0] = plain_string(value->u.array.values[0]);
        texts[1] = plain_string(value->u.array.values[1]);
    }
    if (!texts[0] || !texts[1] || !parse_hex(texts[0], &offset) || !parse_hex(texts[1], &size) || !size)
        return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID,
                         "%s: partition %s is not an offset and a length in hexadecimal strings",
                         script->name, name);
    if (area && area->stated)
        return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID, "%s: partition %s is there twice", script->name,
                         name);
    if (!area) {
        if (script->n_areas == FIRMWARE_SCRIPT_AREAS_MAX)
            return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID, "%s: more than %u partitions", script->name,
                             FIRMWARE_SCRIPT_AREAS_MAX);
        area = &script->areas[script->n_areas++];
    }
    *area = (struct firmware_script_area) { .offset = offset, .size = size, .stated = true };
    strcpy(area->name, name);
    return WIPYD_ERROR_NONE;
}

static enum wipyd_error read_areas(struct firmware_script *script, yajl_val table, struct fault *fault) {
    if (!table)
        return WIPYD_ERROR_NONE;
    if (!YAJL_IS_OBJECT(table))
        return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID, "%s: \"partitions\" is not an object",
                         script->name);
    for (size_t i = 0; i < table->u.object.len; i++) {
        enum wipyd_error error = read_area(script, table->u.object.keys[i], table->u.object.values[i], fault);

        if (error)
            return error;
    }
    return WIPYD_ERROR_NONE;
}

/* The object form. Other keys are passed over, as Pycom's updater does; one of ours twice is refused, because
 * readers disagree which of the two counts. */
static enum wipyd_error read_object(struct firmware_script *script, yajl_val root, struct fault *fault) {
    static const char *const KEYS[] = { "version", "partitions", "script" };
    yajl_val values[sizeof KEYS / sizeof *KEYS] = { 0 };
    enum wipyd_error error;

    for (size_t i = 0; i < root->u.object.len; i++)
        for (size_t k = 0; k < sizeof KEYS / sizeof *KEYS; k++) {
            if (strcmp(root->u.object.keys[i], KEYS[k]) != 0)
                continue;
            if (values[k])
                return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID, "%s: \"%s\" is there twice", script->name,
                                 KEYS[k]);
            values[k] = root->u.object.values[i];
        }
    if (!values[0] || YAJL_IS_NULL(values[0]))
        return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID, "%s: no \"version\" in it", script->name);
    error = read_areas(script, values[1], fault);
    return error ? error : read_ops(script, values[2], fault);
}

enum wipyd_error firmware_script_read(struct firmware_script *ret, const struct firmware_member *member,
                                      struct fault *fault) {
    cleanup(json_deinit) struct json json = { 0 };
    int r;

    *ret = (struct firmware_script) { 0 };
    snprintf(ret->name, sizeof ret->name, "%.15s", member->name);
    memcpy(ret->areas, BUILT_IN, sizeof BUILT_IN);
    ret->n_areas = sizeof BUILT_IN / sizeof *BUILT_IN;

    if (member->size > FIRMWARE_SCRIPT_BYTES_MAX)
        return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID, "%s: %zu bytes are more than %u", ret->name,
                         member->size, FIRMWARE_SCRIPT_BYTES_MAX);
    r = json_read(&json, (const char *)member->bytes, member->size, JSON_ROOM(member->size));
    if (r == -ENOMEM)
        return fault_errno(fault, r, "%s", ret->name);
    if (YAJL_IS_ARRAY(json.root))
        return read_ops(ret, json.root, fault);
    if (YAJL_IS_OBJECT(json.root))
        return read_object(ret, json.root, fault);
    return fault_set(fault, WIPYD_ERROR_SCRIPT_INVALID, "%s: not JSON, or neither a list nor an object",
                     ret->name);
}
