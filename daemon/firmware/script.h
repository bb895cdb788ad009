#pragma once

/*
 * A package's flashing script, as it is written: what it says, not yet whether that may be done (that is
 * layout.h). Two forms (facts/pycom.md 2.2): a list of ops, or an object with "version", "partitions" and
 * "script".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/base/fault.h"
#include "daemon/firmware/archive.h"

#define FIRMWARE_SCRIPT_BYTES_MAX (64u * 1024u)
#define FIRMWARE_SCRIPT_OPS_MAX   128u
#define FIRMWARE_SCRIPT_AREAS_MAX 32u
#define FIRMWARE_AREA_NAME_MAX    32u

/* A named stretch of flash: out of Pycom's built-in table, or stated by the script's own "partitions". */
struct firmware_script_area {
    char name[FIRMWARE_AREA_NAME_MAX];
    uint32_t offset, size;
    bool stated;
};

enum firmware_verb { FIRMWARE_VERB_ERASE, FIRMWARE_VERB_WRITE };

struct firmware_op {
    enum firmware_verb verb;
    unsigned line; /* its place in the script, counted from 1, for stories */
    char
        area[FIRMWARE_AREA_NAME_MAX]; /* the name it uses, aliases resolved; empty where it gives an offset */
    uint32_t offset;
    uint32_t size; /* erase: its length. Write: the area's size, or 0 where there is none */
    char member[FIRMWARE_MEMBER_NAME_MAX]; /* write only */
};

struct firmware_script {
    char name[16]; /* "script_4MB" */
    struct firmware_script_area areas[FIRMWARE_SCRIPT_AREAS_MAX];
    unsigned n_areas;
    struct firmware_op ops[FIRMWARE_SCRIPT_OPS_MAX];
    unsigned n_ops;
};

/* Reads a script out of member, whose name the stories use. SCRIPT_INVALID: not JSON, or of another shape;
 * empty; a name or number that can't be understood. SCRIPT_UNKNOWN_OP: an op other than "e" and "w" ("o" is
 * the one that replaces the config block), or one on "all". */
must_check enum wipyd_error firmware_script_read(struct firmware_script *ret,
                                                 const struct firmware_member *member, struct fault *fault);
/* The area of that name, or NULL. Borrowed from script. */
const struct firmware_script_area *firmware_script_area(const struct firmware_script *script,
                                                        const char *name);
