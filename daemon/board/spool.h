#pragma once

/*
 * Packages that were handed over for one job: FOLDER/<job id>.tar.gz, kept until the job is over, so that it
 * can go on after the daemon was killed. All file work runs on the work queue, the file appears by fsync and
 * rename.
 */

#include <stdint.h>

#include "daemon/base/clean.h"
#include "daemon/loop/work_queue.h"

struct spool;

/* folder: made (0700) if absent. queue: borrowed. Blocking, before the loop runs: removes leftovers, that is
 * unfinished files and those whose job isn't among the n ids in `jobs`; what has another name is left alone,
 * and what can't be removed is logged. Negative errno. */
must_check int spool_open(struct spool **ret, const char *folder, struct work_queue *queue,
                          const uint32_t *jobs, unsigned n);
/* Nothing may be under way on the queue for it. NULL is fine. */
struct spool *spool_close(struct spool *spool);

/* Keeps a copy of what is in fd (borrowed until done), a file of `bytes` that can't change; in place of one
 * that is there already. done gets 0 or a negative errno (-EIO: it is shorter), from the loop; never from
 * inside the call, unless there is no memory to begin. done may be NULL: a failure is logged; fd is
 * duplicated then. fd's offset isn't moved. */
void spool_put(struct spool *spool, uint32_t job, int fd, uint64_t bytes, void (*done)(void *userdata, int r),
               void *userdata);
/* Opens it for reading: *ret is the caller's, *ret_bytes its size. Not blocking beyond open(2). -ENOENT: it
 * isn't there; -EUCLEAN or -ELOOP: it is no regular file. */
must_check int spool_open_file(struct spool *spool, uint32_t job, int *ret, uint64_t *ret_bytes);
/* Behind; that it isn't there is fine. */
void spool_remove(struct spool *spool, uint32_t job);
