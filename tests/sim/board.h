// One simulated board: power, straps, reset, the loader or firmware that runs, and what a test may do to it.
// All times are CLOCK_MONOTONIC nanoseconds; `now` is the time of the event that is being handled.
#pragma once

#include "tests/sim/fault.h"
#include "tests/sim/flash.h"
#include "tests/sim/image.h"
#include "tests/sim/loader.h"
#include "tests/sim/ram.h"
#include "tests/sim/regs.h"
#include "tests/sim/slip.h"
#include "tests/sim/stub.h"
#include "tests/sim/wire.h"
#include "tests/sim/work.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum chip_state {
    CHIP_OFF,      // no power
    CHIP_HELD,     // EN is low
    CHIP_BOOTING,  // from reset to the loader or the firmware; also the endless "flash read err" loop
    CHIP_DOWNLOAD, // a serial loader listens
    CHIP_RUNNING,  // the firmware in flash runs
    CHIP_BASIC,    // the ROM's BASIC, after FLASH_END
    CHIP_RAM_CODE, // an uploaded program that the simulator doesn't know, or a stub that never says OHAI
    CHIP_HALTED,   // the second stage found no app to start
};

const char *chip_state_name(enum chip_state s);

enum reset_cause {
    RESET_POWERON = 0x1,
    RESET_SOFTWARE = 0xC,
    RESET_BROWNOUT = 0xF,
    RESET_WATCHDOG = 0x10,
};

enum board_timer {
    TIMER_STRAP, // EN has risen: sample the straps, print the log
    TIMER_BOOT,  // the next step of booting
    TIMER_FAULT, // a fault strikes while the chip is busy; before BUSY, which may be due at the same time
    TIMER_BUSY,  // the command's time is over
    TIMER_WORK,  // a step of what goes on after a reply is over
    N_BOARD_TIMERS,
};

enum boot_step {
    BOOT_TO_LOADER,
    BOOT_TO_FIRMWARE,
    BOOT_AGAIN,    // watchdog
    BOOT_BROWNOUT, // the supply dips once more
};

struct repl {
    bool raw;         // raw REPL
    bool in_main_py;  // main.py runs: no prompt
    bool names_known; // the image has a uname cluster
    struct firmware_names names;
    char line[1024];
    size_t len;
};

struct board_settings {
    bool no_tx_log;         // GPIO15 low: the ROM prints nothing
    bool ignore_baud;       // CHANGE_BAUDRATE is acknowledged, nothing more
    bool lines_dead;        // DTR and RTS lead nowhere, as on the Expansion Board 2.0
    uint32_t block_max;     // 0 = the loader's own
    bool main_py_endless;   // the firmware's main.py never ends: no banner
    bool stub_no_ohai;      // an uploaded stub starts and says nothing
    bool stub_lost_mem_end; // the ROM's reply to the jump is lost
};

struct board_counters {
    uint64_t resets;          // of any cause
    uint64_t watchdog_resets; // of these, the chip's own: nothing to boot
    uint64_t line_resets;     // of these, by DTR and RTS; counted when EN goes low
    uint64_t boots;           // firmware starts
    uint64_t rx_lost;         // bytes beyond the FIFO of a busy chip
    uint64_t frames;
    uint64_t ctrl_f;
    uint64_t line_changes; // DTR or RTS or both, at one stroke
    uint64_t commands[256];
};

struct board {
    int64_t now;
    char tty_path[PATH_MAX];
    struct chip_facts chip;
    struct regs regs;
    struct flash flash;
    struct wire wire;
    struct faults faults;
    struct board_settings set;
    struct board_counters n;

    enum chip_state state;
    bool jumper;   // G23-GND
    bool dtr, rts; // asserted
    bool gpio0_low_at_reset;
    enum reset_cause cause;
    unsigned brownouts; // how many more
    enum boot_step boot_step;
    uint32_t app; // offset of the app that boots
    int64_t timers[N_BOARD_TIMERS];

    // the loader
    struct loader_state loader;
    struct stub_state stub;
    struct ram ram;
    struct work work;
    struct slip_decoder slip;
    bool mute;          // neither hears nor speaks until reset
    uint32_t lose_left; // bytes to lose on the way in
    uint64_t frame_no;  // of the frame that is coming in
    uint8_t fifo[128];
    size_t fifo_len;
    bool frame_waits;   // a whole frame is in `slip` and the loader is busy: `by_interrupt` only
    bool corrupt_later; // once what goes on after the reply is done
    bool busy;
    int64_t busy_since;
    uint8_t busy_opcode;
    struct outcome outcome;
    struct fault reply_fault; // strikes the reply of the command in hand; .used = there is one
    struct fault busy_fault;  // strikes while the command runs
    bool awaiting_sent;       // the reply is leaving
    bool stirred;             // the byte in hand has started something
    struct repl repl;
};

void board_init(struct board *b, const char *tty_path, bool fast);
void board_deinit(struct board *b);

// What a person can do. Return 0 or a negative errno where it says int.
int board_plug(struct board *b);
void board_unplug(struct board *b);
void board_power_cut(struct board *b);
void board_press_reset(struct board *b);
void board_set_jumper(struct board *b, bool on);
// DTR and RTS through the two transistors: DTR alone pulls GPIO0 low, RTS alone pulls EN low, both together
// do nothing.
void board_set_lines(struct board *b, bool dtr, bool rts);

void board_reset(struct board *b, enum reset_cause cause);
void board_brownout(struct board *b);
bool board_gpio0_is_low(const struct board *b);
void board_set_state(struct board *b, enum chip_state s);
void board_set_timer(struct board *b, enum board_timer t, int64_t delay_us);
void board_print(struct board *b, const char *text); // firmware and other programs
void board_send(struct board *b, const void *bytes, size_t len);

// Sets the chip's own rate and its divider register.
void board_set_baud(struct board *b, uint32_t baud, uint32_t clkdiv);

// The event loop's side: next event, when to wake, and handling of all that is due by `now`.
int64_t board_wake(const struct board *b);
void board_run(struct board *b, int64_t now);

// ---- boot.c
// ---------------------------------------------------------------------------------------------------------

void boot_on_strap(struct board *b);
void boot_on_timer(struct board *b);

// ---- session.c: the loader's frames in, replies out, faults
// -----------------------------------------------------------

void session_start(struct board *b, const struct loader *loader);
void session_stop(struct board *b);
void session_on_byte(struct board *b, uint8_t byte);
void session_on_busy_end(struct board *b);
void session_on_fault_timer(struct board *b);
void session_on_work_end(struct board *b);
void session_on_sent(struct board *b);

// ---- repl.c
// ---------------------------------------------------------------------------------------------------------

void repl_start(struct board *b);
void repl_on_byte(struct board *b, uint8_t byte);
void basic_on_byte(struct board *b, uint8_t byte);
