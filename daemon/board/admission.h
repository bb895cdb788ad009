#pragma once

/*
 * Which of the jobs that wait may begin: USB carries only so much, and jobs beyond that would slow each other
 * down. Pure: no clock, no I/O.
 *
 * Happy path: list the jobs under way and those that wait, in the order in which they were asked for; call
 * admission_decide; begin those with ADMISSION_NOW. Again whenever a job ends, asks, or needs less. Failure
 * modes: none. A place without topology is bounded by the number of jobs alone. A job that needs more than
 * its hub has is let in when nothing else is under way there.
 *
 * Nobody starves: a job that waits for something (the number, a root, a hub) keeps those behind it from the
 * same thing, and only from that.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What all adapters on one hub have between them, in bytes a second. CP210x, FT232R and FT230X are full-speed
 * devices: 12 Mbit/s (USB 2.0, 7.1.11), of which bulk transfers get at most 19 packets of 64 bytes in a frame
 * of 1 ms (USB 2.0, table 5-9): 1,216,000. They share it with all others on their hub, because most hubs have
 * one transaction translator (USB 2.0, 11.14); a fifth is left to replies, to the status packets that such
 * adapters send without being asked, and to bulk coming last in a frame.
 */
#define ADMISSION_HUB_BYTES_S 1000000u
/*
 * What all hubs of one root have: 480 Mbit/s, of which bulk gets at most 13 packets of 512 bytes in a
 * microframe of 125 us (USB 2.0, table 5-10): 53,248,000; a quarter is left to split transactions.
 */
#define ADMISSION_ROOT_BYTES_S 40000000u

struct admission_limits {
    uint32_t jobs;        /* under way at once; 0: any number */
    uint32_t hub_bytes_s; /* 0: no bound for hubs and roots */
};

enum admission_verdict {
    ADMISSION_NOW,
    ADMISSION_BY_NUMBER, /* waits: as many jobs as are wanted are under way */
    ADMISSION_BY_ROOT,   /* waits: the root of its USB tree has no more to give */
    ADMISSION_BY_HUB,    /* waits: its hub has no more to give */
};

/* Where a slot is: the first bytes of it name the root, and more of them the hub, both 0 where it has no
 * topology. "pci-0000:00:14.0-usb-0:2.3:1.0" is on hub "pci-0000:00:14.0-usb-0:2", "usb-1-4:1.0" on the root
 * "usb-1" itself. */
struct admission_place {
    size_t root_bytes, hub_bytes;
};
struct admission_place admission_place_of(const char *slot);

struct admission_job {
    const char *slot; /* struct usb_port's, or any other text: a place without topology; borrowed */
    struct admission_place place;   /* of slot */
    uint32_t bytes_s;               /* it needs, in the direction that needs more */
    bool is_under_way;              /* else it waits */
    enum admission_verdict verdict; /* out, of those that wait */
};

/* Sets verdict of all n jobs. Takes up to n x n comparisons of slots. */
void admission_decide(const struct admission_limits *limits, struct admission_job *jobs, size_t n);
