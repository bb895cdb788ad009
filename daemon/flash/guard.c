/* The last look. BEGIN and its like carry no checksum: a bit that flips on the way, and the chip erases or
 * writes elsewhere, says yes, and what was asked for may even turn out right. So before the first write the
 * chip is asked for the MD5 of all that the job has no business with, and after the last one again, and of
 * every region of the job, whether it was written or found right before: but for what was verified when
 * nothing could come any more that would change it.
 *
 * A job that was cut off may have done such damage before its last look. So the digests of the first attempt
 * are kept with the job, and a later one holds its own against them. A difference proves nothing: the
 * firmware may have booted in between and written its file system, NVS or config block. The job goes on, and
 * tells it. The record follows on the work queue while the first BEGIN goes out: a daemon that is killed in
 * those milliseconds leaves none, and the next attempt's digests count as the first. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/bytes.h"
#include "daemon/esp/md5.h"
#include "daemon/flash/phases.h"

enum { ROUNDS_MAX = 3 };

/* ---- what is none of the job's business ------------------------------------------------------ */

static int by_offset(const void *a, const void *b) {
    const struct flash_guard *left = a, *right = b;

    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

/* The gaps between the job's regions, which don't overlap. */
static bool find_gaps(struct flash_job *job) {
    const struct firmware_layout *layout = job->layout;
    uint32_t at = 0, flash_bytes = (uint32_t)job->status.board.flash_bytes;
    struct flash_guard *taken = calloc(layout->n_regions + 1, sizeof *taken);

    job->guards = calloc(layout->n_regions + 1, sizeof *job->guards);
    if (taken && job->guards) {
        for (unsigned i = 0; i < layout->n_regions; i++)
            taken[i] =
                (struct flash_guard) { .offset = layout->regions[i].offset, .size = layout->regions[i].size };
        qsort(taken, layout->n_regions, sizeof *taken, by_offset);
        taken[layout->n_regions].offset = flash_bytes;
        for (unsigned i = 0; i <= layout->n_regions; i++) {
            if (taken[i].offset > at)
                job->guards[job->n_guards++] =
                    (struct flash_guard) { .offset = at, .size = taken[i].offset - at };
            at = taken[i].offset + taken[i].size;
        }
    }
    free(taken);
    return job->guards && at;
}

static enum step request_md5(struct flash_job *job, uint32_t offset, uint32_t size) {
    struct esp_request request;

    esp_request_md5(&request, esp_link_loader(job->link), offset, size);
    flash_job_request_link(job, &request);
    return STEP_WAIT;
}

static void print_gap(const struct flash_guard *guard, bool with_md5, char ret[static 64]) {
    char md5[33];

    hex_encode(guard->md5, sizeof guard->md5, md5);
    snprintf(ret, 64, " %x+%x:%s", guard->offset, guard->size, with_md5 ? md5 : "");
}

static void keep_gaps(struct flash_job *job) {
    char *to = job->status.gaps, gap[64];
    size_t n = 0;

    for (unsigned i = 0; i < job->n_guards; i++) {
        print_gap(&job->guards[i], true, gap);
        n += (size_t)snprintf(to + n, sizeof job->status.gaps - n, "%s", gap);
        if (n >= sizeof job->status.gaps) {
            *to = '\0';
            flash_job_log(job, LOG_WARNING, "too many gaps to keep: a later attempt can't look at them");
            return;
        }
    }
    job->events->on_change(job->userdata, job);
}

/* A gap of other bounds is not in there, and says nothing. */
static void compare_gaps(struct flash_job *job) {
    char where[200] = "", gap[64], bounds[64];
    size_t n = 0;

    for (unsigned i = 0; i < job->n_guards && n < sizeof where; i++) {
        const struct flash_guard *guard = &job->guards[i];

        print_gap(guard, false, bounds);
        print_gap(guard, true, gap);
        if (strstr(job->status.gaps, bounds) && !strstr(job->status.gaps, gap))
            n += (size_t)snprintf(where + n, sizeof where - n, "%s0x%x to 0x%x", n ? ", " : "", guard->offset,
                                  guard->offset + guard->size);
    }
    if (!n)
        return;
    snprintf(
        job->status.warning, sizeof job->status.warning,
        "%s: not what it was before the job's first attempt. The board's own firmware ran in between, or "
        "a damaged command on a bad line did it. Config, NVS and otadata as of then are in the first backup "
        "of job %u, or in the last one before that: see wipyctl backup list %s, backup restore.",
        where, job->id, job->status.board.mac);
    flash_job_log(job, LOG_WARNING, "%s", job->status.warning);
}

enum step flash_enter_guard(struct flash_job *job) {
    const struct flash_guard *guard;

    if (!job->guards && !find_gaps(job))
        return flash_job_fail(job, WIPYD_ERROR_NO_MEMORY, "guarding what is the board's own");
    if (job->n_guarded == job->n_guards) {
        if (!job->is_gap_kept)
            (*job->status.gaps ? compare_gaps : keep_gaps)(job);
        job->is_gap_kept = true;
        return STEP_NEXT;
    }
    guard = &job->guards[job->n_guarded];
    return request_md5(job, guard->offset, guard->size);
}

enum step flash_reply_guard(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    char story[160];

    if (outcome != ESP_OK ||
        !esp_reply_md5(reply, esp_link_loader(job->link), job->guards[job->n_guarded].md5)) {
        flash_describe(job, "guarding what is the board's own", outcome, reply, story, sizeof story);
        return flash_job_retry(job, WIPYD_ERROR_CHIP_REFUSED, "%s", story);
    }
    job->attempts = 0;
    job->n_guarded++;
    return STEP_AGAIN;
}

/* ---- afterwards ------------------------------------------------------------------------------ */

/* A restore that writes the config block: it must hold that, and not what it held before. */
static bool is_config_restored(const struct flash_job *job) {
    return job->restored.parts[BACKUP_CONFIG].bytes != NULL;
}

static enum step check_config(struct flash_job *job, const uint8_t md5[static 16]) {
    uint8_t wanted_md5[16];

    esp_md5((is_config_restored(job) ? &job->restored : &job->saved)->parts[BACKUP_CONFIG].bytes,
            FIRMWARE_CONFIG_BYTES, wanted_md5);
    if (memcmp(md5, wanted_md5, 16) != 0)
        return flash_job_retry(job, WIPYD_ERROR_GUARD_FAILED,
                               "the config block's MD5 differs from that of %s/%s%s%s", job->backup_folder,
                               job->mac_hex, is_config_restored(job) ? "/" : "",
                               is_config_restored(job) ? job->restore_name : "");
    job->check_step = CHECK_GAPS;
    job->n_checked = 0;
    return STEP_AGAIN;
}

static enum step check_gap(struct flash_job *job, const uint8_t md5[static 16]) {
    const struct flash_guard *guard = &job->guards[job->n_checked];

    if (memcmp(md5, guard->md5, 16) != 0)
        return flash_job_retry(
            job, WIPYD_ERROR_GUARD_FAILED,
            "0x%x to 0x%x, which is not of the package, is not what it was; what was saved "
            "is in %s/%s",
            guard->offset, guard->offset + guard->size, job->backup_folder, job->mac_hex);
    job->n_checked++;
    return STEP_AGAIN;
}

static bool is_fresh(const struct flash_job *job, const struct flash_piece *piece) {
    return piece->state == FLASH_PIECE_WRITTEN && piece->hazards == job->hazards;
}

/* Of the region that begins with that piece. */
static unsigned count_fresh(const struct flash_job *job, const struct flash_piece *pieces) {
    unsigned n = 0;

    for (unsigned i = 0; i < pieces->region->n_pieces; i++)
        n += is_fresh(job, &pieces[i]);
    return n;
}

/* A region is asked for as a whole, which takes one question; where most of it is fresh, the rest is, piece
 * by piece. */
static bool is_whole_region(const struct flash_job *job, const struct flash_piece *piece) {
    return piece->piece == piece->region->pieces && 2 * count_fresh(job, piece) <= piece->region->n_pieces;
}

static enum step ask_region(struct flash_job *job) {
    const struct flash_piece *piece;

    for (; job->n_checked < job->n_pieces; job->n_checked++) {
        piece = &job->pieces[job->n_checked];
        if (is_whole_region(job, piece))
            return request_md5(job, piece->region->offset, piece->region->size);
        if (!is_fresh(job, piece))
            return request_md5(job, piece->piece->offset, piece->piece->size);
    }
    return STEP_NEXT;
}

static enum step check_region(struct flash_job *job, const uint8_t md5[static 16]) {
    const struct flash_piece *piece = &job->pieces[job->n_checked];
    bool is_whole = is_whole_region(job, piece);

    if (memcmp(md5, is_whole ? piece->region->md5 : piece->piece->md5, 16) != 0) {
        flash_job_log(job, LOG_WARNING, "region 0x%x (%s) is not right any more: looking for what isn't",
                      piece->region->offset, piece->region->name);
        job->check_step = CHECK_PIECES;
        job->cursor = 0;
        job->is_patched = false;
        return STEP_AGAIN;
    }
    job->n_checked += is_whole ? piece->region->n_pieces : 1;
    return STEP_AGAIN;
}

/* What was verified or found right, and isn't, is written once more. */
static enum step check_piece(struct flash_job *job, const uint8_t md5[static 16]) {
    struct flash_piece *piece = &job->pieces[job->cursor++];

    if (memcmp(md5, piece->piece->md5, 16) != 0) {
        if (piece->state == FLASH_PIECE_EQUAL)
            job->status.bytes_total += piece->piece->size;
        piece->state = FLASH_PIECE_DIFFERS;
        job->is_patched = true;
    }
    return STEP_AGAIN;
}

static enum step end_pieces(struct flash_job *job) {
    job->check_step = CHECK_CONFIG;
    job->cursor = 0;
    if (++job->n_rounds > ROUNDS_MAX)
        return flash_job_fail(job, WIPYD_ERROR_VERIFY_FAILED, "what was written doesn't stay");
    if (!job->is_patched)
        return STEP_AGAIN; /* it was the answer that was wrong */
    return flash_job_goto(job, WIPYD_PHASE_BEGIN);
}

enum step flash_enter_guard_check(struct flash_job *job) {
    const struct firmware_piece *piece;

    switch (job->check_step) {
    case CHECK_CONFIG:
        return request_md5(job, FIRMWARE_CONFIG_OFFSET, FIRMWARE_CONFIG_BYTES);
    case CHECK_GAPS:
        if (job->n_checked < job->n_guards)
            return request_md5(job, job->guards[job->n_checked].offset, job->guards[job->n_checked].size);
        job->check_step = CHECK_REGIONS;
        job->n_checked = 0;
        return STEP_AGAIN;
    case CHECK_REGIONS:
        return ask_region(job);
    case CHECK_PIECES:
        if (job->cursor == job->n_pieces)
            return end_pieces(job);
        piece = job->pieces[job->cursor].piece;
        return request_md5(job, piece->offset, piece->size);
    }
    return STEP_FAIL;
}

enum step flash_reply_guard_check(struct flash_job *job, enum esp_outcome outcome,
                                  const struct esp_reply *reply) {
    enum step step = STEP_FAIL;
    uint8_t md5[16];
    char story[160];

    if (outcome != ESP_OK || !esp_reply_md5(reply, esp_link_loader(job->link), md5)) {
        flash_describe(job, "looking once more", outcome, reply, story, sizeof story);
        return flash_job_retry(job, WIPYD_ERROR_GUARD_FAILED, "%s", story);
    }
    switch (job->check_step) {
    case CHECK_CONFIG:
        step = check_config(job, md5);
        break;
    case CHECK_GAPS:
        step = check_gap(job, md5);
        break;
    case CHECK_REGIONS:
        step = check_region(job, md5);
        break;
    case CHECK_PIECES:
        step = check_piece(job, md5);
        break;
    }
    if (step != STEP_RETRY)
        job->attempts = 0;
    return step;
}
