#pragma once

/* Cleanup attributes for what the stack owns: `cleanup(free_p) char *text = NULL;` */

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#define cleanup(function) __attribute__((cleanup(function)))
#define must_check        __attribute__((warn_unused_result))

static inline void free_p(void *pointer) {
    free(*(void **)pointer);
}

static inline void close_fd_p(int *fd) {
    if (*fd >= 0)
        close(*fd);
}

static inline void close_dir_p(DIR **dir) {
    if (*dir)
        closedir(*dir);
}

/* Moves ownership out of a cleaned-up pointer. */
static inline void *steal_pointer(void *pointer) {
    void *value = *(void **)pointer;

    *(void **)pointer = NULL;
    return value;
}
