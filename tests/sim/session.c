// A loader's session: bytes to frames, frames to commands, the time they cost, replies, and the faults on the
// way.
#include "tests/sim/board.h"

#include <string.h>

void session_start(struct board *b, const struct loader *loader) {
    loader_start(b, loader);
    b->slip.manner = loader->slip;
    slip_reset(&b->slip);
    b->frame_no++;
}

// Ends the session. A flash operation that runs is cut short where it is.
void session_stop(struct board *b) {
    int64_t elapsed_us = b->busy ? (b->now - b->busy_since) / 1000 : 0;

    if (b->busy && b->wire.set.fast)
        elapsed_us = (int64_t)b->outcome.cost_us / 2;
    work_cut(b);
    flash_end(&b->flash, elapsed_us);
    loader_stop(b);
    wire_set_greeted(&b->wire, false);
    b->busy = false;
    b->fifo_len = 0;
    b->frame_waits = b->corrupt_later = false;
    b->lose_left = 0;
    b->awaiting_sent = false;
    b->reply_fault.used = false;
    b->busy_fault.used = false;
    b->timers[TIMER_BUSY] = TIME_NEVER;
    b->timers[TIMER_FAULT] = TIME_NEVER;
}

// Carries out a fault that befalls the whole board. False: the action is about the request or the reply.
static bool strike(struct board *b, const struct fault *f) {
    switch (f->action) {
    case FAULT_UNPLUG:
        board_unplug(b);
        return true;
    case FAULT_RESET:
        board_reset(b, RESET_POWERON);
        return true;
    case FAULT_POWER_CUT:
        board_power_cut(b);
        return true;
    case FAULT_BROWNOUT:
        board_brownout(b);
        return true;
    case FAULT_SILENCE:
        session_stop(b);
        wire_cut(&b->wire, b->now);
        b->mute = true;
        return true;
    case FAULT_TOUCH_CONFIG:
        flash_poke(&b->flash, FLASH_CONFIG_OFFSET, 0x01);
        return false;
    case FAULT_LOSE_BYTES:
        b->lose_left = f->arg;
        return false;
    case FAULT_DROP_REPLY:
    case FAULT_DELAY_REPLY:
    case FAULT_GARBLE_REPLY:
    case FAULT_GARBLE_REQUEST:
    case FAULT_TRUNCATE_REPLY:
    case FAULT_DUPLICATE_REPLY:
    case FAULT_REFUSE:
    case FAULT_NOISE:
    case FAULT_CORRUPT_FLASH:
    case FAULT_STUB_WRITE_ERROR:
        return false;
    }
    return false;
}

// ---- the reply
// ------------------------------------------------------------------------------------------------------

static void send_noise(struct board *b, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)rng_next(&b->wire.rng);
        board_send(b, &byte, 1);
    }
}

// Sends a frame with what the fault does to it.
static void emit(struct board *b, uint8_t *frame, size_t len, unsigned copies) {
    static uint8_t encoded[2 * STUB_PACKET_MAX + 2];
    const struct fault *f = b->reply_fault.used ? &b->reply_fault : NULL;

    if (f && f->action == FAULT_DROP_REPLY)
        return;
    if (f && f->action == FAULT_GARBLE_REPLY) {
        size_t at = rng_below(&b->wire.rng, (uint32_t)len);
        frame[at] = rng_other_byte(&b->wire.rng, frame[at]);
    }
    if (f && f->action == FAULT_NOISE)
        send_noise(b, f->arg);
    if (f && f->action == FAULT_DUPLICATE_REPLY)
        copies *= 2;
    len = slip_encode(frame, len, encoded);
    if (f && f->action == FAULT_TRUNCATE_REPLY)
        len /= 2;
    for (unsigned i = 0; i < copies; i++)
        board_send(b, encoded, len);
}

static void send_reply(struct board *b) {
    static uint8_t frame[STUB_PACKET_MAX];
    const struct outcome *o = &b->outcome;

    if (o->next == NEXT_RUN_RAM && b->set.stub_lost_mem_end && b->loader.loader == &loader_rom)
        return;
    if (o->replies > 0)
        emit(b, frame, b->loader.loader->compose(&b->loader, b->busy_opcode, o, frame), o->replies);
    if (o->raw_len > 0) {
        memcpy(frame, o->raw, o->raw_len);
        emit(b, frame, o->raw_len, 1);
    }
}

static void corrupt_flash(struct board *b) {
    const struct flash_op *op = &b->flash.op;

    b->corrupt_later = false;
    if (op->len > 0)
        flash_poke(&b->flash, op->offset + rng_below(&b->wire.rng, op->len),
                   (uint8_t)(1u << rng_below(&b->wire.rng, 8)));
}

static bool kind_is_data(uint8_t opcode) {
    return opcode == OP_FLASH_DATA || opcode == OP_DEFL_DATA;
}

// What a stub does once it has answered. A fault that was ordered for the time that the command takes strikes
// in the middle of it.
static void go_on_after_reply(struct board *b) {
    uint64_t us = work_total_us(b);

    // A stub that wrote nothing after this block has nothing of it to spoil.
    if (b->loader.loader->by_interrupt && !work_is_pending(b) && kind_is_data(b->busy_opcode))
        b->corrupt_later = false;
    work_start(b);
    if (b->busy_fault.used && work_is_binding(b))
        board_set_timer(b, TIMER_FAULT, (int64_t)us / 2);
    if (b->corrupt_later && !work_is_binding(b))
        corrupt_flash(b);
}

static void finish_command(struct board *b) {
    b->busy = false;
    if (!b->work.running)
        flash_end(&b->flash, -1);
    if (!b->outcome.silent)
        send_reply(b);
    b->corrupt_later |= b->reply_fault.used && b->reply_fault.action == FAULT_CORRUPT_FLASH;
    go_on_after_reply(b);
    if (!b->loader.loader)
        return; // a fault in the middle of it
    if (b->busy_opcode == OP_SYNC && !b->outcome.silent && b->outcome.error == ROM_OK)
        wire_set_greeted(&b->wire, true);
    b->reply_fault.used = false;
    b->awaiting_sent = true;
    if (b->wire.tx_len == 0)
        session_on_sent(b);
}

static void run_ram(struct board *b) {
    const struct loader *stub = ram_find_stub(&b->ram, b->outcome.entry);

    session_stop(b);
    if (!stub || b->set.stub_no_ohai) {
        board_set_state(b, CHIP_RAM_CODE);
        return;
    }
    session_start(b, stub);
    wire_set_greeted(&b->wire, true);
    stub_start(b);
}

void session_on_sent(struct board *b) {
    struct fault late;

    if (!b->awaiting_sent)
        return;
    b->awaiting_sent = false;
    late = faults_match(&b->faults, b->busy_opcode, MOMENT_REPLY, 0, b->frame_no);
    if (late.used && strike(b, &late))
        return;
    switch (b->outcome.next) {
    case NEXT_NOTHING:
        break;
    case NEXT_CHANGE_BAUD:
        if (!b->set.ignore_baud)
            board_set_baud(b, b->outcome.baud, b->outcome.clkdiv);
        break;
    case NEXT_LEAVE:
        session_stop(b);
        board_set_state(b, CHIP_BASIC);
        break;
    case NEXT_REBOOT:
        board_reset(b, RESET_SOFTWARE);
        break;
    case NEXT_RUN_RAM:
        run_ram(b);
        break;
    case NEXT_HANG:
        b->mute = true;
        break;
    }
}

// ---- the request
// ----------------------------------------------------------------------------------------------------

static void garble_request(struct board *b) {
    struct slip_decoder *d = &b->slip;
    size_t from = d->len > 24 ? 24 : d->len > 8 ? 8 : d->len - 1;
    size_t at = from + rng_below(&b->wire.rng, (uint32_t)(d->len - from));

    d->frame[at] = rng_other_byte(&b->wire.rng, d->frame[at]);
}

static bool is_sync(const struct slip_decoder *d) {
    return d->len == 44 && d->frame[0] == 0x00 && d->frame[1] == OP_SYNC;
}

// The ROM locks on the rate of the first SYNC after reset; until then other frames must happen to have the
// right one.
static bool rate_is_known(struct board *b) {
    if (!b->wire.autobaud)
        return true;
    if (is_sync(&b->slip)) {
        b->wire.autobaud = false;
        // It counts the clock over the pulses and comes out one low: rom-connect.txt reads 0x15A at 115200.
        board_set_baud(b, b->wire.rx_baud, b->chip.xtal_hz / b->wire.rx_baud - 1);
        return true;
    }
    return wire_bauds_agree(b->wire.rx_baud, b->wire.chip_baud);
}

// An acknowledgement of READ_FLASH counts as that command.
static uint8_t opcode_of(const struct board *b) {
    if (b->stub.read.on)
        return OP_READ_FLASH;
    return b->slip.len > 1 ? b->slip.frame[1] : 0;
}

static void start_command(struct board *b) {
    const struct fault *f = &b->reply_fault;
    uint64_t cost_us;

    b->busy_opcode = opcode_of(b);
    if (f->used && f->action == FAULT_GARBLE_REQUEST)
        garble_request(b);
    if (f->used && f->action == FAULT_REFUSE)
        b->outcome = (struct outcome) { .replies = 1, .error = (uint8_t)f->arg };
    else
        b->loader.loader->run(b, b->slip.frame, b->slip.len, &b->outcome);

    cost_us = b->wire.set.fast ? 0 : b->outcome.cost_us;
    if (f->used && f->action == FAULT_DELAY_REPLY)
        cost_us += (uint64_t)f->arg * 1000;
    b->busy = true;
    b->busy_since = b->now;
    b->busy_fault = faults_match(&b->faults, b->busy_opcode, MOMENT_BUSY, 0, b->frame_no);
    bool strikes_before_reply = b->busy_fault.used && !work_is_binding(b);
    if (strikes_before_reply)
        board_set_timer(b, TIMER_FAULT, (int64_t)cost_us / 2);
    else if (cost_us == 0)
        finish_command(b);
    if (b->busy)
        board_set_timer(b, TIMER_BUSY, (int64_t)cost_us);
}

static void on_frame(struct board *b) {
    uint8_t opcode = opcode_of(b);

    if (!rate_is_known(b))
        return;
    b->n.frames++;
    b->n.commands[opcode]++;
    b->reply_fault = faults_match(&b->faults, opcode, MOMENT_REQUEST, 0, b->frame_no);
    if (b->reply_fault.used && strike(b, &b->reply_fault))
        return;
    start_command(b);
}

static bool strikes_mid_frame(struct board *b) {
    const struct slip_decoder *d = &b->slip;
    struct fault f;

    if (b->faults.n_used == 0 || !d->inside || d->len < 9)
        return false;
    size_t announced = (size_t)d->frame[2] | (size_t)d->frame[3] << 8;
    if (announced == 0)
        return false;
    f = faults_match(&b->faults, d->frame[1], MOMENT_MID_FRAME, (unsigned)((d->len - 8) * 100 / announced),
                     b->frame_no);
    return f.used && strike(b, &f);
}

static void feed(struct board *b, uint8_t byte) {
    if (b->lose_left > 0) {
        b->lose_left--;
        return;
    }
    if (slip_feed(&b->slip, byte) == SLIP_FRAME) {
        b->frame_waits = b->busy || work_is_binding(b);
        if (!b->frame_waits)
            on_frame(b);
        b->stirred = true;
    } else if (b->slip.len == 1 && b->slip.inside && !b->slip.escaped) {
        b->frame_no++;
    } else if (strikes_mid_frame(b)) {
        b->stirred = true;
    }
}

void session_on_byte(struct board *b, uint8_t byte) {
    if (b->mute)
        return;
    if (b->loader.loader->by_interrupt ? !b->frame_waits : !b->busy)
        feed(b, byte);
    else if (b->loader.loader->by_interrupt)
        b->n.rx_lost++;
    else if (b->fifo_len < sizeof(b->fifo))
        b->fifo[b->fifo_len++] = byte;
    else
        b->n.rx_lost++;
}

static void take_waiting_frame(struct board *b) {
    if (!b->frame_waits || b->busy || work_is_binding(b) || b->state != CHIP_DOWNLOAD || b->mute)
        return;
    b->frame_waits = false;
    on_frame(b);
}

void session_on_work_end(struct board *b) {
    if (b->corrupt_later && !work_is_binding(b))
        corrupt_flash(b);
    take_waiting_frame(b);
}

void session_on_busy_end(struct board *b) {
    finish_command(b);
    take_waiting_frame(b);
    while (b->fifo_len > 0 && !b->busy && b->state == CHIP_DOWNLOAD && !b->mute) {
        uint8_t byte = b->fifo[0];
        memmove(b->fifo, b->fifo + 1, --b->fifo_len);
        feed(b, byte);
    }
}

void session_on_fault_timer(struct board *b) {
    struct fault f = b->busy_fault;

    b->busy_fault.used = false;
    if (f.used)
        strike(b, &f);
}
