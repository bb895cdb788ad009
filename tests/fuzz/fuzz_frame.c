/* SLIP and the loader's codec: any bytes as frames, any frame as the reply to any request. */

#include "daemon/esp/codec.h"
#include "daemon/esp/slip.h"
#include "tests/fuzz/fuzz.h"

enum { BYTES_MAX = 3000 };

/* What is encoded comes back, and nothing in between looks like a delimiter. */
static void check_round_trip(const uint8_t *bytes, size_t size) {
    static struct slip_decoder decoder;
    static uint8_t out[SLIP_ENCODED_MAX(BYTES_MAX)];
    size_t n;

    if (!size || size > BYTES_MAX)
        return;
    n = slip_encode(bytes, size, out);
    must(n >= size && n <= SLIP_ENCODED_MAX(size) - 2);
    must(!memchr(out, 0xc0, n));
    slip_decoder_reset(&decoder, SLIP_FRAME_MAX);
    must(slip_decode(&decoder, 0xc0) == SLIP_NONE);
    for (size_t i = 0; i < n; i++)
        must(slip_decode(&decoder, out[i]) == SLIP_NONE);
    must(slip_decode(&decoder, 0xc0) == SLIP_FRAME);
    must(decoder.size == size && !memcmp(decoder.frame, bytes, size));
}

static void make_request(struct input *input, const struct esp_loader *loader, struct esp_request *ret) {
    uint32_t offset = take_u32(input), size = take_u32(input);
    static const uint8_t block[64];

    switch (take_byte(input) % 10) {
    case 0:
        esp_request_sync(ret);
        break;
    case 1:
        esp_request_read_reg(ret, offset);
        break;
    case 2:
        esp_request_write_reg(ret, offset, size);
        break;
    case 3:
        esp_request_spi_attach(ret, loader, offset);
        break;
    case 4:
        esp_request_spi_set_params(ret, size);
        break;
    case 5:
        esp_request_read_flash_slow(ret, offset, size % (ESP_READ_SLOW_BYTES + 1));
        break;
    case 6:
        esp_request_change_baud(ret, size);
        break;
    case 7:
        esp_request_begin(ret, offset & 1, offset & 0xfff000, size & 0xffffff, size & 0xffffff,
                          loader->block_bytes);
        break;
    case 8:
        esp_request_data(ret, offset & 1, size, block, sizeof block, size & 0xffff);
        break;
    default:
        esp_request_md5(ret, loader, offset, size & 0xffffff);
        break;
    }
}

static void check_request(const struct esp_request *request) {
    static uint8_t out[SLIP_ENCODED_MAX(ESP_REQUEST_HEAD_MAX + 64)];
    size_t n;

    must(request->head_size >= 8 && request->head_size <= ESP_REQUEST_HEAD_MAX);
    must(request->timeout_ms > 0);
    must(esp_request_frame_max(request) <= sizeof out);
    n = esp_request_frame(request, out);
    must(n <= esp_request_frame_max(request) && out[0] == 0xc0 && out[n - 1] == 0xc0);
    must(*esp_opcode_name(esp_request_opcode(request)));
}

static void check_reply(const uint8_t *frame, size_t size, const struct esp_request *request,
                        const struct esp_loader *loader) {
    struct esp_reply reply;
    uint8_t md5[16];

    switch (esp_reply_parse(frame, size, request, loader, &reply)) {
    case ESP_FRAME_REPLY:
        must(reply.opcode == request->head[1] && reply.payload_size == request->payload_size);
        must(reply.payload >= frame && reply.payload + reply.payload_size <= frame + size);
        if (reply.opcode == ESP_SPI_FLASH_MD5)
            (void)!esp_reply_md5(&reply, loader, md5);
        break;
    case ESP_FRAME_REFUSAL:
        must(*esp_rom_error_text(reply.error));
        break;
    case ESP_FRAME_STALE:
    case ESP_FRAME_ALIEN:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static struct slip_decoder decoder;
    struct input input = { bytes, size };
    struct esp_loader raw = esp_loader_rom;
    const struct esp_loader *loader = take_byte(&input) & 1 ? &raw : &esp_loader_rom;
    struct esp_request request;
    size_t limit = take_u32(&input) % (2 * SLIP_FRAME_MAX);

    /* As a stub answers. */
    raw.status_bytes = 2;
    raw.md5_is_raw = true;
    make_request(&input, loader, &request);
    check_request(&request);
    slip_decoder_reset(&decoder, limit);
    for (; input.size; input.bytes++, input.size--) {
        enum slip_event event = slip_decode(&decoder, *input.bytes);

        must(decoder.size <= limit && decoder.size <= SLIP_FRAME_MAX);
        if (event == SLIP_FRAME) {
            /* As long as it is, so that a byte read past its end is seen. */
            uint8_t *frame = malloc(decoder.size);

            must(frame && decoder.size > 0);
            memcpy(frame, decoder.frame, decoder.size);
            check_reply(frame, decoder.size, &request, loader);
            free(frame);
        }
    }
    check_round_trip(bytes, size);
    return 0;
}
