"""USB devices that claim to be CP2102s and send garbage as fast as it goes, several at once, for as many bytes as a wire
brings in an hour; a board beside them is flashed as ever.

An hour at 115200 baud is 41 MB, at 921600 330 MB. WIPYD_GARBAGE_MB says how much is sent in all; in CI it is less. A port is
let go within seconds, so the daemon is asked to look, to identify and to flash again and again; to one that says that it
waits for a download the coach listens on, for its 10 minutes.
"""
import contextlib
import ctypes
import mmap
import os
import random
import signal
import struct
import time
import tty

from harness import DEVICE, JOB, MANAGER, MB, Bench, DBusError, Variant, lived_in_flash, takes, wait_for
from neighbour import Neighbour

GARBAGE_MB = float(os.environ.get("WIPYD_GARBAGE_MB", "6"))
RNG = random.Random(5)
SYNC_REPLY = b"\xc0\x01\x08\x04\x00\x07\x07\x12\x20\x00\x00\x00\x00\xc0"


def nonsense_frames(size):
    """Frames as the ROM's: direction, any command, a length that is right or isn't, a value, a status that says yes or no."""
    data = b""
    while len(data) < size:
        body = RNG.randbytes(RNG.choice([0, 2, 4, 16, 300]))
        length = len(body) if RNG.random() < 0.7 else RNG.randrange(1 << 16)
        frame = struct.pack("<BBHI", 1, RNG.choice([2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 15, 16, 17, 18, 19, 0xD2]), length,
                            RNG.choice([0, 0x00F01D83, RNG.getrandbits(32)])) + body + RNG.choice([bytes(4), b"\1\5\0\0", b""])
        data += b"\xc0" + frame.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"
    return data


KINDS = {
    "random": RNG.randbytes(1 << 16),
    "frame ends": b"\xc0" * (1 << 16),
    "escapes": b"\xdb\xdd\xdb\xdc" * (1 << 14),
    "one frame without an end": b"\xc0" + b"\x01" * ((1 << 16) - 1),
    "replies to all and nothing": SYNC_REPLY * (1 << 12),
    "frames as the ROM's, of nonsense": nonsense_frames(1 << 16),
    "a ROM that says yes to all": (SYNC_REPLY + b"\xc0\x01\x0a\x04\x00\x83\x1d\xf0\x00\x00\x00\x00\x00\xc0") * (1 << 11),
    "a boot log without an end": b"rst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0))" * 1200,
    "waiting for download, for ever": b"waiting for download\r\n" * 3000,
    "a REPL": b"\r\n>>> Pycom MicroPython 1.20.2.r4 on 2021-01-12; WiPy with ESP32\r\n" * 900,
}


class Babbler:
    """A pty; what a Choir has sent into it."""

    def __init__(self, number, kind, data):
        self.number, self.kind, self.data = number, kind, data
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)  # the daemon leaves alone what another program holds
        os.set_blocking(self.master, False)
        self.link = None

    def link_to(self, link):
        """A name that goes first at the end, as a board's does: the next pty on this machine may get the number."""
        link.symlink_to(self.path)
        self.link = link


class Choir:
    """A process that writes into all of them whenever there is room."""

    def __init__(self):
        self.babblers = [Babbler(i, kind, data) for i, (kind, data) in enumerate(KINDS.items())]
        self.counts = mmap.mmap(-1, 8 * len(self.babblers))
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._sing()
            finally:
                os._exit(0)

    def sent(self):
        return struct.unpack(f"{len(self.babblers)}Q", self.counts[:])

    def _sing(self):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        at = [0] * len(self.babblers)
        while True:
            for babbler in self.babblers:
                i = babbler.number
                with contextlib.suppress(OSError):
                    os.read(babbler.master, 65536)
                with contextlib.suppress(OSError):
                    start = at[i] % len(babbler.data)
                    at[i] += os.write(babbler.master, babbler.data[start:start + 4096])
            self.counts[:] = struct.pack(f"{len(at)}Q", *at)
            time.sleep(0.001)

    def close(self):
        if not self.pid:
            return
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = None
        for babbler in self.babblers:
            if babbler.link:
                babbler.link.unlink()
            os.close(babbler.master)


def prod(bench, babbler, round_number):
    """Something that opens the port; what is there may be busy with the last."""
    with contextlib.suppress(DBusError):
        path = bench.bus.call("/org/wipyd1", "org.wipyd1.Manager", "FindDevice", "s", babbler.name)[0]
        if round_number % 3 == 0:
            bench.bus.send(path, DEVICE, "Look", "a{sv}", {})
        elif round_number % 3 == 1:
            bench.bus.call(path, DEVICE, "Identify", "a{sv}", {})
        else:
            bench.bus.call(path, DEVICE, "Flash", "a{sv}", {})


@takes(20, limit=3600)
def test_devices_that_babble():
    with Bench([dict(flash=lived_in_flash(4 * MB))], usb=True, connect_timeout=2) as bench:
        package = bench.package(app_bytes=300_000)
        bench.import_firmware(package)
        choir = Choir()
        babblers = choir.babblers
        try:
            with Neighbour(bench, fds_come_back=False) as watch:
                for i, babbler in enumerate(babblers):
                    babbler.name = f"ttyUSB{i + 1}"
                    babbler.link_to(bench.folder / f"{babbler.name}.sim.tty")
                    bench.usb.ask(f"add name={babbler.name} slot=1-{i + 2} vid=10c4 pid=ea60 serial=000{i} node={babbler.link}")
                bench.plug(bench.board)
                wait_for(lambda: len([p for p, o in bench.bus.managed().items() if DEVICE in o]) == len(babblers) + 1, 10,
                         "all are seen")
                wait_for(lambda: [p for p, o in bench.bus.managed().items() if o.get(JOB, {}).get("State") == "done"], 60,
                         "the board's flash is done")
                round_number, end = 0, time.monotonic() + 3000
                while sum(choir.sent()) < GARBAGE_MB * 1e6 or round_number < 6:
                    for babbler in babblers:
                        prod(bench, babbler, round_number)
                    watch.ask()
                    watch.ask()
                    round_number += 1
                    time.sleep(0.2)
                    assert time.monotonic() < end, choir.sent()
                sent = choir.sent()
                choir.close()
                bench.bus.close_fds()
            print("note: " + ", ".join(f"{b.kind}: {n / 1e6:.2f} MB" for b, n in zip(babblers, sent)))
            # No garbage passes for a board.
            jobs, = bench.bus.call("/org/wipyd1", MANAGER, "History", "a{sv}", {"limit": Variant("u", 10_000)})
            print(f"note: {len(jobs)} jobs")
            assert {job["device"] for job in jobs if job["state"] == "done"} == {bench.board.port}, jobs
        finally:
            choir.close()
