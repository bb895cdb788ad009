// A serial loader running on the board: the mask ROM's, or a stub that a host has uploaded. What differs
// between loaders is a `struct loader`: tables of commands and a few properties; frames, faults and timing
// are shared.
//
// A command never replies by itself: it fills a `struct outcome`, and the board carries that out: waits for
// the time it costs, lets the flash change, sends the reply or replies, then does what comes after.
#pragma once

#include "tests/sim/slip.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#define ZLIB_CONST // next_in points to const
#include <zlib.h>

struct board;

enum loader_op {
    OP_FLASH_BEGIN = 0x02,
    OP_FLASH_DATA = 0x03,
    OP_FLASH_END = 0x04,
    OP_MEM_BEGIN = 0x05,
    OP_MEM_END = 0x06,
    OP_MEM_DATA = 0x07,
    OP_SYNC = 0x08,
    OP_WRITE_REG = 0x09,
    OP_READ_REG = 0x0A,
    OP_SPI_SET_PARAMS = 0x0B,
    OP_SPI_ATTACH = 0x0D,
    OP_READ_FLASH_SLOW = 0x0E,
    OP_CHANGE_BAUDRATE = 0x0F,
    OP_DEFL_BEGIN = 0x10,
    OP_DEFL_DATA = 0x11,
    OP_DEFL_END = 0x12,
    OP_MD5 = 0x13,
    OP_GET_SECURITY_INFO = 0x14,
    OP_ERASE_FLASH = 0xD0,
    OP_ERASE_REGION = 0xD1,
    OP_READ_FLASH = 0xD2,
    OP_RUN_USER_CODE = 0xD3,
};

enum loader_error { // esp32-serial-protocol.md section 1
    ROM_OK = 0x00,
    ROM_MALFORMED = 0x05, // also: unknown command, wrong packet number, block too big
    ROM_FAILED = 0x06,
    ROM_BAD_CHECKSUM = 0x07,
    ROM_BAD_READ_LENGTH = 0x0A,
    ROM_INFLATE_FAILED = 0x0B,
    ROM_BAD_ADLER = 0x0C,
    ROM_BAD_RAM_ADDRESS = 0x0F,
    STUB_BAD_LENGTH = 0xC0, // a stub's stand in the first status byte
    STUB_BAD_CHECKSUM = 0xC1,
    STUB_BAD_BLOCK_SIZE = 0xC2,
    STUB_UNKNOWN_COMMAND = 0xC3,
    STUB_SPI_FAILED = 0xC4,
    STUB_NOT_OPEN = 0xC6,
    STUB_INFLATE_FAILED = 0xC7,
    STUB_TOO_LITTLE = 0xC8,
    STUB_TOO_MUCH = 0xC9,
    STUB_NOT_IMPLEMENTED = 0xFF,
};

// Names as status and faults use them ("FLASH_DATA"). NULL for an unknown opcode; -1 for an unknown name. A
// name may be hex.
const char *loader_op_name(uint8_t opcode);
int loader_op_from_name(const char *name);

struct request {
    uint8_t opcode;
    const uint8_t *data; // after the 8-byte header
    size_t len;
    uint8_t checksum;
};

enum outcome_next {
    NEXT_NOTHING,
    NEXT_CHANGE_BAUD, // when the reply has left
    NEXT_LEAVE,       // the loader ends: BASIC
    NEXT_REBOOT,      // software reset, straps as they were
    NEXT_RUN_RAM,     // jump to `entry`
    NEXT_HANG,        // an endless loop: mute until reset
};

struct outcome {
    bool silent;       // no reply
    bool unknown;      // opcode and value of an earlier reply
    bool has_value;    // otherwise the value of an earlier reply stays
    bool clears_error; // the error byte of a success is 0 instead of a leftover
    uint8_t error;     // enum loader_error; 0 = success
    uint8_t detail;    // a stub's second status byte
    uint32_t value;
    uint8_t payload[64];
    size_t payload_len;
    bool keep_payload; // the payload bytes are leftovers of earlier replies
    unsigned replies;
    const uint8_t
        *raw; // a frame after the replies that is none: READ_FLASH. Borrowed until the reply is sent
    size_t raw_len;
    uint64_t cost_us; // chip time before the reply; what goes on after it is work.h's
    enum outcome_next next;
    uint32_t baud;   // bits per second, NEXT_CHANGE_BAUD
    uint32_t clkdiv; // the divider register that goes with it
    uint32_t entry;  // NEXT_RUN_RAM
};

struct loader_command {
    uint8_t opcode;
    uint16_t len_min, len_max; // of the data; others get ROM_MALFORMED
    void (*run)(struct board *b, const struct request *q, struct outcome *out);
};

struct loader_state;

struct loader {
    const char *name;
    enum slip_manner slip;
    bool by_interrupt;  // one frame is received whole while the loader is busy; the ROM keeps 128 bytes
    size_t status_len;  // bytes at the end of a reply
    uint32_t block_max; // largest block_size in a BEGIN
    const struct loader_command *commands;
    size_t n_commands;
    // Runs the command in a frame.
    void (*run)(struct board *b, const uint8_t *frame, size_t len, struct outcome *out);
    // The frame of a reply, without SLIP. `frame` has room for 8 + 68 bytes. Returns its length.
    size_t (*compose)(struct loader_state *s, uint8_t opcode, const struct outcome *o, uint8_t *frame);
};

extern const struct loader loader_rom;

// ---- transfers: BEGIN, DATA..., END
// -------------------------------------------------------------------------------

enum transfer_kind {
    TRANSFER_NONE,
    TRANSFER_PLAIN,
    TRANSFER_DEFLATE,
    TRANSFER_RAM,
};

struct transfer {
    enum transfer_kind kind;
    uint32_t size, n_blocks, block_size, offset; // as in BEGIN
    uint32_t next;                               // packet number expected
    uint32_t written;                            // bytes accepted (after inflating) so far
    z_stream z;
};

struct loader_state {
    const struct loader *loader; // NULL: none is running
    bool attached;               // SPI_ATTACH seen
    uint32_t flash_limit;        // bytes that the loader believes in: 2 MiB until SPI_SET_PARAMS
    struct transfer flash, ram;
    // The ROM builds its replies in one place and clears nothing, so leftovers show.
    uint8_t reply_opcode;
    uint32_t reply_value;
    uint8_t reply_error;
    uint8_t reply_data[68];
};

void transfer_close(struct transfer *t);

// The handlers that loaders share. They check order, range and checksum, and begin the flash operation.
void transfer_begin(struct board *b, const struct request *q, struct outcome *out);
void transfer_data(struct board *b, const struct request *q, struct outcome *out);
void transfer_end(struct board *b, const struct request *q, struct outcome *out);

void loader_start(struct board *b, const struct loader *loader);
void loader_stop(struct board *b);

// The command in the loader's table; NULL when it has none.
const struct loader_command *loader_find(const struct loader *l, uint8_t opcode);

// Handlers of commands that mean the same everywhere.
void loader_read_reg(struct board *b, const struct request *q, struct outcome *out);
void loader_spi_set_params(struct board *b, const struct request *q, struct outcome *out);
