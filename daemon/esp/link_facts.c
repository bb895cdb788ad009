/* What can be asked of a link without the wire. */

#include "daemon/esp/link_state.h"

uint32_t esp_link_baud(const struct esp_link *link) {
    return link->baud;
}

bool esp_link_has_lines(const struct esp_link *link) {
    return serial_port_has_lines(link->port);
}

const struct esp_loader *esp_link_loader(const struct esp_link *link) {
    return link->loader;
}

const struct boot_log *esp_link_boot_log(const struct esp_link *link) {
    return &link->log;
}

void esp_link_forget_log(struct esp_link *link) {
    boot_log_reset(&link->log);
    link->resets_before = 0;
}

void esp_link_count(const struct esp_link *link, uint64_t *sent, uint64_t *received) {
    *sent = serial_port_bytes_out(link->port);
    *received = serial_port_bytes_in(link->port);
}
