// A small deterministic generator (xorshift64*): equal seeds give equal garbage, so that a failing test can
// be run again.
#pragma once

#include <stdint.h>

struct rng {
    uint64_t state;
};

static inline void rng_seed(struct rng *r, uint64_t seed) {
    r->state = seed * 0x9E3779B97F4A7C15ULL + 0x1234567ULL;
    if (r->state == 0)
        r->state = 1;
}

static inline uint32_t rng_next(struct rng *r) {
    uint64_t x = r->state;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    r->state = x;
    return (uint32_t)((x * 0x2545F4914F6CDD1DULL) >> 32);
}

// 0 <= result < n; n must not be 0.
static inline uint32_t rng_below(struct rng *r, uint32_t n) {
    return (uint32_t)(((uint64_t)rng_next(r) * n) >> 32);
}

// 0.0 <= result < 1.0
static inline double rng_unit(struct rng *r) {
    return (double)rng_next(r) / 4294967296.0;
}

// A byte that differs from the one given.
static inline uint8_t rng_other_byte(struct rng *r, uint8_t byte) {
    return (uint8_t)(byte ^ (1u + rng_below(r, 255)));
}
