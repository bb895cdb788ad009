#pragma once

/*
 * A visit on a pseudo-terminal with a board at its other end, both in one loop. The board is dumb, a ROM, or
 * a firmware with MicroPython's prompt; every byte that it is sent is kept.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "daemon/base/bytes.h"
#include "daemon/esp/chip.h"
#include "daemon/esp/slip.h"
#include "daemon/flash/visit.h"

#define GUARD_MS   40000
#define SYNC_BYTES 46 /* on the wire */
#define LISTEN_MS  60
#define ROM_DOWNLOAD                                                                                         \
    "ets Jun  8 2016 00:22:57\r\n\r\n"                                                                       \
    "rst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\r\n"                      \
    "waiting for download\r\n"
#define ROM_BOOT                                                                                             \
    "ets Jun  8 2016 00:22:57\r\n\r\n"                                                                       \
    "rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"
#define BANNER                                                                                               \
    "Pycom MicroPython 1.20.2.r4 [v1.20.1.r2-392-gdeadbee] on 2021-01-12; WiPy with ESP32\r\n"               \
    "Type \"help()\" for more information.\r\n"
#define OLD_BANNER "MicroPython v1.8.6-760-g90b72952 on 2017-09-01; WiPy with ESP32\r\n"
#define UNAME                                                                                                \
    "(sysname='WiPy', nodename='WiPy', release='1.8.0.b1', version='v1.8.6-760-g90b72952 on 2017-09-01', "   \
    "machine='WiPy with ESP32')\r\n"

enum board { DUMB, ROM, PROMPT, PROGRAM };

struct bench {
    uv_loop_t loop;
    uv_timer_t guard, ticker;
    uint64_t deadline, pass_end; /* uv_hrtime */
    bool late;

    struct flash_visit_request request;
    struct flash_visit *visit;
    struct flash_visit_report report;
    bool in_call; /* no callback may run meanwhile */
    bool close_in_report, give_back;
    uint64_t listen_in_report; /* ms; 0: don't */
    unsigned n_reports, n_closed;

    /* the board */
    int master;
    char path[64];
    uv_poll_t poll;
    bool is_polled;
    enum board board;
    unsigned answers_from; /* the n-th SYNC is the first that is answered */
    uint64_t answers_late_ms;
    unsigned fails_from; /* from the n-th command on there is no answer but to SYNC; 0: never */
    const char *banner;
    uint32_t sync_value, magic, jedec, efuse[7];
    bool has_app, has_bootloader, has_table, has_text_for_program;
    struct slip_decoder decoder;
    char line[4096];
    size_t line_size;
    bool is_raw;
    unsigned n_syncs, n_commands, n_delimiters, n_restarts, n_stops;
    uint8_t sent[65536];
    size_t n_sent;
    void (*on_tick)(struct bench *bench);
    const char *tick_text;
    unsigned n_ticks;
};

static inline void say(struct bench *bench, const void *bytes, size_t size) {
    if (bench->is_polled)
        (void)!write(bench->master, bytes, size);
}

static inline void say_text(struct bench *bench, const char *text) {
    say(bench, text, strlen(text));
}

static inline size_t add_reply(uint8_t *out, size_t n, uint8_t opcode, uint32_t value, const void *payload,
                               size_t size) {
    uint8_t frame[128] = { 1, opcode };

    put_le16(frame + 2, (uint32_t)size + 4);
    put_le32(frame + 4, value);
    if (size)
        memcpy(frame + 8, payload, size);
    out[n++] = 0xc0;
    n += slip_encode(frame, 12 + size, out + n);
    out[n++] = 0xc0;
    return n;
}

static inline void say_syncs(struct bench *bench) {
    uint8_t out[512];
    size_t size = 0;

    for (unsigned i = 0; i < 8; i++)
        size = add_reply(out, size, ESP_SYNC, bench->sync_value, NULL, 0);
    say(bench, out, size);
}

static inline void on_ticker(uv_timer_t *timer) {
    struct bench *bench = timer->data;

    bench->n_ticks++;
    bench->on_tick(bench);
}

static inline void tick(struct bench *bench, uint64_t ms, uint64_t again_ms,
                        void (*on_tick)(struct bench *bench)) {
    bench->on_tick = on_tick;
    uv_timer_start(&bench->ticker, on_ticker, ms, again_ms);
}

static inline void say_tick_text(struct bench *bench) {
    say_text(bench, bench->tick_text);
}

static inline void say_later(struct bench *bench, uint64_t ms, const char *text) {
    bench->tick_text = text;
    tick(bench, ms, 0, say_tick_text);
}

static inline uint32_t register_value(const struct bench *bench, uint32_t address) {
    if (address >= 0x3ff5a000 && address < 0x3ff5a01c)
        return bench->efuse[(address - 0x3ff5a000) / 4];
    switch (address) {
    case ESP_MAGIC_ADDRESS:
        return bench->magic;
    case 0x3ff42080:
        return bench->jedec;
    case 0x3ff40014:
        return 347; /* 40 MHz / 115200 */
    default:
        return 0;
    }
}

/* A partition table with factory alone, at 0x10000, and the cluster where 1.18 has it. */
static inline void read_flash(const struct bench *bench, uint32_t offset, uint8_t *ret) {
    static const uint8_t entry[32] = { 0xaa, 0x50, 0, 0, 0, 0, 1, 0, 0, 0, 0x18, 0, 'f' };
    static const char cluster[] = "\0\0WiPy with ESP32\0v1.8.6-849-b0520f1 on 2018-08-29\0"
                                  "1.18.1.r1\0";
    memset(ret, 0xff, 64);
    if (offset == 0x1000 && bench->has_bootloader)
        ret[0] = 0xe9;
    if (offset == 0x8000 && bench->has_table)
        memcpy(ret, entry, sizeof entry);
    if (!bench->has_app)
        return;
    if (offset == 0x10000)
        ret[0] = 0xe9;
    for (size_t i = 0; i < 64; i++)
        if (offset + i >= 0x12b40 && offset + i < 0x12b40 + sizeof cluster)
            ret[i] = (uint8_t)cluster[offset + i - 0x12b40];
}

static inline void say_late_syncs(struct bench *bench) {
    say_syncs(bench);
}

static inline void on_frame(struct bench *bench, const uint8_t *frame) {
    uint8_t out[256], flash[64];

    if (frame[1] == ESP_SYNC) {
        bench->n_syncs++;
        if (bench->board != ROM || bench->n_syncs < bench->answers_from)
            return;
        if (bench->answers_late_ms)
            tick(bench, bench->answers_late_ms, 0, say_late_syncs);
        else
            say_syncs(bench);
        return;
    }
    bench->n_commands++;
    if (bench->board != ROM || (bench->fails_from && bench->n_commands >= bench->fails_from))
        return;
    if (frame[1] == ESP_READ_FLASH_SLOW) {
        read_flash(bench, get_le32(frame + 8), flash);
        say(bench, out, add_reply(out, 0, frame[1], 0, flash, sizeof flash));
        return;
    }
    say(bench, out, add_reply(out, 0, frame[1], register_value(bench, get_le32(frame + 8)), NULL, 0));
}

static inline void print_banner(struct bench *bench) {
    bench->is_raw = false;
    bench->line_size = 0;
    say_text(bench, bench->banner);
    say_text(bench, ">>> ");
}

/* MicroPython's line editing: control characters mean something on an empty line only. */
static inline void on_prompt_byte(struct bench *bench, uint8_t byte) {
    bool is_empty = bench->line_size == 0;

    if (bench->is_raw && byte == 4 && !is_empty) {
        bench->line[bench->line_size] = 0;
        say_text(bench, "OK");
        if (!strcmp(bench->line, "import uos;print(uos.uname())"))
            say_text(bench, UNAME);
        say(bench, "\4\4>", 3);
        bench->line_size = 0;
        return;
    }
    switch (byte) {
    case 1:
        if (is_empty) {
            bench->is_raw = true;
            say_text(bench, "raw REPL; CTRL-B to exit\r\n>");
        }
        return;
    case 2:
        if (is_empty || bench->is_raw) {
            say_text(bench, "\r\n");
            print_banner(bench);
        }
        return;
    case 3:
        bench->line_size = 0;
        say_text(bench, "\r\n>>> ");
        return;
    case 4:
        if (is_empty) {
            bench->n_restarts++;
            bench->board = bench->n_stops ? PROGRAM : PROMPT;
            say_text(bench, "PYB: soft reboot\r\n");
        }
        return;
    case 8:
    case 0x7f:
        if (!is_empty) {
            bench->line_size--;
            say_text(bench, "\b\x1b[K");
        }
        return;
    default:
        if (byte >= 0x20 && byte < 0x7f && bench->line_size < sizeof bench->line - 1) {
            bench->line[bench->line_size++] = (char)byte;
            if (!bench->is_raw)
                say(bench, &byte, 1);
        }
    }
}

static inline void on_board_byte(struct bench *bench, uint8_t byte) {
    bench->n_delimiters += byte == 0xc0;
    if (slip_decode(&bench->decoder, byte) == SLIP_FRAME)
        on_frame(bench, bench->decoder.frame);
    if (bench->board == PROMPT) {
        on_prompt_byte(bench, byte);
    } else if (bench->board == PROGRAM && byte == 3) {
        bench->n_stops++;
        bench->board = PROMPT;
        say_text(bench, "Traceback (most recent call last):\r\nKeyboardInterrupt: \r\n");
        print_banner(bench);
    }
}

static inline void on_master(uv_poll_t *poll, int status, int events) {
    struct bench *bench = poll->data;
    uint8_t bytes[4096];
    ssize_t n = read(bench->master, bytes, sizeof bytes);

    (void)status;
    (void)events;
    if (n < 0 && errno != EAGAIN) /* nobody has the other end open */
        uv_poll_stop(poll);
    for (ssize_t i = 0; i < n && bench->is_polled; i++) {
        assert_true(bench->n_sent < sizeof bench->sent);
        bench->sent[bench->n_sent++] = bytes[i];
        on_board_byte(bench, bytes[i]);
    }
}

/* Unplugs. */
static inline void board_goes(struct bench *bench) {
    uv_close((uv_handle_t *)&bench->poll, NULL);
    bench->is_polled = false;
    close(bench->master);
}

/* ---- the visit ---------------------------------------------------------------------------------- */

static inline void on_closed(void *userdata) {
    struct bench *bench = userdata;

    assert_false(bench->in_call);
    bench->n_closed++;
}

static inline void close_visit(struct bench *bench) {
    bench->in_call = true;
    flash_visit_close(bench->visit, bench->give_back, on_closed, bench);
    bench->in_call = false;
    bench->visit = NULL;
}

static inline void listen_on(struct bench *bench, uint64_t ms) {
    uv_update_time(&bench->loop);
    bench->in_call = true;
    bench->n_reports = 0;
    flash_visit_listen(bench->visit, ms);
    bench->in_call = false;
}

static inline void on_report(void *userdata, struct flash_visit *visit,
                             const struct flash_visit_report *report) {
    struct bench *bench = userdata;

    assert_false(bench->in_call);
    assert_ptr_equal(visit, bench->visit); /* and not after it was closed */
    bench->n_reports++;
    bench->report = *report;
    if (bench->close_in_report) {
        close_visit(bench);
    } else if (bench->listen_in_report) {
        uint64_t ms = bench->listen_in_report;

        bench->listen_in_report = 0;
        listen_on(bench, ms);
    }
}

static inline void start(struct bench *bench) {
    static const struct flash_visit_events events = { on_report };

    bench->request.node = bench->path;
    bench->request.device = "ttyTEST";
    uv_update_time(&bench->loop);
    assert_int_equal(flash_visit_start(&bench->visit, &bench->loop, &bench->request, &events, bench), 0);
}

static inline void on_guard(uv_timer_t *timer) {
    struct bench *bench = timer->data;

    bench->late = uv_hrtime() > bench->deadline;
}

static inline void run_until(struct bench *bench, bool (*reached)(const struct bench *bench)) {
    bench->deadline = uv_hrtime() + GUARD_MS * UINT64_C(1000000);
    uv_timer_start(&bench->guard, on_guard, 5, 5);
    if (bench->is_polled)
        uv_poll_start(&bench->poll, UV_READABLE, on_master);
    while (!reached(bench) && !bench->late) {
        uv_run(&bench->loop, UV_RUN_ONCE);
        /* It stops where nobody has the other end open. */
        if (bench->is_polled && !uv_is_active((uv_handle_t *)&bench->poll))
            uv_poll_start(&bench->poll, UV_READABLE, on_master);
    }
    uv_timer_stop(&bench->guard);
    assert_false(bench->late);
}

static inline bool has_report(const struct bench *bench) {
    return bench->n_reports > 0;
}

static inline bool is_closed(const struct bench *bench) {
    return bench->n_closed > 0;
}

/* Runs until the report; gives back how many ms that took. */
static inline uint64_t wait_report(struct bench *bench) {
    uint64_t begin = uv_hrtime();

    run_until(bench, has_report);
    assert_int_equal(bench->n_reports, 1);
    return (uv_hrtime() - begin) / 1000000;
}

static inline uint64_t visit(struct bench *bench) {
    start(bench);
    return wait_report(bench);
}

static inline bool has_passed(const struct bench *bench) {
    return uv_hrtime() > bench->pass_end;
}

static inline void pass(struct bench *bench, uint64_t ms) {
    bench->pass_end = uv_hrtime() + ms * 1000000;
    run_until(bench, has_passed);
}

/* The visit has the port open: what is said before that is thrown away. */
static inline bool is_open(const struct bench *bench) {
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;
    bool found = false;
    char path[256];

    while ((entry = readdir(dir))) {
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, path, sizeof path - 1);

        path[n < 0 ? 0 : n] = 0;
        found |= !strcmp(path, bench->path);
    }
    closedir(dir);
    return found;
}

static inline void start_and_say(struct bench *bench, const void *bytes, size_t size) {
    start(bench);
    run_until(bench, is_open);
    say(bench, bytes, size);
}

/* For the next visit to the same port. */
static inline void close_and_begin_anew(struct bench *bench) {
    uv_timer_stop(&bench->ticker);
    if (bench->visit)
        close_visit(bench);
    run_until(bench, is_closed);
    bench->n_reports = bench->n_closed = bench->n_syncs = bench->n_commands = bench->n_delimiters = 0;
    bench->n_sent = 0; /* what stands at the prompt goes on standing there */
}

static inline size_t count_sent(const struct bench *bench, uint8_t byte) {
    size_t n = 0;

    for (size_t i = 0; i < bench->n_sent; i++)
        n += bench->sent[i] == byte;
    return n;
}

static inline void assert_only_syncs(const struct bench *bench, unsigned n) {
    assert_int_equal(bench->report.syncs, n);
    assert_int_equal(bench->n_syncs, n);
    assert_int_equal(bench->n_delimiters, n * 2);
    assert_int_equal(bench->n_sent, n * SYNC_BYTES);
}

static inline int set_up(void **state) {
    struct bench *bench = calloc(1, sizeof *bench);
    struct termios tio;

    assert_int_equal(uv_loop_init(&bench->loop), 0);
    uv_timer_init(&bench->loop, &bench->guard);
    uv_timer_init(&bench->loop, &bench->ticker);
    bench->guard.data = bench->ticker.data = bench->poll.data = bench;
    slip_decoder_reset(&bench->decoder, 256);
    bench->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    assert_true(bench->master >= 0);
    assert_int_equal(unlockpt(bench->master), 0);
    assert_int_equal(ptsname_r(bench->master, bench->path, sizeof bench->path), 0);
    assert_int_equal(tcgetattr(bench->master, &tio), 0);
    cfmakeraw(&tio); /* no echo while nobody has it open */
    assert_int_equal(tcsetattr(bench->master, TCSANOW, &tio), 0);
    assert_int_equal(uv_poll_init(&bench->loop, &bench->poll, bench->master), 0);
    bench->is_polled = true;
    bench->request.listen_ms = LISTEN_MS;
    bench->request.syncs = 3;
    bench->banner = BANNER;
    bench->sync_value = ESP_SYNC_ROM;
    bench->magic = ESP_MAGIC_ESP32;
    bench->jedec = 0x1640c8;
    bench->efuse[1] = 0xa4010203;
    bench->efuse[2] = 0x00cd30ae;
    bench->has_table = bench->has_bootloader = bench->has_app = true;
    *state = bench;
    return 0;
}

static inline int tear_down(void **state) {
    struct bench *bench = *state;

    bench->close_in_report = false;
    bench->listen_in_report = 0;
    uv_timer_stop(&bench->ticker);
    if (bench->visit)
        close_visit(bench);
    else if (!bench->n_closed)
        bench->n_closed++;
    run_until(bench, is_closed);
    assert_int_equal(bench->n_closed, 1);
    if (bench->board != ROM) /* what a ROM is asked may hold any byte */
        assert_int_equal(count_sent(bench, 6), 0);
    if (bench->is_polled)
        board_goes(bench);
    uv_close((uv_handle_t *)&bench->guard, NULL);
    uv_close((uv_handle_t *)&bench->ticker, NULL);
    assert_int_equal(uv_run(&bench->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&bench->loop), 0);
    free(bench);
    return 0;
}
