#pragma once

/* Chips for a link, and how to see that it is well. */

#include "tests/unit/test_esp_link_bench.h"

#define ONE 0x3ff5a004u
#define TWO 0x3ff5a008u

/* A chip that is well: a register's value is its address, turned round. */
static inline void answer_well(struct bench *bench, const uint8_t *frame, size_t size) {
    uint8_t out[128];

    (void)size;
    switch (frame[1]) {
    case ESP_SYNC:
        say_syncs(bench, 8, ESP_SYNC_ROM);
        return;
    case ESP_READ_REG:
        say_reply(bench, ESP_READ_REG, ~get_le32(frame + 8));
        return;
    case ESP_SPI_FLASH_MD5:
        say(bench, out,
            add_reply(out, 0, ESP_SPI_FLASH_MD5, 0, "6ae59e64850377ee5470c854761551ea", 32, 0, 0));
        return;
    default:
        say_reply(bench, frame[1], 0);
    }
}

static inline void answer_syncs_only(struct bench *bench, const uint8_t *frame, size_t size) {
    (void)size;
    if (frame[1] == ESP_SYNC)
        say_syncs(bench, 8, ESP_SYNC_ROM);
}

/* Whatever happened before: the next command gets its own reply. */
static inline void assert_listens(struct bench *bench) {
    bench->on_request = answer_well;
    ask_register(bench, TWO, LONG_MS);
    wait_done(bench);
    assert_value(bench, ~TWO);
}

static inline void say_chatter(struct bench *bench) {
    say_text(bench, "temperature 21.5\r\n");
}
