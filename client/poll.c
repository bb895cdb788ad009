#include "client/poll.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "client/text.h"

bool poll_is_off(const struct manager *manager) {
    return !strcmp(manager->poll_state, "off");
}

/* A daemon that is newer may have more to do than asking and fetching. */
bool poll_is_busy(const struct manager *manager) {
    return strcmp(manager->poll_state, "idle") && !poll_is_off(manager);
}

static bool is_fetching(const struct manager *manager) {
    return !strcmp(manager->poll_state, "fetching");
}

struct progress_point poll_point(const struct manager *manager, uint32_t rate) {
    struct progress_point point = {
        .step = is_fetching(manager) ? 2 : 1,
        .bytes_done = manager->fetched_bytes,
        .bytes_total = manager->fetch_bytes,
        .rate = rate,
    };

    if (manager->fetch_bytes)
        point.fraction = (double)manager->fetched_bytes / (double)manager->fetch_bytes;
    snprintf(point.label, sizeof(point.label), "%s",
             is_fetching(manager) ? "fetching the package" : "asking the sources");
    return point;
}

static void print_busy(const struct manager *manager) {
    char done[TEXT_SIZE], all[TEXT_SIZE] = "an unknown size";

    if (manager->fetch_bytes)
        text_bytes(all, manager->fetch_bytes);
    if (is_fetching(manager))
        text_line(stdout, TEXT_PLAIN, "firmware: fetching from %s: %s of %s",
                  text_or_dash(manager->poll_source), text_bytes(done, manager->fetched_bytes), all);
    else
        text_line(stdout, TEXT_PLAIN, "firmware: asking %s", text_or_dash(manager->poll_source));
}

static void print_idle(const struct manager *manager) {
    char polled[32 + TEXT_SIZE] = "never polled", failures[64] = "", next[32 + TEXT_SIZE] = "";
    uint64_t now = (uint64_t)time(NULL) * 1000000;
    char span[TEXT_SIZE];

    if (manager->polled_at_us)
        snprintf(polled, sizeof(polled), "polled %s ago",
                 text_span(span, now > manager->polled_at_us ? now - manager->polled_at_us : 0));
    if (manager->poll_failures > 1)
        snprintf(failures, sizeof(failures), ", %" PRIu32 " failures in a row", manager->poll_failures);
    if (manager->next_poll_at_us > now)
        snprintf(next, sizeof(next), ", next in %s", text_span(span, manager->next_poll_at_us - now));
    else if (manager->next_poll_at_us)
        snprintf(next, sizeof(next), ", next now");
    text_line(stdout, manager->poll_failures ? TEXT_BAD : TEXT_PLAIN, "firmware: %s%s%s%s%s", polled,
              failures, next, *manager->poll_result ? ": " : "", manager->poll_result);
}

void poll_print_line(const struct manager *manager) {
    if (!*manager->poll_state)
        return; /* a daemon that is older */
    if (poll_is_off(manager))
        text_line(stdout, TEXT_PLAIN, "firmware: polling is off: %s", text_or_dash(manager->poll_result));
    else if (poll_is_busy(manager))
        print_busy(manager);
    else
        print_idle(manager);
}
