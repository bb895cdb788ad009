#pragma once

/* Reset sequences over DTR and RTS (facts/esp32-serial-protocol.md 3, "DTR/RTS"). Asserted = pin low; DTR
 * drives GPIO0 and RTS drives EN through two cross-coupled transistors. */

#include <stdbool.h>
#include <stdint.h>

struct esp_reset_step {
    bool dtr, rts;
    uint16_t hold_ms;
};

struct esp_reset_sequence {
    const char *name;
    uint8_t n_steps;
    struct esp_reset_step steps[8];
};

/* Into download mode, in the order in which to try them; attempt counts from 0 and wraps round. */
const struct esp_reset_sequence *esp_reset_to_download(unsigned attempt);
/* Into the application. */
extern const struct esp_reset_sequence esp_reset_to_application;
