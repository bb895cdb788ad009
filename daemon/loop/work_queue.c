#include "daemon/loop/work_queue.h"

#include <errno.h>
#include <stdbool.h>

struct item {
    struct item *next;
    work_fn run, done;
    void *userdata;
};

struct work_queue {
    uv_loop_t *loop;
    uv_work_t request;         /* the first item's */
    struct item *first, *last; /* the first stays until its done has returned */
    struct item closing;       /* the last there ever is; always at hand */
    bool is_closing;
    void (*on_closed)(void *userdata);
    void *userdata;
};

int work_queue_new(struct work_queue **ret, uv_loop_t *loop) {
    struct work_queue *queue = calloc(1, sizeof *queue);

    if (!queue)
        return -ENOMEM;
    queue->loop = loop;
    queue->request.data = queue;
    *ret = queue;
    return 0;
}

static void nothing(void *userdata) {
    (void)userdata;
}

static void on_run(uv_work_t *request) {
    struct work_queue *queue = request->data;

    queue->first->run(queue->first->userdata);
}

static void on_ran(uv_work_t *request, int status);

static void start_first(struct work_queue *queue) {
    int r = uv_queue_work(queue->loop, &queue->request, on_run, on_ran);

    (void)r; /* fails for a missing function only */
}

static void on_ran(uv_work_t *request, int status) {
    struct work_queue *queue = request->data;
    struct item *item = queue->first;

    (void)status; /* nobody cancels */
    item->done(item->userdata);
    queue->first = item->next;
    if (item == &queue->closing) {
        void (*on_closed)(void *) = queue->on_closed;
        void *userdata = queue->userdata;

        free(queue);
        on_closed(userdata);
        return;
    }
    free(item);
    if (queue->first)
        start_first(queue);
}

static void append(struct work_queue *queue, struct item *item) {
    if (queue->first) {
        queue->last->next = item;
        queue->last = item;
        return;
    }
    queue->first = queue->last = item;
    start_first(queue);
}

int work_queue_add(struct work_queue *queue, work_fn run, work_fn done, void *userdata) {
    struct item *item;

    if (queue->is_closing)
        return -ECANCELED;
    item = calloc(1, sizeof *item);
    if (!item)
        return -ENOMEM;
    *item = (struct item) { .run = run, .done = done, .userdata = userdata };
    append(queue, item);
    return 0;
}

void work_queue_close(struct work_queue *queue, void (*on_closed)(void *userdata), void *userdata) {
    queue->is_closing = true;
    queue->on_closed = on_closed;
    queue->userdata = userdata;
    queue->closing = (struct item) { .run = nothing, .done = nothing };
    append(queue, &queue->closing);
}
