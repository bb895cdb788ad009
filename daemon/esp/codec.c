#include "daemon/esp/codec.h"

#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/esp/slip.h"

/* Time limits, in milliseconds (facts 2). */
enum {
    TIMEOUT_SYNC = 100,
    TIMEOUT_DEFAULT = 3000,
    TIMEOUT_ERASE_PER_MB = 40000,
    TIMEOUT_MD5_PER_MB = 8000,
    TIMEOUT_HELLO = 3000,
};

static uint32_t scaled_timeout(uint32_t bytes, uint32_t per_mb) {
    uint32_t ms = (uint32_t)((uint64_t)bytes * per_mb / 1000000);

    return TIMEOUT_DEFAULT + ms;
}

static void request_init(struct esp_request *request, enum esp_opcode opcode) {
    *request = (struct esp_request) { .head_size = 8, .timeout_ms = TIMEOUT_DEFAULT };
    request->head[1] = (uint8_t)opcode;
}

static void add_word(struct esp_request *request, uint32_t word) {
    put_le32(request->head + request->head_size, word);
    request->head_size += 4;
    put_le16(request->head + 2, (uint32_t)(request->head_size - 8 + request->body_size));
}

static uint8_t checksum(uint8_t sum, const uint8_t *bytes, size_t size) {
    while (size--)
        sum ^= *bytes++;
    return sum;
}

void esp_request_sync(struct esp_request *ret) {
    request_init(ret, ESP_SYNC);
    add_word(ret, 0x20120707);
    for (int i = 0; i < 8; i++)
        add_word(ret, 0x55555555);
    ret->timeout_ms = TIMEOUT_SYNC;
}

void esp_request_read_reg(struct esp_request *ret, uint32_t address) {
    request_init(ret, ESP_READ_REG);
    add_word(ret, address);
}

void esp_request_write_reg(struct esp_request *ret, uint32_t address, uint32_t value) {
    request_init(ret, ESP_WRITE_REG);
    add_word(ret, address);
    add_word(ret, value);
    add_word(ret, 0xffffffff); /* mask */
    add_word(ret, 0);          /* delay in us */
}

void esp_request_spi_attach(struct esp_request *ret, const struct esp_loader *loader, uint32_t pins) {
    request_init(ret, ESP_SPI_ATTACH);
    add_word(ret, pins);
    if (loader->attach_bytes == 8)
        add_word(ret, 0);
}

void esp_request_spi_set_params(struct esp_request *ret, uint32_t flash_bytes) {
    request_init(ret, ESP_SPI_SET_PARAMS);
    add_word(ret, 0); /* id */
    add_word(ret, flash_bytes);
    add_word(ret, 0x10000); /* block */
    add_word(ret, 0x1000);  /* sector */
    add_word(ret, 0x100);   /* page */
    add_word(ret, 0xffff);  /* status mask */
}

void esp_request_read_flash_slow(struct esp_request *ret, uint32_t offset, uint32_t size) {
    request_init(ret, ESP_READ_FLASH_SLOW);
    add_word(ret, offset);
    add_word(ret, size);
    ret->payload_size = ESP_READ_SLOW_BYTES;
}

void esp_request_change_baud(struct esp_request *ret, uint32_t asked) {
    esp_request_change_baud_from(ret, asked, 0);
}

void esp_request_change_baud_from(struct esp_request *ret, uint32_t asked, uint32_t old) {
    request_init(ret, ESP_CHANGE_BAUDRATE);
    add_word(ret, asked);
    add_word(ret, old);
    ret->timeout_ms = 500;
}

void esp_request_begin(struct esp_request *ret, const struct esp_loader *loader, bool deflated,
                       uint32_t offset, uint32_t size, uint32_t stream_size, uint32_t block_bytes) {
    request_init(ret, deflated ? ESP_DEFL_BEGIN : ESP_FLASH_BEGIN);
    add_word(ret, size);
    add_word(ret, (stream_size + block_bytes - 1) / block_bytes);
    add_word(ret, block_bytes);
    add_word(ret, offset);
    if (loader->begin_erases)
        ret->timeout_ms = scaled_timeout(size, TIMEOUT_ERASE_PER_MB);
}

/* The fixed words before a block's bytes, and what of the block is copied. */
static void add_block(struct esp_request *ret, uint32_t sequence, const struct esp_block *block) {
    size_t size = block->lead_size + block->body_size + block->tail_size;
    uint8_t sum = 0xef;

    add_word(ret, (uint32_t)size);
    add_word(ret, sequence);
    add_word(ret, 0);
    add_word(ret, 0);
    if (block->lead_size)
        memcpy(ret->head + ret->head_size, block->lead, block->lead_size);
    ret->head_size += block->lead_size;
    ret->body = block->body;
    ret->body_size = block->body_size;
    if (block->tail_size)
        memcpy(ret->tail, block->tail, block->tail_size);
    ret->tail_size = block->tail_size;
    put_le16(ret->head + 2, (uint32_t)(16 + size));
    sum = checksum(sum, block->lead, block->lead_size);
    sum = checksum(sum, block->body, block->body_size);
    ret->head[4] = checksum(sum, block->tail, block->tail_size);
}

void esp_request_data(struct esp_request *ret, bool deflated, uint32_t sequence,
                      const struct esp_block *block, uint32_t work) {
    request_init(ret, deflated ? ESP_DEFL_DATA : ESP_FLASH_DATA);
    add_block(ret, sequence, block);
    ret->timeout_ms = scaled_timeout(work, TIMEOUT_ERASE_PER_MB);
}

void esp_request_end(struct esp_request *ret, bool deflated, uint32_t work) {
    request_init(ret, deflated ? ESP_DEFL_END : ESP_FLASH_END);
    add_word(ret, 1); /* stay */
    ret->timeout_ms = scaled_timeout(work, TIMEOUT_ERASE_PER_MB);
}

void esp_request_erase_region(struct esp_request *ret, uint32_t offset, uint32_t size) {
    request_init(ret, ESP_ERASE_REGION);
    add_word(ret, offset);
    add_word(ret, size);
    ret->timeout_ms = scaled_timeout(size, TIMEOUT_ERASE_PER_MB);
}

void esp_request_read_flash(struct esp_request *ret, uint32_t offset, uint32_t size, uint8_t *sink) {
    request_init(ret, ESP_READ_FLASH);
    add_word(ret, offset);
    add_word(ret, size);
    add_word(ret, size < ESP_READ_PACKET ? size : ESP_READ_PACKET);
    add_word(ret, 1); /* frames in flight: what both stubs do whatever is asked */
    ret->sink = sink;
    ret->sink_size = size;
}

void esp_request_mem_begin(struct esp_request *ret, uint32_t address, uint32_t size) {
    request_init(ret, ESP_MEM_BEGIN);
    add_word(ret, size);
    add_word(ret, (size + ESP_MEM_BLOCK_BYTES - 1) / ESP_MEM_BLOCK_BYTES);
    add_word(ret, ESP_MEM_BLOCK_BYTES);
    add_word(ret, address);
}

void esp_request_mem_data(struct esp_request *ret, uint32_t sequence, const uint8_t *block, size_t size) {
    request_init(ret, ESP_MEM_DATA);
    add_block(ret, sequence, &(struct esp_block) { .body = block, .body_size = size });
}

void esp_request_mem_end(struct esp_request *ret, uint32_t entry) {
    request_init(ret, ESP_MEM_END);
    add_word(ret, 0); /* jump */
    add_word(ret, entry);
    ret->timeout_ms = TIMEOUT_HELLO;
}

void esp_request_md5(struct esp_request *ret, const struct esp_loader *loader, uint32_t offset,
                     uint32_t size) {
    request_init(ret, ESP_SPI_FLASH_MD5);
    add_word(ret, offset);
    add_word(ret, size);
    add_word(ret, 0);
    add_word(ret, 0);
    ret->payload_size = loader->md5_is_raw ? 16 : 32;
    ret->timeout_ms = scaled_timeout(size, TIMEOUT_MD5_PER_MB);
}

enum esp_opcode esp_request_opcode(const struct esp_request *request) {
    return (enum esp_opcode)request->head[1];
}

size_t esp_request_frame_max(const struct esp_request *request) {
    return SLIP_ENCODED_MAX(request->head_size + request->body_size + request->tail_size);
}

size_t esp_request_frame(const struct esp_request *request, uint8_t *out) {
    size_t n = 0;

    out[n++] = 0xc0;
    n += slip_encode(request->head, request->head_size, out + n);
    if (request->body)
        n += slip_encode(request->body, request->body_size, out + n);
    n += slip_encode(request->tail, request->tail_size, out + n);
    out[n++] = 0xc0;
    return n;
}

bool esp_frame_is_hello(const uint8_t *frame, size_t size) {
    return size == 4 && memcmp(frame, "OHAI", 4) == 0;
}

/* Whoever answers a SYNC says by it who he is. */
static bool is_status_size(const struct esp_request *request, const struct esp_loader *loader, size_t size) {
    if (esp_request_opcode(request) == ESP_SYNC)
        return size == esp_loader_rom.status_bytes || size == esp_loader_stub.status_bytes;
    return size == loader->status_bytes;
}

enum esp_frame_kind esp_reply_parse(const uint8_t *frame, size_t size, const struct esp_request *request,
                                    const struct esp_loader *loader, struct esp_reply *ret) {
    bool same_opcode, refused;
    const uint8_t *status;
    size_t data_size;

    if (size < 8 + 2 || frame[0] != 0x01)
        return ESP_FRAME_ALIEN;
    data_size = size - 8;
    if (get_le16(frame + 2) != data_size)
        return ESP_FRAME_ALIEN;

    /* A refusal may leave the payload out; its status then stands right behind the header. */
    status = frame + 8;
    if (data_size >= request->payload_size + 2)
        status += request->payload_size;
    refused = status[0] != 0;
    same_opcode = frame[1] == request->head[1];
    *ret = (struct esp_reply) { .opcode = frame[1], .value = get_le32(frame + 4) };
    if (refused)
        ret->error = loader->status_is_error && status[0] != 1 ? status[0] : status[1];

    if (!same_opcode) {
        /* The status of a reply to another command: at its end. */
        status = frame + size - loader->status_bytes;
        if (!loader->is_stub && data_size >= loader->status_bytes && status[0] == 1 && status[1] == 5) {
            ret->error = 5;
            return ESP_FRAME_REFUSAL;
        }
        return ESP_FRAME_STALE;
    }
    if (refused)
        return ESP_FRAME_REFUSAL;
    if (data_size < request->payload_size ||
        !is_status_size(request, loader, data_size - request->payload_size))
        return ESP_FRAME_ALIEN;
    ret->payload = frame + 8;
    ret->payload_size = request->payload_size;
    return ESP_FRAME_REPLY;
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

bool esp_reply_md5(const struct esp_reply *reply, const struct esp_loader *loader, uint8_t ret[static 16]) {
    if (loader->md5_is_raw) {
        memcpy(ret, reply->payload, 16);
        return true;
    }
    for (size_t i = 0; i < 16; i++) {
        int high = hex_digit(reply->payload[2 * i]), low = hex_digit(reply->payload[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
