// Flash operations that go on after a reply: a stub acknowledges a block first and writes it while the next
// one comes in. A list of steps, one after the other, each with its own time; what cuts the chip short cuts
// the step that runs.
//
// Steps up to the last `work_bind` keep the loader's attention: a frame that has come in waits for them. An
// erase after that goes on by itself, as in the real part: only the next flash operation waits for it.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct board;
struct flash_op;

struct work {
    struct flash_op *steps; // owned, with their data
    size_t n, cap;
    size_t next;    // the step that runs, or would
    size_t binding; // steps before this one keep the loader's attention
    bool running;
    int64_t since; // when the step began, ns
};

void work_add_erase(struct board *b, uint32_t offset, uint32_t len, uint32_t us);
void work_add_program(struct board *b, uint32_t offset, const uint8_t *data, uint32_t len); // copied

// What has been added so far is waited for.
void work_bind(struct board *b);

// Starts what has been added; without pacing it is done on return, or cut short by a fault that was ordered
// for its middle.
void work_start(struct board *b);

bool work_is_binding(const struct board *b);
bool work_is_pending(const struct board *b); // anything not done yet

// All of it, in us.
uint64_t work_total_us(const struct board *b);

// Ends all steps as if their time had passed; returns how long that is from now, in us.
uint64_t work_settle(struct board *b);

// The chip is cut short: the step that runs is done as far as it came, the others never.
void work_cut(struct board *b);

void work_on_timer(struct board *b);
