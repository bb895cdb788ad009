/* A ROM, or a stub that was left, has answered: who it is, and what is on its flash. */

#include <string.h>

#include "daemon/flash/visit_steps.h"

#define BOOTLOADER_OFFSET 0x1000u

/* A chip that loses more replies than this is not read, but seen. */
enum { FAILURES_MOST = 4 };

static void ask(struct flash_visit *visit);

static void finish(struct flash_visit *visit) {
    visit->report.seen = visit->is_stub ? BOARD_SEEN_STUB : BOARD_SEEN_DOWNLOAD;
    visit_report(visit, true);
}

/* Thorough: who can't tell what a board has can't tell whether it is newer. Where the version isn't at one of
 * the usual places that takes half a minute at the first rate. */
static void begin_probe(struct flash_visit *visit) {
    flash_probe_init(&visit->probe, esp_link_loader(visit->link), visit->identify.chip.flash_bytes, true);
    visit->probe.first_hint = visit->request.version_at;
}

/* The next thing to ask, or false when all was read. */
static bool next_request(struct flash_visit *visit, struct esp_request *ret) {
    const struct esp_chip *chip = &visit->identify.chip;
    struct flash_visit_report *report = &visit->report;

    switch (visit->read) {
    case READ_CHIP:
        if (esp_identify_next(&visit->identify, ret))
            return true;
        report->is_esp32 = chip->magic == ESP_MAGIC_ESP32;
        if (!report->is_esp32)
            return false;
        /* A stub has changed what the crystal is told by. */
        flash_board_take_chip(&report->board, chip, visit->is_stub ? 0 : esp_link_baud(visit->link));
        report->is_encrypted = esp_chip_is_encrypted(chip);
        report->is_secure_boot = esp_chip_is_secure_boot(chip);
        /* What is read of an encrypted flash means nothing. */
        if (report->is_encrypted || !chip->flash_bytes)
            return false;
        visit->read = READ_FLASH;
        begin_probe(visit);
        /* fall through */
    case READ_FLASH:
        if (flash_probe_next(&visit->probe, ret))
            return true;
        flash_board_take_probe(&report->board, &visit->probe);
        if (!report->board.is_blank)
            return false;
        visit->read = READ_BOOTLOADER;
        /* fall through */
    case READ_BOOTLOADER:
        /* Firmware of another maker may have its table elsewhere: a board with a bootloader but without a
         * table is not blank. With a table, and nothing where it says that the application is, it is. */
        if (visit->probe.has_table || visit->is_stub)
            return false;
        esp_request_read_flash_slow(ret, BOOTLOADER_OFFSET, ESP_READ_SLOW_BYTES);
        return true;
    }
    return false;
}

/* True: that was the last. */
static bool take(struct flash_visit *visit, const struct esp_reply *reply) {
    switch (visit->read) {
    case READ_CHIP:
        esp_identify_take(&visit->identify, reply);
        return false;
    case READ_FLASH:
        flash_probe_take(&visit->probe, reply);
        return false;
    case READ_BOOTLOADER:
        for (size_t i = 0; i < ESP_READ_SLOW_BYTES; i++)
            if (reply->payload[i] != 0xff)
                visit->report.board.is_blank = false;
        return true;
    }
    return true;
}

/* As much as one command spoils is begun again. */
static void again(struct flash_visit *visit) {
    const struct esp_loader *loader = esp_link_loader(visit->link);

    switch (visit->read) {
    case READ_CHIP:
        esp_identify_init(&visit->identify, loader);
        break;
    case READ_FLASH:
        begin_probe(visit);
        break;
    case READ_BOOTLOADER:
        break;
    }
    ask(visit);
}

static void give_up(struct flash_visit *visit) {
    bool was_stub = visit->is_stub;

    visit_forget_board(visit);
    visit->is_stub = was_stub;
    visit->is_unreadable = !was_stub;
    visit_without_rom(visit);
}

static void on_reply(void *userdata, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_visit *visit = userdata;

    if (visit_is_gone(visit, outcome))
        return;
    if (outcome == ESP_OK) {
        if (take(visit, reply))
            finish(visit);
        else
            ask(visit);
        return;
    }
    if (visit_take_news(visit)) /* it was reset meanwhile */
        return;
    if (++visit->failures > FAILURES_MOST) {
        give_up(visit);
    } else if (outcome == ESP_LOST) {
        visit->is_unreadable = true; /* unless it answers again */
        visit_sync(visit);
    } else {
        again(visit);
    }
}

static void ask(struct flash_visit *visit) {
    struct esp_request request;

    if (next_request(visit, &request))
        esp_link_request(visit->link, &request, on_reply);
    else
        finish(visit);
}

void visit_read(struct flash_visit *visit) {
    visit->read = READ_CHIP;
    again(visit);
}
