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
    ESP_FLASH_END = 0x04,
    ESP_MEM_BEGIN = 0x05,
    ESP_MEM_END = 0x06,
    ESP_MEM_DATA = 0x07,
    ESP_SYNC = 0x08,
    ESP_WRITE_REG = 0x09,
    ESP_READ_REG = 0x0a,
    ESP_SPI_SET_PARAMS = 0x0b,
    ESP_SPI_ATTACH = 0x0d,
    ESP_READ_FLASH_SLOW = 0x0e,
    ESP_CHANGE_BAUDRATE = 0x0f,
    ESP_DEFL_BEGIN = 0x10,
    ESP_DEFL_DATA = 0x11,
    ESP_DEFL_END = 0x12,
    ESP_SPI_FLASH_MD5 = 0x13,
    ESP_ERASE_REGION = 0xd1,
    ESP_READ_FLASH = 0xd2,
};

/* How a loader that acknowledges a block before it has written it tells of a write that failed (facts 2). */
enum esp_late_errors {
    ESP_LATE_NONE,        /* it writes first */
    ESP_LATE_IN_TRANSFER, /* in the reply to the next block, which is not taken then, or to END */
    ESP_LATE_ANYWHERE,    /* in the reply to the next command of any kind, which is not carried out */
};

/* What data may be sent as, besides plain. */
enum { ESP_FORMAT_ZLIB = 1 << 0 };

/* What differs from one loader to the next: a row each. */
struct esp_loader {
    const char *name;           /* in a story: "stub refused ..." */
    const char *word;           /* what people are shown: "rom", "stub v1.2.2" */
    uint32_t block_bytes;       /* the most data in one block */
    uint32_t block_bytes_small; /* what every revision takes; used when block_bytes was refused */
    uint8_t status_bytes;       /* at the end of each reply; only the first of them says whether it worked */
    uint8_t attach_bytes;       /* of SPI_ATTACH's data */
    uint8_t formats;            /* ESP_FORMAT_... */
    enum esp_late_errors late_errors;
    bool is_stub;
    bool status_is_error;   /* the first status byte is the error's code, but for 01: then the second is */
    bool md5_is_raw;        /* 16 bytes, else 32 hex digits */
    bool begin_erases;      /* BEGIN erases the whole region before it answers */
    bool baud_from_crystal; /* CHANGE_BAUDRATE is off by the ROM's crystal estimate; see esp_rom_baud */
    bool baud_wants_old;    /* CHANGE_BAUDRATE says the rate there is, too */
    bool has_end;           /* END is the barrier: its answer means that all is in flash */
    bool has_erase_region;  /* else BEGIN has to do it */
    bool skips_blank;       /* it erases nothing from a write's beginning on for as long as all is blank */
    bool has_read_flash;    /* READ_FLASH, and no READ_FLASH_SLOW */
    bool keeps_inflating;   /* a compressed write that was broken off spoils the next one: reset it before */
    uint32_t baud_max; /* the most that is tried unasked; 0: no limit of its own. The ROM's divider comes out
                           of its own crystal estimate, which nothing has shown to be good beyond 921600 */
};

extern const struct esp_loader esp_loader_rom;
/* Espressif's stubs: the new line v1.2.2, the legacy one v1.11.1 (facts 7), and one that was found running,
 * of which nobody knows which it is: the strictest of both. */
extern const struct esp_loader esp_loader_stub, esp_loader_stub_legacy, esp_loader_stub_unknown;

/* The value word in the ROM's reply to SYNC; a running stub says 0 (facts 3). */
#define ESP_SYNC_ROM  0x20120707u
#define ESP_SYNC_STUB 0u

#define ESP_READ_SLOW_BYTES  64u     /* READ_FLASH_SLOW always returns so many [ROM] */
#define ESP_READ_PACKET      4096u   /* bytes in a frame of READ_FLASH, at most */
#define ESP_MEM_BLOCK_BYTES  0x1800u /* of RAM, in one block (facts 7) */
#define ESP_REQUEST_HEAD_MAX 64u     /* header, fixed words, SYNC's data */
#define ESP_REQUEST_TAIL_MAX 8u

/* One command, ready to be framed: head (header and fixed words), then body. */
struct esp_request {
    uint8_t head[ESP_REQUEST_HEAD_MAX];
    size_t head_size;
    const uint8_t *body; /* a data block, borrowed until the reply; else NULL */
    size_t body_size;
    uint8_t tail[ESP_REQUEST_TAIL_MAX]; /* after body */
    size_t tail_size;
    size_t payload_size; /* bytes between header and status in a good reply */
    /* READ_FLASH: the frames that follow the reply go to sink, borrowed until the end; the reply that is
     * handed up has their MD5, by the chip, as its payload. */
    uint8_t *sink;
    uint32_t sink_size;
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
/* The same for a loader with baud_wants_old; old: the rate there is. */
void esp_request_change_baud_from(struct esp_request *ret, uint32_t asked, uint32_t old);
/* size: bytes to be erased and written from offset; stream_size: bytes that will be sent, in blocks of
 * block_bytes; 0 for an erase without a write. */
void esp_request_begin(struct esp_request *ret, const struct esp_loader *loader, bool deflated,
                       uint32_t offset, uint32_t size, uint32_t stream_size, uint32_t block_bytes);

/* A block of data in up to three parts: what stands before and after bytes that are shared is copied. */
struct esp_block {
    const uint8_t *lead; /* at most ESP_LEAD_MAX; copied */
    size_t lead_size;
    const uint8_t *body; /* borrowed */
    size_t body_size;
    const uint8_t *tail; /* at most ESP_REQUEST_TAIL_MAX; copied */
    size_t tail_size;
};

#define ESP_LEAD_MAX 2u

/* work: bytes of flash that have to be erased and written before the reply comes, at most: for the time
 * limit. */
void esp_request_data(struct esp_request *ret, bool deflated, uint32_t sequence,
                      const struct esp_block *block, uint32_t work);
/* The barrier, after which the loader stays; work as above. */
void esp_request_end(struct esp_request *ret, bool deflated, uint32_t work);
/* Multiples of 4096. */
void esp_request_erase_region(struct esp_request *ret, uint32_t offset, uint32_t size);
/* Any offset and size; see sink above. */
void esp_request_read_flash(struct esp_request *ret, uint32_t offset, uint32_t size, uint8_t *sink);
/* Into RAM: in blocks of ESP_MEM_BLOCK_BYTES. */
void esp_request_mem_begin(struct esp_request *ret, uint32_t address, uint32_t size);
void esp_request_mem_data(struct esp_request *ret, uint32_t sequence, const uint8_t *block, size_t size);
/* Jumps to entry; for esp_link_run_stub. */
void esp_request_mem_end(struct esp_request *ret, uint32_t entry);
void esp_request_md5(struct esp_request *ret, const struct esp_loader *loader, uint32_t offset,
                     uint32_t size);

enum esp_opcode esp_request_opcode(const struct esp_request *request);

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

/* What a stub says when it runs (facts 7). */
bool esp_frame_is_hello(const uint8_t *frame, size_t size);

/* A loader's error byte in words, "checksum wrong"; static storage (facts 1, "ROM errors", "Stub errors"). */
const char *esp_error_text(const struct esp_loader *loader, uint8_t error);
/* It says that the compressed stream is at fault, as a loader that miscounts does, too (facts 2). */
bool esp_error_is_of_stream(const struct esp_loader *loader, uint8_t error);
