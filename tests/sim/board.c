#include "tests/sim/board.h"

#include <string.h>

#define EN_RISE_US 2000 // the capacitor at EN: straps are sampled this long after it is let go

const char *chip_state_name(enum chip_state s) {
    switch (s) {
    case CHIP_OFF:
        return "off";
    case CHIP_HELD:
        return "held";
    case CHIP_BOOTING:
        return "booting";
    case CHIP_DOWNLOAD:
        return "download";
    case CHIP_RUNNING:
        return "running";
    case CHIP_BASIC:
        return "basic";
    case CHIP_RAM_CODE:
        return "ram-code";
    case CHIP_HALTED:
        return "halted";
    }
    return "";
}

// ---- the wire's callbacks
// -------------------------------------------------------------------------------------------

static bool on_byte(void *ctx, int64_t now, uint8_t byte) {
    struct board *b = ctx;

    b->now = now;
    b->stirred = false;
    switch (b->state) {
    case CHIP_DOWNLOAD:
        session_on_byte(b, byte);
        break;
    case CHIP_RUNNING:
        repl_on_byte(b, byte);
        break;
    case CHIP_BASIC:
        basic_on_byte(b, byte);
        break;
    case CHIP_OFF:
    case CHIP_HELD:
    case CHIP_BOOTING:
    case CHIP_RAM_CODE:
    case CHIP_HALTED:
        break;
    }
    return b->stirred;
}

static void on_sent(void *ctx, int64_t now) {
    struct board *b = ctx;

    b->now = now;
    session_on_sent(b);
}

static const struct wire_ops wire_ops = { .on_byte = on_byte, .on_sent = on_sent };

// ---- small parts
// ----------------------------------------------------------------------------------------------------

void board_init(struct board *b, const char *tty_path, bool fast) {
    wire_init(&b->wire, &wire_ops, b);
    b->wire.set.fast = fast;
    strncpy(b->tty_path, tty_path, sizeof(b->tty_path) - 1);
    b->state = CHIP_OFF;
    for (int i = 0; i < N_BOARD_TIMERS; i++)
        b->timers[i] = TIME_NEVER;
}

void board_deinit(struct board *b) {
    session_stop(b);
    ram_clear(&b->ram);
    wire_deinit(&b->wire);
    flash_close(&b->flash);
}

void board_set_state(struct board *b, enum chip_state s) {
    b->state = s;
    b->stirred = true;
}

void board_set_timer(struct board *b, enum board_timer t, int64_t delay_us) {
    b->timers[t] = b->now + delay_us * 1000;
    b->stirred = true;
}

void board_send(struct board *b, const void *bytes, size_t len) {
    if (!b->mute)
        wire_send(&b->wire, b->now, bytes, len);
    b->stirred = true;
}

void board_print(struct board *b, const char *text) {
    board_send(b, text, strlen(text));
}

void board_set_baud(struct board *b, uint32_t baud, uint32_t clkdiv) {
    b->wire.chip_baud = baud;
    b->regs.clkdiv = clkdiv;
}

bool board_gpio0_is_low(const struct board *b) {
    return b->jumper || (b->dtr && !b->rts && !b->set.lines_dead);
}

static bool en_is_low(const struct board *b) {
    return b->rts && !b->dtr && !b->set.lines_dead;
}

// ---- reset and power
// ------------------------------------------------------------------------------------------------

// The chip ends what it does, in the middle.
static void stop(struct board *b, enum chip_state s) {
    session_stop(b);
    wire_cut(&b->wire, b->now);
    for (int i = 0; i < N_BOARD_TIMERS; i++)
        b->timers[i] = TIME_NEVER;
    b->mute = false;
    b->wire.autobaud = false;
    slip_reset(&b->slip);
    ram_clear(&b->ram);
    board_set_state(b, s);
}

static void restart(struct board *b, enum reset_cause cause, int64_t delay_us) {
    stop(b, en_is_low(b) ? CHIP_HELD : CHIP_BOOTING);
    b->n.resets++;
    b->n.watchdog_resets += cause == RESET_WATCHDOG;
    b->cause = cause;
    if (cause != RESET_BROWNOUT)
        b->brownouts = 0;
    regs_init(&b->regs, &b->chip, &b->flash);
    board_set_baud(b, 115200, b->chip.xtal_hz / 115200);
    if (b->state == CHIP_BOOTING)
        board_set_timer(b, TIMER_STRAP, delay_us);
}

void board_reset(struct board *b, enum reset_cause cause) {
    if (b->state != CHIP_OFF)
        restart(b, cause, b->wire.set.fast ? 0 : EN_RISE_US);
}

void board_brownout(struct board *b) {
    b->brownouts = 2;
    board_reset(b, RESET_BROWNOUT);
}

int board_plug(struct board *b) {
    int r;

    if (wire_is_plugged(&b->wire))
        return 0;
    r = wire_plug(&b->wire, b->tty_path);
    if (r < 0)
        return r;
    b->state = CHIP_BOOTING;
    board_reset(b, RESET_POWERON);
    return 0;
}

void board_unplug(struct board *b) {
    stop(b, CHIP_OFF);
    wire_unplug(&b->wire);
    b->dtr = b->rts = false; // they are the adapter's, which has lost its power too
}

void board_power_cut(struct board *b) {
    board_reset(b, RESET_POWERON);
}

void board_press_reset(struct board *b) {
    board_reset(b, RESET_POWERON);
}

void board_set_jumper(struct board *b, bool on) {
    b->jumper = on;
}

void board_set_lines(struct board *b, bool dtr, bool rts) {
    bool was_low = en_is_low(b);

    if (b->dtr != dtr || b->rts != rts)
        b->n.line_changes++;
    b->dtr = dtr;
    b->rts = rts;
    if (b->state == CHIP_OFF)
        return;
    if (!was_low && en_is_low(b)) {
        b->n.line_resets++;
        stop(b, CHIP_HELD);
    } else if (was_low && !en_is_low(b)) {
        restart(b, RESET_POWERON, EN_RISE_US);
    }
}

// ---- time
// -----------------------------------------------------------------------------------------------------------

static enum board_timer first_timer(const struct board *b) {
    enum board_timer first = TIMER_STRAP;

    for (int i = 0; i < N_BOARD_TIMERS; i++)
        if (b->timers[i] < b->timers[first])
            first = (enum board_timer)i;
    return first;
}

int64_t board_wake(const struct board *b) {
    int64_t timer = b->timers[first_timer(b)];
    int64_t wire = wire_wake(&b->wire);

    return timer < wire ? timer : wire;
}

static void run_timer(struct board *b, enum board_timer t) {
    b->now = b->timers[t];
    b->timers[t] = TIME_NEVER;
    switch (t) {
    case TIMER_STRAP:
        boot_on_strap(b);
        break;
    case TIMER_BOOT:
        boot_on_timer(b);
        break;
    case TIMER_BUSY:
        session_on_busy_end(b);
        break;
    case TIMER_FAULT:
        session_on_fault_timer(b);
        break;
    case TIMER_WORK:
        work_on_timer(b);
        break;
    case N_BOARD_TIMERS:
        break;
    }
}

void board_run(struct board *b, int64_t now) {
    for (;;) {
        enum board_timer t = first_timer(b);
        int64_t timer = b->timers[t];
        int64_t wire = wire_next(&b->wire);

        if (timer <= wire) {
            if (timer > now)
                break;
            run_timer(b, t);
        } else {
            if (wire > now)
                break;
            wire_run(&b->wire, wire, timer < now ? timer : now);
        }
    }
    if (b->now < now)
        b->now = now;
}
