#pragma once

/*
 * JSON as yajl's tree. yajl_tree_parse() writes through NULL where there is no memory, and gives back a tree
 * that only recursion can free; here yajl's parser and the tree live in one block, and go with it.
 */

#include <stddef.h>
#include <yajl/yajl_tree.h>

#include "daemon/base/clean.h"

struct json {
    yajl_val root; /* for YAJL_IS_*, YAJL_GET_* and yajl_tree_get(); NULL: nothing was read */
    void *room;
};

/* Plenty for each byte of any text of a sane shape; only pages that are written to cost memory. */
#define JSON_ROOM(text_bytes) (32u * 1024 + 64u * (text_bytes))

/*
 * Reads the one value that text holds, size bytes; ret is to be json_deinit'ed in any case.
 * room_bytes bounds the memory: JSON_ROOM(size).
 * -EBADMSG: it is not JSON, has a NUL in it, or a shape that takes more than the room. -ENOMEM.
 */
must_check int json_read(struct json *ret, const char *text, size_t size, size_t room_bytes);
void json_deinit(struct json *json);
