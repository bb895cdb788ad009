#!/usr/bin/env python3
"""The main job, from an empty store to a board that runs its new firmware: a firmware server on loopback, a simulated
board with real timing on a pty, a private bus, wipyd, wipyctl. What a person would do to the board (the wire, the
button) the demo does, and says so.

It serves a real package where ../shared has one, else one of the same shape that it makes.
"""
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "integration"))

import packages  # noqa: E402
from firmware_server import FirmwareServer  # noqa: E402
from harness import BUILD, MB, Bench, newest_package, wait_for  # noqa: E402

DEVICE = "ttyUSB0"
BAUD = "921600"
LIMIT_S = 180
BOLD, PLAIN = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")


def say(text):
    print(f"\n{BOLD}# {text}{PLAIN}", flush=True)


def show(bench, *arguments):
    """wipyctl as a person would run it, on this very terminal."""
    print(f"$ wipyctl {' '.join(map(str, arguments))}", flush=True)
    environment = {**os.environ, "WIPYD_BUS": bench.address}
    return subprocess.Popen([BUILD / "wipyctl", *arguments], env=environment, cwd=bench.folder)


def must_succeed(process):
    code = process.wait(timeout=LIMIT_S)
    if code:
        sys.exit(f"demo: wipyctl ended with {code}")


def main():
    with tempfile.TemporaryDirectory() as folder, FirmwareServer(folder) as server:
        package = newest_package(folder, app_bytes=900_000)
        server.add(package.name, package.read_bytes(), version="1.20.1.r1", int_version=77595521)
        config = f"source = findupgrade {server.url('good/findupgrade')}\nca-file = {server.ca_file}\n"
        return run(package, config)


def run(package, config):
    say("A blank board is plugged in: a WiPy on an Expansion Board 2.0, which has no reset lines. wipyd starts, with an\n"
        "# empty store, and asks the vendor's server (here: one on loopback) for firmware.")
    with Bench(boards=[{"name": DEVICE, "options": (), "download": False, "flash_bytes": 4 * MB}], config=config,
               connect_timeout=60) as bench:
        board = bench.board
        wait_for(lambda: json.loads(bench.ctl("firmware", "list", "--json").out), 20, "the package in the store")
        must_succeed(show(bench, "firmware", "list"))
        must_succeed(show(bench, "list"))

        say("Flash it. It is not in download mode yet, so wipyd says what to do.")
        flashing = show(bench, "flash", DEVICE, "--baud", BAUD)
        time.sleep(4)
        say("(a person joins G23 to GND and presses reset)")
        board.ask("jumper on")
        board.ask("reset")
        must_succeed(flashing)

        before = b"\xff" * (4 * MB)
        is_right = board.flash() == packages.expected_flash(str(package), 4 * MB, before)
        say("The whole flash, compared byte by byte with a layout computed independently: " +
            ("equal." if is_right else "DIFFERENT."))

        say("(the person takes the wire off and presses reset)")
        banner = [line for line in board.run_firmware().splitlines() if "MicroPython" in line]
        print(f"the board says: {banner[0] if banner else 'nothing'}")
        must_succeed(show(bench, "status"))
    return 0 if is_right and banner else 1


if __name__ == "__main__":
    sys.exit(main())
