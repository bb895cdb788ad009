#pragma once

/* Another program that has a port open. Include cmocka first. */

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Starts it under that name. It holds the node at path, locked if so wanted, until it is stopped. */
static inline pid_t holder_start(const char *name, const char *path, bool with_lock) {
    int ready[2];
    char c;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fd = open(path, O_RDWR | O_NOCTTY);

        if (fd < 0 || (with_lock && flock(fd, LOCK_EX) < 0))
            _exit(1);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        prctl(PR_SET_NAME, name);
        if (write(ready[1], "r", 1) == 1)
            sleep(60);
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

static inline void holder_stop(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
