#include "daemon/loop/meter.h"

#include <stdbool.h>

/* Below 16 us one each; then the four bits behind the highest one. */
static unsigned bucket_of(uint64_t us) {
    unsigned high, bucket;

    if (us < 16)
        return (unsigned)us;
    high = 63 - (unsigned)__builtin_clzll(us);
    bucket = 16 * (high - 3) + (unsigned)(us >> (high - 4) & 15);
    return bucket < LOOP_METER_BUCKETS ? bucket : LOOP_METER_BUCKETS - 1;
}

/* The most that is counted in it. */
static uint64_t bucket_most_us(unsigned bucket) {
    if (bucket < 16)
        return bucket;
    return ((UINT64_C(17) + bucket % 16) << (bucket / 16 - 1)) - 1;
}

uint64_t loop_meter_quantile_us(const struct loop_meter *meter, double share) {
    uint64_t all = 0, seen = 0;

    for (unsigned i = 0; i < LOOP_METER_BUCKETS; i++)
        all += meter->buckets[i];
    for (unsigned i = 0; all && i < LOOP_METER_BUCKETS; i++) {
        seen += meter->buckets[i];
        if ((double)seen >= share * (double)all)
            return bucket_most_us(i) < meter->longest_us ? bucket_most_us(i) : meter->longest_us;
    }
    return 0;
}

void loop_meter_count(struct loop_meter *meter, uint64_t us) {
    meter->buckets[bucket_of(us)]++;
    meter->over_10ms += us > 10000;
    if (us > meter->longest_us)
        meter->longest_us = us;
}

static void on_prepare(uv_prepare_t *prepare) {
    struct loop_meter *meter = prepare->data;
    uint64_t now = uv_hrtime(), idle = uv_metrics_idle_time(prepare->loop);
    uint64_t busy_us = (now - meter->last_ns - (idle - meter->last_idle_ns)) / 1000;
    bool is_first = !meter->last_ns; /* what came before is start-up */

    meter->last_ns = now;
    meter->last_idle_ns = idle;
    meter->turns++;
    if (!is_first)
        loop_meter_count(meter, busy_us);
}

void loop_meter_start(struct loop_meter *meter, uv_loop_t *loop) {
    *meter = (struct loop_meter) { 0 };
    uv_prepare_init(loop, &meter->prepare);
    meter->prepare.data = meter;
    uv_prepare_start(&meter->prepare, on_prepare);
    uv_unref((uv_handle_t *)&meter->prepare);
}

void loop_meter_close(struct loop_meter *meter) {
    uv_close((uv_handle_t *)&meter->prepare, NULL);
}
