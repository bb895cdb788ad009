/* Requests as frames: one on its way, and the next one framed ahead. */

#include <stdlib.h>
#include <string.h>

#include "daemon/esp/link_state.h"

bool link_frame_reserve(struct link_frame *frame, size_t size) {
    uint8_t *grown;

    if (frame->allocated >= size)
        return true;
    grown = realloc(frame->bytes, size);
    if (!grown)
        return false;
    frame->bytes = grown;
    frame->allocated = size;
    return true;
}

bool link_frame_build(struct link_frame *frame, const struct esp_request *request,
                      size_t n_extra_delimiters) {
    frame->is_ready = false;
    if (!link_frame_reserve(frame, esp_request_frame_max(request) + n_extra_delimiters))
        return false;
    memset(frame->bytes, 0xc0, n_extra_delimiters);
    frame->size = n_extra_delimiters + esp_request_frame(request, frame->bytes + n_extra_delimiters);
    return true;
}

bool link_frame_is(const struct link_frame *frame, const struct esp_request *request) {
    const struct esp_request *framed = &frame->request;

    return frame->is_ready && framed->head_size == request->head_size &&
           !memcmp(framed->head, request->head, request->head_size) && framed->body == request->body &&
           framed->body_size == request->body_size && framed->tail_size == request->tail_size &&
           !memcmp(framed->tail, request->tail, request->tail_size);
}

void esp_link_prepare(struct esp_link *link, const struct esp_request *request) {
    struct link_frame *frame = &link->tx[!link->tx_now];

    if (!link_frame_build(frame, request, 0))
        return; /* it is framed when it is sent */
    frame->request = *request;
    frame->is_ready = true;
}
