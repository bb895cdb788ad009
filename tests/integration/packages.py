#!/usr/bin/env python3
"""Firmware packages for tests, and what they ought to do to a flash.

Written apart from the daemon's C code, from the same facts: where the two agree, a test means something.

    make_package(path, board="WiPy", release="1.20.1.r1", shape="object", app_bytes=900000, seed=1, fault=None)
    expected_flash(path, flash_bytes, before) -> bytes

Every fault in FAULTS makes a package that must be refused, with the error's name on the bus beside it.

    python3 packages.py make OUT.tar.gz [--board B] [--release R] [--shape S] [--app-bytes N] [--seed N] [--fault F]
    python3 packages.py expect PACKAGE FLASH_BYTES BEFORE.bin AFTER.bin
    python3 packages.py faults
"""

import argparse
import functools
import gzip
import hashlib
import io
import json
import random
import struct
import sys
import tarfile

SECTOR = 0x1000
MB = 1024 * 1024
CONFIG = (0x3FF000, 0x1000)

# (label, type, subtype, offset, size); the application's alignment and flags are of no account here.
TABLE_1_18 = [
    ("nvs", 1, 2, 0x9000, 0x7000), ("factory", 0, 0, 0x10000, 0x180000), ("otadata", 1, 0, 0x190000, 0x1000),
    ("ota_0", 0, 0x10, 0x1A0000, 0x180000), ("dummy", 1, 7, 0x320000, 0x10000), ("fs", 1, 5, 0x380000, 0x7F000),
    ("config", 1, 6, 0x3FF000, 0x1000),
]
TABLE_4MB = [
    ("nvs", 1, 2, 0x9000, 0x7000), ("factory", 0, 0, 0x10000, 0x1AE000), ("otadata", 1, 0, 0x1BE000, 0x1000),
    ("ota_0", 0, 0x10, 0x1C0000, 0x1AE000), ("dummy", 1, 7, 0x36E000, 0x10000), ("fs", 1, 5, 0x380000, 0x7F000),
    ("config", 1, 6, 0x3FF000, 0x1000),
]
TABLE_8MB = [
    ("nvs", 1, 2, 0x9000, 0x7000), ("factory", 0, 0, 0x10000, 0x1EF000), ("otadata", 1, 0, 0x1FF000, 0x1000),
    ("ota_0", 0, 0x10, 0x210000, 0x1EF000), ("config", 1, 6, 0x3FF000, 0x1000),
]


# ---- images ----------------------------------------------------------------------------------------------------------

def firmware_like(rng, size):
    """Bytes that deflate leaves about 60 % of, as it does of real firmware."""
    pool = [rng.randbytes(32) for _ in range(64)]
    out = bytearray()
    while len(out) < size:
        out += rng.randbytes(32) if rng.random() < 0.58 else rng.choice(pool)
    return bytes(out[:size])


def xor_of(data):
    """Of all bytes, by halves: data is long."""
    value, size = int.from_bytes(data, "little"), len(data)
    while size > 1:
        half = (size + 1) // 2
        value = (value >> (8 * half)) ^ (value & ((1 << (8 * half)) - 1))
        size = half
    return value


def esp_image(segments, hashed=True, mode=2, size_and_clock=0x0F, entry=0x400805D0):
    """segments: [(address, bytes)], each a multiple of 4 long. The real headers say DIO, 80 MHz, 1 MB."""
    out = bytearray(struct.pack("<BBBBI", 0xE9, len(segments), mode, size_and_clock, entry))
    out += bytes([0xEE] + [0] * 14 + [1 if hashed else 0])
    checksum = 0xEF
    for address, data in segments:
        assert len(data) % 4 == 0
        out += struct.pack("<II", address, len(data)) + data
        checksum ^= xor_of(data)
    out += bytes(15 - len(out) % 16) + bytes([checksum])
    if hashed:
        out += hashlib.sha256(out).digest()
    return bytes(out)


def uname_cluster(board, release, git="v1.8.6-849-b0520f1", date="2018-08-29"):
    return f"{board} with ESP32\0{git} on {date}\0{release}\0".encode()


@functools.cache
def application_image(board, release, size, seed, cluster_offset=0x13D0C):
    """As long as size, rounded down to 16; the cluster begins at that offset of the image."""
    size = max(size // 16 * 16, 0x1000)
    rng = random.Random(f"{board} {release} {seed}")
    headers = 24 + 4 * 8
    body = size - 32 - 16 - headers
    body -= body % 4
    cluster = uname_cluster(board, release)
    cluster_offset = min(cluster_offset, body // 2)
    data = bytearray(firmware_like(rng, body))
    at = cluster_offset - 32  # in the first segment's data, which begins at 32
    data[at - 1:at + len(cluster)] = b"\0" + cluster
    banner = f"Pycom MicroPython {release} [v1.8.6-849-b0520f1] on 2018-08-29; {board} with ESP32\r\n\0".encode()
    data[at - 1 - len(banner):at - 1] = banner
    first = max(body // 8 & ~3, (at + len(cluster) + 7) & ~3)
    rest = (body - first) // 3 & ~3
    ends = [first, first + rest, first + 2 * rest, body]
    addresses = [0x3F400020, 0x3FFB0000, 0x40080000, 0x400D0018]
    image = esp_image([(address, bytes(data[begin:end]))
                       for address, begin, end in zip(addresses, [0] + ends, ends)])
    assert len(image) == size, (len(image), size)
    return image


@functools.cache
def bootloader_image(seed, size=22096):
    rng = random.Random(f"bootloader {seed}")
    body = firmware_like(rng, (size - 32 - 16 - 24 - 3 * 8) & ~3)
    third = len(body) // 3 & ~3
    return esp_image([(0x3FFF8018, body[:third]), (0x40078000, body[third:2 * third]), (0x40080000, body[2 * third:])],
                     entry=0x400A05D0)


def partition_table(entries, digest=True):
    out = b""
    for label, kind, subtype, offset, size in entries:
        flags = 1 if label in ("factory", "otadata", "ota_0", "fs") else 0
        out += struct.pack("<2sBBII16sI", b"\xaa\x50", kind, subtype, offset, size, label.encode(), flags)
    if digest:
        out += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(out).digest()
    return out + b"\xff" * (0xC00 - len(out))


# ---- packages --------------------------------------------------------------------------------------------------------

def list_script(partitions, app):
    erases = [["e", f"0x{0x1000 + i * 0x40000:X}", "0x40000"] for i in range(8)]
    return erases + [["w", "0x1000", "bootloader.bin"], ["w", "0x8000", partitions], ["w", "0x10000", app]]


def object_script(partitions, app, table):
    named = {label: [f"0x{offset:X}", f"0x{size:X}"] for label, _, _, offset, size in table}
    return {"version": "2.1", "partitions": {name: named[name] for name in ("factory", "ota_0", "otadata")},
            "script": [["w", "bootloader", "bootloader.bin"], ["w", "partitions", partitions], ["w", "factory", app]]}


class Draft:
    """A package before it is packed: its parts can still be spoilt."""

    def __init__(self, board, release, shape, app_bytes, seed):
        self.app = board.lower() + ".bin"
        self.files = {"bootloader.bin": bootloader_image(seed)}
        self.scripts = {}
        self.entries = []       # more archive members: (TarInfo, bytes)
        self.raw_scripts = {}   # name -> bytes, in place of JSON
        self.tables = {}        # partition file -> table
        if shape == "list":
            self.tables = {"partitions.bin": (TABLE_1_18, False)}
            self.scripts["script"] = list_script("partitions.bin", self.app)
        elif shape in ("object", "both"):
            self.tables = {"partitions_4MB.bin": (TABLE_4MB, True), "partitions_8MB.bin": (TABLE_8MB, True)}
            for mb, table in (("4MB", TABLE_4MB), ("8MB", TABLE_8MB)):
                self.scripts["script_" + mb] = object_script(f"partitions_{mb}.bin", self.app, table)
            if shape == "both":
                self.scripts["script"] = list_script("partitions_4MB.bin", self.app)
                self.scripts["script2"] = object_script("partitions_4MB.bin", self.app, TABLE_4MB)
        else:
            raise ValueError(f"shape {shape!r} is none of list, object, both")
        for name, (table, digest) in self.tables.items():
            self.files[name] = partition_table(table, digest)
        self.files[self.app] = application_image(board, release, app_bytes, seed)

    def ops(self):
        """The op lists of all scripts."""
        return [s["script"] if isinstance(s, dict) else s for s in self.scripts.values()]

    def add_op(self, *op):
        for ops in self.ops():
            ops.append(list(op))

    def flip(self, name, offset):
        data = bytearray(self.files[name])
        data[offset] ^= 0x10
        self.files[name] = bytes(data)

    def add_entry(self, name, kind=tarfile.REGTYPE, data=b"", linkname=""):
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = kind, linkname, len(data)
        self.entries.append((info, data))

    def pack(self):
        members = dict(self.files)
        for name, script in self.scripts.items():
            members[name] = self.raw_scripts.get(name, json.dumps(script, indent=2).encode())
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size, info.uname, info.mode = len(data), "jenkins", 0o644
                tar.addfile(info, io.BytesIO(data))
            for info, data in self.entries:
                tar.addfile(info, io.BytesIO(data))
        return gzip.compress(stream.getvalue(), compresslevel=9, mtime=0)


def _spoil_scripts(change):
    def spoil(draft):
        for name in draft.scripts:
            draft.raw_scripts[name] = change(json.dumps(draft.scripts[name]).encode())
    return spoil


def _each_table(change):
    def spoil(draft):
        for name, (table, digest) in draft.tables.items():
            draft.files[name] = change(table, digest)
    return spoil


def _state(name, place):
    """Has every script state that place for a partition; the list form becomes an object for it."""
    def spoil(draft):
        for key, script in draft.scripts.items():
            if isinstance(script, list):
                script = draft.scripts[key] = {"version": "2.1", "partitions": {}, "script": script}
            script["partitions"][name] = place
    return spoil


def _shorten_factory(draft):
    _each_table(lambda table, digest: partition_table(
        [(l, t, s, o, 0x20000 if l == "factory" else z) for l, t, s, o, z in table], digest))(draft)
    _state("factory", ["0x10000", "0x20000"])(draft)


def _erase_file_system(draft):
    """Where it is by the script's own layout: the 8 MB one has ota_0 where the others have the file system."""
    for name, script in draft.scripts.items():
        offset = "0x400000" if name == "script_8MB" else "0x3FE000"
        (script["script"] if isinstance(script, dict) else script).append(["e", offset, "0x1000"])


def _drop(draft, name):
    del draft.files[name]


def _no_release(draft):
    app = draft.files[draft.app]
    draft.files[draft.app] = application_image("?", "?", len(app), 0)


def _many(draft):
    for i in range(40):
        draft.add_entry(f"filler{i}", data=b"x")


# fault: (error on the bus, how to spoil the draft, how to spoil the packed file). Of packages that are whole but for
# another board the reader has nothing to say: see board="LoPy".
_FAULTS = {
    "app-checksum": ("ImageCorrupt", lambda d: d.flip(d.app, 0x8000), None),
    "app-sha256": ("ImageCorrupt", lambda d: d.flip(d.app, -1), None),
    "app-truncated": ("ImageCorrupt", lambda d: d.files.update({d.app: d.files[d.app][:-4096]}), None),
    "app-not-image": ("ImageCorrupt", lambda d: d.files.update({d.app: b"<html>" + bytes(5000)}), None),
    "app-trailing": ("ImageCorrupt", lambda d: d.files.update({d.app: d.files[d.app] + b"tail"}), None),
    "app-no-release": ("PackageInvalid", _no_release, None),
    "bootloader-corrupt": ("ImageCorrupt", lambda d: d.flip("bootloader.bin", 0x2000), None),
    "partitions-corrupt": ("ImageCorrupt", _each_table(lambda t, d: b"\0" * 0xC00), None),
    "partitions-digest": ("ImageCorrupt",
                          _each_table(lambda t, d: partition_table(t, True).replace(b"factory", b"fabrik\0")), None),
    "partitions-disagree": ("ScriptInvalid", _state("otadata", ["0x1AF000", "0x1000"]), None),
    "partitions-factory-short": ("PartitionOverflow", _shorten_factory, None),
    "too-long": ("PartitionOverflow", None, None),  # see make_package
    "member-missing": ("MemberMissing", lambda d: _drop(d, d.app), None),
    "script-missing": ("ScriptMissing", lambda d: d.scripts.clear(), None),
    "not-json": ("ScriptInvalid", _spoil_scripts(lambda s: b"<html>404</html>"), None),
    "json-cut": ("ScriptInvalid", _spoil_scripts(lambda s: s[:-1]), None),
    "json-trailing": ("ScriptInvalid", _spoil_scripts(lambda s: s + b" x"), None),
    "json-number": ("ScriptInvalid", _spoil_scripts(lambda s: b'[["e", 36864, 4096]]'), None),
    "json-deep": ("ScriptInvalid", _spoil_scripts(lambda s: b"[" * 60000), None),
    "json-large": ("ScriptInvalid", _spoil_scripts(lambda s: s + b" " * 70000), None),
    "number-overflow": ("ScriptInvalid", lambda d: d.add_op("e", "0x100009000", "0x1000"), None),
    "empty-script": ("ScriptInvalid", _spoil_scripts(lambda s: b"[]"), None),
    "no-version": ("ScriptInvalid", _spoil_scripts(lambda s: b'{"script": [["e", "nvs"]]}'), None),
    "unknown-name": ("ScriptInvalid", lambda d: d.add_op("e", "somewhere"), None),
    "unknown-op": ("ScriptUnknownOp", lambda d: d.add_op("c", "factory"), None),
    "overwrite-op": ("ScriptUnknownOp", lambda d: d.add_op("o", "0x3FF000", "bootloader.bin"), None),
    "erase-all": ("ScriptUnknownOp", lambda d: d.add_op("e", "all"), None),
    "config-erase": ("ScriptProtected", lambda d: d.add_op("e", "0x3FF000", "0x1000"), None),
    "config-erase-name": ("ScriptProtected", lambda d: d.add_op("e", "cb"), None),
    "config-write": ("ScriptProtected", lambda d: d.add_op("w", "0x3FA000", "bootloader.bin"), None),
    "config-write-name": ("ScriptProtected", lambda d: d.add_op("w", "config", "bootloader.bin"), None),
    "fs-erase": ("ScriptProtected", lambda d: d.add_op("e", "fs"), None),
    "fs1-erase": ("ScriptProtected", lambda d: d.add_op("e", "fs1"), None),
    "fs-erase-hex": ("ScriptProtected", _erase_file_system, None),
    "past-end": ("ScriptOutOfRange", lambda d: d.add_op("w", "0x800000", "bootloader.bin"), None),
    "wrap-around": ("ScriptOutOfRange", lambda d: d.add_op("e", "0x9000", "0xFFFFF000"), None),
    "unaligned-write": ("ScriptUnaligned", lambda d: d.add_op("w", "0x300800", "bootloader.bin"), None),
    "unaligned-erase": ("ScriptUnaligned", lambda d: d.add_op("e", "0x9000", "0x7100"), None),
    "overlap": ("ScriptOverlap", lambda d: d.add_op("w", "0x12000", "bootloader.bin"), None),
    "absolute-name": ("PackageInvalid", lambda d: d.add_entry("/etc/passwd", data=b"x"), None),
    "dot-dot": ("PackageInvalid", lambda d: d.add_entry("..", data=b"x"), None),
    "slash": ("PackageInvalid", lambda d: d.add_entry("a/b.bin", data=b"x"), None),
    "directory": ("PackageInvalid", lambda d: d.add_entry("dir", tarfile.DIRTYPE), None),
    "symlink": ("PackageInvalid", lambda d: d.add_entry("link.bin", tarfile.SYMTYPE, linkname="/etc/shadow"), None),
    "hardlink": ("PackageInvalid", lambda d: d.add_entry("link.bin", tarfile.LNKTYPE, linkname="bootloader.bin"),
                 None),
    "device": ("PackageInvalid", lambda d: d.add_entry("zero", tarfile.CHRTYPE), None),
    "duplicate": ("PackageInvalid", lambda d: d.add_entry(d.app, data=d.files[d.app]), None),
    "too-many-members": ("PackageTooLarge", _many, None),
    "member-too-large": ("PackageTooLarge", lambda d: d.add_entry("big.bin", data=bytes(9 * MB)), None),
    "total-too-large": ("PackageTooLarge",
                        lambda d: [d.add_entry(f"big{i}.bin", data=bytes(6 * MB)) for i in range(3)], None),
    "truncated": ("PackageInvalid", None, lambda b: b[:len(b) * 2 // 3]),
    "bad-crc": ("PackageInvalid", None, lambda b: b[:-8] + bytes([b[-8] ^ 1]) + b[-7:]),
    "trailing-bytes": ("PackageInvalid", None, lambda b: b + b"more"),
    "not-gzip": ("PackageInvalid", None, lambda b: gzip.decompress(b)),
    "not-tar": ("PackageInvalid", None, lambda b: gzip.compress(b"<html>no tar here</html>" * 100)),
    "empty": ("PackageInvalid", None, lambda b: b""),
}
FAULTS = {name: fault[0] for name, fault in _FAULTS.items()}


def make_package(path, board="WiPy", release="1.20.1.r1", shape="object", app_bytes=900_000, seed=1, fault=None):
    """Writes a package; the same arguments give the same bytes. shape: "list" is what Pycom published up to 1.19,
    "object" the scripts for each size, "both" all four scripts as from 1.20.1 on."""
    if fault == "too-long":
        app_bytes = 0x1EF010
    draft = Draft(board, release, shape, app_bytes, seed)
    spoil_draft, spoil_file = _FAULTS[fault][1:] if fault else (None, None)
    if spoil_draft:
        spoil_draft(draft)
    data = draft.pack()
    if spoil_file:
        data = spoil_file(data)
    with open(path, "wb") as file:
        file.write(data)


# ---- the oracle ------------------------------------------------------------------------------------------------------

BUILT_IN = {
    "secureboot": (0x0, 0x8000), "bootloader": (0x1000, 0x7000), "partitions": (0x8000, 0x1000),
    "nvs": (0x9000, 0x7000), "factory": (0x10000, 0x180000), "otadata": (0x190000, 0x1000),
    "ota_0": (0x1A0000, 0x180000), "config": CONFIG,
}
SCRIPTS = {4 * MB: ("script_4MB", "script2", "script"), 8 * MB: ("script_8MB", "script2", "script")}


def read_members(package_path):
    with tarfile.open(package_path, "r:gz") as tar:
        return {info.name: tar.extractfile(info).read() for info in tar.getmembers()}


def patched(image, flash_bytes):
    """As esptool does it with --flash_mode dio --flash_freq 80m and the real size: 0x022F on 4 MB, 0x023F on 8 MB."""
    image = bytearray(image)
    image[2] = 2
    image[3] = {1: 0, 2: 1, 4: 2, 8: 3, 16: 4}[flash_bytes // MB] << 4 | 0xF
    if image[23] == 1:
        end = 24
        for _ in range(image[1]):
            end += 8 + struct.unpack_from("<I", image, end + 4)[0]
        end += 16 - end % 16
        image[end:end + 32] = hashlib.sha256(image[:end]).digest()
    return bytes(image)


def find_otadata(table):
    for at in range(0, len(table) - 31, 32):
        magic, kind, subtype, offset, size = struct.unpack_from("<2sBBII", table, at)
        if magic != b"\xaa\x50":
            break
        if (kind, subtype) == (1, 0):
            return offset, size
    return None


def expected_steps(package_path, flash_bytes):
    """What is done to the flash: ([(offset, size) erased], [(offset, bytes) written])."""
    members = read_members(package_path)
    name = next(n for n in SCRIPTS[flash_bytes] if n in members)
    script = json.loads(members[name])
    areas = dict(BUILT_IN)
    if isinstance(script, dict):
        for area, (offset, size) in script.get("partitions", {}).items():
            areas[{"cb": "config", "ota": "otadata"}.get(area, area)] = (int(offset, 16), int(size, 16))
        script = script["script"]

    def place(target):
        target = {"cb": "config", "ota": "otadata"}.get(target, target)
        return areas[target] if target in areas else (int(target, 16), None)

    otadata, erases, writes, wants_factory = areas["otadata"], [], [], False
    for op in script:
        if op[0] == "e":
            offset, size = place(op[1])
            erases.append((offset, int(op[2], 16) if size is None else size))
            continue
        assert op[0] == "w", op
        offset, _ = place(op[1])
        data = members[op[2]]
        if offset == 0x1000:
            data = patched(data, flash_bytes)
        if offset == 0x8000:
            otadata = find_otadata(data)
        if offset == 0x10000:
            wants_factory = True
        writes.append((offset, data + b"\xff" * (-len(data) % SECTOR)))
    if wants_factory and otadata:
        erases.append(otadata)
    return erases, writes


def expected_flash(package_path, flash_bytes, before):
    """The flash after a flawless flash of a valid package: erased sectors FF, written ones as the script means them,
    all else as it was."""
    assert len(before) == flash_bytes
    erases, writes = expected_steps(package_path, flash_bytes)
    flash = bytearray(before)
    for offset, size in erases:
        begin, end = offset // SECTOR * SECTOR, -(-(offset + size) // SECTOR) * SECTOR
        flash[begin:end] = b"\xff" * (end - begin)
    for offset, data in writes:
        flash[offset:offset + len(data)] = data
    assert len(flash) == flash_bytes
    assert flash[CONFIG[0]:sum(CONFIG)] == before[CONFIG[0]:sum(CONFIG)]
    return bytes(flash)


# ---- by hand ---------------------------------------------------------------------------------------------------------

def main():
    parser = argparse.ArgumentParser(description="Synthetic Pycom firmware packages, and what they do to a flash.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    make = verbs.add_parser("make", help="write a package")
    make.add_argument("path")
    make.add_argument("--board", default="WiPy")
    make.add_argument("--release", default="1.20.1.r1")
    make.add_argument("--shape", default="object", choices=["list", "object", "both"])
    make.add_argument("--app-bytes", type=lambda text: int(text, 0), default=900_000)
    make.add_argument("--seed", type=int, default=1)
    make.add_argument("--fault", choices=sorted(FAULTS))
    expect = verbs.add_parser("expect", help="compute the flash after a package")
    expect.add_argument("package")
    expect.add_argument("flash_bytes", type=lambda text: int(text, 0))
    expect.add_argument("before")
    expect.add_argument("after")
    verbs.add_parser("faults", help="list the faults and the errors they must give")
    args = parser.parse_args()

    if args.verb == "make":
        make_package(args.path, args.board, args.release, args.shape, args.app_bytes, args.seed, args.fault)
    elif args.verb == "expect":
        with open(args.before, "rb") as file:
            before = file.read()
        with open(args.after, "wb") as file:
            file.write(expected_flash(args.package, args.flash_bytes, before))
    else:
        for name, error in FAULTS.items():
            print(f"{name:26} {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
