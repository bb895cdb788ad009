#pragma once

/*
 * A firmware package, read, checked and made ready for the wire: once for all boards, in the thread pool.
 * For each flash size that Pycom boards have there is a layout: the regions to erase and to write, in order,
 * cut into pieces that are compared, sent and verified one by one. A package is immutable once read, and
 * shared by reference.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/base/fault.h"
#include "daemon/firmware/version.h"

/* A piece never crosses a multiple of this: a flash chip erases 64 KiB blocks at a third of the price of
 * their sectors, and it is what a broken transfer costs. */
#define FIRMWARE_PIECE_BYTES  0x10000u
#define FIRMWARE_SECTOR_BYTES 0x1000u

/* The config block, at the same place on all boards (facts/pycom.md 0.1): never touched. */
#define FIRMWARE_CONFIG_OFFSET 0x3ff000u
#define FIRMWARE_CONFIG_BYTES  0x1000u

enum firmware_region_kind { FIRMWARE_ERASE, FIRMWARE_WRITE };

struct firmware_piece {
    uint32_t offset;      /* on flash, a multiple of 4096 */
    uint32_t size;        /* bytes on flash, a multiple of 4096: the image's end is padded with FF */
    uint8_t md5[16];      /* of what the flash must hold there */
    uint8_t head_md5[16]; /* of its first sector: where that differs, the rest needs no look */
    /* What is sent: deflate blocks that refer to nothing before the piece, none of which is the last and
     * which end with a byte, or the bytes themselves; NULL where erased. The streams of pieces that touch lie
     * one behind the other, so that those of any run of pieces, between FIRMWARE_ZLIB_LEAD and the end that
     * firmware_zlib_tail makes, are one zlib stream. */
    const uint8_t *stream;
    uint32_t stream_size;
    uint32_t adler; /* of what the stream stands for, if deflated */
    uint32_t
        window_end; /* bytes of the stream until FIRMWARE_WINDOW_BYTES have come out; 0: it has no more */
    bool deflated;
};

/* Inflated data go to flash by so many bytes at a time (facts 2). */
#define FIRMWARE_WINDOW_BYTES 0x8000u

#define FIRMWARE_ZLIB_LEAD       "\x78\xda" /* RFC 1950: window 32 KiB, strongest */
#define FIRMWARE_ZLIB_LEAD_BYTES 2u
#define FIRMWARE_ZLIB_TAIL_BYTES 6u

struct firmware_region {
    enum firmware_region_kind kind;
    char name[32]; /* "wipy.bin"; of an erase the area: "nvs", "otadata", "ota_0", or its offset in hex */
    uint32_t offset, size;
    uint8_t md5[16]; /* of what the flash must hold there */
    const struct firmware_piece *pieces;
    unsigned n_pieces;
};

struct firmware_area {
    uint32_t offset, size; /* size 0: there is none */
};

struct firmware_layout {
    uint32_t flash_bytes;
    struct fault fault; /* code NONE: usable; else why not */
    char script[16];    /* which script decided: "script_4MB", "script2", "script" */
    const struct firmware_region
        *regions; /* all erases, then all writes in the script's order; no two overlap */
    unsigned n_regions;
    struct firmware_area nvs, otadata, factory; /* by the package's own partition table */
};

#define FIRMWARE_LAYOUTS 2

struct firmware_package {
    unsigned n_refs;
    char *name;                                       /* what the caller calls it */
    uint8_t sha256[32];                               /* of the file */
    uint64_t bytes;                                   /* of the file */
    struct firmware_version version;                  /* out of the application image */
    struct firmware_layout layouts[FIRMWARE_LAYOUTS]; /* 4 MB, 8 MB */
};

/*
 * Reads a .tar.gz (bytes borrowed during the call) of at most WIPYD_PACKAGE_BYTES_MAX. Blocking and heavy:
 * call it from the thread pool. Caps: 32 members, 8 MB each, 16 MB in all, regular files with flat names only
 * (facts/pycom.md 2.1). Rules of selection and of the script: facts/pycom.md 2.2 to 2.4 and DESIGN.md; a
 * script that is there but can't be read is refused, not passed over. Where factory is written its otadata
 * sector is erased too. A fault in the package as a whole is returned; one that concerns a single flash size
 * is in that layout, and only when no layout is usable is it returned.
 */
must_check enum wipyd_error firmware_package_read(struct firmware_package **ret, const void *bytes,
                                                  size_t size, const char *name, struct fault *fault);
/* The layout for that flash size, usable or not; NULL when Pycom boards have no such size. */
const struct firmware_layout *firmware_package_layout(const struct firmware_package *package,
                                                      uint32_t flash_bytes);
/* References are counted on the loop's thread only. unref takes NULL and gives NULL. */
struct firmware_package *firmware_package_ref(struct firmware_package *package);
struct firmware_package *firmware_package_unref(struct firmware_package *package);
