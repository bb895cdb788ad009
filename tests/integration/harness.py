"""A bench for integration tests: a private bus, simulated boards, wipyd, wipyctl. Python standard library only.

    with Bench() as bench:                      # one board, fast, waiting for download
        result = bench.ctl("flash", "board", package)
        assert result.code == 0, result

Boards on USB: with usb=True they are in no configuration; the daemon learns of them from udev (a umockdev testbed).
Plugging is a power-on reset, and then the device node and the event; unplugging is a hang-up, and then the event.

    with Bench(boards=2, usb=True) as bench:
        bench.plug(bench.boards[0])                                       # slot 1-1, ttyUSB0, an FT230X without a serial
        bench.plug(bench.boards[1], slot="1-2", name="ttyUSB1", vid="10c4", pid="ea60", serial="0001")
        bench.slot(bench.boards[1])                                       # "pci-0000:00:11.0-usb-0:2:1.0"
        bench.unplug(bench.boards[1])
        bench.replug(bench.boards[0], name="ttyUSB3")                     # same slot, another name

A Device is found by the name it was plugged in with: bench.device(board) works with and without USB. plug() before
start_wipyd() (Bench(wipyd=False)) is a board that is there at start. bench.usb.ask("event name=ttyUSB0 slot=1-1
action=change") sends another event; usb_tool.c says what else there is, like ports of one adapter and PIC carriers.

Modem lines: with lines=True the boards' ttys have DTR and RTS, wired to EN and GPIO0 by the usual two transistors.
board.status()["line_changes"] counts the changes, board.line_calls() tells them: "open 1 1", "get 1 1", "set 0 0".
Opening is one change (the driver raises both), dropping both is another. Without lines=True a tty has none (ENOTTY).

What a board was sent: status()["bytes_received"], all; "syncs", whole SYNC frames; "bytes_other", bytes outside them
while no loader had answered a SYNC since the chip's last reset.

Nothing outlives its test: every process dies with the one that started it, and run.py removes the folder. Leaving
the bench without a failure stops wipyd and checks that it ended well: exit code 0 (its main asserts that no handle
is left open) and no word from a sanitizer.

Environment: WIPYD_BUILD, the folder with the programs (default build); WIPYD_SHARED (default ../shared), real packages;
WIPYD_STUB=on, the boards are flashed by the stub where neither a test nor loaders.py says else; WIPYD_STUB_LEGACY, the
file of the stub before v1.2.2 (default build/stub/legacy/esp32.json);
WIPYD_SAN=1, the programs are sanitizer builds: everything may take longer; WIPYD_VALGRIND=1, run wipyd in valgrind.
"""
import contextlib
import ctypes
import functools
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import dbusmini
import packages
from dbusmini import DBusError, Variant

__all__ = ["BUILD", "SHARED", "MB", "Bench", "Board", "DBusError", "Result", "Skip", "Variant", "big_flash", "error_row",
           "error_rows", "lived_in_flash", "memfd", "newest_package", "phases", "quiet", "real_packages", "run_seed",
           "takes", "wait_for"]

ROOT = Path(__file__).resolve().parents[2]
BUILD = (ROOT / os.environ.get("WIPYD_BUILD", "build")).resolve()
SHARED = (ROOT / os.environ.get("WIPYD_SHARED", "../shared")).resolve()
SANITIZED = os.environ.get("WIPYD_SAN") == "1"
VALGRIND = os.environ.get("WIPYD_VALGRIND") == "1"
STUB = BUILD / "stub/esp32.json"
LEGACY_STUB = Path(os.environ.get("WIPYD_STUB_LEGACY", BUILD / "stub/legacy/esp32.json"))
STUBS = {"rom": "off", "stub": STUB, "legacy": LEGACY_STUB}
SLOWNESS = 10 if VALGRIND else 3 if SANITIZED else 1

MB = 1024 * 1024
MANAGER, DEVICE = "org.wipyd1.Manager", "org.wipyd1.Device"
JOB, FIRMWARE = "org.wipyd1.Job", "org.wipyd1.Firmware"
OURS = "org.wipyd1.Error."
FINAL = ("done", "failed", "cancelled")
CONFIG = slice(0x3FF000, 0x400000)


class Skip(Exception):
    """A test that can't be run here; says why."""


def use_loader(word):
    """Of the benches from now on that name none: "rom", "stub", "legacy", or None for the environment's."""
    global default_stub
    default_stub = STUBS[word or ("stub" if os.environ.get("WIPYD_STUB") == "on" else "rom")]


use_loader(None)


def run_seed():
    """WIPYD_SEED, to repeat a run, or one by chance. Whoever uses it prints it."""
    return int(os.environ.get("WIPYD_SEED") or random.SystemRandom().randrange(1 << 32))


def takes(seconds, limit=None):
    """About how long a test takes, for the order, and how long it may take."""
    def mark(function):
        function.takes, function.limit = seconds, limit
        return function
    return mark


def quiet(test):
    """A test that measures time or wake-ups: it runs when few others do."""
    test.quiet = True
    return test


# ---- waiting and processes -------------------------------------------------------------------------------------------

def wait_for(condition, seconds, what):
    """Asks until the answer is true, and gives it."""
    end = time.monotonic() + seconds * SLOWNESS
    pause = 0.0005
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def start(command, **options):
    program = Path(command[0])
    if program.is_absolute() and not program.exists():
        raise Skip(f"{program} has not been built")
    return subprocess.Popen([str(part) for part in command], preexec_fn=_die_with_parent, **options)


def complain_of_sanitizer(name, text):
    found = re.search(r"runtime error:|ERROR: (Address|Leak|Thread|UndefinedBehavior)Sanitizer|^==\d+== .*(Invalid|Conditional|Use of)",
                      text, re.M)
    if found:
        raise AssertionError(f"{name}: a sanitizer speaks:\n{text[max(0, found.start() - 200):found.start() + 4000]}")


class Result:
    """Of a program that has ended."""

    def __init__(self, command, code, out, err):
        self.command, self.code, self.out, self.err = command, code, out, err

    def __str__(self):
        return f"{' '.join(map(str, self.command))}: exit code {self.code}\n{self.out}{self.err}"

    @property
    def json(self):
        return json.loads(self.out)


# ---- tables of the contract ------------------------------------------------------------------------------------------

def phases():
    """The words of proto/phase.h's phase table, in order."""
    text = (ROOT / "proto/phase.h").read_text()
    table = text[text.index("#define WIPYD_PHASE_TABLE"):text.index("enum wipyd_phase")]
    return re.findall(r'X\(\w+,\s*"([^"]+)"', table)


def error_rows():
    """{"PortBusy": (sentence, hint)} of proto/error.h."""
    text = (ROOT / "proto/error.h").read_text()
    rows = re.findall(r'X\(\w+,\s*"(\w+)",\s*"([^"]*)",[\s\\]*"([^"]*)"\)', text)
    assert len(rows) > 30, "the table in proto/error.h has another form now"
    return {name: (sentence, hint) for name, sentence, hint in rows}


def error_row(name):
    return error_rows()[name]


# ---- flashes and packages --------------------------------------------------------------------------------------------

def real_packages():
    folder = SHARED / "firmware"
    found = sorted(folder.glob("*.tar.gz"))
    if not found:
        raise Skip(f"no packages in {folder}")
    return found


def newest_package(folder, app_bytes):
    """A package to show things with: the real 1.20.1 where ../shared has it, else one of its shape made in folder."""
    real = sorted((SHARED / "firmware").glob("WiPy-1.20*.tar.gz"))
    if real:
        return real[0]
    path = Path(folder) / "WiPy-1.20.1.r1.tar.gz"
    packages.make_package(path, board="WiPy", release="1.20.1.r1", shape="both", app_bytes=app_bytes)
    return path


def otadata_sector(active, size=0x100000):
    """Pycom's boot selector (facts/pycom.md 2.5), with a CRC that is right."""
    head = struct.pack("<IIIII", active, 1, 0, size, 0) + b"\xff" * 16
    return (head + struct.pack("<I", zlib.crc32(head, 0xFFFFFFFF))).ljust(0x1000, b"\xff")


@functools.cache
def lived_in_flash(flash_bytes, board="WiPy", release="1.17.3.b1", seed=7, app_bytes=700_000, cluster_offset=0x2B40):
    """A board that has been in use: an old release in the old layout, updated over the air, so that otadata says ota_0;
    data in NVS, file system and config block; leftovers elsewhere."""
    rng = random.Random(f"{flash_bytes} {seed}")
    flash = bytearray(b"\xff" * flash_bytes)

    def put(offset, data):
        flash[offset:offset + len(data)] = data

    put(0x1000, packages.patched(packages.bootloader_image(seed), flash_bytes))
    put(0x8000, packages.partition_table(packages.TABLE_1_18, False))
    put(0x9000, rng.randbytes(0x1800))  # NVS, not full
    put(0x10000, packages.application_image(board, "1.10.0.b1", app_bytes, seed, cluster_offset))
    put(0x190000, otadata_sector(1, app_bytes))
    put(0x1A0000, packages.application_image(board, release, app_bytes, seed + 1, cluster_offset))
    put(0x380000, rng.randbytes(0x20000))
    put(0x3F0000, rng.randbytes(0x800))
    put(0x3FF000, rng.randbytes(0x1000))
    if flash_bytes > 4 * MB:
        put(0x400000, rng.randbytes(0x4000))
        put(0x7F0000, rng.randbytes(0x10000))
    return bytes(flash)


def make_ready():
    """Makes what most tests want, once: they are forked, and find it made."""
    lived_in_flash(4 * MB)
    packages.Draft("WiPy", "1.20.1.r1", "object", 200_000, 1)


def big_flash(flash_bytes):
    return {4 * MB: "4M", 8 * MB: "8M"}[flash_bytes]


def memfd(data, seals=0xF):
    """A memory file with all seals, as FlashFile wants it."""
    import fcntl
    fd = os.memfd_create("package", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    if seals:
        fcntl.fcntl(fd, 1033, seals)  # F_ADD_SEALS
    return fd


# ---- a board ---------------------------------------------------------------------------------------------------------

class Board:
    """A wipysim process and what a person may do to it."""

    def __init__(self, folder, name="board", flash=None, flash_bytes=4 * MB, options=("--fast",), download=True):
        self.name, self.folder = name, Path(folder)
        self.port = name  # of its Device
        self.socket = None  # where it is plugged in
        self.tty = self.folder / name
        self.flash_path = self.folder / f"{name}.flash"
        self.flash_bytes = flash_bytes
        if flash is not None:
            self.flash_path.write_bytes(flash)
        link_name = name + ".sim"
        self.log = open(self.folder / f"{name}.log", "ab")
        self.process = start([BUILD / "wipysim", "--dir", folder, "--name", link_name, "--flash", self.flash_path,
                              "--flash-size", big_flash(flash_bytes), *options,
                              *(["--boot-strap", "download"] if download else [])],
                             stdout=subprocess.PIPE, stderr=self.log)
        line = self.process.stdout.readline().decode()
        assert line.startswith("ready "), f"wipysim said {line!r}"
        # A device's name is the last part of its path.
        self.tty.symlink_to(self.folder / f"{link_name}.tty")
        self.control = socket.socket(socket.AF_UNIX)
        self.control.settimeout(20 * SLOWNESS)
        self.control.connect(str(self.folder / f"{link_name}.ctl"))
        self.answers = self.control.makefile("r")
        if download:
            self.wait("state", "download")

    def try_ask(self, request):
        self.control.sendall(request.encode() + b"\n")
        return self.answers.readline().rstrip("\n")

    def ask(self, request):
        answer = self.try_ask(request)
        assert answer.startswith("ok"), f"{self.name}: {request}: {answer}"
        return answer[3:]

    def status(self):
        return json.loads(self.ask("status"))

    def count(self, command):
        """How often the loader got that command since the simulator started."""
        return self.status()["commands"].get(command, 0)

    def begins(self):
        return self.count("DEFL_BEGIN") + self.count("FLASH_BEGIN")

    def line_calls(self):
        """What was done to DTR and RTS, and how they were then: "open 1 1", "set 0 0"."""
        path = self.folder / f"{self.name}.sim.lines"
        return path.read_text().splitlines() if path.exists() else []

    def wait(self, key, value, seconds=5):
        wait_for(lambda: self.status()[key] == value, seconds, f"{self.name}: {key} = {value}")

    def fault(self, what):
        self.ask(f"fault {what}")

    def download(self):
        """Wire on G23, reset pressed."""
        self.ask("jumper on")
        self.ask("reset")
        self.wait("state", "download")

    def run_firmware(self):
        """Wire off, reset pressed; then what the firmware says on the wire."""
        self.ask("jumper off")
        fd = os.open(self.tty, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            import termios
            import tty
            tty.setraw(fd)
            attributes = termios.tcgetattr(fd)
            attributes[4] = attributes[5] = termios.B115200
            termios.tcsetattr(fd, termios.TCSANOW, attributes)
            self.wait("host_open", True)
            self.ask("reset")
            said = b""
            end = time.monotonic() + 10 * SLOWNESS
            while b">>> " not in said and time.monotonic() < end:
                if select.select([fd], [], [], 0.2)[0]:
                    with contextlib.suppress(BlockingIOError):
                        said += os.read(fd, 65536)
            return said.decode(errors="replace")
        finally:
            os.close(fd)

    def flash(self):
        return self.flash_path.read_bytes()

    def close(self):
        self.answers.close()
        self.control.close()
        self.process.terminate()
        code = self.process.wait(timeout=20 * SLOWNESS)
        self.process.stdout.close()
        self.log.close()
        complain_of_sanitizer("wipysim", (self.folder / f"{self.name}.log").read_text(errors="replace"))
        assert code == 0, f"wipysim ended with {code}"


# ---- USB -------------------------------------------------------------------------------------------------------------

def sanitizer_library(program):
    """The sanitizer's runtime must come before all other libraries."""
    if not SANITIZED:
        return []
    libraries = subprocess.run(["ldd", program], capture_output=True, text=True, timeout=60).stdout
    return re.findall(r"libasan\.so\S* => (\S+)", libraries)


class Usb:
    """A usbtool process: the host's USB ports in a umockdev testbed."""

    def __init__(self, folder):
        self.log = open(Path(folder) / "usbtool.log", "ab")
        self.process = start([BUILD / "usbtool"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                             text=True, env={**os.environ, "TMPDIR": str(folder)})
        line = self.process.stdout.readline()
        if not line.startswith("root "):
            self.close()
            raise Skip("umockdev's preload library isn't there")
        self.root = line.split()[1]

    def ask(self, request):
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().rstrip("\n")
        assert answer == "ok", f"usbtool: {request}: {answer or 'has ended'}"

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


# ---- the bench -------------------------------------------------------------------------------------------------------

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>{type}</type>
  <listen>unix:dir={folder}</listen>
  <auth>EXTERNAL</auth>
  <limit name="auth_timeout">300000</limit>
  {policy}
</busconfig>
"""  # auth_timeout: in valgrind, on a busy machine, a program needs more than the usual 30 s to say who it is
# As the system bus has it: nothing is allowed that a service's own file doesn't allow.
SYSTEM_POLICY = """<policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.PolicyKit1"/>
    <allow send_destination="org.freedesktop.login1"/>
  </policy>
  <include>{shipped}</include>
  <policy user="{user}">
    <allow own="org.wipyd1"/>
    <allow own="org.freedesktop.PolicyKit1"/>
    <allow own="org.freedesktop.login1"/>
  </policy>"""
OPEN_POLICY = """<policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow receive_sender="*"/>
  </policy>"""


class Bench:
    """boards: a list of keyword arguments for Board, or a number. Ports that are no board: ports=[path]. usb, lines: see
    above. stub: what the configuration says of it; STUB is the one that make stub gets."""

    def __init__(self, boards=1, ports=(), config="", wipyd=True, connect_timeout=3, usb=False, lines=False,
                 stub=None):
        self.stub = default_stub if stub is None else stub
        if self.stub == STUB and not STUB.exists():
            raise Skip(f"no {STUB}: make stub gets it")
        if self.stub == LEGACY_STUB and not LEGACY_STUB.exists():
            raise Skip(f"no {LEGACY_STUB}; WIPYD_STUB_LEGACY=FILE names one")
        self.wanted = [{} for _ in range(boards)] if isinstance(boards, int) else boards
        self.ports, self.config, self.wants_wipyd = list(ports), config, wipyd
        self.connect_timeout = connect_timeout
        self.wants_usb, self.wants_lines, self.usb = usb, lines, None
        self.boards, self.wipyd, self.bus_process, self.connection = [], None, None, None
        self.clients = []
        self.n_starts = 0

    # ---- up ----
    def __enter__(self):
        # Short: the path of a socket has 108 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="b", dir=os.environ.get("WIPYD_TEST_FOLDER")))
        self.state = self.folder / "state"
        self.config_path = self.folder / "wipyd.conf"
        self.log_path = self.folder / "wipyd.log"
        try:
            self._start_bus()
            for i, options in enumerate(self.wanted):
                name = options.get("name", "board" if len(self.wanted) == 1 else f"board{i}")
                self.boards.append(Board(self.folder, **{**options, "name": name}))
            if self.wants_usb:
                self.usb = Usb(self.folder)
                for board in self.boards:
                    board.ask("unplug")
            else:
                self.ports = [board.tty for board in self.boards] + self.ports
            self.write_config()
            if self.wants_wipyd:
                self.start_wipyd()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def _start_bus(self):
        program = shutil.which("dbus-daemon")
        if not program:
            raise Skip("no dbus-daemon")
        shipped = ROOT / "systemd/org.wipyd1.conf"
        policy = SYSTEM_POLICY.format(shipped=shipped, user=os.geteuid()) if shipped.exists() else OPEN_POLICY
        config = self.folder / "bus.conf"
        config.write_text(BUS_CONFIG.format(type="system" if shipped.exists() else "session", folder=self.folder,
                                            policy=policy))
        self.bus_log = open(self.folder / "bus.log", "ab")
        self.bus_process = start([program, f"--config-file={config}", "--nofork", "--nopidfile", "--print-address=1"],
                                 stdout=subprocess.PIPE, stderr=self.bus_log)
        self.address = self.bus_process.stdout.readline().decode().strip()
        assert self.address, "dbus-daemon doesn't start: " + (self.folder / "bus.log").read_text()

    def write_config(self, more=""):
        self.config_path.write_text(f"[daemon]\nstate-directory = {self.state}\nlog-level = debug\n"
                                    f"[flash]\nconnect-timeout = {self.connect_timeout}\nstub = {self.stub}\nbaud = 115200\n"
                                    f"[firmware]\nsource =\n{self.config}{more}")  # nobody is asked unless a test says so

    def wipyd_command(self, *arguments):
        # Leaks are the sanitizer's to find: libcrypto keeps a little for each thread of the pool until the end.
        # Its ioctls that valgrind does not know, TIOCEXCL and TIOCNXCL, have no argument.
        tools = ["valgrind", "-q", "--sim-hints=lax-ioctls", "--error-exitcode=99"] if VALGRIND else []
        return [*map(shutil.which, tools[:1]), *tools[1:], BUILD / "wipyd", *arguments]

    def environment(self, **more):
        return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "WIPYD_BUS": self.address,
                "ASAN_OPTIONS": "detect_leaks=1:exitcode=98:allocator_may_return_null=1",
                "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1", **more}

    def preload(self, program):
        """What a program needs in its environment to see the USB ports and the modem lines."""
        libraries, environment = [], {}
        if self.wants_usb or self.wants_lines:
            libraries.append(str(BUILD / "liblines.so"))
        if self.wants_usb:
            libraries.append("libumockdev-preload.so.0")
            environment["UMOCKDEV_DIR"] = self.usb.root
        if self.wants_lines:
            environment["WIPYD_LINES"] = str(self.folder)
        if libraries:
            environment["LD_PRELOAD"] = ":".join(sanitizer_library(program) + libraries)
        return environment

    def start_wipyd(self):
        """Comes back when the daemon says that it is ready."""
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = self.folder / f"notify{self.n_starts}"
        self.n_starts += 1
        ready.bind(str(path))
        ready.settimeout(10 * SLOWNESS)
        with open(self.log_path, "ab") as log:
            self.wipyd = start(self.wipyd_command(f"--bus={self.address}", f"--config={self.config_path}",
                                                  *[f"--port={port}" for port in self.ports]),
                               stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                               env=self.environment(NOTIFY_SOCKET=str(path), **self.preload(BUILD / "wipyd")))
        end = time.monotonic() + 10 * SLOWNESS
        try:
            while b"READY=1" not in ready.recv(4096).split(b"\n"):
                assert time.monotonic() < end
        except TimeoutError:
            raise AssertionError(f"wipyd isn't ready:\n{self.log()}") from None
        finally:
            ready.close()

    # ---- down ----
    def __exit__(self, kind, error, _):
        problems = []
        for step in self._stop_clients, self._stop_wipyd, self._stop_boards, self._stop_usb, self._stop_bus:
            try:
                step()
            except Exception as problem:
                problems.append(problem)
        if (error is not None and not isinstance(error, Skip)) or problems:
            self._print_logs()
        if error is None and problems:
            raise problems[0]
        for problem in problems:
            print(f"and then, on the way down: {problem}")
        if not os.environ.get("WIPYD_TEST_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def _stop_clients(self):
        for client in self.clients:
            if client.poll() is None:
                client.kill()
            client.wait()
        if self.connection:
            self.connection.close()

    def _stop_wipyd(self):
        if self.wipyd:
            self.stop_wipyd()

    def stop_wipyd(self, number=signal.SIGTERM, seconds=10):
        """A polite end; checks that it is one."""
        process, self.wipyd = self.wipyd, None
        if process.poll() is None:
            process.send_signal(number)
        try:
            code = process.wait(timeout=seconds * SLOWNESS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"wipyd doesn't end within {seconds} s of {signal.Signals(number).name}") from None
        complain_of_sanitizer("wipyd", self.log())
        assert code == 0, f"wipyd ended with {code}"

    def kill_wipyd(self):
        """As by the kernel: no chance to tidy up."""
        self.wipyd.kill()
        self.wipyd.wait()
        self.wipyd = None
        if self.connection:
            self.connection.close()
            self.connection = None

    def _stop_boards(self):
        problems = []
        for board in self.boards:
            try:
                board.close()
            except Exception as problem:
                board.process.kill()
                problems.append(problem)
        if problems:
            raise problems[0]

    def _stop_usb(self):
        if self.usb:
            self.usb.close()

    def _stop_bus(self):
        if self.bus_process:
            self.bus_process.terminate()
            self.bus_process.wait()
            self.bus_process.stdout.close()
            self.bus_log.close()

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def _print_logs(self):
        for path in sorted(self.folder.glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()
            if lines:
                print(f"---- {path.name}, the last of {len(lines)} lines")
                print("\n".join(lines[-60:]))

    # ---- USB ----
    def plug(self, board, slot=None, name=None, vid="0403", pid="6015", serial="", **more):
        """slot: the USB device's name, 1-2 or 1-2.3; the kernel gives the tty its name. more: see usb_tool.c."""
        number = self.boards.index(board) + 1
        board.socket = {"name": name or f"ttyUSB{number - 1}", "slot": slot or f"1-{number}",
                        "vid": vid, "pid": pid, "serial": serial, **more}
        board.port = board.socket["name"]
        board.ask("plug")
        words = " ".join(f"{key}={value}" for key, value in board.socket.items() if value != "")
        self.usb.ask(f"add {words} node={board.folder / f'{board.name}.sim.tty'}")

    def unplug(self, board):
        board.ask("unplug")
        self.usb.ask(f"remove {self._where(board)}")

    def replug(self, board, **changes):
        self.unplug(board)
        self.plug(board, **{**board.socket, **changes})

    def slot(self, board):
        """Its name for the daemon: the ID_PATH that usb_tool.c makes."""
        bus, _, ports = board.socket["slot"].partition("-")
        return f"pci-0000:00:1{bus}.0-usb-0:{ports}:1.{board.socket.get('interface', 0)}"

    @staticmethod
    def _where(board):
        return " ".join(f"{key}={board.socket[key]}" for key in ("name", "slot", "interface", "acm") if key in board.socket)

    # ---- use ----
    @property
    def board(self):
        return self.boards[0]

    @property
    def bus(self):
        if not self.connection:
            self.connection = dbusmini.Connection(self.address, patience=SLOWNESS)
        return self.connection

    def package(self, name="package.tar.gz", **options):
        path = self.folder / name
        packages.make_package(path, **options)
        return path

    def ctl(self, *arguments, seconds=60, **options):
        """wipyctl, to its end."""
        command = [BUILD / "wipyctl", *map(str, arguments)]
        if not command[0].exists():
            raise Skip(f"{command[0]} has not been built")
        done = subprocess.run(command, env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=seconds * SLOWNESS, preexec_fn=_die_with_parent, **options)
        result = Result(["wipyctl", *arguments], done.returncode, done.stdout.decode(), done.stderr.decode())
        complain_of_sanitizer("wipyctl", result.err)
        return result

    def start_ctl(self, *arguments):
        """wipyctl, left running."""
        client = start([BUILD / "wipyctl", *arguments], env=self.environment(), stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.clients.append(client)
        return client

    def device_path(self, board=None):
        return self.bus.call("/org/wipyd1", MANAGER, "FindDevice", "s", (board or self.board).port)[0]

    def device(self, board=None):
        return self.bus.get_all(self.device_path(board), DEVICE)

    def start_flash(self, package, board=None, **options):
        """FlashFile; the path of the job. Options with a _ for a -."""
        kinds = {"baud": "u", "connect_timeout": "u", "dry_run": "b"}
        data = package if isinstance(package, bytes) else Path(package).read_bytes()
        fd = memfd(data)
        try:
            return self.bus.call(self.device_path(board), DEVICE, "FlashFile", "hsa{sv}", fd,
                                 "package" if isinstance(package, bytes) else Path(package).name,
                                 {key.replace("_", "-"): Variant(kinds[key], value) for key, value in options.items()})[0]
        finally:
            os.close(fd)

    def import_firmware(self, package):
        """Into the daemon's store; the path of the firmware."""
        fd = memfd(Path(package).read_bytes())
        try:
            return self.bus.call("/org/wipyd1", MANAGER, "ImportFirmware", "hs", fd, Path(package).name)[0]
        finally:
            os.close(fd)

    def job(self, path):
        return self.bus.get_all(path, JOB)

    def wait_job(self, path, seconds=30):
        """The properties of the job once it has ended."""
        wait_for(lambda: self.bus.get(path, JOB, "State") in FINAL, seconds, f"the end of {path}")
        return self.job(path)

    def flash(self, package, board=None, seconds=30, **options):
        return self.wait_job(self.start_flash(package, board, **options), seconds)

    def flash_well(self, package, board=None, seconds=30, **options):
        job = self.flash(package, board, seconds, **options)
        assert job["State"] == "done", (job["State"], job["Phase"], job["Error"], job["ErrorText"])
        return job
