#!/usr/bin/env python3
"""The main job, and nobody says `wipyctl flash`: a board is plugged in, the jumper is fitted, and the rest happens. A
firmware server on loopback, a simulated board with real timing on a pty behind a simulated USB port (umockdev), a
private bus, wipyd, wipyctl. What a person would do to the board (the wire, the button) the demo does, and says so.

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
LIMIT_S = 180
BOLD, PLAIN = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")


def say(text):
    print(f"\n{BOLD}# {text}{PLAIN}", flush=True)


def show(bench, *arguments):
    """wipyctl as a person would run it, on this very terminal."""
    print(f"\n$ wipyctl {' '.join(map(str, arguments))}", flush=True)
    environment = {**os.environ, "WIPYD_BUS": bench.address}
    return subprocess.Popen([BUILD / "wipyctl", *arguments], env=environment, cwd=bench.folder)


def must_succeed(process):
    code = process.wait(timeout=LIMIT_S)
    if code:
        sys.exit(f"demo: wipyctl ended with {code}")


def device(bench):
    devices = json.loads(bench.ctl("list", "--json").out)
    return devices[0] if devices else {}


class Coach:
    """Prints what the coach says whenever it says something else."""

    def __init__(self, bench):
        self.bench, self.last = bench, ""

    def listen(self, until, what):
        def asked():
            now = device(self.bench)
            if now.get("advice", "") != self.last:
                self.last = now.get("advice", "")
                if self.last:
                    print(f"wipyd: {self.last}", flush=True)
            return until(now)

        wait_for(asked, LIMIT_S, what)


def rule_is(*rules):
    return lambda now: now.get("rule") in rules


def run(package, config):
    say("wipyd starts, with an empty store, and asks the vendor's server (here: one on loopback) for firmware.")
    with Bench(boards=[{"options": (), "download": False, "flash_bytes": 4 * MB}], usb=True, config=config,
               connect_timeout=60) as bench:
        board = bench.board
        coach = Coach(bench)
        wait_for(lambda: json.loads(bench.ctl("firmware", "list", "--json").out), 20, "the package in the store")
        must_succeed(show(bench, "firmware", "list"))

        say("A blank WiPy on an Expansion Board 2.0, which has no reset lines, is plugged in. Nobody gives a command.")
        bench.plug(board, name=DEVICE)
        coach.listen(rule_is("no-boot"), "the board is looked at")
        must_succeed(show(bench, "status"))

        say("(a person joins G23 to GND and presses reset)")
        board.ask("jumper on")
        board.ask("reset")
        wait_for(lambda: json.loads(bench.ctl("history", "--json").out), 20, "a job")
        job = json.loads(bench.ctl("history", "--json").out)[0]["id"]
        must_succeed(show(bench, "follow", str(job)))
        wait_for(lambda: device(bench).get("rule") == "awaiting-start", LIMIT_S, "the end of the job")
        coach.last = device(bench)["advice"]  # follow has said it

        before = b"\xff" * (4 * MB)
        is_right = board.flash() == packages.expected_flash(str(package), 4 * MB, before)
        say("The whole flash, compared byte by byte with a layout computed independently: " +
            ("equal." if is_right else "DIFFERENT."))

        say("(the person presses reset, but forgets the wire)")
        board.ask("reset")
        coach.listen(rule_is("wire-left-on"), "the wire is noticed")

        say("(the person takes the wire off and presses reset)")
        board.ask("jumper off")
        board.ask("reset")
        coach.listen(rule_is("confirmed"), "the firmware's own word")
        time.sleep(0.5)
        must_succeed(show(bench, "status"))
        must_succeed(show(bench, "explain", DEVICE))
        must_succeed(show(bench, "history"))
        confirmed = json.loads(bench.ctl("history", "--json").out)[0]["confirmed"]
        say(f"Confirmed by the firmware itself: {confirmed or 'nothing was heard'}.")
    return 0 if is_right and confirmed else 1


def main():
    with tempfile.TemporaryDirectory() as folder, FirmwareServer(folder) as server:
        package = newest_package(folder, app_bytes=900_000)
        server.add(package.name, package.read_bytes(), version="1.20.1.r1", int_version=77595521)
        config = f"source = findupgrade {server.url('good/findupgrade')}\nca-file = {server.ca_file}\n"
        return run(package, config + "[flash]\nbaud = auto\n")


if __name__ == "__main__":
    sys.exit(main())
