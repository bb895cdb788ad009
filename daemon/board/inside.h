#pragma once

/* Inside of the board room: what fleet.c (devices, life), jobs.c, attend.c (a port from plug to unplug) and
 * facts.c (what a decision is made of) share. */

#include <stdio.h>

#include "daemon/board/fleet.h"
#include "daemon/board/rate.h"
#include "daemon/board/spool.h"
#include "daemon/flash/visit.h"
#include "daemon/usb/watch.h"

/* Text into an array; what doesn't fit is cut. */
#define COPY(to, from) snprintf(to, sizeof(to), "%s", from)

/* What a person is to do for a job that was cut off, unless its board is there and wants more. */
#define PLUG_IN_AGAIN "Plug the board in again: the job goes on by itself."
#define RUN_AGAIN     "The job goes on by itself when wipyd runs again."

/* What the rates say of a slot. */
struct slot_rate {
    char slot[RECORD_SLOT_MAX];
    uint32_t good; /* as rate_good */
    struct rate_health health;
};

struct fleet {
    uv_loop_t *loop;
    const struct config *config;
    struct firmware_store *store;
    struct work_queue *queue;
    struct ledger *ledger;
    struct spool *spool;
    struct usb_watch *usb;
    struct firmware_stubs *stubs;
    const struct fleet_events *events;
    void *userdata;
    char *backup_folder;

    struct fleet_device *devices[FLEET_DEVICES_MAX];
    unsigned n_devices;
    struct fleet_device *leaving[FLEET_DEVICES_MAX]; /* removed, and their job or visit is not over */
    unsigned n_leaving;
    struct fleet_job **jobs; /* in order of id */
    unsigned n_jobs, n_allocated;
    uint32_t last_job_id;
    uint64_t last_asked;
    unsigned n_waiting;             /* jobs with is_waiting */
    bool is_admitting, admit_again; /* asked for while it was at it */

    struct slot_rate *slot_rates; /* owned; as of the last review */
    size_t n_slot_rates;

    uv_timer_t expiry;
    /* inotify, of the folders whose entries tell whether ports from the configuration are there; -1: none */
    int folders;
    uv_poll_t folders_poll;

    bool is_started, is_closing, is_ledger_closing;
    unsigned n_pending; /* handles to be closed */
    void (*on_closed)(void *userdata);
    void *closed_userdata;
};

/* One port from plug to unplug. */
struct attendance {
    struct fleet *fleet;
    struct fleet_device *device;
    uv_timer_t timer; /* settling, or trying again */
    bool is_removed;  /* the device is gone: free it when nothing is under way any more */
    struct flash_visit *visit;
    bool is_visit_closing;
    bool is_report_due; /* the visit's next report is awaited */
    /* What is to be done once the port is free: a visit with this request, or the device's job. */
    bool wants_visit;
    struct flash_visit_request wanted;
    /* this time that it is plugged in */
    bool is_settled, is_held, is_failed, was_looked_at, was_reset, is_coached_out;
    bool was_flashed_now, is_confirmed_now, has_ended_now;
    bool is_fresh;  /* what is known of the board was learned by the visit that is open */
    bool has_lines; /* as far as is known */
    enum board_seen seen;
    bool is_esp32, is_encrypted, is_secure_boot;
    unsigned syncs_left;
    unsigned syncs_counted; /* of those that the visit has sent */
    bool syncs_stand;       /* at a prompt, perhaps, as if typed in */
    unsigned tries;         /* at a port that is held or fails, in a row */
    uint64_t coach_until;   /* on the loop's clock; 0: not coached yet */
    uint32_t flashed_job;   /* of was_flashed_now */
    uint64_t told_seen_us;  /* the device's seen_us when its change was last told */
    /* a person's look, to be answered */
    fleet_look_fn look_done;
    void *look_userdata;
};

uint64_t fleet_now_us(void);

/* fleet.c: closing goes on when the last thing under way has ended. */
void fleet_close_when_idle(struct fleet *fleet);
void fleet_free_device(struct fleet_device *device);

/* facts.c: what is known of a device now. */
void fleet_facts(struct fleet *fleet, const struct fleet_device *device, struct decision_state *ret);
/* The package that a decision would flash; NULL: none. Borrowed until the next turn of the loop. */
const struct firmware_record *fleet_candidate(struct fleet *fleet, const char *board, const char *pin);
/* Keeps what was learned of the board that the device has: in the board's and the slot's record. */
void fleet_learn(struct fleet *fleet, const struct fleet_device *device);

/* port_visit.c: what a port's one visit is for, and how it ends. Each takes the place of what was under way.
 */
#define HEARD_EVENT "heard from the board" /* may come often */
void attendance_look(struct attendance *attendance);
void attendance_reset(struct attendance *attendance);
void attendance_coach(struct attendance *attendance);
void attendance_visit(struct attendance *attendance, const struct flash_visit_request *request);
struct flash_visit_request attendance_new_request(const struct attendance *attendance);
/* Then attendance_go_on(). */
void attendance_close_visit(struct attendance *attendance, bool give_back);
/* Where the port is free: what waits for it goes on, and a device that was removed goes away. */
void attendance_go_on(struct attendance *attendance);
/* A board that we brought into download mode is given back as it was found. */
bool attendance_has_reset(const struct attendance *attendance);
void attendance_answer_look(struct attendance *attendance, const struct fault *fault);
void attendance_try_again_later(struct attendance *attendance);

/* attend.c */
void attendance_on_timer(uv_timer_t *timer);
must_check int attendance_new(struct fleet *fleet, struct fleet_device *device);
/* Plugged in, or there at start. */
void attendance_begin(struct fleet_device *device, const char *event);
/* Unplugged. The device goes away when nothing is under way any more, unless it is by hand. */
void attendance_end(struct fleet_device *device);
/* Something has happened: decide, record, act. event: static storage, "plugged in". */
void attend(struct fleet_device *device, const char *event);
/* Wishes or firmware have changed: decides again where that may matter. */
void attendance_reconsider(struct fleet_device *device, const char *event);
/* The device's job is to begin, or its lessee to have the port, as soon as that is free. */
void attendance_give_way(struct fleet_device *device);
/* The device's job is over or cut off. */
void attendance_job_ended(struct fleet_device *device, const struct fleet_job *job);
/* A job that was cut off was cancelled: where the device waited for it, that is over. */
void attendance_job_given_up(struct fleet_device *device, uint32_t job);
/* Closes the visit; for the end of the daemon. */
void attendance_stop(struct fleet_device *device);
bool attendance_is_idle(const struct fleet_device *device);

/* jobs.c */
/* A new one with that record, in the list; NULL: no memory. */
struct fleet_job *fleet_job_add(struct fleet *fleet, const struct job_record *record);
/* To the log. message_id: one of log_events.h. */
__attribute__((format(printf, 4, 5))) void fleet_job_log(const struct fleet_job *job, int level,
                                                         const char *message_id, const char *format, ...);
/* To the database, behind; to whoever listens. */
void fleet_job_keep(struct fleet *fleet, const struct fleet_job *job);
void fleet_job_tell(struct fleet *fleet, struct fleet_job *job);
/* It is over: as its status says, or with a fault. Told when that is on disk. */
void fleet_job_end(struct fleet *fleet, struct fleet_job *job);
/* Its end is on disk, or can't be brought there: from here on everybody may know. Again is fine. */
void fleet_job_tell_end(struct fleet *fleet, struct fleet_job *job);
void fleet_job_end_with(struct fleet *fleet, struct fleet_job *job, enum wipyd_error code, const char *story);
/* An attempt has ended in an unplug or with the daemon, status.fault says how: interrupted, or one too many.
 */
void fleet_job_cut_off(struct fleet *fleet, struct fleet_job *job);
bool fleet_job_can_be_cut_off(const struct job_record *record);
/* A newer job has the board: what was cut off before is not gone on with. */
void fleet_job_supersede(struct fleet *fleet, const struct fleet_job *job);
must_check enum wipyd_error fleet_jobs_load(struct fleet *fleet, struct fault *fault);
void fleet_jobs_stop(struct fleet *fleet);
bool fleet_jobs_are_idle(const struct fleet *fleet);
void fleet_jobs_free(struct fleet *fleet);
/* The job that was cut off and belongs to that board, or where it never reached one, to that slot. */
struct fleet_job *fleet_job_pending(struct fleet *fleet, const char *mac, const char *slot);
/* One that was cut off, has reached its board, and writes that release of that type's firmware. */
struct fleet_job *fleet_job_pending_release(struct fleet *fleet, const char *board, const char *release);
/* A job of that board, or of that slot, that has yet to find out that its port went away. */
bool fleet_job_is_leaving(struct fleet *fleet, const char *mac, const char *slot);
/* What a person is to do after a job. */
void fleet_job_advise(struct fleet *fleet, uint32_t id, const char *advice);
/* The firmware that a job has written has started; release: what it said of itself, may be empty. */
void fleet_job_confirm(struct fleet *fleet, uint32_t id, const char *release);

/* admit.c: which jobs may begin. */
/* The job's port is free: it begins now, or when there is room for it. */
void fleet_job_enter(struct fleet_job *job);
/* It is put on a device, and not begun: its place in the order is the last. */
void fleet_job_line_up(struct fleet *fleet, struct fleet_job *job);
/* An attempt has gone on: it may need less than before. */
void fleet_job_count(struct fleet *fleet, struct fleet_job *job);
/* There may be more room than before; for all that wait. */
void fleet_admit(struct fleet *fleet);

/* attempt.c */
/* What the end of a job says about its board: in the board's record. */
void fleet_job_note_outcome(struct fleet *fleet, const struct fleet_job *job);
/* Begins an attempt of the device's job: the port is free. */
void fleet_job_begin(struct fleet_job *job);

/* fleet_rate.c */
/* The rate that an attempt of the job is to climb to, out of what its slot and its board have shown. */
uint32_t fleet_rate_choose(struct fleet *fleet, const struct fleet_job *job);
/* An attempt is over. */
void fleet_rate_learn(struct fleet *fleet, const struct fleet_job *job);
/* Holds all slots against one another; tells of those that look different now. */
void fleet_rates_review(struct fleet *fleet);

/* new_job.c */
/* The policy's own job with that package. */
void fleet_job_by_policy(struct fleet *fleet, struct fleet_device *device,
                         const struct firmware_record *record);
void fleet_job_resume(struct fleet *fleet, struct fleet_device *device, struct fleet_job *job);
