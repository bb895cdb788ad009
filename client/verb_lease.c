/* lease: the port to oneself, until Ctrl-C or as long as a command runs. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "client/bus.h"
#include "client/device.h"
#include "client/failure.h"
#include "client/text.h"
#include "client/verb.h"
#include "client/watch.h"
#include "proto/names.h"

#define WHY_BYTES_MAX 80 /* org.wipyd1.Device.xml */

/* As shells have it. */
#define EXIT_CANNOT_RUN 126
#define EXIT_NO_COMMAND 127
#define EXIT_SIGNAL     128

/* ---- taking it ------------------------------------------------------------------------------- */

/* A command's name is the person's choice, but not as a reason: one that wouldn't do is not used. */
static const char *why_of(const struct client *client, const char *given, char buffer[WHY_BYTES_MAX + 1]) {
    const char *slash, *name;

    if (given)
        return given;
    if (!client->options.command)
        return "wipyctl";
    slash = strrchr(client->options.command[0], '/');
    name = slash ? slash + 1 : client->options.command[0];
    if (!*name || strlen(name) > WHY_BYTES_MAX)
        return "wipyctl";
    snprintf(buffer, WHY_BYTES_MAX + 1, "%s", name);
    text_clean(buffer);
    return buffer;
}

/* *fd: the lease, which ends with it; no other process gets it. */
static enum exit_code take(const struct client *client, const struct device *device, const char *why,
                           int *fd) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;
    enum exit_code code;
    int r, of_reply;

    if (sd_bus_can_send(client->bus, 'h') <= 0)
        return bus_append_failure(client, -EOPNOTSUPP);
    code = bus_message(client, &call, device->path, WIPYD_DEVICE_INTERFACE, "Lease", "s", why);
    if (code == EXIT_DONE)
        code = bus_call(client, call, &reply);
    if (code != EXIT_DONE)
        return code;
    r = sd_bus_message_read(reply, "h", &of_reply);
    if (r < 0)
        return bus_bad_message(client, r);
    *fd = fcntl(of_reply, F_DUPFD_CLOEXEC, 3);
    return *fd < 0 ? failure_system(client, "wipyctl can't keep the lease.", -errno) : EXIT_DONE;
}

/* ---- how it may end before its time ---------------------------------------------------------- */

/* Asked of a daemon that runs, or none: nobody's lease starts one that an administrator has just stopped. */
static bool daemon_is_there(const struct client *client) {
    cleanup(sd_bus_message_unrefp) sd_bus_message *call = NULL, *reply = NULL;

    return sd_bus_message_new_method_call(client->bus, &call, WIPYD_BUS_NAME, WIPYD_ROOT_PATH,
                                          "org.freedesktop.DBus.Properties", "Get") >= 0 &&
           sd_bus_message_append(call, "ss", WIPYD_MANAGER_INTERFACE, "Version") >= 0 &&
           sd_bus_message_set_auto_start(call, 0) >= 0 &&
           sd_bus_call(client->bus, call, UINT64_C(10) * 1000000, NULL, &reply) >= 0;
}

#define STORY_OF_LOSS "the lease of %s ended with it: others may have the port now"

static enum exit_code report_loss(const struct client *client, const struct device *device,
                                  bool is_daemon_there) {
    cleanup(free_p) char *story = NULL;

    if (asprintf(&story, STORY_OF_LOSS, device->name) < 0)
        story = NULL;
    return is_daemon_there ? failure_known(client, WIPYD_ERROR_PORT_GONE, story)
                           : bus_daemon_gone(client, story);
}

/* ---- until Ctrl-C ---------------------------------------------------------------------------- */

static int on_end_of_lease(sd_event_source *source, int fd, uint32_t events, void *userdata) {
    (void)source, (void)fd, (void)events;
    watch_over(userdata, WATCH_FINISHED);
    return 0;
}

static enum exit_code announce(const struct client *client, struct device *device) {
    enum exit_code code = EXIT_DONE;

    if (client->options.json) {
        object_refresh(client, &device_interface, device->path, device);
        code = object_print_json(client, &device_interface, device);
        fflush(stdout);
    } else if (!client->options.quiet) {
        text_line(stderr, TEXT_GOOD, "%s is yours until you press Ctrl-C", device->name);
    }
    return code;
}

static enum exit_code hold_until_told(const struct client *client, struct device *device,
                                      struct watch *watch) {
    enum exit_code code = announce(client, device);
    int end;

    if (code != EXIT_DONE)
        return code;
    end = watch_run(watch);
    if (end < 0)
        return bus_bad_message(client, end);
    switch ((enum watch_end)end) {
    case WATCH_INTERRUPTED:
        return EXIT_DONE;
    case WATCH_FINISHED:
        return report_loss(client, device, daemon_is_there(client));
    case WATCH_DAEMON_GONE:
        return report_loss(client, device, false);
    }
    return EXIT_FAILED;
}

static enum exit_code hold(const struct client *client, struct device *device, int fd) {
    struct watch watch = { 0 };
    enum exit_code code = watch_open(&watch, client);
    int r;

    if (code == EXIT_DONE) {
        r = sd_event_add_io(watch.event, NULL, fd, POLLIN, on_end_of_lease, &watch);
        code = r < 0 ? failure_system(client, "wipyctl can't wait for the daemon.", r)
                     : hold_until_told(client, device, &watch);
    }
    watch_close(&watch);
    return code;
}

/* ---- as long as a command runs --------------------------------------------------------------- */

/* The terminal sends Ctrl-C to the command too, and that decides what comes of it: wipyctl has to outlive it.
 */
static const int terminals[] = { SIGINT, SIGQUIT };

#define N_TERMINALS (sizeof(terminals) / sizeof(terminals[0]))

static void ignore_terminal(struct sigaction before[N_TERMINALS], sigset_t *defaults) {
    const struct sigaction ignore = { .sa_handler = SIG_IGN };

    sigemptyset(defaults);
    for (size_t i = 0; i < N_TERMINALS; i++) {
        sigaction(terminals[i], &ignore, &before[i]);
        if (before[i].sa_handler != SIG_IGN)
            sigaddset(defaults, terminals[i]);
    }
}

static void heed_terminal(const struct sigaction before[N_TERMINALS]) {
    for (size_t i = 0; i < N_TERMINALS; i++)
        sigaction(terminals[i], &before[i], NULL);
}

/* Zero, or an errno. */
static int start(char **command, const sigset_t *defaults, pid_t *pid) {
    posix_spawnattr_t attributes;
    int error = posix_spawnattr_init(&attributes);

    if (error)
        return error;
    error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    if (!error)
        error = posix_spawnattr_setsigdefault(&attributes, defaults);
    if (!error)
        error = posix_spawnp(pid, command[0], NULL, &attributes, command, environ);
    posix_spawnattr_destroy(&attributes);
    return error;
}

static enum exit_code report_start(const struct client *client, const char *command, int error) {
    cleanup(free_p) char *message = NULL;
    bool is_nowhere = error == ENOENT;

    if (asprintf(&message, "'%s' can't be run.", command) < 0)
        message = NULL;
    (void)failure_system(client, message ? message : "The command can't be run.", -error);
    return (enum exit_code)(is_nowhere ? EXIT_NO_COMMAND : EXIT_CANNOT_RUN);
}

static enum exit_code wait_for(const struct client *client, pid_t pid) {
    int status;

    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return failure_system(client, "wipyctl can't wait for the command.", -errno);
    return (enum exit_code)(WIFSIGNALED(status) ? EXIT_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status));
}

/* Told when the command is over: its screen is its own until then. */
static void tell_loss(const struct client *client, const struct device *device, int fd) {
    struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

    if (poll(&poll_fd, 1, 0) > 0)
        (void)report_loss(client, device, daemon_is_there(client));
}

static enum exit_code run_command(const struct client *client, const struct device *device, int fd) {
    struct sigaction before[N_TERMINALS];
    enum exit_code code;
    sigset_t defaults;
    pid_t pid;
    int error;

    fflush(NULL);
    ignore_terminal(before, &defaults);
    error = start(client->options.command, &defaults, &pid);
    code = error ? report_start(client, client->options.command[0], error) : wait_for(client, pid);
    heed_terminal(before);
    if (!error)
        tell_loss(client, device, fd);
    return code;
}

enum exit_code verb_lease(struct client *client, char **arguments) {
    cleanup(device_clear_p) struct device device = { 0 };
    cleanup(close_fd_p) int fd = -1;
    char of_command[WHY_BYTES_MAX + 1];
    enum exit_code code = device_find(client, arguments[0], &device);

    if (code == EXIT_DONE)
        code = take(client, &device, why_of(client, arguments[1], of_command), &fd);
    if (code != EXIT_DONE)
        return code;
    return client->options.command ? run_command(client, &device, fd) : hold(client, &device, fd);
}
