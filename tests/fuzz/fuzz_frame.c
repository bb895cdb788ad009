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
    static const uint8_t bytes[64];
    const struct esp_block block = { bytes, offset % (ESP_LEAD_MAX + 1),      bytes, sizeof bytes,
                                     bytes, size % (ESP_REQUEST_TAIL_MAX + 1) };
    static uint8_t sink[1];

    switch (take_byte(input) % 16) {
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
        esp_request_begin(ret, loader, offset & 1, offset & 0xfff000, size & 0xffffff, size & 0xffffff,
                          loader->block_bytes);
        break;
    case 8:
        esp_request_data(ret, offset & 1, size, &block, size & 0xffff);
        break;
    case 9:
        esp_request_end(ret, offset & 1, size & 0xffffff);
        break;
    case 10:
        esp_request_erase_region(ret, offset & 0xfff000, size & 0xfff000);
        break;
    case 11:
        esp_request_read_flash(ret, offset, size, sink);
        break;
    case 12:
        esp_request_mem_begin(ret, offset, size % 0x20000);
        break;
    case 13:
        esp_request_mem_data(ret, size, bytes, sizeof bytes);
        break;
    case 14:
        esp_request_mem_end(ret, offset);
        break;
    default:
        esp_request_md5(ret, loader, offset, size & 0xffffff);
        break;
    }
}

static void check_request(const struct esp_request *request) {
    static uint8_t out[SLIP_ENCODED_MAX(ESP_REQUEST_HEAD_MAX + 64 + ESP_REQUEST_TAIL_MAX)];
    size_t n;

    must(request->head_size >= 8 && request->head_size <= ESP_REQUEST_HEAD_MAX);
    must(request->timeout_ms > 0);
    must(esp_request_frame_max(request) <= sizeof out);
    n = esp_request_frame(request, out);
    must(n <= esp_request_frame_max(request) && out[0] == 0xc0 && out[n - 1] == 0xc0);
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
        must(*esp_error_text(loader, reply.error));
        (void)esp_error_is_of_stream(loader, reply.error);
        break;
    case ESP_FRAME_STALE:
    case ESP_FRAME_ALIEN:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static struct slip_decoder decoder;
    struct input input = { bytes, size };
    static const struct esp_loader *const loaders[] = { &esp_loader_rom, &esp_loader_stub,
                                                        &esp_loader_stub_legacy, &esp_loader_stub_unknown };
    const struct esp_loader *loader = loaders[take_byte(&input) % 4];
    struct esp_request request;
    size_t limit = take_u32(&input) % (2 * SLIP_FRAME_MAX);

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
            must(!esp_frame_is_hello(frame, decoder.size) || decoder.size == 4);
            free(frame);
        }
    }
    check_round_trip(bytes, size);
    return 0;
}
