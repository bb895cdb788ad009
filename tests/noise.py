#!/usr/bin/env python3
"""Boards one after the other at slots with bad cables: do all jobs succeed, and does each slot find its rate?

usage: noise.py [--rounds N] [--json FILE]

Real wipyd, real wipysim (without pacing, which the noise doesn't depend on), [flash] baud = auto. Each slot has a noise of
its own (wrong, lost or late bytes, 10^-7 to 10^-4 a byte) at and above a rate; 115200 is clean everywhere. In each round
every slot gets another blank board, which is flashed and compared byte by byte. Then, per slot: jobs done, the rate that
each board began and ended with, from which board on the beginning was right, and how often it changed. Exits with 1 when
fewer than 99.9 % succeed, or a slot isn't settled after two boards.

Jobs by the thousand, over a line that is only computed: tests/unit/test_rate_noise.c.
"""
import argparse
import json
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "integration"))

import packages  # noqa: E402
from harness import FINAL, JOB, MB, Bench, Board, wait_for  # noqa: E402

CONFIG = "[boards]\nsettle = 0\nlisten = 20\nsyncs = 0\npolicy = ask\n[flash]\nbaud = auto\n"
BLANK = b"\xff" * 4 * MB
JOB_LIMIT_S = 240
# What, from which rate on, and whether no job can be done there.
CASES = [
    ("flip-rate 1e-7", 230400, False),
    ("flip-rate 1e-6", 921600, False),
    ("flip-rate 1e-5", 460800, False),
    ("flip-rate 1e-4", 921600, True),
    ("flip-rate 1e-4", 230400, True),
    ("drop-rate 1e-6", 460800, False),
    ("drop-rate 1e-5", 921600, False),
    ("drop-rate 1e-4", 460800, True),
    ("stall-rate 1e-6 8000", 921600, False),
    ("stall-rate 1e-4 100", 230400, False),  # late, but in time
    ("stall-rate 1e-4 8000", 921600, True),
    ("baud-fail 460800 on", 460800, True),
]
RETRY = 8  # good boards until a rate is tried again: daemon/board/rate.h


class Slot:
    def __init__(self, number, case):
        self.name, (self.noise, self.at, self.is_hopeless) = f"1-{number + 1}", case
        self.board = self.path = None
        self.began, self.ended, self.failures, self.jobs = [], [], [], []

    def put(self, bench, n):
        name = f"s{self.name}n{n}"
        number = int(self.name[2:])
        self.board = Board(bench.folder, name=name, options=("--fast", "--mac", f"30:ae:a4:01:{number:02x}:{n:02x}"))
        bench.boards.append(self.board)
        self.board.ask("unplug")
        self.board.ask(f"set seed {1000 * number + n}")
        self.board.ask(f"set {self.noise}")
        self.board.ask(f"set noise-from {self.at}")
        bench.plug(self.board, slot=self.name, name=f"ttyUSB{number}")

    def start(self, bench):
        self.path = bench.start_flash(bench.image, self.board)

    def take(self, bench):
        job = bench.job(self.path)
        self.jobs.append(job["Id"])
        if job["State"] != "done":
            self.failures.append(f"board {len(self.jobs)}: {job['Error']}: {job['ErrorText']}")
        elif self.board.flash()[:0x3FF000] != bench.wanted[:0x3FF000]:
            self.failures.append(f"board {len(self.jobs)}: done, but its flash is wrong")

    def drop(self, bench):
        bench.unplug(self.board)
        bench.boards.remove(self.board)
        self.board.close()
        self.board.flash_path.unlink()

    def read_rates(self, ways):
        for job in self.jobs:
            way = ways.get(job, [115200])
            self.began.append(way[0])
            self.ended.append(way[-1])

    # ---- judging ----
    def too_high(self):
        """The boards, from 0, that began higher than they ended."""
        return [i for i, (began, ended) in enumerate(zip(self.began, self.ended)) if began > ended]

    def changes(self):
        return sum(a != b for a, b in zip(self.began[2:], self.began[3:]))

    def settled(self):
        """From which board on, from 1, the beginning was right; later tries of a higher rate left out."""
        return next((i + 1 for i in range(len(self.began)) if i not in self.too_high()), None)

    def faults(self):
        tries, at, wait = 0, RETRY, RETRY
        while at < len(self.began):
            tries, wait = tries + 1, wait * 2
            at += wait
        late = [i for i in self.too_high() if i >= 2]
        yield from self.failures
        # Any but a hopeless rate may do for one board and not for another: a tenth of them may find that out.
        limit = tries if self.is_hopeless else max(tries, 1) + len(self.began) // 10
        if len(late) > limit:
            yield f"boards {[i + 1 for i in late]} began too high: more than {limit} after the second"
        if self.is_hopeless and len(self.began) > 1 and self.settled() != 2:
            yield f"not settled at the second board: {self.began}"
        if self.changes() > 2 * limit + 2:
            yield f"the beginning changed {self.changes()} times"


def ways_of(log):
    """{job: [rates tried or reached, in order]}"""
    ways = {}
    for job, reached, lost in re.findall(r"\[job (\d+)\] .*?(?:goes on at (\d+) baud|(\d+) baud does not work here)", log):
        ways.setdefault(int(job), []).append(int(reached or lost))
    return ways


def run(rounds, cases=None, app_bytes=150_000):
    """The slots, after so many boards at each."""
    slots = [Slot(i, case) for i, case in enumerate(cases or CASES)]
    with Bench(boards=0, usb=True, lines=True, config=CONFIG, connect_timeout=60) as bench:
        bench.image = bench.package(app_bytes=app_bytes)
        bench.wanted = packages.expected_flash(bench.image, 4 * MB, BLANK)
        for n in range(rounds):
            for slot in slots:
                slot.put(bench, n)
            wait_for(lambda: len(bench.ctl("list", "--json").json) == len(slots), 20, "the devices")
            for slot in slots:
                slot.start(bench)
            wait_for(lambda: all(bench.bus.get(slot.path, JOB, "State") in FINAL for slot in slots), JOB_LIMIT_S, "the jobs")
            for slot in slots:
                slot.take(bench)
                slot.drop(bench)
            wait_for(lambda: not bench.ctl("list", "--json").json, 20, "the devices to go")
        ways = ways_of(bench.log())
    for slot in slots:
        slot.read_rates(ways)
    return slots


def shorten(rates):
    """921600 460800 x 7"""
    runs = []
    for rate in rates:
        if runs and runs[-1][0] == rate:
            runs[-1][1] += 1
        else:
            runs.append([rate, 1])
    return " ".join(f"{rate} x {n}" if n > 1 else str(rate) for rate, n in runs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--json")
    options = parser.parse_args()
    began = time.monotonic()
    slots = run(options.rounds)
    n_jobs, n_done = sum(len(slot.jobs) for slot in slots), 0
    bad = False

    print(f"{'NOISE':22} {'FROM':>7} {'DONE':>8} {'SETTLED':>8} {'CHANGES':>8}  BEGAN WITH")
    for slot in slots:
        done = len(slot.jobs) - len(slot.failures)
        n_done += done
        print(f"{slot.noise:22} {slot.at:7} {done:4}/{len(slot.jobs):<3} {slot.settled() or '-':>8} {slot.changes():8}  "
              f"{shorten(slot.began)}")
        for fault in slot.faults():
            bad = True
            print(f"    {fault}")
    print(f"{n_done} of {n_jobs} jobs done ({100 * n_done / n_jobs:.2f} %), in {time.monotonic() - began:.0f} s")
    if options.json:
        Path(options.json).write_text(json.dumps([
            {"noise": slot.noise, "from": slot.at, "jobs": len(slot.jobs), "failures": slot.failures, "began": slot.began,
             "ended": slot.ended, "settled": slot.settled(), "changes": slot.changes()} for slot in slots], indent=1) + "\n")
    return 1 if bad or n_done < 0.999 * n_jobs else 0


if __name__ == "__main__":
    sys.exit(main())
