/* The loaders there are: a row each, and what their errors mean. */

#include "daemon/esp/codec.h"

const struct esp_loader esp_loader_rom = {
    .name = "ROM",
    .word = "rom",
    .block_bytes = 0x1800,
    .block_bytes_small = 0x400,
    .status_bytes = 4,
    .attach_bytes = 8,
    .formats = ESP_FORMAT_ZLIB,
    .late_errors = ESP_LATE_NONE,
    .begin_erases = true,
    .baud_max = 921600,
    .baud_from_crystal = true,
};

const struct esp_loader esp_loader_stub = {
    .name = "stub",
    .word = "stub v1.2.2",
    .block_bytes = 0x4000,
    .block_bytes_small = 0x4000,
    .status_bytes = 2,
    .attach_bytes = 4,
    .formats = ESP_FORMAT_ZLIB,
    .late_errors = ESP_LATE_ANYWHERE,
    .is_stub = true,
    .status_is_error = true,
    .md5_is_raw = true,
    .has_end = true,
    .has_erase_region = true,
    .skips_blank = true,
    .has_read_flash = true,
};

const struct esp_loader esp_loader_stub_legacy = {
    .name = "legacy stub",
    .word = "legacy stub v1.11.1",
    .block_bytes = 0x4000,
    .block_bytes_small = 0x4000,
    .status_bytes = 2,
    .attach_bytes = 4,
    .formats = ESP_FORMAT_ZLIB,
    .late_errors = ESP_LATE_IN_TRANSFER,
    .is_stub = true,
    .status_is_error = true,
    .md5_is_raw = true,
    .baud_wants_old = true,
    .has_end = true,
    .has_erase_region = true,
    .has_read_flash = true,
    .keeps_inflating = true,
};

const struct esp_loader esp_loader_stub_unknown = {
    .name = "stub",
    .word = "stub of unknown version",
    .block_bytes = 0x4000,
    .block_bytes_small = 0x4000,
    .status_bytes = 2,
    .attach_bytes = 4,
    .formats = ESP_FORMAT_ZLIB,
    .late_errors = ESP_LATE_ANYWHERE,
    .is_stub = true,
    .status_is_error = true,
    .md5_is_raw = true,
    .baud_wants_old = true,
    .has_end = true,
    .has_erase_region = true,
    .has_read_flash = true,
    .keeps_inflating = true,
};

/* ---- errors ---------------------------------------------------------------------------------- */

static const char *const rom_errors[] = {
    [0x00] = "undefined error",      [0x01] = "bad parameter",
    [0x02] = "out of memory",        [0x03] = "could not send",
    [0x04] = "could not receive",    [0x05] = "message malformed or command unknown",
    [0x06] = "operation failed",     [0x07] = "checksum wrong",
    [0x08] = "readback wrong",       [0x09] = "flash read failed",
    [0x0a] = "read length wrong",    [0x0b] = "inflate failed",
    [0x0c] = "adler32 wrong",        [0x0d] = "bad inflate parameter",
    [0x0e] = "RAM image size bad",   [0x0f] = "RAM image address bad",
    [0x64] = "invalid parameter",    [0x65] = "invalid format",
    [0x66] = "description too long", [0x67] = "badly encoded description",
    [0x69] = "out of storage",
};

static const char *const stub_errors[] = {
    [0x00] = "operation failed",        [0x32] = "address unaligned", [0x33] = "length unaligned",
    [0x34] = "unlocking failed",        [0x35] = "erasing failed",    [0x36] = "erasing failed",
    [0x37] = "erasing failed",          [0x63] = "flash read failed", [0xc0] = "data length wrong",
    [0xc1] = "checksum wrong",          [0xc2] = "block too big",     [0xc3] = "command unknown",
    [0xc4] = "flash operation failed",  [0xc5] = "unlocking failed",  [0xc6] = "no write under way",
    [0xc7] = "inflate failed",          [0xc8] = "too little data",   [0xc9] = "too much data",
    [0xff] = "command not implemented",
};

const char *esp_error_text(const struct esp_loader *loader, uint8_t error) {
    const char *const *texts = loader->is_stub ? stub_errors : rom_errors;
    size_t n =
        loader->is_stub ? sizeof stub_errors / sizeof *stub_errors : sizeof rom_errors / sizeof *rom_errors;

    if (error >= n || !texts[error])
        return "unknown error";
    return texts[error];
}

bool esp_error_is_of_stream(const struct esp_loader *loader, uint8_t error) {
    if (!loader->is_stub)
        return error == 0x0b || error == 0x0c;
    return error == 0xc0 || (error >= 0xc7 && error <= 0xc9);
}
