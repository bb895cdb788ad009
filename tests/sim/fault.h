// Faults that a test orders beforehand: "at the Nth DATA, lose the reply". Text in, matches out; carrying
// them out is the board's.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fault_moment {
    MOMENT_REQUEST,   // the frame has been received, nothing done yet
    MOMENT_MID_FRAME, // a part of the frame has been received
    MOMENT_BUSY,      // half of the time that the command takes has passed
    MOMENT_REPLY,     // the reply has left
};

enum fault_action {
    FAULT_DROP_REPLY,
    FAULT_DELAY_REPLY, // ms
    FAULT_GARBLE_REPLY,
    FAULT_GARBLE_REQUEST,
    FAULT_TRUNCATE_REPLY,
    FAULT_DUPLICATE_REPLY,
    FAULT_REFUSE, // error byte
    FAULT_UNPLUG,
    FAULT_RESET,
    FAULT_POWER_CUT,
    FAULT_BROWNOUT,
    FAULT_SILENCE,
    FAULT_NOISE, // bytes
    FAULT_CORRUPT_FLASH,
    FAULT_LOSE_BYTES, // bytes
    FAULT_TOUCH_CONFIG,
    FAULT_STUB_WRITE_ERROR, // error byte
};

struct fault {
    bool used;
    int opcode;     // -1 = any
    unsigned nth;   // first match that counts, from 1
    unsigned times; // how often still
    unsigned seen;
    uint64_t last_frame; // a frame counts once
    unsigned at_percent; // MID_FRAME: how much of the data
    enum fault_moment moment;
    enum fault_action action;
    uint32_t arg;
};

#define FAULTS_MAX 32

struct faults {
    struct fault list[FAULTS_MAX];
    unsigned n_used;
};

// `text` is what follows "fault": `on=FLASH_DATA,nth=3 do=refuse,07`. Returns NULL or what is wrong with it.
const char *faults_add(struct faults *fs, char *text);

// All faults, one after the other, as text that faults_add would take.
void faults_describe(const struct faults *fs, char *out, size_t cap);

// Frame number `frame_no` (from 1), of this opcode, has come to this moment. `percent` counts for MID_FRAME
// only. Returns the fault that strikes, which has used up one of its times; .used is false when there is
// none.
struct fault faults_match(struct faults *fs, uint8_t opcode, enum fault_moment moment, unsigned percent,
                          uint64_t frame_no);
