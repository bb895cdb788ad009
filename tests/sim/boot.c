// From reset to a listening loader or a running firmware: the ROM's log, the second stage's choice, the
// firmware's start.
#include "tests/sim/board.h"

#include <stdio.h>
#include <string.h>

#define FLASH_ERROR_AGAIN_US 350000 // the watchdog's patience
#define BROWNOUT_AGAIN_US    300000
#define FIRMWARE_START_US    400000

static void rom_print(struct board *b, const char *text) {
    if (!b->set.no_tx_log)
        board_print(b, text);
}

static const char *cause_text(enum reset_cause c) {
    switch (c) {
    case RESET_POWERON:
        return "rst:0x1 (POWERON_RESET)";
    case RESET_SOFTWARE:
        return "rst:0xc (SW_CPU_RESET)";
    case RESET_BROWNOUT:
        return "rst:0xf (RTCWDT_BROWN_OUT_RESET)";
    case RESET_WATCHDOG:
        return "rst:0x10 (RTCWDT_RTC_RESET)";
    }
    return "";
}

static void next_step(struct board *b, enum boot_step step, int64_t delay_us) {
    b->boot_step = step;
    board_set_timer(b, TIMER_BOOT, delay_us);
}

// Without pacing the chip takes no time either.
static int64_t chip_us(const struct board *b, int64_t us) {
    return b->wire.set.fast ? 0 : us;
}

static int64_t log_us(const struct board *b) {
    return wire_duration(&b->wire, b->wire.tx_len) / 1000;
}

static void print_load(struct board *b, const struct image *image) {
    static const char *const modes[] = { "QIO", "QOUT", "DIO", "DOUT" };
    char text[160];

    rom_print(b, "configsip: 0, SPIWP:0x00\r\n"
                 "clk_drv:0x00,q_drv:0x00,d_drv:0x00,cs0_drv:0x00,hd_drv:0x00,wp_drv:0x00\r\n");
    snprintf(text, sizeof(text), "mode:%s, clock div:1\r\n", modes[image->mode & 3]);
    rom_print(b, text);
    for (unsigned i = 0; i < image->n_segments; i++) {
        snprintf(text, sizeof(text), "load:0x%08x,len:%u\r\n", image->segments[i].address,
                 image->segments[i].len);
        rom_print(b, text);
    }
    snprintf(text, sizeof(text), "entry 0x%08x\r\n", image->entry);
    rom_print(b, text);
}

static void boot_from_flash(struct board *b) {
    struct image image;
    struct partitions table;
    char text[80];

    image_check(&b->flash, 0x1000, &image);
    switch (image.verdict) {
    case IMAGE_BAD_CHECKSUM:
        snprintf(text, sizeof(text), "csum err:0x%02x!=0x%02x\r\nets_main.c 371 \r\n", image.checksum,
                 image.checksum_wanted);
        rom_print(b, text);
        next_step(b, BOOT_AGAIN, FLASH_ERROR_AGAIN_US);
        return;
    case IMAGE_NO_MAGIC:
    case IMAGE_BAD_LAYOUT:
        rom_print(b, "flash read err, 1000\r\nets_main.c 371 \r\n");
        next_step(b, BOOT_AGAIN, FLASH_ERROR_AGAIN_US);
        return;
    case IMAGE_BAD_SHA256: // the ROM doesn't look at it
    case IMAGE_GOOD:
        break;
    }
    print_load(b, &image);
    partitions_read(&b->flash, &table);
    b->app = boot_select(&b->flash, &table);
    next_step(b, BOOT_TO_FIRMWARE, chip_us(b, FIRMWARE_START_US) + log_us(b));
}

static void start_firmware(struct board *b) {
    struct image app;

    image_check(&b->flash, b->app, &app);
    if (b->app == 0 || app.verdict != IMAGE_GOOD) {
        board_print(b, "Cannot load Firmware img in the active partition\r\n");
        board_set_state(b, CHIP_HALTED);
        return;
    }
    b->n.boots++;
    board_set_state(b, CHIP_RUNNING);
    repl_start(b);
}

void boot_on_strap(struct board *b) {
    char text[200];
    bool download;

    if (b->cause != RESET_SOFTWARE)
        b->gpio0_low_at_reset = board_gpio0_is_low(b);
    download = b->gpio0_low_at_reset;
    b->regs.strap = (download ? 0x03u : 0x13u) & (b->set.no_tx_log ? ~2u : ~0u);
    if (b->cause == RESET_BROWNOUT)
        board_print(b, "\r\nBrownout detector was triggered\r\n\r\n");
    snprintf(text, sizeof(text), "ets %s\r\n\r\n%s,boot:0x%x (%s)\r\n",
             b->chip.apb_ctl_date >> 31 ? "Jul 29 2019 12:21:46" : "Jun  8 2016 00:22:57",
             cause_text(b->cause), b->regs.strap,
             download ? "DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2)" : "SPI_FAST_FLASH_BOOT");
    rom_print(b, text);
    if (b->brownouts > 0) {
        b->brownouts--;
        next_step(b, BOOT_BROWNOUT, BROWNOUT_AGAIN_US);
    } else if (download) {
        rom_print(b, "waiting for download\r\n");
        next_step(b, BOOT_TO_LOADER, log_us(b));
    } else {
        boot_from_flash(b);
    }
}

void boot_on_timer(struct board *b) {
    switch (b->boot_step) {
    case BOOT_TO_LOADER:
        session_start(b, &loader_rom);
        b->wire.autobaud = true;
        board_set_state(b, CHIP_DOWNLOAD);
        break;
    case BOOT_TO_FIRMWARE:
        start_firmware(b);
        break;
    case BOOT_AGAIN:
        board_reset(b, RESET_WATCHDOG);
        break;
    case BOOT_BROWNOUT:
        board_reset(b, RESET_BROWNOUT);
        break;
    }
}
