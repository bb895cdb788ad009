#pragma once

/*
 * Inside of a flash job: what the runner (job.c) and the phases (connect.c, plan.c, transfer.c) share.
 *
 * A row of the table in job.c is one phase. enter() begins it; what it asked of the link or of the pool comes
 * back to reply(). Each says by an enum step how to go on. Cancel, shutdown, unplug, and a chip that was lost
 * or has rebooted are dealt with by the runner before it looks at the row.
 */

#include "daemon/base/log.h"
#include "daemon/esp/chip.h"
#include "daemon/esp/link.h"
#include "daemon/flash/backup.h"
#include "daemon/flash/job.h"
#include "daemon/flash/probe.h"
#include "daemon/flash/reader.h"
#include "daemon/flash/restore.h"
#include "daemon/flash/run.h"

enum step {
    STEP_WAIT,  /* something is under way */
    STEP_NEXT,  /* on to the next row */
    STEP_AGAIN, /* enter this row once more */
    STEP_GOTO,  /* to job->target */
    STEP_RETRY, /* enter this row once more, as one of its attempts; job->status.fault says why */
    STEP_FAIL,  /* job->status.fault says why */
};

/* What the job has no business with. */
struct flash_guard {
    uint32_t offset, size;
    uint8_t md5[16]; /* before the first write */
};

struct flash_job {
    uv_loop_t *loop;
    uint32_t id;
    char *node, *device, *package_name, *backup_folder;
    enum wipyd_job_kind kind;
    bool dry_run, may_reset, any_esp32;
    char *resumed_mac; /* empty: any board */
    uint32_t connect_timeout_ms;
    const struct flash_job_events *events;
    void *userdata;

    struct flash_status status;
    uint64_t phase_since; /* uv_hrtime */
    enum wipyd_phase target;
    unsigned attempts; /* of the row at hand */
    enum wipyd_error stop;
    bool is_leaving; /* stopped or failed, and only giving the board back */
    bool is_finished;
    char id_text[16];

    uv_timer_t timer; /* starts the job; then unused */
    bool is_working;
    struct fault work_fault;
    unsigned open_turns; /* of serial_holder_wait */
    bool timer_closed;

    int package_fd;
    uint64_t package_bytes;
    char package_sha256[65]; /* empty: any */
    struct firmware_package *package;
    const struct firmware_layout *layout;
    char *restore_mac, *restore_name;
    unsigned restore_parts;
    struct backup restored;       /* what is to be put back; offsets once planned */
    struct flash_restore restore; /* as a layout */
    struct flash_piece *pieces;
    unsigned n_pieces, cursor;
    /* of the piece being compared: what is asked for next */
    enum {
        COMPARE_HEAD,    /* a piece's first sector */
        COMPARE_REGION,  /* the piece's whole region, of which it is the first */
        COMPARE_PIECE,   /* after its first sector was right */
        COMPARE_AT_ONCE, /* without looking at its first sector before */
        COMPARE_BLANK,   /* the first sector of a piece that differs */
    } compare_step;

    struct firmware_stubs *stubs;     /* borrowed; NULL: the ROM does it all */
    const struct firmware_stub *stub; /* borrowed from stubs; NULL: none, or it is not to be used any more */
    enum { STUB_SEGMENT, STUB_BLOCK, STUB_RUN, STUB_FLASH_SIZE } stub_step;
    unsigned stub_segment, stub_failures;
    uint32_t stub_sent; /* bytes of the segment */

    struct esp_link *link;
    bool is_talking; /* the ROM has answered, and can be asked */
    /* A reply was lost, and with it the certainty that the chip has not been reset meanwhile: a boot log at
     * another rate than the line's can't be read. Before anything else is asked of it, it is set up anew. */
    bool is_doubtful, is_checking;
    unsigned attempts_kept; /* of the row at hand, while is_checking */
    unsigned reconnects;
    uint32_t lost_baud; /* at which it stopped answering, last; 0: never */
    /* sync */
    uint64_t sync_deadline; /* uv_now; 0: not begun */
    unsigned sync_round, reset_attempt;
    bool is_setting_rate, baud_change_failed;
    struct boot_log heard; /* what the board said at the usual rate while no ROM answered */
    unsigned boot_round;
    uint64_t boot_heard; /* bytes of text, and when the last came (uv_now) */
    uint64_t boot_heard_ms;
    uint32_t target_baud; /* to climb to; goes down with failures */
    bool is_auto_baud;
    uint32_t asked_baud; /* of the chip, last; 0: nothing yet */
    enum { RATE_ASK, RATE_SET, RATE_PROBE } rate_step;
    enum wipyd_phase phase_to_repeat; /* once the rate is lower; QUEUED: none, on to the next */
    struct esp_identify identify;
    char mac_hex[13];
    struct flash_probe *probe;

    struct flash_guard *guards;
    unsigned n_guards, n_guarded; /* of these, the MD5 is known */
    enum { CHECK_CONFIG, CHECK_GAPS, CHECK_REGIONS, CHECK_PIECES } check_step;
    unsigned n_checked, n_rounds;
    bool is_gap_kept; /* they were held against those of the first attempt, or are those */
    bool is_patched;

    struct backup saved, previous;
    bool is_compared, is_saved;
    int save_part; /* being read; -1: the previous generation is being loaded; BACKUP_PARTS: being stored */
    struct flash_reader reader;

    /* the run being written */
    struct flash_run run;
    uint32_t block_bytes, sequence, stream_done;
    uint32_t work;  /* bytes of flash that the loader may still have to write, after what it has answered */
    bool is_in_run; /* begun, and not yet known to be written */
    bool is_ending; /* END is to be asked */
    bool is_rechecking; /* a run broke off: find out how far it came */
    bool is_verifying_pieces;
    unsigned n_verified; /* pieces of the run */
    /* Writes begun, and answers that were missing or not right: after each, what was verified before is to be
     * looked at again. */
    unsigned hazards;
    bool wants_plain;  /* the stream of the piece that is found to be wrong was refused */
    bool sends_plain;  /* no compressed write is to be begun any more */
    uint8_t *inflated; /* of the piece at hand, where its stream is not wanted */
    uint64_t write_since, wire_mark_sent, wire_mark_received;
};

/* job.c */
void flash_job_on_port_gone(void *userdata);
/* Begins with the chip anew: reset, sync, and all that follows. */
enum step flash_job_connect_again(struct flash_job *job);
void flash_job_request_link(struct flash_job *job, const struct esp_request *request);
void flash_job_sync_link(struct flash_job *job, unsigned attempts, uint32_t listen_ms);
/* STEP_WAIT, or STEP_FAIL with BAUD_UNSUPPORTED. */
enum step flash_job_set_link_baud(struct flash_job *job, uint32_t baud);
void flash_job_run_stub(struct flash_job *job, uint32_t entry, const struct esp_loader *loader);
void flash_job_reset_link(struct flash_job *job, const struct esp_reset_sequence *sequence);
void flash_job_listen_link(struct flash_job *job, uint32_t ms);
/* function runs in the pool and leaves its outcome in job->work_fault; then the row's reply is called with
 * ESP_OK. */
enum step flash_job_work(struct flash_job *job, void (*function)(struct flash_job *job));
/* DTR and RTS are there, and may be used. */
bool flash_job_has_lines(const struct flash_job *job);

/* story.c */
__attribute__((format(printf, 3, 4))) enum step flash_job_fail(struct flash_job *job, enum wipyd_error code,
                                                               const char *format, ...);
__attribute__((format(printf, 3, 4))) enum step flash_job_retry(struct flash_job *job, enum wipyd_error code,
                                                                const char *format, ...);
enum step flash_job_goto(struct flash_job *job, enum wipyd_phase phase);
/* What a person may do when the job is over. */
void flash_job_tell_user(struct flash_job *job, const char *sentence);
/* What a person has to do for the job to go on: it waits. "" ends the waiting. */
void flash_job_ask_user(struct flash_job *job, const char *sentence);
__attribute__((format(printf, 3, 4))) void flash_job_log(const struct flash_job *job, int level,
                                                         const char *format, ...);
/* Tells the story of an outcome that is not ESP_OK: "FLASH_BEGIN: ROM refused: bad parameter". ret has 160
 * bytes. */
void flash_describe(const struct flash_job *job, const char *what, enum esp_outcome outcome,
                    const struct esp_reply *reply, char *ret, size_t size);

/* connect.c */
enum step flash_enter_open(struct flash_job *job);
enum step flash_reply_open(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply);
enum step flash_enter_reset(struct flash_job *job);
enum step flash_reply_reset(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply);
enum step flash_enter_sync(struct flash_job *job);
enum step flash_reply_sync(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply);
enum step flash_enter_identify(struct flash_job *job);
enum step flash_reply_identify(struct flash_job *job, enum esp_outcome outcome,
                               const struct esp_reply *reply);
enum step flash_enter_protect(struct flash_job *job);
enum step flash_enter_finish(struct flash_job *job);
enum step flash_reply_finish(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply);
enum step flash_enter_boot_check(struct flash_job *job);
enum step flash_reply_boot_check(struct flash_job *job, enum esp_outcome outcome,
                                 const struct esp_reply *reply);

/* rate.c */
/* Asks the chip to listen at baud from its answer on, which is the row's next reply. */
void flash_ask_chip_baud(struct flash_job *job, uint32_t baud);
/* The line is too bad for this rate: one lower, and then phase once more. STEP_FAIL where there is none. */
enum step flash_lower_rate(struct flash_job *job, enum wipyd_phase phase);
enum step flash_enter_raise_baud(struct flash_job *job);
enum step flash_reply_raise_baud(struct flash_job *job, enum esp_outcome outcome,
                                 const struct esp_reply *reply);

/* stub.c */
enum step flash_enter_load_stub(struct flash_job *job);
enum step flash_reply_load_stub(struct flash_job *job, enum esp_outcome outcome,
                                const struct esp_reply *reply);

/* plan.c */
enum step flash_enter_prepare(struct flash_job *job);
enum step flash_reply_prepare(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply);
enum step flash_enter_plan(struct flash_job *job);
enum step flash_reply_plan(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply);
enum step flash_enter_compare(struct flash_job *job);
enum step flash_reply_compare(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply);
enum step flash_enter_save(struct flash_job *job);
enum step flash_reply_save(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply);

/* transfer.c */
enum step flash_enter_begin(struct flash_job *job);
enum step flash_reply_begin(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply);
enum step flash_enter_write(struct flash_job *job);
enum step flash_reply_write(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply);
enum step flash_enter_verify(struct flash_job *job);
enum step flash_reply_verify(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply);

/* guard.c */
/* Before the first write; both belong to the row that saves. */
enum step flash_enter_guard(struct flash_job *job);
enum step flash_reply_guard(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply);
enum step flash_enter_guard_check(struct flash_job *job);
enum step flash_reply_guard_check(struct flash_job *job, enum esp_outcome outcome,
                                  const struct esp_reply *reply);
