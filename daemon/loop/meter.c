#include "daemon/loop/meter.h"

#include <stdbool.h>

static void on_prepare(uv_prepare_t *prepare) {
    struct loop_meter *meter = prepare->data;
    uint64_t now = uv_hrtime(), idle = uv_metrics_idle_time(prepare->loop);
    uint64_t busy_us = (now - meter->last_ns - (idle - meter->last_idle_ns)) / 1000;
    bool is_first = !meter->last_ns; /* what came before is start-up */

    meter->last_ns = now;
    meter->last_idle_ns = idle;
    meter->turns++;
    if (is_first)
        return;
    meter->over_10ms += busy_us > 10000;
    if (busy_us > meter->longest_us)
        meter->longest_us = busy_us;
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
