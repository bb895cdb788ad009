"""A terminal for tests: a program on a pty, and what a person would see of it. Python standard library only."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unicodedata

import harness

SEQUENCE = re.compile(r"\x1b(?:\[([?<>=0-9;]*)([ -/]?[@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\\\)|[()][AB0]|[=>M78]|k[^\x1b]*\x1b\\\\)")


class Terminal:
    """rows x columns cells, drawn as the usual terminals do: the few sequences that wipyctl uses. All others are an error,
    unless strict=False, for shells, which are lenient readers of what they didn't ask for."""

    def __init__(self, command, environment, rows=24, columns=80, strict=True, **options):
        self.rows, self.columns, self.strict = rows, columns, strict
        self.lines = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0
        self.cursor_shown, self.n_draws, self.text = True, 0, ""
        self.rest = b""
        self.fd, slave = pty.openpty()
        self.resize(rows, columns)
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, close_fds=True,
                                        env={"TERM": "xterm-256color", **environment}, preexec_fn=self._own_terminal,
                                        **options)
        os.close(slave)

    @staticmethod
    def _own_terminal():
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # who runs in a shell's background has it ignored
        harness._die_with_parent()

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if (rows, columns) != (self.rows, self.columns):
            self.rows, self.columns = rows, columns
            self.lines = [[" "] * columns for _ in range(rows)]
            self.row = self.column = 0

    # ---- what the program writes ----
    def read(self, seconds=0.1):
        """False when it has closed the terminal."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        if not data:
            return False
        data = self.rest + data
        cut = len(data)
        while cut and cut > len(data) - 4 and data[cut - 1] & 0xC0 == 0x80:
            cut -= 1
        if cut and data[cut - 1] >= 0xC0:
            cut -= 1
        elif cut < len(data):
            cut = len(data)
        text = data[:cut].decode(errors="replace")
        last = text.rfind("\x1b")
        if last >= 0 and not SEQUENCE.match(text, last):
            self.rest = text[last:].encode() + data[cut:]
            text = text[:last]
        else:
            self.rest = data[cut:]
        self.text += text
        self._draw(text)
        return True

    def _draw(self, text):
        at = 0
        while at < len(text):
            c = text[at]
            if c == "\x1b":
                match = SEQUENCE.match(text, at)
                assert match, repr(text[at:at + 20])
                self._sequence(match[1] or "", match[2] or "")
                at = match.end()
                continue
            at += 1
            if c == "\n":
                self._line_feed()
            elif c == "\r":
                self.column = 0
            elif c == "\b":
                self.column = max(0, self.column - 1)
            elif c != "\x07":
                self._put(c)

    def _line_feed(self):
        if self.row == self.rows - 1:
            self.lines = self.lines[1:] + [[" "] * self.columns]
        else:
            self.row += 1

    def _put(self, c):
        if unicodedata.combining(c):
            return
        if self.column == self.columns:
            self.column = 0
            self._line_feed()
        self.lines[self.row][self.column] = c
        self.column += 1

    def _sequence(self, numbers, letter):
        n = int(numbers) if numbers.isdigit() else None
        if letter == "A":
            self.row = max(0, self.row - (n or 1))
            self.n_draws += 1
        elif letter == "H":
            self.row = self.column = 0
        elif letter == "K":
            self.lines[self.row][self.column:] = [" "] * (self.columns - self.column)
        elif letter == "J":
            first = 0 if n == 2 else self.row + 1
            if n != 2:
                self.lines[self.row][self.column:] = [" "] * (self.columns - self.column)
            for row in range(first, self.rows):
                self.lines[row] = [" "] * self.columns
        elif letter in "hl" and numbers == "?25":
            self.cursor_shown = letter == "h"
        elif letter in "BCDGPX" and not self.strict:
            self._shell_sequence(letter, n or 1)
        elif letter not in "mhlr" and self.strict:
            raise AssertionError(f"what is CSI {numbers}{letter}?")

    def _shell_sequence(self, letter, n):
        line = self.lines[self.row]
        if letter == "B":
            self.row = min(self.rows - 1, self.row + n)
        elif letter == "C":
            self.column = min(self.columns - 1, self.column + n)
        elif letter == "D":
            self.column = max(0, self.column - n)
        elif letter == "G":
            self.column = min(self.columns, n) - 1
        elif letter == "P":
            self.lines[self.row] = line[:self.column] + line[self.column + n:] + [" "] * n
        else:
            line[self.column:self.column + n] = [" "] * n

    @property
    def shown(self):
        return "\n".join("".join(line).rstrip() for line in self.lines).rstrip()

    # ---- what a person does ----
    def type(self, text):
        os.write(self.fd, text.encode())

    def wait(self, condition, seconds=20, what="the terminal"):
        """Reads until the condition of what is shown is true; gives that."""
        end = time.monotonic() + seconds * harness.SLOWNESS
        while not condition(self.shown):
            alive = self.read()
            assert condition(self.shown) or alive, f"{what}: the program has ended\n{self.shown}"
            assert time.monotonic() < end, f"{what}: not within {seconds} s\n{self.shown}"
        return self.shown

    def end(self, seconds=20):
        """The program's exit code, after all that it wrote."""
        end = time.monotonic() + seconds * harness.SLOWNESS
        while self.read(0.05):
            assert time.monotonic() < end, f"it doesn't end\n{self.shown}"
        return self.process.wait(timeout=seconds * harness.SLOWNESS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self.fd)
