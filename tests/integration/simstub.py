"""A host that uploads a stub to a simulated board and talks to it, for tests. Python standard library only."""
import base64
import json
import os
import pathlib
import struct
import time
import zlib

import simboard
from simboard import Skip, block, loader, packet, slip

BLOCK = 0x4000
# The bytes of a stub are never in the tree: `make stub` fetches the new line; the legacy one is where the user has it.
FILES = {
    "new": pathlib.Path(os.environ.get("WIPYD_STUB_NEW", simboard.BUILD / "stub" / "esp32.json")),
    "legacy": pathlib.Path(os.environ.get("WIPYD_STUB_LEGACY", simboard.BUILD / "stub" / "legacy" / "esp32.json")),
}


def stub_file(line):
    path = FILES[line]
    if not path.exists():
        hint = "make stub" if line == "new" else f"WIPYD_STUB_{line.upper()}=FILE names one"
        raise Skip(f"no {line} stub at {path} ({hint})")
    return json.loads(path.read_text())


def lines():
    """The stubs that are there; Skip when none is."""
    there = [line for line, path in FILES.items() if path.exists()]
    if not there:
        stub_file("new")
    return there


class Answer:
    """A stub's reply: two bytes of status, the error first."""

    def __init__(self, frame):
        self.frame = frame
        self.opcode = frame[1]
        self.value = struct.unpack_from("<I", frame, 4)[0]
        self.payload = frame[8:-2]
        self.error, self.detail = frame[-2:]


class Stub:
    """with Stub("new", "--fast") as stub: a board on which the stub runs. `stub.board` is the Board."""

    def __init__(self, line, *options, size=0x800000, start=True):
        self.line = line
        self.json = stub_file(line)
        self.size = size
        self.board = loader(*options, size=size)
        try:
            if start:
                self.upload()
                self.wait_greeting()
                assert self.command(packet(0x0B, struct.pack(
                    "<IIIIII", 0, size, 0x10000, 0x1000, 0x100, 0xFFFF))).error == 0
        except BaseException:
            self.board.__exit__()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.board.__exit__()

    def upload(self, change=lambda name, data: data):
        """All but the greeting; MEM_END's reply may come or not, and is dropped with what isn't OHAI."""
        for name in ("text", "data"):
            data = change(name, base64.b64decode(self.json[name]))
            count = (len(data) + 0x17FF) // 0x1800
            self.board.good(packet(0x05, struct.pack("<IIII", len(data), count, 0x1800, self.json[name + "_start"])))
            for i in range(count):
                self.board.good(block(0x07, i, data[i * 0x1800 : (i + 1) * 0x1800]))
        self.board.send(packet(0x06, struct.pack("<II", 0, self.json["entry"])))

    def greeted(self, seconds=3.0):
        """Whether OHAI comes; the frames before it are dropped."""
        end = time.monotonic() + seconds
        while True:
            frame = self.board.frame(max(0.0, end - time.monotonic()))
            if frame is None or frame == b"OHAI":
                return frame is not None

    def wait_greeting(self):
        assert self.greeted(), f"no OHAI: {self.board.status()}"

    def command(self, body, seconds=10.0):
        self.board.send(body)
        frame = self.board.frame(seconds)
        assert frame is not None, f"no reply to {body[:24].hex()}"
        return Answer(frame)

    def good(self, body, seconds=10.0):
        answer = self.command(body, seconds)
        assert answer.opcode == body[1] and answer.error == 0, f"{body[:24].hex()}: {answer.frame.hex()}"
        return answer

    def silent(self, body, seconds=0.2):
        self.board.send(body)
        frame = self.board.frame(seconds)
        return frame is None

    def read_reg(self, address):
        return self.good(packet(0x0A, struct.pack("<I", address))).value

    def begin(self, offset, size, blocks, opcode=0x02, block_size=BLOCK):
        return self.good(packet(opcode, struct.pack("<IIII", size, blocks, block_size, offset)))

    def end(self, opcode=0x04, flag=1, seconds=60.0):
        return self.command(packet(opcode, struct.pack("<I", flag)), seconds)

    def md5(self, offset, size):
        return self.good(packet(0x13, struct.pack("<IIII", offset, size, 0, 0)), 60).payload

    def write(self, offset, data, size=None):
        """Plain; returns END's answer."""
        pieces = [data[i : i + BLOCK] for i in range(0, len(data), BLOCK)]
        self.begin(offset, len(data) if size is None else size, len(pieces))
        for i, piece in enumerate(pieces):
            self.good(block(0x03, i, piece), 60)
        return self.end()

    def write_packed(self, offset, data, step=BLOCK):
        packed = zlib.compress(data, 9)
        pieces = [packed[i : i + step] for i in range(0, len(packed), step)]
        self.begin(offset, len(data), (len(packed) + BLOCK - 1) // BLOCK, 0x10)
        for i, piece in enumerate(pieces):
            self.good(block(0x11, i, piece), 60)
        return self.end(0x12)

    def read_flash(self, offset, size, packet_size=4096, acknowledge=struct.Struct("<I").pack):
        """Data and digest, as they came."""
        self.good(packet(0xD2, struct.pack("<IIII", offset, size, packet_size, 64)))
        data = b""
        while len(data) < size:
            frame = self.board.frame(5.0)
            assert frame is not None, f"{len(data)} of {size} bytes came"
            data += frame
            self.board.write(slip(acknowledge(len(data))))
        return data, self.board.frame(5.0)

    def set_baud(self, baud, now=115200):
        self.good(packet(0x0F, struct.pack("<II", baud, now)))
        time.sleep(0.02)
        self.board.set_baud(baud)
