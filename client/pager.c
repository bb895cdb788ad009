#include "client/pager.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "client/terminal.h"

static pid_t pager;

/* A shell's command; NULL: none is wanted. */
static const char *command(void) {
    const char *wanted = getenv("SYSTEMD_PAGER");

    if (!wanted)
        wanted = getenv("PAGER");
    if (!wanted)
        return "exec less";
    return *wanted && strcmp(wanted, "cat") ? wanted : NULL;
}

static void become_pager(const char *wanted, int input) {
    const char *less = getenv("SYSTEMD_LESS");

    if (dup2(input, STDIN_FILENO) < 0)
        _exit(1);
    setenv("LESS", less ? less : "FRSXMK", 1);
    setenv("LESSCHARSET", terminal_is_utf8() ? "utf-8" : "ascii", 1);
    setenv("LESSSECURE", "1", 0); /* wipyctl may run by sudo */
    execl("/bin/sh", "sh", "-c", wanted, (char *)NULL);
    _exit(127);
}

/* The shell tells only later whether there is such a program. */
static bool is_missing(const char *wanted) {
    return !strcmp(wanted, "exec less") && access("/usr/bin/less", X_OK) < 0 && access("/bin/less", X_OK) < 0;
}

void pager_open(const struct client *client) {
    const char *wanted = command();
    int ends[2];

    if (client->options.no_pager || !wanted || !terminal_is_live(stdout) || is_missing(wanted))
        return;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return;
    terminal_be_paged();
    fflush(stdout);
    pager = fork();
    if (pager == 0)
        become_pager(wanted, ends[0]);
    close(ends[0]);
    if (pager > 0)
        dup2(ends[1], STDOUT_FILENO);
    close(ends[1]);
    /* Ctrl-C is the pager's; whoever leaves it early has read enough. */
    signal(SIGINT, SIG_IGN);
    signal(SIGPIPE, SIG_DFL);
}

void pager_close(void) {
    if (pager <= 0)
        return;
    fclose(stdout);
    while (waitpid(pager, NULL, 0) < 0 && errno == EINTR)
        ;
    pager = 0;
}
