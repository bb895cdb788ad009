#pragma once

/*
 * Inside of a visit: what visit.c (the port, listening, SYNC, reset), visit_read.c (a ROM that answered) and
 * visit_talk.c (the firmware's prompt) share. Whatever is under way is one operation of the link, whose
 * completion says what comes next.
 */

#include "daemon/esp/chip.h"
#include "daemon/esp/link.h"
#include "daemon/esp/repl.h"
#include "daemon/flash/board.h"
#include "daemon/flash/probe.h"
#include "daemon/flash/visit.h"

/* What is done where no ROM answers, each at most once, in this order. */
enum visit_stage { STAGE_SPEAK, STAGE_STOP, STAGE_RESET, STAGE_REPORT };

struct talk_step;

struct flash_visit {
    uv_loop_t *loop;
    char *node, *device;
    struct flash_visit_request request;
    const struct flash_visit_events *events;
    void *userdata;
    struct flash_visit_report report;

    uv_work_t work; /* looks for the port's holder */
    bool is_working;
    bool is_locked;    /* by nobody else: we haven't quite let go of it */
    bool is_due_again; /* opening it */
    unsigned open_turns;
    char holder[64];
    struct esp_link *link;
    bool is_gone;    /* and reported */
    bool is_resting; /* after a report: nothing is under way */

    uint64_t until;       /* uv_now: of listening, of a boot's quiet */
    uint64_t boot_end;    /* uv_now: a board that never comes to rest is let go */
    uint64_t listen_end;  /* uv_now: of flash_visit_listen */
    bool is_listening_on; /* in flash_visit_listen */
    enum visit_stage stage;
    unsigned boots;                         /* since it was begun to follow them */
    unsigned rounds;                        /* of SYNCs after "waiting for download" */
    unsigned resets_taken, downloads_taken; /* of the boot log's counts: no news any more */
    unsigned syncs_left, reset_attempt;
    bool is_resetting;
    bool is_stub, is_unreadable;

    unsigned failures; /* to read a chip that had answered, since the visit or its listening began */
    struct esp_identify identify;
    enum { READ_CHIP, READ_FLASH, READ_BOOTLOADER } read;
    struct flash_probe probe;

    struct esp_repl_text text;
    unsigned text_resets; /* the boot log's count when text began */
    const struct talk_step *talk;
    size_t heard;    /* bytes, before what was said last */
    unsigned wipes;  /* of the prompt's line */
    bool is_echoing; /* what we send shows at a prompt */
    bool is_stopped; /* a program, by us: it has to be started again */

    bool is_closing, give_back;
    uv_timer_t timer; /* brings on_closed from the loop */
    unsigned n_pending;
    void (*on_closed)(void *userdata);
    void *closed_userdata;
};

/* visit.c */
/* True: outcome was the end of the port, and is dealt with. */
bool visit_is_gone(struct flash_visit *visit, enum esp_outcome outcome);
/* No ROM answers: the next of the stages. */
void visit_without_rom(struct flash_visit *visit);
void visit_report(struct flash_visit *visit, bool is_new);
bool visit_may_reset(const struct flash_visit *visit);
/* Takes over what the firmware has said of itself. */
void visit_take_words(struct flash_visit *visit);
/* What was known of the board is that of another boot, perhaps of another board. */
void visit_forget_board(struct flash_visit *visit);
void visit_close_link(struct flash_visit *visit);

/* visit_listen.c */
void visit_on_text(void *userdata, const uint8_t *bytes, size_t size);
/* The beginning of all: listens, SYNCs, listens; then a ROM is read, or visit_without_rom. */
void visit_listen_first(struct flash_visit *visit);
/* A boot, or "waiting for download", was heard: true when that was taken up, and goes before all else. */
bool visit_take_news(struct flash_visit *visit);
/* SYNCs, as many as the request has, at least one; then what follows them. */
void visit_sync(struct flash_visit *visit);
/* Into download mode by DTR and RTS, and SYNCs; then a ROM is read, or visit_without_rom. */
void visit_reset(struct flash_visit *visit);
/* Milliseconds to deadline. */
uint32_t visit_left(const struct flash_visit *visit, uint64_t deadline);

/* visit_read.c */
/* A ROM or a stub has answered: reads it, then reports; or goes back to listening when it was lost. */
void visit_read(struct flash_visit *visit);

/* visit_talk.c */
/* Ctrl-B; then visit_without_rom. */
void visit_speak(struct flash_visit *visit);
/* Ctrl-C, uname, Ctrl-D; then visit_without_rom. */
void visit_stop_program(struct flash_visit *visit);
/* Closing: starts a program again that was stopped, then closes the link. */
void visit_restart_program(struct flash_visit *visit);
