#include "daemon/board/admission.h"

#include <string.h>

/* ---- places ---------------------------------------------------------------------------------- */

/* "2.3:1.0": the ports from the root on, as the kernel names USB devices. The bytes before the colon; 0: that
 * is none. ret_hub: those without the last port. */
static size_t chain_bytes(const char *chain, size_t *ret_hub) {
    size_t bytes = strspn(chain, "0123456789."), hub = bytes;

    if (bytes == 0 || chain[bytes] != ':')
        return 0;
    while (hub > 0 && chain[hub - 1] != '.')
        hub--;
    *ret_hub = hub ? hub - 1 : 0;
    return bytes;
}

/* Where the ports begin; NULL: no such text. By ID_PATH, "...-usb-0:2.3:1.0" (newer: "...-usbv2-0:2.3:1.0"),
 * or where udev has none, by the interface, "usb-1-2.3:1.0". */
static const char *chain_of(const char *slot) {
    const char *usb = NULL;

    for (const char *next = strstr(slot, "-usb"); next; next = strstr(next + 1, "-usb"))
        usb = next;
    if (usb) {
        usb = strchr(usb, ':');
        return usb ? usb + 1 : NULL;
    }
    if (strncmp(slot, "usb-", 4) != 0)
        return NULL;
    usb = slot + 4 + strspn(slot + 4, "0123456789");
    return *usb == '-' && usb > slot + 4 ? usb + 1 : NULL;
}

struct admission_place admission_place_of(const char *slot) {
    const char *chain = chain_of(slot);
    size_t hub = 0, before;

    if (!chain || !chain_bytes(chain, &hub))
        return (struct admission_place) { 0 };
    before = (size_t)(chain - slot) - 1; /* without the sign between root and ports */
    return (struct admission_place) { .root_bytes = before, .hub_bytes = hub ? before + 1 + hub : before };
}

/* ---- who may begin --------------------------------------------------------------------------- */

struct usage {
    uint64_t root_bytes_s, hub_bytes_s;
    bool is_root_awaited, is_hub_awaited; /* by one that asked before */
};

static bool is_same_root(const struct admission_job *a, const struct admission_job *b) {
    return a->place.root_bytes > 0 && a->place.root_bytes == b->place.root_bytes &&
           !memcmp(a->slot, b->slot, a->place.root_bytes);
}

static bool is_same_hub(const struct admission_job *a, const struct admission_job *b) {
    return a->place.hub_bytes > 0 && a->place.hub_bytes == b->place.hub_bytes &&
           !memcmp(a->slot, b->slot, a->place.hub_bytes);
}

/* What those before it have left it. */
static struct usage count(const struct admission_job *jobs, size_t n, size_t index) {
    struct usage usage = { 0 };

    for (size_t i = 0; i < n; i++) {
        const struct admission_job *job = &jobs[i];
        bool is_counted = job->is_under_way || (i < index && job->verdict == ADMISSION_NOW);
        bool is_waiting = !job->is_under_way && i < index;

        if (!is_counted && !is_waiting)
            continue;
        if (is_same_root(&jobs[index], job)) {
            usage.root_bytes_s += is_counted ? job->bytes_s : 0;
            usage.is_root_awaited |= is_waiting && job->verdict == ADMISSION_BY_ROOT;
        }
        if (is_same_hub(&jobs[index], job)) {
            usage.hub_bytes_s += is_counted ? job->bytes_s : 0;
            usage.is_hub_awaited |= is_waiting && job->verdict == ADMISSION_BY_HUB;
        }
    }
    return usage;
}

static bool fits(uint64_t used, uint32_t more, uint64_t budget) {
    return used == 0 || used + more <= budget;
}

static enum admission_verdict judge(const struct admission_limits *limits, const struct admission_job *jobs,
                                    size_t n, size_t index, size_t n_under_way) {
    struct usage usage;

    if (limits->jobs && n_under_way >= limits->jobs)
        return ADMISSION_BY_NUMBER;
    if (!limits->hub_bytes_s || !jobs[index].place.root_bytes)
        return ADMISSION_NOW;
    usage = count(jobs, n, index);
    if (usage.is_root_awaited || !fits(usage.root_bytes_s, jobs[index].bytes_s, ADMISSION_ROOT_BYTES_S))
        return ADMISSION_BY_ROOT;
    if (usage.is_hub_awaited || !fits(usage.hub_bytes_s, jobs[index].bytes_s, limits->hub_bytes_s))
        return ADMISSION_BY_HUB;
    return ADMISSION_NOW;
}

void admission_decide(const struct admission_limits *limits, struct admission_job *jobs, size_t n) {
    size_t n_under_way = 0;

    for (size_t i = 0; i < n; i++)
        n_under_way += jobs[i].is_under_way;
    for (size_t i = 0; i < n; i++) {
        jobs[i].verdict = ADMISSION_NOW;
        if (jobs[i].is_under_way)
            continue;
        jobs[i].verdict = judge(limits, jobs, n, i, n_under_way);
        n_under_way += jobs[i].verdict == ADMISSION_NOW;
    }
}
