// What answers on the serial line when no loader runs: MicroPython's prompt with the names that the flash
// holds, and the ROM's BASIC, which only echoes.
#include "tests/sim/board.h"

#include <stdio.h>
#include <string.h>

enum {
    CTRL_A = 0x01,
    CTRL_B = 0x02,
    CTRL_C = 0x03,
    CTRL_D = 0x04,
    CTRL_F = 0x06,
    BACKSPACE = 0x08,
    DELETE = 0x7F,
};

static void print_banner(struct board *b) {
    const struct firmware_names *n = &b->repl.names;
    char text[400];

    snprintf(
        text, sizeof(text),
        "Pycom MicroPython %s [%s] on %s; %s with ESP32\r\nType \"help()\" for more information.\r\n>>> ",
        n->release, n->git, n->date, n->board);
    b->repl.raw = false;
    b->repl.len = 0;
    board_print(b, text);
}

// boot.py and main.py, then the prompt.
static void run_scripts(struct board *b) {
    b->repl.raw = false;
    b->repl.len = 0;
    b->repl.in_main_py = b->set.main_py_endless;
    if (!b->repl.in_main_py)
        print_banner(b);
}

void repl_start(struct board *b) {
    b->repl = (struct repl) { .raw = false };
    b->repl.names_known = firmware_names_read(&b->flash, b->app, &b->repl.names);
    if (b->repl.names_known)
        run_scripts(b);
}

static void execute(struct board *b) {
    const struct firmware_names *n = &b->repl.names;
    char text[400];

    b->repl.line[b->repl.len] = 0;
    b->repl.len = 0;
    if (strstr(b->repl.line, "uname()")) {
        snprintf(
            text, sizeof(text),
            "(sysname='%s', nodename='%s', release='%s', version='%s on %s', machine='%s with ESP32')\r\n",
            n->board, n->board, n->release, n->git, n->date, n->board);
        board_print(b, text);
    } else if (strstr(b->repl.line, "machine.reset()")) {
        board_reset(b, RESET_SOFTWARE);
    }
}

static void soft_reset(struct board *b) {
    board_print(b, "\r\nPYB: soft reboot\r\n");
    run_scripts(b);
}

static void append(struct repl *r, uint8_t byte) {
    if (r->len < sizeof(r->line) - 1)
        r->line[r->len++] = (char)byte;
}

static void on_raw_byte(struct board *b, uint8_t byte) {
    struct repl *r = &b->repl;

    switch (byte) {
    case CTRL_A:
        r->len = 0;
        board_print(b, "raw REPL; CTRL-B to exit\r\n>");
        break;
    case CTRL_B:
        board_print(b, "\r\n");
        print_banner(b);
        break;
    case CTRL_C:
        r->len = 0;
        break;
    case CTRL_D:
        if (r->len == 0) {
            soft_reset(b);
            break;
        }
        board_print(b, "OK");
        execute(b);
        if (b->state == CHIP_RUNNING)
            board_print(b, "\x04\x04>");
        break;
    default:
        append(r, byte);
    }
}

static void on_friendly_byte(struct board *b, uint8_t byte) {
    struct repl *r = &b->repl;

    // On a line with text these move the cursor, as in a shell.
    if (r->len > 0 && (byte == CTRL_A || byte == CTRL_B))
        return;
    switch (byte) {
    // On a line that has text already these only move the cursor.
    case CTRL_A:
        if (r->len > 0)
            break;
        r->raw = true;
        board_print(b, "\r\nraw REPL; CTRL-B to exit\r\n>");
        break;
    case CTRL_B:
        if (r->len > 0)
            break;
        board_print(b, "\r\n");
        print_banner(b);
        break;
    case CTRL_C:
        r->len = 0;
        board_print(b, "\r\n>>> ");
        break;
    case CTRL_D:
        if (r->len == 0)
            soft_reset(b);
        break;
    case BACKSPACE:
    case DELETE:
        if (r->len > 0) {
            r->len--;
            board_print(b, "\b \b");
        }
        break;
    case '\r':
        board_print(b, "\r\n");
        execute(b);
        if (b->state == CHIP_RUNNING)
            board_print(b, ">>> ");
        break;
    default:
        if (byte >= 0x20 && byte < 0x7F) {
            append(r, byte);
            board_send(b, &byte, 1);
        }
    }
}

void repl_on_byte(struct board *b, uint8_t byte) {
    if (!b->repl.names_known)
        return;
    if (byte == CTRL_F) { // Pycom: reboot at once into safe boot, where main.py doesn't run
        b->n.ctrl_f++;
        board_reset(b, RESET_SOFTWARE);
    } else if (b->repl.in_main_py) {
        if (byte != CTRL_C)
            return;
        b->repl.in_main_py = false;
        board_print(b, "Traceback (most recent call last):\r\n  File \"main.py\", line 3, in <module>\r\n"
                       "KeyboardInterrupt: \r\n");
        print_banner(b);
    } else if (b->repl.raw) {
        on_raw_byte(b, byte);
    } else {
        on_friendly_byte(b, byte);
    }
}

// rom-errors.txt, last packet: NUL vanishes, a backspace wipes what is on the screen, all else comes back.
void basic_on_byte(struct board *b, uint8_t byte) {
    if (byte == BACKSPACE)
        board_print(b, "\b \b");
    else if (byte != 0)
        board_send(b, &byte, 1);
}
