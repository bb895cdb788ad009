#pragma once

/*
 * One package at a time from the network into a file, resumed after a break: within the same download, at the
 * next poll, and after a restart.
 *
 * Happy path: firmware_download_start, on_done with DONE and the file, firmware_download_drop when the store
 * has it.
 * Failure modes: a break is tried again twice; what has come is kept when the server named its version (ETag
 * or Last-Modified), else deleted. Only one broken download is kept, in FOLDER/.download-<SHA-1 of URL>.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/base/config.h"
#include "daemon/firmware/answer.h"
#include "daemon/firmware/poll_notes.h"
#include "daemon/loop/http_loop.h"

struct firmware_download;

/* What an earlier download left; url empty: nothing. */
struct firmware_part {
    char url[FIRMWARE_URL_MAX];
    char etag[128], last_modified[64];
};

struct firmware_download_request {
    const char *url;
    const char *sha1;                 /* 40 hex digits; empty: not known. Checked here only where resumed */
    const char *etag, *last_modified; /* of the package that is there already; empty: none */
};

enum firmware_download_outcome {
    FIRMWARE_DOWNLOAD_DONE,
    FIRMWARE_DOWNLOAD_NOT_MODIFIED,
    FIRMWARE_DOWNLOAD_FAILED, /* text says why */
};

struct firmware_download_result {
    enum firmware_download_outcome outcome;
    int fd; /* DONE: the file, to be closed by the callee; else -1 */
    uint64_t bytes;
    bool was_resumed;
    char text[200];
    char etag[128], last_modified[64]; /* of the package */
    uint64_t retry_after_s;
};

struct firmware_download_events {
    void (*on_progress)(void *userdata, uint64_t done, uint64_t total); /* total 0: not said */
    void (*on_done)(void *userdata, const struct firmware_download_result *result);
};

/* Blocking: what the notes know of a broken download; others' leftovers in folder are deleted. */
void firmware_download_recall(struct firmware_part *ret, struct records *records, const char *folder);

/* All borrowed until on_closed, events too. part is copied. Negative errno. */
must_check int firmware_download_new(struct firmware_download **ret, uv_loop_t *loop, const char *folder,
                                     struct http_loop *http, struct work_queue *queue,
                                     struct poll_notes *notes, const struct config *config,
                                     const struct firmware_download_events *events, void *userdata);
void firmware_download_set_part(struct firmware_download *download, const struct firmware_part *part);
/* One at a time. Copied. on_done comes once, from the loop. Negative errno: it doesn't. */
must_check int firmware_download_start(struct firmware_download *download,
                                       const struct firmware_download_request *request);
/* The file is of no use any more: it is deleted, and not resumed. Not while a download is under way. */
void firmware_download_drop(struct firmware_download *download);
/* Gives up what is under way, without on_done; what can be resumed stays. */
void firmware_download_close(struct firmware_download *download, void (*on_closed)(void *userdata),
                             void *userdata);
