/* What a stub says beyond plain replies: its hello when it begins to run, and the frames of READ_FLASH. */

#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/esp/link_state.h"

enum {
    READ_FRAME_MS = 3000, /* for the chip's part of a frame; the wire's own time comes on top */
    READ_MD5_BYTES = 16,
};

void esp_link_run_stub(struct esp_link *link, uint32_t entry, const struct esp_loader *loader,
                       esp_link_fn fn) {
    struct esp_request request;

    esp_request_mem_end(&request, entry);
    esp_link_request(link, &request, fn);
    link->next_loader = loader;
}

bool link_take_loader(struct esp_link *link, uint32_t sync_value) {
    bool was_stub = link->loader->is_stub, is_stub = sync_value == ESP_SYNC_STUB;

    if (is_stub && link->next_loader)
        link->loader = link->next_loader;
    else if (is_stub != was_stub)
        link->loader = is_stub ? &esp_loader_stub_unknown : &esp_loader_rom;
    return is_stub == was_stub;
}

/* ---- READ_FLASH ------------------------------------------------------------------------------ */

static uint32_t frame_bytes(const struct esp_link *link) {
    uint32_t left = link->request.sink_size - link->read_done;

    return left < ESP_READ_PACKET ? left : ESP_READ_PACKET;
}

static void await_frame(struct esp_link *link) {
    link_start_timer(link, READ_FRAME_MS + link_wire_ms(link, SLIP_ENCODED_MAX(ESP_READ_PACKET)) * 5 / 4);
}

/* Each frame is answered with the bytes received so far. */
static void acknowledge(struct esp_link *link) {
    uint8_t total[4];
    size_t n = 0;

    put_le32(total, link->read_done);
    link->ack[n++] = 0xc0;
    n += slip_encode(total, sizeof total, link->ack + n);
    link->ack[n++] = 0xc0;
    /* If the port doesn't take it the chip waits, and the time limit ends it. */
    (void)!serial_port_write(link->port, link->ack, n);
}

static void take_read_frame(struct esp_link *link) {
    const struct slip_decoder *decoder = link->decoder;
    struct esp_reply reply = { .opcode = ESP_READ_FLASH,
                               .payload = decoder->frame,
                               .payload_size = READ_MD5_BYTES };

    if (link->read_is_broken)
        return;
    if (link->read_done == link->request.sink_size && decoder->size == READ_MD5_BYTES) {
        link_complete_later(link, ESP_OK, &reply);
        return;
    }
    /* One that lost a byte can't be had again: what is late is drained, and all of it asked for anew. */
    if (link->read_done == link->request.sink_size || decoder->size != frame_bytes(link)) {
        link->read_is_broken = true;
        link_shorten_timer(link, LINK_AFTER_BROKEN_MS);
        return;
    }
    memcpy(link->request.sink + link->read_done, decoder->frame, decoder->size);
    link->read_done += (uint32_t)decoder->size;
    acknowledge(link);
    await_frame(link);
}

/* ---- what link.c asks ------------------------------------------------------------------------ */

bool link_take_stub_frame(struct esp_link *link) {
    if (link->state == READING) {
        take_read_frame(link);
        return true;
    }
    if ((link->state == SENDING || link->state == AWAITING) && link->next_loader &&
        esp_frame_is_hello(link->decoder->frame, link->decoder->size)) {
        link->loader = link->next_loader;
        link_complete_later(link, ESP_OK, NULL);
        return true;
    }
    return false;
}

bool link_goes_on(struct esp_link *link) {
    if (link->request.sink) {
        link->state = READING;
        await_frame(link);
        return true;
    }
    return link->next_loader != NULL; /* the reply to MEM_END may be missing: its hello is what counts */
}
