#include "daemon/firmware/poll_alarm.h"

#include <errno.h>
#include <stdint.h>
#include <sys/timerfd.h>

struct poll_alarm {
    uv_poll_t poll;
    int fd;
    void (*on_ring)(void *userdata);
    void (*on_closed)(void *userdata);
    void *userdata, *closed_userdata;
};

static void on_poll(uv_poll_t *handle, int status, int events) {
    struct poll_alarm *alarm = handle->data;
    uint64_t n;

    (void)status;
    (void)events;
    /* ECANCELED: the clock was set. EAGAIN: the alarm was set anew in the meantime. */
    if (read(alarm->fd, &n, sizeof n) < 0 && errno != ECANCELED)
        return;
    alarm->on_ring(alarm->userdata);
}

int poll_alarm_new(struct poll_alarm **ret, uv_loop_t *loop, void (*on_ring)(void *userdata),
                   void *userdata) {
    struct poll_alarm *alarm = calloc(1, sizeof *alarm);
    int r;

    if (!alarm)
        return -ENOMEM;
    alarm->on_ring = on_ring;
    alarm->userdata = userdata;
    alarm->fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (alarm->fd < 0) {
        r = -errno;
        free(alarm);
        return r;
    }
    r = uv_poll_init(loop, &alarm->poll, alarm->fd);
    if (r < 0) {
        close(alarm->fd);
        free(alarm);
        return r;
    }
    alarm->poll.data = alarm;
    /* Can't fail: the handle is open. */
    uv_poll_start(&alarm->poll, UV_READABLE, on_poll);
    *ret = alarm;
    return 0;
}

int poll_alarm_set(struct poll_alarm *alarm, uint64_t at_us) {
    const struct itimerspec at = {
        .it_value = { .tv_sec = (time_t)(at_us / 1000000), .tv_nsec = (long)(at_us % 1000000) * 1000 },
    };

    return timerfd_settime(alarm->fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at, NULL) < 0 ? -errno
                                                                                                  : 0;
}

static void on_poll_closed(uv_handle_t *handle) {
    struct poll_alarm *alarm = handle->data;

    close(alarm->fd);
    alarm->on_closed(alarm->closed_userdata);
    free(alarm);
}

void poll_alarm_close(struct poll_alarm *alarm, void (*on_closed)(void *userdata), void *userdata) {
    alarm->on_closed = on_closed;
    alarm->closed_userdata = userdata;
    uv_close((uv_handle_t *)&alarm->poll, on_poll_closed);
}
