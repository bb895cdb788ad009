#include "tests/sim/control.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

const char control_help[] =
    "Control socket NAME.ctl: a request is a line, the answer is a line, \"ok ...\" or \"error ...\".\n"
    "  plug | unplug        the USB cable; plugging is a power-on reset\n"
    "  jumper on|off        G23 to GND: the next reset enters the loader\n"
    "  reset | power-cut    the button; power off and on again, the tty stays\n"
    "  lines DTR RTS        0 or 1, 1 = asserted, through the two-transistor circuit (EN, GPIO0)\n"
    "  status               ok {json}\n"
    "  fault on=OP[,nth=N][,times=K][,moment=M][,at=PERCENT] do=ACTION[,ARG]\n"
    "                       OP: a name (FLASH_DATA), hex, or any. N: first match that counts, K: how often.\n"
    "                       ACTION about the request or the reply: drop-reply, delay-reply MS, "
    "garble-reply,\n"
    "                       garble-request, truncate-reply, duplicate-reply, refuse HEX, noise N, "
    "corrupt-flash,\n"
    "                       stub-write-error HEX (a stub says yes to the block, drops it, and fails later)\n"
    "                       ACTION at a moment: unplug, reset, power-cut, brownout, silence, touch-config,\n"
    "                       lose-bytes N (always mid-frame)\n"
    "                       M: request (default), mid-frame (PERCENT of its data is in, default 50),\n"
    "                       busy (half of the chip's time has passed), reply (it has left; also "
    "after=reply)\n"
    "  fault clear | faults\n"
    "  go                   the command in hand is over now, however long its reply was to be delayed\n"
    "  set no-tx-log on|off       GPIO15 low: no boot log\n"
    "  set rx-dead on|off         host to chip broken      set tx-dead on|off     chip to host broken\n"
    "  set lines-dead on|off      DTR and RTS lead nowhere\n"
    "  set flash-id HEX           JEDEC word               set magic HEX          chip magic\n"
    "  set efuse WORD HEX         an eFuse word            set xtal-error PERCENT of the ROM's estimate\n"
    "  set baud-fail RATE on|off  all is garbled at RATE and above\n"
    "  set ignore-baud on|off     CHANGE_BAUDRATE is acknowledged, nothing more\n"
    "  set max-block N            bigger blocks are refused with 05; 0 = as the loader does\n"
    "  set flip-rate P            noise, both ways: chance per byte of a wrong bit     set seed N\n"
    "  set drop-rate P            of being lost\n"
    "  set stall-rate P [MS]      of being followed by a pause (default 100 ms)\n"
    "  set noise-from RATE        there is noise only at RATE and above; 0 = at all\n"
    "  set write-protect on|off|hard  status bits; writes \"succeed\", flash unchanged; hard: no WRSR clears "
    "them\n"
    "  set stub-no-ohai on|off    an uploaded stub never greets\n"
    "  set stub-lost-mem-end on|off  the ROM's reply to the jump is lost\n"
    "  set main-py endless|none   endless: the firmware prints no banner\n"
    "  quit\n";

// ---- socket
// ---------------------------------------------------------------------------------------------------------

void control_init(struct control *c) {
    *c = (struct control) { .listener = -1 };
    for (size_t i = 0; i < CONTROL_CLIENTS; i++)
        c->clients[i].fd = -1;
}

int control_open(struct control *c, const char *path) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    unlink(path);
    c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->listener < 0)
        return -errno;
    if (bind(c->listener, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(c->listener, 4) < 0)
        return -errno;
    return 0;
}

void control_close(struct control *c, const char *path) {
    for (size_t i = 0; i < CONTROL_CLIENTS; i++)
        if (c->clients[i].fd >= 0)
            close(c->clients[i].fd);
    if (c->listener >= 0) {
        close(c->listener);
        unlink(path);
    }
    c->listener = -1;
}

void control_on_connect(struct control *c) {
    int fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    for (size_t i = 0; fd >= 0 && i < CONTROL_CLIENTS; i++) {
        if (c->clients[i].fd < 0) {
            c->clients[i] = (struct control_client) { .fd = fd };
            return;
        }
    }
    if (fd >= 0)
        close(fd);
}

static void drop(struct control_client *client) {
    close(client->fd);
    client->fd = -1;
}

void control_on_input(struct control *c, struct control_client *client, struct board *b) {
    char answer[8192];
    char *end;
    ssize_t n = read(client->fd, client->line + client->len, sizeof(client->line) - client->len);

    if (n <= 0) {
        if (n == 0 || errno != EAGAIN)
            drop(client);
        return;
    }
    client->len += (size_t)n;
    while ((end = memchr(client->line, '\n', client->len)) != NULL) {
        size_t used = (size_t)(end - client->line) + 1;
        *end = 0;
        if (end > client->line && end[-1] == '\r')
            end[-1] = 0;
        control_run(c, b, client->line, answer, sizeof(answer) - 1);
        strcat(answer, "\n");
        if (send(client->fd, answer, strlen(answer), MSG_NOSIGNAL) < 0) {
            drop(client);
            return;
        }
        client->len -= used;
        memmove(client->line, client->line + used, client->len);
    }
    if (client->len == sizeof(client->line))
        drop(client);
}

// ---- status
// ---------------------------------------------------------------------------------------------------------

struct text {
    char *at;
    size_t left;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...) {
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(t->at, t->left, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= t->left)
        return;
    t->at += n;
    t->left -= (size_t)n;
}

static const char *json_bool(bool v) {
    return v ? "true" : "false";
}

static void add_count(struct text *t, const char *name, uint64_t v) {
    add(t, "\"%s\":%llu,", name, (unsigned long long)v);
}

static void add_commands(struct text *t, const struct board *b) {
    const char *comma = "";

    add(t, "\"commands\":{");
    for (int op = 0; op < 256; op++) {
        const char *name = loader_op_name((uint8_t)op);
        if (b->n.commands[op] == 0)
            continue;
        if (name)
            add(t, "%s\"%s\":%llu", comma, name, (unsigned long long)b->n.commands[op]);
        else
            add(t, "%s\"0x%02x\":%llu", comma, (unsigned)op, (unsigned long long)b->n.commands[op]);
        comma = ",";
    }
    add(t, "}");
}

static const char *on_status(struct control *c, struct board *b, char *args, char *out, size_t cap) {
    struct text t = { .at = out, .left = cap };

    (void)c;
    (void)args;
    add(&t, "ok {\"state\":\"%s\",\"jumper\":%s,\"plugged\":%s,\"host_open\":%s,\"dtr\":%s,\"rts\":%s,",
        chip_state_name(b->state), json_bool(b->jumper), json_bool(wire_is_plugged(&b->wire)),
        json_bool(b->wire.host_open), json_bool(b->dtr), json_bool(b->rts));
    add(&t, "\"loader\":\"%s\",\"busy\":%s,\"mute\":%s,", b->loader.loader ? b->loader.loader->name : "",
        json_bool(b->busy), json_bool(b->mute));
    add(&t, "\"flash_size\":%u,\"baud\":%u,\"host_baud\":%u,", b->flash.size, b->wire.chip_baud,
        wire_is_plugged(&b->wire) ? wire_host_baud(&b->wire) : 0);
    add_count(&t, "opens", b->wire.n.opens);
    add_count(&t, "rx_bytes", b->wire.n.rx_bytes);
    add_count(&t, "tx_bytes", b->wire.n.tx_bytes);
    add_count(&t, "rx_lost", b->n.rx_lost);
    add_count(&t, "rx_garbled", b->wire.n.rx_garbled);
    add_count(&t, "tx_garbled", b->wire.n.tx_garbled);
    add_count(&t, "tx_dropped", b->wire.n.tx_dropped);
    add_count(&t, "noise_drops", b->wire.n.noise_drops);
    add_count(&t, "noise_stalls", b->wire.n.noise_stalls);
    add_count(&t, "frames", b->n.frames);
    add_count(&t, "syncs", b->wire.n.syncs);
    add_count(&t, "non_sync_bytes", b->wire.n.non_sync_bytes);
    add_count(&t, "bytes_received", b->wire.n.bytes_received);
    add_count(&t, "bytes_other", b->wire.n.bytes_other);
    add_count(&t, "line_changes", b->n.line_changes);
    add_count(&t, "erase_us", b->flash.counters.erase_us);
    add_count(&t, "program_us", b->flash.counters.program_us);
    add_count(&t, "md5_us", b->flash.counters.md5_us);
    add_count(&t, "sectors_erased", b->flash.counters.sectors_erased);
    add_count(&t, "pages_programmed", b->flash.counters.pages_programmed);
    add_count(&t, "resets", b->n.resets);
    add_count(&t, "watchdog_resets", b->n.watchdog_resets);
    add_count(&t, "line_resets", b->n.line_resets);
    add_count(&t, "boots", b->n.boots);
    add_count(&t, "ctrl_f", b->n.ctrl_f);
    add_count(&t, "faults_pending", b->faults.n_used);
    add(&t, "\"last_command\":\"%s\",", loader_op_name(b->busy_opcode) ? loader_op_name(b->busy_opcode) : "");
    add_commands(&t, b);
    add(&t, "}");
    return NULL;
}

// ---- settings
// -------------------------------------------------------------------------------------------------------

static bool parse_on(const char *text, bool *out) {
    *out = strcmp(text, "on") == 0;
    return *out || strcmp(text, "off") == 0;
}

static bool parse_u32(const char *text, int base, uint32_t *out) {
    char *end;
    unsigned long v = strtoul(text, &end, base);

    *out = (uint32_t)v;
    return *text != 0 && *end == 0 && v <= UINT32_MAX;
}

static const struct {
    const char *name;
    size_t offset; // of a bool in struct board
} switches[] = {
    { "no-tx-log", offsetof(struct board, set.no_tx_log) },
    { "ignore-baud", offsetof(struct board, set.ignore_baud) },
    { "lines-dead", offsetof(struct board, set.lines_dead) },
    { "stub-no-ohai", offsetof(struct board, set.stub_no_ohai) },
    { "stub-lost-mem-end", offsetof(struct board, set.stub_lost_mem_end) },
    { "rx-dead", offsetof(struct board, wire.set.rx_dead) },
    { "tx-dead", offsetof(struct board, wire.set.tx_dead) },
};

static const struct {
    const char *name;
    size_t offset; // of a uint32_t in struct board
    int base;
} numbers[] = {
    { "flash-id", offsetof(struct board, chip.flash_id), 16 },
    { "magic", offsetof(struct board, chip.magic), 16 },
    { "max-block", offsetof(struct board, set.block_max), 0 },
    { "noise-from", offsetof(struct board, wire.set.noise_from), 10 },
};

static const char *set_double(const char *text, double scale, double *out) {
    char *end;
    double v = strtod(text, &end);

    if (*text == 0 || *end != 0)
        return "number expected";
    *out = v * scale;
    return NULL;
}

static const char *set_write_protect(struct board *b, const char *value) {
    bool hard = strcmp(value, "hard") == 0;
    bool on = hard;

    if (!hard && !parse_on(value, &on))
        return "on, off or hard expected";
    b->flash.protect_hard = hard;
    b->flash.status1 = on ? 0x1C : 0;
    return NULL;
}

static const char *set_one(struct board *b, const char *name, const char *value, const char *more) {
    uint32_t v;

    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
        if (strcmp(name, switches[i].name) == 0)
            return parse_on(value, (bool *)((char *)b + switches[i].offset)) ? NULL : "on or off expected";
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (strcmp(name, numbers[i].name) != 0)
            continue;
        if (!parse_u32(value, numbers[i].base, &v))
            return "number expected";
        memcpy((char *)b + numbers[i].offset, &v, sizeof(v));
        return NULL;
    }
    if (strcmp(name, "write-protect") == 0)
        return set_write_protect(b, value);
    if (strcmp(name, "flip-rate") == 0)
        return set_double(value, 1.0, &b->wire.set.flip_rate);
    if (strcmp(name, "drop-rate") == 0)
        return set_double(value, 1.0, &b->wire.set.drop_rate);
    if (strcmp(name, "stall-rate") == 0) {
        if (*more && !parse_u32(more, 10, &b->wire.set.stall_ms))
            return "RATE [MS] expected";
        return set_double(value, 1.0, &b->wire.set.stall_rate);
    }
    if (strcmp(name, "xtal-error") == 0)
        return set_double(value, 0.01, &b->chip.xtal_error);
    if (strcmp(name, "seed") == 0) {
        if (!parse_u32(value, 0, &v))
            return "number expected";
        rng_seed(&b->wire.rng, v);
        return NULL;
    }
    if (strcmp(name, "baud-fail") == 0) {
        bool on = true;
        if (!parse_u32(value, 10, &v) || (*more && !parse_on(more, &on)))
            return "RATE on|off expected";
        b->wire.set.baud_fail = on ? v : 0;
        return NULL;
    }
    if (strcmp(name, "efuse") == 0) {
        uint32_t word;
        if (!parse_u32(value, 10, &word) || word >= EFUSE_WORDS || !parse_u32(more, 16, &v))
            return "WORD HEX expected";
        b->chip.efuse[word] = v;
        return NULL;
    }
    if (strcmp(name, "main-py") == 0) {
        b->set.main_py_endless = strcmp(value, "endless") == 0;
        return b->set.main_py_endless || strcmp(value, "none") == 0 ? NULL : "endless or none expected";
    }
    return "unknown setting";
}

// ---- requests
// -------------------------------------------------------------------------------------------------------

static const char *on_set(struct control *c, struct board *b, char *args, char *out, size_t cap) {
    char *save = NULL;
    const char *name = strtok_r(args, " ", &save);
    const char *value = name ? strtok_r(NULL, " ", &save) : NULL;
    const char *more = value ? strtok_r(NULL, " ", &save) : NULL;

    (void)c;
    (void)out;
    (void)cap;
    return value ? set_one(b, name, value, more ? more : "") : "set NAME VALUE";
}

static const char *on_fault(struct control *c, struct board *b, char *args, char *out, size_t cap) {
    (void)c;
    (void)out;
    (void)cap;
    if (strcmp(args, "clear") != 0)
        return faults_add(&b->faults, args);
    b->faults = (struct faults) { .n_used = 0 };
    return NULL;
}

static const char *on_faults(struct control *c, struct board *b, char *args, char *out, size_t cap) {
    (void)c;
    (void)args;
    memcpy(out, "ok ", 4);
    faults_describe(&b->faults, out + 3, cap - 3);
    return NULL;
}

static const char *on_plug(struct control *c, struct board *b, char *args, char *out, size_t cap) {
    int r = board_plug(b);

    (void)c;
    (void)args;
    if (r < 0)
        snprintf(out, cap, "error %s", strerror(-r));
    return NULL;
}

static const char *on_unplug(struct control *c, struct board *b, char *args, char *out, size_t cap) {
    (void)c;
    (void)args;
    (void)out;
    (void)cap;
    board_unplug(b);
    return NULL;
}

static const char *on_jumper(struct control *c, struct board *b, char *args, char *out, size_t cap) {
    bool on;

    (void)c;
    (void)out;
    (void)cap;
    if (!parse_on(args, &on))
        return "on or off expected";
    board_set_jumper(b, on);
    return NULL;
}

static const char *on_reset(struct control *c, struct board *b, char *args, char *out, size_t cap) {
    (void)c;
    (void)args;
    (void)out;
    (void)cap;
    board_press_reset(b);
    return NULL;
}

static const char *on_power_cut(struct control *c, struct board *b, char *args, char *out, size_t cap) {
    (void)c;
    (void)args;
    (void)out;
    (void)cap;
    board_power_cut(b);
    return NULL;
}

static const char *on_lines(struct control *c, struct board *b, char *args, char *out, size_t cap) {
    (void)c;
    (void)out;
    (void)cap;
    if (strlen(args) != 3 || args[1] != ' ' || !strchr("01", args[0]) || !strchr("01", args[2]))
        return "lines DTR RTS, 0 or 1";
    board_set_lines(b, args[0] == '1', args[2] == '1');
    return NULL;
}

static const char *on_go(struct control *c, struct board *b, char *args, char *out, size_t cap) {
    (void)c;
    (void)args;
    (void)out;
    (void)cap;
    if (b->busy)
        board_set_timer(b, TIMER_BUSY, 0);
    return NULL;
}

static const char *on_quit(struct control *c, struct board *b, char *args, char *out, size_t cap) {
    (void)b;
    (void)args;
    (void)out;
    (void)cap;
    c->quit = true;
    return NULL;
}

static const struct {
    const char *name;
    // Returns NULL or what is wrong. What it writes to `out` is the whole answer; nothing = "ok".
    const char *(*run)(struct control *c, struct board *b, char *args, char *out, size_t cap);
} requests[] = {
    { "status", on_status },
    { "plug", on_plug },
    { "unplug", on_unplug },
    { "jumper", on_jumper },
    { "reset", on_reset },
    { "lines", on_lines },
    { "power-cut", on_power_cut },
    { "fault", on_fault },
    { "faults", on_faults },
    { "set", on_set },
    { "go", on_go },
    { "quit", on_quit },
};

void control_run(struct control *c, struct board *b, char *line, char *out, size_t cap) {
    char *args = strchr(line, ' ');

    if (args)
        *args++ = 0;
    else
        args = line + strlen(line);
    out[0] = 0;
    for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
        if (strcmp(line, requests[i].name) != 0)
            continue;
        const char *wrong = requests[i].run(c, b, args, out, cap);
        if (wrong)
            snprintf(out, cap, "error %s", wrong);
        else if (out[0] == 0)
            snprintf(out, cap, "ok");
        return;
    }
    snprintf(out, cap, "error unknown request");
}
