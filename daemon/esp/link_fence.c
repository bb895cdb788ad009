/* What keeps an answer that came twice from being taken for the next one. */

#include "daemon/esp/link_state.h"

enum {
    MAGIC_REGISTER = 0x40001000, /* any that can be read (facts 4) */
    SCRATCH_REGISTER =
        0x3ff420bc, /* W15 of the flash's SPI port: data of a long command, of which there is none */
};

/* These answers are believed as they are; what READ_FLASH_SLOW gave is checked by MD5, and a block that was
 * not taken shows when it is verified. */
bool link_needs_fence(const struct esp_link *link, const struct esp_request *request) {
    enum esp_opcode opcode = esp_request_opcode(request);

    return opcode == link->answered && (opcode == ESP_SPI_FLASH_MD5 || opcode == ESP_READ_REG);
}

void link_make_fence(struct esp_link *link, const struct esp_request *request) {
    link->behind = *request;
    link->is_fencing = true;
    if (esp_request_opcode(request) == ESP_READ_REG)
        esp_request_write_reg(&link->request, SCRATCH_REGISTER, 0);
    else
        esp_request_read_reg(&link->request, MAGIC_REGISTER);
}
