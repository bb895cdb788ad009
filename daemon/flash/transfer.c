/* Sending the pieces that differ, one by one: begin, blocks, MD5. A piece that fails is begun again, first at
 * the same rate and then one rate lower; a block is never sent twice, because the ROM counts them
 * (rom-errors.txt). */

#include <libdeflate.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/esp/md5.h"
#include "daemon/flash/phases.h"

enum {
    PIECE_ATTEMPTS_SAME_RATE = 2,
    PIECE_ATTEMPTS_MAX = 6,
    VERIFY_ATTEMPTS = 3,
    PLAIN_BLOCK_BYTES = 0x1000, /* divides every piece: the ROM wants whole blocks of plain data */
    ERROR_MALFORMED = 0x05,     /* also: block too big */
    ERROR_INFLATE = 0x0b,
    ERROR_ADLER = 0x0c,
};

static struct flash_piece *current(struct flash_job *job) {
    return &job->pieces[job->cursor];
}

static bool is_deflated(const struct flash_piece *piece) {
    return piece->piece->deflated && !piece->send_inflated;
}

/* The bytes to be sent for a piece, as they go over the wire. */
static const uint8_t *stream_of(const struct flash_job *job, const struct flash_piece *piece,
                                uint32_t *size) {
    if (piece->send_inflated) {
        *size = piece->piece->size;
        return job->inflated;
    }
    *size = piece->piece->stream_size;
    return piece->piece->stream;
}

static uint32_t block_bytes_of(const struct flash_job *job, const struct flash_piece *piece) {
    return !is_deflated(piece) && job->block_bytes > PLAIN_BLOCK_BYTES ? PLAIN_BLOCK_BYTES : job->block_bytes;
}

static void update_progress(struct flash_job *job) {
    struct flash_status *status = &job->status;
    const struct flash_piece *piece = current(job);
    uint64_t done = 0, elapsed_us = (uv_hrtime() - job->write_since) / 1000;
    uint32_t stream_size;
    double progress;

    for (unsigned i = 0; i < job->n_pieces; i++)
        if (job->pieces[i].state == FLASH_PIECE_WRITTEN)
            done += job->pieces[i].piece->size;
    if (job->cursor < job->n_pieces && piece->state == FLASH_PIECE_DIFFERS) {
        stream_of(job, piece, &stream_size);
        if (stream_size)
            done += (uint64_t)piece->piece->size * job->stream_done / stream_size;
    }
    if (done > status->bytes_done)
        status->bytes_done = done;
    if (elapsed_us > 100000)
        status->rate = (uint32_t)(status->bytes_done * 1000000 / elapsed_us);
    progress = 0.10 + 0.85 * (double)status->bytes_done / (double)status->bytes_total;
    if (progress > status->progress)
        status->progress = progress;
}

__attribute__((format(printf, 3, 4))) static enum step piece_failed(struct flash_job *job,
                                                                    enum wipyd_error code, const char *format,
                                                                    ...) {
    struct flash_piece *piece = current(job);
    char what[200];
    uint32_t lower = flash_lower_baud(esp_link_baud(job->link));
    va_list args;

    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    flash_job_fail(job, code, "region 0x%x (%s): %s", piece->piece->offset, piece->region->name, what);
    flash_job_log(job, LOG_WARNING, "%s", job->status.fault.story);
    if (piece->attempts >= PIECE_ATTEMPTS_MAX)
        return STEP_FAIL;
    if (piece->attempts < PIECE_ATTEMPTS_SAME_RATE || !lower)
        return flash_job_goto(job, WIPYD_PHASE_BEGIN);
    job->target_baud = lower;
    job->rate_is_lowered = true;
    return flash_job_goto(job, WIPYD_PHASE_RAISE_BAUD);
}

/* ---- begin ----------------------------------------------------------------------------------- */

static bool inflate_piece(struct flash_job *job, const struct firmware_piece *piece) {
    struct libdeflate_decompressor *decompressor;
    enum libdeflate_result result = LIBDEFLATE_BAD_DATA;

    if (!job->inflated)
        job->inflated = malloc(FIRMWARE_PIECE_BYTES);
    decompressor = libdeflate_alloc_decompressor();
    if (job->inflated && decompressor)
        result = libdeflate_zlib_decompress(decompressor, piece->stream, piece->stream_size, job->inflated,
                                            piece->size, NULL);
    libdeflate_free_decompressor(decompressor);
    return result == LIBDEFLATE_SUCCESS;
}

enum step flash_enter_begin(struct flash_job *job) {
    struct flash_piece *piece;
    struct esp_request request;
    uint32_t stream_size;

    while (job->cursor < job->n_pieces && current(job)->state != FLASH_PIECE_DIFFERS)
        job->cursor++;
    if (job->cursor == job->n_pieces)
        return flash_job_goto(job, WIPYD_PHASE_GUARD_CHECK);

    piece = current(job);
    if (!job->block_bytes)
        job->block_bytes = esp_link_loader(job->link)->block_bytes;
    if (!job->write_since)
        job->write_since = uv_hrtime();
    if (piece->send_inflated && !inflate_piece(job, piece->piece))
        return flash_job_fail(job, WIPYD_ERROR_NO_MEMORY, "inflating a piece");
    if (piece->attempts++)
        job->status.retries++;
    job->sequence = 0;
    job->stream_done = 0;
    stream_of(job, piece, &stream_size);
    if (!piece->piece->stream)
        stream_size = 0;
    esp_request_begin(&request, is_deflated(piece), piece->piece->offset, piece->piece->size, stream_size,
                      block_bytes_of(job, piece));
    flash_job_request_link(job, &request);
    return STEP_WAIT;
}

enum step flash_reply_begin(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    uint32_t small = esp_link_loader(job->link)->block_bytes_small;
    struct flash_piece *piece = current(job);
    char story[160];

    if (outcome == ESP_OK)
        return piece->piece->stream ? STEP_NEXT : flash_job_goto(job, WIPYD_PHASE_VERIFY);
    if (outcome == ESP_REFUSED && reply->error == ERROR_MALFORMED && job->block_bytes > small) {
        flash_job_log(job, LOG_INFO, "blocks of 0x%x are refused, going on with 0x%x", job->block_bytes,
                      small);
        job->block_bytes = small;
        if (--piece->attempts) /* this one didn't count */
            job->status.retries--;
        return STEP_AGAIN;
    }
    flash_describe(job, "begin", outcome, reply, story, sizeof story);
    return piece_failed(job, WIPYD_ERROR_WRITE_FAILED, "%s", story);
}

/* ---- write ----------------------------------------------------------------------------------- */

static uint32_t next_block(const struct flash_job *job, const struct flash_piece *piece,
                           const uint8_t **block) {
    uint32_t size, most = block_bytes_of(job, piece);
    const uint8_t *stream = stream_of(job, piece, &size);

    *block = stream + job->stream_done;
    return size - job->stream_done < most ? size - job->stream_done : most;
}

enum step flash_enter_write(struct flash_job *job) {
    struct flash_piece *piece = current(job);
    struct esp_request request;
    const uint8_t *block;
    uint32_t size = next_block(job, piece, &block);

    esp_request_data(&request, is_deflated(piece), job->sequence, block, size, piece->piece->size);
    flash_job_request_link(job, &request);
    return STEP_WAIT;
}

enum step flash_reply_write(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_piece *piece = current(job);
    const uint8_t *block;
    uint32_t stream_size;
    char story[160];

    if (outcome == ESP_OK) {
        job->stream_done += next_block(job, piece, &block);
        job->sequence++;
        update_progress(job);
        stream_of(job, piece, &stream_size);
        return job->stream_done == stream_size ? STEP_NEXT : STEP_AGAIN;
    }
    if (outcome == ESP_REFUSED && (reply->error == ERROR_INFLATE || reply->error == ERROR_ADLER) &&
        is_deflated(piece))
        piece->send_inflated = true;
    flash_describe(job, "write", outcome, reply, story, sizeof story);
    return piece_failed(job, WIPYD_ERROR_WRITE_FAILED, "block %u: %s", job->sequence, story);
}

/* ---- verify ---------------------------------------------------------------------------------- */

enum step flash_enter_verify(struct flash_job *job) {
    const struct firmware_piece *piece = current(job)->piece;
    struct esp_request request;

    esp_request_md5(&request, esp_link_loader(job->link), piece->offset, piece->size);
    flash_job_request_link(job, &request);
    return STEP_WAIT;
}

enum step flash_reply_verify(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    struct flash_piece *piece = current(job);
    uint8_t md5[16];
    char story[160];

    if (outcome != ESP_OK || !esp_reply_md5(reply, esp_link_loader(job->link), md5)) {
        flash_describe(job, "verify", outcome, reply, story, sizeof story);
        if (job->attempts + 1 < VERIFY_ATTEMPTS)
            return flash_job_retry(job, WIPYD_ERROR_VERIFY_FAILED, "%s", story);
        return piece_failed(job, WIPYD_ERROR_VERIFY_FAILED, "%s", story);
    }
    if (memcmp(md5, piece->piece->md5, 16) != 0)
        return piece_failed(job, WIPYD_ERROR_VERIFY_FAILED, "the MD5 on the chip differs");
    piece->state = FLASH_PIECE_WRITTEN;
    job->stream_done = 0;
    update_progress(job);
    job->cursor++;
    return flash_job_goto(job, WIPYD_PHASE_BEGIN);
}

/* ---- guard ----------------------------------------------------------------------------------- */

/* A restore that writes the config block: it must hold that, and not what it held before. */
static bool is_config_restored(const struct flash_job *job) {
    return job->restored.parts[BACKUP_CONFIG].bytes != NULL;
}

enum step flash_enter_guard_check(struct flash_job *job) {
    struct esp_request request;

    esp_request_md5(&request, esp_link_loader(job->link), FIRMWARE_CONFIG_OFFSET, FIRMWARE_CONFIG_BYTES);
    flash_job_request_link(job, &request);
    return STEP_WAIT;
}

enum step flash_reply_guard_check(struct flash_job *job, enum esp_outcome outcome,
                                  const struct esp_reply *reply) {
    uint8_t md5[16], wanted_md5[16];
    char story[160];

    if (outcome != ESP_OK || !esp_reply_md5(reply, esp_link_loader(job->link), md5)) {
        flash_describe(job, "reading the config block again", outcome, reply, story, sizeof story);
        return flash_job_retry(job, WIPYD_ERROR_GUARD_FAILED, "%s", story);
    }
    esp_md5((is_config_restored(job) ? &job->restored : &job->saved)->parts[BACKUP_CONFIG].bytes,
            FIRMWARE_CONFIG_BYTES, wanted_md5);
    if (memcmp(md5, wanted_md5, 16) != 0)
        return flash_job_retry(job, WIPYD_ERROR_GUARD_FAILED,
                               "the config block's MD5 differs from that of %s/%s%s%s", job->backup_folder,
                               job->mac_hex, is_config_restored(job) ? "/" : "",
                               is_config_restored(job) ? job->restore_name : "");
    return STEP_NEXT;
}
