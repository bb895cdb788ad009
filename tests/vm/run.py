#!/usr/bin/env python3
"""Runs the scenarios of a real guest with real drivers: see rig.py. Each goes on from a frozen guest, and is bounded.

    run.py [-k PATTERN] [--all] [--list] [--cold] [--keep FOLDER]

Without --all or -k the most telling ones. Ends with a table and one line, N passed, N failed. A rig that can't run is a
failure, and is told: nothing is skipped. What a failed scenario left is in build/vm/failed/NAME: serial.log, journal.log,
qemu.log, and what each adapter was asked (NAME.usb.log).
"""
import argparse
import ctypes
import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]
AGAIN_MOST = 2  # scenarios that have a second try
PASSED, FAILED = "ok", "FAIL"
FILES = ["scenarios_plug", "scenarios_cut", "scenarios_machine"]


class TimeIsUp(BaseException):
    """Past everything that catches Exception, so that the logs are kept all the same."""


def on_alarm(*_):
    raise TimeIsUp("the time limit")


def on_end(number, _):
    raise SystemExit(128 + number)


def load():
    """{name: function}, as they stand in the files."""
    found = {}
    for file in FILES:
        for name, thing in vars(importlib.import_module(file)).items():
            if getattr(thing, "is_scenario", False) and thing.__module__ == file:
                assert name not in found, name
                found[name] = thing
    return found


def play(name, function, ready, failed):
    """Gives (how it went, seconds)."""
    import rig
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="vm-", dir="/tmp"))  # short: the path of a socket has 108 bytes
    result = PASSED
    try:
        signal.alarm(function.limit)
        with ready.restore(folder) as vm:
            vm.ready = ready
            try:
                function(vm)
            finally:
                signal.alarm(0)
    except (Exception, TimeIsUp):
        result = FAILED
        lines = traceback.format_exc().splitlines()
        where = failed / name
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        for path in folder.iterdir():
            if path.is_file() and not path.is_symlink() and path.suffix not in (".qcow2", ".flash"):
                shutil.copy(path, where / path.name)
        (where / "trace.txt").write_text("\n".join(lines) + "\n")
        print("".join(f"     | {line}\n" for line in lines[-30:]) + f"     | its logs: {where}", flush=True)
    finally:
        signal.alarm(0)
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - began
    print(f"{result:4} {seconds:6.1f} s  {name}", flush=True)
    return result, seconds


def prepare(arguments):
    """The frozen guest; a Problem says why there is none."""
    import image
    import snapshot
    found = sorted(image.BUILD.glob("wipyd_*.deb"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise image.Problem(f"no wipyd_*.deb in {image.BUILD}: make deb")
    scratch = Path(tempfile.mkdtemp(prefix="vm-", dir="/tmp"))
    try:
        disk = image.ensure(found[-1], arguments.cold)
        return snapshot.ensure(disk, found[-1], scratch, arguments.cold)
    except BaseException:
        where = image.VM / "failed/boot"
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        for path in scratch.glob("*.log"):
            shutil.copy(path, where)
        print(f"     | logs of the boot, if there are any: {where}", flush=True)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", metavar="PATTERN", help="a regular expression, sought in the names")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--list", action="store_true", help="as the rows of a table")
    parser.add_argument("--cold", action="store_true", help="build the image and boot it anew")
    arguments = parser.parse_args()

    chosen = {name: function for name, function in load().items()
              if (re.search(arguments.k, name) if arguments.k else arguments.all or function.telling)}
    if arguments.list:
        for name, function in chosen.items():
            print(f"| `{name}` | {function.__doc__} |")
        return 0
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGTERM, on_end)
    signal.signal(signal.SIGHUP, on_end)
    began = time.monotonic()
    import image
    try:
        ready = prepare(arguments)
    except Exception as problem:
        if not isinstance(problem, image.Problem):
            traceback.print_exc()
        print(f"vm: the rig can't run: {problem}")
        print(f"0 passed, {max(1, len(chosen))} failed")
        return 1
    print(f"the guest is ready after {time.monotonic() - began:.0f} s", flush=True)
    rows, tries_left = [], AGAIN_MOST
    for name, function in chosen.items():
        result, seconds = play(name, function, ready, image.VM / "failed")
        if result == FAILED and tries_left:
            # The guest is emulated, and slow: a moment may be missed. Twice it is not by chance.
            tries_left -= 1
            print(f"     | {name} once more", flush=True)
            result, seconds = play(name, function, ready, image.VM / "failed")
        rows.append((name, function, result, seconds))
    print()
    for name, function, result, seconds in rows:
        print(f"{result:4} {seconds:5.0f} s  {name:26} {function.__doc__}")
    n_failed = sum(result == FAILED for _, _, result, _ in rows)
    print(f"{time.monotonic() - began:.0f} s in all")
    print(f"{len(rows) - n_failed} passed, {n_failed} failed")
    return 1 if n_failed or not rows else 0


if __name__ == "__main__":
    os.environ.setdefault("PATH", "/usr/bin:/bin")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    sys.exit(main())
