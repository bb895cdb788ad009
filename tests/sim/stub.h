// The two stubs that Espressif's tools upload, as loaders: the new line (v1.2.2) and the legacy one
// (v1.11.1). What they share is shared; where they differ, a handler asks `stub_is_new`. Rules:
// esp32-serial-protocol.md, sections 1, 2 and 7.
#pragma once

#include "tests/sim/loader.h"

#include <openssl/evp.h>

#define STUB_BLOCK_MAX  0x4000u
#define STUB_WINDOW     0x8000u // inflated bytes go to flash by so many
#define STUB_PACKET_MAX 4096u   // of READ_FLASH

// FLASH_BEGIN to FLASH_END, or the same compressed.
struct stub_write {
    bool open;
    uint32_t remaining; // bytes to be written
    uint32_t offset;    // of the next byte in flash
    uint32_t packed;    // compressed bytes that may still come
    uint32_t erase_at;  // next sector to erase
    uint32_t erase_left;
    bool dirty_seen; // new line: a sector that wasn't blank, from here on all are erased
    bool erase_runs; // while planning: the last step is an erase that nothing waits for
    bool z_open;
    z_stream z; // raw deflate; the zlib wrapper is looked at by hand, as the stubs don't always do it
    unsigned header_len, trailer_len;
    uint8_t trailer[4];
    uint32_t adler;
    bool z_ended;
    uint8_t window[STUB_WINDOW];
    uint32_t window_len;
};

struct stub_read {
    bool on;
    uint32_t offset, size; // bytes
    uint32_t packet;
    uint32_t sent;
    uint32_t acked;
    EVP_MD_CTX *md5;
    uint8_t out[STUB_PACKET_MAX];
};

struct stub_state {
    uint8_t late; // error of what went on after a reply; 0 = none
    struct stub_write write;
    uint32_t ram_at, ram_left; // MEM_BEGIN
    bool ram_open;
    struct stub_read read;
};

extern const struct loader loader_stub_new, loader_stub_legacy;

bool stub_is_new(const struct board *b);
void stub_start(struct board *b);
void stub_stop(struct board *b);

// ---- stub_write.c
// ---------------------------------------------------------------------------------------------------

void stub_flash_begin(struct board *b, const struct request *q, struct outcome *out);
void stub_flash_data(struct board *b, const struct request *q, struct outcome *out);
void stub_flash_end(struct board *b, const struct request *q, struct outcome *out);
void stub_write_stop(struct stub_write *w);

// ---- stub_read.c
// ----------------------------------------------------------------------------------------------------

void stub_read_flash(struct board *b, const struct request *q, struct outcome *out);
// A frame that comes while READ_FLASH runs: an acknowledgement, whatever it looks like.
void stub_read_on_frame(struct board *b, const uint8_t *frame, size_t len, struct outcome *out);
void stub_read_stop(struct stub_read *r);
