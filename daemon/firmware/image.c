#include "daemon/firmware/image.h"

#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

#include "daemon/base/bytes.h"

#define HEADER_BYTES         24u
#define SEGMENT_HEADER_BYTES 8u
#define SEGMENTS_MAX         16u /* what the ROM and ESP-IDF's bootloader accept */
#define SHA256_BYTES         32u
#define MD5_DIGITS           32u

enum header_byte {
    HEADER_MAGIC = 0,
    HEADER_SEGMENTS = 1,
    HEADER_MODE = 2,
    HEADER_SIZE_AND_CLOCK = 3,
    HEADER_CHIP_ID = 12, /* u16 */
    HEADER_HASHED = 23,
};

#define MAGIC         0xe9
#define CHIP_ID_ESP32 0
#define MODE_DIO      2
#define CLOCK_80M     0xf
#define CHECKSUM_SEED 0xef

/* Where things end, counted from the image's first byte. */
struct extent {
    size_t checksum; /* of the checksum byte, the last of a 16-byte line */
    size_t end;      /* after the SHA-256, or after the checksum where there is none */
};

/* Walks the segments. bytes has at least a header. False: they go past the end. */
static bool find_extent(const uint8_t *bytes, size_t size, struct extent *ret, uint8_t *ret_checksum) {
    size_t offset = HEADER_BYTES;
    uint8_t checksum = CHECKSUM_SEED;

    for (unsigned i = 0; i < bytes[HEADER_SEGMENTS]; i++) {
        if (size - offset < SEGMENT_HEADER_BYTES)
            return false;

        uint32_t length = get_le32(bytes + offset + 4);

        offset += SEGMENT_HEADER_BYTES;
        if (length > size - offset || length % 4)
            return false;
        for (size_t end = offset + length; offset < end; offset++)
            checksum ^= bytes[offset];
    }
    ret->checksum = offset | 15;
    ret->end = ret->checksum + 1 + (bytes[HEADER_HASHED] ? SHA256_BYTES : 0);
    *ret_checksum = checksum;
    return ret->end <= size;
}

static bool is_hex_digit(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* What may follow an image: nothing, 32 hex digits, FF padding, or digits and padding. */
static bool trailer_is_known(const uint8_t *bytes, size_t size) {
    size_t digits = 0;

    while (digits < size && digits < MD5_DIGITS && is_hex_digit(bytes[digits]))
        digits++;
    if (digits && digits != MD5_DIGITS)
        return false;
    for (size_t i = digits; i < size; i++)
        if (bytes[i] != 0xff)
            return false;
    return true;
}

enum wipyd_error firmware_image_check(const uint8_t *bytes, size_t size, const char *name,
                                      struct fault *fault) {
    struct extent extent;
    uint8_t checksum;

    if (size < HEADER_BYTES)
        return fault_set(fault, WIPYD_ERROR_IMAGE_CORRUPT, "%s: 0x%zx bytes are too few for an ESP32 image",
                         name, size);
    if (bytes[HEADER_MAGIC] != MAGIC)
        return fault_set(fault, WIPYD_ERROR_IMAGE_CORRUPT,
                         "%s: not an ESP32 image: it begins with 0x%02x, not 0x%02x", name,
                         bytes[HEADER_MAGIC], MAGIC);
    if (!bytes[HEADER_SEGMENTS] || bytes[HEADER_SEGMENTS] > SEGMENTS_MAX)
        return fault_set(fault, WIPYD_ERROR_IMAGE_CORRUPT, "%s: the image claims %u segments", name,
                         bytes[HEADER_SEGMENTS]);
    if (get_le16(bytes + HEADER_CHIP_ID) != CHIP_ID_ESP32)
        return fault_set(fault, WIPYD_ERROR_IMAGE_CORRUPT, "%s: the image is for chip id %u, not the ESP32",
                         name, get_le16(bytes + HEADER_CHIP_ID));
    if (bytes[HEADER_HASHED] > 1)
        return fault_set(fault, WIPYD_ERROR_IMAGE_CORRUPT, "%s: the image's hash flag is %u, not 0 or 1",
                         name, bytes[HEADER_HASHED]);
    if (!find_extent(bytes, size, &extent, &checksum))
        return fault_set(fault, WIPYD_ERROR_IMAGE_CORRUPT, "%s: the image's segments go past its 0x%zx bytes",
                         name, size);
    if (bytes[extent.checksum] != checksum)
        return fault_set(fault, WIPYD_ERROR_IMAGE_CORRUPT, "%s: the image's checksum is 0x%02x, not 0x%02x",
                         name, checksum, bytes[extent.checksum]);
    if (bytes[HEADER_HASHED]) {
        uint8_t sha256[EVP_MAX_MD_SIZE];

        if (EVP_Digest(bytes, extent.end - SHA256_BYTES, sha256, NULL, EVP_sha256(), NULL) != 1)
            return fault_set(fault, WIPYD_ERROR_SYSTEM, "%s: SHA-256 can't be computed", name);
        if (memcmp(sha256, bytes + extent.end - SHA256_BYTES, SHA256_BYTES) != 0)
            return fault_set(fault, WIPYD_ERROR_IMAGE_CORRUPT, "%s: the image's SHA-256 is wrong", name);
    }
    if (!trailer_is_known(bytes + extent.end, size - extent.end))
        return fault_set(fault, WIPYD_ERROR_IMAGE_CORRUPT, "%s: 0x%zx unknown bytes follow the image", name,
                         size - extent.end);
    return WIPYD_ERROR_NONE;
}

bool firmware_image_patch(uint8_t *bytes, size_t size, uint32_t flash_bytes) {
    struct extent extent;
    uint8_t checksum;
    unsigned nibble = 0;

    while (nibble < 4 && 0x100000u << nibble < flash_bytes)
        nibble++;
    bytes[HEADER_MODE] = MODE_DIO;
    bytes[HEADER_SIZE_AND_CLOCK] = (uint8_t)(nibble << 4 | CLOCK_80M);
    return !bytes[HEADER_HASHED] || !find_extent(bytes, size, &extent, &checksum) ||
           EVP_Digest(bytes, extent.end - SHA256_BYTES, bytes + extent.end - SHA256_BYTES, NULL, EVP_sha256(),
                      NULL) == 1;
}
