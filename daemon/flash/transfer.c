/* Sending what differs, run by run: begin, blocks, END where there is one, MD5. The ROM gets one piece at a
 * time, which is begun again when it fails, first at the same rate and then one rate lower; a block is never
 * sent twice, because the ROM counts them (rom-errors.txt). A stub gets as many pieces as touch, and says
 * late what failed: how far it came is found out by MD5 before it goes on. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/esp/md5.h"
#include "daemon/firmware/pieces.h"
#include "daemon/flash/phases.h"

enum {
    VERIFY_ATTEMPTS = 3,
    ERROR_MALFORMED = 0x05, /* also: block too big */
};

static struct flash_piece *current(struct flash_job *job) {
    return &job->pieces[job->cursor];
}

static void update_progress(struct flash_job *job) {
    struct flash_status *status = &job->status;
    uint64_t done = 0, elapsed_us = (uv_hrtime() - job->write_since) / 1000;
    double progress;

    for (unsigned i = 0; i < job->n_pieces; i++)
        if (job->pieces[i].state == FLASH_PIECE_WRITTEN)
            done += job->pieces[i].piece->size;
    if (job->is_in_run && job->run.stream_size)
        done += (uint64_t)job->run.size * job->stream_done / job->run.stream_size;
    if (done > status->bytes_done)
        status->bytes_done = done;
    if (elapsed_us > 100000)
        status->rate = (uint32_t)(status->bytes_done * 1000000 / elapsed_us);
    progress = 0.10 + 0.85 * (double)status->bytes_done / (double)status->bytes_total;
    if (progress > status->progress)
        status->progress = progress;
}

/* A stub that broke off is reset before it is trusted with anything: what it still holds would be told or
 * written later; on its way the job comes to the lower rate, too. Where nobody can reset it, one that would
 * go on inflating gets nothing compressed any more. */
static enum step begin_again(struct flash_job *job, bool at_lower_rate) {
    const struct esp_loader *loader = esp_link_loader(job->link);

    if (loader->is_stub && flash_job_has_lines(job)) {
        if (at_lower_rate)
            job->target_baud = ladder_give_up(&job->status.ladder, esp_link_baud(job->link));
        return flash_job_connect_again(job);
    }
    job->sends_plain |= loader->keeps_inflating;
    return at_lower_rate ? flash_lower_rate(job, WIPYD_PHASE_BEGIN) : flash_job_goto(job, WIPYD_PHASE_BEGIN);
}

__attribute__((format(printf, 3, 4))) static enum step piece_failed(struct flash_job *job,
                                                                    enum wipyd_error code, const char *format,
                                                                    ...) {
    struct flash_piece *piece = current(job);
    char what[200];
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    flash_job_fail(job, code, "region 0x%x (%s): %s", piece->piece->offset, piece->region->name, what);
    flash_job_log(job, LOG_WARNING, "%s", job->status.fault.story);
    switch (ladder_region_failed(&job->status.ladder, ladder_below(esp_link_baud(job->link)) != 0)) {
    case LADDER_SAME:
        return begin_again(job, false);
    case LADDER_LOWER:
        return begin_again(job, true);
    case LADDER_FAIL:
        break;
    }
    return STEP_FAIL;
}

/* ---- begin ----------------------------------------------------------------------------------- */

static bool inflate_piece(struct flash_job *job, const struct firmware_piece *piece) {
    if (!job->inflated)
        job->inflated = malloc(FIRMWARE_PIECE_BYTES);
    return job->inflated && firmware_piece_inflate(piece, job->inflated);
}

static void request_begin(struct flash_job *job, struct esp_request *ret) {
    const struct flash_run *run = &job->run;
    const struct esp_loader *loader = run->loader;

    if (run->is_erase && loader->has_erase_region)
        esp_request_erase_region(ret, run->offset, run->size);
    else
        esp_request_begin(ret, loader, run->is_deflated, run->offset, run->size,
                          run->n_blocks * run->block_bytes, run->block_bytes);
}

enum step flash_enter_begin(struct flash_job *job) {
    const struct esp_loader *loader = esp_link_loader(job->link);
    struct flash_piece *piece;
    struct esp_request request;

    while (job->cursor < job->n_pieces && current(job)->state != FLASH_PIECE_DIFFERS)
        job->cursor++;
    if (job->cursor == job->n_pieces)
        return flash_job_goto(job, WIPYD_PHASE_GUARD_CHECK);

    if (job->is_in_run) {
        job->status.retries++;
        job->is_in_run = false;
        job->is_rechecking = job->run.n > 1 || loader->is_stub;
        if (job->is_rechecking)
            return flash_job_goto(job, WIPYD_PHASE_VERIFY);
    }
    piece = current(job);
    if (!job->block_bytes || job->block_bytes > loader->block_bytes)
        job->block_bytes = loader->block_bytes;
    if (!job->write_since)
        job->write_since = uv_hrtime();
    piece->send_inflated |= job->sends_plain && piece->piece->deflated;
    if (piece->send_inflated && !inflate_piece(job, piece->piece))
        return flash_job_fail(job, WIPYD_ERROR_NO_MEMORY, "inflating a piece");
    job->sequence = job->stream_done = job->work = job->n_verified = 0;
    job->is_ending = false;
    flash_run_init(&job->run, loader, piece, job->n_pieces - job->cursor, job->block_bytes,
                   esp_link_baud(job->link), piece->send_inflated ? job->inflated : NULL);
    job->is_in_run = true;
    job->hazards++;
    request_begin(job, &request);
    flash_job_request_link(job, &request);
    return STEP_WAIT;
}

enum step flash_reply_begin(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    uint32_t small = esp_link_loader(job->link)->block_bytes_small;
    char story[160];

    if (outcome == ESP_OK)
        return job->run.is_erase ? flash_job_goto(job, WIPYD_PHASE_VERIFY) : STEP_NEXT;
    if (outcome == ESP_REFUSED && reply->error == ERROR_MALFORMED && job->block_bytes > small) {
        flash_job_log(job, LOG_INFO, "blocks of 0x%x are refused, going on with 0x%x", job->block_bytes,
                      small);
        job->block_bytes = small;
        job->is_in_run = false; /* this one didn't count */
        return STEP_AGAIN;
    }
    if (outcome == ESP_REFUSED && reply->error == ERROR_MALFORMED)
        ladder_note_error(&job->status.ladder, esp_link_baud(job->link));
    flash_describe(job, "begin", outcome, reply, story, sizeof story);
    return piece_failed(job, WIPYD_ERROR_WRITE_FAILED, "%s", story);
}

/* ---- write ----------------------------------------------------------------------------------- */

/* The flash's share before an answer comes, at most. A stub answers before it writes: what it waits for is
 * the work of the block before, and a block to be erased of which that touched the beginning (facts 2). */
static uint32_t work_before_reply(const struct flash_job *job, uint32_t work_before, uint32_t work) {
    if (job->run.loader->late_errors == ESP_LATE_NONE)
        return work;
    return work_before ? work_before + FIRMWARE_PIECE_BYTES : 0;
}

/* What is sent after `at` bytes of the stream: a block, of which it gives back the size, or END. */
static uint32_t request_next(const struct flash_job *job, uint32_t at, uint32_t sequence,
                             uint32_t work_before, struct esp_request *ret, uint32_t *ret_work) {
    const struct flash_run *run = &job->run;
    struct esp_block block;
    uint32_t size;

    if (at == run->stream_size) {
        *ret_work = 0;
        esp_request_end(ret, run->is_deflated, work_before + FIRMWARE_PIECE_BYTES);
        return 0;
    }
    size = flash_run_block(run, at, &block, ret_work);
    esp_request_data(ret, run->is_deflated, sequence, &block, work_before_reply(job, work_before, *ret_work));
    return size;
}

enum step flash_enter_write(struct flash_job *job) {
    struct esp_request request;
    uint32_t size, work, work_after;

    size = request_next(job, job->stream_done, job->sequence, job->work, &request, &work);
    flash_job_request_link(job, &request);
    if (job->is_ending || (job->stream_done + size == job->run.stream_size && !job->run.loader->has_end))
        return STEP_WAIT;
    /* What comes next lies ready when the answer comes. */
    (void)request_next(job, job->stream_done + size, job->sequence + 1, work, &request, &work_after);
    esp_link_prepare(job->link, &request);
    return STEP_WAIT;
}

/* The stream itself was refused, and may be sent as it is. */
static bool is_stream_refused(const struct flash_job *job, enum esp_outcome outcome,
                              const struct esp_reply *reply) {
    return outcome == ESP_REFUSED && job->run.is_deflated &&
           esp_error_is_of_stream(job->run.loader, reply->error);
}

static enum step write_failed(struct flash_job *job, enum esp_outcome outcome,
                              const struct esp_reply *reply) {
    bool is_late = job->run.loader->late_errors != ESP_LATE_NONE && outcome == ESP_REFUSED;
    char story[160];

    if (is_stream_refused(job, outcome, reply)) {
        if (job->run.n == 1)
            current(job)->send_inflated = true;
        else
            job->wants_plain = true;
    }
    flash_describe(job, job->is_ending ? "end" : "write", outcome, reply, story, sizeof story);
    if (job->is_ending)
        return piece_failed(job, WIPYD_ERROR_WRITE_FAILED, "after %u blocks: %s", job->sequence, story);
    return piece_failed(job, WIPYD_ERROR_WRITE_FAILED, "block %u%s: %s", job->sequence,
                        is_late ? " or the one before" : "", story);
}

enum step flash_reply_write(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct esp_block block;

    if (outcome != ESP_OK)
        return write_failed(job, outcome, reply);
    if (job->is_ending)
        return STEP_NEXT;
    job->stream_done += flash_run_block(&job->run, job->stream_done, &block, &job->work);
    job->sequence++;
    ladder_note_block(&job->status.ladder, esp_link_baud(job->link));
    update_progress(job);
    if (job->stream_done < job->run.stream_size)
        return STEP_AGAIN;
    job->is_ending = job->run.loader->has_end;
    return job->is_ending ? STEP_AGAIN : STEP_NEXT;
}

/* ---- verify ---------------------------------------------------------------------------------- */

/* All of the run at once, where its digest is known. */
static bool is_verifying_all(const struct flash_job *job) {
    return !job->is_rechecking && !job->is_verifying_pieces && job->run.n > 1 &&
           flash_run_is_region(&job->run);
}

enum step flash_enter_verify(struct flash_job *job) {
    const struct firmware_piece *piece = job->pieces[job->cursor + job->n_verified].piece;
    const struct esp_loader *loader = esp_link_loader(job->link);
    struct esp_request request;

    if (is_verifying_all(job))
        esp_request_md5(&request, loader, job->run.offset, job->run.size);
    else
        esp_request_md5(&request, loader, piece->offset, piece->size);
    flash_job_request_link(job, &request);
    return STEP_WAIT;
}

static void piece_is_right(struct flash_job *job) {
    struct flash_piece *piece = &job->pieces[job->cursor + job->n_verified++];

    piece->state = FLASH_PIECE_WRITTEN;
    piece->hazards = job->hazards;
}

static enum step run_done(struct flash_job *job) {
    job->cursor += job->n_verified;
    job->n_verified = 0;
    job->is_in_run = job->is_rechecking = job->is_verifying_pieces = job->wants_plain = false;
    job->stream_done = 0;
    update_progress(job);
    return flash_job_goto(job, WIPYD_PHASE_BEGIN);
}

/* The first piece that isn't what it should be: from there on it is done again. */
static enum step piece_differs(struct flash_job *job) {
    bool was_rechecking = job->is_rechecking, wants_plain = job->wants_plain;
    unsigned n_left = job->run.n - job->n_verified;

    run_done(job);
    current(job)->send_inflated |= wants_plain;
    if (was_rechecking)
        return flash_job_goto(job, WIPYD_PHASE_BEGIN);
    job->run.n = n_left;
    job->is_in_run = true;
    ladder_note_error(&job->status.ladder, esp_link_baud(job->link));
    return piece_failed(job, WIPYD_ERROR_VERIFY_FAILED, "the MD5 on the chip differs");
}

enum step flash_reply_verify(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_piece *piece = &job->pieces[job->cursor + job->n_verified];
    uint8_t md5[16];
    char story[160];

    if (outcome != ESP_OK || !esp_reply_md5(reply, esp_link_loader(job->link), md5)) {
        flash_describe(job, "verify", outcome, reply, story, sizeof story);
        if (job->attempts + 1 < VERIFY_ATTEMPTS)
            return flash_job_retry(job, WIPYD_ERROR_VERIFY_FAILED, "%s", story);
        return piece_failed(job, WIPYD_ERROR_VERIFY_FAILED, "%s", story);
    }
    job->attempts = 0;
    if (is_verifying_all(job)) {
        job->is_verifying_pieces = memcmp(md5, piece->region->md5, 16) != 0;
        if (job->is_verifying_pieces)
            return STEP_AGAIN;
        while (job->n_verified < job->run.n)
            piece_is_right(job);
        ladder_region_done(&job->status.ladder);
        return run_done(job);
    }
    if (memcmp(md5, piece->piece->md5, 16) != 0)
        return piece_differs(job);
    piece_is_right(job);
    ladder_region_done(&job->status.ladder);
    return job->n_verified < job->run.n ? STEP_AGAIN : run_done(job);
}
