// The NOR flash of one board: a file that always holds the truth (shared mapping), its timing and its
// operations.
//
// Erase sets to FF, program only clears bits, addresses wrap at the chip's size as on the real part. An
// operation that takes time is *begun*, and *ended* when its time is over or when power or reset cuts it
// short: then only the units (sectors, pages) whose time had passed are done.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLASH_SECTOR        0x1000u
#define FLASH_BLOCK         0x10000u
#define FLASH_PAGE          0x100u
#define FLASH_CONFIG_OFFSET 0x3FF000u // Pycom's config block

struct flash_timings {
    uint32_t sector_us;      // erase of 4 KiB
    uint32_t block_us;       // erase of 64 KiB
    uint32_t page_us;        // program of 256 bytes
    uint32_t md5_us_per_kib; // read and digest
};

extern const struct flash_timings flash_timings_typical;

enum flash_op_kind {
    FLASH_OP_NONE,
    FLASH_OP_ERASE,
    FLASH_OP_PROGRAM,
};

struct flash_op {
    enum flash_op_kind kind;
    uint32_t offset; // bytes
    uint32_t len;    // bytes
    uint32_t units;  // sectors (or one block of 64 KiB) or pages
    uint32_t unit_us;
    uint8_t *data; // PROGRAM only, owned
};

struct flash_counters {
    uint64_t sectors_erased;
    uint64_t pages_programmed;
    uint64_t erase_us;
    uint64_t program_us;
    uint64_t md5_us;
};

struct flash {
    int fd;
    uint8_t *mem;
    uint32_t size;     // bytes, a power of two
    uint8_t status1;   // RDSR 05: block protect bits 0x1C
    bool protect_hard; // protect bits that no WRSR clears
    struct flash_timings timings;
    struct flash_op op;
    struct flash_counters counters;
};

// Opens or creates (FF-filled) the file and maps it. A shorter file is extended with FF, a longer one is an
// error. Returns 0 or a negative errno.
int flash_open(struct flash *f, const char *path, uint32_t size);
void flash_close(struct flash *f);

bool flash_is_protected(const struct flash *f);

// Begin an erase of all sectors that [offset, offset + len) touches. Returns the time it takes, in us.
uint64_t flash_begin_erase(struct flash *f, uint32_t offset, uint32_t len);

// The same by the fastest commands that fit, blocks of 64 KiB where they are aligned: a stub's ERASE_REGION.
uint64_t flash_begin_erase_fast(struct flash *f, uint32_t offset, uint32_t len);

// How many units of `unit` bytes the range touches.
uint32_t flash_units(uint32_t offset, uint32_t len, uint32_t unit);

// Begins `op`, whose fields are all set; its data is taken over.
void flash_begin(struct flash *f, struct flash_op op);

// Begin to program `len` bytes (taken over, freed here). Returns the time it takes, in us.
uint64_t flash_begin_program(struct flash *f, uint32_t offset, uint8_t *data, uint32_t len);

// Ends what was begun; `elapsed_us` < 0 means that all its time has passed. The range stays readable in f->op
// until the next begin, for fault injection.
void flash_end(struct flash *f, int64_t elapsed_us);

void flash_read(const struct flash *f, uint32_t offset, void *out, uint32_t len);

// MD5 of [offset, offset + len) to out[16]. Returns the time it takes, in us.
uint64_t flash_md5(struct flash *f, uint32_t offset, uint32_t len, uint8_t *out);

// Changes one byte whatever the rules of NOR flash say: fault injection.
void flash_poke(struct flash *f, uint32_t offset, uint8_t xor_mask);

// Replaces [offset, offset + len) as an erase and a program would: for the simulated second-stage bootloader.
void flash_rewrite(struct flash *f, uint32_t offset, const void *data, uint32_t len);
