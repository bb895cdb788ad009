#!/usr/bin/env python3
"""Checks which file may include what, and a few habits: see "Include fences" in the design.

    fences.py [ROOT]      prints each violation as FILE:LINE: what; exit 1 when there is one
    fences.py --self-test plants one violation of every kind and sees that exactly it is found
"""

import pathlib
import re
import sys
import tempfile

# From the top down: a room may include itself, the rooms after it, and proto/.
ROOMS = ["bus", "board", "flash", "firmware", "esp", "records", "usb", "serial", "loop", "base"]

# A foreign header -> where it is at home. MAIN is daemon/main.c.
MAIN = "daemon/main.c"
HOMES = [
    (r"libudev\.h", ["daemon/usb/"]),
    (r"curl/.*", ["daemon/firmware/", "daemon/loop/"]),
    (r"archive(_entry)?\.h", ["daemon/firmware/"]),
    (r"yajl/.*", ["daemon/firmware/", "client/"]),
    (r"termios\.h|termio\.h|pty\.h|asm/termbits\.h|asm/termios\.h|asm/ioctls\.h|linux/serial\.h|linux/tty\.h",
     ["daemon/serial/"]),
    (r"sqlite3\.h", ["daemon/records/"]),
    (r"systemd/sd-bus(-.*)?\.h", ["daemon/bus/", "daemon/loop/", "client/", MAIN]),
    (r"systemd/sd-journal\.h", ["daemon/base/"]),
    (r"systemd/sd-event\.h", ["client/"]),  # the daemon's one loop is libuv's
    (r"ini\.h", ["daemon/base/"]),
    (r"libsmartcols(/.*)?|libsmartcols\.h", ["client/"]),
    (r"libdeflate\.h|zlib\.h|openssl/.*", ["daemon/firmware/", "daemon/esp/", "daemon/flash/"]),
    (r"uv\.h", ["daemon/" + room + "/" for room in ROOMS if room != "base"] + [MAIN]),
]

LIBC = set("assert ctype errno inttypes limits stdalign stdarg stdbool stddef stdint stdio stdlib stdnoreturn string "
           "strings".split())

LINES_MAX = 600
UNDONE = re.compile(r"\b(TODO|FIXME|XXX)\b")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def may_include(name, target):
    """Whether the file may include the project file; both are paths from the root."""
    if name.startswith("proto/"):
        return target.startswith("proto/")
    if name.startswith("client/"):
        return target.startswith(("client/", "proto/"))
    if name.startswith(("tests/sim/", "tests/vm/usb/")):
        return target.startswith(name[:name.rindex("/") + 1])
    if name == MAIN or name.startswith("tests/"):
        return True
    if target.startswith("proto/"):
        return True
    room, target_room = name.split("/")[1], target.split("/")[1]
    return (target.startswith("daemon/") and room in ROOMS and target_room in ROOMS
            and ROOMS.index(target_room) >= ROOMS.index(room))


def check_include(root, name, bracket, target):
    if bracket == '"' or (root / target).is_file():
        if bracket == "<":
            return f'<{target}> is ours: "{target}"'
        if not (root / target).is_file():
            return f'"{target}" is no path from the root'
        if not may_include(name, target):
            return f'"{target}" is out of bounds here'
        return None
    if name.startswith("tests/"):
        return None
    if name.startswith("proto/") and target.removesuffix(".h") not in LIBC:
        return f"<{target}> is not libc: proto/ depends on libc alone"
    for pattern, homes in HOMES:
        if re.fullmatch(pattern, target) and not name.startswith(tuple(homes)):
            return f"<{target}> is at home in {', '.join(homes) or 'no room'}"
    return None


def check_file(root, path):
    name = path.relative_to(root).as_posix()
    lines = path.read_text(encoding="utf-8").splitlines()
    ours = not name.startswith("tests/")
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match and (what := check_include(root, name, *match.groups())):
            yield f"{name}:{number}: {what}"
        if UNDONE.search(line):
            yield f"{name}:{number}: {UNDONE.search(line).group()}: finish it or drop it"
    if ours and len(lines) > LINES_MAX:
        yield f"{name}:{LINES_MAX + 1}: {len(lines)} lines: above {LINES_MAX} it is two nouns"
    parts = name.split("/")
    if parts[0] == "daemon" and name != MAIN and (len(parts) != 3 or parts[1] not in ROOMS):
        yield f"{name}:1: in no room"


def check_tree(root):
    violations = []
    for folder in ("daemon", "client", "proto", "tests"):
        for path in sorted((root / folder).rglob("*.[ch]")):
            violations += check_file(root, path)
    return violations


# ---- self-test ----------------------------------------------------------------------------------------------------

CLEAN = {
    "proto/error.h": "#include <stddef.h>\n",
    "client/main.c": '#include <systemd/sd-bus.h>\n#include "client/table.h"\n#include "proto/error.h"\n',
    "client/table.h": "#include <libsmartcols/libsmartcols.h>\n",
    "daemon/main.c": '#include <uv.h>\n#include <systemd/sd-bus.h>\n#include "daemon/bus/manager.h"\n',
    "daemon/bus/manager.h": '#include <systemd/sd-bus.h>\n#include "daemon/board/device.h"\n',
    "daemon/board/device.h": '#include <uv.h>\n#include "daemon/serial/port.h"\n#include "proto/error.h"\n',
    "daemon/serial/port.h": '#include <termios.h>\n#include "daemon/base/log.h"\n',
    "daemon/serial/termios.h": "",
    "daemon/serial/termios.c": '#include "daemon/serial/termios.h"\n',
    "daemon/base/log.h": "#include <systemd/sd-journal.h>\n",
    "daemon/firmware/store.c": "#include <curl/curl.h>\n#include <archive.h>\n#include <yajl/yajl_parse.h>\n",
    "tests/sim/pty.h": "",
    "tests/sim/main.c": '#include <zlib.h>\n#include "tests/sim/pty.h"\n',
    "tests/unit/test_log.c": '#include <termios.h>\n#include "daemon/base/log.h"\n',
    "daemon/flash/long.c": "\n" * LINES_MAX,
}

# File, its text, the line at which the violation must be reported.
PLANTED = [
    ("daemon/base/up.c", '\n#include "daemon/serial/port.h"\n', 2),
    ("daemon/serial/up.c", '#include "daemon/serial/port.h"\n#include "daemon/board/device.h"\n', 2),
    ("daemon/bus/client.c", '#include "client/table.h"\n', 1),
    ("daemon/bus/test.c", '#include "tests/sim/pty.h"\n', 1),
    ("daemon/bus/main.c", '#include "daemon/main.c"\n', 1),
    ("client/daemon.c", '#include "daemon/base/log.h"\n', 1),
    ("client/uv.c", "#include <uv.h>\n", 1),
    ("proto/daemon.h", '#include "daemon/base/log.h"\n', 1),
    ("proto/foreign.h", "#include <systemd/sd-bus.h>\n", 1),
    ("tests/sim/daemon.c", '#include "daemon/base/log.h"\n', 1),
    ("tests/vm/usb/sim.c", '#include "tests/sim/pty.h"\n', 1),
    ("tests/sim/proto.c", '#include "proto/error.h"\n', 1),
    ("daemon/base/uv.c", "#  include <uv.h>\n", 1),
    ("daemon/board/udev.c", "#include <libudev.h>\n", 1),
    ("daemon/bus/curl.c", "#include <curl/curl.h>\n", 1),
    ("daemon/flash/archive.c", "#include <archive_entry.h>\n", 1),
    ("daemon/bus/yajl.c", "#include <yajl/yajl_gen.h>\n", 1),
    ("daemon/esp/termios.c", "#include <termios.h>\n", 1),
    ("daemon/esp/termbits.c", "#include <asm/termbits.h>\n", 1),
    ("daemon/board/sqlite.c", "#include <sqlite3.h>\n", 1),
    ("daemon/board/sdbus.c", "#include <systemd/sd-bus.h>\n", 1),
    ("daemon/bus/journal.c", "#include <systemd/sd-journal.h>\n", 1),
    ("daemon/bus/event.c", "#include <systemd/sd-event.h>\n", 1),
    ("daemon/bus/columns.c", "#include <libsmartcols/libsmartcols.h>\n", 1),
    ("daemon/board/deflate.c", "#include <libdeflate.h>\n", 1),
    ("daemon/board/crypto.c", "#include <openssl/evp.h>\n", 1),
    ("daemon/serial/bare.c", '#include "port.h"\n', 1),
    ("daemon/serial/angle.c", "#include <daemon/serial/port.h>\n", 1),
    ("daemon/serial/undone.c", "\n/* TODO: later */\n", 2),
    ("tests/unit/undone.c", "int xxx; /* FIXME */\n", 1),
    ("daemon/serial/long.c", "\n" * (LINES_MAX + 1), LINES_MAX + 1),
    ("client/long.c", "\n" * (LINES_MAX + 1), LINES_MAX + 1),
    ("daemon/util/text.c", "\n", 1),
]


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def self_test():
    failures = []
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        for name, text in CLEAN.items():
            write(root, name, text)
        failures += [f"clean tree: {violation}" for violation in check_tree(root)]
        for name, text, line in PLANTED:
            path = write(root, name, text)
            found = check_tree(root)
            if len(found) != 1 or not found[0].startswith(f"{name}:{line}: "):
                failures.append(f"planted {name}:{line}, found {found}")
            path.unlink()
    for failure in failures:
        print(failure)
    print(f"fences: self-test: {len(PLANTED) + 1 - len(failures)} of {len(PLANTED) + 1} passed")
    return 1 if failures else 0


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if len(arguments) > 1 or (arguments and arguments[0].startswith("-")):
        print(__doc__, file=sys.stderr)
        return 2
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).resolve().parents[2])
    if not (root / "daemon").is_dir():
        print(f"fences: {root} has no daemon/", file=sys.stderr)
        return 2
    violations = check_tree(root)
    for violation in violations:
        print(violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
