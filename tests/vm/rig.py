"""A guest in QEMU (TCG: no KVM needed), with real udev, systemd, D-Bus and polkit, and boards on its USB ports.

    with ready.restore(folder) as vm:                     # see snapshot.py
        vm.must("systemctl is-active wipyd")              # a shell script in the guest, as root; what it said
        board = vm.board("a", chip="cp2102", flash=None)  # a simulated board and its adapter, not plugged in
        board.plug(1)                                     # into USB port 1: a power-on reset
        board.unplug()

Plugging is starting a usbboard (tests/vm/usb), unplugging is ending it: the USB device model is on the host, the xHCI,
the USB core, cp210x and ftdi_sio are the guest's own. Everything is bounded, and ends with the process that started it.
"""
import base64
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from image import BUILD, Problem

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

import harness  # noqa: E402
from harness import MB  # noqa: E402

N_PORTS = 6
# The emulated machine, as migration wants it: the same at the snapshot and at each restore.
MACHINE = ["-M", "q35,usb=off", "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max", "-smp", "1", "-m", "640",
           "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot"]
COMMAND_LINE = "console=ttyS0 quiet mitigations=off systemd.firstboot=off systemd.show_status=error panic=-1 net.ifnames=0"
VENDOR = {"cp2102": "10c4:ea60", "ft230x": "0403:6015"}
BOOT_LIMIT_S = 600


class Lost(AssertionError):
    """The guest doesn't answer any more."""


class Said:
    """Of a script that has ended in the guest."""

    def __init__(self, script, code, out):
        self.script, self.code, self.out = script, code, out

    def __str__(self):
        return f"{self.script.strip()}\n=> {self.code}\n{self.out}"


def wait_for(condition, seconds, what, pause=0.2):
    """Asks until the answer is true, and gives it."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(pause)


def stop(process, seconds=5):
    """A process of ours, by its own id."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)
    if process.poll() is None:
        process.kill()
        process.wait()


def connect(path, seconds, process):
    end = time.monotonic() + seconds
    while True:
        link = socket.socket(socket.AF_UNIX)
        try:
            link.connect(str(path))
            return link
        except OSError:
            link.close()
            if process.poll() is not None or time.monotonic() > end:
                raise Problem(f"QEMU doesn't open {path.name}; it said: "
                              f"{(path.parent / 'qemu.log').read_text(errors='replace')}") from None
            time.sleep(0.02)


class Lines:
    """Whole lines from a socket, each within a time."""

    def __init__(self, link):
        self.link, self.buffer = link, b""

    def next(self, seconds):
        end = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.link], [], [], left)[0]:
                return None
            try:
                more = self.link.recv(1 << 20)
            except ConnectionError:
                more = b""
            if not more:
                raise Lost("QEMU has ended")
            self.buffer += more
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line


# ---- boards ----------------------------------------------------------------------------------------------------------

class Board(harness.Board):
    """A wipysim and, while it is plugged in, a usbboard in front of it."""

    def __init__(self, vm, name, chip, serial, options, **others):
        super().__init__(vm.folder, name, options=options, download=False, **others)
        self.vm, self.chip, self.serial = vm, chip, serial
        self.usb, self.where = None, None
        self.usb_log = vm.folder / f"{name}.usb.log"

    def plug(self, where):
        assert self.usb is None, f"{self.name} is plugged in already"
        program = BUILD / "usbboard"
        if not program.exists():
            raise Problem(f"{program} has not been built")
        self.where = where
        out = open(self.vm.folder / f"{self.name}.usb.out", "ab")
        self.usb = harness.start(
            [program, "--chip", self.chip, "--serial", self.serial, "--connect", self.vm.folder / f"usb{where}.sock",
             "--tty", self.folder / f"{self.name}.sim.tty", "--control", self.folder / f"{self.name}.sim.ctl",
             "--log", self.usb_log], stdout=out, stderr=out)
        out.close()

    def unplug(self):
        usb, self.usb = self.usb, None
        code = usb.poll()
        assert code is None, f"{self.name}'s usbboard has ended by itself, with {code}: {self.usb_said()}"
        stop(usb)

    def usb_said(self):
        path = self.vm.folder / f"{self.name}.usb.out"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""

    def controls(self):
        """The lines of usbboard's log: a control request each."""
        return self.usb_log.read_text(errors="replace").splitlines() if self.usb_log.exists() else []

    @property
    def by_id(self):
        """The part of the /dev/serial/by-id link that is its own."""
        return f"/dev/serial/by-id/*_{self.serial}-if00-port0"

    @property
    def slot(self):
        """The name of where it is plugged in, as udev has it."""
        return self.vm.slot(self.where)

    def close(self):
        if self.usb is not None:
            stop(self.usb)
            self.usb = None
        super().close()


# ---- the guest -------------------------------------------------------------------------------------------------------

class Guest:
    """A QEMU process; with incoming, the file of a snapshot, it goes on from there."""

    def __init__(self, image, folder, disk, payload, incoming=None):
        self.folder, self.boards, self.n_asked = Path(folder), [], 0
        self.log = open(self.folder / "qemu.log", "ab")
        command = ["nice", "-n", "2", "qemu-system-x86_64", *MACHINE, "-kernel", image.kernel, "-initrd", image.initrd,
                   "-append", COMMAND_LINE,
                   "-serial", f"file:{self.folder / 'serial.log'}",
                   "-qmp", f"unix:{self.folder / 'qmp.sock'},server=on,wait=off",
                   "-device", "virtio-rng-pci,addr=2",
                   "-drive", f"if=none,id=disk,file={disk},format=qcow2,cache=unsafe,discard=unmap",
                   "-device", "virtio-blk-pci,drive=disk,addr=3",
                   "-drive", f"if=none,id=payload,file={payload},format=raw,readonly=on",
                   "-device", "virtio-blk-pci,drive=payload,addr=4",
                   "-device", "virtio-serial-pci,id=vser,addr=5",
                   "-chardev", f"socket,id=agent,path={self.folder / 'agent.sock'},server=on,wait=off",
                   "-device", "virtserialport,chardev=agent,name=vmrig",
                   "-device", f"qemu-xhci,id=xhci,addr=6,p2={N_PORTS},p3={N_PORTS}"]
        for n in range(1, N_PORTS + 1):
            command += ["-chardev", f"socket,id=usb{n},path={self.folder / f'usb{n}.sock'},server=on,wait=off",
                        "-device", f"usb-redir,chardev=usb{n},id=board{n},bus=xhci.0,port={n}"]
        if incoming:
            command += ["-incoming", f"exec:cat {incoming}"]
        self.process = harness.start(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)
        try:
            self.qmp_link = connect(self.folder / "qmp.sock", 20, self.process)
            self.qmp_lines = Lines(self.qmp_link)
            self.qmp_lines.next(20)
            self.qmp("qmp_capabilities")
            self.agent_link = connect(self.folder / "agent.sock", 20, self.process)
            self.agent_lines = Lines(self.agent_link)
        except BaseException:
            stop(self.process)
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.keep_logs()
        self.close()

    def close(self):
        for board in self.boards:
            try:
                board.close()
            except AssertionError as problem:
                print(f"note: {problem}", flush=True)
        self.boards = []
        with contextlib.suppress(Lost, OSError, AssertionError):
            self.qmp("quit")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        stop(self.process)
        self.qmp_link.close()
        self.agent_link.close()
        self.log.close()

    # ---- QEMU ----
    def qmp(self, command, seconds=30, **arguments):
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        self.qmp_link.sendall(json.dumps(request).encode() + b"\n")
        end = time.monotonic() + seconds
        while True:
            line = self.qmp_lines.next(max(0, end - time.monotonic()))
            if line is None:
                raise Lost(f"QEMU doesn't answer {command}")
            answer = json.loads(line)
            if "error" in answer:
                raise AssertionError(f"QEMU: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def migrate_to(self, path):
        """Stops the guest and writes its memory to a file."""
        self.qmp("stop")
        self.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.qmp("migrate", uri=f"exec:cat > {path}")
        state = wait_for(lambda: (lambda s: s if s not in ("setup", "active", "device", None) else None)(
            self.qmp("query-migrate").get("status")), 120, "the snapshot")
        assert state == "completed", self.qmp("query-migrate")

    def go_on(self):
        """After incoming: what was a moment ago to the guest may be yesterday."""
        wait_for(lambda: self.qmp("query-status")["status"] != "inmigrate", 60, "the snapshot is read", 0.05)
        self.qmp("cont")
        self.must(f"date -s @{time.time():.3f} >/dev/null", 60)

    # ---- the agent ----
    def ask_agent(self, script, seconds):
        self.n_asked += 1
        mark = f"{self.n_asked}"
        self.agent_link.sendall(f"{mark} {base64.b64encode(script.encode()).decode()}\n".encode())
        end = time.monotonic() + seconds
        while True:
            line = self.agent_lines.next(max(0, end - time.monotonic()))
            if line is None:
                raise Lost(f"the guest has not answered in {seconds} s: {script}")
            fields = line.decode(errors="replace").split(" ")
            if fields[0] == mark and len(fields) >= 2:
                out = base64.b64decode(fields[2]).decode(errors="replace") if len(fields) > 2 else ""
                return Said(script, int(fields[1]), out)

    def run(self, script, seconds=60):
        return self.ask_agent(script, seconds)

    def must(self, script, seconds=60):
        said = self.run(script, seconds)
        assert said.code == 0, str(said)
        return said.out

    def wait_boot(self, seconds=BOOT_LIMIT_S):
        """Until the agent answers, and systemd has started all that it means to."""
        end = time.monotonic() + seconds
        while True:
            if self.process.poll() is not None:
                raise Lost(f"QEMU has ended with {self.process.returncode}: see serial.log and qemu.log")
            try:
                self.ask_agent("true", 3)
                break
            except Lost:
                if time.monotonic() > end:
                    raise
        return self.run("systemctl is-system-running --wait", seconds).out.strip()

    def reboot(self):
        """A real one. Boards keep their power meanwhile."""
        before = self.must("cat /proc/sys/kernel/random/boot_id")
        self.qmp("set-action", reboot="reset")
        self.must("systemctl --no-block reboot")
        end = time.monotonic() + BOOT_LIMIT_S
        while True:
            with contextlib.suppress(Lost):
                if self.ask_agent("cat /proc/sys/kernel/random/boot_id", 5).out != before:
                    break
            assert time.monotonic() < end, "the guest has not come back"
        self.qmp("set-action", reboot="shutdown")
        self.wait_boot()
        self.must("mkdir -p /run/payload && tar xf /dev/vdb -C /run/payload")

    def jump(self, seconds, stands_still=0):
        """The clock, as after a suspend: for so long nothing runs, and then it is another time."""
        self.qmp("stop")
        time.sleep(stands_still)
        self.qmp("cont")
        self.must(f"date -s @$(($(date +%s) + {seconds})) >/dev/null")

    # ---- boards ----
    @staticmethod
    def slot(where):
        return f"pci-0000:00:06.0-usb-0:{where}:1.0"

    def board(self, name, chip="cp2102", serial=None, flash=None, flash_bytes=4 * MB, options=()):
        board = Board(self, name, chip, serial or f"{name.upper()}0001", options, flash=flash, flash_bytes=flash_bytes)
        self.boards.append(board)
        return board

    # ---- after a failure ----
    def keep_logs(self):
        """The journal joins what is in the folder anyway."""
        with contextlib.suppress(Exception):
            (self.folder / "journal.log").write_text(
                self.run("journalctl -b --no-pager -o short-precise | tail -n 3000", 60).out)
        for board in self.boards:
            with contextlib.suppress(Exception):
                (self.folder / f"{board.name}.status.json").write_text(json.dumps(board.status(), indent=1))
