#pragma once

/*
 * The stub's file: found on the system, read once for all boards. Looked for in our data folder, then where
 * esptool is installed for everybody; or only where the configuration says.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/esp/stub.h"

/* As much as any such file has, and more. */
#define FIRMWARE_STUB_FILE_MAX 65536u

struct firmware_stub {
    const struct esp_stub *kind;          /* static; with sizes and addresses */
    uint8_t *segments[ESP_STUB_SEGMENTS]; /* the bytes; owned */
};

/* Reads a file as esptool has it: JSON with entry, text, text_start, data, data_start, bss_start (facts 7).
 * False: why has the reason ("is not JSON", "holds a stub that is not known: ..."). ret is to be freed with
 * firmware_stub_deinit in either case. Blocking. */
must_check bool firmware_stub_read(struct firmware_stub *ret, const char *path, char *why, size_t size);
void firmware_stub_deinit(struct firmware_stub *stub);

struct firmware_stubs;

/* setting: "auto", "off", or the only file to be read; copied. places: glob patterns that end with NULL, the
 * best one first, borrowed; or NULL for the usual ones. -ENOMEM. */
must_check int firmware_stubs_new(struct firmware_stubs **ret, const char *setting,
                                  const char *const *places);
/* Takes NULL. Nobody may use its stub any more. */
struct firmware_stubs *firmware_stubs_free(struct firmware_stubs *stubs);
/* The stub to run, or NULL. The first call that finds one reads it; a file put there later is found by a
 * later call. Blocking, from any thread. The stub stays until firmware_stubs_free. */
const struct firmware_stub *firmware_stubs_find(struct firmware_stubs *stubs);
/* What a person should be told of the search and wasn't yet, in one line; false: nothing. is_grave: a file
 * was refused. From any thread. */
bool firmware_stubs_news(struct firmware_stubs *stubs, char *ret, size_t size, bool *ret_is_grave);
