// READ_FLASH: packets, each acknowledged by the number of all bytes received so far, and the digest of all at
// the end. Both stubs keep one packet in flight, whatever the host asks for.
#include "tests/sim/board.h"

#include <stdlib.h>
#include <string.h>

static uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void stub_read_stop(struct stub_read *r) {
    EVP_MD_CTX_free(r->md5);
    r->md5 = NULL;
    r->on = false;
}

static void send_digest(struct stub_read *r, struct outcome *out) {
    if (EVP_DigestFinal_ex(r->md5, r->out, NULL) != 1)
        abort();
    out->raw = r->out;
    out->raw_len = 16;
    stub_read_stop(r);
}

static void send_packet(struct board *b, struct outcome *out) {
    struct stub_read *r = &b->stub.read;
    uint32_t n = r->size - r->sent;

    if (n > r->packet)
        n = r->packet;
    flash_read(&b->flash, r->offset + r->sent, r->out, n);
    if (EVP_DigestUpdate(r->md5, r->out, n) != 1)
        abort();
    r->sent += n;
    out->raw = r->out;
    out->raw_len = n;
    out->cost_us += (uint64_t)n * b->flash.timings.md5_us_per_kib / 1024;
}

void stub_read_flash(struct board *b, const struct request *q, struct outcome *out) {
    struct stub_read *r = &b->stub.read;

    *r = (struct stub_read) {
        .on = true, .offset = le32(q->data), .size = le32(q->data + 4), .packet = le32(q->data + 8)
    };
    out->cost_us = work_settle(b);
    if (r->packet > STUB_PACKET_MAX) {
        // The reply has said yes. The new line tells the next command, the legacy one nobody.
        r->on = false;
        b->stub.late = stub_is_new(b) ? STUB_BAD_LENGTH : 0;
        return;
    }
    if (r->offset > b->loader.flash_limit || r->size > b->loader.flash_limit - r->offset || r->packet == 0) {
        r->on = false;
        b->stub.late = STUB_SPI_FAILED;
        return;
    }
    r->md5 = EVP_MD_CTX_new();
    if (!r->md5 || EVP_DigestInit_ex(r->md5, EVP_md5(), NULL) != 1)
        abort();
    if (r->size == 0)
        send_digest(r, out);
    else
        send_packet(b, out);
}

void stub_read_on_frame(struct board *b, const uint8_t *frame, size_t len, struct outcome *out) {
    struct stub_read *r = &b->stub.read;

    *out = (struct outcome) { .replies = 0 };
    if (len != 4) {
        send_digest(r, out);
        return;
    }
    r->acked = le32(frame);
    // The new line counts acknowledgements, the legacy one believes what they say.
    if (!stub_is_new(b) && r->acked > r->sent)
        send_digest(r, out);
    else if (r->sent < r->size && (stub_is_new(b) || r->acked == r->sent))
        send_packet(b, out);
    else if (r->sent == r->size && r->acked >= r->size)
        send_digest(r, out);
    else
        out->silent = true;
}
