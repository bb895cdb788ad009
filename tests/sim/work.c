#include "tests/sim/work.h"
#include "tests/sim/board.h"

#include <stdlib.h>
#include <string.h>

static struct flash_op *add(struct work *w) {
    if (w->n == w->cap) {
        w->cap = w->cap ? 2 * w->cap : 16;
        w->steps = realloc(w->steps, w->cap * sizeof(w->steps[0]));
        if (!w->steps)
            abort();
    }
    return &w->steps[w->n++];
}

void work_add_erase(struct board *b, uint32_t offset, uint32_t len, uint32_t us) {
    *add(&b->work) =
        (struct flash_op) { .kind = FLASH_OP_ERASE, .offset = offset, .len = len, .units = 1, .unit_us = us };
}

void work_add_program(struct board *b, uint32_t offset, const uint8_t *data, uint32_t len) {
    uint8_t *copy = malloc((size_t)len + 1);

    if (!copy)
        abort();
    memcpy(copy, data, len);
    *add(&b->work) = (struct flash_op) {
        .kind = FLASH_OP_PROGRAM,
        .offset = offset,
        .len = len,
        .units = flash_units(offset, len, FLASH_PAGE),
        .unit_us = b->flash.timings.page_us,
        .data = copy,
    };
}

void work_bind(struct board *b) {
    b->work.binding = b->work.n;
}

bool work_is_pending(const struct board *b) {
    return b->work.next < b->work.n;
}

bool work_is_binding(const struct board *b) {
    return b->work.next < b->work.binding;
}

static uint64_t step_us(const struct flash_op *op) {
    return (uint64_t)op->units * op->unit_us;
}

uint64_t work_total_us(const struct board *b) {
    uint64_t us = 0;

    for (size_t i = b->work.next; i < b->work.n; i++)
        us += step_us(&b->work.steps[i]);
    return us;
}

static void reset(struct work *w) {
    for (size_t i = w->next; i < w->n; i++)
        free(w->steps[i].data);
    w->n = w->next = w->binding = 0;
    w->running = false;
}

// The data goes to the flash with the operation.
static void begin_step(struct board *b) {
    struct work *w = &b->work;

    flash_begin(&b->flash, w->steps[w->next]);
    w->steps[w->next].data = NULL;
    w->running = true;
    w->since = b->now;
}

static void end_step(struct board *b) {
    flash_end(&b->flash, -1);
    b->work.running = false;
    if (++b->work.next == b->work.n)
        reset(&b->work);
}

// The step that runs when half of the time has passed.
static size_t middle_of(const struct board *b) {
    uint64_t half = work_total_us(b) / 2, passed = 0;

    for (size_t i = b->work.next; i < b->work.n; i++) {
        passed += step_us(&b->work.steps[i]);
        if (passed > half)
            return i;
    }
    return b->work.next;
}

// Without pacing a fault that strikes in the middle finds the steps before it done and this one half done.
static bool struck_at_once(struct board *b, size_t middle) {
    if (!b->busy_fault.used || b->work.next < middle)
        return false;
    session_on_fault_timer(b);
    return !work_is_pending(b);
}

void work_start(struct board *b) {
    struct work *w = &b->work;
    size_t middle = middle_of(b);

    while (b->wire.set.fast && work_is_pending(b)) {
        if (!w->running)
            begin_step(b);
        if (struck_at_once(b, middle))
            return;
        end_step(b);
    }
    if (!work_is_pending(b) || w->running)
        return;
    begin_step(b);
    board_set_timer(b, TIMER_WORK, (int64_t)step_us(&w->steps[w->next]));
}

uint64_t work_settle(struct board *b) {
    struct work *w = &b->work;
    uint64_t left = work_total_us(b);

    if (w->running)
        left -= (uint64_t)(b->now - w->since) / 1000;
    while (work_is_pending(b)) {
        if (!w->running)
            begin_step(b);
        end_step(b);
    }
    b->timers[TIMER_WORK] = TIME_NEVER;
    return left;
}

void work_cut(struct board *b) {
    struct work *w = &b->work;

    if (w->running) {
        uint64_t all = step_us(&w->steps[w->next]);
        flash_end(&b->flash, b->wire.set.fast ? (int64_t)all / 2 : (b->now - w->since) / 1000);
    }
    reset(w);
    free(w->steps);
    w->steps = NULL;
    w->cap = 0;
    b->timers[TIMER_WORK] = TIME_NEVER;
}

void work_on_timer(struct board *b) {
    end_step(b);
    work_start(b);
    if (!work_is_binding(b))
        session_on_work_end(b);
}
