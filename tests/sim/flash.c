#include "tests/sim/flash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// Datasheet class of 32 to 64 Mbit parts: esp32-serial-protocol.md section 8.
const struct flash_timings flash_timings_typical = {
    .sector_us = 45000,
    .block_us = 150000,
    .page_us = 600,
    .md5_us_per_kib = 400,
};

int flash_open(struct flash *f, const char *path, uint32_t size) {
    struct stat st;

    *f = (struct flash) { .fd = -1, .size = size, .timings = flash_timings_typical };
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (f->fd < 0 || fstat(f->fd, &st) < 0)
        return -errno;
    if (st.st_size > (off_t)size)
        return -EFBIG;
    if (ftruncate(f->fd, (off_t)size) < 0)
        return -errno;
    void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
    if (mem == MAP_FAILED)
        return -errno;
    f->mem = mem;
    memset(f->mem + st.st_size, 0xFF, size - (size_t)st.st_size);
    return 0;
}

void flash_close(struct flash *f) {
    free(f->op.data);
    f->op.data = NULL;
    if (f->mem)
        munmap(f->mem, f->size);
    f->mem = NULL;
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

bool flash_is_protected(const struct flash *f) {
    return f->protect_hard || (f->status1 & 0x1C) != 0;
}

void flash_begin(struct flash *f, struct flash_op op) {
    free(f->op.data);
    f->op = op;
}

uint32_t flash_units(uint32_t offset, uint32_t len, uint32_t unit) {
    if (len == 0)
        return 0;
    return (offset + len - 1) / unit - offset / unit + 1;
}

uint64_t flash_begin_erase(struct flash *f, uint32_t offset, uint32_t len) {
    flash_begin(f, (struct flash_op) { .kind = FLASH_OP_ERASE,
                                       .offset = offset,
                                       .len = len,
                                       .units = flash_units(offset, len, FLASH_SECTOR),
                                       .unit_us = f->timings.sector_us });
    return (uint64_t)f->op.units * f->op.unit_us;
}

uint64_t flash_begin_erase_fast(struct flash *f, uint32_t offset, uint32_t len) {
    uint32_t sectors = flash_units(offset, len, FLASH_SECTOR);
    uint64_t us = 0;

    for (uint32_t at = offset / FLASH_SECTOR * FLASH_SECTOR; at < offset + len;) {
        bool block = at % FLASH_BLOCK == 0 && offset + len - at >= FLASH_BLOCK;
        us += block ? f->timings.block_us : f->timings.sector_us;
        at += block ? FLASH_BLOCK : FLASH_SECTOR;
    }
    flash_begin(f, (struct flash_op) { .kind = FLASH_OP_ERASE,
                                       .offset = offset,
                                       .len = len,
                                       .units = sectors,
                                       .unit_us = sectors ? (uint32_t)(us / sectors) : 0 });
    return us;
}

uint64_t flash_begin_program(struct flash *f, uint32_t offset, uint8_t *data, uint32_t len) {
    flash_begin(f, (struct flash_op) { .kind = FLASH_OP_PROGRAM,
                                       .offset = offset,
                                       .len = len,
                                       .units = flash_units(offset, len, FLASH_PAGE),
                                       .unit_us = f->timings.page_us,
                                       .data = data });
    return (uint64_t)f->op.units * f->op.unit_us;
}

static void erase_sectors(struct flash *f, uint32_t offset, uint32_t n) {
    uint32_t first = offset / FLASH_SECTOR * FLASH_SECTOR;
    bool block = f->op.units == 1 && f->op.len == FLASH_BLOCK;
    uint32_t sectors = block ? n * (FLASH_BLOCK / FLASH_SECTOR) : n;

    f->counters.sectors_erased += sectors;
    f->counters.erase_us += (uint64_t)n * f->op.unit_us;
    if (flash_is_protected(f))
        return;
    for (uint32_t i = 0; i < sectors; i++)
        memset(f->mem + ((first + i * FLASH_SECTOR) & (f->size - 1)), 0xFF, FLASH_SECTOR);
}

static void program_pages(struct flash *f, const struct flash_op *op, uint32_t n) {
    uint32_t first_page_end = (op->offset / FLASH_PAGE + n) * FLASH_PAGE;
    uint32_t len = n == op->units ? op->len : first_page_end - op->offset;

    f->counters.pages_programmed += n;
    f->counters.program_us += (uint64_t)n * op->unit_us;
    if (flash_is_protected(f) || n == 0)
        return;
    for (uint32_t i = 0; i < len; i++)
        f->mem[(op->offset + i) & (f->size - 1)] &= op->data[i];
}

void flash_end(struct flash *f, int64_t elapsed_us) {
    struct flash_op *op = &f->op;
    uint32_t n = op->units;

    if (elapsed_us >= 0 && op->unit_us > 0 && (uint64_t)elapsed_us / op->unit_us < n)
        n = (uint32_t)((uint64_t)elapsed_us / op->unit_us);
    switch (op->kind) {
    case FLASH_OP_NONE:
        return;
    case FLASH_OP_ERASE:
        erase_sectors(f, op->offset, n);
        break;
    case FLASH_OP_PROGRAM:
        program_pages(f, op, n);
        break;
    }
    op->kind = FLASH_OP_NONE;
    free(op->data);
    op->data = NULL;
}

void flash_read(const struct flash *f, uint32_t offset, void *out, uint32_t len) {
    uint8_t *to = out;

    for (uint32_t i = 0; i < len; i++)
        to[i] = f->mem[(offset + i) & (f->size - 1)];
}

uint64_t flash_md5(struct flash *f, uint32_t offset, uint32_t len, uint8_t *out) {
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint64_t us = ((uint64_t)len * f->timings.md5_us_per_kib) / 1024;

    if (!md || EVP_DigestInit_ex(md, EVP_md5(), NULL) != 1)
        abort();
    for (uint32_t done = 0; done < len;) {
        uint32_t at = (offset + done) & (f->size - 1);
        uint32_t n = len - done < f->size - at ? len - done : f->size - at;
        EVP_DigestUpdate(md, f->mem + at, n);
        done += n;
    }
    EVP_DigestFinal_ex(md, out, NULL);
    EVP_MD_CTX_free(md);
    f->counters.md5_us += us;
    return us;
}

void flash_poke(struct flash *f, uint32_t offset, uint8_t xor_mask) {
    f->mem[offset & (f->size - 1)] ^= xor_mask;
}

void flash_rewrite(struct flash *f, uint32_t offset, const void *data, uint32_t len) {
    const uint8_t *from = data;

    if (flash_is_protected(f))
        return;
    memset(f->mem + ((offset / FLASH_SECTOR * FLASH_SECTOR) & (f->size - 1)), 0xFF, FLASH_SECTOR);
    for (uint32_t i = 0; i < len; i++)
        f->mem[(offset + i) & (f->size - 1)] = from[i];
}
