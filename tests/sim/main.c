// wipysim: one process is one simulated board. Options, the event loop, orderly end. See --help.
#include "tests/sim/board.h"
#include "tests/sim/control.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

struct options {
    const char *dir, *name, *flash_path;
    uint32_t flash_size;
    uint8_t mac[6];
    bool fast, blank_chip, download;
    uint32_t xtal_hz;
    struct flash_timings timings;
    bool efuse_set[EFUSE_WORDS];
    uint32_t efuse[EFUSE_WORDS];
};

struct paths {
    char tty[PATH_MAX], ctl[PATH_MAX], flash[PATH_MAX];
};

static struct board the_board; // large: keep it off the stack
static struct control the_control;

static const char usage[] =
    "Usage: wipysim --dir DIR [options]\n"
    "A simulated WiPy on a pseudo-terminal. Makes DIR/NAME.tty (symlink), DIR/NAME.ctl (control socket) and\n"
    "DIR/NAME.flash (the flash, FF-filled when new, always the truth), prints \"ready DIR/NAME.tty\", and "
    "runs until\n"
    "SIGTERM, SIGINT or the control request \"quit\".\n"
    "  --dir DIR              where\n"
    "  --name NAME            default: board\n"
    "  --flash-size 4M|8M     default 8M. 4M = WiPy 2 (revision 0), 8M = WiPy 3 (revision 1)\n"
    "  --flash FILE           use this flash file instead\n"
    "  --mac 30:ae:a4:01:02:03\n"
    "  --blank-chip           no eFuse burnt, a later die: the chip of the recorded transcripts\n"
    "  --efuse WORD=VALUE     set an eFuse word (0 to 31); may be repeated\n"
    "  --xtal 40|26           crystal, MHz\n"
    "  --boot-strap run|download  without or with the jumper G23-GND at first\n"
    "  --fast                 no pacing and no chip times; a wrong baud rate still garbles\n"
    "  --timings sector_us=45000,block_us=150000,page_us=600,md5_us_per_kib=400\n"
    "  --help\n\n";

// ---- options
// --------------------------------------------------------------------------------------------------------

static bool parse_mac(const char *text, uint8_t *mac) {
    unsigned v[6];
    char rest;

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &rest) != 6)
        return false;
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)v[i];
    return true;
}

static bool parse_efuse(const char *text, struct options *o) {
    char *end;
    unsigned long word = strtoul(text, &end, 10);

    if (end == text || *end != '=' || word >= EFUSE_WORDS || end[1] == 0)
        return false;
    o->efuse[word] = (uint32_t)strtoul(end + 1, &end, 0);
    o->efuse_set[word] = true;
    return *end == 0;
}

static bool parse_timings(char *text, struct flash_timings *t) {
    const struct {
        const char *name;
        uint32_t *field;
    } fields[] = {
        { "sector_us=", &t->sector_us },
        { "block_us=", &t->block_us },
        { "page_us=", &t->page_us },
        { "md5_us_per_kib=", &t->md5_us_per_kib },
    };
    char *save = NULL;

    for (char *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        bool found = false;
        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
            size_t n = strlen(fields[i].name);
            char *end;
            if (strncmp(word, fields[i].name, n) != 0)
                continue;
            *fields[i].field = (uint32_t)strtoul(word + n, &end, 10);
            found = end != word + n && *end == 0;
        }
        if (!found)
            return false;
    }
    return true;
}

static bool parse_choice(const char *text, const char *yes, const char *no, bool *out) {
    *out = strcmp(text, yes) == 0;
    return *out || strcmp(text, no) == 0;
}

// Returns false and says why on stderr when an option is wrong.
static bool parse_options(int argc, char **argv, struct options *o) {
    enum { DIR_ = 1, NAME, SIZE, FLASH, MAC, BLANK, EFUSE, XTAL, STRAP, FAST, TIMINGS, HELP };
    static const struct option options[] = {
        { "dir", required_argument, NULL, DIR_ },
        { "name", required_argument, NULL, NAME },
        { "flash-size", required_argument, NULL, SIZE },
        { "flash", required_argument, NULL, FLASH },
        { "mac", required_argument, NULL, MAC },
        { "blank-chip", no_argument, NULL, BLANK },
        { "efuse", required_argument, NULL, EFUSE },
        { "xtal", required_argument, NULL, XTAL },
        { "boot-strap", required_argument, NULL, STRAP },
        { "fast", no_argument, NULL, FAST },
        { "timings", required_argument, NULL, TIMINGS },
        { "help", no_argument, NULL, HELP },
        { NULL, 0, NULL, 0 },
    };
    int option;
    bool big = true, is40 = true;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        bool good = true;
        switch (option) {
        case DIR_:
            o->dir = optarg;
            break;
        case NAME:
            o->name = optarg;
            good = *optarg != 0 && strpbrk(optarg, "/\"\\") == NULL;
            break;
        case SIZE:
            good = parse_choice(optarg, "8M", "4M", &big);
            break;
        case FLASH:
            o->flash_path = optarg;
            break;
        case MAC:
            good = parse_mac(optarg, o->mac);
            break;
        case BLANK:
            o->blank_chip = true;
            break;
        case EFUSE:
            good = parse_efuse(optarg, o);
            break;
        case XTAL:
            good = parse_choice(optarg, "40", "26", &is40);
            break;
        case STRAP:
            good = parse_choice(optarg, "download", "run", &o->download);
            break;
        case FAST:
            o->fast = true;
            break;
        case TIMINGS:
            good = parse_timings(optarg, &o->timings);
            break;
        case HELP:
            printf("%s%s", usage, control_help);
            exit(0);
        default:
            return false;
        }
        if (!good) {
            fprintf(stderr, "wipysim: bad value: %s\n", optarg);
            return false;
        }
    }
    o->flash_size = big ? 0x800000 : 0x400000;
    o->xtal_hz = is40 ? 40000000 : 26000000;
    if (!o->dir || optind < argc) {
        fprintf(stderr, "wipysim: --dir is needed; see --help\n");
        return false;
    }
    return true;
}

static void set_chip(struct board *b, const struct options *o) {
    if (o->blank_chip)
        chip_facts_init_blank(&b->chip, o->flash_size);
    else
        chip_facts_init(&b->chip, o->flash_size, o->mac);
    b->chip.xtal_hz = o->xtal_hz;
    for (int i = 0; i < EFUSE_WORDS; i++)
        if (o->efuse_set[i])
            b->chip.efuse[i] = o->efuse[i];
}

// ---- the loop
// -------------------------------------------------------------------------------------------------------

static int64_t clock_now(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t wait_for(struct pollfd *fds, nfds_t n, int64_t wake) {
    struct timespec timeout;

    if (wake != TIME_NEVER) {
        int64_t left = wake - clock_now();
        if (left < 0)
            left = 0;
        timeout = (struct timespec) { .tv_sec = left / 1000000000, .tv_nsec = left % 1000000000 };
    }
    if (ppoll(fds, n, wake == TIME_NEVER ? NULL : &timeout, NULL) < 0)
        for (nfds_t i = 0; i < n; i++)
            fds[i].revents = 0;
    return clock_now();
}

static void loop(struct board *b, struct control *c, int signals) {
    enum { SIGNALS, LISTENER, MASTER, NOTICES, CLIENTS };
    struct pollfd fds[CLIENTS + CONTROL_CLIENTS];

    while (!c->quit) {
        fds[SIGNALS] = (struct pollfd) { .fd = signals, .events = POLLIN };
        fds[LISTENER] = (struct pollfd) { .fd = c->listener, .events = POLLIN };
        fds[MASTER] =
            (struct pollfd) { .fd = wire_wants_input(&b->wire) ? b->wire.pty.master : -1, .events = POLLIN };
        fds[NOTICES] =
            (struct pollfd) { .fd = b->wire.host_open ? -1 : b->wire.pty.inotify, .events = POLLIN };
        for (size_t i = 0; i < CONTROL_CLIENTS; i++)
            fds[CLIENTS + i] = (struct pollfd) { .fd = c->clients[i].fd, .events = POLLIN };

        int64_t now = wait_for(fds, sizeof(fds) / sizeof(fds[0]), board_wake(b));
        board_run(b, now);
        if (fds[SIGNALS].revents)
            return;
        if (fds[MASTER].revents)
            wire_on_input(&b->wire, now);
        if (fds[NOTICES].revents && wire_is_plugged(&b->wire))
            wire_on_notice(&b->wire, now);
        for (size_t i = 0; i < CONTROL_CLIENTS; i++)
            if (fds[CLIENTS + i].revents && c->clients[i].fd >= 0)
                control_on_input(c, &c->clients[i], b);
        if (fds[LISTENER].revents)
            control_on_connect(c);
    }
}

static int open_signals(void) {
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void make_paths(const struct options *o, struct paths *p) {
    snprintf(p->tty, sizeof(p->tty), "%s/%s.tty", o->dir, o->name);
    snprintf(p->ctl, sizeof(p->ctl), "%s/%s.ctl", o->dir, o->name);
    if (o->flash_path)
        snprintf(p->flash, sizeof(p->flash), "%s", o->flash_path);
    else
        snprintf(p->flash, sizeof(p->flash), "%s/%s.flash", o->dir, o->name);
}

static int start(struct board *b, struct control *c, const struct options *o, const struct paths *p) {
    int r;

    control_init(c);
    r = flash_open(&b->flash, p->flash, o->flash_size);

    if (r < 0) {
        fprintf(stderr, "wipysim: %s: %s\n", p->flash, strerror(-r));
        return r;
    }
    b->flash.timings = o->timings;
    r = control_open(c, p->ctl);
    if (r < 0) {
        fprintf(stderr, "wipysim: %s: %s\n", p->ctl, strerror(-r));
        return r;
    }
    board_set_jumper(b, o->download);
    b->now = clock_now();
    r = board_plug(b);
    if (r < 0)
        fprintf(stderr, "wipysim: %s: %s\n", p->tty, strerror(-r));
    return r;
}

int main(int argc, char **argv) {
    static struct paths paths;
    struct options o = { .name = "board",
                         .mac = { 0x30, 0xAE, 0xA4, 0x01, 0x02, 0x03 },
                         .timings = flash_timings_typical };
    int signals;
    int r;

    if (!parse_options(argc, argv, &o))
        return 2;
    signals = open_signals();
    prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
    make_paths(&o, &paths);
    board_init(&the_board, paths.tty, o.fast);
    set_chip(&the_board, &o);
    r = start(&the_board, &the_control, &o, &paths);
    if (r == 0) {
        printf("ready %s\n", paths.tty);
        fflush(stdout);
        loop(&the_board, &the_control, signals);
    }
    control_close(&the_control, paths.ctl);
    the_board.now = clock_now();
    board_deinit(&the_board);
    close(signals);
    return r == 0 ? 0 : 1;
}
