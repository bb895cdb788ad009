#include "client/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

/* It closes its end when it is registered, or when it has given up. */
#define READY_MS 5000

static pid_t agent;
static bool was_tried;

static bool is_of_use(const struct client *client) {
    const struct options *options = &client->options;

    return !options->no_ask_password && !options->host && !strcmp(options->bus, "system") && geteuid() &&
           isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

static void become_agent(int ready) {
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    char number[16];

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    /* What it says of itself would stand between our lines; it asks on the terminal. */
    if (null < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0 ||
        fcntl(ready, F_SETFD, 0) < 0)
        _exit(1);
    snprintf(number, sizeof(number), "%d", ready);
    execlp("pkttyagent", "pkttyagent", "--notify-fd", number, "--fallback", (char *)NULL);
    _exit(127);
}

void agent_open(const struct client *client) {
    int ready[2];

    if (was_tried || !is_of_use(client))
        return;
    was_tried = true;
    if (pipe2(ready, O_CLOEXEC) < 0)
        return;
    agent = fork();
    if (agent == 0)
        become_agent(ready[1]);
    close(ready[1]);
    if (agent > 0)
        poll(&(struct pollfd) { .fd = ready[0], .events = POLLIN }, 1, READY_MS);
    close(ready[0]);
}

void agent_close(void) {
    if (agent <= 0)
        return;
    kill(agent, SIGTERM);
    kill(agent, SIGCONT); /* it may have been stopped while it read from the terminal */
    while (waitpid(agent, NULL, 0) < 0 && errno == EINTR)
        ;
    agent = 0;
}
