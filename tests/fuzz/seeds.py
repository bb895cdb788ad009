#!/usr/bin/env python3
"""Makes the inputs that the fuzz targets begin with: out of the recorded transcripts, made packages, the real packages'
scripts and images where ../shared has them, the schemas that the database has had, and the configuration that is
installed.

    seeds.py FOLDER          FOLDER/TARGET/NAME, each a whole input of that target
"""
import gzip
import os
import re
import shutil
import sqlite3
import struct
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = (ROOT / os.environ.get("WIPYD_SHARED", "../shared")).resolve()
sys.path.insert(0, str(ROOT / "tests/integration"))
sys.dont_write_bytecode = True
import packages  # noqa: E402

PACK, HEADERS, CONTENTS = 1, 2, 4  # fuzz_package.c
SMALL_IMAGE_BYTES, IMAGE_BYTES = 8 * 1024, 40 * 1024  # some faults lie far inside


def write(folder, target, name, data):
    path = folder / f"fuzz_{target}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def transcript_frames():
    """(name, [(b'>' or b'<', bytes)])"""
    for path in sorted((SHARED / "facts/rom-transcripts").glob("*.txt")):
        lines = [line for line in path.read_text().splitlines() if line[:1] in ("<", ">")]
        try:
            yield path.stem, [(line[0], bytes.fromhex(line[1:])) for line in lines]
        except ValueError:
            continue  # in another form


def slip(frame):
    return b"\xc0" + frame.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


def of_the_wire(folder):
    head = bytes(1) + struct.pack("<I", 4224)
    for name, frames in transcript_frames():
        replies = [frame if frame[:1] == b"\xc0" else slip(frame) for way, frame in frames if way == "<"]
        for number, opcode in enumerate((0, 1, 4, 5, 9)):
            request = struct.pack("<II", 0x10000, 0x1000) + bytes([opcode])
            write(folder, "frame", f"{name}-{number}", head + request + b"".join(replies[:40])[:3500])
        for number, reply in enumerate(replies[:60]):
            # The link: what is asked (0), that it is taken (2), the bytes that were recorded (7).
            asked = bytes([0, 0, 12, 10]) if number % 2 else bytes([0, 0, 0, 1, 3])
            write(folder, "link", f"{name}-{number}", b"\x03" + asked + bytes([2, 7, len(reply) & 0xff]) + reply[:255])
    said = [
        b"ets Jun  8 2016 00:22:57\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\r\n"
        b"waiting for download\r\n",
        b"ets Jun  8 2016 00:22:57\r\n\r\nrst:0x10 (RTCWDT_RTC_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"
        b"flash read err, 1000\r\nets_main.c 371 \r\n",
        b"\r\nBrownout detector was triggered\r\n\r\n" * 3,
        b"Pycom MicroPython 1.20.1.r1 [v1.8.6-849-b0520f1] on 2019-09-12; WiPy with ESP32\r\n"
        b'Type "help()" for more information.\r\n>>> ',
        b"MicroPython v1.8.6-607-gfd1af4a4 on 2017-05-16; WiPy with ESP32\r\n>>> ",
        b"raw REPL; CTRL-B to exit\r\n>OK(sysname='WiPy', nodename='WiPy', release='1.20.1.r1', version='v1.8.6-849 on "
        b"2019-09-12', machine='WiPy with ESP32')\r\n\x04\x04>",
        b"Guru Meditation Error: Core  0 panic'ed (LoadProhibited)\r\n", bytes(range(128, 256)),
    ]
    for number, text in enumerate(said):
        write(folder, "heard", f"said-{number}", bytes([number]) + text)
        write(folder, "link", f"said-{number}", bytes([3, 0, 0, 5, 20, 7, min(len(text), 255)]) + text[:255])
    # Asked, taken, answered well; the reply's first byte: ROM or stub, refused, another's, cut off.
    for how in (0, 1, 2, 4, 0x48):
        write(folder, "link", f"answered-{how}", b"\x01" + b"".join(
            bytes([0, what, 4, 2, 4, how]) + bytes(80) + bytes([9]) for what in (0, 7, 8, 9, 10, 12)))
    # A stub is loaded and run, says its hello, is read from in two frames and their MD5.
    stub = bytes([1, 0, 12, 4, 0, 2, 4, 0]) + bytes([0, 13, 4, 2, 2, 8, 7, 0, 14, 4, 4]) + struct.pack("<I", 5000)
    write(folder, "link", "stub", stub + bytes([2, 4, 0, 13, 0, 2, 13, 2, 2, 13, 4, 0, 8, 4, 7, 2, 12, 9, 4, 0]))
    write(folder, "link", "reset", bytes([1, 0, 6, 0]) + bytes([9]) * 12 + bytes([8, 0, 8, 2]) + bytes([9]) * 4)


def of_servers(folder):
    url = "https://software.example/downloads/"
    one = (b'{"key":"wipy.wipy with esp32","type":"stable","version":"1.20.2.r4","intVersion":77596036,"file":"' +
           url.encode() + b'WiPy-1.20.2.r4.tar.gz","hash":"' + b"0a" * 20 + b'"}')
    for kind in b"jn-":
        write(folder, "answer", f"one-{kind}", bytes([kind]) + one)
        write(folder, "answer", f"list-{kind}", bytes([kind]) + b"[" + one + b"," + one.replace(b"1.20.2.r4", b"1.18.1.r1") + b"]")
        write(folder, "answer", f"versions-{kind}", bytes([kind]) + b'[{"version":"1.18.1.r1","intVersion":75503233}]')
    page = b"<html><body><pre><a href=\"../\">../</a>\n" + b"".join(
        b'<a href="%s">%s</a> 12-Jan-2020 10:00 1.4M\n' % (name, name)
        for name in (b"WiPy-1.18.1.r1.tar.gz", b"WiPy-1.20.1.r1-0.7.0.tar.gz", b"LoPy-1.20.1.r1.tar.gz",
                     b"/x/WiPy-1.20.2.r4.tar.gz?a=1&amp;b=2", b"http://u:p@h.example/WiPy-1.20.2.rc9.tar.gz"))
    write(folder, "answer", "page", b"h" + page + b"</pre></body></html>")
    for number, (base, relative) in enumerate([(url, "a/b.tar.gz"), (url, "//user:pass@h.example:8/x%20y?q#f"), (url, "../..")]):
        write(folder, "answer", f"url-{number}", b"u" + base.encode() + b"\0" + relative.encode())
    for release in ("1.20.2.r4", "1.20.2", "1.17.3.b1", "1.18.0.rc2", "63.127.1023.a127"):
        write(folder, "answer", f"release-{release}", b"r" + release.encode())


def unpacked(path):
    """The tar in it."""
    with gzip.open(path) as file:
        return file.read()


def of_packages(folder, scratch):
    for shape in ("list", "object", "both"):
        path = scratch / f"{shape}.tar.gz"
        packages.make_package(path, shape=shape, app_bytes=SMALL_IMAGE_BYTES)
        write(folder, "package", f"{shape}-as-it-is", b"\0" + path.read_bytes())
        write(folder, "package", f"{shape}-mended", bytes([PACK | HEADERS | CONTENTS]) + unpacked(path))
        for name, data in packages.read_members(path).items():
            if name.startswith("script"):
                write(folder, "script", f"{shape}-{name}", data)
            else:
                write(folder, "image", f"{shape}-{name}", b"\1" + data[:20000])
                write(folder, "image", f"{shape}-{name}-raw", b"\0" + data[:20000])
    for fault in packages.FAULTS:
        path = scratch / "fault.tar.gz"
        packages.make_package(path, app_bytes=IMAGE_BYTES, fault=fault)
        data = path.read_bytes()
        if len(data) < 90000:
            write(folder, "package", f"fault-{fault}", b"\0" + data)
        try:
            scripts = {name: data for name, data in packages.read_members(path).items() if name.startswith("script")}
        except Exception:  # that is its fault
            continue
        for name, data in scripts.items():
            write(folder, "script", f"fault-{fault}-{name}", data[:8000])
    for path in sorted((SHARED / "firmware").glob("*.tar.gz")):
        with tarfile.open(path, "r:gz") as tar:
            for info in tar.getmembers():
                data = tar.extractfile(info).read()
                if info.name.startswith("script"):
                    write(folder, "script", f"{path.name}-{info.name}", data)
                elif info.name.startswith("partitions"):
                    write(folder, "image", f"{path.name}-{info.name}", b"\1" + data)
                elif info.name.startswith("bootloader"):
                    write(folder, "image", f"{path.name}-{info.name}", b"\1" + data[:24000])


def of_configuration(folder):
    text = (ROOT / "systemd/wipyd.conf").read_bytes()
    write(folder, "config", "installed", text)
    write(folder, "config", "all", re.sub(rb"(?m)^#\s*([a-z-]+ *=)", rb"\1", text))  # what is commented out, too


def schemas():
    """The migrations in daemon/records/database.c, one after the other."""
    text = (ROOT / "daemon/records/database.c").read_text()
    table = text[text.index("migrations[] = {"):]
    table = re.sub(r"/\*.*?\*/", "", table[:table.index("\n};")], flags=re.S)
    steps = re.split(r'",\n', table)
    found = ["".join(bytes(s, "utf-8").decode("unicode_escape") for s in re.findall(r'"((?:[^"\\]|\\.)*)"', step + '"'))
             for step in steps]
    return [step for step in found if "user_version" in step]


ROWS = {
    1: ["INSERT INTO firmware VALUES ('" + "0123456789abcdef" * 4 + "', 1500000, 'WiPy.tar.gz', 'WiPy', '1.20.1.r1', 'import',"
        " '', 0, '', 'good', '', 0, 5, 6)", "INSERT INTO value VALUES ('poll.next', '7')"],
    2: ["INSERT INTO slot VALUES ('1-1', 'bench 3', 'wipy', 1, '30:ae:a4:01:02:03', 9)",
        "INSERT INTO attempt VALUES (1, 1, 5, 'unplugged')",
        "INSERT INTO decision (at_us, device, slot, mac, event, verdict, rule, state) VALUES (1, 'ttyUSB0', '1-1', '',"
        " 'plug', 'look', 'fresh', 'x=1')",
        "INSERT INTO flashed VALUES ('30:ae:a4:01:02:03', '" + "0123456789abcdef" * 4 + "', 4)",
        "INSERT INTO board VALUES ('30:ae:a4:01:02:03', 'WiPy', '1.20.1.r1', 'ESP32D0WDQ6 (revision 1)', 4194304, 'bench 3',"
        " 'ask', '1.20.1.r1', '1-1', 3, 9, '" + "0123456789abcdef" * 4 + "', '1.20.1.r1', 7, 0, '', 0, '1.20.1.r1', 8)",
        "INSERT INTO job VALUES (1, 'flash', 'running', 'ttyUSB0', '1-1', '30:ae:a4:01:02:03', ':1.7', '" +
        "0123456789abcdef" * 4 + "', 'WiPy.tar.gz', 0, 0, 1, 'WiPy', '1.18.1.r1', '1.20.1.r1', 1500000, 70000, 921600, 0, 1,"
        " 2, 'write', '', '', '', '', 0, '', 4, 0)"],
    3: ["INSERT INTO rate VALUES ('slot', '1-1', 921600, 800, 3, 5, 0, 0, 6, 9)",
        "INSERT INTO rate VALUES ('board', '30:ae:a4:01:02:03', 460800, 80, 0, 1, 2, 4, 6, 9)"],
}


def of_databases(folder, scratch):
    steps = schemas()
    assert len(steps) >= 2, "the migrations in database.c have another form now"
    for schema in range(len(steps) + 1):
        path = scratch / f"{schema}.db"
        db = sqlite3.connect(path)
        db.execute("PRAGMA page_size = 512")  # the smallest: an input is short, and quickly read
        for number, step in enumerate(steps[:schema], 1):
            db.executescript(step)
            for row in ROWS.get(number, []):
                db.execute(row)
        db.commit()
        db.execute("VACUUM")
        db.close()
        data = path.read_bytes()
        write(folder, "records", f"schema-{schema}", b"f" + data)
        if data:
            write(folder, "records", f"schema-{schema}-cut", b"f" + data[:len(data) * 2 // 3])
            write(folder, "records", f"schema-{schema}-torn", b"f" + data[:700] + bytes(100) + data[800:])
    for number, rows in ROWS.items():
        write(folder, "records", f"rows-{number}", b"s" + ";".join(rows).encode())
    write(folder, "records", "by-hand", b"sPRAGMA ignore_check_constraints = 1;" + ";".join(ROWS[2]).replace("wipy", "all").encode() +
          b";UPDATE slot SET label = hex(zeroblob(90)), policy = 'x'; PRAGMA user_version = 1")
    write(folder, "records", "future", b"sPRAGMA user_version = 99")


def of_stubs(folder):
    whole = (b'{"entry": 1074521580, "text": "CAD0PxwA9D8AAPQ/", "text_start": 1074520064, "data": "CMD8Pw==", '
             b'"data_start": 1073605544, "bss_start": 1073528832}')
    write(folder, "stub", "unknown", whole)
    write(folder, "stub", "padded", whole.replace(b"==", b"=="[:1]))
    write(folder, "stub", "no-text", whole.replace(b'"text":', b'"texts":'))
    write(folder, "stub", "a-number", whole.replace(b"1074521580", b"-1.5e9"))


def of_backups(folder):
    name = b"20261122T101500.123Z-7\0"
    mac = b"30:ae:a4:01:02:03\0"
    write(folder, "backup", "whole", b"\1" + b"\0" + name + b"\x64\x84\x64" + b"\7" + mac + name)
    write(folder, "backup", "links", b"\3" + b"\0" + name + b"\1\2\3" + b"\2" + b"x\0" + b"\0" + b"20261122T101500.124Z-8\0" +
          b"\4\5\6" + b"\7" + mac + name)
    write(folder, "backup", "board-is-a-link", b"\x81" + b"\7" + mac + b"../../x\0")


def of_calls(folder):
    for method in range(38):
        for words in (b"\1", b"\4", b"\x0a", b"\x1c"):
            arguments = b"".join(bytes(4) + word for word in (words, words, words))
            write(folder, "bus", f"method-{method}-{words[0]}", bytes([0, method, 4, 0x62]) + arguments)
            write(folder, "bus", f"method-{method}-{words[0]}-asked", bytes([2, method, 4, 0x22]) + arguments * 2)
            write(folder, "bus", f"method-{method}-{words[0]}-there", bytes([0, method, 4, 0x80]) + arguments)


def of_people(folder):
    head = struct.pack("<IBI", 1_500_000_000, 20, 370_000)
    for number, text in enumerate(("today", "yesterday", "2h", "99999999999999999999w", "2026-11-22", "2026-02-30",
                                   "2026-11-22T10:00:59Z", "2026-11-22 10:00", "1.20.1.r1-0.7.0-vanilla-dragonfly-onewire",
                                   "bench \u202e 3 \u20ac \u4e16\u754c e\u0301 \x1b[2J")):
        write(folder, "client", f"text-{number}", head + text.encode())
    write(folder, "client", "cut", head + b"\xe2\x80 \xff\xc3 \xf0\x9f\x98")


def main():
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="wipyd-fuzz-") as scratch:
        of_the_wire(folder)
        of_servers(folder)
        of_packages(folder, Path(scratch))
        of_configuration(folder)
        of_databases(folder, Path(scratch))
        of_backups(folder)
        of_stubs(folder)
        of_calls(folder)
        of_people(folder)


if __name__ == "__main__":
    main()
