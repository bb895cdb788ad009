"""A wipysim process, its tty and its control socket, for tests. Python standard library only.

The SLIP and the loader packets here are the tests' own: neither the daemon's nor the simulator's code.
"""
import array
import fcntl
import json
import os
import pathlib
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import tty

try:
    import harness

    BUILD = pathlib.Path(harness.BUILD)
    SHARED = pathlib.Path(harness.SHARED)
    Skip = harness.Skip
except ImportError:
    ROOT = pathlib.Path(__file__).resolve().parents[2]
    BUILD = ROOT / os.environ.get("WIPYD_BUILD", "build")
    SHARED = ROOT.parent / "shared"

    class Skip(Exception):
        pass


TCGETS2, TCSETS2, BOTHER, CBAUD = 0x802C542A, 0x402C542B, 0o10000, 0o10017
SYNC_REPLY = bytes.fromhex("0108040007071220")
SYNC_DATA = bytes.fromhex("07071220") + b"\x55" * 32


def slip(body):
    return b"\xc0" + body.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


def unslip(body):
    return body.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")


def checksum(data):
    value = 0xEF
    for byte in data:
        value ^= byte
    return value


def packet(opcode, data=b"", check=0):
    return struct.pack("<BBHI", 0, opcode, len(data), check) + data


def block(opcode, number, data, check=None):
    head = struct.pack("<IIII", len(data), number, 0, 0)
    return packet(opcode, head + data, checksum(data) if check is None else check)


class Reply:
    def __init__(self, frame):
        self.frame = frame
        self.opcode = frame[1]
        self.value = struct.unpack_from("<I", frame, 4)[0]
        self.payload = frame[8:-4]
        self.status = frame[-4]
        self.error = frame[-3]


class Board:
    """with Board("--fast") as b: ..."""

    def __init__(self, *options, keep_dir=None):
        self.dir = pathlib.Path(keep_dir or tempfile.mkdtemp(prefix="wipysim-"))
        self.own_dir = keep_dir is None
        self.tty_path = self.dir / "board.tty"
        self.flash_path = self.dir / "board.flash"
        program = BUILD / "wipysim"
        if not program.exists():
            raise Skip(f"{program} has not been built")
        self.process = subprocess.Popen(
            [str(program), "--dir", str(self.dir), *options], stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        assert line == f"ready {self.tty_path}\n", f"wipysim said {line!r}"
        self.control = socket.socket(socket.AF_UNIX)
        self.control.connect(str(self.dir / "board.ctl"))
        self.answers = self.control.makefile("r")
        self.fd = None
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        self.answers.close()
        self.control.close()
        self.process.terminate()
        code = self.process.wait(timeout=10)
        self.process.stdout.close()
        if self.own_dir:
            shutil.rmtree(self.dir)
        assert code == 0, f"wipysim ended with {code}"

    # ---- control ----
    def try_ask(self, request):
        self.control.sendall(request.encode() + b"\n")
        return self.answers.readline().rstrip("\n")

    def ask(self, request):
        answer = self.try_ask(request)
        assert answer.startswith("ok"), f"{request}: {answer}"
        return answer[3:]

    def status(self):
        return json.loads(self.ask("status"))

    def wait_for(self, condition, seconds=5.0):
        end = time.monotonic() + seconds
        while True:
            status = self.status()
            if condition(status):
                return status
            assert time.monotonic() < end, f"still {status}"
            time.sleep(0.002)

    def wait_state(self, state, seconds=5.0):
        return self.wait_for(lambda s: s["state"] == state, seconds)

    # ---- tty ----
    def open(self, baud=115200):
        self.fd = os.open(self.tty_path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.fd)
        self.set_baud(baud)
        self.buffer = b""
        self.wait_for(lambda s: s["host_open"])
        return self

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def set_baud(self, baud):
        t = array.array("I", [0] * 11)
        fcntl.ioctl(self.fd, TCGETS2, t, True)
        t[2] = (t[2] & ~CBAUD) | BOTHER
        t[9] = t[10] = baud
        fcntl.ioctl(self.fd, TCSETS2, t)

    def write(self, data):
        while data:
            select.select([], [self.fd], [], 10)
            try:
                data = data[os.write(self.fd, data) :]
            except BlockingIOError:
                pass

    def read(self, seconds):
        """All that is there, waiting at most `seconds` for the first byte."""
        if select.select([self.fd], [], [], seconds)[0]:
            try:
                return os.read(self.fd, 65536)
            except BlockingIOError:
                pass
        return b""

    def read_until(self, text, seconds=5.0):
        end = time.monotonic() + seconds
        while text not in self.buffer:
            left = end - time.monotonic()
            assert left > 0, f"no {text!r} in {self.buffer!r}"
            self.buffer += self.read(left)
        at = self.buffer.index(text) + len(text)
        taken, self.buffer = self.buffer[:at], self.buffer[at:]
        return taken

    def read_quiet(self, quiet=0.1):
        """All that comes until `quiet` seconds of silence."""
        data, self.buffer = self.buffer, b""
        while True:
            more = self.read(quiet)
            if not more:
                return data
            data += more

    def frame(self, seconds=5.0):
        """The next frame, or None. What stands outside frames is dropped."""
        end = time.monotonic() + seconds
        while True:
            start = self.buffer.find(b"\xc0")
            if start >= 0:
                while self.buffer[start + 1 : start + 2] == b"\xc0":
                    start += 1
                stop = self.buffer.find(b"\xc0", start + 1)
                if stop > 0:
                    body = self.buffer[start + 1 : stop]
                    self.buffer = self.buffer[stop + 1 :]
                    return unslip(body)
            left = end - time.monotonic()
            if left <= 0:
                return None
            self.buffer += self.read(left)

    def send(self, body):
        self.write(slip(body))

    def command(self, body, seconds=5.0):
        self.send(body)
        frame = self.frame(seconds)
        assert frame is not None, f"no reply to {body[:24].hex()}"
        return Reply(frame)

    def good(self, body, seconds=5.0):
        reply = self.command(body, seconds)
        assert reply.opcode == body[1] and reply.status == 0, f"{body[:24].hex()}: {reply.frame.hex()}"
        return reply

    # ---- the loader ----
    def sync(self):
        """As a host does: again while there is no answer, as half a frame may be open at the chip."""
        for _ in range(5):
            self.send(packet(0x08, SYNC_DATA))
            frames = [f for f in (self.frame(0.25) for _ in range(8)) if f and f[:8] == SYNC_REPLY]
            if len(frames) == 8:
                return
            self.read_quiet(0.05)
        raise AssertionError("no answer to SYNC")

    def read_reg(self, address):
        return self.good(packet(0x0A, struct.pack("<I", address))).value

    def attach(self, size):
        self.good(packet(0x0D, bytes(8)))
        self.good(packet(0x0B, struct.pack("<IIIIII", 0, size, 0x10000, 0x1000, 0x100, 0xFFFF)))

    def begin(self, offset, size, blocks, block_size, opcode=0x02):
        return self.command(packet(opcode, struct.pack("<IIII", size, blocks, block_size, offset)), 60)

    def md5(self, offset, size):
        return self.good(packet(0x13, struct.pack("<IIII", offset, size, 0, 0)), 60).payload.decode()

    def change_baud(self, baud):
        """With the correction for the ROM's crystal estimate, as a good host does it."""
        calibration = (self.read_reg(0x3FF5F06C) >> 7) & 0x1FFFFFF
        estimate = calibration * 15625 * (self.read_reg(0x3FF5A010) & 0xFF) // 40
        true = 40000000 if estimate > 33000000 else 26000000
        ask = baud * estimate // true if estimate else baud
        self.good(packet(0x0F, struct.pack("<II", ask, 0)))
        time.sleep(0.02)
        self.set_baud(baud)


def download(*options):
    """A board that waits for download, its port open."""
    board = Board("--boot-strap", "download", *options)
    try:
        board.wait_state("download")
        board.open()
    except BaseException:
        board.__exit__()
        raise
    return board


def loader(*options, size=0x800000):
    """A board whose ROM is synced, with flash attached."""
    board = download(*options)
    board.sync()
    board.attach(size)
    return board


def write_plain(board, offset, data, block_size=0x400):
    data += b"\xff" * (-len(data) % block_size)
    count = len(data) // block_size
    assert board.begin(offset, len(data), count, block_size).status == 0
    for i in range(count):
        board.good(block(0x03, i, data[i * block_size : (i + 1) * block_size]))
