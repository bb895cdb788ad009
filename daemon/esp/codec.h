#pragma once

/*
 * Commands and replies of the ESP32 loader. Pure: no fd, no clock.
 * Sources: facts/esp32-serial-protocol.md 1 and 2; rom-transcripts/ for what the mask ROM really answers.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum esp_opcode {
    ESP_FLASH_BEGIN = 0x02,
    ESP_FLASH_DATA = 0x03,
    ESP_SYNC = 0x08,
    ESP_WRITE_REG = 0x09,
    ESP_READ_REG = 0x0a,
    ESP_SPI_SET_PARAMS = 0x0b,
    ESP_SPI_ATTACH = 0x0d,
    ESP_READ_FLASH_SLOW = 0x0e,
    ESP_CHANGE_BAUDRATE = 0x0f,
    ESP_DEFL_BEGIN = 0x10,
    ESP_DEFL_DATA = 0x11,
    ESP_SPI_FLASH_MD5 = 0x13,
};

/* What differs from one loader to the next. The ROM is the first row; a stub becomes another. */
struct esp_loader {
    const char *name;
    uint32_t block_bytes;       /* the most data in one block */
    uint32_t block_bytes_small; /* what every revision takes; used when block_bytes was refused */
    uint8_t status_bytes;       /* at the end of each reply; only the first of them says whether it worked */
    uint8_t attach_bytes;       /* of SPI_ATTACH's data */
    bool md5_is_raw;            /* 16 bytes, else 32 hex digits */
    bool begin_erases;          /* BEGIN erases the whole region before it answers */
    bool baud_from_crystal;     /* CHANGE_BAUDRATE is off by the ROM's crystal estimate; see esp_rom_baud */
};

extern const struct esp_loader esp_loader_rom;

/* The value word in the ROM's reply to SYNC; a running stub says 0 (facts 3). */
#define ESP_SYNC_ROM  0x20120707u
#define ESP_SYNC_STUB 0u

#define ESP_READ_SLOW_BYTES  64u /* READ_FLASH_SLOW always returns so many [ROM] */
#define ESP_REQUEST_HEAD_MAX 64u /* header, fixed words, SYNC's data */

/* One command, ready to be framed: head (header and fixed words), then body. */
struct esp_request {
    uint8_t head[ESP_REQUEST_HEAD_MAX];
    size_t head_size;
    const uint8_t *body; /* a data block, borrowed until the reply; else NULL */
    size_t body_size;
    size_t payload_size; /* bytes between header and status in a good reply */
    uint32_t timeout_ms; /* for the chip's work; the wire's own time comes on top */
};

void esp_request_sync(struct esp_request *ret);
void esp_request_read_reg(struct esp_request *ret, uint32_t address);
void esp_request_write_reg(struct esp_request *ret, uint32_t address, uint32_t value);
/* pins: 0 for the default pads, else hd << 24 | cs << 18 | d << 12 | q << 6 | clk. */
void esp_request_spi_attach(struct esp_request *ret, const struct esp_loader *loader, uint32_t pins);
void esp_request_spi_set_params(struct esp_request *ret, uint32_t flash_bytes);
/* size at most ESP_READ_SLOW_BYTES; the payload has always that many. */
void esp_request_read_flash_slow(struct esp_request *ret, uint32_t offset, uint32_t size);
/* asked: what to tell the chip, which for the ROM is not the true rate (esp_rom_baud). */
void esp_request_change_baud(struct esp_request *ret, uint32_t asked);
/* size: bytes to be erased and written from offset; stream_size: bytes that will be sent, in blocks of
 * block_bytes; 0 for an erase without a write. */
void esp_request_begin(struct esp_request *ret, bool deflated, uint32_t offset, uint32_t size,
                       uint32_t stream_size, uint32_t block_bytes);
/* inflated: bytes of flash that this block may come to, for the time limit. */
void esp_request_data(struct esp_request *ret, bool deflated, uint32_t sequence, const uint8_t *block,
                      size_t size, uint32_t inflated);
void esp_request_md5(struct esp_request *ret, const struct esp_loader *loader, uint32_t offset,
                     uint32_t size);

/* Frames request into out (at least esp_request_frame_max bytes); gives back the length. */
size_t esp_request_frame(const struct esp_request *request, uint8_t *out);
size_t esp_request_frame_max(const struct esp_request *request);

struct esp_reply {
    uint8_t opcode;
    uint32_t value;         /* READ_REG's register, SYNC's kind of loader; junk otherwise */
    const uint8_t *payload; /* borrowed from the frame */
    size_t payload_size;
    uint8_t error; /* of a refusal */
};

enum esp_frame_kind {
    ESP_FRAME_REPLY,   /* to this request: it worked */
    ESP_FRAME_REFUSAL, /* to this request: error says why */
    ESP_FRAME_STALE,   /* a reply, but to an earlier command */
    ESP_FRAME_ALIEN,   /* no reply at all, or a damaged one */
};

/*
 * Sorts a frame that came while request was under way. An unknown command is answered by the ROM with the
 * opcode of an *earlier* reply and status 01 05 (rom-errors.txt): that counts as this request's refusal.
 */
enum esp_frame_kind esp_reply_parse(const uint8_t *frame, size_t size, const struct esp_request *request,
                                    const struct esp_loader *loader, struct esp_reply *ret);

/* The MD5 in a reply to SPI_FLASH_MD5, in either form. False: not hex digits. */
bool esp_reply_md5(const struct esp_reply *reply, const struct esp_loader *loader, uint8_t ret[static 16]);

/* The ROM's error byte in words, "checksum wrong"; static storage (facts 1, "ROM errors"). */
const char *esp_rom_error_text(uint8_t error);
