/*
 * A whole package. The input's first byte says what is put right before it is read, because a mutation hardly
 * ever meets a checksum: the gzip around the archive, the headers in it, the images and tables. Nothing put
 * right: the bytes are the file as it comes.
 */

#include <dlfcn.h>
#include <libdeflate.h>

#include "daemon/base/resident.h"
#include "daemon/firmware/pieces.h"
#include "tests/fuzz/image.h"
#include "tests/fuzz/package.h"

enum { PACK = 1, HEADERS = 2, CONTENTS = 4, BYTES_MAX = 256 * 1024, BLOCK = 512 };

/* Not what is looked for here, and most of the time: the pages that are given back, the last percent of
 * compression. */
void resident_trim(void) {
}

struct libdeflate_compressor *libdeflate_alloc_compressor(int level) {
    static struct libdeflate_compressor *(*real)(int);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "libdeflate_alloc_compressor");
    return real(level > 1 ? 1 : level);
}

/* The sum over a header, its own field taken for blanks. */
static void mend_header(uint8_t *header) {
    unsigned sum = 0;

    memset(header + 148, ' ', 8);
    for (size_t i = 0; i < BLOCK; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum & 0777777u);
}

static void mend_archive(uint8_t *bytes, size_t size, bool contents) {
    for (size_t at = 0; at + BLOCK <= size && bytes[at];) {
        char octal[13] = "";
        size_t length;

        memcpy(octal, bytes + at + 124, 12);
        length = strtoul(octal, NULL, 8);
        mend_header(bytes + at);
        at += BLOCK;
        if (length > size - at)
            return;
        if (contents && length) {
            mend_image(bytes + at, length);
            mend_table(bytes + at, length);
        }
        at += (length + BLOCK - 1) / BLOCK * BLOCK;
    }
}

static void check_piece(const struct firmware_region *region, const struct firmware_piece *piece) {
    volatile uint8_t sum = 0;

    must(piece->offset >= region->offset && piece->offset + piece->size <= region->offset + region->size);
    must(piece->offset / FIRMWARE_PIECE_BYTES == (piece->offset + piece->size - 1) / FIRMWARE_PIECE_BYTES);
    must((piece->stream != NULL) == (region->kind == FIRMWARE_WRITE));
    if (!piece->stream)
        return;
    must(piece->stream_size > 0 && piece->stream_size <= piece->size);
    for (uint32_t i = 0; i < piece->stream_size; i++)
        sum = (uint8_t)(sum + piece->stream[i]);
    if (piece->deflated) {
        static uint8_t out[FIRMWARE_PIECE_BYTES];
        uint8_t md5[16];

        must(firmware_piece_inflate(piece, out));
        must(EVP_Digest(out, piece->size, md5, NULL, EVP_md5(), NULL) == 1);
        must(!memcmp(md5, piece->md5, sizeof md5));
    }
}

static void check_layout(const struct firmware_layout *layout) {
    bool writes = false;

    if (layout->fault.code) {
        must_be_story(layout->fault.story, sizeof layout->fault.story);
        return;
    }
    must(layout->n_regions > 0);
    for (unsigned i = 0; i < layout->n_regions; i++) {
        const struct firmware_region *region = &layout->regions[i];
        uint32_t next = region->offset;

        must_be_allowed(region->offset, region->size, layout->flash_bytes);
        must(is_printable_ascii(region->name));
        must(region->kind == FIRMWARE_WRITE || !writes); /* all erases come first */
        writes |= region->kind == FIRMWARE_WRITE;
        for (unsigned k = 0; k < i; k++)
            must(!meets(region->offset, region->size, layout->regions[k].offset, layout->regions[k].size));
        for (unsigned k = 0; k < region->n_pieces; k++) {
            must(region->pieces[k].offset == next); /* without a gap */
            check_piece(region, &region->pieces[k]);
            next += region->pieces[k].size;
        }
        must(next == region->offset + region->size);
    }
    must(writes);
}

static void check_package(const void *bytes, size_t size) {
    struct firmware_package *package = NULL;
    struct fault fault;
    bool usable = false;

    fault.code = WIPYD_ERROR_NONE;
    if (firmware_package_read(&package, bytes, size, "a package", &fault)) {
        must(!package && fault.code != WIPYD_ERROR_NONE);
        must_be_story(fault.story, sizeof fault.story);
        return;
    }
    must(package->bytes == size && *package->version.board && *package->version.release);
    for (unsigned i = 0; i < FIRMWARE_LAYOUTS; i++) {
        usable |= !package->layouts[i].fault.code;
        check_layout(&package->layouts[i]);
    }
    must(usable);
    must(!firmware_package_unref(package));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static struct libdeflate_compressor *compressor;
    size_t room, n;
    uint8_t *copy, *packed;
    uint8_t how;

    if (size < 2 || size > BYTES_MAX)
        return 0;
    how = *bytes++;
    size--;
    if (!(how & PACK)) {
        check_package(bytes, size);
        return 0;
    }
    if (!compressor)
        compressor = libdeflate_alloc_compressor(1);
    must(compressor);
    room = libdeflate_gzip_compress_bound(compressor, size);
    copy = malloc(size);
    packed = malloc(room);
    must(copy && packed);
    memcpy(copy, bytes, size);
    if (how & HEADERS)
        mend_archive(copy, size, how & CONTENTS);
    n = libdeflate_gzip_compress(compressor, copy, size, packed, room);
    must(n > 0);
    check_package(packed, n);
    free(packed);
    free(copy);
    return 0;
}
