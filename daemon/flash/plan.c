/* What is to be flashed, what is there already, and what must not be lost. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/base/bytes.h"
#include "daemon/esp/md5.h"
#include "daemon/flash/board.h"
#include "daemon/flash/phases.h"

/* The board that this daemon is for; a package for another one needs a board that is known to be that. */
#define OWN_BOARD "WiPy"

/* An area larger than this is no NVS and no otadata. */
#define AREA_BYTES_MAX 0x10000u

/* ---- prepare --------------------------------------------------------------------------------- */

static void read_package(struct flash_job *job) {
    void *bytes = mmap(NULL, job->package_bytes, PROT_READ, MAP_PRIVATE, job->package_fd, 0);

    if (bytes == MAP_FAILED) {
        fault_errno(&job->work_fault, -errno, "mapping the package");
        return;
    }
    (void)!firmware_package_read(&job->package, bytes, job->package_bytes, job->package_name,
                                 &job->work_fault);
    munmap(bytes, job->package_bytes);
}

static void read_backup(struct flash_job *job) {
    (void)!backup_read(job->backup_folder, job->restore_mac, job->restore_name, job->restore_parts,
                       &job->restored, &job->work_fault);
}

/* All that may block, before the port opens. */
static void prepare(struct flash_job *job) {
    job->stub = firmware_stubs_find(job->stubs);
    if (job->kind == WIPYD_JOB_KIND_RESTORE)
        read_backup(job);
    else if (!job->package && job->package_fd >= 0)
        read_package(job);
}

enum step flash_enter_prepare(struct flash_job *job) {
    if (job->kind == WIPYD_JOB_KIND_IDENTIFY || (!job->stubs && job->package))
        return STEP_NEXT;
    return flash_job_work(job, prepare);
}

static void tell_of_stub(struct flash_job *job) {
    char news[512];
    bool is_grave;

    if (firmware_stubs_news(job->stubs, news, sizeof news, &is_grave))
        flash_job_log(job, is_grave ? LOG_WARNING : LOG_NOTICE, "%s", news);
}

/* A file of the store may have been damaged since it was checked. */
static bool is_promised(const struct flash_job *job) {
    char hex[65];

    hex_encode(job->package->sha256, sizeof job->package->sha256, hex);
    return !*job->package_sha256 || !strcmp(hex, job->package_sha256);
}

enum step flash_reply_prepare(struct flash_job *job, enum esp_outcome outcome,
                              const struct esp_reply *reply) {
    (void)outcome;
    (void)reply;
    if (job->package_fd >= 0)
        close(job->package_fd);
    job->package_fd = -1;
    tell_of_stub(job);
    if (job->work_fault.code != WIPYD_ERROR_NONE) {
        job->status.fault = job->work_fault;
        return STEP_FAIL;
    }
    if (job->kind == WIPYD_JOB_KIND_RESTORE) {
        flash_job_log(job, LOG_INFO, "what was saved as %s of %s is to be put back", job->restore_name,
                      job->restore_mac);
        if (job->restored.is_unproven)
            flash_job_log(job, LOG_WARNING,
                          "%s was saved before wipyd kept digests: whether it is as it was can't be checked",
                          job->restore_name);
        return STEP_NEXT;
    }
    if (!is_promised(job))
        return flash_job_fail(job, WIPYD_ERROR_PACKAGE_INVALID,
                              "%s has changed in the store since it was checked", job->package_name);
    flash_job_log(job, LOG_INFO, "%s holds %s %s", job->package_name, job->package->version.board,
                  job->package->version.release);
    return STEP_NEXT;
}

/* ---- plan ------------------------------------------------------------------------------------ */

static void take_probe(struct flash_job *job) {
    struct flash_board *board = &job->status.board;

    flash_board_take_probe(board, job->probe);
    if (*board->board)
        flash_job_log(job, LOG_INFO, "the flash holds %s %s", board->board, board->release);
    else
        flash_job_log(job, LOG_INFO, "the flash holds %s",
                      job->probe->has_app ? "firmware of unknown kind" : "no firmware");
}

static enum step check_board(struct flash_job *job) {
    const char *wanted = job->package->version.board, *found = job->status.board.board;

    if (!strcmp(found, wanted))
        return STEP_NEXT;
    if (job->any_esp32 && !firmware_board_is_pycom(found))
        return STEP_NEXT;
    if (*found)
        return flash_job_fail(job, WIPYD_ERROR_WRONG_BOARD, "the package is for %s, the board runs %s %s",
                              wanted, found, job->status.board.release);
    if (strcmp(wanted, OWN_BOARD) != 0 && !*job->resumed_mac)
        return flash_job_fail(job, WIPYD_ERROR_WRONG_BOARD,
                              "the package is for %s, and nothing says that this board is one", wanted);
    return STEP_NEXT;
}

/* Packages of the WiPy 2's days, which know nothing of 8 MB, send a WiPy 3 into an endless panic
 * (facts/pycom.md 4.1, which puts the limit at "about 1.11/1.13"). */
static enum step check_age(struct flash_job *job) {
    uint32_t release, oldest;

    if (job->layout->flash_bytes < 8u << 20 || !strcmp(job->layout->script, "script_8MB") ||
        !firmware_release_parse(job->package->version.release, &release) ||
        !firmware_release_parse("1.13.0", &oldest) || release >= oldest)
        return STEP_NEXT;
    return flash_job_fail(job, WIPYD_ERROR_WRONG_BOARD, "%s %s is too old for a board with 8 MB of flash",
                          job->package->version.board, job->package->version.release);
}

static enum step make_pieces(struct flash_job *job) {
    const struct firmware_layout *layout = job->layout;
    unsigned n = 0;

    for (unsigned i = 0; i < layout->n_regions; i++)
        n += layout->regions[i].n_pieces;
    job->pieces = calloc(n, sizeof *job->pieces);
    if (!job->pieces)
        return flash_job_fail(job, WIPYD_ERROR_NO_MEMORY, "planning %u pieces", n);
    for (unsigned i = 0; i < layout->n_regions; i++)
        for (unsigned k = 0; k < layout->regions[i].n_pieces; k++)
            job->pieces[job->n_pieces++] = (struct flash_piece) { .region = &layout->regions[i],
                                                                  .piece = &layout->regions[i].pieces[k] };
    flash_job_log(job, LOG_INFO, "by %s: %u regions in %u pieces", layout->script, layout->n_regions, n);
    return STEP_NEXT;
}

static enum step plan_flash(struct flash_job *job) {
    uint32_t flash_bytes = (uint32_t)job->status.board.flash_bytes;
    enum step step;

    job->layout = firmware_package_layout(job->package, flash_bytes);
    if (!job->layout)
        return flash_job_fail(job, WIPYD_ERROR_FLASH_TOO_SMALL, "the flash chip has %u KiB",
                              flash_bytes >> 10);
    if (job->layout->fault.code != WIPYD_ERROR_NONE) {
        job->status.fault = job->layout->fault;
        return STEP_FAIL;
    }
    step = check_board(job);
    if (step == STEP_NEXT)
        step = check_age(job);
    return step == STEP_NEXT ? make_pieces(job) : step;
}

static void prepare_restore(struct flash_job *job) {
    (void)!flash_restore_prepare(&job->restore, &job->restored, (uint32_t)job->status.board.flash_bytes,
                                 &job->work_fault);
}

static enum step plan_restore(struct flash_job *job) {
    if (!job->probe->has_table)
        job->probe->table.n = 0; /* what a damaged one says is not to be relied on when saving either */
    if (flash_restore_place(&job->restored, job->probe->has_table ? &job->probe->table : NULL,
                            (uint32_t)job->status.board.flash_bytes, &job->status.fault))
        return STEP_FAIL;
    return flash_job_work(job, prepare_restore);
}

static enum step end_restore_plan(struct flash_job *job) {
    if (job->work_fault.code != WIPYD_ERROR_NONE) {
        job->status.fault = job->work_fault;
        return STEP_FAIL;
    }
    job->layout = &job->restore.layout;
    return make_pieces(job);
}

static enum step make_plan(struct flash_job *job) {
    take_probe(job);
    switch (job->kind) {
    case WIPYD_JOB_KIND_FLASH:
        return plan_flash(job);
    case WIPYD_JOB_KIND_IDENTIFY:
        return flash_job_goto(job, WIPYD_PHASE_FINISH);
    case WIPYD_JOB_KIND_RESTORE:
        return plan_restore(job);
    case WIPYD_JOB_KIND_COUNT:
        break;
    }
    return STEP_FAIL;
}

enum step flash_enter_plan(struct flash_job *job) {
    struct esp_request request;

    if (job->pieces)
        return STEP_NEXT;
    if (!job->probe) {
        job->probe = malloc(sizeof *job->probe);
        if (!job->probe)
            return flash_job_fail(job, WIPYD_ERROR_NO_MEMORY, "reading the flash");
        flash_probe_init(job->probe, esp_link_loader(job->link), (uint32_t)job->status.board.flash_bytes,
                         job->kind == WIPYD_JOB_KIND_IDENTIFY);
        job->probe->first_hint = job->package ? job->package->version.image_offset : 0;
    }
    job->probe->loader = esp_link_loader(job->link);
    if (!flash_probe_next(job->probe, &request))
        return make_plan(job);
    flash_job_request_link(job, &request);
    return STEP_WAIT;
}

enum step flash_reply_plan(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    char story[160];

    if (outcome == ESP_OK && !reply) /* the pool's word, not the chip's */
        return end_restore_plan(job);
    if (outcome == ESP_OK) {
        flash_probe_take(job->probe, reply);
        job->attempts = 0;
        return STEP_AGAIN;
    }
    flash_describe(job, "reading the flash", outcome, reply, story, sizeof story);
    return flash_job_retry(job, WIPYD_ERROR_CHIP_REFUSED, "%s", story);
}

/* ---- compare --------------------------------------------------------------------------------- */

/* A region of many pieces, which a loader that is quick at it may digest at once. */
static bool is_asked_whole(const struct flash_job *job, const struct flash_piece *piece) {
    return esp_link_loader(job->link)->is_stub && piece->region->n_pieces > 1 &&
           piece->piece == piece->region->pieces;
}

static void request_md5(const struct flash_job *job, struct esp_request *ret) {
    const struct flash_piece *piece = &job->pieces[job->cursor];
    const struct esp_loader *loader = esp_link_loader(job->link);

    switch (job->compare_step) {
    case COMPARE_HEAD:
    case COMPARE_BLANK:
        esp_request_md5(ret, loader, piece->piece->offset, FIRMWARE_SECTOR_BYTES);
        return;
    case COMPARE_REGION:
        esp_request_md5(ret, loader, piece->region->offset, piece->region->size);
        return;
    case COMPARE_PIECE:
    case COMPARE_AT_ONCE:
        esp_request_md5(ret, loader, piece->piece->offset, piece->piece->size);
        return;
    }
}

enum step flash_enter_compare(struct flash_job *job) {
    struct esp_request request;

    if (job->is_compared)
        return STEP_NEXT;
    if (job->cursor < job->n_pieces) {
        request_md5(job, &request);
        flash_job_request_link(job, &request);
        return STEP_WAIT;
    }
    job->is_compared = true;
    job->cursor = 0;
    for (unsigned i = 0; i < job->n_pieces; i++)
        if (job->pieces[i].state == FLASH_PIECE_DIFFERS)
            job->status.bytes_total += job->pieces[i].piece->size;
    flash_job_log(job, LOG_INFO, "%llu KiB have to be written",
                  (unsigned long long)job->status.bytes_total >> 10);
    /* An attempt before may have done damage, and written all that was missing: that is looked for. */
    return job->dry_run || (!job->status.bytes_total && !*job->status.gaps)
               ? flash_job_goto(job, WIPYD_PHASE_FINISH)
               : STEP_NEXT;
}

static bool is_blank(const uint8_t md5[static 16]) {
    uint8_t blank[FIRMWARE_SECTOR_BYTES], blank_md5[16];

    memset(blank, 0xff, sizeof blank);
    esp_md5(blank, sizeof blank, blank_md5);
    return !memcmp(md5, blank_md5, 16);
}

/* What follows what is right is most often right, too, and asked for as it is. What follows what differs is
 * asked for by its first sector: where that differs, as in most pieces of another release, the rest needs no
 * look. */
static enum step end_piece(struct flash_job *job, enum flash_piece_state state) {
    const struct flash_piece *next;

    job->pieces[job->cursor++].state = state;
    next = &job->pieces[job->cursor];
    job->compare_step = state == FLASH_PIECE_EQUAL && job->cursor < job->n_pieces &&
                                next->piece->size > FIRMWARE_SECTOR_BYTES && !is_asked_whole(job, next)
                            ? COMPARE_AT_ONCE
                            : COMPARE_HEAD;
    return STEP_AGAIN;
}

static enum step take_md5(struct flash_job *job, const uint8_t md5[static 16]) {
    struct flash_piece *piece = &job->pieces[job->cursor];
    const struct firmware_region *region = piece->region;
    bool is_equal = !memcmp(md5, piece->piece->md5, 16);

    switch (job->compare_step) {
    case COMPARE_HEAD:
        piece->is_blank = is_blank(md5);
        if (piece->piece->size > FIRMWARE_SECTOR_BYTES && !memcmp(md5, piece->piece->head_md5, 16)) {
            job->compare_step = is_asked_whole(job, piece) ? COMPARE_REGION : COMPARE_PIECE;
            return STEP_AGAIN;
        }
        break;
    case COMPARE_REGION:
        job->compare_step = COMPARE_PIECE;
        if (memcmp(md5, region->md5, 16) != 0)
            return STEP_AGAIN;
        for (unsigned i = 1; i < region->n_pieces; i++)
            job->pieces[job->cursor++].state = FLASH_PIECE_EQUAL;
        return end_piece(job, FLASH_PIECE_EQUAL);
    case COMPARE_PIECE:
        break;
    case COMPARE_AT_ONCE:
        if (is_equal)
            break;
        job->compare_step = COMPARE_BLANK;
        return STEP_AGAIN;
    case COMPARE_BLANK:
        piece->is_blank = is_blank(md5);
        return end_piece(job, FLASH_PIECE_DIFFERS);
    }
    return end_piece(job, is_equal ? FLASH_PIECE_EQUAL : FLASH_PIECE_DIFFERS);
}

enum step flash_reply_compare(struct flash_job *job, enum esp_outcome outcome,
                              const struct esp_reply *reply) {
    uint8_t md5[16];
    char story[160];

    if (outcome != ESP_OK || !esp_reply_md5(reply, esp_link_loader(job->link), md5)) {
        flash_describe(job, "comparing", outcome, reply, story, sizeof story);
        return flash_job_retry(job, WIPYD_ERROR_CHIP_REFUSED, "%s", story);
    }
    job->attempts = 0;
    return take_md5(job, md5);
}

/* ---- save ------------------------------------------------------------------------------------ */

static struct backup_area area_of(const struct flash_job *job, const struct partition *partition,
                                  const struct firmware_area *planned) {
    struct backup_area area = { .offset = planned->offset, .size = planned->size };

    /* The layout that is on the board knows best where its data lie; it may also be garbage. */
    if (partition)
        area = (struct backup_area) { .offset = partition->offset, .size = partition->size };
    if (area.offset % FIRMWARE_SECTOR_BYTES || area.size % FIRMWARE_SECTOR_BYTES ||
        area.size > AREA_BYTES_MAX || area.offset >= job->status.board.flash_bytes ||
        area.size > job->status.board.flash_bytes - area.offset)
        return (struct backup_area) { 0 };
    return area;
}

static bool alloc_areas(struct flash_job *job) {
    const struct partitions *table = &job->probe->table;

    job->saved.parts[BACKUP_CONFIG] =
        (struct backup_area) { .offset = FIRMWARE_CONFIG_OFFSET, .size = FIRMWARE_CONFIG_BYTES };
    job->saved.parts[BACKUP_NVS] = area_of(job, partitions_find(table, 1, 2), &job->layout->nvs);
    job->saved.parts[BACKUP_OTADATA] = area_of(job, partitions_find(table, 1, 0), &job->layout->otadata);
    for (int i = 0; i < BACKUP_PARTS; i++)
        if (job->saved.parts[i].size) {
            job->saved.parts[i].bytes = malloc(job->saved.parts[i].size);
            if (!job->saved.parts[i].bytes)
                return false;
        }
    return true;
}

static void load_previous(struct flash_job *job) {
    backup_load_newest(job->backup_folder, job->mac_hex, &job->saved, &job->previous);
}

static void store(struct flash_job *job) {
    (void)!backup_save(job->backup_folder, job->mac_hex, job->id, &job->saved, &job->work_fault);
}

/* The next part that exists is read from its beginning; after the last one all of them are stored. */
static void next_part(struct flash_job *job) {
    struct backup_area *part;

    do
        job->save_part++;
    while (job->save_part < BACKUP_PARTS && !job->saved.parts[job->save_part].size);
    if (job->save_part == BACKUP_PARTS)
        return;
    part = &job->saved.parts[job->save_part];
    flash_reader_init(&job->reader, esp_link_loader(job->link), part->offset, part->size, part->bytes,
                      job->previous.parts[job->save_part].bytes);
}

enum step flash_enter_save(struct flash_job *job) {
    struct esp_request request;

    if (job->is_saved)
        return flash_enter_guard(job);
    if (job->save_part < 0) {
        if (!job->saved.parts[BACKUP_CONFIG].bytes && !alloc_areas(job))
            return flash_job_fail(job, WIPYD_ERROR_NO_MEMORY, "saving the board's own data");
        return flash_job_work(job, load_previous);
    }
    if (job->save_part == BACKUP_PARTS)
        return flash_job_work(job, store);
    flash_reader_set_loader(&job->reader, esp_link_loader(job->link));
    if (!flash_reader_next(&job->reader, &request)) {
        next_part(job);
        return STEP_AGAIN;
    }
    flash_job_request_link(job, &request);
    return STEP_WAIT;
}

enum step flash_reply_save(struct flash_job *job, enum esp_outcome outcome, const struct esp_reply *reply) {
    char story[160];

    if (job->is_saved)
        return flash_reply_guard(job, outcome, reply);
    if (job->save_part < 0) {
        next_part(job);
        return STEP_AGAIN;
    }
    if (job->save_part == BACKUP_PARTS) {
        if (job->work_fault.code != WIPYD_ERROR_NONE) {
            job->status.fault = job->work_fault;
            return STEP_FAIL;
        }
        backup_deinit(&job->previous);
        job->is_saved = true;
        return STEP_AGAIN;
    }
    if (outcome != ESP_OK) {
        flash_describe(job, "reading the board's own data", outcome, reply, story, sizeof story);
        return flash_job_retry(job, WIPYD_ERROR_CHIP_REFUSED, "%s", story);
    }
    if (!flash_reader_take(&job->reader, reply)) {
        flash_job_fail(job, WIPYD_ERROR_BACKUP_FAILED, "0x%x reads differently each time",
                       job->reader.offset + job->reader.done);
        ladder_note_error(&job->status.ladder, esp_link_baud(job->link));
        job->save_part--; /* from its beginning */
        next_part(job);
        return flash_lower_rate(job, WIPYD_PHASE_SAVE);
    }
    job->attempts = 0;
    return STEP_AGAIN;
}
